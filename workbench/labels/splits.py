"""Which chips are held back for validation and test: whole blocks of ground with a gap, so that no pixel is on two sides."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

from workbench.errors import LabelInvalid, ShapeMismatch

_CANDIDATES = 200
_TOUCH_M = 1e-3


def split_blocks(
    bounds: ArrayLike,
    *,
    block_m: float,
    buffer_m: float,
    validation: float = 0.2,
    test: float = 0.0,
    seed: int = 0,
    presence: ArrayLike | None = None,
    worlds: ArrayLike | None = None,
) -> NDArray[np.str_]:
    """Divide chips into training, validation and test by square blocks of ground.

    Of many random choices of blocks, in one to five clumps a side, the one is taken in which most classes are on all
    sides, then the one closest to the shares asked for, of chips and of each class, that loses the fewest chips to the
    buffer (Roberts et al. 2017, Ecography 40: 913-929, on why blocks and buffers).

    Args:
        bounds: (min x, min y, max x, max y) of each chip in ground metres of one CRS, shape (n, 4).
        block_m: side of a block; a chip belongs to the block of its centre.
        buffer_m: chips closer than this to one of another side, or overlapping it, are dropped: validation and training
            chips near a test chip, training chips near a validation chip.
        validation: share of the chips to hold back while training, in [0, 1).
        test: share of the chips to hold back until training is over, in [0, 1).
        seed: of the random choices.
        presence: how much of each class each chip shows, in any unit at least 0, or only whether, shape (n, classes).
        worlds: number of the coordinate system of each chip, shape (n,): chips of different ones are never neighbours.

    Returns:
        "train", "validation", "test" or "buffer" for each chip, shape (n,). All are "train" when there is only one
        block; none is "test" where the blocks do not suffice for three sides.

    Raises:
        LabelInvalid: a size or share that makes no split.
        ShapeMismatch: the arrays differ in length.
    """
    boxes = np.asarray(bounds, np.float64).reshape(-1, 4)
    world = np.zeros(len(boxes), np.int64) if worlds is None else np.asarray(worlds, np.int64)
    shows = np.ones((len(boxes), 1)) if presence is None else np.asarray(presence, np.float64)
    if not len(boxes) == len(world) == len(shows):
        raise ShapeMismatch(f"{len(boxes)} chips, {len(world)} worlds, {len(shows)} rows of presence: expected equal.")
    if not block_m > 0 or not buffer_m >= 0 or not (validation >= 0 and test >= 0 and validation + test < 1):
        raise LabelInvalid(
            f"block_m={block_m}, buffer_m={buffer_m}, validation={validation}, test={test} make no split. "
            "Give a block above 0, a buffer of at least 0 and shares that leave something for training."
        )
    blocks, block_of = _blocks(boxes, world, block_m)
    # What is held back longest is chosen first, and keeps all its chips.
    shares = {side: share for side, share in (("test", test), ("validation", validation)) if share}
    near = _neighbours(boxes, world, buffer_m)
    if len(blocks) > len(shares):
        split = _best_choice(blocks, block_of, near, shows, shares, seed)
        if len(shares) < 2 or set(shares) | {"train"} <= set(split):
            return split
    if len(blocks) < 2 or not validation:
        return np.full(len(boxes), "train", dtype="<U10")
    return _best_choice(blocks, block_of, near, shows, {"validation": validation}, seed)


def count_blocks(bounds: NDArray[np.float64], worlds: NDArray[np.int64], block_m: float) -> int:
    """How many blocks of ground chips lie in; arguments as in `split_blocks`."""
    return len(_blocks(bounds, worlds, block_m)[0])


def _blocks(
    boxes: NDArray[np.float64], world: NDArray[np.int64], block_m: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The blocks as (world, x, y), shape (blocks, 3), and the block of each chip's centre."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    cells = np.column_stack([world, np.floor(centres / block_m)]).astype(np.int64)
    blocks, block_of = np.unique(cells, axis=0, return_inverse=True)
    return blocks, block_of.reshape(-1)


def _neighbours(boxes: NDArray[np.float64], world: NDArray[np.int64], buffer_m: float) -> NDArray[np.int64]:
    """Pairs of chips that must not be on different sides, shape (2, pairs)."""
    pairs = [np.empty((2, 0), np.int64)]
    for number in np.unique(world):
        members = np.flatnonzero(world == number)
        shapes = np.asarray(shapely.box(*boxes[members].T))
        found = shapely.STRtree(shapes).query(shapes, predicate="dwithin", distance=buffer_m + _TOUCH_M)
        pairs.append(members[found])
    one, two = np.concatenate(pairs, axis=1)
    apart = np.maximum(boxes[one, :2] - boxes[two, 2:], boxes[two, :2] - boxes[one, 2:])
    gap = np.hypot(*np.maximum(apart, 0).T)
    # Chips that only touch share no pixel: with a buffer of 0 they may be on different sides.
    close = (gap < buffer_m) | (apart.max(axis=1) < -_TOUCH_M)
    return np.stack([one, two])[:, close & (one != two)]


def _best_choice(
    blocks: NDArray[np.int64],
    block_of: NDArray[np.int64],
    near: NDArray[np.int64],
    shows: NDArray[np.float64],
    shares: Mapping[str, float],
    seed: int,
) -> NDArray[np.str_]:
    """The side of each chip in the best of many choices of blocks."""
    random = np.random.default_rng(seed)
    everywhere = shows.any(axis=0)
    parts = shows[:, everywhere] / shows[:, everywhere].sum(axis=0)
    best: tuple[tuple[float, float], NDArray[np.str_]] | None = None
    for _ in range(_CANDIDATES if shares else 1):
        split = _choice(blocks, block_of, near, shares, random)
        sides = [split == side for side in (*shares, "train")]
        missing = (everywhere & ~np.logical_and.reduce([shows[side].any(axis=0) for side in sides])).sum()
        off = sum(
            (abs(side.mean() - share) + np.abs(parts[side].sum(axis=0) - share).mean()) / share
            for side, share in zip(sides, shares.values(), strict=False)
        )
        # A side without any chip is worse than any class missing.
        empty = sum(not side.any() for side in sides) * (shows.shape[1] + 1)
        score = (float(missing + empty), float(off + (split == "buffer").mean()))
        if best is None or score < best[0]:
            best = score, split
    assert best is not None
    return best[1]


def _choice(
    blocks: NDArray[np.int64],
    block_of: NDArray[np.int64],
    near: NDArray[np.int64],
    shares: Mapping[str, float],
    random: np.random.Generator,
) -> NDArray[np.str_]:
    """One random choice: for each side some of the blocks that are left, its neighbours dropped."""
    split = np.full(len(block_of), "train", dtype="<U10")
    sizes = np.bincount(block_of, minlength=len(blocks))
    free = np.arange(len(blocks))
    for number, (side, share) in enumerate(shares.items()):
        left = len(free) - (len(shares) - number)  # one block for each side to come, and one for training
        chosen = free[_clumps(blocks[free], sizes[free], share * len(block_of), left, random)]
        free = np.setdiff1d(free, chosen, assume_unique=True)
        split[np.isin(block_of, chosen) & (split == "train")] = side
        dropped = near[1, split[near[0]] == side]
        split[dropped[split[dropped] == "train"]] = "buffer"
    return split


def _clumps(
    blocks: NDArray[np.int64], sizes: NDArray[np.int64], wanted: float, most: int, random: np.random.Generator
) -> NDArray[np.bool_]:
    """Blocks around one to five random ones, as many as make the chips wanted, at least one and at most ``most``."""
    seeds = blocks[random.choice(len(blocks), min(len(blocks), int(random.integers(1, 6))), replace=False)]
    offsets = blocks[:, None] - seeds[None]
    offsets[..., 0] *= 1_000_000
    distance = np.abs(offsets).max(axis=2).min(axis=1) + random.random(len(blocks))
    order = np.argsort(distance)
    total = np.cumsum(sizes[order])
    count = int(np.argmin(np.abs(total - wanted))) + 1
    chosen = np.zeros(len(blocks), bool)
    chosen[order[: min(count, most)]] = True
    return chosen
