"""Measures of one set of descriptors: as they are and as codes, every image once the query and the rest the archive."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.codes.fitting import fit_codes
from workbench.search.metrics import ap_at_k, average_precision, precision_at, rank

Scores = Callable[[NDArray[np.int64]], NDArray[np.float32]]
FLOAT = "float"
_CHUNK = 256
_RESAMPLES = 1000


@dataclass(frozen=True)
class Plan:
    """What is measured of every set of descriptors.

    Attributes:
        codes: kinds, beside the float descriptors.
        bits: lengths of each.
        shortlist: nearest codes that are re-ranked.
        seed: of the codes, the split and the bootstrap.
    """

    codes: Sequence[str]
    bits: Sequence[int]
    shortlist: int
    seed: int


@dataclass(frozen=True)
class Answers:
    """How a set was ranked, and the measures of each query, float64 (queries, 5) in the order of `MEASURES`."""

    code: str
    bits: int | None
    rerank: bool
    measures: NDArray[np.float64]

    def row(self) -> dict[str, object]:
        """The means over queries."""
        means = self.measures.mean(axis=0).round(4).tolist()
        return {"code": self.code, "bits": self.bits, "rerank": self.rerank, **dict(zip(MEASURES, means, strict=True))}

    def interval(self, seed: int) -> tuple[float, float]:
        """95 % interval of the mAP, by the percentile bootstrap over queries (Efron 1979)."""
        values = self.measures[:, MEASURES.index("map")]
        drawn = np.random.default_rng(seed).integers(0, len(values), (_RESAMPLES, len(values)))
        low, high = np.percentile(values[drawn].mean(axis=1), (2.5, 97.5))
        return round(float(low), 4), round(float(high), 4)


_MEASURES = {
    "p_at_1": lambda ranking: precision_at(ranking, 1),
    "p_at_10": lambda ranking: precision_at(ranking, 10),
    "p_at_20": lambda ranking: precision_at(ranking, 20),
    "map": average_precision,
    "map_at_20_milan": lambda ranking: ap_at_k(ranking, 20),
}
MEASURES = tuple(_MEASURES)


def every_answer(
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    plan: Plan,
    codes: Sequence[str],
    *,
    training: NDArray[np.int64],
    archive: NDArray[np.int64],
) -> Iterator[Answers]:
    """Measure the float descriptors, then each code with and without re-ranking.

    Args:
        vectors: centred descriptors of unit length (n, dim).
        labels: classes (n,).
        plan: bits, shortlist and seed.
        codes: kinds to measure, beside the float descriptors.
        training: numbers of the images that codes are fitted to.
        archive: numbers of the images that are searched, each of them a query that does not find itself.
    """
    searched, classes = vectors[archive], labels[archive]
    cosine = _without_self(lambda queries: searched[queries] @ searched.T)
    yield Answers(FLOAT, None, False, measure(cosine, classes))
    for kind in codes:
        for bits in plan.bits:
            model = fit_codes(kind, vectors[training], bits=bits, seed=plan.seed, labels=labels[training])
            signs = np.unpackbits(model.encode(searched), axis=1).astype(np.float32) * 2 - 1
            # The dot product of signs is bits - 2 x Hamming distance, exact in float32.
            near = _without_self(lambda queries, signs=signs: signs[queries] @ signs.T)
            yield Answers(kind, bits, False, measure(near, classes))
            again = reranked(near, cosine, plan.shortlist)
            yield Answers(kind, bits, True, measure(again, classes))


def measure(scores: Scores, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """The measures of every image as a query, (n, 5); right is what has its label."""
    found = []
    for first in range(0, len(labels), _CHUNK):
        queries = np.arange(first, min(first + _CHUNK, len(labels)))
        relevant = labels[queries][:, None] == labels[None]
        relevant[np.arange(len(queries)), queries] = False
        ranking = rank(scores(queries), relevant)
        found.append(np.stack([value(ranking) for value in _MEASURES.values()], axis=1))
    return np.concatenate(found)


def reranked(near: Scores, cosine: Scores, shortlist: int) -> Scores:
    """Scores that order the ``shortlist`` best of ``near`` by cosine and leave the others behind them as they were."""

    def scores(queries: NDArray[np.int64]) -> NDArray[np.float32]:
        coarse, fine = near(queries), cosine(queries)
        best = np.argsort(-coarse, axis=1, kind="stable")[:, :shortlist]
        behind = coarse - coarse.max() - 2  # below every cosine
        np.put_along_axis(behind, best, np.take_along_axis(fine, best, 1), 1)
        return behind

    return scores


def training_part(labels: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """The first ``share`` of the images of each class, as numbers in ascending order, at least two left of each class."""
    parts = []
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        parts.append(of_class[: min(round(share * len(of_class)), len(of_class) - 2)])
    return np.sort(np.concatenate(parts))


def _without_self(scores: Scores) -> Scores:
    """The same scores, but -inf for each query itself."""

    def masked(queries: NDArray[np.int64]) -> NDArray[np.float32]:
        found = scores(queries)
        found[np.arange(len(queries)), queries] = -np.inf
        return found

    return masked
