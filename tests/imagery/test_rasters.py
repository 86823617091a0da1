"""Reading windows, masks, damaged files and geometry of rasters."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.enums import Resampling
from rasterio.windows import Window
from shapely.geometry import Point, Polygon, box
from small_rasters import HALF_METRE, patchwork, write_raster

from workbench.errors import RasterRefused, RasterUnreadable
from workbench.imagery.opening import open_imagery
from workbench.imagery.rasters import Raster, blocks


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Raster:
    return open_imagery(write_raster(tmp_path_factory.mktemp("plain") / "a.tif", patchwork(100, 140)))[0]


@given(st.integers(-60, 150), st.integers(-60, 190), st.integers(1, 90), st.integers(1, 90))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_window_beyond_the_edges_is_masked_there(plain: Raster, row: int, col: int, height: int, width: int) -> None:
    whole = plain.read()
    pixels = plain.read(Window(col, row, width, height))
    assert pixels.shape == (3, height, width)
    rows, cols = np.mgrid[row : row + height, col : col + width]
    inside = (rows >= 0) & (rows < 100) & (cols >= 0) & (cols < 140)
    assert np.array_equal(np.ma.getmaskarray(pixels), np.broadcast_to(~inside, pixels.shape))
    assert np.array_equal(pixels.data[:, inside], whole.data[:, rows[inside], cols[inside]])


def test_a_smaller_size_averages_and_a_larger_one_interpolates(plain: Raster) -> None:
    whole = plain.read().data.astype(float)
    half = plain.read(size=(50, 70)).data
    assert np.abs(half - whole.reshape(3, 50, 2, 70, 2).mean(axis=(2, 4))).max() <= 1
    twice = plain.read(Window(10, 10, 20, 20), size=(40, 40))
    assert twice.shape == (3, 40, 40) and not twice.mask.any()
    beyond = plain.read(Window(-20, -20, 40, 40), size=(20, 20))
    assert beyond.mask[0].sum() == 300 and not beyond.mask[0, 10:, 10:].any()


def test_bands_can_be_read_one_by_one(plain: Raster) -> None:
    assert np.array_equal(plain.read(bands=[2, 0]), plain.read()[[2, 0]])


def hole(rows: int = 100, cols: int = 140) -> np.ndarray:
    there = np.ones((rows, cols), bool)
    there[:40, :60] = False
    return there


def with_hole(tmp_path: Path, kind: str, pixels: np.ndarray) -> tuple[Raster, np.ndarray]:
    """A raster with one hole, flagged in one of the ways there are, and where it has data."""
    there = hole()
    path = tmp_path / f"{kind}.tif"
    if kind == "alpha":
        write_raster(path, np.concatenate([pixels, np.where(there, 255, 0)[None].astype("uint8")]), alpha=True)
    elif kind == "float alpha":
        write_raster(path, np.concatenate([pixels, np.where(there, 1, 0)[None]]).astype("float32"), alpha=True)
    elif kind == "internal mask":
        write_raster(path, pixels, mask=there)
    elif kind == "external mask":
        write_raster(path, pixels)
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as file:
            file.write_mask(np.where(there, 255, 0).astype("uint8"))
        assert path.with_name(path.name + ".msk").exists()
    elif kind == "no-data":
        write_raster(path, np.where(there, pixels, 0).astype("uint8"), nodata=0)
    elif kind == "float no-data":
        write_raster(path, np.where(there, pixels.astype("float32"), np.float32(-9999)), nodata=-9999)
    elif kind == "NaN":
        write_raster(path, np.where(there, pixels, np.nan).astype("float32"))
    elif kind == "declared NaN":
        write_raster(path, np.where(there, pixels, np.nan).astype("float64"), nodata=np.nan)
    elif kind == "declared by the user":
        write_raster(path, np.where(there, pixels, 255).astype("uint8"))
        return open_imagery(path, nodata=255)[0], there
    elif kind == "declared by the user in float":
        write_raster(path, np.where(there, pixels.astype("float32"), np.float32(-9999)))
        return open_imagery(path, nodata=-9999)[0], there
    return open_imagery(path)[0], there


KINDS = ["alpha", "internal mask", "external mask", "no-data", "float no-data", "NaN", "declared NaN"]
KINDS += ["float alpha", "declared by the user", "declared by the user in float"]


@pytest.mark.parametrize("kind", KINDS)
def test_P21_holes_are_masked_however_they_are_flagged(tmp_path: Path, kind: str) -> None:
    raster, there = with_hole(tmp_path, kind, patchwork(100, 140))
    pixels = raster.read()
    assert len(raster.bands) == 3 and np.array_equal(pixels.mask, np.broadcast_to(~there, pixels.shape))
    assert np.array_equal(pixels.data[:, there], patchwork(100, 140)[:, there])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(25, 35), (31, 33), (200, 280)])
def test_P21_holes_do_not_bleed_into_resampled_pixels(tmp_path: Path, kind: str, size: tuple[int, int]) -> None:
    raster, there = with_hole(tmp_path, kind, np.full((3, 100, 140), 100, np.uint8))
    pixels = raster.read(size=size)
    assert 1 - pixels.mask[0].mean() == pytest.approx(there.mean(), abs=0.06)
    rows, cols = (int(size[0] * 0.4), int(size[1] * 60 / 140))
    assert pixels.mask[:, : rows - 1, : cols - 1].all() and not pixels.mask[:, rows + 2 :, :].any()
    assert set(np.rint(pixels.compressed())) == {100}


def test_P21_declared_holes_leave_the_averages_of_the_rest(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", patchwork(256, 256, dtype="float32"))
    plain, declared = open_imagery(path)[0], open_imagery(path, nodata=-1)[0]
    for size in ((128, 128), (64, 64)):
        assert np.allclose(declared.read(size=size, bands=[1]), plain.read(size=size, bands=[1]), atol=0.01)


def test_P21_zero_is_data_where_nobody_says_otherwise(tmp_path: Path) -> None:
    raster = open_imagery(write_raster(tmp_path / "a.tif", np.zeros((3, 20, 20), np.uint8)))[0]
    assert not raster.read().mask.any()


def test_P21_declared_no_data_counts_only_where_all_bands_have_it(tmp_path: Path) -> None:
    pixels = patchwork(20, 20)
    pixels[0, 0, 0] = 255
    pixels[:, 1, 1] = 255
    raster = open_imagery(write_raster(tmp_path / "a.tif", pixels), nodata=255)[0]
    assert np.argwhere(raster.read().mask[0]).tolist() == [[1, 1]]
    assert np.argwhere(raster.read(bands=[0]).mask[0]).tolist() == [[1, 1]]


LAYOUTS = {
    "tiled": {"tiled": True, "blockxsize": 128, "blockysize": 128},
    "strips": {"blockysize": 16},
    "plain": {"compress": "none", "blockysize": 8},
    "jpeg": {"compress": "jpeg", "photometric": "ycbcr", "tiled": True, "blockxsize": 128, "blockysize": 128},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_P22_a_cut_file_opens_and_a_deep_check_lists_what_is_lost(tmp_path: Path, layout: str) -> None:
    path = write_raster(tmp_path / "south.tif", patchwork(512, 512), **LAYOUTS[layout])
    whole = path.read_bytes()
    good = open_imagery(path)
    expected = good[0].read()
    assert good.check(deep=True) == ()
    for share in (0.95, 0.6, 0.3):
        path.write_bytes(whole[: int(len(whole) * share)])
        imagery = open_imagery(path)
        assert imagery.check() == ()  # opening proves nothing
        problems = imagery.check(deep=True, block=128)
        assert 0 < len(problems) < 16 or share < 0.6
        assert all(problem.startswith("south.tif: rows ") and "cannot be read" in problem for problem in problems)
        readable = 0
        for window in blocks(imagery[0], 128):
            try:
                pixels = imagery[0].read(window)
            except RasterUnreadable as error:
                assert f"rows {window.row_off}-{window.row_off + 127}" in str(error)
                assert "Copy it again, or leave it out" in str(error)
            else:
                readable += 1
                assert np.array_equal(pixels, expected[(slice(None), *window.toslices())])
        assert readable == 16 - len(problems)


def test_P22_a_file_that_changed_since_it_was_opened_is_named(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", patchwork(64, 64))
    imagery = open_imagery(path)
    write_raster(path, patchwork(64, 64, seed=1))
    assert "a.tif: the file is missing or has changed" in imagery.check()[0]
    path.unlink()
    assert len(imagery.check()) == 1


transforms = st.builds(
    lambda size, turn, shear, flip, x, y: (
        Affine.translation(x, y) @ Affine.rotation(turn) @ Affine.shear(shear, 0) @ Affine.scale(size, flip * size)
    ),
    st.floats(0.05, 30),
    st.floats(-180, 180),
    st.floats(-30, 30),
    st.sampled_from([-1, 1]),
    st.floats(200_000, 800_000),
    st.floats(100_000, 9_000_000),
)


def placed(transform: Affine, crs: str | None = "EPSG:32632") -> Raster:
    from workbench.imagery.rasters import Band

    return Raster("a.tif", (Band(Path("a.tif"), 1, "grey"),), 1000, 800, "uint8", transform, crs, None, "f")


@given(transforms, st.floats(0, 1000), st.floats(0, 800))
@settings(deadline=None)
def test_P25_pixels_to_ground_and_back_is_exact_also_rotated(transform: Affine, col: float, row: float) -> None:
    raster = placed(transform)
    ground = raster.from_pixels(Point(col, row))
    assert (ground.x, ground.y) == pytest.approx(transform @ (col, row), rel=1e-12)
    back = raster.to_pixels(ground)
    assert (back.x, back.y) == pytest.approx((col, row), abs=1e-3)
    lonlat = raster.from_pixels(Point(col, row), "EPSG:4326")
    again = raster.to_pixels(lonlat, "EPSG:4326")
    assert math.dist((again.x, again.y), (col, row)) < 0.5


def test_P25_a_rotated_footprint_has_the_true_corners(tmp_path: Path) -> None:
    transform = HALF_METRE @ Affine.rotation(30)
    raster = open_imagery(write_raster(tmp_path / "a.tif", patchwork(64, 64), transform=transform))[0]
    footprint = raster.footprint(Window(8, 16, 32, 24))
    assert footprint.equals(Polygon([transform @ corner for corner in ((8, 16), (40, 16), (40, 40), (8, 40))]))
    assert raster.footprint(crs="EPSG:4326").is_valid


def test_P24_a_raster_without_crs_keeps_geometry_in_pixels(tmp_path: Path) -> None:
    raster = open_imagery(write_raster(tmp_path / "a.tif", patchwork(64, 64), crs=None, transform=Affine.identity()))[0]
    assert raster.crs is None and not raster.mappable and raster.pixel_size_m == (1, 1)
    shape = box(1, 2, 3, 4)
    assert raster.from_pixels(shape).equals(shape) and raster.to_pixels(shape).equals(shape)
    with pytest.raises(RasterRefused, match=r"a\.tif has no coordinate system"):
        raster.to_pixels(shape, "EPSG:4326")
    with pytest.raises(RasterRefused, match="no coordinate system"):
        raster.footprint(crs="EPSG:4326")


@pytest.mark.parametrize(
    ("crs", "size", "lon", "lat"),
    [
        ("EPSG:3857", 0.149, 85.5, 27.6),
        ("EPSG:3857", 10.0, -60.0, -70.0),
        ("EPSG:4326", 1e-5, 12.0, 55.0),
        ("EPSG:32632", 0.2, 9.5, 55.0),
        ("EPSG:32733", 10.0, 17.0, -22.0),
        ("EPSG:3413", 100.0, -40.0, 75.0),
        ("EPSG:2263", 1.0, -74.0, 40.7),
    ],
)
def test_the_pixel_size_in_metres_is_right_within_a_percent(crs: str, size: float, lon: float, lat: float) -> None:
    to_crs = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    x, y = to_crs.transform(lon, lat)
    raster = placed(Affine(size, 0, x - 500 * size, 0, -size, y + 400 * size), crs)
    geod = pyproj.Geod(ellps="WGS84")
    far = 20
    lons, lats = to_crs.transform(
        [x - far * size, x + far * size, x, x], [y, y, y - far * size, y + far * size], direction="INVERSE"
    )
    true_x = geod.inv(lons[0], lats[0], lons[1], lats[1])[2] / (2 * far)
    true_y = geod.inv(lons[2], lats[2], lons[3], lats[3])[2] / (2 * far)
    assert raster.pixel_size_m == pytest.approx((true_x, true_y), rel=0.01)
    if crs == "EPSG:3857":
        assert raster.pixel_size_m[0] == pytest.approx(size * math.cos(math.radians(lat)), rel=0.01)
    if crs == "EPSG:2263":
        assert raster.pixel_size_m[0] == pytest.approx(0.3048, rel=0.01)


def test_blocks_cover_a_raster_once(plain: Raster) -> None:
    seen = np.zeros((plain.height, plain.width), int)
    for window in blocks(plain, 64):
        seen[window.toslices()] += 1
    assert (seen == 1).all()


@pytest.mark.parametrize(("side", "dtype"), [(2, "uint8"), (3, "uint16"), (4, "uint8"), (5, "int16")])
def test_pixels_are_averaged_as_gdal_averages_them(tmp_path: Path, side: int, dtype: str) -> None:
    pixels = np.random.default_rng(side).integers(0, 250, (3, 40 * side, 30 * side)).astype(dtype)
    raster = open_imagery(write_raster(tmp_path / "scene.tif", pixels))[0]
    with rasterio.open(tmp_path / "scene.tif") as dataset:
        wanted = dataset.read(out_shape=(3, 40, 30), resampling=Resampling.average)
    found = raster.read(size=(40, 30))
    assert not found.mask.any() and np.abs(found.data.astype(int) - wanted.astype(int)).max() <= 1
    assert np.mean(found.data != wanted) < 0.01
    shifted = raster.read(Window(-side, -side, 30 * side, 40 * side), size=(40, 30))
    assert np.array_equal(shifted.data[:, 1:, 1:], found.data[:, :-1, :-1]) and shifted.mask[:, 0].all()
