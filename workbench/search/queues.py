"""What to look at next: queues of tiles by score, uncertainty, variety, contradiction; never a labelled one twice.

Every queue is a function of arrays, so that any scorer fits: scores of all tiles, float (n,), the higher the likelier. It
returns tile numbers, int64 (at most ``count``,), in the order in which they should be shown; equal ones in the archive's
order; tiles whose score is not finite are never offered. ``taken`` are the tiles that are labelled already. ``apart`` leaves
one tile per object: it takes numbers, best first, and gives the places of those to keep, such as
``partial(workbench.search.overlaps.apart, archive)``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

from workbench.errors import QueryInvalid, ShapeMismatch
from workbench.search.refinement.mistakes import likely_mistakes
from workbench.search.refinement.picking import pick_unlike

Floats = NDArray[np.floating]  # type: ignore[type-arg]
Numbers = NDArray[np.int64]
Taken = Collection[int] | Numbers
Apart = Callable[[Numbers], Numbers]
VARIETY = 8
"""From how many times as many tiles of the margin a varied page is chosen."""
_LIKELY = 10
_TIMES = 4


def most_similar(scores: Floats, count: int, *, taken: Taken = (), apart: Apart | None = None) -> Numbers:
    """The best tiles.

    Raises:
        QueryInvalid: ``count`` is negative.
    """
    return _first(np.asarray(scores, np.float64), count, taken, apart)


def most_uncertain(
    scores: Floats,
    count: int,
    *,
    threshold: float,
    likely: int | None = None,
    taken: Taken = (),
    apart: Apart | None = None,
) -> Numbers:
    """Of the likely positives, those nearest to the threshold (uncertainty sampling: Lewis & Gale 1994).

    Of a rare class most tiles near the threshold are plain negatives, and marks of these teach little; so only the best
    tiles are asked about.

    Args:
        scores: of all tiles.
        count: how many.
        threshold: score from which on a tile is more likely right than wrong.
        likely: how many of the best unlabelled tiles count as likely; when None as many as reach the threshold and half as
            many again, at least 10 ``count``.
        taken: labelled tiles.
        apart: leaves one tile per object.

    Raises:
        QueryInvalid: ``count`` or ``likely`` is negative.
    """
    scores = np.asarray(scores, np.float64)
    if likely is None:
        likely = max(_LIKELY * count, int(1.5 * np.count_nonzero(scores >= threshold)))
    best = _first(scores, likely, taken, None)
    nearest = np.full(len(scores), -np.inf)
    nearest[best] = -np.abs(scores[best] - threshold)
    return _first(nearest, count, taken, apart)


def most_varied(
    scores: Floats,
    count: int,
    *,
    threshold: float,
    vectors_of: Callable[[Numbers], NDArray[np.float32]],
    taken: Taken = (),
    apart: Apart | None = None,
) -> Numbers:
    """Tiles that cover the margin: uncertain and unlike each other (farthest-first: Gonzalez 1985; Sener & Savarese 2018).

    Args:
        scores: of all tiles.
        count: how many.
        threshold: score from which on a tile is more likely right than wrong.
        vectors_of: gives the unit descriptors (m, dim) of some tiles (m,); it is asked once, for 8 ``count`` at most.
        taken: labelled tiles.
        apart: leaves one tile per object.

    Raises:
        QueryInvalid: ``count`` is negative.
    """
    margin = most_uncertain(scores, VARIETY * count, threshold=threshold, taken=taken, apart=apart)
    if not len(margin) or not count:
        return margin[:0]
    return margin[pick_unlike(vectors_of(margin), count, VARIETY)]


def most_doubtful(numbers: Numbers, contradicted: Floats, count: int | None = None) -> Numbers:
    """Labelled tiles that the scorer contradicts, the worst first; the only queue that offers labelled tiles.

    Args:
        numbers: of the labelled tiles, positives first, (m,).
        contradicted: how much all other marks contradict each, (m,); see `refinement.mistakes.contradictions`.
        count: at most so many; a tenth of them (at least one) when None.

    Raises:
        ShapeMismatch: the arrays differ in length.
        QueryInvalid: ``count`` is negative.
    """
    numbers = np.asarray(numbers, np.int64)
    doubts = _same_length(contradicted, len(numbers), "contradicted", "labelled tiles")
    return numbers[likely_mistakes(doubts, None if count is None else _checked(count))]


def disagreement(
    chances: Floats, probabilities: Floats, count: int, *, taken: Taken = (), apart: Apart | None = None
) -> Numbers:
    """Tiles of which the scorer and a trained network say the most different things (query by committee: Seung et al. 1992).

    Args:
        chances: that each tile is right, by the scorer, 0 to 1, (n,); see `audit.Audit.chances`.
        probabilities: the same by a U-Net, 0 to 1, (n,): the highest of the tile's pixels, smoothed over the size of an object;
            NaN where it was not applied.
        count: how many.
        taken: labelled tiles.
        apart: leaves one tile per object.

    Raises:
        ShapeMismatch: the arrays differ in length.
        QueryInvalid: ``count`` is negative.
    """
    chances = np.asarray(chances, np.float64)
    gap = np.abs(chances - _same_length(probabilities, len(chances), "probabilities", "tiles"))
    return _first(gap, count, taken, apart)


def _first(values: Floats, count: int, taken: Taken, apart: Apart | None) -> Numbers:
    """The unlabelled tiles with the highest values, one per object if wished."""
    count = _checked(count)
    allowed = np.isfinite(values)
    allowed[np.fromiter(taken, np.int64, len(taken))] = False
    numbers = np.flatnonzero(allowed)
    wanted = count
    while True:
        best = _highest(numbers, values[numbers], wanted)
        kept = best if apart is None or not len(best) else best[apart(best)]
        if len(kept) >= count or len(best) == len(numbers):
            return kept[:count]
        wanted *= _TIMES


def _highest(numbers: Numbers, values: Floats, count: int) -> Numbers:
    """The numbers of the highest values, highest first, equal ones by number."""
    if count < len(numbers):
        least = np.partition(values, len(values) - count)[len(values) - count] if count else np.inf
        near = values >= least
        numbers, values = numbers[near], values[near]
    return numbers[np.argsort(-values, kind="stable")][:count]


def _checked(count: int) -> int:
    if count < 0:
        raise QueryInvalid(f"{count} tiles were asked for. Ask for 0 or more.")
    return count


def _same_length(values: NDArray[np.generic], count: int, name: str, of: str) -> NDArray[np.float64]:
    if np.shape(values) != (count,):
        raise ShapeMismatch(f"{name} has shape {np.shape(values)}; expected one value for each of {count:,} {of}.")
    return np.asarray(values, np.float64)
