"""The map's layers: each shows what it should where it is on earth, changes on its own, and answers nothing else."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from numpy.typing import NDArray
from small_archives import MeanColour
from small_map import picture, tile_of
from small_rasters import patchwork, write_raster

from workbench.descriptors.archive import Archive, open_archive
from workbench.descriptors.build import build_archive
from workbench.errors import QueryInvalid, RasterUnreadable, ShapeMismatch
from workbench.imagery import xyz
from workbench.imagery.opening import open_imagery
from workbench.imagery.pictures import STRETCHES
from workbench.labels.events import Place
from workbench.labels.fold import Label, LabelClass
from workbench.layers import GRID, HEAT, IMAGERY, LABELS, NAMES, POLYGONS, PREDICTION, Layers
from workbench.search.ranks import RANKS

NORTH, SOUTH = Affine(0.5, 0, 574_000, 0, -0.5, 6_222_000), Affine(0.5, 0, 574_100, 0, -0.5, 6_222_000)
ROOF = LabelClass(1, "roof", "#ff0000")


def built(folder: Path, *places: Affine, holes: bool = False) -> Archive:
    """An archive of overlapping rasters of 640 pixels, the first with holes in its right half if wanted."""
    for number, place in enumerate(places):
        pixels = patchwork(640, 640, seed=number)
        if holes and number == 0:
            pixels[:, :, 320:] = 0
        tiles = {"tiled": True, "blockxsize": 64, "blockysize": 64, "nodata": 0}
        write_raster(folder / f"{number}.tif", pixels, transform=place, **tiles)
    return build_archive(open_imagery(folder), folder / "archive", tile=64, stride=32, encoder=MeanColour())


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return built(tmp_path_factory.mktemp("layers") / "imagery", NORTH, SOUTH)


@pytest.fixture
def layers(archive: Archive) -> Layers:
    return Layers(archive)


def at(layers: Layers, number: int, col: float, row: float, z: int = 18, *, raster: int = 0) -> list[int]:
    """RGBA that a layer shows at a raster's pixel."""
    image = layers._archive.imagery[raster]
    x, y, across, down = tile_of(image, col, row, z)
    return picture(layers.tile(number, x, y, z))[down, across].tolist()


def scores_of(archive: Archive, best: int) -> NDArray[np.float32]:
    scores = np.linspace(0, 0.5, len(archive), dtype=np.float32)
    scores[best] = 1
    return scores


def middle(archive: Archive, number: int) -> tuple[float, float]:
    tile = archive.tile(number)
    return tile.col + tile.size / 2, tile.row + tile.size / 2


def label(archive: Archive, value: int, class_name: str = "roof", number: int = 0) -> Label:
    outline = archive.imagery[0].from_pixels(shapely.box(100, 100, 164, 164))
    return Label(f"s/{number}/1", Place("f", outline, "EPSG:32632"), class_name, value, "now", "me")


def test_imagery_is_what_was_searched(layers: Layers, archive: Archive) -> None:
    image = archive.imagery[0]
    x, y, *_ = tile_of(image, 320, 320, 19)
    quick = archive.quicklook(0)
    alone = picture(xyz.xyz_tile(image, x, y, 19, archive.stretch(0), quicklook=quick))
    together = picture(layers.tile(IMAGERY, x, y, 19))
    inside = alone[..., 3] > 0
    assert inside.any() and np.abs(together[inside].astype(int) - alone[inside]).mean() < 3


def test_where_the_first_raster_has_holes_the_next_shows(tmp_path: Path) -> None:
    archive = built(tmp_path, NORTH, SOUTH, holes=True)
    layers = Layers(archive)
    below = archive.imagery[1].read()[:, 300, 300].filled(0)
    shown = at(layers, IMAGERY, 300, 300, 19, raster=1)
    assert shown[3] == 255 and np.abs(np.subtract(shown[:3], below)).mean() < 25
    above = archive.imagery[0].read()[:, 300, 260].filled(0)
    assert np.abs(np.subtract(at(layers, IMAGERY, 260, 300, 19)[:3], above)).mean() < 25
    assert at(layers, IMAGERY, 100, -20, 19)[3] == 0


