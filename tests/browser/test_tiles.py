"""The map's own imagery over the widget channel: at every zoom, transparent where there is nothing, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from browser.bench import OPEN, Bench
from browser.conftest import BuiltArchive
from browser.figures import Figures
from browser.lab import Lab
from browser.models import PageModel
from browser.tile_watch import TileWatch
from workbench.layers import GRID, HEAT, IMAGERY, LABELS
from workbench.widgets.tile_queue import MOST

EDGES = """
import numpy as np, rasterio, pyproj
from scipy.ndimage import distance_transform_edt as _far
with rasterio.open({scene!r}) as _raster:
    _flown = _raster.dataset_mask()[:600, :600] > 0
    _places = [np.unravel_index(_far(each).argmax(), each.shape) for each in (~_flown, _flown)]
    _to_degrees = pyproj.Transformer.from_crs(_raster.crs, "EPSG:4326", always_xy=True).transform
    _found = [_to_degrees(*_raster.xy(row, col)) for row, col in _places]
_found
"""
SLOW = """
import time
painted, asked, longest = [], 0, 0
_channel = {name}._map.channel
_paint, _ask = _channel.session.layers.tile, _channel._queue.ask

def _slowly(number, x, y, z, size=256):
    global longest
    painted.append(z)
    longest = max(longest, len(_channel._queue))
    time.sleep({seconds})
    return _paint(number, x, y, z, size)

def _counted(tiles):
    global asked
    asked += len(tiles)
    _ask(tiles)

