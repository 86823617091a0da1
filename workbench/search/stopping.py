"""When to stop: how right the answer is, and how much of the class there is, each with an interval from audit marks.

What is estimated, of one ranking, one threshold and one archive as it was tiled:

- precision: the share of right tiles among those with at least the threshold's score, labelled tiles included;
- count: the number of right tiles in the archive, labelled ones included;
- recall: the share of these with at least the threshold's score;
- area: the ground that right tiles stand for, not the ground that objects cover. Where tiles overlap, give each the ground
  it has for itself (stride by stride), else ground is counted more than once.

Labels are believed. A 90 % interval holds the truth in about nine of ten sessions, as far as the class thins out along the
ranking. It does not hold

- where a part of the class looks unlike anything marked and lies in a clump far down: few marks fall there, and the count is
  too low (in three or four sessions of ten, by ``benchmarks/stopping.py``, source ``merged``). The prior allows for parts
  spread evenly (`chances.LOST`); draw more marks, or search for the other kind and label it;
- where audit marks have trained the scorer and are judged by the scores that they made: give ``audit_scores``, each
  mark's score by a scorer that has not seen it, or leave audit marks out of training;
- where the tiles drawn are not all marked, and the doubtful ones are those left out; or where marks are wrong;
- for tiles that overlap by much, which are right or wrong together: the archive is exchangeable within a stratum, so the
  interval is about right for its tiles, and says nothing about objects.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from workbench.errors import QueryInvalid, ShapeMismatch
from workbench.search.audit import Audit, Ranking, Strata

SURE = 0.9
_DRAWS = 4000
_FIRST = 20


@dataclass(frozen=True)
class Interval:
    """A value and how far it may be off.

    Attributes:
        low: the truth is below in one of twenty sessions, at 90 %.
        middle: as likely too low as too high.
        high: the truth is above in one of twenty sessions, at 90 %.
    """

    low: float
    middle: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    @property
    def width(self) -> float:
        """From low to high."""
        return self.high - self.low


@dataclass(frozen=True)
class Estimate:
    """How far a search is; see the module for what each number means.

    Attributes:
        labels: how many tiles are labelled, audit marks included.
        audited: how many of these are audit marks.
        threshold: score from which on tiles are the answer.
        answered: how many these are.
        precision: of them, 0 to 1.
        recall: 0 to 1.
        count: tiles.
        area: in the unit of the areas given; None where none were.
    """

    labels: int
    audited: int
    threshold: float
    answered: int
    precision: Interval
    recall: Interval
    count: Interval
    area: Interval | None = None

    def __str__(self) -> str:
        shares = (f"{100 * each.low:.0f} to {100 * each.high:.0f} %" for each in (self.precision, self.recall))
        right, found = shares
        return (
            f"Of {self.answered:,} tiles {right} are right; the archive has {self.count.low:,.0f} to {self.count.high:,.0f} "
            f"such tiles, of which these are {found} (90 % intervals from {self.audited:,} audit marks)."
        )


def estimate(
    audit: Audit,
    ranking: Ranking,
    *,
    areas: NDArray[np.floating] | None = None,  # type: ignore[type-arg]
    audit_scores: NDArray[np.floating] | None = None,  # type: ignore[type-arg]
    sure: float = SURE,
    seed: int = 0,
) -> Estimate:
    """Precision, recall, count and area with intervals: 4,000 archives that the marks allow, and their quantiles.

    Each is drawn in three steps: the strata's shares from their posterior (see `chances.posterior_of`; stratified
    estimates from pools of ranked documents are those of Yilmaz, Kanoulas & Aslam 2008, the beta prior around a curve is what
    Welinder, Welling & Perona 2013 make of few labels and many scores); from each share the unmarked tiles that are right,
    binomial; and the marked ones as they are.

    Args:
        audit: the marks drawn by chance.
        ranking: what is judged; need not be the one that the marks were drawn with.
        areas: ground of each tile, (n,).
        audit_scores: of the audit's tiles in their order, by a scorer that has not learned from them, (m,); the ranking's own
            where None, which is right only where no audit mark was used to train it.
        sure: probability of the intervals.
        seed: of the draws.

    Raises:
        QueryInvalid: ``sure`` is not between 0 and 1.
        ShapeMismatch: arrays are not as long as the archive, or the audit.
    """
    if not 0 < sure < 1:
        raise QueryInvalid(f"An interval cannot be {sure:g} sure. Give more than 0 and less than 1, such as {SURE}.")
    marked = _marked_answer(audit, ranking)
    ranking = _unlearned(audit, ranking, audit_scores)
    strata = Strata(audit, ranking)
    chance = np.random.default_rng(seed)
    shares = strata.posterior.draw(_DRAWS, chance)
    unmarked = chance.binomial(strata.left, shares)
    count = strata.known_right + strata.right.sum() + unmarked.sum(axis=1)
    # Whether a mark is in the answer is known; the score that it would have had speaks for other tiles only.
    above = strata.known_right_above + np.count_nonzero(audit.said & marked) + unmarked[:, strata.above].sum(axis=1)
    known = int(np.count_nonzero(np.asarray(ranking.scores)[ranking.numbers] >= ranking.threshold))
    answered = int(strata.left[strata.above].sum()) + known + int(np.count_nonzero(marked))

    def interval(values: NDArray[np.floating]) -> Interval:  # type: ignore[type-arg]
        return Interval(*np.quantile(values, ((1 - sure) / 2, 0.5, (1 + sure) / 2)).tolist())

    return Estimate(
        labels=len(np.union1d(ranking.numbers, audit.numbers)),
        audited=len(audit.numbers),
        threshold=float(ranking.threshold),
        answered=answered,
        precision=interval(above / max(1, answered)),
        recall=interval(above / np.maximum(1, count)),
        count=interval(count),
        area=None if areas is None else interval(_ground(audit, ranking, strata, unmarked, areas)),
    )


def likely_threshold(audit: Audit, ranking: Ranking) -> float:
    """The score from which on a tile is more likely right than wrong; above all scores where none is."""
    chances = audit.chances(ranking)
    chances[np.r_[audit.numbers, ranking.numbers]] = np.nan
    scores = np.asarray(ranking.scores, np.float64)
    likely = scores[np.nan_to_num(chances) >= 0.5]
    return float(likely.min()) if len(likely) else float(np.nextafter(np.nanmax(scores), np.inf))


def marked_threshold(scores: NDArray[np.floating], numbers: NDArray[np.int64], said: NDArray[np.bool_]) -> float:  # type: ignore[type-arg]
    """The score that parts right marks from wrong ones best, for want of an audit: both kinds of mistakes weigh the same.

    That is where Youden's (1950) index is highest, half way between two marks. Where nothing is marked wrong it is the
    lower quartile of the right marks; where nothing is marked right, the twentieth best score.

    Args:
        scores: of all tiles, (n,); at least one of them finite.
        numbers: of the marked tiles, (m,).
        said: whether each is right, (m,).
    """
    finite = np.isfinite(scores[numbers])
    marks, right = np.asarray(scores[numbers][finite], np.float64), said[finite]
    if not right.any():
        there = scores[np.isfinite(scores)]
        place = min(_FIRST, len(there)) - 1
        return float(-np.partition(-there, place)[place])
    if right.all():
        return float(np.quantile(marks, 0.25))
    order = np.argsort(-marks, kind="stable")
    marks, right = marks[order], right[order]
    index = np.cumsum(right) / right.sum() - np.cumsum(~right) / (~right).sum()
    best = int(np.argmax(index))
    return float(marks[best] + marks[min(best + 1, len(marks) - 1)]) / 2


def _marked_answer(audit: Audit, ranking: Ranking) -> NDArray[np.bool_]:
    """Which audit marks are part of the answer, and not labelled otherwise since, (m,)."""
    answer = np.asarray(ranking.scores)[audit.numbers] >= ranking.threshold
    return np.asarray(answer & ~np.isin(audit.numbers, ranking.numbers), bool)


def _unlearned(
    audit: Audit,
    ranking: Ranking,
    audit_scores: NDArray[np.floating] | None,  # type: ignore[type-arg]
) -> Ranking:
    """The ranking in which audit marks have the scores that they would have had without themselves."""
    if audit_scores is None:
        return ranking
    if audit_scores.shape != audit.numbers.shape:
        raise ShapeMismatch(f"{len(audit.numbers)} audit marks have {len(audit_scores)} scores. Give one for each.")
    scores = np.array(ranking.scores, np.float64)
    scores[audit.numbers] = audit_scores
    return replace(ranking, scores=scores)


def _ground(
    audit: Audit,
    ranking: Ranking,
    strata: Strata,
    unmarked: NDArray[np.int64],
    areas: NDArray[np.floating],  # type: ignore[type-arg]
) -> NDArray[np.float64]:
    """Ground of the right tiles in each draw, (draws,): of the unmarked ones in a stratum the mean."""
    if areas.shape != np.shape(ranking.scores):
        raise ShapeMismatch(f"There are {len(areas):,} areas for {len(ranking.scores):,} tiles. Give one for each.")
    edges = strata.edges
    sizes = np.diff(edges)
    means = np.add.reduceat(areas[strata.order], edges[:-1]) / sizes if len(sizes) else np.empty(0)
    finite = np.isfinite(ranking.scores)
    known = np.setdiff1d(audit.numbers[audit.said], ranking.numbers)
    known = np.r_[known, ranking.numbers[ranking.said]]
    return unmarked @ means + float(areas[known[finite[known]]].sum())
