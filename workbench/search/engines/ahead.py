"""Reading ahead: the parts of a mapped file that a first search needs are asked for at once, not page by page."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

_GAP = 1 << 17
"""Parts nearer to one another than this are read as one: what lies between costs less than another request."""


def read_ahead(rows: NDArray[Any], starts: NDArray[np.int64], stops: NDArray[np.int64]) -> None:
    """Let the system read some parts of a memory-mapped array in the background, as many at a time as the disk takes.

    Without this each part waits for its own page fault, and every fault reads far more than is needed. Does nothing where the
    array is in memory or the system cannot.

    Args:
        rows: mapped, (n, ...).
        starts: first row of each part, rising.
        stops: end of each.
    """
    mapped = _map_of(rows)
    if mapped is None or not hasattr(mmap, "MADV_WILLNEED") or not len(starts):
        return
    width = rows.strides[0]
    offset = rows.ctypes.data - np.frombuffer(mapped, np.uint8).ctypes.data
    low, high = offset + starts * width, offset + stops * width
    apart = low[1:] - high[:-1] > _GAP
    firsts = low[np.r_[True, apart]] // mmap.PAGESIZE * mmap.PAGESIZE
    lasts = high[np.r_[apart, True]]
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        mapped.madvise(mmap.MADV_WILLNEED, first, last - first)


def _map_of(rows: NDArray[Any]) -> mmap.mmap | None:
    """The map that an array is a view of."""
    base: Any = rows
    while isinstance(base, np.ndarray):
        base = base.base
    return base if isinstance(base, mmap.mmap) else None
