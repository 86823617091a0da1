from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from rasterio.features import rasterize
from rasterio.windows import Window

from workbench.errors import Cancelled
from workbench.imagery.scene.build import build
from workbench.imagery.scene.camera import flown_area, photograph
from workbench.imagery.second_date import paint_second_date
from workbench.imagery.synthetic import CLASSES, CRS, IGNORE, Scene, paint_scene
from workbench.jobs import Progress

SEARCHED = {1: "house", 2: "boat", 3: "tank", 4: "panel"}
TILE, STRIDE = 128, 64


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return paint_scene(tmp_path_factory.mktemp("scene"), size=1024, progress=Progress())


def pixels(path: Path) -> np.ndarray:
    with rasterio.open(path) as raster:
        return raster.read()


def tiles_with(mask: np.ndarray, value: int) -> np.ndarray:
    """Rows of the tile grid's tiles (128 px, stride 64) that hold at least 5 % of a class and at most half no-data."""

    def counts(where: np.ndarray) -> np.ndarray:
        side = mask.shape[0] // STRIDE
        cells = where.reshape(side, STRIDE, side, STRIDE).sum(axis=(1, 3))
        return cells[:-1, :-1] + cells[1:, :-1] + cells[:-1, 1:] + cells[1:, 1:]

    enough = (counts(mask == value) >= 0.05 * TILE**2) & (counts(mask == IGNORE) <= TILE**2 / 2)
    return np.nonzero(enough)[0] * STRIDE


def test_the_same_seed_gives_the_same_pixels_and_another_seed_does_not(small: Scene, tmp_path: Path) -> None:
    again = paint_scene(tmp_path / "again", size=1024, progress=Progress())
    other = paint_scene(tmp_path / "other", size=1024, seed=1, progress=Progress())
    assert np.array_equal(pixels(small.imagery), pixels(again.imagery))
    assert np.array_equal(pixels(small.mask), pixels(again.mask))
    assert (pixels(small.imagery) != pixels(other.imagery)).mean() > 0.5
    assert (pixels(small.mask) != pixels(other.mask)).mean() > 0.1


def test_the_raster_is_what_a_gis_expects(small: Scene) -> None:
    with rasterio.open(small.imagery) as imagery, rasterio.open(small.mask) as mask:
        for raster, bands in ((imagery, 3), (mask, 1)):
            assert (raster.count, raster.width, raster.height) == (bands, 1024, 1024)
            assert raster.dtypes[0] == "uint8" and raster.crs.to_string() == CRS and raster.crs.is_projected
            assert raster.res == (0.2, 0.2) and raster.transform == imagery.transform
            assert raster.block_shapes[0] == (512, 512) and raster.compression.name == "deflate"
            assert raster.overviews(1) == [2, 4, 8]
        assert mask.nodata == IGNORE


def test_the_border_is_no_data_and_nothing_else_is(small: Scene) -> None:
    with rasterio.open(small.imagery) as imagery:
        valid = imagery.dataset_mask() > 0
        rgb = imagery.read()
        coarse = imagery.dataset_mask(out_shape=(128, 128)) > 0
    assert np.array_equal(pixels(small.mask)[0] == IGNORE, ~valid)
    assert (rgb[:, ~valid] == 0).all() and (rgb[:, valid] > 0).all()
    assert 0.01 < (~valid).mean() < 0.08 and not valid[[0, -1]].any() and not valid[:, [0, -1]].any()
    assert not coarse[0].any() and coarse[64, 64]


def test_mask_and_footprints_agree(small: Scene) -> None:
    mask = pixels(small.mask)[0]
    objects = gpd.read_file(small.objects)
    assert objects.crs == CRS and list(objects.columns) == ["class", "variant", "geometry"]
    with rasterio.open(small.imagery) as raster:
        transform = raster.transform
    ids = {name: value for value, name in CLASSES.items()}
    # Panels last: a panel on a roof is a panel.
    drawn = rasterize(
        sorted(zip(objects.geometry, objects["class"].map(ids), strict=True), key=lambda pair: pair[1] == 4),
        mask.shape,
        transform=transform,
    )
    for value in SEARCHED:
        truth, outline = mask == value, (drawn == value) & (mask != IGNORE)
        assert (truth & outline).sum() / (truth | outline).sum() > 0.93, CLASSES[value]


def test_blocks_meet_without_a_seam() -> None:
    plan, flown = build(1024, 0), flown_area(1024, 0)
    rgb, classes, _ = photograph(plan, Window(0, 0, 1024, 1024), flown)
    part, part_classes, _ = photograph(plan, Window(384, 256, 512, 512), flown)
    assert np.array_equal(classes[256:768, 384:896], part_classes)
    assert np.array_equal(rgb[:, 256:768, 384:896], part)


