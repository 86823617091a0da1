"""Which tiles an archive has and where they lie, for any number of them; pure arithmetic, no pixels read."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def tiles_within(
    tiles: NDArray[Any], raster: int, left: float, top: float, right: float, bottom: float
) -> NDArray[np.int64]:
    """Tiles whose centre lies in a rectangle of a raster's pixels.

    Args:
        tiles: structured (n,) of raster, row, col, size.
        raster: position of the raster.
        left: first column.
        top: first row.
        right: end of the columns, itself outside.
        bottom: end of the rows, itself outside.

    Returns:
        their numbers, int64 (m,), ascending.
    """
    half = tiles["size"] / 2
    col, row = tiles["col"] + half, tiles["row"] + half
    inside = (tiles["raster"] == raster) & (col >= left) & (col < right) & (row >= top) & (row < bottom)
    return np.flatnonzero(inside)


def tiles_digest(tiles: NDArray[Any]) -> str:
    """Names the tiles and their order: 32 hexadecimal digits."""
    return hashlib.blake2b(np.ascontiguousarray(tiles).tobytes(), digest_size=16).hexdigest()
