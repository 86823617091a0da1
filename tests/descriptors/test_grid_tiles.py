"""Tiles computed from the grid are those that a build makes, in its order, and are found again by place."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from small_archives import MeanColour, small_imagery

from workbench.descriptors.bitmap import Bitmap, pack
from workbench.descriptors.build import _blocks_of, build_archive
from workbench.descriptors.manifest import Batch, Manifest, RasterEntry, new_manifest
from workbench.descriptors.tiles import GridTiles, tiles_digest, tiles_within
from workbench.imagery.grid import TILE_DTYPE, TileGrid
from workbench.imagery.rasters import Raster
from workbench.imagery.render import Stretch
from workbench.jobs import Progress


def manifest_of(
    shapes: list[tuple[int, int]], tile: tuple[float, ...], stride: float, block: int, even: bool = True
) -> Manifest:
    entries = tuple(
        RasterEntry(
            f"{n}.tif", (f"/{n}.tif",), (), f"{n:032d}", (), (), *shape[::-1], 1.0, Stretch((), ()), None, False
        )
        for n, shape in enumerate(shapes)
    )
    return replace(new_manifest(MeanColour(), None, TileGrid(tile, stride), entries), block=block, even=even)


def as_built(manifest: Manifest) -> NDArray[np.void]:
    """Every slot as the build's own loops enumerate them."""
    found = []
    for number, entry in enumerate(manifest.rasters):
        from affine import Affine

        raster = Raster(entry.name, (), entry.width, entry.height, "uint8", Affine.identity(), None, None, "")
        height, width = manifest.block_of(number)
        blocks = len(range(0, raster.height, height)) * len(range(0, raster.width, width))
        for placed in _blocks_of(manifest, raster, Batch(number, 0, blocks)):
            found += [(number, row, col, size) for size, rows, cols in placed for row in rows for col in cols]
    return np.array(found, TILE_DTYPE)


@st.composite
def grids(draw: st.DrawFn) -> tuple[Manifest, NDArray[np.bool_] | None, NDArray[np.void]]:
    shapes = draw(st.lists(st.tuples(st.integers(1, 260), st.integers(1, 260)), min_size=1, max_size=4))
    sizes = draw(st.lists(st.sampled_from([16, 24, 40, 64]), min_size=1, max_size=3, unique=True))
    stride = draw(st.sampled_from([0.25, 0.5, 0.77, 1.0]))
    block = draw(st.sampled_from([32, 50, 128, 1000]))
    manifest = manifest_of(shapes, tuple(map(float, sizes)), stride, block, draw(st.booleans()))
    slots = as_built(manifest)
    share = draw(st.sampled_from([None, 0.02, 0.5, 0.98]))
    if share is None:
        return manifest, None, slots
    held = np.random.default_rng(draw(st.integers(0, 99))).random(len(slots)) < share
    return manifest, held, slots[held]


@settings(max_examples=60, deadline=None)
@given(grids(), st.integers(0, 2**32))
def test_grid_tiles_read_like_the_array_they_stand_for(
    made: tuple[Manifest, NDArray[np.bool_] | None, NDArray[np.void]], seed: int
) -> None:
    manifest, held, rows = made
    tiles = GridTiles(manifest, None if held is None else pack(held))
    assert (len(tiles), tiles.shape, tiles.dtype) == (len(rows), rows.shape, rows.dtype)
    assert np.array_equal(np.asarray(tiles), rows) and np.array_equal(list(tiles), list(rows))
    for name in TILE_DTYPE.names or ():
        assert np.array_equal(tiles[name], rows[name]) and tiles[name].dtype == rows[name].dtype
    if len(rows):
        numbers = np.random.default_rng(seed).integers(-len(rows), len(rows), 20)
        assert np.array_equal(tiles[numbers], rows[numbers])
        assert tiles[int(numbers[0])].item() == rows[int(numbers[0])].item()
        first, last = sorted((numbers[:2] % len(rows)).tolist())
        assert np.array_equal(tiles[first:last], rows[first:last]) and np.array_equal(tiles[::-3], rows[::-3])
        assert np.array_equal(tiles[rows["col"] > 20], rows[rows["col"] > 20])
        assert np.array_equal(tiles.numbers_of(rows), np.arange(len(rows)))
    for raster in range(len(manifest.rasters)):
        assert np.array_equal(
            np.flatnonzero(rows["raster"] == raster), np.arange(len(rows))[tiles.raster_tiles(raster)]
        )
    for outside in (len(rows), -len(rows) - 1):
        with pytest.raises(IndexError):
            _ = tiles[outside]


