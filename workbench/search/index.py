"""Exact top-k over an archive: every score is the true cosine, or a linear scorer's, and ties have a fixed order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.archive import Archive
from workbench.errors import QueryInvalid, ShapeMismatch
from workbench.imagery.grid import Tile


@dataclass(frozen=True)
class Scorer:
    """What ranks an archive: score = descriptor . weights + bias.

    Attributes:
        weights: float32 (dim,); a query's own descriptor gives the cosine.
        bias: added to every score.
        kind: how it came about, in words, as shown to the user.
    """

    weights: NDArray[np.float32]
    bias: float = 0.0
    kind: str = "nearest neighbours"


@dataclass(frozen=True)
class Hit:
    """One answer: a tile of the archive, its score and its rank from 1."""

    number: int
    tile: Tile
    score: float
    rank: int


@dataclass(frozen=True)
class Hits(Sequence[Hit]):
    """Answers in the order of their ranks; a slice is hits again."""

    hits: tuple[Hit, ...] = ()

    @overload
    def __getitem__(self, item: int) -> Hit: ...
    @overload
    def __getitem__(self, item: slice) -> Hits: ...
    def __getitem__(self, item: int | slice) -> Hit | Hits:
        return Hits(self.hits[item]) if isinstance(item, slice) else self.hits[item]

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    @property
    def numbers(self) -> NDArray[np.int64]:
        """Rows of the hits in the archive."""
        return np.array([hit.number for hit in self.hits], np.int64)


class Index:
    """Answers top-k over an archive by scanning all descriptors; always rebuildable from it."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive

    def scores(self, query: Scorer | NDArray[np.float32]) -> NDArray[np.float32]:
        """The score of every tile, float32 (n,).

        Raises:
            ShapeMismatch: the query has another length than the archive's descriptors.
            QueryInvalid: the query holds a value that is not finite, or nothing at all.
        """
        scorer = query if isinstance(query, Scorer) else Scorer(np.asarray(query, np.float32))
        if scorer.weights.shape != (self.archive.manifest.dim,):
            raise ShapeMismatch(
                f"The query has shape {scorer.weights.shape}, descriptors here have ({self.archive.manifest.dim},). "
                "Describe it with this archive's encoder."
            )
        if not np.isfinite(scorer.weights).all() or not scorer.weights.any():
            raise QueryInvalid(
                "The query's descriptor is zero or not finite; there may be no data under it. Choose another place."
            )
        return self.archive.vectors @ scorer.weights + np.float32(scorer.bias)

    def search(self, query: Scorer | NDArray[np.float32], k: int = 50, where: NDArray[np.bool_] | None = None) -> Hits:
        """The ``k`` best tiles, or all there are.

        Args:
            query: a descriptor (dim,) of unit length, or a scorer.
            k: at most so many hits.
            where: true for tiles that may be hits, (n,); all when None.

        Returns:
            min(k, tiles allowed) hits, best first; equal scores in the archive's own order.

        Raises:
            QueryInvalid: ``k`` is negative, or the query is not usable.
            ShapeMismatch: the query or ``where`` has another length than the archive.
        """
        if k < 0:
            raise QueryInvalid(f"k is {k}; expected 0 or more hits.")
        return self.top(self.scores(query), k, where)

    def top(self, scores: NDArray[np.float32], k: int, where: NDArray[np.bool_] | None = None) -> Hits:
        """The ``k`` highest of the given scores as hits."""
        if where is not None and where.shape != scores.shape:
            raise ShapeMismatch(
                f"where has shape {where.shape}; expected one value for each of {scores.shape[0]} tiles."
            )
        allowed = np.arange(len(scores)) if where is None else np.flatnonzero(where)
        values = scores[allowed]
        k = min(k, len(values))
        if k == 0:
            return Hits()
        least = np.partition(values, len(values) - k)[len(values) - k]
        near = np.flatnonzero(values >= least)
        best = near[np.argsort(-values[near], kind="stable")][:k]
        numbers = allowed[best]
        return Hits(
            tuple(
                Hit(int(number), self.archive.tile(int(number)), float(scores[number]), rank)
                for rank, number in enumerate(numbers, 1)
            )
        )
