"""Refinement is never worse than the query and learns from marks."""

from __future__ import annotations

import re

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from workbench.errors import QueryInvalid
from workbench.search.refine import METHODS, refine
from workbench.search.refinement.expansion import expand
from workbench.search.refinement.learning import Lesson, crowding, learn, prepare
from workbench.search.refinement.metric import fit_metric
from workbench.search.refinement.mistakes import contradictions, likely_mistakes
from workbench.search.refinement.picking import pick_unlike
from workbench.search.refinement.pool import pool_of_vectors
from workbench.search.refinement.regression import fit_logistic

NONE = np.empty((0, 32), np.float32)


def clusters(
    seed: int, groups: int = 8, each: int = 60, dim: int = 32, noise: float = 0.28
) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around random centres, and the group of each."""
    chance = np.random.default_rng(seed)
    centres = chance.normal(size=(groups, dim)) / np.sqrt(dim)
    vectors = np.repeat(centres, each, axis=0) + chance.normal(size=(groups * each, dim)) * noise
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), np.repeat(range(groups), each)


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


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
    assert 0.05 < means[1] < means[2] + 0.02 < means[3] < means[5] < means[10] < means[30] and means[10] > 0.15
    # A single mark may mislead by chance; many do not.
    assert np.mean(np.array(gains[3]) > -0.02) > 0.9 and min(gains[10]) > 0


def test_one_example_is_expanded_by_the_tiles_that_it_leads_to() -> None:
    gains = []
    for seed in range(4):
        vectors, groups = clusters(seed)
        for number in (0, 70, 200):
            truth = groups == groups[number]
            for positives, query in ((vectors[number : number + 1], None), (NONE, vectors[number])):
                scorer = refine(positives, NONE, vectors, query=query)
                assert re.search("nearest neighbours of one example and [123] like it", scorer.kind), scorer.kind
                bare = precision(vectors @ vectors[number], truth)
                gains.append(precision(vectors @ scorer.weights, truth) - bare)
    assert np.mean(gains) > 0.02 and np.mean(np.array(gains) > -0.02) > 0.9


def test_a_scorer_is_chosen_by_name_and_says_what_it_is() -> None:
    vectors, groups = clusters(0)
    marks = vectors[groups == 0][:3], vectors[groups == 1][:2]
    said = {
        "nearest": "nearest neighbours of one example",
        "rocchio": "examples pulled together, 4 positive, 2 negative",
        "logistic": "logistic regression, 4 positive, 2 negative",
        "spread": "likely",
        "auto": "logistic regression, 4 positive, 2 negative",
    }
    assert set(said) == set(METHODS)
    for method, words in said.items():
        scorer = refine(*marks, vectors, query=vectors[10], method=method)
        assert words in scorer.kind and ("likely" in scorer.kind) == (words == "likely")
    nearest = refine(*marks, vectors, query=vectors[10], method="nearest")
    assert np.array_equal(nearest.weights, vectors[10]) and nearest.is_descriptor
    with pytest.raises(QueryInvalid, match="Choose one of auto, nearest"):
        refine(*marks, vectors, method="best")


def test_negatives_alone_move_the_ranking_away_from_them() -> None:
    vectors, groups = clusters(1)
    query = vectors[0]
    wrong = vectors[groups == 3][:5]
    scorer = refine(np.empty((0, 32), np.float32), wrong, vectors, query=query)
    rank_before = np.argsort(np.argsort(-(vectors @ query)))[groups == 3].mean()
    rank_after = np.argsort(np.argsort(-(vectors @ scorer.weights)))[groups == 3].mean()
    assert rank_after > rank_before
    assert "1 positive, 5 negative" in scorer.kind


def test_weak_negatives_keep_a_handful_of_positives_in_line() -> None:
    vectors, groups = clusters(2)
    truth = groups == 0
    positives = vectors[truth][:4]
    scorer = refine(positives, np.empty((0, 32), np.float32), vectors)
    assert "4 positive, 0 negative" in scorer.kind
    mean = positives.mean(axis=0)
    assert precision(vectors @ scorer.weights, truth) > precision(vectors @ mean, truth) - 0.02
    small = refine(positives, vectors[truth == 0][:2], vectors[:10])
    assert np.isfinite(small.weights).all()


def test_marks_of_one_object_count_together_and_drown_no_other() -> None:
    chance = np.random.default_rng(5)
    vectors, groups = clusters(5)
    one, other = vectors[groups == 0][0], vectors[groups == 1][0]
    # Eight tiles that overlap show the same object; one tile shows another that is wanted as well.
    copies = unit(np.repeat(one[None], 8, axis=0) + 0.04 * chance.normal(size=(8, 32)))
    assert np.allclose(crowding(copies), 6, atol=2) and np.allclose(crowding(np.stack([one, other])), 1, atol=0.01)
    pool = pool_of_vectors(vectors, one)
    many = prepare(np.concatenate([copies, other[None]]), vectors[groups == 4][:3], pool)
    few = prepare(np.stack([one, other]), vectors[groups == 4][:3], pool)
    assert few.independent < many.independent < few.independent + 1.5 and many.marks == few.marks + 7

    def share_of_other(lesson: Lesson) -> float:
        weights = learn(lesson, c=1.0).weights
        return float((weights @ other) / (weights @ one + weights @ other))

    assert share_of_other(many) == pytest.approx(share_of_other(few), abs=0.1)


def test_the_same_marks_give_the_same_scorer() -> None:
    vectors, _ = clusters(3)
    one, two = (refine(vectors[:5], vectors[100:105], vectors, seed=4) for _ in range(2))
    assert np.array_equal(one.weights, two.weights) and one.bias == two.bias


def test_nothing_to_look_for_is_refused_in_words() -> None:
    vectors, _ = clusters(0)
    with pytest.raises(QueryInvalid, match="Mark at least one tile as positive"):
        refine(np.empty((0, 32), np.float32), vectors[:3], vectors)


def test_of_what_occurs_once_the_nearest_tiles_are_other_things() -> None:
    chance = np.random.default_rng(0)
    alone = unit(chance.normal(size=(1, 32)))
    crowd = unit(np.repeat(chance.normal(size=(8, 32)), 40, axis=0) + 0.1 * chance.normal(size=(320, 32)))
    expanded, count = expand(alone[0], np.concatenate([crowd, alone]))
    assert count == 0 and np.allclose(expanded, alone[0])
    expanded, count = expand(crowd[0], crowd)
    assert count > 0 and expanded @ crowd[:40].mean(axis=0) > crowd[0] @ crowd[:40].mean(axis=0)


def test_a_large_archive_is_learned_from_by_its_nearest_and_some_random_tiles() -> None:
    chance = np.random.default_rng(0)
    archive = unit(chance.normal(size=(4000, 16)))
    pool = pool_of_vectors(archive, archive[7])
    assert (len(pool.random), len(pool.near)) == (500, 900)
    kept = {row.tobytes() for row in pool.all}
    assert len(kept) == 1400
    best = np.argsort(-(archive @ archive[7]))[:900]
    assert all(archive[row].tobytes() in kept for row in best)
    assert abs(float((pool.random @ archive[7]).mean())) < 0.05
    small = pool_of_vectors(archive[:30], archive[7])
    assert (len(small.random), len(small.near)) == (30, 0)


def test_the_regression_is_that_of_another_library_and_knows_scores_without_a_sample() -> None:
    chance = np.random.default_rng(1)
    samples = chance.normal(size=(60, 5)).astype(np.float32)
    wanted = samples[:, 0] + chance.normal(size=60) > 0
    weights = chance.uniform(0.5, 2, 60)
    fit = fit_logistic(samples @ samples.T, wanted, weights, left_out=60)
    model = LogisticRegression(C=1.0, tol=1e-8).fit(samples, wanted, sample_weight=weights)
    np.testing.assert_allclose(fit.shares @ samples, model.coef_[0], atol=0.01)
    assert fit.bias == pytest.approx(model.intercept_[0], abs=0.01)
    for one in range(0, 60, 15):
        others = np.arange(60) != one
        again = LogisticRegression(C=1.0).fit(samples[others], wanted[others], sample_weight=weights[others])
        assert fit.left_out[one] == pytest.approx(again.decision_function(samples[one : one + 1])[0], abs=0.15)


def test_the_metric_discounts_what_varies_all_over_the_archive() -> None:
    chance = np.random.default_rng(2)
    archive = unit(chance.normal(size=(400, 12)) * np.array([6.0, *[1.0] * 11]))
    metric = fit_metric(archive)
    common, rare = np.eye(12, dtype=np.float32)[:2]
    assert metric.apply(common[None])[0] @ common < 0.75 * (metric.apply(rare[None])[0] @ rare)
    assert (metric.apply(archive) * archive).sum(axis=1).mean() == pytest.approx(1, abs=1e-3)


def test_the_next_marks_are_good_answers_that_are_unlike_each_other() -> None:
    vectors, _ = clusters(4)
    ranked = vectors[np.argsort(-(vectors @ vectors[0]))]
    chosen = pick_unlike(ranked, 10)
    assert len(chosen) == 10 and chosen[0] == 0 and chosen.max() < 20 and (np.diff(chosen) > 0).all()

    def alike(rows: np.ndarray) -> float:
        return float(np.triu(ranked[rows] @ ranked[rows].T, 1).max())

    assert alike(chosen) < alike(np.arange(10))
    assert pick_unlike(ranked, 10, choice=1).tolist() == list(range(10))
    assert pick_unlike(ranked[:3], 10).tolist() == [0, 1, 2] and len(pick_unlike(ranked[:0], 10)) == 0


def test_wrong_marks_are_among_the_first_that_the_others_contradict() -> None:
    found = []
    for seed in range(6):
        vectors, groups = clusters(seed)
        truth = groups == seed
        marked = np.random.default_rng(seed).permutation(np.argsort(-(vectors @ vectors[truth][0]))[:60])[:40]
        wrong = marked[[3, 11, 20, 33]]
        said = truth[marked] ^ np.isin(marked, wrong)
        said[0] = True
        order = np.concatenate([marked[said], marked[~said]])
        contradicted = contradictions(vectors[marked[said]], vectors[marked[~said]], vectors)
        first = likely_mistakes(contradicted)
        assert len(first) == 4 and len(contradicted) == 40
        found.append(np.isin(order[first], wrong).sum() / 4)
    assert np.mean(found) >= 0.5


def test_nothing_can_be_doubted_without_a_positive() -> None:
    vectors, _ = clusters(0)
    with pytest.raises(QueryInvalid, match="no mark can be doubted"):
        contradictions(NONE, vectors[:3], vectors)
