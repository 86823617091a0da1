"""What lies on a raster's search grid, painted into map tiles: values of its tiles as colours, and the lines between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from workbench.imagery.grid import TileGrid
from workbench.imagery.mercator import Patch
from workbench.imagery.rasters import Raster

LEAST_CELL = 24
"""Cells of fewer map pixels than this get no lines: they would hide what they divide."""
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Axis:
    """Where the tiles of one size start along one axis: every ``step`` pixels, and a last one flush to the far edge."""

    size: int
    step: int
    count: int
    last: int

    def nearest(self, place: NDArray[np.float64]) -> NDArray[np.intp]:
        """Which tile's middle is nearest to each place, in pixels."""
        from_first = place - self.size / 2
        if self.count == 1:
            return np.zeros(place.shape, np.intp)
        regular = (self.count - 2) * self.step
        found = np.clip(np.floor(from_first / self.step + 0.5), 0, self.count - 2).astype(np.intp)
        return np.where(from_first > (regular + self.last) / 2, self.count - 1, found)

    def middles(self) -> NDArray[np.float64]:
        """The middle of each tile, in pixels."""
        starts = np.minimum(np.arange(self.count) * self.step, self.last)
        return starts + self.size / 2


@dataclass(frozen=True)
class Lattice:
    """The tiles of one size on one raster.

    Attributes:
        rows: where they start downwards.
        cols: where they start across.
        numbers: of the tile at each place, int32 (rows, cols); -1 where the archive has none.
    """

    rows: Axis
    cols: Axis
    numbers: NDArray[np.int32]


