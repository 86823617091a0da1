"""From marks to a linear scorer: regression against the rest of the archive, less the tiles that are likely positives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workbench.search.refinement.metric import fit_metric
from workbench.search.refinement.pool import Pool
from workbench.search.refinement.regression import fit_logistic
from workbench.search.refinement.spreading import spread

LIKELY = 40
_LIKELY_SHARE = 0.1
_LIKELY_TRUST = 10.0
_PUSH = 0.5
_WEIGHT = 340.0
_SAME = 1 - 1e-5


@dataclass(frozen=True)
class Learned:
    """A linear scorer, and what it was learned from.

    Attributes:
        weights: float32 (dim,).
        bias: added to every score.
        left_out: what each mark's score would be had it not been used, positives first, float64 (marks,); only if asked for.
        likely: how many unlabelled tiles served as likely positives.
        random: how many served as weak negatives.
    """

    weights: NDArray[np.float32]
    bias: float
    left_out: NDArray[np.float64]
    likely: int
    random: int


def learn(
    positives: NDArray[np.float32],
    negatives: NDArray[np.float32],
    pool: Pool,
    *,
    c: float = 3.0,
    use_likely: bool = False,
    trust: NDArray[np.float64] | None = None,
    left_out: bool = False,
) -> Learned:
    """Learn a scorer from marks and unlabelled tiles.

    Random tiles serve as weak negatives: they have half of the negative weight, all of it where nothing is marked negative.
    Spared are the 40 unlabelled tiles that labels reach first through the graph of neighbours: many of them are positives
    that nobody has seen yet. With ``use_likely`` they even count as positives, each by what has reached it, together
    10 / (10 + m^2) of the positive half with m marks. That finds more where a class is common (one tile in twenty) and
    far less where it is rare (one in two hundred), so it is not the rule.

    Args:
        positives: unit descriptors (p, dim), p at least 1, all different.
        negatives: unit descriptors (n, dim), n may be 0.
        pool: unlabelled tiles; at least one of them random.
        c: inverse strength of the regularisation.
        use_likely: let likely positives count as positives.
        trust: of each mark, positives first, above 0 to 1; all 1 when None.
        left_out: give what each mark's score would be without it.
    """
    marks = np.concatenate([positives, negatives])
    trust = np.ones(len(marks)) if trust is None else trust
    reached, shares = likely_positives(positives, negatives, pool, trust)
    random = unlike(pool.random, np.concatenate([marks, reached]))
    spent = _LIKELY_TRUST / (_LIKELY_TRUST + len(marks) ** 2) if use_likely and len(reached) else 0.0
    likely = reached if spent else reached[:0]
    of_positives, of_negatives = trust[: len(positives)], trust[len(positives) :]
    marked = 0.25 if len(negatives) and len(random) else 0.5 * (len(negatives) > 0)
    weights = np.concatenate(
        [
            0.5 * (1 - spent) * of_positives / of_positives.sum(),
            marked * of_negatives / max(1e-9, float(of_negatives.sum())),
            0.5 * spent * shares[: len(likely)],
            np.full(len(random), (0.5 - marked) / max(1, len(random))),
        ]
    )
    samples = np.concatenate([marks, likely, random])
    wanted = np.zeros(len(samples), bool)
    wanted[: len(positives)] = wanted[len(marks) : len(marks) + len(likely)] = True
    turned = fit_metric(pool.random).apply(samples)
    fit = fit_logistic(turned @ samples.T, wanted, _WEIGHT * c * weights, len(marks) if left_out else 0)
    return Learned(fit.shares.astype(np.float32) @ turned, fit.bias, fit.left_out, len(likely), len(random))


def likely_positives(
    positives: NDArray[np.float32], negatives: NDArray[np.float32], pool: Pool, trust: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Unlabelled tiles that the labels reach, (m, dim), at most 40 and a tenth of the pool, and shares that sum to 1, (m,)."""
    marks = np.concatenate([positives, negatives])
    pooled = unlike(pool.all, marks)
    given = np.concatenate([trust[: len(positives)], -_PUSH * trust[len(positives) :]])
    for part in (slice(0, len(positives)), slice(len(positives), None)):
        given[part] /= max(1e-9, trust[part].sum())
    start = np.concatenate([given, np.zeros(len(pooled))]).astype(np.float32)
    arrived = spread(np.concatenate([marks, pooled]), start)[len(marks) :]
    best = np.argsort(-arrived, kind="stable")[: min(LIKELY, int(_LIKELY_SHARE * len(pooled)))]
    best = best[arrived[best] > 0]
    return pooled[best], arrived[best].astype(np.float64) / max(1e-12, float(arrived[best].sum()))


def unlike(tiles: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.float32]:
    """The tiles that are none of the known ones: marked tiles are in the archive as well."""
    return tiles[(tiles @ known.T).max(axis=1) < _SAME]
