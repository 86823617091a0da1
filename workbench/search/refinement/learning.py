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
_MARKED = 0.1
_ALIKE = 10
_CAUTION = 3
_SAME = 1 - 1e-5


@dataclass(frozen=True)
class Lesson:
    """What does not change while marks are weighed: the samples, in the order positives, negatives, likely positives, random.

    Attributes:
        positives: number of positive marks.
        negatives: number of negative marks.
        shares: of each likely positive, (m,), summing to 1.
        random: number of weak negatives.
        turned: samples in the archive's metric, float32 (n, dim).
        products: of all samples, float32 (n, n).
        alike: of each mark, how many marks show what it shows, itself counted, float64 (marks,); see `crowding`.
    """

    positives: int
    negatives: int
    shares: NDArray[np.float64]
    random: int
    turned: NDArray[np.float32]
    products: NDArray[np.float32]
    alike: NDArray[np.float64]

    @property
    def marks(self) -> int:
        """Number of marks."""
        return self.positives + self.negatives

    @property
    def independent(self) -> float:
        """How many marks there would be were none like another, up to their number."""
        return float((1 / self.alike).sum())


@dataclass(frozen=True)
class Learned:
    """A linear scorer.

    Attributes:
        weights: float32 (dim,).
        bias: added to every score.
        left_out: what each mark's score would be had it not been used, positives first, float64 (marks,); only if asked for.
    """

    weights: NDArray[np.float32]
    bias: float
    left_out: NDArray[np.float64]


def prepare(
    positives: NDArray[np.float32], negatives: NDArray[np.float32], pool: Pool, *, use_likely: bool = False
) -> Lesson:
    """Choose the samples of a regression.

    Random tiles serve as weak negatives. Spared are the 40 unlabelled tiles that labels reach first through the graph of
    neighbours: many of them are positives that nobody has seen yet. With ``use_likely`` they even count as positives. That
    finds more where a class is common (one tile in twenty) and far less where it is rare (one in two hundred), so it is not
    the rule.

    Args:
        positives: unit descriptors (p, dim), p at least 1, all different.
        negatives: unit descriptors (n, dim), n may be 0.
        pool: unlabelled tiles; at least one of them random.
        use_likely: let likely positives count as positives.
    """
    marks = np.concatenate([positives, negatives])
    reached, shares = likely_positives(positives, negatives, pool)
    random = unlike(pool.random, np.concatenate([marks, reached]))
    if not use_likely:
        reached, shares = reached[:0], shares[:0]
    samples = np.concatenate([marks, reached, random])
    turned = fit_metric(pool.random).apply(samples)
    alike = crowding(marks)
    return Lesson(len(positives), len(negatives), shares, len(random), turned, turned @ samples.T, alike)


def crowding(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """How many of some unit descriptors (n, dim) show what each shows, itself counted, 1 to n: the sum of cosines^10, (n,).

    Tiles of one object that overlap have cosines near .9, others of a class about .6: ten of the former say little more
    than three.
    """
    return np.maximum((np.maximum(vectors @ vectors.T, 0) ** _ALIKE).sum(axis=1), 1).astype(np.float64)


def learn(lesson: Lesson, *, c: float, trust: NDArray[np.float64] | None = None, left_out: bool = False) -> Learned:
    """Fit a regression to the samples.

    Both sides weigh the same. Marked negatives have a fifth of the negative weight, weak negatives the rest: what is marked
    wrong is mostly almost right. Likely positives have together 10 / (10 + m^2) of the positive weight with m marks. Marks
    that are alike, of whichever side, share one mark's weight; the less the positives say each, the less all samples weigh
    against the regularisation: by the cube of the share that is independent.

    Args:
        lesson: the samples.
        c: inverse strength of the regularisation.
        trust: of each mark, positives first, above 0 to 1; all 1 when None.
        left_out: give what each mark's score would be without it.
    """
    trust = np.ones(lesson.marks) if trust is None else trust
    likely, random = len(lesson.shares), lesson.random
    spent = _LIKELY_TRUST / (_LIKELY_TRUST + lesson.marks**2) if likely else 0.0
    marked = _MARKED if lesson.negatives and random else 0.5 * (lesson.negatives > 0)
    counted = trust / lesson.alike
    of_positives, of_negatives = counted[: lesson.positives], counted[lesson.positives :]
    strength = _WEIGHT * c * float((1 / lesson.alike[: lesson.positives]).mean()) ** _CAUTION
    weights = np.concatenate(
        [
            0.5 * (1 - spent) * of_positives / of_positives.sum(),
            marked * of_negatives / max(1e-9, float(of_negatives.sum())),
            0.5 * spent * lesson.shares,
            np.full(random, (0.5 - marked) / max(1, random)),
        ]
    )
    wanted = np.zeros(len(weights), bool)
    wanted[: lesson.positives] = wanted[lesson.marks : lesson.marks + likely] = True
    fit = fit_logistic(lesson.products, wanted, strength * weights, lesson.marks if left_out else 0)
    return Learned(fit.shares.astype(np.float32) @ lesson.turned, fit.bias, fit.left_out)


def likely_positives(
    positives: NDArray[np.float32], negatives: NDArray[np.float32], pool: Pool
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Unlabelled tiles that the labels reach, (m, dim), at most 40 and a tenth of the pool, and shares that sum to 1, (m,)."""
    marks = np.concatenate([positives, negatives])
    pooled = unlike(pool.all, marks)
    start = np.zeros(len(marks) + len(pooled), np.float32)
    start[: len(positives)] = 1 / len(positives)
    start[len(positives) : len(marks)] = -_PUSH / max(1, len(negatives))
    arrived = spread(np.concatenate([marks, pooled]), start)[len(marks) :]
    best = np.argsort(-arrived, kind="stable")[: min(LIKELY, int(_LIKELY_SHARE * len(pooled)))]
    best = best[arrived[best] > 0]
    return pooled[best], arrived[best].astype(np.float64) / max(1e-12, float(arrived[best].sum()))


def unlike(tiles: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.float32]:
    """The tiles that are none of the known ones: marked tiles are in the archive as well."""
    return tiles[(tiles @ known.T).max(axis=1) < _SAME]
