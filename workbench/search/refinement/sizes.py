"""Objects smaller than a tile: where an archive has tiles of several sizes, the small ones inside a large one speak for it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.archive import Archive
from workbench.descriptors.tiles import tile_sizes
from workbench.errors import ShapeMismatch

Numbers = NDArray[np.int64]


def best_within(archive: Archive, scores: NDArray[np.float32]) -> tuple[NDArray[np.float32], Numbers]:
    """The score of each tile, or of the best smaller tile inside it where that is higher.

    What fills a small tile is one part in many of a large one's mean; taking the best of its windows finds it there.

    Args:
        archive: of the tiles.
        scores: of all tiles, (n,).

    Returns:
        scores, float32 (n,), and the number of the tile that each comes from, (n,).

    Raises:
        ShapeMismatch: there is not one score for each tile.
    """
    if scores.shape != (len(archive),):
        raise ShapeMismatch(f"There are {len(scores):,} scores for {len(archive):,} tiles. Give one for each.")
    best, source = np.asarray(scores, np.float32).copy(), np.arange(len(archive))
    for large, small in _layers(archive):
        inner = _inside(archive, large, small, scores)
        better = (inner >= 0) & (scores[np.maximum(inner, 0)] > best[large])
        best[large[better]] = scores[inner[better]]
        source[large[better]] = inner[better]
    return best, source


def examples_within(
    archive: Archive, positives: Numbers, negatives: Numbers, scores: NDArray[np.float32]
) -> tuple[Numbers, Numbers]:
    """Smaller tiles that labels of larger ones say something about, as multiple instances (Andrews et al. 2003, MI-SVM).

    A large tile is right when some window in it is, most likely the one that scores best; it is wrong when all are, of which
    the one that scores best says the most.

    Args:
        archive: of the tiles.
        positives: tiles that are labelled right.
        negatives: tiles that are labelled wrong.
        scores: of all tiles by a scorer of these labels, (n,).

    Returns:
        more positive tiles: the best inside each positive, where it scores higher than that; and more negative ones: the best
        inside each negative. None of them is labelled itself.
    """
    _, source = best_within(archive, scores)
    labelled = np.union1d(positives, negatives)
    right = np.setdiff1d(source[positives], labelled)
    only_inner = scores.copy()
    only_inner[negatives] = -np.inf
    _, inner = best_within(archive, only_inner)
    wrong = np.setdiff1d(inner[negatives], np.union1d(labelled, right))
    return right, wrong


def _layers(archive: Archive) -> Iterator[tuple[Numbers, Numbers]]:
    """Tiles of one size and of a smaller one, for each raster and each two sizes."""
    sizes = tile_sizes(archive.tiles)
    if len(sizes) < 2:
        return
    size, raster = np.asarray(archive.tiles["size"]), np.asarray(archive.tiles["raster"])
    for each in np.unique(raster).tolist():
        there = {one: np.flatnonzero((raster == each) & (size == one)) for one in sizes}
        for small, large in combinations(sizes, 2):
            if len(there[small]) and len(there[large]):
                yield there[large], there[small]


def _inside(archive: Archive, large: Numbers, small: Numbers, scores: NDArray[np.float32]) -> Numbers:
    """For each large tile of a raster the best of the small ones wholly inside it, -1 where none is; (len(large),)."""
    outer, inner = archive.tiles[large], archive.tiles[small]
    reach = int(outer["size"][0]) - int(inner["size"][0])
    rows, by_row = np.unique(inner["row"].astype(np.int64), return_inverse=True)
    cols, by_col = np.unique(inner["col"].astype(np.int64), return_inverse=True)
    # Ranks and not scores are compared, so that a number says which tile it was.
    order = np.argsort(scores[small], kind="stable")
    ranks = np.full((len(rows), len(cols)), -1)
    ranks[by_row[order], by_col[order]] = np.arange(len(small))
    tops, of_top = np.unique(outer["row"].astype(np.int64), return_inverse=True)
    lefts, of_left = np.unique(outer["col"].astype(np.int64), return_inverse=True)
    strips = _highest(ranks, rows, tops, reach)
    best = _highest(strips.T, cols, lefts, reach).T[of_top, of_left]
    return np.where(best >= 0, small[order[best]], -1)


def _highest(ranks: Numbers, starts: Numbers, firsts: Numbers, reach: int) -> Numbers:
    """The highest ranks (len(firsts), ...) of rows that start within ``reach`` of each first; -1 where none does."""
    low, high = np.searchsorted(starts, firsts), np.searchsorted(starts, firsts + reach, side="right")
    empty = np.full(ranks.shape[1], -1)
    return np.array([ranks[a:b].max(axis=0) if b > a else empty for a, b in zip(low, high, strict=True)])
