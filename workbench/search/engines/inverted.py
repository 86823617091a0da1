"""The inverted engine: codes lie in lists, and a search reads those lists only whose centres are nearest to the query."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.codes.ordered import OrderedCodes
from workbench.search.engines.ahead import read_ahead
from workbench.search.engines.best import ALL, empty_heap, joined
from workbench.search.engines.flat import Found, as_words, flat_distances, flat_search
from workbench.search.engines.kernels import pick, scan_lists, weighted
from workbench.search.engines.threads import in_slices

AIM = 0.99
"""Recall at 100 that searches have to reach."""
_SET_FOR, _DEEP_SET_FOR = 0.993, 0.998  # so that other queries reach the aim; descriptors rank what a shortlist has
NEAR, DEEP = 100, 1000
"""Neighbours that recall is measured for: as many as are looked at, and as a shortlist has."""
_FIRST = 500  # this part of all codes is read before anything is known of them
_LIKELY = 4  # this part of all lists, the nearest, is looked at again by what was found first
_OWN = 8  # what the query counts among the 100 found first
_STEPS = 7  # of weights, in three binary digits
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
_WORTH_A_SLOPE = 1.25
_COLD_SCANS = 64  # of an opened index, two a search: what they read may still be on the disk
_WORTH_A_THREAD = 50_000
_LISTS_WORTH_A_THREAD = 20_000


@dataclass(frozen=True)
class Reading:
    """How many codes a search reads: exp(level + slope * distance), of the last of the 100 (or 1,000) that it found first.

    A query whose neighbours are far away is harder (Li, Zhang, Andersen & He 2020, "Improving approximate nearest neighbor
    search through learned adaptive early termination").
    """

    level: float = 0.0
    slope: float = 0.0

    def rows(self, distance: float) -> float:
        """Codes to be read."""
        return float(np.exp(min(self.level + self.slope * distance, 50.0)))


@dataclass(frozen=True, eq=False)
class Lists:
    """Codes in lists.

    Attributes:
        codes: as they lie, list after list.
        starts: first row of each list, and the end of the last, int64 (lists + 1,).
        centres: what most codes of each list have, uint8 (lists, bytes).
        near: how much a search for up to 100 reads.
        deep: the same for more than 100.
    """

    codes: OrderedCodes
    starts: NDArray[np.int64]
    centres: NDArray[np.uint8]
    near: Reading = field(default_factory=Reading)
    deep: Reading = field(default_factory=Reading)
    _scans: list[int] = field(default_factory=list, init=False, repr=False)

    def search(self, query: NDArray[np.uint8], k: int) -> Found:
        """The ``k`` codes nearest to one, of those in the lists that are read.

        Lists near the query are read first. What is found there says how hard it is, and what its neighbours look like:
        other lists are chosen by these together (average query expansion: Chum, Philbin, Sivic, Isard & Zisserman 2007,
        "Total recall").

        Args:
            query: packed, (bytes,).
            k: at most so many, 0 or more. More lists are read where those do not hold as many.

        Returns:
            min(k, n) numbers and distances, nearest first; equally near ones in the order of their numbers.

        Raises:
            ShapeMismatch: the code lengths differ.
        """
        begun = self.begun(query, k)
        reading = self.near if k <= NEAR else self.deep
        more = min(len(self.codes), int(reading.rows(begun.distance))) - begun.rows
        keys = self.scanned(self.picked(begun.scores, more), query, begun.keys) if more > 0 else begun.keys
        return joined([keys], min(k, len(self.codes)))

    def begun(self, query: NDArray[np.uint8], k: int, *, itself: int = 0) -> Begun:
        """What is found in the nearest lists, and by it, the scores of the others.

        Args:
            query: see `search`.
            k: see `search`.
            itself: 1 where the query is one of the codes, which then does not count; else 0.
        """
        count = len(self.codes)
        depth = min((NEAR if k <= NEAR else DEEP) + itself, count)
        far = flat_distances(self.centres, query).astype(np.uint32)
        first = self.picked(far, max(k, depth, count // _FIRST))
        keys = self.scanned(first, query, empty_heap(min(max(k, depth), count)))
        near = (keys[itself:depth][:NEAR] & np.uint64(0xFFFFFFFF)).astype(np.int64)
        scores = far + np.uint32(self._most // 2)
        likely = self.picked(far, count // _LIKELY)
        if len(near):
            scores[likely] = self._scores(likely, query, self.codes[near])
        scores[first] = self._most
        rows = int((self.starts[first + 1] - self.starts[first]).sum())
        return Begun(keys, float(keys[depth - 1] >> np.uint64(32)) if depth else 0.0, rows, scores)

    def scanned(
        self, lists: NDArray[np.int64], query: NDArray[np.uint8], keys: NDArray[np.uint64]
    ) -> NDArray[np.uint64]:
        """The best keys (m,), best first, of those given, (m,), and those of all codes in some lists."""
        words, asked = as_words(self.codes.rows, query)
        if len(self._scans) < _COLD_SCANS:
            self._scans.append(len(lists))
            read_ahead(words, self.starts[lists], self.starts[lists + 1])
            read_ahead(self.codes.order, self.starts[lists], self.starts[lists + 1])
        rows = int((self.starts[lists + 1] - self.starts[lists]).sum())
        parts = 2 if rows >= 2 * _WORTH_A_THREAD else 1

        def scan_some(part: slice) -> NDArray[np.uint64]:
            heap = keys[::-1].copy()  # falling numbers are a heap
            if len(heap):
                for first in range(part.start, part.stop):
                    scan_lists(words, self.codes.order, self.starts, ALL, lists[first::parts], asked, heap)
            return heap

        return np.unique(np.concatenate(in_slices(scan_some, parts)))[: len(keys)]

    def picked(self, scores: NDArray[np.uint32], rows: int) -> NDArray[np.int64]:
        """The lists with the lowest scores, in their own order, that hold so many rows together."""
        found = np.empty(len(scores), np.int64)
        return found[: pick(scores, self.starts, rows, np.zeros(self._most, np.int64), found)]

    @property
    def _most(self) -> int:
        """More than any score: twice as much as can be had, so that other lists come after those that are likely."""
        return 2 * (8 * self.centres.shape[1] * _STEPS + 1)

    def _scores(
        self, lists: NDArray[np.int64], query: NDArray[np.uint8], near: NDArray[np.uint8]
    ) -> NDArray[np.uint32]:
        """How much some centres differ from a query and codes near it, uint32: bits in which these agree weigh more."""
        ones = _OWN * np.unpackbits(query).astype(np.int32) + np.unpackbits(near, axis=1).sum(axis=0, dtype=np.int32)
        surplus = 2 * ones - (_OWN + len(near))
        weights = np.rint(np.abs(surplus) * (_STEPS / max(1, int(np.abs(surplus).max())))).astype(np.uint8)
        words, usual = as_words(self.centres[lists], np.packbits(surplus > 0))
        planes = np.stack([np.packbits(weights >> digit & 1) for digit in range(3)]).view(words.dtype)
        scores = np.empty(len(words), np.uint32)
        in_slices(
            lambda part: weighted(words[part], usual, planes, scores[part]), len(words), least=_LISTS_WORTH_A_THREAD
        )
        return scores


@dataclass(frozen=True, eq=False)
class Begun:
    """A search that has read its first lists.

    Attributes:
        keys: of the best, uint64, best first: distance and number.
        distance: of the last of the 100, or 1,000, best.
        rows: codes read so far.
        scores: of all lists, the lower the sooner to be read; more than any for those that were read, uint32 (lists,).
    """

    keys: NDArray[np.uint64]
    distance: float
    rows: int
    scores: NDArray[np.uint32]


@dataclass(frozen=True)
class Measured:
    """What the engine was set by: sampled codes, each searched for among all others.

    Attributes:
        queries: how many.
        rows: codes that a search for up to 100 reads, the median.
        recall: of the 100 nearest codes, by exact search, the share that a search finds.
        deep_rows: codes that a search for more reads, the median.
        deep_recall: of the 1,000 nearest, the share that a search finds.
        milliseconds: median of a search for 100.
        flat_milliseconds: the same by the exact scan.
        near, deep: how much is read.
    """

    queries: int
    rows: int
    recall: float
    deep_rows: int
    deep_recall: float
    milliseconds: float
    flat_milliseconds: float
    near: Reading = field(default_factory=Reading)
    deep: Reading = field(default_factory=Reading)

    @classmethod
    def of_record(cls, values: Mapping[str, Any]) -> Measured:
        """From what was written of one."""
        return cls(**{**values, "near": Reading(**values["near"]), "deep": Reading(**values["deep"])})


def calibrated(lists: Lists, *, queries: int = 400, seed: int = 0) -> tuple[Lists, Measured]:
    """Set how much a search reads: as little as finds 993 in 1,000 of the 100 nearest, and 998 in 1,000 of the 1,000 nearest.

    Args:
        lists: to be set.
        queries: codes drawn from them, each searched for exactly and not counted among its own neighbours.
        seed: of the draw.

    Returns:
        the same lists with other readings, and what was measured.
    """
    half = np.random.default_rng(seed).integers(0, max(1, len(lists.codes) // 2), queries)
    drawn = np.unique(np.minimum(2 * half + 1, len(lists.codes) - 1))  # centres were not fitted to odd rows
    needs = [_needs(lists, int(number)) for number in drawn]
    near, rows, recall = _reading([each[0] for each in needs], len(lists.codes), _SET_FOR)
    deep, deep_rows, deep_recall = _reading([each[1] for each in needs], len(lists.codes), _DEEP_SET_FOR)
    lists = replace(lists, near=near, deep=deep)
    asked = [lists.codes[int(number)] for number in drawn]
    took = _milliseconds(lambda query: lists.search(query, NEAR), asked)
    flat = _milliseconds(lambda query: flat_search(lists.codes.rows, query, NEAR, lists.codes.order), asked[:20])
    return lists, Measured(len(drawn), rows, recall, deep_rows, deep_recall, took, flat, near, deep)


Need = tuple[float, NDArray[np.int64]]
"""The distance that a search goes by, and how many codes have to be read to find each of the true neighbours."""


def _needs(lists: Lists, number: int) -> list[Need]:
    """What it takes to find a code's 100, and 1,000, nearest others, those found first where several are equally near."""
    codes = lists.codes
    query = codes[number]
    found, distances = flat_search(codes.rows, query, 2 * DEEP, codes.order)
    found, distances = found[found != number], distances[found != number]
    homes = np.searchsorted(lists.starts, codes.positions[found], side="right") - 1
    needs = []
    for k in (NEAR, DEEP):
        begun = lists.begun(query, k, itself=1)
        sizes = np.diff(lists.starts)
        order = np.argsort(begun.scores, kind="stable")
        later = begun.scores < begun.scores.max(initial=0)
        read = np.empty(len(sizes), np.int64)
        read[order] = begun.rows + np.cumsum(np.where(later, sizes, 0)[order])
        rows = np.where(later, read, 0)[homes]
        good = distances <= distances[min(k, len(found)) - 1] if len(found) else np.zeros(0, np.bool_)
        needs.append((begun.distance, np.sort(rows[good])[:k]))
    return needs


def _reading(needs: list[Need], count: int, aim: float) -> tuple[Reading, int, float]:
    """The least that finds such a share of the neighbours, how many codes that is in the median, and the share it finds."""
    needs = [(distance, rows) for distance, rows in needs if len(rows)]
    if not needs:
        return Reading(), 1, 1.0
    distances = np.array([distance for distance, _ in needs])
    hard = np.log([max(1.0, float(np.quantile(rows, AIM))) for _, rows in needs])
    spread = float(np.var(distances))
    slope = float(np.cov(distances, hard, bias=True)[0, 1]) / spread if spread else 0.0
    tried = [_level(needs, distances, share * max(0.0, slope), count, aim) for share in _SHARES]
    least = min(float(rows.mean()) for _, rows, _ in tried)
    # What is gained by following distances has to be worth the risk that other queries follow them less.
    reading, rows, recall = next(each for each in tried if each[1].mean() <= _WORTH_A_SLOPE * least)
    return reading, int(np.median(rows)), recall


def _level(
    needs: list[Need], distances: NDArray[np.float64], slope: float, count: int, aim: float
) -> tuple[Reading, NDArray[np.float64], float]:
    """With this slope: the reading, the rows it reads for each query, and the share of neighbours it finds."""
    levels = [np.log(np.maximum(rows, 1)) - slope * distance for distance, rows in needs]
    level = float(np.quantile(np.concatenate(levels), aim, method="higher")) + 1e-9
    rows = np.minimum(np.exp(np.minimum(level + slope * distances, 50.0)), count)
    found = [(need <= most).mean() for (_, need), most in zip(needs, rows, strict=True)]
    return Reading(level, slope), rows, float(np.mean(found))


def _milliseconds(search: Callable[[NDArray[np.uint8]], Found], queries: list[NDArray[np.uint8]]) -> float:
    """Median time of a search."""
    took = []
    for query in queries:
        began = perf_counter()
        search(query)
        took.append(perf_counter() - began)
    return 1e3 * float(np.median(took))
