"""When something fails, the analyst reads what and what to do, and goes on: failing verbs, damaged and lost rasters."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pyproj
import pytest
from affine import Affine
from playwright.sync_api import Locator
from small_rasters import patchwork, write_raster

import workbench as wb
from browser.bench import Bench
from browser.conftest import BuiltArchive
from browser.lab import Lab
from browser.tile_watch import TileWatch

BREAK = """
import functools

def _broken(verb):
    @functools.wraps(verb)
    def fail(*_, **__):
        raise RuntimeError(f"planted in {verb.__name__}")
    return fail

for _name in _VERBS:
    setattr(bench.session, _name, _broken(getattr(bench.session, _name)))
"""
MEND = "for _name in _VERBS:\n    delattr(bench.session, _name)"
ON_EARTH = pyproj.Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
LOGGED = """
import pathlib
_text = pathlib.Path(bench.session.store.folder, "workbench.log").read_text()
_text.count("Traceback (most recent call last)"), _text
"""


def test_P15_every_control_whose_verb_fails_says_so_in_the_status_line_and_the_log(
    lab: Lab, scene_archive: BuiltArchive, tmp_path: Path
) -> None:
    bench = Bench.open(lab, scene_archive.folder, tmp_path / "labels", shared=True)
    bench.search(400)
    bench.focus()
    bench.key("p", "p", "z")
    bench.until_state("can_redo", True)
    toolbar, card = bench.toolbar, bench.gallery.locator(".wb-card").nth(4)

    def layers(act: Callable[[Locator], object]) -> Callable[[], object]:
        return lambda: act(bench.menu("layers"))

    def form(menu: str, name: str, fill: str = "") -> Callable[[], object]:
        def send() -> None:
            found = bench.menu(menu).locator(f'[data-form="{name}"]')
            if fill:
                found.locator("input[type=text]").fill(fill)
            found.locator("button").click()

        return send

    def add_class() -> None:
        toolbar.locator(".wb-add-class").click()
        toolbar.locator(".wb-new-class").fill("ship")
        bench.key("Enter")

    def recolour() -> None:
        bench.chip("house").dblclick()
        toolbar.locator(".wb-swatch-button").first.click()

    controls: dict[str, list[Callable[[], object]]] = {
        "label": [lambda: (card.hover(), card.locator(".wb-yes").click()), lambda: (bench.focus(), bench.key("n"))],
        "go_to_page": [lambda: bench.gallery.get_by_role("button", name="Next page").click()],
        "search": [card.dblclick, form("query", "image", "chip.png")],
        "context": [lambda: (bench.focus(), bench.key("c"))],
        "show_tile": [lambda: bench.key("g")],
        "undo": [toolbar.locator(".wb-undo").click, lambda: (bench.focus(), bench.key("z"))],
        "redo": [toolbar.locator(".wb-redo").click],
        "refine": [toolbar.locator(".wb-refine").click, lambda: (bench.focus(), bench.key("r"))],
        "choose_class": [bench.chip("boat").click],
        "add_class": [add_class],
        "colour_class": [recolour],
        "use_tool": [toolbar.locator('.wb-tool[data-tool="positive"]').click],
        "act_at": [lambda: bench.click_map(0.5, 0.5)],
        "act_on": [lambda: bench.draw_rectangle(bench.at(0.4, 0.4), bench.at(0.5, 0.5))],
        "show_place": [bench.map.get_by_role("button", name="Zoom in").click],
        "go_to": [form("query", "place", "56.13, 10.19")],
        "show_layer": [layers(lambda menu: menu.get_by_label("Labels", exact=True).click())],
        "set_opacity": [layers(lambda menu: menu.get_by_label("Opacity of Imagery").fill("50"))],
        "show_stretch": [layers(lambda menu: menu.get_by_label("Stretch of the imagery").select_option("full range"))],
        "show_whole": [layers(lambda menu: menu.get_by_role("button", name="Whole imagery").click())],
        "new_paths": [lambda: bench.menu("export")],
        "write_labels": [form("export", "labels")],
        "write_chips": [form("export", "chips")],
        "train_here": [form("train", "train")],
    }
    bench.notebook.kernel(f"_VERBS = {list(controls)!r}\n" + BREAK)
    for verb, acts in controls.items():
        for act in acts:
            bench.state("set_state(status='Nothing happened.')")
            bench.until_status("Nothing happened", alarm=False)
            bench.key("Escape")
            act()
            said = bench.until_status(rf"RuntimeError \(planted in {verb}\)", alarm=True)
            assert "labels shown as saved are on disk" in said
    bench.notebook.kernel(MEND)
    bench.key("Escape", "Escape")
    tracebacks, text = bench.notebook.kernel(LOGGED)
    assert tracebacks >= sum(map(len, controls.values()))
    assert not [verb for verb in controls if f"RuntimeError: planted in {verb}\n" not in text]
    bench.search(100)
    bench.focus()
    bench.key("p")
    bench.until("root => root.querySelector('.wb-card[data-value=\"1\"]')")
    assert not bench.state("alarm")


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """An archive of three rasters side by side: one whole, one cut in half after it was indexed, one deleted."""
    for place, name in enumerate(("cut", "gone", "whole")):
        where = Affine(0.2, 0, 574_000 + 105 * place, 0, -0.2, 6_222_000)
        tiles = {"tiled": True, "blockxsize": 64, "blockysize": 64}
        write_raster(tmp_path / "in" / f"{name}.tif", patchwork(512, 512, seed=place), transform=where, **tiles)
    wb.build_archive(tmp_path / "in", tmp_path / "archive", tile=64, stride=64, encoder="texture")
    for copy in (tmp_path / "archive" / "derived").glob("quicklook-*"):
        copy.unlink()
    (tmp_path / "in" / "gone.tif").unlink()
    cut = tmp_path / "in" / "cut.tif"
    os.truncate(cut, cut.stat().st_size // 2)
    return tmp_path / "archive"


def test_of_damaged_rasters_the_good_tiles_show_and_each_bad_one_is_named_once(
    lab: Lab, damaged: Path, tmp_path: Path
) -> None:
    bench = Bench.open(lab, damaged, tmp_path / "labels", shared=True)
    said = bench.until_status("cut.tif has changed since it was indexed", alarm=True)
    assert "gone.tif is not where it was" in said
    tiles = TileWatch(bench)
    bench.page.mouse.move(5, 5)
    native = bench.state("layers.infos()[0].max_native_zoom")
    shown = []
    for place, row in ((0, 40), (0, 470), (1, 256), (2, 40), (2, 470)):
        lon, lat = ON_EARTH.transform(574_000 + 105 * place + 50, 6_222_000 - 0.2 * row)
        tiles.times_at(lon, lat, native + 1)
        shown.append(tiles.colour_at(lon, lat) != tiles.background())
    assert shown == [True, False, False, True, True]
    assert bench.status() == said, "the map says again what was said"
    with bench.new_page():
        bench.state("search(tile=150, k=200)")
    cards = bench.cards()
    assert any(card.shown for card in cards) and len(cards) == 20
    bench.focus()
    bench.key("p")
    bench.until("root => root.querySelector('.wb-card[data-value=\"1\"]')")
