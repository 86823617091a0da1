"""Long work goes on behind the screen: the map, searching and labelling answer while a cell runs and a network trains."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import geopandas as gpd
import rasterio
from playwright.sync_api import Locator, expect

from browser.bench import OPEN, Bench
from browser.conftest import BuiltArchive
from browser.figures import Figures
from browser.lab import Lab
from browser.tile_watch import TileWatch
from workbench.segmentation.unet import load_model

TILES = 40
BUSY = "import threading\nrelease = threading.Event()\nrelease.wait(120)"
LABELLED = """
import geopandas as gpd, os, shapely
os.environ["TORCH_HOME"] = {nowhere!r}  # no weights: the small network
area = shapely.box(574100, 6221700, 574300, 6221900)
things = gpd.read_file({objects!r})
bench.session.import_labels(things[things.within(area.buffer(20))], class_name="thing")
bench.session.declare_complete(area, crs="EPSG:32632")
bench.session.choose_class("thing")
"""
PROGRESS = r"training: [\d,]+ of [\d,]+ batches, \d.* left"


def labelled_bench(lab: Lab, archive: BuiltArchive, folder: Path) -> Bench:
    """A workbench on the scene with labels enough for a network."""
    bench = Bench.open(lab, archive.folder, folder / "labels")
    objects = archive.imagery.parent / "scene_objects.gpkg"
    bench.notebook.kernel(LABELLED.format(nowhere=str(folder), objects=str(objects)))
    return bench


def train(bench: Bench, *, epochs: int, map_after: bool) -> None:
    """Start a training from the toolbar, of quick epochs."""
    menu = bench.menu("train")
    menu.get_by_label("Chip size").fill("64")
    menu.get_by_role("spinbutton", name="or epochs").fill(str(epochs))
    menu.get_by_label("map all imagery when trained").set_checked(map_after)
    menu.get_by_role("button", name="Train", exact=True).click()
    expect(menu).to_be_hidden()


def look_around(bench: Bench, tiles: TileWatch, record: Figures, name: str) -> None:
    """Zoom in and out on the map until it asked for many tiles: each of them arrives."""
    bench.notebook.watch_tiles()
    tiles.forget()
    for way in ("Zoom in", "Zoom in", "Zoom out", "Zoom out") * 4:
        if bench.notebook.tiles()["wanted"] >= TILES:
            break
        tiles.zoom(way)
    seen = bench.notebook.tiles()
    assert seen["loaded"] == seen["wanted"] >= TILES and seen["cancelled"] == 0
    for event in tiles.events(layer=0):
        record(name, event["ms"])


def search_and_label(bench: Bench, record: Figures, name: str) -> None:
    """Click a tile on the map, label the first hits by key; each label is on disk and shown."""
    before = bench.gallery.get_attribute("data-key")
    full = f"() => document.querySelector('.wb-gallery[data-full=true]:not([data-key=\"{before}\"])') !== null"
    point = bench.at(0.45, 0.55)
    record(f"click_to_gallery_ms_{name}", bench.notebook.measure(partial(bench.page.mouse.click, *point), full))
    bench.focus()
    bench.key("Home")
    cards = bench.cards()[:5]
    for card in cards:
        bench.until("(root, number) => root.querySelector('.wb-selected').dataset.number === number", str(card.number))
        marked = f"() => document.querySelector('.wb-card[data-number=\"{card.number}\"]').dataset.value === '1'"
        record(f"label_to_mark_ms_{name}", bench.notebook.measure(partial(bench.key, "p"), marked))
    labels = bench.labels()[bench.state("class_name")]
    assert all(labels[card.number] == 1 for card in cards)


def test_map_gallery_and_labels_answer_while_a_cell_runs(
    lab: Lab, scene_archive: BuiltArchive, tmp_path: Path, record: Figures
) -> None:
    cell = OPEN.format(archive=str(scene_archive.folder), labels=str(tmp_path / "labels"), classes=["house"])
    notebook = lab.open([cell, BUSY])
    bench = Bench(notebook)
    notebook.run_all(wait=False)
    bench.wait_until_shown()
    tiles = TileWatch(bench)
    tiles.settle()
    assert notebook.runs(1)
    look_around(bench, tiles, record, "tile_ms_while_a_cell_runs")
    search_and_label(bench, record, "while_a_cell_runs")
    assert notebook.runs(1)
    notebook.kernel("release.set()")
    notebook.wait_for(1)


def test_map_gallery_and_labels_answer_while_a_network_trains_and_cancel_stops_it(
    lab: Lab, scene_archive: BuiltArchive, tmp_path: Path, record: Figures
) -> None:
    bench = labelled_bench(lab, scene_archive, tmp_path)
    tiles = TileWatch(bench)
    train(bench, epochs=500, map_after=False)
    job, curve = bench.status_line.locator(".wb-job"), bench.status_line.locator(".wb-curve")
    expect(job.locator(".wb-progress")).to_have_text(re.compile(PROGRESS), timeout=60_000)
    expect(curve.locator("svg").first).to_be_visible(timeout=60_000)
    bench.notebook.screenshot("training")
    early = last_epoch(curve)
    look_around(bench, tiles, record, "tile_ms_while_a_network_trains")
    search_and_label(bench, record, "while_a_network_trains")
    bench.until(
        "(root, early) => Number(/epoch (\\d+)/.exec(root.querySelector('.wb-curve-head').innerText)[1]) > early", early
    )
    assert bench.state("running") == "training"
    job.get_by_role("button", name="Cancel").click()
    said = bench.until_status("training: Training was stopped. The best model so far, of epoch", alarm=False)
    assert load_model(Path(said.split(" is in ")[1].rstrip(".")) / "model.safetensors").card.classes
    expect(job).to_be_hidden()
    assert bench.state("running") == "" and bench.state("job.state") == "cancelled"
    threads = bench.notebook.kernel("import threading\n[each.name for each in threading.enumerate()]")
    assert not [name for name in threads if name.startswith("job")]


def last_epoch(curve: Locator) -> int:
    """The epoch that the learning curve ends with."""
    found = re.search(r"epoch (\d+)", curve.locator(".wb-curve-head").inner_text())
    assert found
    return int(found[1])


def test_a_training_that_ends_puts_its_map_and_polygons_on_the_screen_and_on_disk(
    lab: Lab, scene_archive: BuiltArchive, tmp_path: Path
) -> None:
    bench = labelled_bench(lab, scene_archive, tmp_path)
    train(bench, epochs=2, map_after=True)
    said = bench.until_status(r"Mapped: [\d,]+ thing; polygons in ", alarm=False, timeout_s=120)
    run = next((tmp_path / "runs").iterdir())
    assert {path.name for path in run.iterdir()} >= {"chips", "unet", "map.tif", "map.gpkg"}
    assert said.endswith(f"polygons in {run / 'map.gpkg'}.")
    for number, name in ((2, "Prediction"), (3, "Polygons")):
        layer = bench.map.locator(f".wb-layer-{number}")
        expect(layer.locator("img[src]").first).to_be_attached()
        expect(bench.map.locator(".wb-legend")).to_contain_text(name)
    TileWatch(bench).settle()
    bench.notebook.screenshot("trained")
    with rasterio.open(run / "map.tif") as mapped, rasterio.open(scene_archive.imagery) as scene:
        assert (mapped.transform, mapped.crs, mapped.shape) == (scene.transform, scene.crs, scene.shape)
        assert mapped.descriptions == ("thing",)
    polygons = gpd.read_file(run / "map.gpkg", layer="map")
    assert set(polygons["class"]) == {"thing"} and polygons.crs == "EPSG:32632"
    assert f"Mapped: {len(polygons):,} thing" in said
    assert Path(bench.notebook.kernel("str(bench.session.model)")).is_file()
