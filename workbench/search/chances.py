"""How the chance of being right falls along a ranking: a posterior over smooth curves, from a few marks in each stratum of it.

Two ways to think of audit marks are met in the middle: strata by themselves are honest but need hundreds of marks where the
class is rare; a smooth curve through all of them needs few but is believed too much. Here each stratum's share has a beta
prior around a curve, and how closely strata keep to curves is learned with the curve.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, expit

Floats = NDArray[np.float64]
_STRATA = 14
_FIRST = 8
_MIDDLES = 24
_POINTS = 8
_LEAST, _MOST = 1e-6, 0.995
BY_RANK = np.geomspace(1.1, 8, 8)
"""Slopes against the logarithm of the rank; at 1 or less the tail would hold more than the head, however long."""
BY_SCORE = np.geomspace(0.7, 10, 8)
"""Slopes against the score in its standard deviations."""
LOST = ((0.0, 0.45), (0.03, 0.25), (0.1, 0.15), (0.3, 0.1), (0.6, 0.05))
"""Share of the class that the ranking has no idea of, and its prior probability."""
TRUST = ((3.0, 0.3), (12.0, 0.4), (50.0, 0.3))
"""How many marks of the rarer kind a curve is worth in a stratum, and its prior probability."""


@dataclass(frozen=True, eq=False)
class Curves:
    """Curves that a ranking may follow, and each one's prior.

    Attributes:
        edges: ranks at which strata begin, and the number of tiles, int64 (strata + 1,).
        shares: of right tiles in each stratum by each curve, float64 (curves, strata).
        log_prior: of each curve, float64 (curves,).
    """

    edges: NDArray[np.int64]
    shares: Floats
    log_prior: Floats


@dataclass(frozen=True, eq=False)
class Posterior:
    """What marks leave of the curves: a mixture of independent beta distributions of the strata's shares.

    Attributes:
        weights: of each component, float64 (components,).
        right: first parameters, float64 (components, strata).
        wrong: second parameters, float64 (components, strata).
    """

    weights: Floats
    right: Floats
    wrong: Floats

    @property
    def mean(self) -> Floats:
        """Expected share of right tiles in each stratum, float64 (strata,)."""
        return self.weights @ (self.right / (self.right + self.wrong))

    def draw(self, count: int, chance: np.random.Generator) -> Floats:
        """Shares of right tiles in each stratum, float64 (count, strata)."""
        drawn = chance.choice(len(self.weights), count, p=self.weights)
        return chance.beta(self.right[drawn], self.wrong[drawn])


def strata_edges(count: int, cut: int) -> NDArray[np.int64]:
    """Ranks at which strata of a ranking begin: 0, 8 and on in equal ratios; one lies at ``cut``, so none is half above it."""
    if not count:
        return np.zeros(1, np.int64)
    edges = np.unique(np.concatenate([[0], np.geomspace(min(_FIRST, count), count, _STRATA).round()])).astype(np.int64)
    if 0 < cut < count and cut not in edges:
        inner = edges[1:-1]
        if not len(inner):
            return np.array([0, cut, count])
        edges[1 + int(np.argmin(np.abs(np.log(inner / cut))))] = cut
    return np.unique(edges)


def curves_of(scores: NDArray[np.floating], edges: NDArray[np.int64]) -> Curves:  # type: ignore[type-arg]
    """The curves that are thought possible of a ranking.

    The chance at rank r and score s is (1 - lost) core + lost (mean of core), where core = expit(slope * distance) and the
    distance is log(middle / r), which makes the tail a power of the rank, or s - s(middle) in standard deviations, as
    a calibrated classifier has it (Platt 1999). Middles, at which the chance is one half, are log-uniform from one tile to
    nearly all. ``lost`` is the part of the class that is spread evenly, since nothing in the ranking points to it.

    Args:
        scores: of the tiles, highest first, (n,).
        edges: see `strata_edges`.
    """
    count, strata = len(scores), len(edges) - 1
    if not count:
        return Curves(edges, np.empty((1, 0)), np.zeros(1))
    values = np.asarray(scores, np.float64)
    standard = (values - values.mean()) / max(float(values.std()), 1e-9)
    log_ranks = np.log(np.arange(count) + 0.5)
    middles = np.log(np.geomspace(0.3, max(1.0, 0.7 * count), _MIDDLES))
    at_middles = np.interp(middles, log_ranks, standard)
    cores: list[Floats] = []
    for slopes, is_rank in ((BY_RANK, True), (BY_SCORE, False)):
        by_slope = np.empty((_MIDDLES, len(slopes), strata))
        for stratum in range(strata):
            first, last = edges[stratum], edges[stratum + 1] - 1
            ranks = np.unique(np.linspace(first, last, min(_POINTS, last - first + 1)).round().astype(np.int64))
            x = middles[:, None] - log_ranks[ranks] if is_rank else standard[ranks] - at_middles[:, None]
            by_slope[:, :, stratum] = expit(slopes[:, None] * x[:, None, :]).mean(axis=-1)
        cores.append(by_slope.reshape(-1, strata))
    sizes = np.diff(edges)
    shares, prior = [], []
    for core in cores:
        evenly = (core @ sizes / count)[:, None]
        for lost, chance in LOST:
            shares.append((1 - lost) * core + lost * evenly)
            prior.append(np.full(len(core), np.log(chance / len(core))))
    return Curves(edges, np.clip(np.concatenate(shares), _LEAST, _MOST), np.concatenate(prior))


def posterior_of(curves: Curves, right: Floats, marked: Floats) -> Posterior:
    """What is known of the strata's shares after marks.

    Given a curve with share m in a stratum and a trust t, the stratum's own share is Beta(k m, k (1 - m)) with
    k = t / min(m, 1 - m); the marks' likelihood is then beta-binomial, and the posterior of curve and trust is summed up on
    their grid.

    Args:
        curves: of the ranking.
        right: marks that said right in each stratum, (strata,); may be fractions where marks are weighted.
        marked: marks in each stratum, (strata,).
    """
    shares, seen = curves.shares, np.flatnonzero(marked > 0)
    logs, firsts, seconds = [], [], []
    for trust, chance in TRUST:
        size = trust / np.minimum(shares, 1 - shares)
        first, second = size * shares, size * (1 - shares)
        after = betaln(first[:, seen] + right[seen], second[:, seen] + (marked - right)[seen])
        logs.append(curves.log_prior + np.log(chance) + (after - betaln(first[:, seen], second[:, seen])).sum(axis=1))
        firsts.append(first + right)
        seconds.append(second + (marked - right))
    log = np.concatenate(logs)
    weights = np.exp(log - log.max())
    return Posterior(weights / weights.sum(), np.concatenate(firsts), np.concatenate(seconds))
