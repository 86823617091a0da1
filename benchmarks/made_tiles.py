"""Tiles made after an archive's own: any number of descriptors or codes that lie between real ones, and how they are tuned.

A made tile lies between two real ones drawn at random, plus noise:

    x = a + share (b - a) + size * rank^spread * g,    share ~ U(0, reach),    rank ~ U(0, 1),

where g is Gaussian and of unit length on average. With reach 1/2 the share is uniform between the two (which is a and which b
is drawn). With spread 0 all noise is of one size; the larger it is, the more tiles have little of it. Near each real tile,
others differ from it in 24 ways, drawn of the archive's 256 main axes, and along the n-th by n^-fall: the larger fall is, the
fewer ways matter. Codes are the signs of the archive's own hyperplanes.

`tuned` sets these four: a made tile that is held out is then as far from its 1st, 10th and 100th neighbour among
the made ones, in bits and on average, as a real tile is from those among the other real ones. Real archives of such a size
do not lie around; this one is denser than its thousands of tiles and sparser than one with as many would be.
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
from scipy.optimize import OptimizeResult, minimize

from workbench.descriptors.archive import Archive
from workbench.descriptors.codes.models import LayeredCodes

RANKS = (1, 10, 100)
CHUNK = 8192
HELD_OUT, TUNING, MADE = range(3)
_AXES = 256
_WAYS = 24
_SAMPLE = 500_000
_ASKED = 50
_ASKED_REAL = 1000
_NEAR = 0.06
_EACH = 400
_STARTS = [np.array((size, 0.3, 0.4, fall)) for size in (-0.2, 0.5, 1.2) for fall in (0.1, 0.6, 1.1)]
_STEPS = np.vstack((np.zeros(4), np.diag((0.4, 0.3, -0.3, 0.4))))
_BOUNDS = ((-6, 4), (0, 3), (0, 0.5), (0, 4))


@dataclass(frozen=True)
class Recipe:
    """How tiles are made.

    Attributes:
        size: of the noise; real centred descriptors have length 1.
        spread: how much that differs between tiles.
        reach: how far a tile may be from the nearer of its two real ones, as a share of the way; 1/2 is all the way.
        fall: how much less noise goes along a real tile's later axes.
        seed: of all draws.
    """

    size: float
    spread: float
    reach: float
    fall: float
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Pattern:
    """What tiles are made of.

    Attributes:
        rows: real tiles, float32 (n, m): descriptors, or their distances to the hyperplanes of the codes.
        axes: of the noise, float32 (256, m) or fewer.
        ways: the axes in which tiles near each real one differ, int64 (n, 24) or fewer.
    """

    rows: NDArray[np.float32]
    axes: NDArray[np.float32]
    ways: NDArray[np.int64]

    def made(self, recipe: Recipe, count: int, kind: int = MADE) -> Iterator[NDArray[np.float32]]:
        """Made tiles, float32 (at most 8192, m) at a time; ``kind`` says which of several independent sets."""
        for chunk, start in enumerate(range(0, count, CHUNK)):
            yield self.chunk(recipe, kind, chunk, min(CHUNK, count - start))

    def chunk(self, recipe: Recipe, kind: int, chunk: int, count: int) -> NDArray[np.float32]:
        """A part of a set, (count, m); the same whichever are made before it."""
        draw = np.random.Generator(np.random.SFC64([recipe.seed, kind, chunk]))
        pairs = draw.integers(0, len(self.rows), (2, count))
        shares = draw.random(count, dtype=np.float32) * np.float32(recipe.reach)
        sizes = recipe.size * draw.random((count, 1)) ** recipe.spread
        weights = np.arange(1, self.ways.shape[1] + 1) ** -recipe.fall
        weights = (weights / np.linalg.norm(weights)).astype(np.float32)
        noise = draw.standard_normal((count, len(weights)), dtype=np.float32) * weights * sizes.astype(np.float32)
        made = np.empty((count, self.rows.shape[1]), np.float32)
        _mix(made, self.rows, *pairs, shares, noise, self.axes, self.ways)
        return made


def patterns(archive: Archive, count: int) -> tuple[Pattern, Pattern]:
    """An archive's descriptors, and their distances to the hyperplanes of its codes, to make ``count`` tiles of.

    Of real tiles, evenly spaced, no more are used than one for each 400 that are made.

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
    used = np.unique(np.linspace(0, len(vectors) - 1, min(len(vectors), max(2, count // _EACH))).astype(np.int64))
    vectors, ways = vectors[used], ways[used]
    return Pattern(vectors, axes, ways), Pattern(vectors @ normals + model.biases[0], axes @ normals, ways)


def made_codes(pattern: Pattern, recipe: Recipe, count: int, kind: int = MADE) -> Iterator[NDArray[np.uint8]]:
    """Packed codes of made tiles, uint8 (at most 8192, bits // 8) at a time, in order, from two threads."""

    def packed(chunk: int) -> NDArray[np.uint8]:
        part = pattern.chunk(recipe, kind, chunk, min(CHUNK, count - chunk * CHUNK))
        return np.packbits(part > 0, axis=1)

    chunks = -(-count // CHUNK)
    threads = min(2, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        # A few at a time, or finished ones pile up in memory.
        for first in range(0, chunks, 16 * threads):
            yield from pool.map(packed, range(first, min(chunks, first + 16 * threads)))


def real_distances(codes: NDArray[np.uint8], seed: int = 0) -> dict[int, float]:
    """Mean Hamming distance of at most 1000 tiles, drawn, to the 1st, 10th and 100th nearest of the others."""
    codes = np.ascontiguousarray(codes)
    drawn = np.random.default_rng(seed).permutation(len(codes))[:_ASKED_REAL]
    found = _nearest(codes, codes[drawn], RANKS[-1] + 1)
    return means_at(found[:, 1:])  # the nearest of all is the tile itself, or one as near


def means_at(distances: NDArray[np.integer]) -> dict[int, float]:  # type: ignore[type-arg]
    """Means over queries of ascending distances (queries, at least 100) at each of the ranks."""
    return {rank: round(float(distances[:, rank - 1].mean()), 1) for rank in RANKS}


def tuned(pattern: Pattern, count: int, wanted: dict[int, float], *, seed: int = 0, trials: int = 50) -> Recipe:
    """The recipe by which held-out tiles are as far from the made ones as wanted; the same for the same seed.

    The simplex method (Nelder & Mead 1965), from the best of nine recipes, on the sum of squared log ratios. At most half a
    million tiles are made in a trial: of 48 million, the 100th neighbour is the first of these, and the 10th and the 1st lie
    on the line through the logarithms of their 1st and 10th, which is checked when all are made.

    Args:
        pattern: of the codes.
        count: how many are to be made.
        wanted: mean distances by rank.
        seed: of all draws.
        trials: at most.
    """
    sample = min(count, _SAMPLE)

    def recipe(values: NDArray[np.float64]) -> Recipe:
        size, *others = values.tolist()
        return Recipe(float(np.exp(size)), *others, seed=seed)

    def miss(values: NDArray[np.float64]) -> float:
        found = _expected(pattern, recipe(values), sample, count)
        return sum(np.log(found[rank] / wanted[rank]) ** 2 for rank in RANKS)

    def enough(intermediate_result: OptimizeResult) -> None:
        if intermediate_result.fun < _NEAR**2:
            raise StopIteration

    start = min(_STARTS, key=miss)
    options = {"maxfev": trials, "xatol": 1e-2, "fatol": 1e-5, "initial_simplex": start + _STEPS}
    best = minimize(miss, start, method="Nelder-Mead", bounds=_BOUNDS, options=options, callback=enough)
    return recipe(best.x)


def _expected(pattern: Pattern, recipe: Recipe, sample: int, count: int) -> dict[int, float]:
    """Mean distances to be expected among ``count`` tiles, from a sample of them."""
    asked = np.concatenate(list(made_codes(pattern, recipe, _ASKED, TUNING)))
    codes = np.concatenate(list(made_codes(pattern, recipe, sample)))
    logs = np.log(np.maximum(_nearest(codes, asked, RANKS[-1]).mean(axis=0), 0.1))
    ranks = np.log(np.arange(1, RANKS[-1] + 1))
    slope = (logs[9] - logs[0]) / np.log(10)
    found = {}
    for rank in RANKS:
        place = np.log(rank * sample / count)
        found[rank] = float(np.exp(logs[0] + slope * place if place < 0 else np.interp(place, ranks, logs)))
    return found


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


def as_record(recipe: Recipe) -> dict[str, float]:
    """For a JSON file."""
    return {name: round(value, 6) for name, value in asdict(recipe).items()}
