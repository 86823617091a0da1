"""Labels spread over the graph of neighbours: which unlabelled tiles are reached from the positives."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

_NEIGHBOURS = 10
_FAR = 0.9
_STEPS = 40
_SHARPNESS = 3


def spread(vectors: NDArray[np.float32], marked: NDArray[np.float32]) -> NDArray[np.float32]:
    """Let marks flow to neighbours, and from those to theirs (Zhou, Bousquet, Lal, Weston & Schölkopf 2004, eq. 5).

    F = sum over t of 0.1 (0.9 S)^t Y, where S holds the cubed cosines of the ten nearest neighbours, made symmetric
    and divided by the square roots of both tiles' sums.

    Args:
        vectors: unit descriptors (n, dim).
        marked: what flows from each, (n,): above 0 from positives, below 0 from negatives, 0 from the unlabelled.

    Returns:
        what has arrived at each, float32 (n,).
    """
    graph = neighbour_weights(vectors)
    roots = np.sqrt(np.maximum(np.asarray(graph.sum(axis=1)).ravel(), 1e-9)).astype(np.float32)
    start = marked.astype(np.float32)
    found = start.copy()
    for _ in range(_STEPS):
        found = np.float32(_FAR) * ((graph @ (found / roots)) / roots) + np.float32(1 - _FAR) * start
    return found


def neighbour_weights(vectors: NDArray[np.float32]) -> csr_array:
    """Cubed cosines of the ten nearest neighbours of each tile, 0 where negative, the larger of both ways: sparse (n, n)."""
    count = len(vectors)
    nearest = min(_NEIGHBOURS, count - 1)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    columns = np.argpartition(-cosines, max(0, nearest - 1), axis=1)[:, :nearest]
    values = np.maximum(np.take_along_axis(cosines, columns, 1), 0) ** _SHARPNESS
    rows = np.repeat(np.arange(count), nearest)
    one_way = csr_array((values.ravel(), (rows, columns.ravel())), shape=(count, count))
    return csr_array(one_way.maximum(one_way.T))
