"""Map tiles show the right ground, in the recorded stretch, and nothing where there is nothing."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
from affine import Affine
from PIL import Image
from rasterio.transform import from_origin
from small_rasters import write_raster

from workbench.errors import RasterUnreadable
from workbench.imagery.mercator import native_zoom, patch_of, pixel_positions, placement
from workbench.imagery.opening import open_imagery
from workbench.imagery.quicklook import write_quicklook
from workbench.imagery.rasters import Raster
from workbench.imagery.render import Stretch, fit_stretch
from workbench.imagery.xyz import encode_tile, paint_raster, quicklook_raster, quicklook_stretch, xyz_tile
from workbench.jobs import Progress

EAST, NORTH, PIXEL, SIDE = 560_000.0, 6_230_000.0, 0.5, 3000
SPOT = (1800, 700)


def _raster(path: Path, data: np.ndarray, **profile: object) -> Raster:
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=data.shape[2],
        height=data.shape[1],
        count=data.shape[0],
        dtype=data.dtype,
        crs="EPSG:32632",
        transform=from_origin(EAST, NORTH, PIXEL, PIXEL),
        tiled=True,
        compress="deflate",
        **profile,
    ) as file:
        file.write(data)
    return open_imagery(path)[0]


@pytest.fixture(scope="module")
def spotted(tmp_path_factory: pytest.TempPathFactory) -> Raster:
    """Grey ground with one red square of 100 pixels around column 1800, row 700."""
    data = np.full((3, SIDE, SIDE), 90, np.uint8)
    col, row = SPOT
    data[:, row - 50 : row + 50, col - 50 : col + 50] = np.array([230, 20, 20])[:, None, None]
    return _raster(tmp_path_factory.mktemp("xyz") / "spot.tif", data)


def _tile_of(lon: float, lat: float, z: int) -> tuple[int, int, int, int]:
    x = (lon + 180) / 360 * 2**z
    y = (1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2 * 2**z
    return int(x), int(y), int(x % 1 * 256), int(y % 1 * 256)


def _spot() -> tuple[float, float]:
    to_lonlat = pyproj.Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
    return to_lonlat.transform(EAST + SPOT[0] * PIXEL, NORTH - SPOT[1] * PIXEL)


def _picture(tile: bytes | None) -> np.ndarray:
    assert tile is not None
    return np.asarray(Image.open(io.BytesIO(tile)).convert("RGBA"))


@pytest.mark.parametrize("z", [14, 17, 21])
@pytest.mark.parametrize("small_copy", [False, True])
def test_the_spot_is_where_it_is_on_earth(spotted: Raster, tmp_path: Path, z: int, small_copy: bool) -> None:
    quicklook = None
    if small_copy:
        quicklook = write_quicklook(spotted, fit_stretch(spotted), tmp_path / "quick.tif", Progress())
    x, y, col, row = _tile_of(*_spot(), z)
    picture = _picture(xyz_tile(spotted, x, y, z, fit_stretch(spotted), quicklook=quicklook))
    assert picture.shape == (256, 256, 4)
    red, green, _, alpha = picture[row, col]
    assert alpha == 255 and red > 150 and green < 80


def test_outside_is_nothing_and_the_edge_is_transparent(spotted: Raster) -> None:
    x, y, *_ = _tile_of(*_spot(), 14)
    stretch = fit_stretch(spotted)
    assert xyz_tile(spotted, x + 40, y, 14, stretch) is None
    assert 0 < (_picture(xyz_tile(spotted, x, y, 14, stretch))[..., 3] == 0).mean() < 1


@pytest.mark.parametrize(("x", "y", "z"), [(0, 0, -1), (-1, 0, 3), (8, 0, 3), (0, 0, 31), (0, 2**70, 60)])
def test_tiles_that_do_not_exist_are_nothing(spotted: Raster, x: int, y: int, z: int) -> None:
    assert xyz_tile(spotted, x, y, z, fit_stretch(spotted)) is None


def test_declared_no_data_is_transparent(tmp_path: Path) -> None:
    data = np.full((3, 600, 600), 120, np.uint8)
    data[:, :, 300:] = 255
    path = tmp_path / "holes.tif"
    _raster(path, data)
    raster = open_imagery(path, nodata=255)[0]
    to_lonlat = pyproj.Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
    for col, alpha in ((100, 255), (500, 0)):
        x, y, across, down = _tile_of(*to_lonlat.transform(EAST + col * PIXEL, NORTH - 300 * PIXEL), 19)
        png = xyz_tile(raster, x, y, 19, fit_stretch(raster))
        assert (0 if png is None else _picture(png)[down, across, 3]) == alpha


def test_uint16_is_stretched_as_recorded(tmp_path: Path) -> None:
    data = np.linspace(200, 4000, 600 * 600).reshape(1, 600, 600).astype(np.uint16)
    raster = _raster(tmp_path / "grey16.tif", data)
    stretch = fit_stretch(raster)
    to_lonlat = pyproj.Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
    x, y, col, row = _tile_of(*to_lonlat.transform(EAST + 300 * PIXEL, NORTH - 300 * PIXEL), 18)
    shown = _picture(xyz_tile(raster, x, y, 18, stretch))[row, col]
    expected = stretch.apply(np.ma.MaskedArray(data[:, 300:301, 300:301]))[0, 0, 0]
    assert shown[0] == shown[1] == shown[2] and abs(int(shown[0]) - int(expected)) <= 3


def test_a_damaged_file_says_so(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (3, 1024, 1024), dtype=np.uint8)
    path = tmp_path / "cut.tif"
    _raster(path, noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    raster = open_imagery(path)[0]
    to_lonlat = pyproj.Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
    x, y, *_ = _tile_of(*to_lonlat.transform(EAST + 500 * PIXEL, NORTH - 1000 * PIXEL), 20)
    with pytest.raises(RasterUnreadable, match=r"cut\.tif"):
        xyz_tile(raster, x, y, 20, fit_stretch(raster))


def _of(raster: Raster, col: float, row: float, z: int) -> tuple[int, int, int, int]:
    to_lonlat = pyproj.Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
    return _tile_of(*to_lonlat.transform(EAST + col * PIXEL, NORTH - row * PIXEL), z)


def test_an_opaque_tile_is_a_jpeg_and_one_with_holes_a_webp_with_exact_holes(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(1, 255, (3, 1200, 1200), dtype=np.uint8)
    holes = np.random.default_rng(1).random((75, 75)) < 0.3
    data[:, np.kron(holes, np.ones((16, 16), bool))] = 0
    data[:, :600] = np.maximum(data[:, :600], 1)
    raster = _raster(tmp_path / "holes.tif", data, nodata=0)
    x, y, *_ = _of(raster, 300, 300, 21)
    assert xyz_tile(raster, x, y, 21, fit_stretch(raster))[:3] == b"\xff\xd8\xff"
    x, y, *_ = _of(raster, 600, 900, 20)
    tile = xyz_tile(raster, x, y, 20, fit_stretch(raster))
    assert tile is not None and tile[:4] == b"RIFF" and tile[8:12] == b"WEBP"
    cols, rows = pixel_positions(raster, x, y, 20)
    inside = (cols >= 0) & (cols < 1200) & (rows >= 0) & (rows < 1200)
    hole = data[0, np.clip(rows, 0, 1199).astype(int), np.clip(cols, 0, 1199).astype(int)] == 0
    assert 0.1 < hole.mean() < 0.9
    assert ((_picture(tile)[..., 3] == 0) == (hole | ~inside)).mean() > 0.999


@pytest.mark.parametrize("z", [16, 19, 21])
def test_beyond_a_slanting_edge_there_is_nothing(tmp_path: Path, z: int) -> None:
    data = np.full((3, 600, 600), 120, np.uint8)
    turned = from_origin(EAST, NORTH, PIXEL, PIXEL) @ Affine.rotation(30)
    raster = open_imagery(write_raster(tmp_path / "turned.tif", data, transform=turned))[0]
    to_lonlat = pyproj.Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
    x, y, *_ = _tile_of(*to_lonlat.transform(*(turned @ (0, 300))), z)
    cols, rows = pixel_positions(raster, x, y, z)
    inside = (cols >= 0) & (cols < 600) & (rows >= 0) & (rows < 600)
    assert 0.01 < inside.mean() < 0.99
    assert ((_picture(xyz_tile(raster, x, y, z, fit_stretch(raster)))[..., 3] > 0) == inside).all()


def test_drawings_are_kept_to_the_last_bit() -> None:
    drawn = np.random.default_rng(0).integers(0, 255, (256, 256, 4), dtype=np.uint8)
    drawn[..., 3] |= 1
    assert (_picture(encode_tile(drawn, flat=True)) == drawn).all()
    assert encode_tile(np.zeros((256, 256, 4), np.uint8)) is None


def test_a_zero_in_one_of_several_band_files_is_no_hole(tmp_path: Path) -> None:
    for name, value in (("s_B04", 0), ("s_B03", 90), ("s_B02", 120)):
        _raster(tmp_path / f"{name}.tif", np.full((1, 600, 600), value, np.uint8))
    raster = open_imagery(tmp_path, bands=["B04", "B03", "B02"], nodata=0)[0]
    x, y, col, row = _of(raster, 300, 300, 18)
    shown = _picture(xyz_tile(raster, x, y, 18, fit_stretch(raster)))[row, col].astype(int)
    assert np.abs(shown - (0, 90, 120, 255)).max() <= 4


def test_small_copies_follow_another_stretch(spotted: Raster, tmp_path: Path) -> None:
    recorded, wanted = Stretch((0.0,) * 3, (255.0,) * 3), Stretch((80.0,) * 3, (100.0,) * 3)
    path = write_quicklook(spotted, recorded, tmp_path / "quick.tif", Progress())
    small, shown = quicklook_raster(spotted, path, quicklook_stretch(spotted, recorded, wanted))
    x, y, *_ = _of(spotted, 300, 300, 15)
    patch = patch_of(spotted, placement(spotted), x, y, 15)
    assert patch is not None and patch.scale > 4
    by_copy, by_pixels = paint_raster(spotted, patch, wanted, (small, shown)), paint_raster(spotted, patch, wanted)
    assert by_copy is not None and by_pixels is not None and 110 < np.median(by_pixels[..., 0]) < 140
    assert np.abs(by_copy.astype(int) - by_pixels).mean() < 2


def test_native_zoom_is_just_fine_enough(spotted: Raster) -> None:
    z, (_, lat) = native_zoom(spotted), _spot()
    ground = 2 * math.pi * 6_378_137 / 256 / 2**z * math.cos(math.radians(lat))
    assert ground <= PIXEL * 1.01 and ground * 2 > PIXEL