@settings(max_examples=60, deadline=None)
@given(grids(), st.tuples(*[st.floats(-40, 300)] * 4), st.integers(-1, 4))
def test_tiles_in_a_rectangle_are_those_whose_centre_lies_in_it(
    made: tuple[Manifest, NDArray[np.bool_] | None, NDArray[np.void]], edges: tuple[float, ...], raster: int
) -> None:
    manifest, held, rows = made
    tiles = GridTiles(manifest, None if held is None else pack(held))
    left, right = sorted(edges[:2])
    top, bottom = sorted(edges[2:])
    expected = tiles_within(rows, raster, left, top, right, bottom)
    assert np.array_equal(tiles_within(tiles, raster, left, top, right, bottom), expected)
    edge = tiles_within(tiles, 0, 8, 8, 32, 32)  # on the centres of tiles of 16: the first edges count, the last do not
    assert np.array_equal(edge, tiles_within(rows, 0, 8, 8, 32, 32))


def test_windows_off_the_grid_are_no_tiles() -> None:
    tiles = GridTiles(manifest_of([(200, 300), (64, 64)], (64.0,), 0.5, 128))
    odd = np.array([(0, 0, 1, 64), (0, 32, 32, 63), (2, 0, 0, 64), (0, 2000, 0, 64), (1, 0, 0, 64)], TILE_DTYPE)
    assert tiles.numbers_of(odd).tolist() == [-1, -1, -1, -1, len(tiles) - 1]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 700), st.floats(0, 1), st.integers(0, 99))
def test_a_bitmap_counts_as_a_plain_scan_does(slots: int, share: float, seed: int) -> None:
    held = np.random.default_rng(seed).random(slots) < share
    bitmap, places = Bitmap(pack(held), slots), np.flatnonzero(held)
    assert len(bitmap) == len(places)
    assert np.array_equal(bitmap.select(np.arange(len(places))), places)
    assert np.array_equal(bitmap.rank(np.arange(slots + 1)), np.concatenate([[0], np.cumsum(held)]))
    assert np.array_equal(bitmap.held(np.arange(slots)), held)
    for first in range(0, len(places), 37):
        assert np.array_equal(bitmap.between(first, len(places)), places[first:])


def test_a_build_makes_the_tiles_that_the_grid_says(tmp_path: Path) -> None:
    imagery = small_imagery(tmp_path / "images")
    archive = build_archive(imagery, tmp_path / "a", tile=(64, 32), encoder=MeanColour(), progress=Progress())
    tiles = GridTiles(archive.manifest)
    assert np.array_equal(np.asarray(tiles), np.asarray(archive.tiles))
    assert tiles_digest(tiles) != tiles_digest(GridTiles(archive.manifest, pack(np.arange(tiles.slots) > 0)))


def test_forty_eight_million_tiles_are_laid_out_and_looked_up_at_once() -> None:
    manifest = manifest_of([(886_784, 886_784)], (256.0,), 0.5, 1536)
    held = np.random.default_rng(0).integers(1, 256, 6927**2 // 8, dtype=np.uint8)
    started = time.perf_counter()
    tiles = GridTiles(manifest, held)
    assert time.perf_counter() - started < 1
    numbers = np.random.default_rng(1).integers(0, len(tiles), 1000)
    started = time.perf_counter()
    rows = tiles[numbers]
    one = tiles[int(numbers[0])]
    near = tiles_within(tiles, 0, 0, 0, 88_678, 88_678)
    assert time.perf_counter() - started < 0.5
    assert one == rows[0] and np.array_equal(tiles.numbers_of(rows), numbers) and np.all(np.diff(near) > 0)
