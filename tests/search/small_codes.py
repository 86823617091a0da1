"""Codes to search among: of three kinds, with duplicates."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_ONES = np.array([value.bit_count() for value in range(256)], np.uint8)
KINDS = ("clustered", "uniform", "duplicates")


def made_codes(kind: str, count: int, bits: int = 512, seed: int = 0) -> NDArray[np.uint8]:
    """Packed codes (count, bits // 8): around places on lines between others, at random, or each many times."""
    return _made(kind, count, bits, seed).copy()


@lru_cache(maxsize=32)
def _made(kind: str, count: int, bits: int = 512, seed: int = 0) -> NDArray[np.uint8]:
    random = np.random.default_rng(seed)
    if kind == "uniform":
        return random.integers(0, 256, (count, bits // 8), dtype=np.uint8)
    if kind == "duplicates":
        return random.integers(0, 256, (max(1, count // 50), bits // 8), dtype=np.uint8)[
            random.integers(0, max(1, count // 50), count)
        ]
    anchors, plane = random.normal(size=(200, 16)), random.normal(size=(16, bits)).astype(np.float32)
    first, second = random.integers(0, len(anchors), (2, count))
    along = random.random((count, 1))
    places = (along * anchors[first] + (1 - along) * anchors[second]).astype(np.float32)
    noise = random.normal(size=(count, bits)).astype(np.float32)
    return np.packbits(places @ plane + noise > 0, axis=1)


def by_brute_force(
    codes: NDArray[np.uint8], query: NDArray[np.uint8], k: int, numbers: NDArray[np.int64] | None = None
) -> tuple[list[int], list[int]]:
    """Numbers and distances of the k nearest, ties by number, by sorting everything."""
    distances = _ONES[codes ^ query].sum(axis=1, dtype=int)
    allowed = np.arange(len(codes)) if numbers is None else numbers
    best = allowed[np.argsort(distances[allowed], kind="stable")][:k]
    return best.tolist(), distances[best].tolist()
