"""The linear engine over codes: each bit has a weight, and a tile's score is the sum of those of its set bits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from workbench.search.engines.kernels import add_bits
from workbench.search.engines.threads import in_slices

_CHUNK = 1 << 20
_WORTH_A_THREAD = 10_000
_VALUES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.float32)


def byte_table(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """What each value of each byte adds to a score, float32 (bytes, 256), from the weights of the bits, (8 * bytes,).

    The first bit is the highest, as `numpy.packbits` lays them.
    """
    return np.ascontiguousarray(weights.reshape(-1, 8).astype(np.float32) @ _VALUES.T)


def bit_scores(codes: NDArray[np.uint8], table: NDArray[np.float32], bias: float) -> NDArray[np.float32]:
    """Bias and the weights of the set bits of each code (n, bytes), float32 (n,); ``table`` as `byte_table` gives it."""
    found = np.empty(len(codes), np.float32)
    rows = np.asarray(np.ascontiguousarray(codes))
    in_slices(lambda part: add_bits(rows[part], table, np.float32(bias), found[part]), len(rows), least=_WORTH_A_THREAD)
    return found


def bit_scores_in_chunks(
    codes: NDArray[np.uint8], table: NDArray[np.float32], bias: float
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Rows and their scores, a million at a time, as they lie."""
    for start in range(0, len(codes), _CHUNK):
        part = slice(start, min(start + _CHUNK, len(codes)))
        yield part, bit_scores(codes[part], table, bias)
