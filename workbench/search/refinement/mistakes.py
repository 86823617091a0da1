"""Labels that the scorer contradicts: the marks to look at again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from workbench.errors import QueryInvalid
from workbench.search.refinement.learning import Lesson, learn, prepare
from workbench.search.refinement.pool import Pool, direction, pool_of_vectors

_C = 3.0
_BENEFIT = 1.0  # of the doubt, in log odds
_LEAST = 0.02
_ENOUGH = 5


def contradictions(
    positives: NDArray[np.float32],
    negatives: NDArray[np.float32],
    archive: NDArray[np.float32] | Pool,
    *,
    seed: int = 0,
) -> NDArray[np.float64]:
    """How much all other marks contradict each one.

    Each mark is scored by the regression that all others would give, which is known in closed form (Rasmussen & Williams
    2006, eq. 5.12): a mark that its own scorer agrees with may have bent the scorer to itself.

    Args:
        positives: unit descriptors (p, dim), p at least 1.
        negatives: unit descriptors (n, dim), n may be 0.
        archive: unit descriptors (m, dim) of all tiles, or of a large archive a `Pool` of them.
        seed: of the draw of random tiles.

    Returns:
        of each positive, then of each negative, float64 (p + n,): the log odds that it is wrong; the highest are the likely
        mistakes.

    Raises:
        QueryInvalid: there is no positive, or the archive is empty.
    """
    if not len(positives):
        raise QueryInvalid("No tile is marked as positive, so no mark can be doubted. Mark one first.")
    pool = archive if isinstance(archive, Pool) else pool_of_vectors(archive, direction(positives, negatives), seed)
    if not len(pool.random):
        raise QueryInvalid("The archive has no tiles to compare marks with. Build it first.")
    return doubts(prepare(positives, negatives, pool))


def doubts(lesson: Lesson) -> NDArray[np.float64]:
    """`contradictions` of the marks among samples that are chosen already."""
    left_out = learn(lesson, c=_C, left_out=True).left_out
    return np.where(np.arange(lesson.marks) < lesson.positives, -left_out, left_out)


def likely_mistakes(contradicted: NDArray[np.float64], count: int | None = None) -> NDArray[np.int64]:
    """Places of marks, most doubtful first: the first ``count``, or a tenth of them (at least one) when None."""
    count = -(-len(contradicted) // 10) if count is None else count
    return np.argsort(-contradicted, kind="stable")[:count]


def trust_in(lesson: Lesson) -> NDArray[np.float64] | None:
    """How much each mark counts, positives first, 0.02 to 1 (marks,): less, the more all others contradict it.

    One step of iteratively re-weighted regression, with the scores that marks have without themselves in place of the
    residuals, which a mark of much leverage hides. None, all alike, where there are 5 marks or fewer, or none is negative.
    """
    if lesson.marks <= _ENOUGH or not lesson.negatives:
        return None
    return np.maximum(1 / (1 + np.exp(np.clip(doubts(lesson) - _BENEFIT, -30, 30))), _LEAST)
