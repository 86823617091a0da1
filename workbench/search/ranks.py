"""Which tiles are worth a colour on the map: the best few in a hundred, in steps by rank."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RANKS = ((0.0025, "#f0f921"), (0.005, "#fca636"), (0.01, "#e16462"), (0.02, "#b12a90"), (0.05, "#6a00a8"))
"""Shares of the tiles, best first, and the colour of each (plasma: Smith and van der Walt, 2015)."""


def rank_levels(scores: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The step of `RANKS` that each tile is in.

    Args:
        scores: of all tiles, (n,); those that are not finite have no rank.

    Returns:
        uint8 (n,): the number of steps for the best, 1 for the last step, 0 for the rest. Of few tiles, one is the best.
    """
    ranked = np.flatnonzero(np.isfinite(scores))
    levels = np.zeros(len(scores), np.uint8)
    if not len(ranked):
        return levels
    counts = [min(len(ranked), max(1, round(share * len(scores)))) for share, _ in RANKS]
    best = ranked[np.argpartition(-scores[ranked], counts[-1] - 1)[: counts[-1]]]
    best = best[np.argsort(-scores[best], kind="stable")]
    for count in counts:
        levels[best[:count]] += 1
    return levels
