"""Which tiles to outline whole: few that stand for many others of which much is still to be learned."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.archive import Archive
from workbench.errors import QueryInvalid, ShapeMismatch

Floats = NDArray[np.floating]  # type: ignore[type-arg]
Numbers = NDArray[np.int64]
MOST = 2000
"""Tiles that are compared with each other: those worth most."""
STRANGERS = 0.3
"""Cosine up to which tiles say nothing about each other."""


def most_telling(
    worth: Floats,
    count: int,
    *,
    vectors_of: Callable[[Numbers], NDArray[np.float32]],
    done: Numbers,
    effort: Floats | None = None,
) -> Numbers:
    """Tiles that, outlined, say most about what is worth knowing, one after the other, per hour of work.

    A tile speaks for others as far as it is like them, and what one has said another need not say again: each is the one
    that adds most to the sum, over all tiles, of worth times the likeness to the nearest tile outlined (facility location;
    greedy is within 1 - 1/e of the best choice: Nemhauser, Wolsey & Fisher 1978; for active learning Wei, Iyer & Bilmes
    2015, "Submodularity in data subset selection and active learning").

    Args:
        worth: of knowing what is in each tile, at least 0, (n,); NaN or 0 for tiles that are not offered and that nobody
            need speak for.
        count: how many.
        vectors_of: gives the unit descriptors (m, dim) of some tiles (m,).
        done: tiles outlined already.
        effort: what outlining each tile takes, above 0, in any unit, (n,); all the same when None.

    Returns:
        Tile numbers, int64 (at most ``count``,), the most telling first. None of them is in ``done``.

    Raises:
        QueryInvalid: ``count`` is negative.
        ShapeMismatch: ``effort`` is not as long as ``worth``.
    """
    worth = np.nan_to_num(np.asarray(worth, np.float64), nan=0.0).clip(min=0)
    taken = np.ones(len(worth)) if effort is None else np.asarray(effort, np.float64)
    if count < 0:
        raise QueryInvalid(f"{count} tiles were asked for. Ask for 0 or more.")
    if taken.shape != worth.shape:
        raise ShapeMismatch(f"effort has shape {taken.shape}; expected one value for each of {len(worth):,} tiles.")
    worth[done] = 0
    offered = np.argsort(-worth, kind="stable")[: min(MOST, np.count_nonzero(worth))]
    if not len(offered) or not count:
        return offered[:0]
    vectors = vectors_of(offered)
    alike = _likeness(vectors @ vectors.T)  # (spoken for, speaking)
    said = _likeness((vectors @ vectors_of(done).T).max(axis=1) if len(done) else np.zeros(len(offered), np.float32))
    weights = worth[offered].astype(np.float32)
    chosen: list[int] = []
    for _ in range(min(count, len(offered))):
        gain = weights @ np.maximum(alike - said[:, None], 0) / taken[offered]
        gain[chosen] = -1
        chosen.append(int(np.argmax(gain)))
        said = np.maximum(said, alike[:, chosen[-1]])
    return offered[chosen]


def _likeness(cosines: NDArray[np.float32]) -> NDArray[np.float32]:
    """How far tiles speak for each other, 0 to 1: strangers not at all, however many they are."""
    return np.asarray(np.clip((cosines - STRANGERS) / (1 - STRANGERS), 0, 1) ** 2, np.float32)


def side_by_side(archive: Archive) -> NDArray[np.bool_]:
    """Which tiles fill their raster like a chessboard, (n,): without overlap but at its far edges, where the last ones end.

    Of imported tiles, which have no grid, all.
    """
    if archive.outlines is not None:
        return np.ones(len(archive), bool)
    row, col, size = (archive.tiles[name].astype(np.int64) for name in ("row", "col", "size"))
    height, width = (
        np.array([getattr(raster, name) for raster in archive.imagery])[archive.tiles["raster"]]
        for name in ("height", "width")
    )
    whole = [(start % size == 0) | (start + size == end) for start, end in ((row, height), (col, width))]
    return np.asarray(whole[0] & whole[1], bool)
