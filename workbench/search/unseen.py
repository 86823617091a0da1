"""What marks would be scored had the scorer not learned from them, so that they can tell how right it is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from workbench.search.refine import C, regressed_share
from workbench.search.refinement.learning import learn, prepare
from workbench.search.refinement.mistakes import trust_in
from workbench.search.refinement.pool import Pool


def own_part(
    positives: NDArray[np.float32],
    negatives: NDArray[np.float32],
    pool: Pool,
    query: NDArray[np.float32] | None = None,
) -> NDArray[np.float64]:
    """How much each mark has bent the score of `refine` for itself: what to take from it for the score of one not seen.

    The regression's scores without each mark are known in closed form (Rasmussen & Williams 2006, eq. 5.12), so this costs
    one fit; the direction in which examples are pulled together moves little for one of them, and is left as it is.

    Args:
        positives: unit descriptors (p, dim).
        negatives: unit descriptors (n, dim).
        pool: unlabelled tiles, as `refine` had them.
        query: unit descriptor (dim,) of the first example.

    Returns:
        of each positive, then of each negative, float64 (p + n,).
    """
    dim = pool.random.shape[1]
    examples = positives if query is None else np.concatenate([positives, query[None]])
    kinds, place = np.unique(examples, axis=0, return_inverse=True)
    marks = np.concatenate([kinds, negatives.reshape(-1, dim)])
    if len(marks) < 2 or not len(kinds) or not len(pool.random):
        return np.zeros(len(positives) + len(negatives))
    lesson = prepare(kinds, negatives.reshape(-1, dim), pool)
    fit = learn(lesson, c=C, trust=trust_in(lesson), left_out=True)
    bent = regressed_share(lesson.independent - 1) * (marks @ fit.weights + fit.bias - fit.left_out)
    return np.concatenate([bent[: len(kinds)][place.ravel()[: len(positives)]], bent[len(kinds) :]])
