"""The best k: heaps of keys, filled by several threads and joined; ties in the order of the tiles' numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.search.engines.kernels import NOTHING, keep_highest
from workbench.search.engines.threads import in_slices

NO_NUMBERS = np.empty(0, np.uint32)
"""Says to a kernel that rows are numbered as they lie."""
ALL = np.empty(0, np.bool_)
"""Says to a kernel that every tile may be kept."""
_WORTH_A_THREAD = 100_000


def empty_heap(k: int) -> NDArray[np.uint64]:
    """Room for the ``k`` best keys, k at least 1."""
    return np.full(k, NOTHING)


def joined(heaps: list[NDArray[np.uint64]], k: int) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """The best ``k`` of several heaps.

    Returns:
        tile numbers, int64 (m,), best first, m at most k; and the upper half of their keys, uint32 (m,).
    """
    keys = np.sort(np.concatenate(heaps))[:k]
    keys = keys[: np.searchsorted(keys, NOTHING)]
    return (keys & np.uint64(0xFFFFFFFF)).astype(np.int64), (keys >> np.uint64(32)).astype(np.uint32)


def highest(scores: NDArray[np.float32], k: int, numbers: NDArray[np.integer[Any]] | None = None) -> NDArray[np.int64]:
    """Places of the highest scores.

    Args:
        scores: of each tile, float32 (n,); one that is not a number comes after all others.
        k: at most so many, 0 or more.
        numbers: of the tiles that count, rising, (m,); all when None.

    Returns:
        int64 (min(k, n or m),), best first; equal ones in rising order.
    """
    values = scores if numbers is None else scores[numbers]
    k = min(k, len(values))
    if k == 0:
        return np.empty(0, np.int64)
    words = (np.asarray(values, np.float32) + np.float32(0)).view(np.uint32)  # the sum has no negative zero

    names = None if numbers is None else numbers.astype(np.uint32)

    def search(part: slice) -> NDArray[np.uint64]:
        heap = empty_heap(min(k, part.stop - part.start))
        some = NO_NUMBERS if names is None else names[part]
        keep_highest(words[part], part.start, some, heap)
        return heap

    return joined(in_slices(search, len(words), least=_WORTH_A_THREAD), k)[0]
