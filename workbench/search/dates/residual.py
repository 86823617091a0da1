"""What differs between two dates beyond what differs everywhere: the residual of a regression of one on the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DIRECTIONS = 16
ENOUGH = 100
"""Tiles from which on the regression is fitted."""

_PER_DIRECTION = 20

_RIDGE = 0.01
_ROUNDS = 3
_LOOSE = 1.5


def residual(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.float32]:
    """The part of each tile's change that light, season and sensor do not explain.

    In the directions in which descriptors vary most, the difference is regressed on the descriptor, tiles with much left
    over counting less each time, as multivariate alteration detection is iterated (Nielsen 2007, "The regularized
    iteratively reweighted MAD method"). A few tiles cannot tell light from change: of fewer than `ENOUGH`, it is the
    difference of unit vectors around one mean, whose length is that of the cosine.

    Args:
        before: descriptors (m, dim), not centred.
        after: those of the same tiles on the other date.

    Returns:
        float32 (m, dim); its length is how much a tile changed.
    """
    first, second = (values.astype(np.float64) for values in (before, after))
    if len(first) < ENOUGH:
        mean = (first.mean(axis=0) + second.mean(axis=0)) / 2
        return (_unit(second - mean) - _unit(first - mean)).astype(np.float32)
    first, second = first - first.mean(axis=0), second - second.mean(axis=0)
    _, turned = np.linalg.eigh(first.T @ first + second.T @ second)
    axes = turned[:, ::-1][:, : min(DIRECTIONS, len(first) // _PER_DIRECTION)]
    first, second = first @ axes, second @ axes
    weights = np.ones(len(first))
    left = second - first
    for _ in range(_ROUNDS):
        left, _, _ = left_over(first, second - first, weights)
        squared = (left**2).sum(axis=1)
        weights = np.clip(_LOOSE * np.median(squared) / np.maximum(squared, 1e-12), 0, 1) ** 2
    return (left @ axes.T).astype(np.float32)


def _unit(values: Floats) -> Floats:
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9)  # type: ignore[no-any-return]


def left_over(known: Floats, wanted: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """What weighted ridge regression does not explain, (m, q), its slopes (p, q), and its value where ``known`` is 0, (q,)."""
    share = weights / weights.sum()
    middle, mean = share @ known, share @ wanted
    centred = known - middle
    weighted = centred * share[:, None]
    gram = weighted.T @ centred
    ridge = _RIDGE * np.trace(gram) / len(gram) + 1e-12
    slopes = np.linalg.solve(gram + ridge * np.eye(len(gram)), weighted.T @ (wanted - mean))
    offset = mean - middle @ slopes
    return wanted - known @ slopes - offset, slopes, offset