def test_a_lost_raster_is_reported_and_the_others_stay_on_the_map(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    archive = built(tmp_path, NORTH, SOUTH)
    for copy in (tmp_path / "archive" / "derived").glob("*.tif"):
        copy.unlink()
    layers = Layers(archive)
    image = archive.imagery[0]
    kept = (tmp_path / "0.tif").read_bytes()
    (tmp_path / "0.tif").unlink()
    x, y, *_ = tile_of(image, 600, 300, 18)
    lonely, lonely_y, *_ = tile_of(image, 20, 300, 20)
    for _ in range(3):
        assert layers.tile(IMAGERY, x, y, 18) is not None
        with pytest.raises(RasterUnreadable, match=r"0\.tif"):
            layers.tile(IMAGERY, lonely, lonely_y, 20)
    (problem,) = layers.problems
    assert "0.tif" in problem
    (tmp_path / "0.tif").write_bytes(kept)
    assert sum("0.tif" in line for line in caplog.text.splitlines()) == 1
    assert layers.tile(IMAGERY, lonely, lonely_y, 20) is not None
    assert layers.tile(IMAGERY, x, y, 18) == Layers(archive).tile(IMAGERY, x, y, 18), "the failure is not remembered"


def test_a_damaged_raster_is_named_once_and_what_can_be_read_of_it_is_shown(tmp_path: Path) -> None:
    archive = built(tmp_path, NORTH, SOUTH)
    layers = Layers(archive)
    image = archive.imagery[0]
    os.truncate(tmp_path / "0.tif", (tmp_path / "0.tif").stat().st_size // 2)
    shown = []
    for row in range(40, 600, 40):
        x, y, *_ = tile_of(image, 100, row, 21)
        try:
            shown.append(layers.tile(IMAGERY, x, y, 21) is not None)
        except RasterUnreadable:
            shown.append(False)
    assert shown[0] and shown.count(False) >= 3
    (problem,) = layers.problems
    assert "0.tif" in problem
    again = open_archive(tmp_path / "archive")
    assert again.problems
    opened = Layers(again)
    with pytest.raises(RasterUnreadable):
        opened.tile(IMAGERY, x, y, 21)
    assert opened.problems == (), "what the archive said when it was opened is not said again"


@pytest.mark.parametrize(
    "asked",
    [
        (6, 0, 0, 0, 256),
        (-1, 0, 0, 0, 256),
        (10**5000, 0, 0, 0, 256),
        ("0", 0, 0, 0, 256),
        (True, 0, 0, 0, 256),
        (0, 0.0, 0, 0, 256),
        (0, 0, None, 0, 256),
        (0, 1, 0, 0, 256),
        (0, 0, -1, 3, 256),
        (0, 2**70, 0, 60, 256),
        (0, 0, 0, 10**5000, 256),
        (0, 0, 0, 0, 10**9),
        (0, 0, 0, 0, 0),
        (0, "../../etc/passwd", 0, 0, 256),
    ],
)
def test_P19_what_is_no_tile_of_a_layer_is_refused_in_words(layers: Layers, asked: tuple[int, ...]) -> None:
    with pytest.raises(QueryInvalid) as refusal:
        layers.tile(*asked)
    assert len(str(refusal.value)) < 300


def test_a_change_raises_the_version_of_its_layer_only(layers: Layers, archive: Archive) -> None:
    frame = gpd.GeoDataFrame({"class": ["roof"]}, geometry=[shapely.box(0, 0, 1, 1)], crs="EPSG:4326")
    changes = {
        IMAGERY: lambda: layers.set_stretch("2-98 %"),
        HEAT: lambda: layers.set_scores(scores_of(archive, 0)),
        PREDICTION: lambda: layers.set_prediction([], {}),
        POLYGONS: lambda: layers.set_polygons(frame, {}),
        LABELS: lambda: layers.set_labels([label(archive, 1)], [ROOF], "roof"),
    }
    for number, change in changes.items():
        before = [info.version for info in layers.infos()]
        change()
        after = [info.version for info in layers.infos()]
        assert np.flatnonzero(np.subtract(after, before)).tolist() == [number]
        assert after[number] == before[number] + 1
    assert [info.name for info in layers.infos()] == list(NAMES)
    assert [info.available for info in layers.infos()] == [True, True, False, True, True, True]


def test_the_best_tiles_are_coloured_by_rank_and_the_rest_are_not(layers: Layers, archive: Archive) -> None:
    best = len(archive) // 3
    layers.set_scores(scores_of(archive, best))
    raster = archive.tile(best).raster
    colour = [int(RANKS[0][1][place : place + 2], 16) for place in (1, 3, 5)]
    assert at(layers, HEAT, *middle(archive, best), 19, raster=raster) == [*colour, 255]
    levels = sum(
        picture(layers.tile(HEAT, x, y, 19))[..., 3].any()
        for x, y in {tile_of(archive.imagery[0], col, row, 19)[:2] for col in (50, 250) for row in (50, 150)}
    )
    assert levels == 0, "the first raster has the least of all scores"
    layers.set_scores(None)
    assert at(layers, HEAT, *middle(archive, best), 19, raster=raster)[3] == 0


def test_scores_of_another_archive_are_refused(layers: Layers) -> None:
    with pytest.raises(ShapeMismatch, match="one score a tile"):
        layers.set_scores(np.zeros(3, np.float32))


def test_the_tile_that_a_click_finds_is_the_one_whose_colour_is_there(layers: Layers, archive: Archive) -> None:
    from workbench.search.query import tile_at

    for place in np.random.default_rng(0).uniform(0, 200, (5, 2)):
        lonlat = archive.imagery[0].from_pixels(shapely.Point(place), "EPSG:4326")
        number = tile_at(archive, lonlat.x, lonlat.y)
        layers.set_scores(scores_of(archive, number))
        assert at(layers, HEAT, *place, 20)[:3] == [int(RANKS[0][1][digit : digit + 2], 16) for digit in (1, 3, 5)]


def test_a_prediction_shows_its_classes_and_a_bad_one_is_reported(
    layers: Layers, archive: Archive, tmp_path: Path
) -> None:
    values = np.zeros((2, 640, 640), np.uint8)
    values[0, :, :300], values[1, :, 300:] = 254, 200
    good = write_raster(tmp_path / "p.tif", values, transform=NORTH, nodata=255, names=("roof", "tree"))
    (tmp_path / "bad.tif").write_bytes(b"<html>")
    layers.set_prediction([tmp_path / "bad.tif", good], {"roof": "#ff0000"}, 0.6)
    assert at(layers, PREDICTION, 100, 100) == [255, 0, 0, 255]
    tree = at(layers, PREDICTION, 400, 100)
    assert tree[:3] != [255, 0, 0] and 100 < tree[3] < 255
    assert "bad.tif" in layers.problems[0]
    (legend,) = [entries for name, entries in layers.legend() if name == NAMES[PREDICTION]]
    assert legend[0] == ("#ff0000", "roof, 60% or more") and legend[1][1].startswith("tree")
    layers.set_prediction([tmp_path / "bad.tif"], {})
    assert not layers.infos()[PREDICTION].available and len(layers.problems) == 1


def test_polygons_in_any_system_are_on_the_map_in_the_colour_of_their_class(layers: Layers, archive: Archive) -> None:
    outline = archive.imagery[0].from_pixels(shapely.box(100, 100, 300, 300))
    frame = gpd.GeoDataFrame({"class": ["tree"]}, geometry=[outline], crs="EPSG:32632").to_crs("EPSG:4326")
    layers.set_polygons(frame, {"tree": "#00ff00"})
    inside = at(layers, POLYGONS, 200, 200)
    assert inside[:3] == [0, 255, 0] and 0 < inside[3] < 128 and at(layers, POLYGONS, 400, 400)[3] == 0
    assert (NAMES[POLYGONS], [("#00ff00", "tree")]) in layers.legend()
    for nothing in (None, frame.iloc[:0], frame.set_crs(None, allow_override=True)):
        layers.set_polygons(nothing, {})
        assert layers.tile(POLYGONS, 0, 0, 0) is None and not layers.infos()[POLYGONS].available


def test_labels_appear_at_once(layers: Layers, archive: Archive) -> None:
    assert at(layers, LABELS, 132, 132)[3] == 0
    layers.set_labels([label(archive, 1)], [ROOF], "roof")
    assert at(layers, LABELS, 132, 132)[:3] == [255, 0, 0]
    layers.set_labels([label(archive, -1, number=1)], [ROOF], "roof")
    assert at(layers, LABELS, 132, 132)[3] < 20
    layers.set_labels([], [ROOF], "roof")
    assert not layers.infos()[LABELS].available


def test_the_grid_is_drawn_only_where_there_is_room_for_it(layers: Layers, archive: Archive) -> None:
    shown = {z: layers.tile(GRID, *tile_of(archive.imagery[0], 320, 320, z)[:2], z) for z in range(15, 21)}
    assert shown[15] is None and shown[20] is not None


def test_each_stretch_has_its_look(layers: Layers, archive: Archive) -> None:
    looks = {}
    for name in (*STRETCHES, STRETCHES[0]):
        layers.set_stretch(name)
        looks.setdefault(name, []).append(layers.tile(IMAGERY, *tile_of(archive.imagery[0], 320, 320, 18)[:2], 18))
    assert looks[STRETCHES[0]][0] == looks[STRETCHES[0]][1] != looks["2-98 %"][0]
    with pytest.raises(QueryInvalid, match="no stretch 'odd'"):
        layers.set_stretch("odd")


def test_a_tile_is_painted_once(layers: Layers, archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, *_ = tile_of(archive.imagery[0], 320, 320, 18)
    first = layers.tile(IMAGERY, x, y, 18)
    monkeypatch.setattr(layers._mosaic, "paint", lambda *_: pytest.fail("painted again"))
    assert layers.tile(IMAGERY, x, y, 18) is first
    layers.set_labels([label(archive, 1)], [ROOF], "roof")
    assert layers.tile(IMAGERY, x, y, 18) is first


def test_once_warm_the_first_view_is_there(layers: Layers, archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    layers.warm_up()
    view = layers._mosaic.tiles_of_all()
    monkeypatch.setattr(layers._mosaic, "paint", lambda *_: pytest.fail("painted again"))
    assert any(layers.tile(IMAGERY, *tile) for tile in view)


def test_warming_up_outlives_a_lost_raster(tmp_path: Path) -> None:
    archive = built(tmp_path, NORTH)
    for path in (tmp_path / "0.tif", *(tmp_path / "archive" / "derived").glob("*.tif")):
        path.unlink()
    layers = Layers(archive)
    layers.warm_up()
    assert "0.tif" in layers.problems[0]


def test_the_legend_is_of_what_is_shown(layers: Layers, archive: Archive) -> None:
    assert layers.legend() == []
    layers.set_scores(scores_of(archive, 0))
    layers.set_labels([label(archive, 1)], [ROOF], "roof")
    assert [name for name, _ in layers.legend()] == [NAMES[HEAT], NAMES[LABELS]]
    assert layers.legend((LABELS, IMAGERY)) == [(NAMES[LABELS], [("#ff0000", "roof")])]
    assert layers.legend((HEAT,))[0][1][0] == (RANKS[0][1], "best 0.25 %")


def test_imagery_without_a_place_on_earth_has_no_layers(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", patchwork(640, 640), crs=None)
    archive = build_archive(open_imagery(tmp_path), tmp_path / "archive", tile=64, stride=32, encoder=MeanColour())
    layers = Layers(archive)
    layers.set_scores(scores_of(archive, 0))
    layers.set_stretch("2-98 %")
    assert not any(info.available for info in layers.infos())
    assert all(layers.tile(number, 0, 0, 0) is None for number in range(len(NAMES)))


def test_vector_layers_stay_sharp_beyond_the_pixels(layers: Layers) -> None:
    zooms = [info.max_native_zoom for info in layers.infos()]
    assert zooms[IMAGERY] == zooms[PREDICTION] == zooms[LABELS] - 3 == zooms[GRID] - 3


def test_tiles_may_be_asked_for_while_everything_changes(layers: Layers, archive: Archive) -> None:
    image = archive.imagery[0]
    tiles = sorted({tile_of(image, col, row, 19)[:2] for col in range(0, 640, 60) for row in range(0, 640, 60)})
    stop, failures = threading.Event(), []

    def ask(seed: int) -> None:
        drawn = np.random.default_rng(seed)
        while not stop.is_set():
            x, y = tiles[drawn.integers(len(tiles))]
            try:
                layers.tile(int(drawn.integers(len(NAMES))), x, y, 19)
            except Exception as error:  # noqa: BLE001 - whatever it is, the test reports it
                failures.append(error)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for number in range(40):
        layers.set_scores(scores_of(archive, number))
        layers.set_labels([label(archive, 1 - 2 * (number % 2), number=number)], [ROOF], "roof")
        layers.set_stretch(STRETCHES[number % 3])
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    fresh = Layers(archive)
    fresh.set_scores(scores_of(archive, 39))
    fresh.set_labels([label(archive, -1, number=39)], [ROOF], "roof")
    for number in (IMAGERY, HEAT, LABELS, GRID):
        for x, y in tiles:
            assert layers.tile(number, x, y, 19) == fresh.tile(number, x, y, 19)


def test_a_million_tiles_are_coloured_quickly(archive: Archive) -> None:
    import time

    side = 1000
    image = replace(archive.imagery[0], width=side * 32 + 32, height=side * 32 + 32)
    grid = archive.manifest.grid
    starts = grid.starts(image.width, 64)
    tiles = np.zeros(side * side, archive.tiles.dtype)
    tiles["row"], tiles["col"] = (axis.ravel() for axis in np.meshgrid(starts, starts, indexing="ij"))
    tiles["size"] = 64
    many = replace(archive, imagery=replace(archive.imagery, rasters=(image, archive.imagery[1])), tiles=tiles)
    layers = Layers(many)
    scores = np.random.default_rng(0).normal(size=len(tiles)).astype(np.float32)
    layers.set_scores(scores)
    started = time.perf_counter()
    layers.set_scores(scores)
    assert time.perf_counter() - started < 1
    assert at(layers, HEAT, *middle(many, int(np.argmax(scores))), 19)[3] == 255
