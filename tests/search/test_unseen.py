"""What a mark's score owes to itself is what learning without it takes away."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.search.refine import refine
from workbench.search.refinement.pool import direction, pool_of_vectors
from workbench.search.unseen import own_part


def archive(seed: int = 0, count: int = 1500, dim: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Unit descriptors around ten centres, and which are of the first three of them."""
    chance = np.random.default_rng(seed)
    of = chance.integers(0, 10, count)
    points = chance.normal(size=(10, dim))[of] + chance.normal(0, 0.9, (count, dim))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32), of < 3


def test_taking_away_its_own_part_gives_about_the_score_of_a_scorer_that_has_not_seen_a_mark() -> None:
    unit, truth = archive()
    chance = np.random.default_rng(1)
    right, wrong = chance.choice(np.flatnonzero(truth), 15, False), chance.choice(np.flatnonzero(~truth), 15, False)
    query = unit[np.flatnonzero(truth)[0]]
    pool = pool_of_vectors(unit, direction(unit[right], unit[wrong], query))
    marks = np.r_[right, wrong]
    part = own_part(unit[right], unit[wrong], pool, query)
    scorer = refine(unit[right], unit[wrong], pool, query=query)
    told = unit[marks] @ scorer.weights + scorer.bias - part
    true = []
    for mark in marks:
        without = refine(unit[right[right != mark]], unit[wrong[wrong != mark]], pool, query=query)
        true.append(unit[mark] @ without.weights + without.bias)
    moved = np.abs(part).mean()
    assert np.abs(told - true).mean() < 0.5 * moved
    assert (part[:15] > 0).mean() > 0.9 and (part[15:] < 0).mean() > 0.9


@pytest.mark.parametrize(("positives", "negatives"), [(0, 0), (1, 0), (0, 3), (1, 1)])
def test_few_marks_give_finite_parts_one_for_each(positives: int, negatives: int) -> None:
    unit, _ = archive(count=60)
    pool = pool_of_vectors(unit, unit[0])
    for query in (None, unit[50]):
        part = own_part(unit[1 : 1 + positives], unit[20 : 20 + negatives], pool, query)
        assert part.shape == (positives + negatives,) and np.isfinite(part).all()


def test_the_query_marked_once_more_is_the_same_example() -> None:
    unit, _ = archive(count=300)
    pool = pool_of_vectors(unit, unit[0])
    both = own_part(unit[:3], unit[20:23], pool, unit[0])
    assert both.shape == (6,) and both == pytest.approx(own_part(unit[:3], unit[20:23], pool), abs=1e-5)
