"""Measures of rankings equal their textbook values, and with ties the mean over every order of the tied answers."""

from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import QueryInvalid, ShapeMismatch
from workbench.search.metrics import ap_at_k, average_precision, precision_at, rank

TIED = st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=6)


def one(scores: list[float], relevant: list[bool]) -> object:
    return rank(np.array([scores], float), np.array([relevant]))


def precisions(answers: list[bool]) -> list[float]:
    """Precision at each relevant answer, counted by hand."""
    return [sum(answers[: place + 1]) / (place + 1) for place, right in enumerate(answers) if right]


def over_all_orders(answers: list[tuple[int, bool]], measure: object) -> float:
    """The mean of a measure over every order that the scores allow."""
    orders = [
        [right for _, right in order]
        for order in permutations(answers)
        if all(one[0] >= two[0] for one, two in pairwise(order))
    ]
    return float(np.mean([measure(order) for order in orders]))


def test_a_ranking_without_ties_has_its_textbook_values() -> None:
    ranking = one([5, 4, 3, 2, 1], [True, False, True, False, True])
    assert average_precision(ranking) == pytest.approx([(1 + 2 / 3 + 3 / 5) / 3])
    assert precision_at(ranking, 2) == pytest.approx([0.5])
    assert ap_at_k(ranking, 4) == pytest.approx(
        [(1 + 2 / 3) / 2]
    )  # divided by the two found, not by the three there are


@settings(max_examples=60, deadline=None)
@given(TIED, st.integers(1, 7))
def test_ties_count_as_the_mean_over_all_their_orders(answers: list[tuple[int, bool]], k: int) -> None:
    ranking = one([score for score, _ in answers], [right for _, right in answers])
    total = max(1, sum(right for _, right in answers))
    expected = over_all_orders(answers, lambda order: sum(precisions(order)) / total)
    assert average_precision(ranking) == pytest.approx([expected])
    assert precision_at(ranking, k) == pytest.approx([over_all_orders(answers, lambda order: sum(order[:k]) / k)])
    expected = over_all_orders(answers, lambda order: sum(precisions(order[:k])) / max(1, sum(order[:k])))
    assert ap_at_k(ranking, k) == pytest.approx([expected])


def test_each_query_is_measured_for_itself() -> None:
    chance = np.random.default_rng(0)
    scores, relevant = chance.integers(0, 9, (20, 50)).astype(float), chance.random((20, 50)) < 0.2
    together = rank(scores, relevant)
    for measure in (average_precision, lambda r: precision_at(r, 10), lambda r: ap_at_k(r, 10)):
        alone = [float(measure(rank(scores[row : row + 1], relevant[row : row + 1]))[0]) for row in range(20)]
        np.testing.assert_allclose(measure(together), alone)


def test_an_answer_that_does_not_count_changes_nothing() -> None:
    scores, relevant = [3.0, 2, 2, 1], [True, False, True, False]
    plain, masked = one(scores, relevant), one([*scores, -np.inf], [*relevant, False])
    assert average_precision(plain) == average_precision(masked)
    assert precision_at(plain, 3) == precision_at(masked, 3)
    assert ap_at_k(plain, 3) == ap_at_k(masked, 3)


def test_large_groups_of_ties_stay_exact() -> None:
    relevant = np.zeros((1, 5000), bool)
    relevant[0, :500] = True
    ranking = rank(np.zeros((1, 5000)), relevant)
    assert precision_at(ranking, 20) == pytest.approx([0.1])
    assert average_precision(ranking)[0] == pytest.approx(0.1, abs=0.002)
    shuffled = np.random.default_rng(0).permuted(np.repeat(relevant, 4000, 0), axis=1)[:, :20]
    drawn = np.mean([sum(precisions(list(row))) / max(1, row.sum()) for row in shuffled])
    assert ap_at_k(ranking, 20)[0] == pytest.approx(drawn, abs=0.01)


def test_nothing_relevant_measures_zero() -> None:
    ranking = one([2, 1, 1], [False] * 3)
    assert (average_precision(ranking)[0], ap_at_k(ranking, 2)[0], precision_at(ranking, 2)[0]) == (0, 0, 0)


def test_what_cannot_be_ranked_is_refused() -> None:
    with pytest.raises(ShapeMismatch, match=r"\(1, 2\).*\(1, 3\)"):
        rank(np.zeros((1, 2)), np.zeros((1, 3), bool))
    with pytest.raises(QueryInvalid, match="NaN"):
        one([1, np.nan], [True, False])
    with pytest.raises(QueryInvalid, match="k is 0"):
        precision_at(one([1], [True]), 0)
