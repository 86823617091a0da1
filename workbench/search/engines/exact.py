"""The exact engine: every descriptor is read, in half precision as stored, and compared in single precision."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from workbench.search.engines.kernels import cosines
from workbench.search.engines.threads import in_slices

_WORTH_A_THREAD = 5_000


def linear_scores(
    parts: Iterable[tuple[int, NDArray[np.float16]]],
    count: int,
    mean: NDArray[np.float32],
    scale: NDArray[np.float32],
    weights: NDArray[np.float32],
    bias: float = 0.0,
) -> NDArray[np.float32]:
    """Weights . descriptor + bias of all tiles, where a descriptor is (raw - mean) / scale at unit length.

    The same as with the descriptors that `Centring.apply` gives, to a few units in the last place, in one reading of the
    stored halves: nothing else is kept in memory.

    Args:
        parts: first row and descriptors as stored, half precision (m, dim), of pieces that make up the whole.
        count: rows in all.
        mean: float32 (dim,).
        scale: float32 (dim,).
        weights: float32 (dim,); a unit descriptor gives cosines.
        bias: added to each.

    Returns:
        float32 (count,).
    """
    found = np.empty(count, np.float32)
    given = [np.ascontiguousarray(values, np.float32) for values in (mean, 1 / scale, weights)]
    whole = [(start, np.asarray(raw).view(np.uint16)) for start, raw in parts]

    def score(part: slice) -> None:
        for start, words in whole:
            low, high = max(part.start, start), min(part.stop, start + len(words))
            if low < high:
                cosines(words[low - start : high - start], *given, np.float32(bias), found[low:high])

    in_slices(score, count, least=_WORTH_A_THREAD)
    return found
