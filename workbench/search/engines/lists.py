"""Lists of codes that lie near one another: their centres, found by k-majority, and which list each code belongs to."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.codes.ordered import OrderedCodes
from workbench.search.engines.kernels import count_bits, majorities, nearest, place_in_lists
from workbench.search.engines.threads import in_slices
from workbench.search.engines.walks import Graph, graph_of, mended, walked

_HELD = 200
_MANY = 4096  # centres; comparing with all of more takes longer than walking among them
_PER_LIST = 64
_PER_LIST_OF_MANY = 32
_ROUNDS = 6
_CHUNK = 1 << 19
_GROUP = 64  # bytes that the kernel takes at once


def lists_for(count: int) -> int:
    """How many lists suit so many codes, a power of two: about twice their root, or more where these would be long.

    Lists of about 200 read least: the shorter, the better they tell codes apart, but their centres have to be read too.
    """
    return 1 << max(0, round(np.log2(max(1.0, 2 * count**0.5, count / _HELD))))


def find_centres(codes: NDArray[np.uint8] | OrderedCodes, lists: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """Centres of lists, from a sample of the codes; see `fitted`."""
    return fitted(codes, lists, seed=seed)[0]


def fitted(
    codes: NDArray[np.uint8] | OrderedCodes, lists: int, *, seed: int = 0
) -> tuple[NDArray[np.uint8], Graph | None]:
    """Centres of lists, from a sample of the codes, and where they are many, the graph by which they are found.

    K-majority: each code goes to the nearest centre, and each bit of a centre becomes what most of its codes have (Grana,
    Borghesani, Manfredi & Cucchiara 2013, "A fast approach for integrating ORB descriptors in the bag of words model").

    Args:
        codes: packed, (n, bytes), n at least 1; 64 a list are used, 32 where these are many, none of them in an odd row.
        lists: how many.
        seed: of the sample.

    Returns:
        packed, (at most ``lists``, bytes), and the graph.
    """
    random = np.random.default_rng(seed)
    drawn = np.arange(0, len(codes), 2)
    most = lists * (_PER_LIST if lists <= _MANY else _PER_LIST_OF_MANY)
    if len(drawn) > most:
        drawn = 2 * np.unique(random.integers(0, len(drawn), most))
    sample = np.asarray(codes[drawn])
    centres = sample[np.sort(random.permutation(len(sample))[:lists])]
    graph = graph_of(_in_groups(centres)) if len(centres) > _MANY else None
    for _ in range(_ROUNDS):
        chosen = _about_nearest(sample, centres, graph)
        centres = _majority(sample, chosen, len(centres), random)
        graph = None if graph is None else mended(graph, _in_groups(centres))
    return centres, graph


def nearest_centre(codes: NDArray[np.uint8], centres: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Which centre (m, bytes) is nearest to each code (n, bytes), uint32 (n,); the first of equally near ones."""
    words, turned = _in_groups(codes), np.ascontiguousarray(_in_groups(centres).T)
    chosen = np.empty(len(codes), np.uint32)

    def choose(part: slice) -> None:
        nearest(words[part], turned, chosen[part], np.empty(len(centres), np.uint64))

    in_slices(choose, len(codes), least=64)
    return chosen


def assigned(
    codes: NDArray[np.uint8] | OrderedCodes, centres: NDArray[np.uint8], graph: Graph | None = None
) -> Iterator[tuple[int, NDArray[np.uint32]]]:
    """First row, and the nearest centre of it and those that follow, chunk by chunk; about the nearest by a graph of them."""
    for start in range(0, len(codes), _CHUNK):
        yield start, _about_nearest(np.asarray(codes[start : start + _CHUNK]), centres, graph)


def middles(codes: NDArray[np.uint8], starts: NDArray[np.int64], centres: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Centres of lists by all of their codes, which lie list after list, (n, bytes); those of empty lists as given."""
    found = centres.copy()
    in_slices(lambda part: majorities(codes, starts[part.start : part.stop + 1], found[part]), len(found))
    return found


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


def _about_nearest(codes: NDArray[np.uint8], centres: NDArray[np.uint8], graph: Graph | None) -> NDArray[np.uint32]:
    return nearest_centre(codes, centres) if graph is None else walked(_in_groups(codes), _in_groups(centres), graph)


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