@dataclass(frozen=True)
class Cells:
    """Small numbers of one raster's tiles; a place on the map has that of the tile whose middle is nearest.

    It is the tile that a click there means (`search.query.tile_at`), and no tile is hidden by those that overlap it.

    Attributes:
        rows: where the tiles start downwards.
        cols: where they start across.
        levels: uint8 values; each next array holds the greatest of 2 x 2 before it, so that from afar nothing is lost.
    """

    rows: Axis
    cols: Axis
    levels: tuple[NDArray[np.uint8], ...]

    def paint(self, raster: Raster, patch: Patch, colours: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        """Paint into a patch of a map tile.

        Args:
            raster: of the cells.
            patch: of the map tile.
            colours: RGBA of each value, uint8 (values, 4); the first is that of nothing.

        Returns:
            RGBA (rows, cols, 4), or None where there is nothing.
        """
        inside = _inside(raster, patch)
        step = min(self.rows.step, self.cols.step)
        level = int(np.clip(np.ceil(np.log2(max(1.0, patch.scale / step))), 0, len(self.levels) - 1))
        values = self.levels[level]
        rows = self.rows.nearest(np.where(inside, patch.rows, 0)) >> level
        cols = self.cols.nearest(np.where(inside, patch.cols, 0)) >> level
        found = values[rows, cols]
        found[~inside] = 0
        return colours[found] if found.any() else None


class Windows(Protocol):
    """Rows of row, col and size, read a slice at a time."""

    def __getitem__(self, rows: slice, /) -> NDArray[Any]: ...


def lattices(
    grid: TileGrid, raster: Raster, tiles: Windows, mine: slice, *, strewn: bool = False
) -> tuple[Lattice, ...]:
    """The tiles of one raster by size, the smallest first.

    Args:
        grid: of the archive.
        raster: whose tiles they are.
        tiles: of the archive.
        mine: which of them are this raster's.
        strewn: the tiles need not lie on the grid: each has the place that is nearest, the last of several the place.
    """
    spans = [slice(start, min(mine.stop, start + _CHUNK)) for start in range(mine.start, mine.stop, _CHUNK)]
    sizes = {size for span in spans for size in tiles[span]["size"].tolist()} if strewn else set(grid.sizes(raster))
    found = []
    for size in sorted(sizes):
        down, across = _axis(grid, raster.height, size), _axis(grid, raster.width, size)
        places = np.full((down.count, across.count), -1, np.int32)
        for span in spans:
            part = tiles[span]
            there = np.flatnonzero(part["size"] == size)
            # The last tile starts less than a step after the one before: rounded up, it is the next.
            starts = ((part[name][there].astype(np.int64), axis) for name, axis in (("row", down), ("col", across)))
            if strewn:
                rows, cols = (axis.nearest(start + size / 2) for start, axis in starts)
            else:
                rows, cols = (-(-start // axis.step) for start, axis in starts)
            places[rows, cols] = span.start + there
        found.append(Lattice(down, across, places))
    return tuple(found)


def bare_lattice(grid: TileGrid, raster: Raster, size: int) -> Lattice:
    """Where tiles of one size may start on a raster, without numbers: for the lines between them."""
    return Lattice(_axis(grid, raster.height, size), _axis(grid, raster.width, size), np.empty((0, 0), np.int32))


def cells_of(parts: Sequence[Lattice], values: NDArray[np.uint8]) -> Cells:
    """The values of all tiles, (n,), on one raster's finest grid; where tiles of several sizes meet, the greatest."""
    finest = parts[0]
    padded = np.append(values, np.uint8(0))
    whole = padded[finest.numbers]
    for part in parts[1:]:
        rows, cols = part.rows.nearest(finest.rows.middles()), part.cols.nearest(finest.cols.middles())
        whole = np.maximum(whole, padded[part.numbers[np.ix_(rows, cols)]])
    levels = [whole]
    while max(levels[-1].shape) > 1:
        before = levels[-1]
        even = np.pad(before, [(0, length % 2) for length in before.shape])
        levels.append(np.maximum.reduce([even[row::2, col::2] for row in (0, 1) for col in (0, 1)]))
    return Cells(finest.rows, finest.cols, tuple(levels))


def coverage(part: Lattice) -> NDArray[np.bool_]:
    """Which squares between the grid's lines belong to a tile of the archive, (rows, cols)."""
    rows, cols = np.nonzero(part.numbers >= 0)
    ends = []
    for axis, places in ((part.rows, rows), (part.cols, cols)):
        starts = np.minimum(places * axis.step, axis.last)
        ends.append((starts // axis.step, -(-(starts + axis.size) // axis.step)))
    (top, bottom), (left, right) = ends
    shape = tuple(-(-(axis.last + axis.size) // axis.step) for axis in (part.rows, part.cols))
    # Plus one where a tile begins and minus one where it ends: the running sum counts the tiles on each square.
    corners = np.zeros((shape[0] + 1, shape[1] + 1), np.int32)
    for sign, down, across in ((1, top, left), (-1, bottom, left), (-1, top, right), (1, bottom, right)):
        np.add.at(corners, (down, across), sign)
    return corners.cumsum(0).cumsum(1)[:-1, :-1] > 0


def grid_lines(raster: Raster, part: Lattice, covered: NDArray[np.bool_], patch: Patch) -> NDArray[np.uint8] | None:
    """Light lines with a dark rim along the grid where the archive has tiles, RGBA; None where they would be too close.

    Args:
        raster: of the grid.
        part: its smallest tiles.
        covered: see `coverage`.
        patch: of the map tile.
    """
    if min(part.rows.step, part.cols.step) / patch.scale < LEAST_CELL:
        return None
    inside = _inside(raster, patch)
    apart = np.full(inside.shape, np.inf)
    squares = []
    for axis, place, length in ((part.rows, patch.rows, raster.height), (part.cols, patch.cols, raster.width)):
        known = np.where(inside, place, 0)
        squares.append(np.clip(known // axis.step, 0, None).astype(np.intp))
        lines = np.minimum(np.abs(known - np.round(known / axis.step) * axis.step), length - known)
        apart = np.minimum(apart, lines / patch.scale)
    inside &= covered[np.minimum(squares[0], len(covered) - 1), np.minimum(squares[1], covered.shape[1] - 1)]
    light, dark = (np.clip(width - apart, 0, 1) * opaque * inside for width, opaque in ((1.0, 0.75), (2.0, 0.3)))
    alpha = light + dark * (1 - light)
    if not alpha.any():
        return None
    grey = 255 * light / np.maximum(alpha, 1e-6)
    return np.stack([grey, grey, grey, 255 * alpha], axis=-1).round().astype(np.uint8)


def _axis(grid: TileGrid, length: int, size: int) -> Axis:
    starts = grid.starts(length, size)
    return Axis(size, max(1, round(size * grid.stride)), len(starts), int(starts[-1]))


def _inside(raster: Raster, patch: Patch) -> NDArray[np.bool_]:
    return (patch.cols >= 0) & (patch.cols < raster.width) & (patch.rows >= 0) & (patch.rows < raster.height)
