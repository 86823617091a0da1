"""Lists of codes that lie near one another: their centres, found by k-majority, and which list each code belongs to."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.codes.ordered import OrderedCodes
from workbench.search.engines.kernels import count_bits, nearest, place_in_lists
from workbench.search.engines.threads import in_slices

_PER_LIST = 64
_ROUNDS = 8
_CHUNK = 1 << 17
_GROUP = 64  # bytes that the kernel takes at once


def lists_for(count: int) -> int:
    """How many lists suit so many codes: about twice their root, a power of two.

    More read less in each search, as the root of their number, and take longer to sort into.
    """
    return 1 << max(0, round(1 + np.log2(max(1, count)) / 2))


def find_centres(codes: NDArray[np.uint8] | OrderedCodes, lists: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """Centres of lists, from a sample of the codes.

    K-majority: each code goes to the nearest centre, and each bit of a centre becomes what most of its codes have (Grana,
    Borghesani, Manfredi & Cucchiara 2013, "A fast approach for integrating ORB descriptors in the bag of words model").

    Args:
        codes: packed, (n, bytes), n at least 1; 64 a list are used, none of them in an odd row.
        lists: how many.
        seed: of the sample.

    Returns:
        packed, (at most ``lists``, bytes).
    """
    random = np.random.default_rng(seed)
    drawn = np.arange(0, len(codes), 2)
    if len(drawn) > _PER_LIST * lists:
        drawn = 2 * np.unique(random.integers(0, len(drawn), _PER_LIST * lists))
    sample = np.asarray(codes[drawn])
    centres = sample[np.sort(random.permutation(len(sample))[:lists])]
    for _ in range(_ROUNDS):
        chosen = nearest_centre(sample, centres)
        centres = _majority(sample, chosen, len(centres), random)
    return centres


def nearest_centre(codes: NDArray[np.uint8], centres: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Which centre (m, bytes) is nearest to each code (n, bytes), uint32 (n,); the first of equally near ones."""
    words, turned = _in_groups(codes), np.ascontiguousarray(_in_groups(centres).T)
    chosen = np.empty(len(codes), np.uint32)

    def choose(part: slice) -> None:
        nearest(words[part], turned, chosen[part], np.empty(len(centres), np.uint64))

    in_slices(choose, len(codes), least=64)
    return chosen


def assigned(
    codes: NDArray[np.uint8] | OrderedCodes, centres: NDArray[np.uint8]
) -> Iterator[tuple[int, NDArray[np.uint32]]]:
    """First row, and the nearest centre of it and those that follow, chunk by chunk."""
    for start in range(0, len(codes), _CHUNK):
        yield start, nearest_centre(np.asarray(codes[start : start + _CHUNK]), centres)


def sorted_by_list(
    chosen: NDArray[np.uint32], lists: int
) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.uint32]]:
    """Lay lists after one another.

    Returns:
        starts: first place of each list, and the end of the last, int64 (lists + 1,).
        order: the code at each place, uint32 (n,); rising within a list.
        positions: the place of each code, uint32 (n,).
    """
    starts = np.concatenate([[0], np.cumsum(np.bincount(chosen, minlength=lists))]).astype(np.int64)
    order, positions = np.empty(len(chosen), np.uint32), np.empty(len(chosen), np.uint32)
    place_in_lists(chosen, starts[:-1].copy(), positions, order)
    return starts, order, positions


def _majority(
    sample: NDArray[np.uint8], chosen: NDArray[np.uint32], lists: int, random: np.random.Generator
) -> NDArray[np.uint8]:
    counts = np.zeros((lists, 8 * sample.shape[1]), np.int32)
    count_bits(sample, chosen, counts)
    sizes = np.bincount(chosen, minlength=lists)
    centres = np.packbits(2 * counts > sizes[:, None], axis=1)
    empty = np.flatnonzero(sizes == 0)
    centres[empty] = sample[random.integers(0, len(sample), len(empty))]
    return centres


def _in_groups(codes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Codes as words of 64 bits, (n, words), zeros added until words are a multiple of eight."""
    room = -codes.shape[1] % _GROUP
    padded = np.pad(codes, ((0, 0), (0, room))) if room else np.ascontiguousarray(codes)
    return np.asarray(padded).view(np.uint64)