_channel.session.layers.tile, _channel._queue.ask = _slowly, _counted
"""


@pytest.fixture
def bench(lab: Lab, scene_archive: BuiltArchive, tmp_path: Path) -> Bench:
    return Bench.open(lab, scene_archive.folder, tmp_path / "labels", shared=True)


def test_imagery_is_there_at_every_zoom_and_nothing_where_there_is_no_data(
    bench: Bench, scene_archive: BuiltArchive, record: Figures
) -> None:
    tiles = TileWatch(bench)
    bench.page.mouse.move(5, 5)
    outside, inside = bench.notebook.kernel(EDGES.format(scene=str(scene_archive.imagery)))
    native = bench.state("layers.infos()[0].max_native_zoom")
    for zoom in range(round(bench.state("map_view['zoom']")) - 2, native + 4):
        for ms in tiles.times_at(*inside, zoom):
            record(f"tile_ms_scene_zoom_{zoom}", ms)
        assert tiles.colour_at(*inside) != tiles.background(), f"zoom {zoom} shows nothing"
    tiles.times_at(*outside, native)
    assert tiles.colour_at(*outside) == tiles.background()
    assert any(not event["empty"] for event in tiles.events(IMAGERY))


def test_layers_lie_over_each_other_and_menus_change_what_is_shown(bench: Bench) -> None:
    tiles = TileWatch(bench)
    bench.search(400)
    bench.focus()
    bench.key("Home", "p", "p", "p", "n")
    bench.until("root => root.querySelectorAll('.wb-card:not([data-value=\"0\"])').length === 4")
    bench.key("Home", "g")
    tiles.zoom("Zoom in")  # grid lines are drawn where there is room for them
    menu = bench.menu("layers")
    menu.get_by_label("Tile grid", exact=True).check()
    bench.until("root => root.querySelector('.wb-layer-5 img')")
    whole = tiles.picture()
    for number in (IMAGERY, HEAT, LABELS, GRID):
        box = menu.locator(f'.wb-layer-line[data-layer="{number}"] input[type=checkbox]')
        box.uncheck()
        bench.until("(root, number) => !root.querySelector(`.wb-layer-${number}`)", number)
        assert changed(tiles.picture(), whole) > 0.002, f"layer {number} shows nothing"
        box.check()
        bench.until("(root, number) => root.querySelector(`.wb-layer-${number} img`)", number)
        assert changed(tiles.picture(), whole) == 0
    menu.get_by_label("Opacity of Best matches").fill("100")
    bench.until("root => root.querySelector('.wb-layer-1').style.opacity === '1'")
    assert changed(tiles.picture(), whole) > 0.002 and bench.state("opacity") == {str(HEAT): 1.0}
    tiles.forget()
    menu.get_by_label("Stretch of the imagery").select_option("full range")
    tiles.settle(least=4)
    assert bench.state("stretch") == "full range"
    stretched = tiles.picture()
    tiles.forget()
    menu.get_by_label("Stretch of the imagery").select_option("2-98 %")
    tiles.settle(least=4)
    assert changed(tiles.picture(), stretched) > 0.3


def changed(one: np.ndarray, other: np.ndarray) -> float:
    """Share of the pixels that differ."""
    return float((one != other).any(axis=2).mean())


def test_P18_a_click_sends_at_most_200_kB(bench: Bench, record: Figures) -> None:
    tiles = TileWatch(bench)
    tiles.settle()
    for number in (100, 400, 700):
        before = bench.notebook.traffic()["received"]
        tiles.forget()
        bench.search(number)
        tiles.settle(least=6)  # the best matches on the map
        received = bench.notebook.traffic()["received"] - before
        record("click_bytes", received)
        assert 20_000 < received < 200_000
        assert len(bench.outlines()) <= 200


def test_tiles_that_left_the_view_are_not_painted(bench: Bench) -> None:
    tiles = TileWatch(bench)
    bench.notebook.kernel(SLOW.format(name=bench.name, seconds=0.15))
    bench.notebook.watch_tiles()
    for way in ("Zoom in", "Zoom in", "Zoom out", "Zoom out", "Zoom in"):
        bench.map.get_by_role("button", name=way).click()
        bench.until("root => !root.querySelector('.leaflet-zoom-anim')")
    tiles.settle()
    seen = bench.notebook.tiles()
    asked, painted, longest = bench.notebook.kernel("asked, len(painted), longest")
    assert seen["loaded"] == seen["wanted"] > 0
    assert seen["cancelled"] >= 4 and painted < asked and longest <= MOST
    assert bench.state("status") == "Looking for house."


def test_a_layer_that_changes_while_its_tiles_are_on_their_way_is_shown(bench: Bench) -> None:
    tiles = TileWatch(bench)
    bench.page.mouse.move(5, 5)
    before = tiles.picture()
    bench.notebook.kernel(SLOW.format(name=bench.name, seconds=0.3))
    bench.map.get_by_role("button", name="Zoom in").click()
    bench.notebook.until("() => document.querySelectorAll('.leaflet-tile:not(.leaflet-tile-loaded)').length > 3")
    bench.notebook.kernel("bench.session.show_stretch('full range')")
    assert changed(tiles.picture(), before) > 0.3


HOSTILE = [
    ["path", "../../../etc/passwd", 0, 0, 0, 256],
    ["zoom", 0, 0, 0, 10**9, 256],
    ["column", 0, 2**40, 0, 3, 256],
    ["negative", 0, -1, 0, 3, 256],
    ["layer", 99, 0, 0, 3, 256],
    ["size", 0, 0, 0, 3, 100_000],
    ["fraction", 0, 0.5, 0, 3, 256],
    ["nothing", 0, None, None, None, None],
    ["yes", True, True, True, True, True],
    ["more", 0, 0, 0, 3, 256, "more"],
    ["less"],
    ["nested", [0], {"x": 0}, 0, 3, 256],
]
NAMELESS = ["text", 7, None, [], [7, 0, 0, 0, 3, 256], {"id": "x"}]
UNKNOWN = [
    {"do": "read", "path": "/etc/passwd"},
    {"do": "__init__"},
    {"do": "close"},
    {"do": "tiles"},
    {"do": "tiles", "ask": "all", "drop": None},
    {"do": ["tiles"]},
    {},
    "text",
    None,
]


def test_P19_no_port_is_opened_and_hostile_messages_get_empty_answers_and_a_line_in_the_log(
    lab: Lab, scene_archive: BuiltArchive, tmp_path: Path
) -> None:
    cell = OPEN.format(archive=str(scene_archive.folder), labels=str(tmp_path / "labels"), classes=["house"])
    notebook = lab.open([cell])
    before = notebook.listening()
    notebook.watch_log()
    notebook.run(0)
    bench = Bench(notebook)
    bench.wait_until_shown()
    bench.search(400)
    bench.focus()
    bench.key("p")
    bench.until("root => root.querySelector('.wb-card[data-value=\"1\"]')")
    assert notebook.listening() == before
    TileWatch(bench).settle()
    channel = PageModel(notebook, "bench._map.channel")
    channel.send({"do": "tiles", "ask": HOSTILE + NAMELESS, "drop": [None, 7, "unknown"]}, *UNKNOWN)
    notebook.until("name => __answers.some(([each]) => each.tiles[0][0] === name)", HOSTILE[-1][0])
    names = [ask[0] for ask in HOSTILE]
    answers = [answer for answer in channel.answers() if answer[0]["tiles"][0][0] in names]
    assert answers == [({"tiles": [[ask[0], "empty"]]}, 0) for ask in HOSTILE]
    for part in ("overlay", "gallery", "toolbar", "status"):
        where = "bench._map.overlay" if part == "overlay" else f"bench._{part}"
        PageModel(notebook, where).send(
            *UNKNOWN, {"do": "click", "lon": "a", "lat": None}, {"do": "label", "number": "1"}
        )
    wait_for_log(bench, "ignored a message", 5 * len(UNKNOWN))
    refused = [line for line in notebook.logged("WARNING") if "Refused a request for a map tile" in line]
    assert len(refused) == len(HOSTILE) + len(NAMELESS)
    assert not notebook.logged("ERROR", "CRITICAL") and not bench.state("alarm")
    flood = [[f"many {each}", 0, 0, 0, 0, 256] for each in range(3 * MOST)]
    notebook.kernel(SLOW.format(name="bench", seconds=0.001))
    channel = PageModel(notebook, "bench._map.channel")
    channel.send({"do": "tiles", "ask": flood, "drop": []})
    notebook.until("count => __answers.flatMap(([each]) => each.tiles ?? []).length >= count", len(flood))
    said = [state for content, _ in channel.answers() for _, state in content["tiles"]]
    assert said.count("again") >= len(flood) - MOST - 8 and notebook.kernel("longest") <= MOST
    bench.search(300)
    notebook.kernel("bench.close()")
    assert notebook.listening() == before


def wait_for_log(bench: Bench, words: str, count: int) -> None:
    """Wait until so many lines of the kernel's log say so."""
    bench.notebook.kernel(
        f"""
import time
_until = time.monotonic() + 20
while sum({words!r} in text for _, text in _Kept.kept) < {count} and time.monotonic() < _until:
    time.sleep(0.05)
"""
    )
    assert sum(words in line for line in bench.notebook.logged()) >= count
