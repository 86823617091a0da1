"""The search grid covers every pixel, in pixels and in metres."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import QueryInvalid
from workbench.imagery.grid import Tile, TileGrid, tile_size_m
from workbench.imagery.rasters import Band, Raster


def raster(rows: int, cols: int, pixel_m: float = 0.5) -> Raster:
    transform = Affine(pixel_m, 0, 5e5, 0, -pixel_m, 6e6)
    return Raster("a", (Band(Path("a"), 1, "grey"),), cols, rows, "uint8", transform, "EPSG:32632", None, "f")


@given(st.integers(1, 700), st.integers(16, 128), st.floats(0.05, 1))
@settings(deadline=None)
def test_tiles_cover_every_pixel_and_none_beyond(length: int, size: int, stride: float) -> None:
    starts = TileGrid((float(size),), stride).starts(length, size)
    covered = np.zeros(max(length, size), bool)
    for start in starts:
        covered[start : start + size] = True
    assert covered[:length].all() and (starts >= 0).all()
    assert len(set(starts.tolist())) == len(starts) and (np.diff(starts) > 0).all()
    if length >= size:
        assert starts[-1] + size == length
        assert (np.diff(starts)[:-1] == max(1, round(size * stride))).all()
    else:
        assert starts.tolist() == [0]


@given(st.integers(1, 900), st.integers(1, 900), st.lists(st.integers(16, 300), min_size=1, max_size=3))
@settings(deadline=None)
def test_the_count_is_the_number_of_tiles(rows: int, cols: int, sizes: list[int]) -> None:
    grid = TileGrid(tuple(map(float, sizes)))
    expected = sum(len(grid.starts(rows, size)) * len(grid.starts(cols, size)) for size in sizes)
    assert grid.count(raster(rows, cols)) == expected


@pytest.mark.parametrize("pixel_m", [0.13, 0.5, 2.0])
def test_tiles_in_metres_have_one_size_on_the_ground(pixel_m: float) -> None:
    here = raster(2000, 2000, pixel_m)
    grid = TileGrid((64.0,), 0.5, 2.0)
    (size,) = grid.sizes(here)
    assert tile_size_m(here, size) == pytest.approx((64, 64), rel=0.02)
    assert grid.scale(here) * pixel_m == pytest.approx(2.0, rel=0.01)


@pytest.mark.parametrize(
    ("tile", "stride", "resolution"),
    [
        ((), 0.5, None),
        ((0.0,), 0.5, None),
        ((-64.0,), 0.5, None),
        ((64.0,), 0, None),
        ((64.0,), 1.5, None),
        ((64.5,), 0.5, None),
        ((8.0,), 0.5, None),
        ((10.0,), 0.5, 1.0),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(
    tile: tuple[float, ...], stride: float, resolution: float | None
) -> None:
    with pytest.raises(QueryInvalid):
        TileGrid(tile, stride, resolution)


def test_a_tile_is_its_window() -> None:
    assert Tile(0, 3, 5, 7).window.flatten() == (5, 3, 7, 7)
