"""Refinement is never worse than the query and learns from marks."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from workbench.errors import QueryInvalid
from workbench.search.refine import refine


def clusters(
    seed: int, groups: int = 8, each: int = 60, dim: int = 32, noise: float = 0.28
) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around random centres, and the group of each."""
    chance = np.random.default_rng(seed)
    centres = chance.normal(size=(groups, dim)) / np.sqrt(dim)
    vectors = np.repeat(centres, each, axis=0) + chance.normal(size=(groups * each, dim)) * noise
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), np.repeat(range(groups), each)


def precision(scores: np.ndarray, truth: np.ndarray) -> float:
    return float(average_precision_score(truth, scores))


def test_refinement_is_no_worse_than_the_query_and_gets_better_with_marks() -> None:
    gains: dict[int, list[float]] = {1: [], 2: [], 3: [], 5: [], 10: [], 30: []}
    for seed in range(6):
        vectors, groups = clusters(seed)
        for group in range(0, 8, 2):
            truth = groups == group
            query = vectors[np.flatnonzero(truth)[0]]
            ranking = np.argsort(-(vectors @ query))
            before = precision(vectors @ query, truth)
            for marks, found in gains.items():
                shown = ranking[:marks]
                scorer = refine(vectors[shown[truth[shown]]], vectors[shown[~truth[shown]]], vectors, query=query)
                found.append(precision(vectors @ scorer.weights + scorer.bias, truth) - before)
    means = {marks: float(np.mean(found)) for marks, found in gains.items()}
    assert gains[1] == [0] * 24  # the first hit is the query's own tile, and says nothing new
    assert 0.03 < means[2] < means[3] < means[5] < means[10] < means[30] and means[10] > 0.15
    # A single mark may mislead by chance; many do not.
    assert np.mean(np.array(gains[3]) > -0.02) > 0.9 and min(gains[10]) > 0


def test_one_positive_alone_is_its_nearest_neighbours() -> None:
    vectors, _ = clusters(0)
    for positives, query in ((vectors[:1], None), (np.empty((0, 32), np.float32), vectors[0])):
        scorer = refine(positives, np.empty((0, 32), np.float32), vectors, query=query)
        assert np.array_equal(scorer.weights, vectors[0]) and scorer.bias == 0 and "nearest" in scorer.kind


def test_negatives_alone_move_the_ranking_away_from_them() -> None:
    vectors, groups = clusters(1)
    query = vectors[0]
    wrong = vectors[groups == 3][:5]
    scorer = refine(np.empty((0, 32), np.float32), wrong, vectors, query=query)
    rank_before = np.argsort(np.argsort(-(vectors @ query)))[groups == 3].mean()
    rank_after = np.argsort(np.argsort(-(vectors @ scorer.weights)))[groups == 3].mean()
    assert rank_after > rank_before
    assert "1 positive, 5 negative, 300 random" in scorer.kind


def test_weak_negatives_keep_a_handful_of_positives_in_line() -> None:
    vectors, groups = clusters(2)
    truth = groups == 0
    positives = vectors[truth][:4]
    scorer = refine(positives, np.empty((0, 32), np.float32), vectors)
    assert "4 positive, 0 negative, 300 random" in scorer.kind
    mean = positives.mean(axis=0)
    assert precision(vectors @ scorer.weights, truth) > precision(vectors @ mean, truth) - 0.02
    small = refine(positives, vectors[truth == 0][:2], vectors[:10])
    assert "10 random" in small.kind and np.isfinite(small.weights).all()


def test_the_same_marks_give_the_same_scorer() -> None:
    vectors, _ = clusters(3)
    one, two = (refine(vectors[:5], vectors[100:105], vectors, seed=4) for _ in range(2))
    assert np.array_equal(one.weights, two.weights) and one.bias == two.bias


def test_nothing_to_look_for_is_refused_in_words() -> None:
    vectors, _ = clusters(0)
    with pytest.raises(QueryInvalid, match="Mark at least one tile as positive"):
        refine(np.empty((0, 32), np.float32), vectors[:3], vectors)
