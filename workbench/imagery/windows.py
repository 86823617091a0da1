"""Arithmetic of windows: what of one lies on a raster, where it lands in an output, and averages of squares of pixels."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window


def block_sums(pixels: NDArray[Any], side: int) -> NDArray[np.floating[Any]]:
    """Sums of squares of ``side`` pixels along the last two axes; slices add up faster than short axes do."""
    exact = np.float32 if pixels.dtype.itemsize <= 2 else np.float64
    total = np.zeros((*pixels.shape[:-2], pixels.shape[-2] // side, pixels.shape[-1] // side), exact)
    for row, col in product(range(side), repeat=2):
        total += pixels[..., row::side, col::side]
    return total


def overlap(window: Window, width: int, height: int) -> Window | None:
    """The part of a window that lies on a raster of this size; None where nothing does."""
    col, row = max(0.0, window.col_off), max(0.0, window.row_off)
    right, bottom = min(width, window.col_off + window.width), min(height, window.row_off + window.height)
    return Window(col, row, right - col, bottom - row) if right > col and bottom > row else None


def target(part: Window, window: Window, rows: int, cols: int) -> tuple[int, int, int, int]:
    """Where the readable part of a window lands in an output of (rows, cols): row, col, height, width."""
    y, x = rows / window.height, cols / window.width
    row, col = round((part.row_off - window.row_off) * y), round((part.col_off - window.col_off) * x)
    row, col = min(row, rows - 1), min(col, cols - 1)
    height = max(1, min(rows - row, round(part.height * y)))
    width = max(1, min(cols - col, round(part.width * x)))
    return row, col, height, width