def test_shadows_fall_away_from_the_sun() -> None:
    """North-west of a tank it is darker than south-east of it: the sun stands in the south-south-east."""
    plan, flown = build(1024, 0), flown_area(1024, 0)
    rgb, _, _ = photograph(plan, Window(0, 0, 1024, 1024), flown)
    grey = rgb.mean(axis=0)
    shaded, sunny = [], []
    for tank in (thing for thing in plan.truth if thing.klass == 3):
        away = 0.5 * (tank.outline().bounds[2] - tank.outline().bounds[0]) + 2
        for side, found in ((-1, shaded), (1, sunny)):
            x, y = tank.x + 0.53 * side * away, tank.y + 0.85 * side * away
            found.append(grey[int(y / 0.2), int(x / 0.2)])
    assert len(shaded) >= 3 and np.median(shaded) < 0.7 * np.median(sunny)


@pytest.mark.parametrize("seed", [0, 1])
def test_every_searched_class_is_in_a_small_scene(tmp_path: Path, seed: int) -> None:
    scene = paint_scene(tmp_path, size=2048, seed=seed, progress=Progress())
    mask = pixels(scene.mask)[0]
    for value in SEARCHED:
        assert len(tiles_with(mask, value)) >= 5, CLASSES[value]


def test_a_cancelled_scene_leaves_the_earlier_one_as_it_was(small: Scene, tmp_path: Path) -> None:
    progress = Progress()
    progress.cancel()
    with pytest.raises(Cancelled):
        paint_scene(tmp_path, size=1024, progress=progress)
    assert list(tmp_path.iterdir()) == []
    before = {path.name: path.read_bytes() for path in small.imagery.parent.iterdir()}
    with pytest.raises(Cancelled):
        paint_scene(small.imagery.parent, size=1024, seed=5, progress=progress)
    assert {path.name: path.read_bytes() for path in small.imagery.parent.iterdir()} == before


def test_a_scene_that_is_there_is_kept_and_another_one_replaces_it(tmp_path: Path) -> None:
    scene = paint_scene(tmp_path, size=1024, progress=Progress())
    before = scene.imagery.stat().st_mtime_ns
    assert paint_scene(tmp_path, size=1024, progress=Progress()) == scene
    assert scene.imagery.stat().st_mtime_ns == before
    paint_scene(tmp_path, size=1024, seed=3, progress=Progress())
    assert scene.imagery.stat().st_mtime_ns > before
    scene.imagery.write_bytes(b"damaged")
    paint_scene(tmp_path, size=1024, seed=3, progress=Progress())
    assert pixels(scene.imagery).any()


def test_a_scene_too_small_for_its_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1024 or more"):
        paint_scene(tmp_path, size=512)


@pytest.mark.slow
def test_the_full_scene_has_enough_tiles_and_variants_everywhere(tmp_path: Path) -> None:
    scene = paint_scene(tmp_path, progress=Progress())
    mask = pixels(scene.mask)[0]
    objects = gpd.read_file(scene.objects)
    tiles = (scene.size // STRIDE - 1) ** 2
    for value, name in SEARCHED.items():
        rows = tiles_with(mask, value)
        assert len(rows) >= 200, name
        assert value == 1 or len(rows) < 0.06 * tiles, name
        assert (rows < scene.size / 2).sum() >= 60 and (rows >= scene.size * 2 / 3).sum() >= 60, name
        variants = objects.loc[objects["class"] == name, "variant"].value_counts()
        assert (variants >= 5).sum() >= 5, name


def test_a_second_date_differs_in_light_everywhere_and_in_things_where_it_says(small: Scene) -> None:
    later = paint_second_date(small, changes=8, shift=(2, -1), progress=Progress())
    first, second, changed = pixels(small.imagery), pixels(later.imagery), pixels(later.mask)[0]
    assert first.shape == second.shape and set(np.unique(changed)) <= {0, 1, IGNORE}
    table = gpd.read_file(later.changes)
    assert set(table["kind"]) == {"gone", "new"} and table.crs == CRS and 0 < (changed == 1).mean() < 0.05
    valid = changed != IGNORE
    assert second[:, valid].mean() < 0.95 * first[:, valid].mean()
    grey = [values.mean(axis=0) for values in (first, second)]
    moved = np.corrcoef(grey[0][302:702, 299:699].ravel(), grey[1][300:700, 300:700].ravel())[0, 1]
    there = np.corrcoef(grey[0][300:700, 300:700].ravel(), grey[1][300:700, 300:700].ravel())[0, 1]
    assert moved > there
