"""Codes kept in another order than the tiles': those near one another lie together, so that a search reads little."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


@dataclass(frozen=True, eq=False)
class OrderedCodes:
    """Codes by tile number, like an array (n, bytes), however they lie; ``np.asarray`` reads all.

    Attributes:
        rows: packed codes as they lie, uint8 (n, bytes), memory-mapped.
        order: number of the tile in each row, uint32 (n,).
        positions: row of each tile, uint32 (n,).
    """

    rows: NDArray[np.uint8]
    order: NDArray[np.uint32]
    positions: NDArray[np.uint32]

    @property
    def shape(self) -> tuple[int, int]:
        """Tiles and bytes."""
        return self.rows.shape[0], self.rows.shape[1]

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """Of a code's bytes."""
        return self.rows.dtype

    @property
    def ndim(self) -> int:
        """Always 2."""
        return 2

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, tiles: int | slice | Sequence[int] | NDArray[Any]) -> NDArray[np.uint8]:
        """The code (bytes,) of a tile, or those (m, bytes) of several: by number, slice, numbers or a truth value each."""
        return np.asarray(self.rows[self.positions[tiles]])

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:].astype(dtype or self.dtype, copy=False)
