"""What tiles say, brought to cells: the squares that tiles' edges cut a raster into, each with the mean of the tiles on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.archive import Archive
from workbench.descriptors.tiles import raster_slices
from workbench.errors import QueryInvalid

Values = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""From tile numbers (m,) to what each tile says, 0 to 1, (m, values)."""
_CHUNK = 1 << 16
_STRIP_BYTES = 64_000_000
_UNITS = 1 << 24  # sums of whole numbers come out the same in any order


@dataclass(frozen=True)
class Cells:
    """Where the edges of one raster's tiles are, in its pixels, rising: between two neighbouring ones is a cell.

    Attributes:
        raster: position in the archive's imagery.
        rows: int64 (cell rows + 1,).
        cols: int64 (cell columns + 1,).
    """

    raster: int
    rows: NDArray[np.int64]
    cols: NDArray[np.int64]

    @property
    def pixel(self) -> int:
        """Side of the largest square pixel, counted from the raster's corner, that no edge runs through."""
        return math.gcd(*self.rows.tolist(), *self.cols.tolist())


@dataclass(frozen=True)
class Strip:
    """Some rows of cells: the first of them, the means (rows, cols, values), and where there is any tile (rows, cols)."""

    first: int
    means: NDArray[np.float32]
    known: NDArray[np.bool_]


def cells_of(archive: Archive, raster: int) -> Cells:
    """The cells of a raster.

    Raises:
        QueryInvalid: it has no tiles.
    """
    mine = raster_slices(archive.tiles, len(archive.imagery))[raster]
    if mine.start == mine.stop:
        raise QueryInvalid(f"{archive.imagery[raster].name} has no tiles to make a map from. Leave it out.")
    edges: dict[str, NDArray[np.int64]] = {name: np.empty(0, np.int64) for name in ("row", "col")}
    for start in range(mine.start, mine.stop, _CHUNK):
        tiles = archive.tiles[start : min(mine.stop, start + _CHUNK)]
        size = tiles["size"].astype(np.int64)
        for name in edges:
            first = tiles[name].astype(np.int64)
            edges[name] = np.unique(np.concatenate([edges[name], first, first + size]))
    return Cells(raster, edges["row"], edges["col"])


def strips(archive: Archive, cells: Cells, values: Values, count: int) -> Iterator[Strip]:
    """The mean of what the tiles on each cell say, strip by strip from the top, in bounded memory.

    A tile is added at its corners and summed up afterwards (summed-area tables, Crow 1984), so that the work does not grow
    with the tiles' overlap.

    Args:
        archive: of the tiles.
        cells: of one raster.
        values: what tiles say.
        count: how many values that is.
    """
    wide = len(cells.cols)
    step = max(1, _STRIP_BYTES // (8 * wide * (count + 1)))
    for first in range(0, len(cells.rows) - 1, step):
        last = min(first + step, len(cells.rows) - 1)
        sums = np.zeros((last - first + 1, wide, count + 1), np.int64)
        numbers = _touching(archive, cells, int(cells.rows[first]), int(cells.rows[last]))
        for start in range(0, len(numbers), _CHUNK):
            chosen = numbers[start : start + _CHUNK]
            _add(sums, cells, first, archive.tiles[chosen], values(chosen))
        sums = sums.cumsum(axis=0)[:-1].cumsum(axis=1)[:, :-1]
        tiles = sums[..., -1]
        means = sums[..., :-1] / (_UNITS * np.maximum(tiles, 1)[..., None])
        yield Strip(first, means.astype(np.float32), tiles > 0)


def _touching(archive: Archive, cells: Cells, top: int, bottom: int) -> NDArray[np.int64]:
    """Tiles of the raster with pixels in some rows."""
    reach = max(archive.sizes) / 2 + 1
    numbers = archive.tiles_within(cells.raster, -np.inf, top - reach, np.inf, bottom + reach)
    tiles = archive.tiles[numbers]
    first = tiles["row"].astype(np.int64)
    return numbers[(first < bottom) & (first + tiles["size"] > top)]


def _add(
    sums: NDArray[np.int64], cells: Cells, first: int, tiles: NDArray[np.void], values: NDArray[np.float32]
) -> None:
    """Add tiles at their corners, cut off above and below the strip."""
    size = tiles["size"].astype(np.int64)
    row, col = tiles["row"].astype(np.int64), tiles["col"].astype(np.int64)
    top = np.maximum(np.searchsorted(cells.rows, row) - first, 0)
    bottom = np.minimum(np.searchsorted(cells.rows, row + size) - first, len(sums) - 1)
    left, right = np.searchsorted(cells.cols, col), np.searchsorted(cells.cols, col + size)
    units = np.concatenate([np.rint(values * _UNITS), np.ones((len(values), 1))], axis=1).astype(np.int64)
    for down, across, sign in ((top, left, 1), (top, right, -1), (bottom, left, -1), (bottom, right, 1)):
        np.add.at(sums, (down, across), sign * units)
