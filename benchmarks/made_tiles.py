"""Tiles made after an archive's own: any number of descriptors or codes that lie between real ones, and how they are tuned.

Made tiles come in groups of 5000, in these of 500, of 50 and of 5, as tiles of one flight, of one kind of ground, side by side
and overlapping do. A group lies between two real tiles a and b drawn at random, and a tile of it at

    a + share (b - a) + g5000 + f (g500 + g50 + g5 + g1),    share ~ U(0, 1/2),    f ~ U(0, 1)^spread,

where each g is Gaussian noise that the tiles of a group of so many share, along 24 of the archive's 256 main axes, drawn for
each real tile a. (Which of a pair is a is drawn as well, so that groups lie anywhere between.) f, one a group of 5000, is 1
unless neighbourhoods shall be as uneven as the real ones: some are then much denser than others, which is harder for lists.
Codes are the signs of the archive's own hyperplanes.

`tuned` sets the sizes of the noise: a tile that is held out is then as far from its 1st, 10th and 100th neighbour among the
made ones, in bits and on average, as a real tile is from those among the other real ones. Real archives of such a size do not
lie around; this one is as dense around its tiles as the real one of some thousands is, and spreads over more kinds of ground.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import faiss
import numpy as np
from numba import njit
from numpy.typing import NDArray

from workbench.descriptors.archive import Archive
from workbench.descriptors.codes.models import LayeredCodes

RANKS = (1, 10, 100)
GROUPS = (5000, 500, 50, 5, 1)
CHUNK = 2 * GROUPS[0]
_AXES = 256
_WAYS = 24
_SHARED, _MADE, _HELD_OUT, _LONE, _DRAWN = range(5)
_STRANGERS = 100_000
_ASKED = 60
_ASKED_REAL = 1000
_BASES = (0.5, 1.0, 2.0, 4.0)
_STEPS = 8
_CLOSE = 0.05
_FARTHEST = 0.45
Distances = dict[int, float]


@dataclass(frozen=True)
class Recipe:
    """How tiles are made.

    Attributes:
        sizes: of the noise shared by groups of 5000, 500, 50, 5 and 1; real centred descriptors have length 1.
        spread: how much the noise inside of groups of 5000 differs between these, as a standard deviation of its logarithm;
            0: not at all.
        seed: of all draws.
    """

    sizes: tuple[float, ...]
    spread: float
    seed: int = 0

    def record(self) -> dict[str, object]:
        """For a JSON file."""
        return {**asdict(self), "sizes": [round(size, 6) for size in self.sizes], "spread": round(self.spread, 6)}

    @classmethod
    def of_record(cls, values: dict[str, list[float] | float]) -> Recipe:
        """From a JSON file."""
        return cls(tuple(values["sizes"]), float(values["spread"]), int(values["seed"]))  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Pattern:
    """What tiles are made of.

    Attributes:
        rows: real tiles, float32 (n, m): descriptors, or their distances to the hyperplanes of the codes.
        axes: of the noise, float32 (256, m) or fewer.
        ways: the axes along which tiles near each real one differ, int64 (n, 24) or fewer.
    """

    rows: NDArray[np.float32]
    axes: NDArray[np.float32]
    ways: NDArray[np.int64]

    def made(self, recipe: Recipe, count: int) -> Iterator[NDArray[np.float32]]:
        """Made tiles in order, float32 (at most 10,000, m) at a time."""
        for chunk in range(-(-count // CHUNK)):
            yield self.chunk(recipe, chunk, np.arange(min(CHUNK, count - chunk * CHUNK)))

    def chunk(self, recipe: Recipe, chunk: int, rows: NDArray[np.int64], kind: int = _MADE) -> NDArray[np.float32]:
        """Some rows of a part of the set, (m, dim); the same whichever are made before. Other kinds share its groups."""
        shared, own = (np.random.Generator(np.random.SFC64([recipe.seed, each, chunk])) for each in (_SHARED, kind))
        count = CHUNK // GROUPS[0]
        pairs, shares, factors = self._places(shared, count, recipe)
        noise = np.zeros((len(rows), self.ways.shape[1]), np.float32)
        for group, size in zip(GROUPS, recipe.sizes, strict=True):
            draw = own if group == 1 else shared
            drawn = draw.standard_normal((CHUNK // group, noise.shape[1]), np.float32)[rows // group]
            inner = factors[rows // GROUPS[0], None] if group < GROUPS[0] else 1
            noise += drawn * np.float32(size / noise.shape[1] ** 0.5) * inner
        groups = rows // GROUPS[0]
        return self._mixed(pairs[:, groups], shares[groups], noise)

    def held_out(self, recipe: Recipe, count: int, queries: int) -> NDArray[np.float32]:
        """Tiles like ``queries`` of the ``count`` made ones, drawn, of the same groups and not among them."""
        drawn = np.random.default_rng([recipe.seed, _DRAWN]).integers(0, count, queries)
        parts = [self.chunk(recipe, int(row) // CHUNK, row[None] % CHUNK, _HELD_OUT) for row in drawn]
        return np.concatenate(parts)

    def lone(self, recipe: Recipe, count: int) -> NDArray[np.float32]:
        """Tiles of as many other groups, one each."""
        draw = np.random.Generator(np.random.SFC64([recipe.seed, _LONE]))
        pairs, shares, factors = self._places(draw, count, recipe)
        base, *inner = recipe.sizes
        sizes = np.sqrt(base**2 + factors**2 * sum(size**2 for size in inner)) / self.ways.shape[1] ** 0.5
        noise = draw.standard_normal((count, self.ways.shape[1]), np.float32) * sizes[:, None]
        return self._mixed(pairs, shares, noise.astype(np.float32))

    def _places(
        self, draw: np.random.Generator, count: int, recipe: Recipe
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
        pairs = draw.integers(0, len(self.rows), (2, count))
        shares = draw.random(count, np.float32) / 2
        return pairs, shares, (draw.random(count, np.float32) ** recipe.spread).astype(np.float32)

    def _mixed(
        self, pairs: NDArray[np.int64], shares: NDArray[np.float32], noise: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        found = np.empty((len(shares), self.rows.shape[1]), np.float32)
        _mix(found, self.rows, *pairs, shares, noise, self.axes, self.ways)
        return found


def patterns(archive: Archive) -> tuple[Pattern, Pattern]:
    """An archive's descriptors, and their distances to the hyperplanes of its codes, to make tiles of.

    Raises:
        SystemExit: there are too few tiles, or its codes are not made by hyperplanes.
    """
    model = archive.code_model
    if not isinstance(model, LayeredCodes) or len(model.weights) > 1:
        raise SystemExit(
            f"{archive.folder}: {model.kind} codes have no hyperplanes. Call archive.refit(code_kind='itq')."
        )
    if len(archive) <= RANKS[-1]:
        raise SystemExit(
            f"{archive.folder}: {len(archive)} tiles have no {RANKS[-1]}th neighbour. Take a larger archive."
        )
    vectors = archive.vectors
    _, directions = np.linalg.eigh(np.cov(vectors.T))
    axes = np.ascontiguousarray(directions.T[::-1][:_AXES], np.float32)
    drawn = np.argsort(np.random.default_rng(0).random((len(vectors), len(axes)), np.float32), axis=1)
    ways = np.ascontiguousarray(drawn[:, :_WAYS])
    normals = model.weights[0]
    return Pattern(vectors, axes, ways), Pattern(vectors @ normals + model.biases[0], axes @ normals, ways)


def packed(rows: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Codes of tiles given by their distances to the hyperplanes."""
    return np.packbits(rows > 0, axis=1)


