"""The slots of one raster: the windows that may be tiles, numbered as a build meets them; pure arithmetic."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from workbench.imagery.grid import TileGrid

Ints = NDArray[np.int64]
_STRIPE = 1 << 20


class Layout:
    """Slots of rasters of one shape.

    They are numbered block by block (row by row), in a block size by size, and those of a size row by row. A window
    belongs to the block that its first pixel lies in.

    Attributes:
        sizes: of tiles, in pixels.
        block: rows and columns of a block, in pixels.
        slots: how many there are.
    """

    def __init__(self, grid: TileGrid, height: int, width: int, sizes: tuple[int, ...], block: tuple[int, int]) -> None:
        self.sizes, self.block = sizes, block
        self._down, self._across = -(-height // block[0]), -(-width // block[1])
        self._rows = [_Axis(grid.starts(height, size), block[0], self._down) for size in sizes]
        self._cols = [_Axis(grid.starts(width, size), block[1], self._across) for size in sizes]
        counts = sum(np.outer(rows.counts, cols.counts) for rows, cols in zip(self._rows, self._cols, strict=True))
        self._offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        self.slots = int(self._offsets[-1])

    def first_of(self, block: int) -> int:
        """The first slot of a block, or one past the last slot."""
        return int(self._offsets[block])

    def windows(self, slots: Ints) -> tuple[Ints, Ints, Ints]:
        """First row, first column and size of some slots, each int64 (m,)."""
        blocks = np.searchsorted(self._offsets, slots, side="right") - 1
        rest = slots - self._offsets[blocks]
        down, across = np.divmod(blocks, self._across)
        row, col, side = np.zeros((3, len(slots)), np.int64)
        for size, rows, cols in zip(self.sizes, self._rows, self._cols, strict=True):
            wide = cols.counts[across]
            count = rows.counts[down] * wide
            here = (rest >= 0) & (rest < count)
            i, j = np.divmod(rest[here], wide[here])
            row[here] = rows.starts[rows.first[down[here]] + i]
            col[here] = cols.starts[cols.first[across[here]] + j]
            side[here] = size
            rest = np.where(rest < count, -1, rest - count)
        return row, col, side

    def slots_of(self, row: Ints, col: Ints, size: Ints) -> Ints:
        """The slots of some windows, int64 (m,); -1 for a window that is none."""
        found = np.full(len(row), -1, np.int64)
        for place, side in enumerate(self.sizes):
            i, on_row = self._rows[place].index(row)
            j, on_col = self._cols[place].index(col)
            there = on_row & on_col & (size == side) & (found < 0)
            found[there] = self._at(place, i[there], j[there])
        return found

    def within(self, left: float, top: float, right: float, bottom: float) -> Iterator[Ints]:
        """Slots whose centre lies in a rectangle of pixels (its right and bottom edges outside), ascending, in parts."""
        spans = []
        for size, rows, cols in zip(self.sizes, self._rows, self._cols, strict=True):
            half = size / 2
            spans.append((rows.between(top - half, bottom - half), cols.between(left - half, right - half)))
        used = [
            (int(rows.blocks[i.start]), int(rows.blocks[i.stop - 1]) + 1)
            for (i, _), rows in zip(spans, self._rows, strict=True)
            if len(i)
        ]
        if not used:
            return
        first, last = min(start for start, _ in used), max(stop for _, stop in used)
        wide = sum(len(j) for _, j in spans) * max(1, int(max(rows.counts.max() for rows in self._rows)))
        step = max(1, _STRIPE // max(1, wide))
        for start in range(first, last, step):
            parts = [
                self._outer(place, self._rows[place].clipped(i, start, start + step), j)
                for place, (i, j) in enumerate(spans)
            ]
            yield np.sort(np.concatenate(parts), kind="stable")

    def _outer(self, place: int, i: range, j: range) -> Ints:
        rows, cols = np.arange(i.start, i.stop, dtype=np.int64), np.arange(j.start, j.stop, dtype=np.int64)
        return self._at(place, rows[:, None], cols[None]).ravel()

    def _at(self, place: int, i: Ints, j: Ints) -> Ints:
        """Slots of the i-th rows and j-th columns of one size, broadcast against each other."""
        rows, cols = self._rows[place], self._cols[place]
        down, across = rows.blocks[i], cols.blocks[j]
        found = self._offsets[down * self._across + across]
        for before in range(place):
            found += self._rows[before].counts[down] * self._cols[before].counts[across]
        found += (i - rows.first[down]) * cols.counts[across]
        found += j - cols.first[across]
        return found


class _Axis:
    """First pixels of the tiles of one size along one axis, and how many start in each block."""

    def __init__(self, starts: Ints, block: int, blocks: int) -> None:
        self.starts = starts
        self.blocks = starts // block
        self.first = np.searchsorted(self.blocks, np.arange(blocks + 1)).astype(np.int64)
        self.counts = np.diff(self.first)

    def index(self, places: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """Which of the starts each place is, and whether it is one."""
        found = np.minimum(np.searchsorted(self.starts, places), len(self.starts) - 1)
        return found, self.starts[found] == places

    def between(self, low: float, high: float) -> range:
        """The starts from ``low`` to before ``high``."""
        return range(*np.searchsorted(self.starts, [low, high]).tolist())

    def clipped(self, chosen: range, first: int, last: int) -> range:
        """Those of some starts that lie in the blocks ``first`` to before ``last``."""
        ends = self.first[[first, min(last, len(self.counts))]].tolist()
        return range(max(chosen.start, ends[0]), max(chosen.start, ends[0], min(chosen.stop, ends[1])))
