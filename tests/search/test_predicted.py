"""What a probability map says of tiles, and the ground that tiles stand for."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from shapely import box
from small_archives import MeanColour, small_imagery

from workbench.descriptors.archive import Archive
from workbench.descriptors.build import build_archive
from workbench.errors import QueryInvalid
from workbench.jobs import Progress
from workbench.search.ground import tile_areas
from workbench.search.predicted import tile_doubts, tile_objects, tile_probabilities


def built(folder: Path, tile: tuple[int, ...] = (64,), stride: int = 32) -> Archive:
    imagery = small_imagery(folder / "i", names=("north.tif",))
    return build_archive(imagery, folder / "a", tile=tile, stride=stride, encoder=MeanColour(), progress=Progress())


def write_map(archive: Archive, path: Path, values: np.ndarray, name: str = "roof", **changed: object) -> Path:
    raster = archive.imagery[0]
    profile = {"driver": "GTiff", "count": 1, "dtype": values.dtype, "crs": raster.crs, "transform": raster.transform}
    profile |= {"width": values.shape[1], "height": values.shape[0], **changed}
    with rasterio.open(path, "w", **profile) as file:
        file.write(values, 1)
        file.set_band_description(1, name)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_small_object_makes_the_tiles_that_hold_it_probable_and_no_others(tmp_path: Path, dtype: type) -> None:
    archive = built(tmp_path, tile=(64, 128), stride=32)
    raster = archive.imagery[0]
    values = np.zeros((raster.height, raster.width), dtype)
    values[104:120, 200:216] = 254 if dtype is np.uint8 else 1
    found = tile_probabilities(archive, [write_map(archive, tmp_path / "m.tif", values)], "roof")
    row, col, size = (archive.tiles[name].astype(int) for name in ("row", "col", "size"))
    whole = (row <= 104) & (row + size >= 120) & (col <= 200) & (col + size >= 216)
    none = (row >= 120) | (row + size <= 104) | (col >= 216) | (col + size <= 200)
    assert whole.sum() >= 4 and (found[whole] > 0.99).all() and not found[none].any()


def test_where_there_is_no_map_nothing_is_said(tmp_path: Path) -> None:
    archive = built(tmp_path)
    raster = archive.imagery[0]
    values = np.full((raster.height, raster.width), 255, np.uint8)
    values[:160] = 127
    found = tile_probabilities(archive, [write_map(archive, tmp_path / "m.tif", values, nodata=255)], "roof")
    below = archive.tiles["row"] >= 160
    assert np.isnan(found[below]).all() and found[~below] == pytest.approx(0.5)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_doubt_is_the_share_of_pixels_that_are_likely_wrong(tmp_path: Path, dtype: type) -> None:
    archive = built(tmp_path, tile=(64, 128), stride=32)
    raster = archive.imagery[0]
    chance = np.random.default_rng(0)
    values = chance.random((raster.height, raster.width)).astype(np.float32)
    values[: raster.height // 2] = np.round(values[: raster.height // 2])  # sure of each pixel, though not of any cell
    written = np.rint(values * 254).astype(np.uint8) if dtype is np.uint8 else values
    found = tile_doubts(archive, [write_map(archive, tmp_path / "m.tif", written)], "roof")
    wrong = np.minimum(values, 1 - values)
    row, col, size = (archive.tiles[name].astype(int) for name in ("row", "col", "size"))
    exact = [wrong[r : r + s, c : c + s].mean() for r, c, s in zip(row, col, size, strict=True)]
    assert found == pytest.approx(np.array(exact), abs=0.003)


def test_objects_of_a_map_are_counted_where_their_middle_is(tmp_path: Path) -> None:
    archive = built(tmp_path, tile=(64,), stride=32)
    raster = archive.imagery[0]
    places = [(10, 10), (50, 20), (63.5, 63), (65, 10), (200, 300), (900, 10)]  # the last one is outside
    squares = [raster.from_pixels(box(x - 3, y - 3, x + 3, y + 3)) for x, y in places]
    frame = gpd.GeoDataFrame({"class": ["roof"] * 5 + ["boat"]}, geometry=[*squares[:5], squares[5]], crs=raster.crs)
    frame.loc[len(frame)] = ["roof", squares[5]]
    found = tile_objects(archive, frame, "roof")
    row, col = (archive.tiles[name].astype(int) for name in ("row", "col"))
    board = (row % 64 == 0) & (col % 64 == 0)
    exact = [sum(c <= x < c + 64 and r <= y < r + 64 for x, y in places[:5]) for r, c in zip(row, col, strict=True)]
    assert found[board].tolist() == np.array(exact)[board].tolist() and found[board].sum() == 5
    assert (tile_objects(archive, frame.to_crs(4326), "roof") == found).all()
    assert not tile_objects(archive, frame, "tank").any() and not tile_objects(archive, None, "roof").any()


def test_a_map_of_another_place_or_class_is_refused(tmp_path: Path) -> None:
    archive = built(tmp_path)
    raster = archive.imagery[0]
    path = write_map(archive, tmp_path / "m.tif", np.zeros((raster.height, raster.width), np.float32))
    with pytest.raises(QueryInvalid, match="shows roof, and not boat"):
        tile_probabilities(archive, [path], "boat")
    elsewhere = write_map(archive, tmp_path / "n.tif", np.zeros((50, 60), np.float32))
    with pytest.raises(QueryInvalid, match="not one of this archive's imagery"):
        tile_probabilities(archive, [elsewhere], "roof")
    with pytest.raises(QueryInvalid, match="shows nothing"):
        tile_probabilities(archive, [], "roof")


@pytest.mark.parametrize(("tile", "stride"), [((64,), 64), ((64,), 32), ((64, 128), 32)])
def test_the_ground_of_all_tiles_is_about_that_of_the_imagery(
    tmp_path: Path, tile: tuple[int, ...], stride: int
) -> None:
    archive = built(tmp_path, tile, stride)
    raster = archive.imagery[0]
    across, down = raster.pixel_size_m
    areas = tile_areas(archive)
    assert areas is not None and areas.dtype == np.float32
    # Half-overlapping tiles do not reach the outermost half stride.
    assert 0.6 < areas.sum() / (raster.width * raster.height * across * down) <= 1.01
