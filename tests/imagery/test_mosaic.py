"""Of many rasters under a tile the first is on top, the next shows through its holes, and a bad one spoils no other."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from small_map import tile_of
from small_rasters import write_raster

from workbench.errors import RasterUnreadable
from workbench.imagery.mercator import Patch, native_zoom
from workbench.imagery.mosaic import Mosaic
from workbench.imagery.opening import open_imagery
from workbench.imagery.rasters import Band, Raster


def raster(east: float, north: float = 6_222_000, size: int = 256) -> Raster:
    transform = Affine(0.5, 0, east, 0, -0.5, north)
    return Raster("a.tif", (Band(Path("a.tif"), 1, "a"),), size, size, "uint8", transform, "EPSG:32632", None, "a")


def plain(value: int) -> NDArray[np.uint8]:
    return np.array([value, value, value, 255], np.uint8)


def test_the_first_is_on_top_and_the_next_fills_its_holes() -> None:
    rasters = [raster(574_000), raster(574_064)]
    mosaic = Mosaic(rasters)
    z = native_zoom(rasters[0])
    x, y, *_ = tile_of(rasters[1], 20, 100, z)

    there = np.zeros((2, 256, 256), bool)

    def draw(position: int, patch: Patch) -> NDArray[np.uint8]:
        shown = (patch.cols >= 0) & (patch.cols < 256) & (patch.rows >= 0) & (patch.rows < 256)
        if position == 0:
            shown &= (patch.rows < 50) | (patch.rows > 80)
        there[position][patch.window] = shown
        return np.where(shown[..., None], plain(position + 1), np.uint8(0))

    tile, errors = mosaic.paint(x, y, z, draw)
    assert tile is not None and errors == {}
    assert (tile[..., 0] == np.where(there[0], 1, np.where(there[1], 2, 0))).all()
    assert (there[0] & there[1]).any() and (~there[0] & there[1]).any() and (there[0] & ~there[1]).any()


def test_only_rasters_under_the_tile_are_drawn_and_in_their_order() -> None:
    rasters = [raster(574_000 + 128 * (number % 20), 6_222_000 - 128 * (number // 20)) for number in range(400)]
    mosaic = Mosaic(rasters)
    z = native_zoom(rasters[0])
    x, y, *_ = tile_of(rasters[210], 128, 128, z)
    drawn: list[int] = []
    assert mosaic.paint(x, y, z, lambda position, _: drawn.append(position)) == (None, {})
    assert 210 in drawn and len(drawn) <= 9 and drawn == sorted(drawn)
    assert mosaic.paint(x + 500, y, z, lambda position, _: drawn.append(position)) == (None, {})


def test_a_raster_under_an_opaque_one_is_not_even_read() -> None:
    mosaic = Mosaic([raster(574_000, size=4000), raster(574_000, size=4000)])
    x, y, *_ = tile_of(raster(574_000), 2000, 2000, 19)
    drawn: list[int] = []

    def draw(position: int, patch: Patch) -> NDArray[np.uint8]:
        drawn.append(position)
        return np.broadcast_to(plain(9), (*patch.cols.shape, 4))

    mosaic.paint(x, y, 19, draw)
    assert drawn == [0]


def test_a_raster_that_cannot_be_read_does_not_blank_the_others() -> None:
    mosaic = Mosaic([raster(574_000, size=4000), raster(574_000, size=4000)])
    x, y, *_ = tile_of(raster(574_000), 2000, 2000, 19)

    def draw(position: int, patch: Patch) -> NDArray[np.uint8]:
        if position == 0:
            raise RasterUnreadable("gone")
        return np.broadcast_to(plain(7), (*patch.cols.shape, 4))

    tile, errors = mosaic.paint(x, y, 19, draw)
    assert (
        tile is not None
        and (tile == plain(7)).all()
        and {place: str(error) for place, error in errors.items()} == {0: "gone"}
    )


def test_rasters_without_a_place_on_earth_are_never_found(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", np.full((3, 64, 64), 9, np.uint8), crs=None)
    mosaic = Mosaic(open_imagery(tmp_path))
    assert mosaic.paint(0, 0, 0, lambda *_: pytest.fail("drawn")) == (None, {})


def test_the_view_of_everything_holds_every_raster() -> None:
    for rasters in ([raster(574_000)], [raster(574_000), raster(900_000, 5_000_000)], [raster(574_000, size=90_000)]):
        tiles = Mosaic(rasters).tiles_of_all()
        assert 1 <= len(tiles) <= 9 and len({z for _, _, z in tiles}) == 1
        for image in rasters:
            for col, row in ((0, 0), (image.width, image.height)):
                x, y, *_ = tile_of(image, col, row, tiles[0][2])
                assert (x, y, tiles[0][2]) in tiles
    assert Mosaic([]).tiles_of_all() == []


def test_hundreds_of_rasters_in_one_tile_are_laid_out_quickly() -> None:
    rasters = [raster(574_000 + 128 * (number % 25), 6_222_000 - 128 * (number // 25)) for number in range(500)]
    mosaic = Mosaic(rasters)
    x, y, *_ = tile_of(rasters[260], 128, 128, 12)
    mosaic.paint(x, y, 12, lambda *_: None)
    started = time.perf_counter()
    mosaic.paint(x, y, 12, lambda *_: None)
    assert time.perf_counter() - started < 0.5
