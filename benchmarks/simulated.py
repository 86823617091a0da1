"""An analyst played by the truth: marks tiles of a ranking round by round, some of them wrongly, and measures each scorer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.centring import fit_centring
from workbench.search.metrics import average_precision, precision_at, rank
from workbench.search.refinement.picking import pick_unlike

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]
PROTOCOLS = ("scorers", "sessions")
_AT = (20, 50)


@dataclass(frozen=True)
class Tiles:
    """Descriptors as the encoder gives them, and centred: float32 (n, dim), rows of the second of unit length."""

    raw: Floats
    unit: Floats


@dataclass(frozen=True)
class Collection:
    """Everything that is searched, with its truth.

    Attributes:
        raw: uncentred descriptors, float32 (n, dim).
        truth: which tiles are of each class, bool (classes, n).
        blocks: tiles with the same number go to the same half, int64 (n,); neighbours on the ground share pixels.
        names: of the classes.
        standardise: whether each dimension is divided by its standard deviation.
    """

    raw: Floats
    truth: NDArray[np.bool_]
    blocks: Numbers
    names: tuple[str, ...]
    standardise: bool = False


@dataclass(frozen=True)
class Marks:
    """What a method may know: the marks, and the half of the archive that is shown, without its truth.

    Attributes:
        shown: tiles that may be marked.
        query: row of the first example.
        rows: of the marked tiles, in the order in which they were marked, without the query.
        said: what the analyst said of each, right or wrong.
        seed: for methods that draw.
    """

    shown: Tiles
    query: int
    rows: Numbers
    said: NDArray[np.bool_]
    seed: int

    @property
    def positives(self) -> Numbers:
        """Rows of the query and of the tiles marked right."""
        return np.concatenate([[self.query], self.rows[self.said]])

    @property
    def negatives(self) -> Numbers:
        """Rows of the tiles marked wrong."""
        return self.rows[~self.said]


Scores = Callable[[Tiles], NDArray[np.floating]]  # type: ignore[type-arg]
Method = Callable[[Marks], Scores]


@dataclass(frozen=True)
class Half:
    """One split: the half that is shown, the half that is scored, and the queries."""

    shown: Tiles
    held: Tiles
    truth_shown: NDArray[np.bool_]
    truth_held: NDArray[np.bool_]
    queries: tuple[tuple[int, int], ...]  # class, row of the shown half
    seed: int


@dataclass(frozen=True)
class Plan:
    """How marks are made.

    Attributes:
        rounds: of marks after the bare query.
        per_round: tiles marked a round.
        flipped: chance that a mark says the opposite of the truth.
    """

    rounds: int
    per_round: int
    flipped: float


@dataclass(frozen=True)
class Played:
    """One session: measures of rounds 0 ... n, float64 (rounds + 1,), the marks, and which of them were flipped."""

    average_precision: NDArray[np.float64]
    p_at_20: NDArray[np.float64]
    p_at_50: NDArray[np.float64]
    positives_found: NDArray[np.float64]
    seconds: NDArray[np.float64]
    marks: Marks
    wrong: NDArray[np.bool_]


def halve(collection: Collection, per_class: int, seed: int) -> Half:
    """Draw the half that is shown and the queries: at most ``per_class`` tiles of each class of that half.

    Descriptors are centred by the shown half, so that nothing at all is known of the held one.
    """
    chance = np.random.default_rng(seed)
    shown = _half_of_each_class(collection, chance)
    raw, truth = collection.raw, collection.truth
    centring = fit_centring(raw[shown], standardise=collection.standardise)
    halves = [Tiles(raw[part], centring.apply(raw[part])) for part in (shown, ~shown)]
    queries = [
        (number, int(row))
        for number, of_class in enumerate(truth[:, shown])
        for row in chance.permutation(np.flatnonzero(of_class))[:per_class]
        if truth[number, ~shown].any()
    ]
    return Half(*halves, truth[:, shown], truth[:, ~shown], tuple(queries), seed)


def play(half: Half, method: Method, query: tuple[int, int], plan: Plan, protocol: str, choice: int = 1) -> Played:
    """One session of one method.

    Args:
        half: the split.
        method: makes scores from marks.
        query: class and row.
        plan: rounds and marks.
        protocol: "scorers": the tiles marked are the next of the ranking by the bare query, the same for all methods.
            "sessions": they are the next of the method's own ranking.
        choice: in sessions, the marks are those of so many times as many next tiles that are unlike each other.
    """
    target, row = query
    truth = half.truth_shown[target]
    mistaken = np.random.default_rng([half.seed, row, 1]).random(len(truth)) < plan.flipped
    bare = half.shown.unit @ half.shown.unit[row]
    marks = Marks(half.shown, row, np.empty(0, np.int64), np.empty(0, bool), half.seed)
    measures = []
    for number in range(plan.rounds + 1):
        began = perf_counter()
        scores = method(marks)
        own = scores(half.shown)
        seconds = perf_counter() - began
        ranking = rank(np.asarray(scores(half.held), np.float64)[None], half.truth_held[target][None])
        found = truth[marks.rows].sum()
        precisions = (precision_at(ranking, k)[0] for k in _AT)
        measures.append((average_precision(ranking)[0], *precisions, found, seconds))
        if number < plan.rounds:
            if protocol == "scorers":
                fresh = next_best(bare, marks, plan.per_round)
            else:
                best = next_best(own, marks, plan.per_round * choice)
                fresh = best[pick_unlike(half.shown.unit[best], plan.per_round, choice)]
            said = np.concatenate([marks.said, truth[fresh] ^ mistaken[fresh]])
            marks = replace(marks, rows=np.concatenate([marks.rows, fresh]), said=said)
    return Played(*np.array(measures, np.float64).T, marks, mistaken[marks.rows])


def play_all(halves: Sequence[Half], method: Method, plan: Plan, protocol: str, choice: int = 1) -> Iterator[Played]:
    """The sessions of a method from every query of every split, in an order that is the same for all methods."""
    for half in halves:
        for query in half.queries:
            yield play(half, method, query, plan, protocol, choice)


def next_best(scores: NDArray[np.floating], marks: Marks, count: int) -> Numbers:  # type: ignore[type-arg]
    """Rows of the best tiles that are not marked yet."""
    left = np.asarray(scores, np.float64).copy()
    left[marks.rows] = left[marks.query] = -np.inf
    best = np.argsort(-left, kind="stable")[:count]
    return best[np.isfinite(left[best])]


@dataclass(frozen=True)
class Table:
    """Sessions of one method, measures as (sessions, rounds + 1)."""

    played: tuple[Played, ...]

    @cached_property
    def average_precision(self) -> NDArray[np.float64]:
        """Of each session and round."""
        return np.array([one.average_precision for one in self.played])

    def mean(self, measure: str) -> NDArray[np.float64]:
        """Of a measure of `Played`, by round."""
        return np.mean([getattr(one, measure) for one in self.played], axis=0)


def interval(values: NDArray[np.float64], seed: int = 0, resamples: int = 1000) -> tuple[float, float]:
    """95 % interval of the mean of (sessions,) by the percentile bootstrap over sessions (Efron 1979)."""
    drawn = np.random.default_rng(seed).integers(0, len(values), (resamples, len(values)))
    low, high = np.percentile(values[drawn].mean(axis=1), (2.5, 97.5))
    return float(low), float(high)


def _half_of_each_class(collection: Collection, chance: np.random.Generator) -> NDArray[np.bool_]:
    """Half of the blocks of each class; a block of several classes counts for its rarest."""
    rarity = np.where(collection.truth, collection.truth.sum(axis=1)[:, None], len(collection.blocks) + 1).min(axis=0)
    blocks, place = np.unique(collection.blocks, return_inverse=True)
    rarest = np.full(len(blocks), len(collection.blocks) + 1)
    np.minimum.at(rarest, place, rarity)
    order = chance.permutation(len(blocks))
    order = order[np.argsort(rarest[order], kind="stable")]
    taken = np.zeros(len(blocks), bool)
    taken[order[chance.integers(2) :: 2]] = True
    return taken[place]
