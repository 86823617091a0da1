"""Finding: what a click or a drawn outline brings, and how map and gallery show the same."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
import shapely
from affine import Affine
from playwright.sync_api import expect
from small_rasters import patchwork, write_raster

import workbench as wb
from browser.bench import Bench
from browser.conftest import BuiltArchive
from browser.lab import Lab

REPOSITORY = Path(__file__).parents[2]
LEFT_OF_A_DRAWING = ".leaflet-overlay-pane path, .leaflet-marker-icon, .leaflet-draw-tooltip, .leaflet-draw-guide-dash"
COUNT_CLICKS = """() => {
  window.clicks = 0;
  document.querySelector(".leaflet-container").addEventListener("wb-click", () => (window.clicks += 1));
}"""
EMPHASISED = (
    "(root, number) => root.querySelector(`path[data-number='${number}']`).getAttribute('stroke-width') === '4'"
)
OUTLINED = """(root, numbers) => {
  const shown = [...root.querySelectorAll("path.wb-hit")].map((path) => Number(path.dataset.number));
  return shown.length === numbers.length && numbers.every((number) => shown.includes(number));
}"""
SELECTED = "(root, rank) => root.querySelector('.wb-selected .wb-rank')?.textContent === String(rank)"
AFTER_DRAWING = "since => performance.now() - since > 450"


@pytest.fixture
def bench(lab: Lab, scene_archive: BuiltArchive, tmp_path: Path) -> Bench:
    return Bench.open(lab, scene_archive.folder, tmp_path / "labels", more=["bench"], shared=True)


def test_the_first_notebook_runs_from_top_to_bottom_and_shows_a_workbench(lab: Lab, tmp_path: Path) -> None:
    given = json.loads((REPOSITORY / "notebooks" / "01_find_things.ipynb").read_text())
    for cell in given["cells"]:
        cell["source"] = "".join(cell["source"]).replace("size=4096", "size=1024")
    (copy := tmp_path / "find.ipynb").write_text(json.dumps(given))
    notebook = lab.open(copy)
    notebook.kernel("import os; os.environ.pop('TQDM_DISABLE')")  # progress as an analyst sees it
    notebook.run_all()
    shows = next(place for place, cell in enumerate(given["cells"]) if "wb.Workbench" in cell["source"])
    bench = Bench(notebook, shows)
    bench.wait_until_shown()
    bench.search(40)
    assert len(bench.cards()) == 20
    notebook.save()
    saved = json.loads(notebook.path.read_text())
    outputs = [output for cell in saved["cells"] for output in cell.get("outputs", ())]
    assert len(outputs) >= 4 and not [output for output in outputs if output.get("name") == "stderr"]


def test_a_click_on_a_tile_fills_the_gallery_and_outlines_the_page_on_the_map(
    each_lab: Lab, scene_archive: BuiltArchive, tmp_path: Path
) -> None:
    bench = Bench.open(each_lab, scene_archive.folder, tmp_path / "labels", shared=True)
    bench.search(400)
    cards = bench.cards()
    assert [card.number for card in cards] == bench.hits()[:20] and cards[0].number == 400
    assert [card.rank for card in cards] == list(range(1, 21)) and cards[0].score == "1.000"
    assert all(card.shown for card in cards)
    bench.until(OUTLINED, sorted(card.number for card in cards))
    expect(bench.root.locator("path.wb-query")).to_have_count(1)
    bench.until_status(r"^200 hits like tile 400\.$")


def test_a_drawn_outline_is_searched_at_its_own_size_and_the_drawing_goes(bench: Bench) -> None:
    bench.page.evaluate(COUNT_CLICKS)
    rectangle = [bench.at(0.3, 0.3), bench.at(0.52, 0.3), bench.at(0.52, 0.5), bench.at(0.3, 0.5)]
    triangle = [bench.at(0.4, 0.4), bench.at(0.6, 0.45), bench.at(0.5, 0.7)]
    for corners in (rectangle, triangle):
        with bench.new_page():
            if len(corners) == 4:
                bench.draw_rectangle(corners[0], corners[2])
            else:
                bench.draw_polygon(*corners)
        searched = shapely.Polygon([bench.point(lon, lat) for lat, lon in bench.state("query_ring")])
        assert searched.symmetric_difference(shapely.Polygon(corners)).area < 0.05 * searched.area
        assert bench.state("query") == "a drawn outline" and bench.cards()[0].score < "1.000"
        assert bench.map.locator(LEFT_OF_A_DRAWING).count() == 0
        assert bench.notebook.kernel("bench._map._draw.data") == []
        assert bench.root.locator("path.wb-query").count() == 1
    bench.notebook.until(AFTER_DRAWING, bench.page.evaluate("performance.now()"))
    assert bench.page.evaluate("window.clicks") == 0
    with bench.new_page():
        bench.click_map(0.5, 0.5)
    assert bench.page.evaluate("window.clicks") == 1 and bench.state("query").startswith("tile ")


def test_a_card_and_its_outline_point_at_each_other(bench: Bench) -> None:
    bench.search(400)
    bench.point_away()
    bench.until("root => !root.querySelector('.wb-hovered')")
    plain = {outline.number: outline for outline in bench.outlines()}
    number = bench.cards()[7].number
    bench.card(number).hover()
    bench.until(EMPHASISED, number)
    assert {each.number for each in bench.outlines() if each != plain[each.number]} == {number}
    bench.point_away()
    bench.until(f"(root, number) => !({EMPHASISED})(root, number)", number)
    assert {outline.number: outline for outline in bench.outlines()} == plain
    bench.page.mouse.move(*bench.point(*bench.middle_of(number)))
    bench.until("root => root.querySelector('.wb-card.wb-hovered')")
    pointed = [card.number for card in bench.cards() if card.hovered]
    assert len(pointed) == 1 and [each.number for each in bench.outlines() if each != plain[each.number]] == pointed
    bench.until_state("hovered", pointed[0])
    bench.point_away()
    bench.until("root => !root.querySelector('.wb-hovered')")
    bench.until_state("hovered", -1)


def test_pages_turn_by_button_and_key_and_a_second_view_shows_the_same_page_selection_and_place(bench: Bench) -> None:
    bench.search(400)
    hits = bench.hits()
    for title, first in (("Next page", 21), ("Next page", 41), ("Previous page", 21), ("First page", 1)):
        with bench.new_page():
            bench.gallery.locator(f'button[title^="{title}"]').click()
        assert [card.number for card in bench.cards()] == hits[first - 1 : first + 19]
        assert selected(bench) == first
    for key, rank, page in (
        (" ", 21, 1),
        ("Shift+ ", 1, 0),
        ("End", 20, 0),
        ("ArrowRight", 21, 1),
        ("ArrowLeft", 20, 0),
    ):
        bench.key(key)
        bench.until(SELECTED, rank)
        assert bench.cards()[0].rank == 20 * page + 1
    bench.key("Home", "ArrowDown", "ArrowRight", " ", "ArrowRight", "ArrowDown", "g")
    bench.until(SELECTED, 27)
    zoom = bench.state("map_view")["zoom"]
    bench.map.locator(".leaflet-control-zoom-in").click()
    bench.until_state("map_view['zoom']", zoom + 1)
    bench.notebook.run(1)
    other = Bench(bench.notebook, 1)
    other.wait_until_shown()
    other.until(SELECTED, 27)
    assert [card.number for card in other.cards()] == hits[20:40]
    assert place_of(other, hits[26]) == pytest.approx(place_of(bench, hits[26]), abs=2)


def test_refine_ranks_anew_by_the_labels_and_says_by_what(bench: Bench) -> None:
    refine = bench.toolbar.locator(".wb-refine")
    expect(refine).to_be_disabled()
    expect(refine).to_have_attribute("title", re.compile("Search for something, or mark a tile"))
    bench.search(400)
    kind, before = bench.state("scorer.kind"), bench.hits()
    assert kind in bench.gallery.locator(".wb-gallery-title").inner_text()
    bench.key("p", "n", "n", "p", "n")
    bench.until_state("label_counts()['house']", [2, 3])
    with bench.new_page():
        refine.click()
    assert bench.hits() != before and bench.state("scorer.kind") != kind
    assert bench.state("scorer.kind") in bench.gallery.locator(".wb-gallery-title").inner_text()
    with bench.new_page():
        bench.key("n", "n", "n", "p", "r")


def test_the_map_says_where_the_pointer_is_how_long_a_metre_is_and_what_its_colours_mean(bench: Bench) -> None:
    bench.search(400)
    for across, down in ((0.3, 0.3), (0.62, 0.7), (0.5, 0.21)):
        lat, lon, crs, *place = readout(bench, across, down)
        assert bench.point(lon, lat) == pytest.approx(bench.at(across, down), abs=1.5)
        code = f"import pyproj; pyproj.Transformer.from_crs(4326, {crs!r}, always_xy=True).transform({lon}, {lat})"
        assert crs == "EPSG:32632" and place == pytest.approx(bench.notebook.kernel(code), abs=0.1)
    bar = bench.map.locator(".leaflet-control-scale-line")
    share = bar.evaluate("bar => bar.offsetWidth / bar.closest('.leaflet-container').offsetWidth")
    metres = math.dist(readout(bench, 0.3, 0.5)[3:], readout(bench, 0.3 + share, 0.5)[3:])
    assert bar.inner_text() == f"{round(metres, -1):.0f} m"
    assert "best 5 %" in bench.map.locator(".wb-legend").inner_text()
    assert "tile 128 px = 25.6 m · 961 tiles" in bench.status_line.inner_text()


def test_imagery_without_a_place_on_earth_is_looked_at_and_labelled_in_the_gallery(lab: Lab, tmp_path: Path) -> None:
    write_raster(tmp_path / "plain.tif", patchwork(512, 512), crs=None, transform=Affine.identity())
    wb.build_archive(tmp_path / "plain.tif", tmp_path / "archive", tile=64, stride=64, encoder="texture")
    bench = Bench.open(lab, tmp_path / "archive", tmp_path / "labels", shared=True)
    assert "no place on earth" in bench.map.locator(".wb-map-note").inner_text()
    assert "no place on earth" in bench.gallery.locator(".wb-empty-text").inner_text()
    with bench.new_page():
        bench.gallery.locator(".wb-browse").click()
    shown = [card.number for card in bench.cards()]
    assert len(set(shown)) == 20 and {card.score for card in bench.cards()} == {"–"}
    bench.key("p", "ArrowRight", "n")
    bench.until_state("label_counts()['house']", [1, 1])
    assert bench.labels() == {"house": {shown[0]: 1, shown[2]: -1}}
    with bench.new_page():
        bench.card(shown[5]).dblclick()
    assert bench.cards()[0].number == shown[5] and bench.outlines() == []
    bench.key("g")
    bench.until_status("no place on earth|no coordinate", alarm=True)


def selected(bench: Bench) -> int:
    """Rank of the selected card, of which there is one."""
    (rank,) = [card.rank for card in bench.cards() if card.selected]
    return rank


def place_of(bench: Bench, number: int) -> list[float]:
    """Where a tile's outline is on the map, in pixels from its corner, and how large."""
    box, of = bench.map.locator(f"path[data-number='{number}']").bounding_box(), bench.map.bounding_box()
    assert box is not None and of is not None
    return [box["x"] - of["x"], box["y"] - of["y"], box["width"], box["height"]]


def readout(bench: Bench, across: float, down: float) -> tuple[float, float, str, float, float]:
    """What the map says of a point, by its share of width and height: lat, lon, system, x, y."""
    bench.page.mouse.move(*bench.at(across, down))
    lines = bench.map.locator(".wb-readout span").all_inner_texts()
    said = re.fullmatch(r"lat (\S+), lon (\S+) (EPSG:\d+) (\S+), (\S+)", " ".join(lines))
    assert said is not None
    return float(said[1]), float(said[2]), said[3], float(said[4]), float(said[5])
