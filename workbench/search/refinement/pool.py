"""The unlabelled tiles that a scorer learns from: some drawn from the whole archive, and those most like the examples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workbench.search.index import Index, Scorer

RANDOM = 500
NEAR = 900


@dataclass(frozen=True)
class Pool:
    """Unlabelled tiles of an archive, unit descriptors.

    Attributes:
        random: float32 (at most 500, dim), drawn from the whole archive: they say what is common there.
        near: float32 (at most 900, dim), the most like the examples: they say what the class may look like.
    """

    random: NDArray[np.float32]
    near: NDArray[np.float32]

    @property
    def all(self) -> NDArray[np.float32]:
        """Both, float32 (n, dim)."""
        return np.concatenate([self.random, self.near])


def direction(
    positives: NDArray[np.float32], negatives: NDArray[np.float32], query: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """The examples pulled together, float32 (dim,): query + mean(P) / 2 - mean(N) / 4 (Rocchio 1971), of unit length.

    Args:
        positives: unit descriptors (p, dim).
        negatives: unit descriptors (n, dim), n may be 0.
        query: unit descriptor (dim,) of the first example; the mean of the positives when None.
    """
    mean = positives.mean(axis=0) if query is None or len(positives) else query
    pulled = np.asarray((mean if query is None else query) + 0.5 * mean, np.float32)
    if len(negatives):
        pulled = pulled - np.float32(0.25) * negatives.mean(axis=0)
    return pulled / np.float32(max(float(np.linalg.norm(pulled)), 1e-9))


def pool_of_vectors(archive: NDArray[np.float32], toward: NDArray[np.float32], seed: int = 0) -> Pool:
    """The pool of an archive whose descriptors (n, dim) are all in memory; of a small one, every tile is in it."""
    drawn = np.random.default_rng(seed).permutation(len(archive))
    random, rest = drawn[:RANDOM], drawn[RANDOM:]
    if len(rest) > NEAR:
        rest = rest[np.argpartition(-(archive[rest] @ toward), NEAR - 1)[:NEAR]]
    return Pool(archive[random], archive[rest])


def pool_of_index(index: Index, toward: NDArray[np.float32], seed: int = 0) -> Pool:
    """The pool of an archive of any size: one search, and the descriptors of 1,400 tiles are read.

    Args:
        index: of the archive.
        toward: what the nearest tiles are near to, unit length (dim,); see `direction`.
        seed: of the draw.
    """
    archive = index.archive
    drawn = np.sort(np.random.default_rng(seed).choice(len(archive), min(RANDOM, len(archive)), replace=False))
    near = np.setdiff1d(index.search(Scorer(toward), NEAR).numbers, drawn)
    return Pool(archive.examples_of(drawn), archive.examples_of(near))