def made_codes(pattern: Pattern, recipe: Recipe, count: int) -> Iterator[NDArray[np.uint8]]:
    """Packed codes of made tiles, uint8 (at most 10,000, bits // 8) at a time, in order, from two threads."""

    def part(chunk: int) -> NDArray[np.uint8]:
        return packed(pattern.chunk(recipe, chunk, np.arange(min(CHUNK, count - chunk * CHUNK))))

    chunks = -(-count // CHUNK)
    threads = min(2, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        # A few at a time, or finished ones pile up in memory.
        for first in range(0, chunks, 16 * threads):
            yield from pool.map(part, range(first, min(chunks, first + 16 * threads)))


def real_distances(codes: NDArray[np.uint8], seed: int = 0) -> tuple[Distances, float]:
    """How far at most 1000 tiles, drawn, are from the nearest of the others.

    Returns:
        mean Hamming distances to the 1st, 10th and 100th, and the standard deviation of the logarithm of that to the 10th.
    """
    codes = np.ascontiguousarray(codes)
    drawn = np.random.default_rng(seed).permutation(len(codes))[:_ASKED_REAL]
    found = _nearest(codes, codes[drawn], RANKS[-1] + 1)[:, 1:]  # the nearest of all is the tile itself, or one as near
    return means_at(found), float(np.log(np.maximum(found[:, RANKS[1] - 1], 1)).std())


def means_at(distances: NDArray[np.integer]) -> Distances:  # type: ignore[type-arg]
    """Means over queries of ascending distances (queries, at least 100) at each of the ranks."""
    return {rank: round(float(distances[:, rank - 1].mean()), 1) for rank in RANKS}


def tuned(pattern: Pattern, count: int, wanted: Distances, spread: float, *, seed: int = 0) -> Recipe:
    """The recipe by which held-out tiles are as far from the made ones as wanted; the same for the same seed.

    Bits differ in proportion to the angle between descriptors (Goemans & Williamson 1995), so the cosine of two tiles that
    share a group says how much of their noise they must share. From there on each angle is corrected by what is found in 60
    whole groups of 5000 and a sample of lone tiles that stand for all others. The noise of these groups is the least, of
    four, that keeps other groups far enough away. The 1000th neighbour is wanted as much farther than the 100th as that is
    than the 10th.

    Args:
        pattern: of the codes.
        count: how many are to be made.
        wanted: mean distances by rank.
        spread: see `Recipe`.
        seed: of all draws.
    """
    bits = pattern.rows.shape[1]
    beyond = 10 * RANKS[-1]
    wanted = {**wanted, beyond: min(_FARTHEST * bits, wanted[RANKS[-1]] ** 2 / wanted[RANKS[-2]])}
    tried: list[tuple[float, Recipe]] = []
    for base in _BASES:
        angles = {rank: np.pi * far / bits for rank, far in wanted.items()}
        for _ in range(_STEPS):
            recipe = Recipe(_sizes(base, angles), spread, seed)
            found = _expected(pattern, recipe, count)
            off = max(abs(found[rank] / wanted[rank] - 1) for rank in RANKS)
            tried.append((off, recipe))
            if off <= _CLOSE:
                return recipe
            angles = {rank: min(1.5, angles[rank] * wanted[rank] / max(found[rank], 1)) for rank in wanted}
    return min(tried, key=lambda each: each[0])[1]


def _sizes(base: float, angles: Distances) -> tuple[float, ...]:
    """Sizes of the noise from the angles between tiles that share groups of 5, 50, 500 and 5000."""
    # Of the square of a tile's length, between two real ones it has 2/3 on average.
    shared = 2 / 3 + base**2
    cosines = np.minimum.accumulate([1.0, *np.cos(list(angles.values()))])
    total = shared / max(cosines[-1], 1e-3)
    return (base, *np.sqrt(-np.diff(cosines)[::-1] * total).tolist())


def _expected(pattern: Pattern, recipe: Recipe, count: int) -> Distances:
    """Mean distances to be expected among ``count`` tiles."""
    asked = np.random.default_rng([recipe.seed, _DRAWN]).integers(0, min(count, CHUNK), _ASKED)
    size = min(count, GROUPS[0])
    ranks = (*RANKS, 10 * RANKS[-1])
    sample = min(_STRANGERS, count)
    rows = [pattern.chunk(recipe, place, row[None], _HELD_OUT) for place, row in enumerate(asked)]
    queries = packed(np.concatenate(rows))
    strangers = _nearest(packed(pattern.lone(recipe, sample)), queries, min(sample, 1000))
    found = []
    for place, row in enumerate(asked):
        members = np.arange(row // GROUPS[0] * GROUPS[0], row // GROUPS[0] * GROUPS[0] + size)
        differing = packed(pattern.chunk(recipe, place, members)) ^ queries[place]
        distances = np.concatenate([np.bitwise_count(differing).sum(axis=1, dtype=np.int64), strangers[place]])
        weights = np.concatenate([np.ones(size), np.full(strangers.shape[1], max(0, count - size) / sample)])
        order = np.argsort(distances, kind="stable")
        places = np.searchsorted(weights[order].cumsum(), ranks)
        found.append(distances[order][np.minimum(places, len(order) - 1)])
    return {rank: float(value) for rank, value in zip(ranks, np.mean(found, axis=0), strict=True)}


def _nearest(codes: NDArray[np.uint8], asked: NDArray[np.uint8], k: int) -> NDArray[np.int32]:
    """Hamming distances to the ``k`` nearest codes, ascending, int32 (queries, k)."""
    index = faiss.IndexBinaryFlat(8 * codes.shape[1])
    index.add(codes)
    distances: NDArray[np.int32] = index.search(np.ascontiguousarray(asked), k)[0]
    return distances


@njit(nogil=True, fastmath=True)
def _mix(made, rows, first, second, shares, noise, axes, ways):  # type: ignore[no-untyped-def]
    """Write to each row of ``made`` what lies its share of the way between two of ``rows``, and its noise along its ways."""
    for tile in range(len(made)):
        row, share = made[tile], shares[tile]
        a, b = rows[first[tile]], rows[second[tile]]
        for place in range(len(row)):
            row[place] = a[place] + share * (b[place] - a[place])
        for way in range(noise.shape[1]):
            axis, length = axes[ways[first[tile], way]], noise[tile, way]
            for place in range(len(row)):
                row[place] += length * axis[place]
