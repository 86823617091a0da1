"""The nearest of very many centres, by walking from centre to centre: what comparing with all of them would find, mostly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from workbench.search.engines.best import ALL, NO_NUMBERS, empty_heap
from workbench.search.engines.kernels import scan
from workbench.search.engines.threads import in_slices
from workbench.search.engines.walk_kernels import join, turn_round, walk

_DEGREE, _BACK = 32, 16
_BEAM = 16
_ENTRIES = 64
_PIECE = 1 << 14  # rows of one walk: a fixed number, so that the answer does not depend on how many threads there are

Words = NDArray[np.uint64]
Graph = NDArray[np.uint32]
"""The nearest others of each centre, (m, 32) or fewer."""


def graph_of(centres: Words) -> Graph:
    """The 32 nearest others of each centre (m, words), by comparing all with all; m at least 2."""
    degree = min(_DEGREE, len(centres) - 1)
    graph = np.empty((len(centres), degree), np.uint32)

    def find(part: slice) -> None:
        for row in range(part.start, part.stop):
            heap = empty_heap(degree + 1)
            scan(centres, 0, NO_NUMBERS, ALL, centres[row], heap)
            near = (np.sort(heap) & np.uint64(0xFFFFFFFF)).astype(np.uint32)
            graph[row] = near[near != row][:degree]

    in_slices(find, len(centres))
    return graph


def mended(graph: Graph, centres: Words) -> Graph:
    """The graph of centres that have moved: the nearest among neighbours, and theirs (Dong, Moses & Li 2011)."""
    found = np.empty_like(graph)
    in_slices(lambda part: join(centres, graph, part.start, found[part], np.zeros(len(centres), np.uint32)), len(graph))
    return found


def walked(codes: Words, centres: Words, graph: Graph) -> NDArray[np.uint32]:
    """About the nearest centre of each code, uint32 (n,).

    The walk keeps the 16 best and looks at their neighbours, as in Malkov & Yashunin 2018, algorithm 2. It starts from the
    best of 64 centres and from that of the code before: tiles side by side are often alike. Every 128th code is compared
    with all centres, which shows how far the nearest usually is; and so are others that end unusually far, at most one in
    64: their walks are lost, as those of the codes after them would be.
    """
    # Many are among the nearest of no other (Radovanović, Nanopoulos & Ivanović 2010): ways back lead to them.
    back = np.empty((len(centres), _BACK), np.uint32)
    turn_round(graph, np.zeros(len(centres), np.int64), back)
    graph = np.hstack([graph, back])
    chosen, turned = np.empty(len(codes), np.uint32), np.ascontiguousarray(centres.T)
    entries = np.unique(np.linspace(0, len(centres) - 1, _ENTRIES).astype(np.int64))

    def walk_some(part: slice) -> None:
        seen, room = np.empty(len(centres), np.uint32), np.empty(len(centres), np.uint64)
        for piece in range(part.start, part.stop):
            rows = slice(piece * _PIECE, (piece + 1) * _PIECE)
            seen[:] = 0
            walk(codes[rows], centres, turned, graph, entries, _BEAM, seen, room, chosen[rows])

    in_slices(walk_some, -(-len(codes) // _PIECE))
    return chosen
