"""An audit: tiles drawn by chance, more where they say more, so that few marks bound what a ranking holds; see `stopping`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from workbench.errors import QueryInvalid, ShapeMismatch
from workbench.search.chances import Curves, Posterior, curves_of, posterior_of, strata_edges

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]
COUNT_WIDTH = 0.5
"""Width of the count's interval, as a share of the count, that an audit is drawn for."""
PRECISION_WIDTH = 0.25
"""Width of the precision's."""
_DRAWS = 400
_TINY = 1e-9
_SHARES = (0.75, 0.25)  # of count and precision: the count needs more marks for what is wanted of it
_SPAN = 3.29  # standard deviations from the 5th to the 95th percentile of a normal distribution


@dataclass(frozen=True, eq=False)
class Ranking:
    """What is judged: scores of all tiles, a threshold, and the labels that were not drawn by chance.

    Attributes:
        scores: the higher the likelier, (n,); tiles whose score is not finite do not count as part of the archive.
        threshold: tiles with at least this score are the answer.
        numbers: of the tiles labelled otherwise than by the audit, int64 (m,): their labels are believed, and say nothing
            about other tiles, since they were chosen for their scores.
        said: whether each is right, bool (m,).
    """

    scores: NDArray[np.floating]  # type: ignore[type-arg]
    threshold: float
    numbers: Numbers
    said: Flags

    def __post_init__(self) -> None:
        if self.numbers.shape != self.said.shape:
            raise ShapeMismatch(f"{len(self.numbers)} labelled tiles have {len(self.said)} labels. Give one for each.")
        if len(np.unique(self.numbers)) != len(self.numbers):
            raise QueryInvalid("A tile is labelled twice. Give each tile once, with the label that holds.")
        if not np.isfinite(self.threshold):
            raise QueryInvalid(f"A threshold of {self.threshold} divides nothing. Give a score.")


@dataclass(frozen=True, eq=False)
class Audit:
    """Marks of tiles that were drawn by chance.

    Attributes:
        numbers: of the tiles, int64 (m,).
        said: whether each is right, bool (m,).
        expected: how often each tile of the archive was to be drawn by all draws so far, float32 (n,). One over it weights a
            mark, also after the ranking has changed: the union of several designs (Horvitz & Thompson 1952; of a changed
            model Sawade, Landwehr, Bickel & Scheffer 2010, "Active risk estimation").
    """

    numbers: Numbers
    said: Flags
    expected: NDArray[np.float32]

    @classmethod
    def of(cls, tiles: int) -> Audit:
        """An audit of an archive with so many tiles, before the first mark."""
        return cls(np.empty(0, np.int64), np.empty(0, bool), np.zeros(tiles, np.float32))

    def draw(self, ranking: Ranking, count: int, *, seed: int = 0) -> tuple[Numbers, NDArray[np.float32]]:
        """Tiles to mark next, and how often each tile of the archive was to be drawn by this draw.

        A draw is stratified by score, each stratum by lot (Cochran 1977, ch. 5). How many marks go where follows what is
        known so far, as Neyman's allocation does, but adapting (Thompson & Seber 1996): one after the other each mark goes to
        the stratum where it is expected to take the largest part from the variances of count and precision, as long as these
        are wider than wanted. So draw ten at a time, mark them all, and draw again.

        Args:
            ranking: what is judged.
            count: how many tiles.
            seed: of the lots.

        Returns:
            int64 (at most count,) in an order that tells nothing, none of them labelled, and float32 (n,), both for `with_marks`.

        Raises:
            QueryInvalid: ``count`` is negative.
            ShapeMismatch: the ranking is not of this audit's archive.
        """
        if count < 0:
            raise QueryInvalid(f"{count} tiles were asked for. Ask for 0 or more.")
        state = Strata(self, ranking)
        chance = np.random.default_rng([seed, len(self.numbers)])
        expected = np.zeros(len(self.expected), np.float32)
        drawn = [np.empty(0, np.int64)]
        for stratum, wanted in enumerate(state.allocation(count, chance)):
            members = state.members(stratum)
            left = members[~np.isin(members, self.numbers)]
            expected[members] = wanted / max(1, len(members))
            drawn.append(chance.choice(left, wanted, replace=False))
        return chance.permutation(np.concatenate(drawn)), expected

    def with_marks(self, numbers: Numbers, said: Flags, expected: NDArray[np.float32]) -> Audit:
        """This audit and the marks of one more draw.

        Tiles that were drawn and not marked should be few: they are taken to be like the marked ones.

        Args:
            numbers: of the marked tiles, in any order.
            said: whether each is right.
            expected: as it was drawn with.
        """
        if np.isin(numbers, self.numbers).any():
            raise QueryInvalid("A tile was audited already. Give only the tiles of the last draw.")
        return Audit(np.r_[self.numbers, numbers], np.r_[self.said, said], self.expected + expected)

    def chances(self, ranking: Ranking) -> NDArray[np.float32]:
        """The chance that each tile is right, float32 (n,): of its stratum, in between by rank; falling along the ranking.

        NaN where there is no score; 0 or 1 where there is a label.
        """
        state = Strata(self, ranking)
        shares = np.minimum.accumulate(state.posterior.mean)
        middles = np.log((state.edges[:-1] + state.edges[1:]) / 2)
        found = np.full(len(self.expected), np.nan, np.float32)
        if len(shares):
            found[state.order] = np.interp(np.log(np.arange(len(state.order)) + 0.5), middles, shares)
        for numbers, said in ((self.numbers, self.said), (ranking.numbers, ranking.said)):
            found[numbers] = said
        return found


