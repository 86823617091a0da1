"""The inverted engine: codes lie in lists, and a search reads those lists only whose centres are nearest to the query."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.codes.ordered import OrderedCodes
from workbench.search.engines.best import ALL, empty_heap, joined
from workbench.search.engines.flat import Found, as_words, flat_distances, flat_search
from workbench.search.engines.kernels import scan_lists
from workbench.search.engines.threads import in_slices

AIM = 0.99
"""Recall at 100 that searches have to reach."""
_SET_FOR = 0.995  # on the queries it is set with, so that others reach the aim
NEAR, DEEP = 100, 1000
"""Neighbours that recall is measured for: as many as are looked at, and as a shortlist has."""
_WORTH_A_THREAD = 50_000


@dataclass(frozen=True, eq=False)
class Lists:
    """Codes in lists.

    Attributes:
        codes: as they lie, list after list.
        starts: first row of each list, and the end of the last, int64 (lists + 1,).
        centres: code that each list's codes are nearest to, uint8 (lists, bytes).
        probes: how many lists a search for up to 100 reads, at least.
        deep_probes: the same for more than 100.
    """

    codes: OrderedCodes
    starts: NDArray[np.int64]
    centres: NDArray[np.uint8]
    probes: int = 1
    deep_probes: int = 1

    def search(self, query: NDArray[np.uint8], k: int) -> Found:
        """The ``k`` codes nearest to one, of those in the lists that are read.

        Args:
            query: packed, (bytes,).
            k: at most so many, 0 or more. More lists are read where those do not hold as many.

        Returns:
            min(k, n) numbers and distances, nearest first; equally near ones in the order of their numbers.

        Raises:
            ShapeMismatch: the code lengths differ.
        """
        words, asked = as_words(self.codes.rows, query)
        near = self.nearest_lists(query)
        held = np.cumsum(self.starts[near + 1] - self.starts[near])
        probes = self.probes if k <= NEAR else max(self.probes, self.deep_probes)
        probes = max(probes, int(np.searchsorted(held, min(k, len(words)))) + 1)
        read, rows = near[:probes], int(held[min(probes, len(held)) - 1])
        size = min(k, rows)

        parts = 2 if rows >= 2 * _WORTH_A_THREAD and probes > 1 else 1

        def scanned(part: slice) -> NDArray[np.uint64]:
            heap = empty_heap(size)
            if size:
                # Every other list: both threads then begin with near ones.
                mine = np.concatenate([read[first::parts] for first in range(part.start, part.stop)])
                scan_lists(words, self.codes.order, self.starts, ALL, mine, asked, heap)
            return heap

        return joined(in_slices(scanned, parts), k)

    def nearest_lists(self, query: NDArray[np.uint8]) -> NDArray[np.int64]:
        """All lists, int64 (lists,), the one with the nearest centre first."""
        return np.argsort(flat_distances(self.centres, query), kind="stable")


@dataclass(frozen=True)
class Measured:
    """What the engine was set by: sampled codes, each searched for among all others.

    Attributes:
        queries: how many.
        probes: lists that a search for up to 100 reads.
        recall: of the 100 nearest codes, by exact search, the share that a search finds.
        deep_probes: lists that a search for more reads.
        deep_recall: of the 1,000 nearest, the share that a search finds.
        milliseconds: median of a search for 100.
        flat_milliseconds: the same by the exact scan.
    """

    queries: int
    probes: int
    recall: float
    deep_probes: int
    deep_recall: float
    milliseconds: float
    flat_milliseconds: float


def calibrated(lists: Lists, *, queries: int = 200, seed: int = 0) -> tuple[Lists, Measured]:
    """Set how many lists a search reads: as few as find 995 in 1,000 of the true neighbours.

    Args:
        lists: to be set.
        queries: codes drawn from them, each searched for exactly and not counted among its own neighbours.
        seed: of the draw.

    Returns:
        the same lists with other ``probes``, and what was measured.
    """
    half = np.random.default_rng(seed).integers(0, max(1, len(lists.codes) // 2), queries)
    drawn = np.unique(np.minimum(2 * half + 1, len(lists.codes) - 1))  # centres were not fitted to odd rows
    ranks = [_list_ranks(lists, int(number)) for number in drawn]
    probes, recall = _probes([near for near, _ in ranks])
    deep_probes, deep_recall = _probes([deep for _, deep in ranks])
    lists = replace(lists, probes=probes, deep_probes=deep_probes)
    asked = [lists.codes[int(number)] for number in drawn]
    took = _milliseconds(lambda query: lists.search(query, NEAR), asked)
    flat = _milliseconds(lambda query: flat_search(lists.codes.rows, query, NEAR, lists.codes.order), asked[:20])
    return lists, Measured(len(drawn), probes, recall, deep_probes, deep_recall, took, flat)


def _list_ranks(lists: Lists, number: int) -> list[NDArray[np.int64]]:
    """How many lists have to be read for each of a code's 100, and 1,000, nearest others, fewest first.

    Others at the distance of the last are as good as it: of all that are no farther, those found first count.
    """
    codes = lists.codes
    query = codes[number]
    found, distances = flat_search(codes.rows, query, 2 * DEEP, codes.order)
    found, distances = found[found != number], distances[found != number]
    rank = np.empty(len(lists.centres), np.int64)
    rank[lists.nearest_lists(query)] = np.arange(len(lists.centres))
    ranks = rank[np.searchsorted(lists.starts, codes.positions[found], side="right") - 1]
    within = [ranks[distances <= distances[min(k, len(found)) - 1]] if len(found) else ranks for k in (NEAR, DEEP)]
    return [1 + np.sort(each)[:k] for each, k in zip(within, (NEAR, DEEP), strict=True)]


def _probes(needed: list[NDArray[np.int64]]) -> tuple[int, float]:
    """The fewest lists that find 995 in 1,000 neighbours, and the share that they find."""
    lists = np.sort(np.concatenate(needed))
    if not len(lists):
        return 1, 1.0
    probes = int(lists[max(0, int(np.ceil(_SET_FOR * len(lists))) - 1)])
    return probes, float((lists <= probes).mean())


def _milliseconds(search: Callable[[NDArray[np.uint8]], Found], queries: list[NDArray[np.uint8]]) -> float:
    """Median time of a search."""
    took = []
    for query in queries:
        began = perf_counter()
        search(query)
        took.append(perf_counter() - began)
    return 1e3 * float(np.median(took))
