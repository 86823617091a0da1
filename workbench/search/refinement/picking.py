"""Which of the best tiles to mark next: those that say the most, not ten pictures of the same thing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CHOICE = 2
"""From how many times as many of the best tiles a page is chosen."""


def pick_unlike(ranked: NDArray[np.float32], count: int, choice: int = CHOICE) -> NDArray[np.int64]:
    """Choose tiles that are good answers and unlike each other, by farthest-first traversal (Gonzalez 1985).

    The best tile comes first; then, of the best ``choice * count``, always the one least like those chosen.

    Args:
        ranked: unit descriptors of the unmarked tiles, best first (n, dim).
        count: how many to choose.
        choice: 1 gives the best ``count``; more sees more of the class's kinds and edges, and fewer positives.

    Returns:
        places in ``ranked``, int64 (at most count,), in the order of the ranking.
    """
    ranked = ranked[: count * choice]
    count = min(count, len(ranked))
    if not count:
        return np.empty(0, np.int64)
    chosen = [0]
    nearest = ranked @ ranked[0]
    for _ in range(count - 1):
        nearest[chosen[-1]] = np.inf
        chosen.append(int(np.argmin(nearest)))
        nearest = np.maximum(nearest, ranked @ ranked[chosen[-1]])
    return np.sort(np.array(chosen, np.int64))
