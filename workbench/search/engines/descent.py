"""Nearest neighbours by pynndescent, under one lock for the whole process: its compiled threads must not meet."""

from __future__ import annotations

import os
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LOCK = Lock()
_EPSILON = 0.4
_LEAST = 400
_TIMES_K = 10
_SEED = 0


class Descent:
    """A graph of neighbours over unit descriptors, made and searched by nearest neighbour descent.

    Dong, Moses & Li 2011, "Efficient k-nearest neighbor graph construction for generic similarity measures"; the program
    is McInnes's pynndescent. It holds a copy of the descriptors in single precision.

    Attributes:
        neighbours: of each tile, int32 (n, m), nearest first, never itself; -1 where fewer were found.
    """

    def __init__(self, vectors: NDArray[np.float32], count: int) -> None:
        """Find about ``count`` neighbours of each of the unit ``vectors`` (n, dim), n above ``count``."""
        with _LOCK:
            from pynndescent import NNDescent

            self._example = np.array(vectors[:1], np.float32)
            threads = max(1, (os.cpu_count() or 2) - 1)
            # It gives each point as its own first neighbour.
            self._index: Any = NNDescent(
                vectors, metric="dot", n_neighbors=count + 1, random_state=_SEED, n_jobs=threads
            )
            self.neighbours: NDArray[np.int32] = np.ascontiguousarray(self._index.neighbor_graph[0][:, 1:], np.int32)

    def warm(self) -> None:
        """Make ready for `nearest`, which compiles code at first."""
        with _LOCK:
            self._index.prepare()
            self._index.query(self._example, k=1, epsilon=_EPSILON)

    def nearest(self, vector: NDArray[np.float32], k: int) -> NDArray[np.int64]:
        """At least about the ``k`` nearest of a unit descriptor (dim,), int64, nearest first; fewer where no more were met.

        Many more are gone through: a search for ten alone lost its way in a third of the cases that lie between tiles.
        """
        wanted = min(len(self.neighbours), max(_LEAST, _TIMES_K * k))
        with _LOCK:
            query = np.ascontiguousarray(vector[None], np.float32)
            found = self._index.query(query, k=wanted, epsilon=_EPSILON)[0][0]
        return np.asarray(found[found >= 0], np.int64)
