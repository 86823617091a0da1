"""How good a ranking is: precision and average precision, as expected over every order of the answers that tie.

Codes of few bits give many answers the same distance; any fixed order of those would flatter or harm by chance. All
measures here are therefore the mean over all orders of each group of ties, computed exactly (McSherry & Najork 2008,
"Computing information retrieval performance measures efficiently in the presence of tied scores").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from workbench.errors import QueryInvalid, ShapeMismatch

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Ranking:
    """Answers to several queries in order of score, best first; made by `rank`.

    Each array is int64 (queries, answers) and says something of the answer at a rank, or of the group of equal scores
    that it is in.

    Attributes:
        before: answers ranked above the group.
        size: answers in the group.
        relevant_before: relevant answers above the group.
        relevant: relevant answers in the group.
    """

    before: Counts
    size: Counts
    relevant_before: Counts
    relevant: Counts


def rank(scores: NDArray[np.floating], relevant: NDArray[np.bool_]) -> Ranking:  # type: ignore[type-arg]
    """Put the answers to several queries in order.

    Args:
        scores: of each answer to each query, (queries, answers), higher is better, not NaN. An answer that does not count,
            such as the query itself, has a score of -inf and is not relevant: it then changes no measure.
        relevant: which answers are right, (queries, answers).

    Raises:
        ShapeMismatch: the two differ in shape, are not two-dimensional, or there is no answer.
        QueryInvalid: a score is NaN.
    """
    if scores.shape != relevant.shape or scores.ndim != 2 or not scores.shape[1]:
        raise ShapeMismatch(
            f"Scores have shape {scores.shape} and relevance {relevant.shape}; both must be (queries, answers), with at "
            "least one answer. Give one score and one truth value for each."
        )
    if np.isnan(scores).any():
        raise QueryInvalid("A score is NaN, which has no rank. Give -inf to an answer that must not count.")
    order = np.argsort(-scores, axis=1, kind="stable")
    ordered = np.take_along_axis(scores, order, 1)
    queries, answers = scores.shape
    new = np.ones((queries, answers + 1), bool)  # where a group starts; one more starts after the end
    new[:, 1:-1] = ordered[:, 1:] != ordered[:, :-1]
    places = np.arange(answers + 1)
    first = np.maximum.accumulate(np.where(new, places, 0), axis=1)[:, :-1]
    nearest = np.where(new, places, answers)[:, ::-1]
    after = np.minimum.accumulate(nearest, axis=1)[:, ::-1][:, 1:]
    found = np.zeros((queries, answers + 1), np.int64)
    found[:, 1:] = np.cumsum(np.take_along_axis(relevant, order, 1), axis=1)
    above = np.take_along_axis(found, first, 1)
    return Ranking(first, after - first, above, np.take_along_axis(found, after, 1) - above)


def precision_at(ranking: Ranking, k: int) -> Floats:
    """Expected share of relevant answers among the first ``k``, (queries,); missing answers count as wrong.

    Raises:
        QueryInvalid: ``k`` is less than 1.
    """
    last = _last(ranking, k)
    slots = last + 1 - ranking.before[:, last]
    part = slots / ranking.size[:, last]
    return (ranking.relevant_before[:, last] + part * ranking.relevant[:, last]) / k


def average_precision(ranking: Ranking) -> Floats:
    """Expected average precision over the whole ranking, (queries,), 0 where nothing is relevant.

    After McSherry & Najork 2008: in a group of n answers with r relevant ones that follows N answers with R
    relevant ones, each place j holds a relevant answer with chance r / n, and the others are spread evenly over the rest.
    """
    starts = ranking.before == np.arange(ranking.before.shape[1])
    sums = _expected_sum(ranking.before, ranking.relevant_before, ranking.size, ranking.relevant)
    total = ranking.relevant_before[:, -1] + ranking.relevant[:, -1]
    return np.where(starts, sums, 0).sum(axis=1) / np.maximum(total, 1)


def ap_at_k(ranking: Ranking, k: int) -> Floats:
    """Expected average precision within the first ``k`` answers, (queries,), 0 where none of them is relevant.

    As Roy, Sangineto, Demir & Sebe 2021 (MiLaN) measure it: the precisions at the ranks of the relevant answers among the
    first k, divided by how many of those were found, not by how many there are. Their mean over queries is mAP@k.
    The group of ties that rank k cuts through leaves x relevant answers above the cut with the chances of the
    hypergeometric distribution; the mean over x is exact.

    Raises:
        QueryInvalid: ``k`` is less than 1.
    """
    last = _last(ranking, k)
    starts = ranking.before == np.arange(ranking.before.shape[1])
    sums = _expected_sum(ranking.before, ranking.relevant_before, ranking.size, ranking.relevant)
    before, above = ranking.before[:, last], ranking.relevant_before[:, last]
    whole = np.where(starts & (np.arange(sums.shape[1]) < before[:, None]), sums, 0).sum(axis=1)
    slots = last + 1 - before
    drawn = np.arange(last + 2)[None]  # how many relevant answers of the group lie above the cut
    chance = _hypergeometric(drawn, ranking.size[:, last, None], ranking.relevant[:, last, None], slots[:, None])
    part = _expected_sum(before[:, None], above[:, None], slots[:, None], drawn)
    found = np.maximum(above[:, None] + drawn, 1)
    return (chance * (whole[:, None] + part) / found).sum(axis=1)


def _last(ranking: Ranking, k: int) -> int:
    """Place of the k-th answer, or of the last where there are fewer."""
    if k < 1:
        raise QueryInvalid(f"k is {k}; expected 1 or more answers. Give how many of them count.")
    return min(k, ranking.before.shape[1]) - 1


def _expected_sum(before: Counts, relevant_before: Counts, size: Counts, relevant: Counts) -> Floats:
    """Expected sum of the precisions at the relevant answers of a group in random order.

    The sum over j of r / n (1 + R + (j - 1) (r - 1) / (n - 1)) / (N + j), with the sum of 1 / (N + j) from a table.
    """
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, 1 + int((before + size).max())))])
    inverse = harmonic[before + size] - harmonic[before]
    others = (relevant - 1) / np.maximum(size - 1, 1)
    return relevant / size * ((1 + relevant_before) * inverse + others * (size - (before + 1) * inverse))


def _hypergeometric(drawn: Counts, size: Counts, relevant: Counts, slots: Counts) -> Floats:
    """Chance that ``slots`` of ``size`` answers, ``relevant`` of them relevant, hold ``drawn`` relevant ones."""
    possible = (drawn <= relevant) & (drawn <= slots) & (slots - drawn <= size - relevant)
    inside = np.where(possible, drawn, np.maximum(0, slots - (size - relevant)))
    ways = _log_ways(relevant, inside) + _log_ways(size - relevant, slots - inside) - _log_ways(size, slots)
    return np.where(possible, np.exp(ways), 0.0)


def _log_ways(of: Counts, taken: Counts) -> Floats:
    """Logarithm of the binomial coefficient."""
    ways: Floats = gammaln(of + 1) - gammaln(taken + 1) - gammaln(of - taken + 1)
    return ways
