"""Values and lines of the search grid are on the map where the tiles are on the ground, at every zoom."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from small_map import tile_of

from workbench.imagery.grid import TILE_DTYPE, TileGrid
from workbench.imagery.mercator import Patch, native_zoom, patch_of, placement
from workbench.imagery.paint import Axis, Cells, Lattice, cells_of, coverage, grid_lines, lattices
from workbench.imagery.rasters import Band, Raster

COLOURS = np.array([(0, 0, 0, 0), (10, 0, 0, 255), (20, 0, 0, 255), (30, 0, 0, 255)], np.uint8)


def raster(width: int = 2000, height: int = 1500) -> Raster:
    transform = Affine(0.5, 0, 574_000, 0, -0.5, 6_222_000)
    return Raster("a.tif", (Band(Path("a.tif"), 1, "a"),), width, height, "uint8", transform, "EPSG:32632", None, "a")


def all_tiles(grid: TileGrid, image: Raster) -> NDArray[np.void]:
    rows = [
        (0, row, col, size)
        for size in grid.sizes(image)
        for row in grid.starts(image.height, size)
        for col in grid.starts(image.width, size)
    ]
    return np.array(rows, TILE_DTYPE)


def parts_of(grid: TileGrid, image: Raster, tiles: NDArray[np.void]) -> tuple[Lattice, ...]:
    return lattices(grid, image, tiles, slice(0, len(tiles)))


def at(image: Raster, cells: Cells, col: float, row: float, z: int) -> int:
    """The value shown at a raster pixel."""
    x, y, across, down = tile_of(image, col, row, z)
    patch = patch_of(image, placement(image), x, y, z)
    assert patch is not None
    part = cells.paint(image, patch, COLOURS)
    return 0 if part is None else int(part[down - patch.top, across - patch.left, 0]) // 10


@given(
    st.integers(20, 900),
    st.integers(16, 300),
    st.sampled_from([0.25, 0.5, 1.0]),
    st.lists(st.floats(0, 1), min_size=1, max_size=20),
)
def test_the_nearest_tile_is_the_one_whose_middle_is_nearest(
    length: int, size: int, stride: float, places: list[float]
) -> None:
    grid = TileGrid((size,), stride)
    starts = grid.starts(length, size)
    axis = Axis(size, max(1, round(size * stride)), len(starts), int(starts[-1]))
    assert axis.middles().tolist() == (starts + size / 2).tolist()
    for place in np.array(places) * length:
        away = np.abs(starts + size / 2 - place)
        assert away[axis.nearest(np.array([place]))[0]] == pytest.approx(away.min())


def test_each_tile_shows_at_its_own_middle() -> None:
    image, grid = raster(), TileGrid((256,), 0.5)
    tiles = all_tiles(grid, image)
    parts = parts_of(grid, image, tiles)
    z = native_zoom(image)
    for number in np.random.default_rng(0).choice(len(tiles), 12, replace=False):
        values = np.zeros(len(tiles), np.uint8)
        values[number] = 2
        _, row, col, size = tiles[number].item()
        cells = cells_of(parts, values)
        assert at(image, cells, col + size / 2, row + size / 2, z) == 2
        assert at(image, cells, (col + size / 2 + 900) % image.width, row + size / 2, z) == 0


def test_one_tile_among_thousands_is_seen_from_afar() -> None:
    image, grid = raster(30_000, 20_000), TileGrid((64,), 0.5)
    tiles = all_tiles(grid, image)
    values = np.zeros(len(tiles), np.uint8)
    values[np.flatnonzero((tiles["row"] == 9600) & (tiles["col"] == 17_600))] = 3
    cells = cells_of(parts_of(grid, image, tiles), values)
    for z in range(native_zoom(image) - 9, native_zoom(image) + 1):
        x, y, across, down = tile_of(image, 17_632, 9632, z)
        patch = patch_of(image, placement(image), x, y, z)
        assert patch is not None
        part = cells.paint(image, patch, COLOURS)
        assert part is not None
        shown = np.argwhere(part[..., 0] == 30).mean(axis=0)
        assert np.abs(shown - (down - patch.top, across - patch.left)).max() <= max(2, 32 / patch.scale)


def test_of_several_sizes_the_greatest_shows() -> None:
    image, grid = raster(), TileGrid((128, 512), 0.5)
    tiles = all_tiles(grid, image)
    values = np.where((tiles["size"] == 512) & (tiles["row"] == 512) & (tiles["col"] == 768), 1, 0).astype(np.uint8)
    values[(tiles["size"] == 128) & (tiles["row"] == 704) & (tiles["col"] == 960)] = 2
    cells = cells_of(parts_of(grid, image, tiles), values)
    z = native_zoom(image)
    assert at(image, cells, 1024, 768, z) == 2
    assert at(image, cells, 1024 + 80, 768 + 80, z) == 1
    assert at(image, cells, 1024 + 200, 768, z) == 0


def test_where_the_archive_has_no_tile_there_is_nothing() -> None:
    image, grid = raster(), TileGrid((256,), 0.5)
    tiles = all_tiles(grid, image)
    kept = tiles[tiles["col"] > 700]
    parts = parts_of(grid, image, kept)
    cells = cells_of(parts, np.full(len(kept), 1, np.uint8))
    z = native_zoom(image)
    assert at(image, cells, 400, 700, z) == 0 and at(image, cells, 1500, 700, z) == 1
    covered = coverage(parts[0])
    assert not covered[:, :6].any() and covered[:, 6:].all()


def test_coverage_counts_the_whole_of_a_tile() -> None:
    image, grid = raster(1000, 600), TileGrid((200,), 0.5)
    tiles = all_tiles(grid, image)
    chosen = tiles[(tiles["row"] == 300) & (tiles["col"] == 500)]
    covered = coverage(parts_of(grid, image, chosen)[0])
    assert np.argwhere(covered).tolist() == [[3, 5], [3, 6], [4, 5], [4, 6]]


def lines(z: int, image: Raster, grid: TileGrid, x: int, y: int) -> tuple[NDArray[np.uint8] | None, Patch]:
    part = parts_of(grid, image, all_tiles(grid, image))[0]
    patch = patch_of(image, placement(image), x, y, z)
    assert patch is not None
    return grid_lines(image, part, coverage(part), patch), patch


def test_lines_lie_on_the_edges_of_tiles() -> None:
    image, grid = raster(), TileGrid((256,), 0.5)
    z = native_zoom(image)
    x, y, *_ = tile_of(image, 1000, 700, z)
    found, patch = lines(z, image, grid, x, y)
    assert found is not None
    light = found[..., :3].max(axis=-1) > 200
    assert light.any() and not light.all()
    off = [np.abs(place / 128 - np.round(place / 128)) * 128 / patch.scale for place in (patch.cols, patch.rows)]
    assert np.minimum(*off)[light].max() < 1
    assert light[(np.minimum(*off) < 0.2)].all()


def test_lines_are_left_out_where_they_would_hide_the_picture() -> None:
    image, grid = raster(), TileGrid((256,), 0.5)
    for z in range(native_zoom(image) - 6, native_zoom(image) + 2):
        x, y, *_ = tile_of(image, 1000, 700, z)
        found, patch = lines(z, image, grid, x, y)
        assert (found is not None) == (128 / patch.scale >= 24)


def test_lines_end_where_the_raster_ends() -> None:
    image, grid = raster(1000, 600), TileGrid((256,), 0.5)
    z = native_zoom(image)
    x, y, across, down = tile_of(image, 999.5, 300, z)
    found, patch = lines(z, image, grid, x, y)
    assert found is not None
    outside = (patch.cols > 1000) | (patch.rows > 600) | (patch.cols < 0) | (patch.rows < 0)
    assert outside.any() and not found[outside].any()
    assert found[down - patch.top, across - patch.left - 1 : across - patch.left + 2, 3].max() > 100
