"""The flat engine: every code is read and compared with the query's; exact in Hamming distance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from workbench.errors import ShapeMismatch
from workbench.search.engines.best import ALL, NO_NUMBERS, empty_heap, joined
from workbench.search.engines.kernels import distances, scan, scan_some
from workbench.search.engines.threads import in_slices

Found = tuple[NDArray[np.int64], NDArray[np.uint32]]
"""Tile numbers (m,), best first, and their distances in bits (m,)."""
_WORTH_A_THREAD = 50_000


def flat_search(
    codes: NDArray[np.uint8],
    query: NDArray[np.uint8],
    k: int,
    order: NDArray[np.uint32] | None = None,
    allowed: NDArray[np.bool_] | None = None,
) -> Found:
    """The ``k`` codes nearest to one, of all, by reading all.

    Args:
        codes: packed, (n, bytes), may be memory-mapped.
        query: packed, (bytes,).
        k: at most so many, 0 or more.
        order: number of the tile in each row of the codes, where that is not the row.
        allowed: whether each tile may be a hit, (n,) by number; all when None.

    Returns:
        min(k, n or allowed) numbers and distances, nearest first; equally near ones in the order of their numbers.

    Raises:
        ShapeMismatch: the code lengths differ.
    """
    words, asked = as_words(codes, query)
    may = ALL if allowed is None else allowed

    def search(part: slice) -> NDArray[np.uint64]:
        heap = empty_heap(min(k, part.stop - part.start))
        if len(heap):
            scan(words[part], part.start, NO_NUMBERS if order is None else order[part], may, asked, heap)
        return heap

    return joined(in_slices(search, len(words), least=_WORTH_A_THREAD), k)


def flat_search_some(
    codes: NDArray[np.uint8],
    query: NDArray[np.uint8],
    k: int,
    numbers: NDArray[np.uint32],
    rows: NDArray[np.uint32] | None = None,
) -> Found:
    """The ``k`` codes nearest to one, of those of some tiles: like `flat_search`, reading only theirs.

    Args:
        codes: packed, (n, bytes).
        query: packed, (bytes,).
        k: at most so many.
        numbers: of the tiles, (m,).
        rows: where the codes of these tiles are, (m,), where that is not at their numbers.
    """
    words, asked = as_words(codes, query)
    places = numbers if rows is None else rows

    def search(part: slice) -> NDArray[np.uint64]:
        heap = empty_heap(min(k, part.stop - part.start))
        if len(heap):
            scan_some(words, places[part], numbers[part], asked, heap)
        return heap

    return joined(in_slices(search, len(numbers), least=_WORTH_A_THREAD // 4), k)


def flat_distances(codes: NDArray[np.uint8], query: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Hamming distances (n,) of all codes (n, bytes) to one (bytes,), in the codes' own order.

    Raises:
        ShapeMismatch: the code lengths differ.
    """
    words, asked = as_words(codes, query)
    found = np.empty(len(words), np.uint16)
    in_slices(lambda part: distances(words[part], asked, found[part]), len(words), least=_WORTH_A_THREAD)
    return found


def as_words(codes: NDArray[np.uint8], query: NDArray[np.uint8]) -> tuple[NDArray[np.unsignedinteger], ...]:  # type: ignore[type-arg]
    """Codes (n, words) and query (words,) in words of 64 bits where their length allows, else in bytes.

    Raises:
        ShapeMismatch: the code lengths differ.
    """
    if codes.ndim != 2 or query.shape != codes.shape[1:] or {codes.dtype, query.dtype} != {np.dtype(np.uint8)}:
        raise ShapeMismatch(
            f"Codes {codes.dtype} {codes.shape} and a query {query.dtype} {query.shape} cannot be compared: uint8 (n, bytes) "
            "and (bytes,) are expected. Encode both with the same model."
        )
    kind = np.uint64 if codes.shape[1] % 8 == 0 else np.uint8
    return np.asarray(np.ascontiguousarray(codes)).view(kind), np.ascontiguousarray(query).view(kind)