class Strata:
    """The tiles that were not labelled otherwise, in strata by score, with the audit's marks.

    Attributes:
        order: numbers of these tiles, best first, int64 (p,).
        edges: places in ``order`` at which strata begin, and p.
        left: unmarked tiles in each, int64 (strata,).
        right: marks that said right in each, int64 (strata,).
        above: which strata are above the threshold, bool (strata,).
        answered: tiles above the threshold, of all.
    """

    def __init__(self, audit: Audit, ranking: Ranking) -> None:
        scores = np.asarray(ranking.scores, np.float64)
        if scores.shape != audit.expected.shape:
            raise ShapeMismatch(
                f"There are {len(scores):,} scores; the audit is of {len(audit.expected):,} tiles. Begin another audit."
            )
        there = np.isfinite(scores)
        labelled = ranking.numbers[there[ranking.numbers]]
        self.known_right = int(ranking.said[there[ranking.numbers]].sum())
        above = labelled[scores[labelled] >= ranking.threshold]
        self.known_right_above = int((ranking.said & (scores[ranking.numbers] >= ranking.threshold)).sum())
        there[labelled] = False
        tiles = np.flatnonzero(there)
        self.order = tiles[np.argsort(-scores[tiles], kind="stable")]
        cut = int(np.count_nonzero(scores[tiles] >= ranking.threshold))
        self.answered = cut + len(above)
        self.edges = strata_edges(len(self.order), cut)
        self.above = self.edges[1:] <= cut
        self._scores = scores
        self._count_marks(audit)

    @cached_property
    def curves(self) -> Curves:
        """That the ranking may follow."""
        return curves_of(self._scores[self.order], self.edges)

    @cached_property
    def posterior(self) -> Posterior:
        """Of the strata's shares."""
        return posterior_of(self.curves, self._weighted_right, self._worth)

    def members(self, stratum: int) -> Numbers:
        """Numbers of a stratum's tiles, marked or not."""
        return self.order[self.edges[stratum] : self.edges[stratum + 1]]

    def allocation(self, count: int, chance: np.random.Generator) -> NDArray[np.int64]:
        """How many of ``count`` marks each stratum gets, no more than it has unmarked tiles, int64 (strata,)."""
        given = np.zeros(len(self.left), np.int64)
        if not len(self.order):
            return given
        shares = self.posterior.draw(_DRAWS, chance)
        mean, variance = shares.mean(axis=0), shares.var(axis=0) + _TINY
        worth = np.maximum(mean * (1 - mean) / variance - 1, 0.05)  # of a beta distribution of this mean and variance
        total = self.known_right + self.right.sum() + float((mean * self.left).sum())
        wanted = (COUNT_WIDTH * max(total, 1), PRECISION_WIDTH * max(self.answered, 1))
        weight = np.zeros(len(self.left))
        for share, tiles, width in zip(_SHARES, (self.left, self.left * self.above), wanted, strict=True):
            # The farther of the two from its aim must not draw all marks: each is measured against what it is now.
            weight += share * tiles**2 / max(float((shares @ tiles).var()), (width / _SPAN) ** 2)
        for _ in range(min(count, int(self.left.sum()))):
            gain = weight * variance * worth / ((worth + given) * (worth + given + 1))
            gain[given >= self.left] = -1
            given[int(np.argmax(gain))] += 1
        return given

    def _count_marks(self, audit: Audit) -> None:
        """Marks by stratum; where their weights differ they are worth fewer (Kish 1965: the effective sample size)."""
        place = np.full(len(self._scores), -1)
        place[self.order] = np.repeat(np.arange(len(self.edges) - 1), np.diff(self.edges))
        of = place[audit.numbers]
        inside = of >= 0  # a tile that was labelled again later is known, and no longer part of the sample
        of, said = of[inside], audit.said[inside].astype(np.float64)
        weights = 1 / np.maximum(audit.expected[audit.numbers[inside]].astype(np.float64), _TINY)
        strata = len(self.edges) - 1
        summed, squares, right = (np.bincount(of, each, strata) for each in (weights, weights**2, weights * said))
        self._worth = summed**2 / np.maximum(squares, _TINY**2)
        self._weighted_right = np.clip(self._worth * right / np.maximum(summed, _TINY), 0, self._worth)
        self.right = np.bincount(of, said, strata).astype(np.int64)
        self.left = np.diff(self.edges) - np.bincount(of, minlength=strata)
