"""Refinement: a scorer from positive and negative examples that starts at the query and grows with the labels."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from workbench.errors import QueryInvalid
from workbench.search.index import Index, Scorer
from workbench.search.refinement.alone import one_thread
from workbench.search.refinement.expansion import expand
from workbench.search.refinement.learning import learn, prepare
from workbench.search.refinement.mistakes import trust_in
from workbench.search.refinement.pool import Pool, direction, pool_of_index, pool_of_vectors

Method = Literal["auto", "nearest", "rocchio", "logistic", "spread"]
METHODS: tuple[Method, ...] = ("auto", "nearest", "rocchio", "logistic", "spread")
C = 8.0
_PULLED = 10.0


def refine(
    positives: NDArray[np.float32],
    negatives: NDArray[np.float32],
    archive: NDArray[np.float32] | Pool | Index,
    *,
    query: NDArray[np.float32] | None = None,
    method: Method = "auto",
    c: float = C,
    seed: int = 0,
) -> Scorer:
    """Learn a scorer from labelled descriptors.

    The ladder, climbed by the labels at hand when ``method`` is "auto":

    - "nearest": nearest neighbours of the first example. Made three more by reciprocal neighbours where "auto" has but one.
    - "rocchio": the examples pulled together (Rocchio 1971; see `refinement.pool.direction`).
    - "logistic": balanced logistic regression with random tiles as weak negatives: cheap, mostly right, they keep a handful
      of labels from turning the hyperplane any which way (the pseudo-negatives of Yan, Hauptmann & Jin 2003). Its metric
      discounts what varies all over the archive. With as much evidence as m marks that are unlike each other, besides the
      first example, the regression's direction counts m^2 / (m^2 + 10), the examples pulled together the rest; a mark that
      all others contradict counts less. What "auto" means from the second mark on.
    - "spread": the same, and the tiles that labels reach through the graph of neighbours count as likely positives: more is
      found of what is common, less of what is rare (see `refinement.learning.prepare`).

    Args:
        positives: unit descriptors (p, dim).
        negatives: unit descriptors (n, dim), n may be 0.
        archive: unit descriptors (m, dim) of all tiles, a `Pool` of them, or the index of an archive of any size.
        query: unit descriptor (dim,) of the first query; counts as one more positive.
        method: which rung of the ladder.
        c: inverse strength of the regularisation.
        seed: of the draw of random tiles.

    Raises:
        QueryInvalid: there is neither a positive nor a query, or no such method.
    """
    if method not in METHODS:
        raise QueryInvalid(f"There is no scorer {method!r}. Choose one of {', '.join(METHODS)}.")
    if query is not None:
        positives = np.concatenate([positives.reshape(-1, len(query)), query[None]])
        negatives = negatives.reshape(-1, len(query))
    # The query's own tile is often marked as well; twice the same says nothing more.
    positives = np.unique(positives, axis=0)
    if not len(positives):
        raise QueryInvalid("There is nothing to look for yet. Mark at least one tile as positive, or search first.")
    if method == "nearest":
        return Scorer(positives[0] if query is None else query, kind="nearest neighbours of one example")
    toward = direction(positives, negatives, query)
    if method == "rocchio":
        return Scorer(toward, kind=f"examples pulled together, {_counted(positives, negatives)}")
    if isinstance(archive, Index):
        pool = pool_of_index(archive, toward, seed)
    else:
        pool = archive if isinstance(archive, Pool) else pool_of_vectors(archive, toward, seed)
    if not len(pool.random):
        return Scorer(toward, kind="nearest neighbours: the archive has no other tiles")
    if len(positives) == 1 and not len(negatives) and method == "auto":
        expanded, count = expand(positives[0], pool.all)
        return Scorer(expanded, kind=f"nearest neighbours of one example and {count} like it")
    with one_thread():
        lesson = prepare(positives, negatives, pool, use_likely=method == "spread")
        learned = learn(lesson, c=c, trust=trust_in(lesson))
        pulled = expand(toward, pool.all)[0] * np.linalg.norm(learned.weights)
    used = f"{_counted(positives, negatives)}, {lesson.random} random"
    if len(lesson.shares):
        used += f", {len(lesson.shares)} likely"
    regressed = regressed_share(lesson.independent - 1)
    weights = regressed * learned.weights + (1 - regressed) * pulled
    return Scorer(weights.astype(np.float32), learned.bias, f"logistic regression, {used}")


def regressed_share(marks: float) -> float:
    """How much the regression's direction counts against that of the examples pulled together, 0 to 1, after some marks."""
    return marks**2 / (marks**2 + _PULLED)


def _counted(positives: NDArray[np.float32], negatives: NDArray[np.float32]) -> str:
    return f"{len(positives)} positive, {len(negatives)} negative"
