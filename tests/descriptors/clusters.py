"""Unit descriptors of a few classes, and how well codes tell them apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Clusters:
    vectors: NDArray[np.float32]
    labels: NDArray[np.int64]


def clusters(count: int = 120, dim: int = 16, classes: int = 4, spread: float = 0.8, seed: int = 0) -> Clusters:
    """Gaussian classes around centres that one seed fixes, centred and of unit length."""
    centres = np.random.default_rng(99).standard_normal((classes, dim))
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    vectors = centres[labels] + spread * rng.standard_normal((count, dim))
    vectors -= centres.mean(axis=0)
    return Clusters((vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), labels)


def unpacked(codes: NDArray[np.uint8]) -> NDArray[np.int64]:
    return np.unpackbits(codes, axis=1).astype(np.int64)


def precision_at_5(codes: NDArray[np.uint8], labels: NDArray[np.int64]) -> float:
    """Share of the five nearest codes (of others) that are of the same class."""
    bits = unpacked(codes)
    distances = (bits[:, None] != bits).sum(axis=2)
    np.fill_diagonal(distances, bits.shape[1] + 1)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :5]
    return float((labels[nearest] == labels[:, None]).mean())
