"""Queues offer what they say, in a fixed order, and no labelled tile."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import QueryInvalid, ShapeMismatch
from workbench.search.queues import (
    disagreement,
    most_doubtful,
    most_similar,
    most_uncertain,
    most_varied,
)
from workbench.search.refinement.mistakes import contradictions

SCORES = st.lists(st.floats(-5, 5, width=32) | st.just(float("nan")), min_size=1, max_size=60)


def unit(seed: int, count: int, dim: int = 6) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@given(SCORES, st.sets(st.integers(0, 59)), st.integers(0, 70), st.floats(-5, 5))
def test_no_queue_offers_a_labelled_tile_or_one_without_score_or_one_twice(
    values: list[float], labelled: set[int], count: int, threshold: float
) -> None:
    scores = np.array(values, np.float32)
    taken = np.array(sorted(number for number in labelled if number < len(scores)), np.int64)
    vectors = unit(0, len(scores))
    allowed = np.setdiff1d(np.flatnonzero(np.isfinite(scores)), taken)
    chances = 1 / (1 + np.exp(-scores))
    queues = {
        "similar": most_similar(scores, count, taken=taken),
        "uncertain": most_uncertain(scores, count, threshold=threshold, taken=taken),
        "varied": most_varied(scores, count, threshold=threshold, vectors_of=vectors.__getitem__, taken=taken),
        "disagreement": disagreement(chances, np.full(len(scores), 0.5), count, taken=taken),
    }
    for name, numbers in queues.items():
        assert numbers.dtype == np.int64 and len(np.unique(numbers)) == len(numbers), name
        assert np.isin(numbers, allowed).all(), name
        assert len(numbers) == min(count, len(allowed)), name


@given(SCORES, st.integers(0, 70))
def test_the_most_similar_are_those_of_a_stable_sort(values: list[float], count: int) -> None:
    scores = np.array(values, np.float32)
    order = np.argsort(-scores, kind="stable")
    assert most_similar(scores, count).tolist() == [n for n in order if np.isfinite(scores[n])][:count]


def test_uncertain_tiles_are_asked_about_among_the_likely_ones_only() -> None:
    scores = np.array([3, 2, 1.2, 0.9, -0.1, -0.1, -0.1, -0.1])
    assert most_uncertain(scores, 2, threshold=0, likely=4).tolist() == [3, 2]
    assert most_uncertain(scores, 2, threshold=0, likely=8).tolist() == [4, 5]
    assert most_uncertain(scores, 3, threshold=1, taken=[3]).tolist() == [2, 1, 4]


def test_a_varied_page_is_spread_wider_than_the_most_uncertain_one() -> None:
    chance = np.random.default_rng(0)
    clumps = unit(1, 5)[np.repeat(range(5), 40)] + chance.normal(0, 0.02, (200, 6))
    vectors = (clumps / np.linalg.norm(clumps, axis=1, keepdims=True)).astype(np.float32)
    # One clump lies nearest to the threshold; the others are in the margin as well.
    scores = np.repeat([0.0, 0.3, 0.4, -0.3, -0.4], 40) + chance.normal(0, 0.01, 200)
    plain = most_uncertain(scores, 10, threshold=0)
    varied = most_varied(scores, 30, threshold=0, vectors_of=vectors.__getitem__)
    assert len(set(plain // 40)) == 1 and len(set(varied // 40)) == 5


def test_the_shortlist_alone_is_described() -> None:
    asked: list[int] = []

    def vectors_of(numbers: np.ndarray) -> np.ndarray:
        asked.append(len(numbers))
        return unit(0, len(numbers))

    most_varied(np.arange(10_000.0), 10, threshold=5_000, vectors_of=vectors_of)
    assert asked == [80]


def test_marks_that_all_others_contradict_come_first() -> None:
    vectors = np.concatenate([unit(2, 1, 32) + unit(3, 30, 32) / 2, unit(4, 30, 32)]).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    positives, negatives = np.r_[0:12, 40], np.r_[41:53, 20]  # 40 and 20 are marked the wrong way
    numbers = np.r_[positives, negatives]
    doubts = contradictions(vectors[positives], vectors[negatives], vectors)
    assert set(most_doubtful(numbers, doubts, 2)) == {40, 20}
    assert most_doubtful(numbers, doubts, 0).tolist() == [] and len(most_doubtful(numbers, doubts)) == 3
    with pytest.raises(ShapeMismatch, match="contradicted has shape"):
        most_doubtful(numbers, doubts[:3])


def test_the_largest_disagreement_comes_first_and_tiles_the_network_has_not_seen_never() -> None:
    chances, network = np.array([0.9, 0.1, 0.5, 0.2]), np.array([0.8, 0.95, np.nan, 0.6])
    assert disagreement(chances, network, 4).tolist() == [1, 3, 0]


@pytest.mark.parametrize("queue", [most_similar, partial(most_uncertain, threshold=0.0)])
def test_one_tile_per_object_fills_the_page_with_other_objects(queue) -> None:  # type: ignore[no-untyped-def]
    def apart(numbers: np.ndarray) -> np.ndarray:
        return np.sort(np.unique(numbers // 10, return_index=True)[1])  # ten tiles show one object

    scores = -np.arange(1000.0) / 100
    assert (queue(scores, 8, apart=apart) // 10).tolist() == list(range(8))
    assert len(most_similar(scores, 500, apart=apart)) == 100


def test_a_negative_number_of_tiles_is_refused() -> None:
    with pytest.raises(QueryInvalid, match="Ask for 0 or more"):
        most_similar(np.zeros(3), -1)
