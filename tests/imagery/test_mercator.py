"""Map pixels are found in a raster to a tenth of a pixel, in any coordinate system, and no part of a raster is overlooked."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyproj
import pytest
from affine import Affine

from workbench.imagery.mercator import WORLD_M, Patch, is_tile, native_zoom, patch_of, pixel_positions, placement
from workbench.imagery.rasters import Band, Raster

NORTH_UP = Affine(0.5, 0, 574_000, 0, -0.5, 6_222_000)


def raster(crs: str | None, transform: Affine, width: int = 4000, height: int = 3000) -> Raster:
    return Raster("a.tif", (Band(Path("a.tif"), 1, "a"),), width, height, "uint8", transform, crs, None, "a")


RASTERS = {
    "utm": raster("EPSG:32632", NORTH_UP),
    "wide utm": raster("EPSG:32632", Affine(10, 0, 300_000, 0, -10, 5_500_000), 10_980, 10_980),
    "turned": raster("EPSG:32632", NORTH_UP @ Affine.rotation(30)),
    "polar": raster("EPSG:3413", Affine(10, 0, -500_000, 0, -10, -1_200_000)),
    "north pole": raster("EPSG:3413", Affine(400, 0, -800_000, 0, -400, 600_000)),
    "south pole": raster("EPSG:3031", Affine(400, 0, -800_000, 0, -400, 600_000)),
    "degrees": raster("EPSG:4326", Affine(1e-5, 0, 85.5, 0, -1e-5, 27.6)),
    "continent": raster("EPSG:4326", Affine(0.05, 0, -100, 0, -0.05, 60), 4000, 2000),
    "antimeridian, zone 1": raster("EPSG:32601", Affine(10, 0, 330_000, 0, -10, 7_000_000)),
    "antimeridian, zone 60": raster("EPSG:32660", Affine(10, 0, 630_000, 0, -10, 7_000_000)),
    "web mercator": raster("EPSG:3857", Affine(0.149, 0, 9_519_391, 0, -0.149, 3_203_475)),
}


def exact(image: Raster, x: int, y: int, z: int, size: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of every map pixel, each projected by itself with pyproj."""
    side = WORLD_M / 2**z
    across = -WORLD_M / 2 + side * (x + (np.arange(size) + 0.5) / size)
    down = WORLD_M / 2 - side * (y + (np.arange(size) + 0.5) / size)
    to_raster = pyproj.Transformer.from_crs("EPSG:3857", image.crs, always_xy=True)
    east, north = to_raster.transform(*np.meshgrid(across, down))
    inverse = ~image.transform
    east, north = np.where(np.isfinite(east), east, np.nan), np.where(np.isfinite(north), north, np.nan)
    return inverse.a * east + inverse.b * north + inverse.c, inverse.d * east + inverse.e * north + inverse.f


