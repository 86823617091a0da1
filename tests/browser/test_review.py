"""The objects of a map on screen: chosen from the menu, accepted, rejected and outlined anew by keys, and trained on again."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from browser.bench import Bench
from browser.conftest import BuiltArchive
from browser.lab import Lab
from browser.test_looks import THEMES, WINDOWS, check
from browser.test_queues import choose

MAP = """
import geopandas as gpd, numpy as np, rasterio
from pathlib import Path
from rasterio.features import rasterize
from scipy.ndimage import gaussian_filter
from shapely import affinity, box
from workbench.segmentation.polygons import polygonize, save_polygons
session = bench.session
raster = session.archive.imagery[0]
random = np.random.default_rng(5)
truth = gpd.read_file(Path({imagery!r}).parent / "scene_objects.gpkg")
boats = [raster.to_pixels(shape) for shape in truth.geometry[truth["class"] == "boat"]]
places = random.integers(200, 1850, (14, 2))
wrong = [affinity.rotate(box(x, y, x + 34, y + 16), 10 * place) for place, (x, y) in enumerate(places)]
sure = np.zeros((raster.height, raster.width), np.float32)
levels = [*random.uniform(.6, .99, len(boats)), *random.uniform(.53, .64, len(wrong))]
for shape, level in zip(boats + wrong, levels):
    sure = np.maximum(sure, level * rasterize([shape.buffer(1.5)], sure.shape, dtype=np.float32))
folder = Path({folder!r}); folder.mkdir()
profile = dict(driver="GTiff", dtype="float32", count=1, width=raster.width, height=raster.height)
with rasterio.open(folder / "map.tif", "w", crs=raster.crs, transform=raster.transform, **profile) as file:
    file.write(gaussian_filter(sure, 1.2), 1)
    file.set_band_description(1, "boat")
frame = polygonize(folder / "map.tif")
save_polygons(frame, folder / "map.gpkg")
session.choose_class("boat")
session.show_map(folder / "map.tif", frame)
len(frame)
"""


@pytest.fixture
def bench(lab: Lab, scene_archive: BuiltArchive, tmp_path: Path) -> Bench:
    made = Bench.open(lab, scene_archive.folder, tmp_path / "labels", classes=("boat", "house"), shared=True)
    assert made.notebook.kernel(MAP.format(folder=str(tmp_path / "map"), imagery=str(scene_archive.imagery))) > 20
    return made


def answers(bench: Bench) -> list[int]:
    """The values of the labels on disk, in the order in which they were said."""
    code = """
from workbench.labels.store import LabelStore as _Store
[label.value for label in _Store(bench.session.store.folder).labels("boat")]
"""
    return list(bench.notebook.kernel(code))


def test_objects_are_accepted_rejected_and_outlined_anew_by_keys(bench: Bench) -> None:
    choose(bench, "objects uncertain")
    cards = bench.cards()
    assert len(cards) == 20 and all(card.score.endswith("%") and card.shown for card in cards)
    shares = [int(card.score.strip("%")) for card in cards]
    assert shares == sorted(shares)
    expect(bench.gallery.locator(".wb-card:not([hidden]) .wb-object path[d]")).to_have_count(20)
    bench.focus()
    bench.key("p", "n")
    expect(bench.card(cards[0].number)).to_have_attribute("data-value", "1")
    expect(bench.card(cards[1].number)).to_have_attribute("data-value", "-1")
    assert answers(bench) == [1, -1]
    bench.key("e")
    bench.until_state("tool", "edit")
    expect(bench.toolbar.locator('.wb-tool[data-tool="edit"]')).to_be_visible()
    bench.page.wait_for_timeout(600)  # the map moves there
    across, down = bench.at(0.5, 0.5)
    corners = [(across - 30, down - 25), (across + 35, down - 20), (across + 28, down + 30), (across - 32, down + 26)]
    bench.notebook.screenshot("review-drawing")
    for point in (*corners, corners[0]):
        bench.page.mouse.move(*point, steps=2)
        bench.page.mouse.click(*point)
        bench.page.wait_for_timeout(80)
    expect(bench.card(cards[2].number)).to_have_attribute("data-value", "1")
    bench.until_state("selected", cards[3].number)
    assert answers(bench) == [1, -1, 1]
    bench.key("z")
    expect(bench.card(cards[2].number)).to_have_attribute("data-value", "0")
    bench.key("Shift+Z")
    expect(bench.card(cards[2].number)).to_have_attribute("data-value", "1")
    with bench.new_page():
        bench.key("r")
    assert not {card.number: card.value for card in bench.cards() if card.value}
    assert bench.state("hits[0].score") >= shares[0] / 100


@pytest.mark.parametrize("theme", THEMES)
def test_the_review_can_be_read_and_training_offers_to_go_on(bench: Bench, theme: str) -> None:
    bench.notebook.theme(theme)
    choose(bench, "objects uncertain")
    bench.focus()
    bench.key("n", "n", "n")
    for place in (9, 12, 15):
        bench.card(bench.cards()[place].number).click()
        bench.key("p")
    bench.point_away()
    for window, (width, height) in WINDOWS.items():
        bench.page.set_viewport_size({"width": width, "height": height})
        bench.root.evaluate("root => root.scrollIntoView({ block: 'end' })")
        check(bench)
        bench.notebook.screenshot(f"review-{theme}-{window}")
        bench.focus()
        bench.key("w")
        check(bench)
        bench.notebook.screenshot(f"review-menu-{theme}-{window}")
        bench.key("Escape")
    bench.focus()
    bench.key("c")
    expect(bench.gallery.locator(".wb-context .wb-object")).to_be_visible()
    bench.notebook.screenshot(f"review-context-{theme}")
    bench.key("Escape")
    panel = bench.menu("train")
    box = panel.get_by_label("go on from the last network")
    expect(box).to_be_disabled()
    bench.notebook.screenshot(f"review-train-{theme}")
