"""Refinement: a scorer from positive and negative examples that starts at the query and grows with the labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from workbench.errors import QueryInvalid
from workbench.search.index import Scorer

WEAK_NEGATIVES = 300
# Labels at which the regression counts as much as the pull; measured on UC Merced, see tests/search/test_refine.py.
_HALF_TRUST = 4
_ROCCHIO = 0.25


def refine(
    positives: NDArray[np.float32],
    negatives: NDArray[np.float32],
    archive: NDArray[np.float32],
    *,
    query: NDArray[np.float32] | None = None,
    c: float = 1.0,
    weak: int = WEAK_NEGATIVES,
    seed: int = 0,
) -> Scorer:
    """Learn a scorer from labelled descriptors.

    One positive and nothing else is a nearest-neighbour query. Otherwise L2-regularised logistic regression, where random
    tiles of the archive stand in as weak negatives: they are cheap, mostly right, and keep a handful of labels from turning
    the hyperplane any which way (the pseudo-negatives of Yan, Hauptmann & Jin 2003, "Negative pseudo-relevance feedback").
    Weights are balanced, both sides together as many as there are samples; of the negative half, weak ones have half (all
    of it where nothing is marked negative).

    While labels are few, the direction is pulled toward the mean of the positives less a quarter of that of the negatives
    (Rocchio 1971): with m labels besides the query, the regression counts m / (m + 4). So the first marks seldom make a
    ranking worse than the query alone.

    Args:
        positives: unit descriptors (p, dim).
        negatives: unit descriptors (n, dim), n may be 0.
        archive: unit descriptors (m, dim) to draw weak negatives from.
        query: unit descriptor (dim,) of the first query; counts as one more positive.
        c: inverse strength of the regularisation.
        weak: number of weak negatives.
        seed: of the draw.

    Raises:
        QueryInvalid: there is neither a positive nor a query.
    """
    if query is not None:
        positives = np.concatenate([positives.reshape(-1, len(query)), query[None]])
    # The query's own tile is often marked as well; twice the same says nothing more.
    positives = np.unique(positives, axis=0)
    if not len(positives):
        raise QueryInvalid("There is nothing to look for yet. Mark at least one tile as positive, or search first.")
    if len(positives) == 1 and not len(negatives):
        return Scorer(positives[0], kind="nearest neighbours of one example")
    drawn = np.random.default_rng(seed).choice(len(archive), min(weak, len(archive)), replace=False)
    samples = np.concatenate([positives, negatives.reshape(-1, positives.shape[1]), archive[drawn]])
    total = len(samples)
    weak_share = 0.5 if len(negatives) else 1.0
    weights = np.concatenate(
        [
            np.full(len(positives), total / 2 / len(positives)),
            np.full(len(negatives), total / 2 * (1 - weak_share) / max(1, len(negatives))),
            np.full(len(drawn), total / 2 * weak_share / len(drawn)),
        ]
    )
    wanted = np.arange(len(samples)) < len(positives)
    model = LogisticRegression(C=c, max_iter=300).fit(samples, wanted, sample_weight=weights)
    kind = f"logistic regression, {len(positives)} positive, {len(negatives)} negative, {len(drawn)} random"
    learned = model.coef_[0]
    pulled = positives.mean(axis=0) - (_ROCCHIO * negatives.mean(axis=0) if len(negatives) else 0)
    marks = len(positives) + len(negatives) - 1
    trust = marks / (marks + _HALF_TRUST)
    direction = trust * learned + (1 - trust) * pulled * np.linalg.norm(learned) / np.linalg.norm(pulled)
    return Scorer(direction.astype(np.float32), float(model.intercept_[0]), kind)