def tiles(image: Raster, z: int) -> list[tuple[int, int]]:
    """The tiles at a zoom that hold five places of a raster."""
    found = set()
    to_lonlat = pyproj.Transformer.from_crs(image.crs, "EPSG:4326", always_xy=True)
    for across, down in ((0.5, 0.5), (0.01, 0.01), (0.99, 0.01), (0.01, 0.99), (0.99, 0.99)):
        lon, lat = to_lonlat.transform(*(image.transform @ (across * image.width, down * image.height)))
        if abs(lat) < 85:
            y = (1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2
            found.add((min(2**z - 1, int((lon + 180) / 360 * 2**z)), int(y * 2**z)))
    return sorted(found)


@pytest.mark.parametrize("name", RASTERS)
@pytest.mark.parametrize("steps", [-20, -9, -5, -2, 0, 3])
def test_positions_are_right_to_a_tenth_of_a_pixel(name: str, steps: int) -> None:
    image = RASTERS[name]
    z = max(0, native_zoom(image) + steps)
    assert tiles(image, z)
    for x, y in tiles(image, z):
        cols, rows = pixel_positions(image, x, y, z)
        true_cols, true_rows = exact(image, x, y, z)
        inside = (true_cols >= 0) & (true_cols <= image.width) & (true_rows >= 0) & (true_rows <= image.height)
        steps_px = [np.hypot(np.gradient(true_cols, axis=axis), np.gradient(true_rows, axis=axis)) for axis in (0, 1)]
        allowed = 0.1 * np.maximum(1, np.minimum(*steps_px))
        assert (np.hypot(cols - true_cols, rows - true_rows) <= allowed)[inside].all()


@pytest.mark.parametrize("name", RASTERS)
@pytest.mark.parametrize("steps", [-20, -9, -5, -2, 0])
def test_a_patch_holds_every_map_pixel_of_its_raster(name: str, steps: int) -> None:
    image = RASTERS[name]
    z = max(0, native_zoom(image) + steps)
    for x, y in tiles(image, z):
        true_cols, true_rows = exact(image, x, y, z)
        inside = (true_cols >= 0) & (true_cols < image.width) & (true_rows >= 0) & (true_rows < image.height)
        patch = patch_of(image, placement(image), x, y, z)
        found = np.zeros_like(inside)
        if patch is not None:
            found[patch.window] = (
                (patch.cols >= 0) & (patch.cols < image.width) & (patch.rows >= 0) & (patch.rows < image.height)
            )
        # Where an edge runs through the middle of a map pixel, a tenth of a pixel decides.
        assert (found != inside).sum() <= 0.01 * inside.sum() + 2


def test_a_raster_across_the_antimeridian_is_no_belt_around_the_world() -> None:
    place = placement(RASTERS["antimeridian, zone 1"])
    assert len(place.boxes) == 2
    assert sum(right - left for left, _, right, _ in place.boxes) < WORLD_M / 100
    middle = patch_of(RASTERS["antimeridian, zone 1"], place, 512, 300, 10)
    assert middle is None


@pytest.mark.parametrize("corner", [(-800_000, 600_000), (-30_000, 30_000)])
def test_a_raster_around_the_pole_is_on_every_meridian(corner: tuple[float, float]) -> None:
    image = raster("EPSG:3413", Affine(400, 0, corner[0], 0, -400, corner[1]))
    place = placement(image)
    ((west, _, east, north),) = place.boxes
    assert west <= -WORLD_M / 2 and east >= WORLD_M / 2 <= north
    patches = [patch_of(image, place, x, 0, 3) for x in range(8)]
    assert all(isinstance(patch, Patch) and (patch.rows < 3000).any() for patch in patches)


def test_a_raster_without_a_place_on_earth_is_on_no_tile() -> None:
    nowhere = raster(None, Affine.identity())
    assert placement(nowhere).boxes == () and patch_of(nowhere, placement(nowhere), 0, 0, 0) is None


def test_the_scale_counts_raster_pixels_to_a_map_pixel() -> None:
    image = RASTERS["web mercator"]
    x, y = tiles(image, 18)[0]
    patch = patch_of(image, placement(image), x, y, 18)
    assert patch is not None and patch.scale == pytest.approx(WORLD_M / 256 / 2**18 / 0.149, rel=1e-6)


@pytest.mark.parametrize(("x", "y", "z"), [(0, 0, -1), (-1, 0, 3), (8, 0, 3), (0, 8, 3), (0, 0, 31), (0, 2**70, 60)])
def test_what_is_no_tile(x: int, y: int, z: int) -> None:
    assert not is_tile(x, y, z) and is_tile(0, 0, 0) and is_tile(7, 7, 3)


def test_web_mercator_at_a_zoom_has_that_native_zoom() -> None:
    pixel = WORLD_M / 256 / 2**20
    for northing in (0, 3_203_475, 12_000_000):
        assert native_zoom(raster("EPSG:3857", Affine(pixel, 0, 0, 0, -pixel, northing))) == 20
