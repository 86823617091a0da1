"""Which chips are held back for validation: whole blocks of ground with a gap, so that no pixel is on both sides."""

from __future__ import annotations

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
    seed: int = 0,
    presence: ArrayLike | None = None,
    worlds: ArrayLike | None = None,
) -> NDArray[np.str_]:
    """Divide chips into training and validation by square blocks of ground.

    Of many random choices of blocks, in one to five clumps, the one is taken in which most classes are on both sides,
    then the one closest to the share asked for that loses the fewest chips to the buffer (Roberts et al. 2017,
    Ecography 40: 913-929, on why blocks and buffers).

    Args:
        bounds: (min x, min y, max x, max y) of each chip in ground metres of one CRS, shape (n, 4).
        block_m: side of a block; a chip belongs to the block of its centre.
        buffer_m: training chips closer than this to a validation chip, or overlapping one, are dropped.
        validation: share of the chips to hold back, in [0, 1).
        seed: of the random choices.
        presence: which classes each chip shows, bool, shape (n, classes).
        worlds: number of the coordinate system of each chip, shape (n,): chips of different ones are never neighbours.

    Returns:
        "train", "validation" or "buffer" for each chip, shape (n,). All are "train" when there is only one block.

    Raises:
        LabelInvalid: a size or share that makes no split.
        ShapeMismatch: the arrays differ in length.
    """
    boxes = np.asarray(bounds, np.float64).reshape(-1, 4)
    world = np.zeros(len(boxes), np.int64) if worlds is None else np.asarray(worlds, np.int64)
    shows = np.ones((len(boxes), 1), bool) if presence is None else np.asarray(presence, bool)
    if not len(boxes) == len(world) == len(shows):
        raise ShapeMismatch(f"{len(boxes)} chips, {len(world)} worlds, {len(shows)} rows of presence: expected equal.")
    if not block_m > 0 or not buffer_m >= 0 or not 0 <= validation < 1:
        raise LabelInvalid(
            f"block_m={block_m}, buffer_m={buffer_m}, validation={validation} make no split. "
            "Give a block above 0, a buffer of at least 0 and a share in [0, 1)."
        )
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    cells = np.column_stack([world, np.floor(centres / block_m)]).astype(np.int64)
    blocks, block_of = np.unique(cells, axis=0, return_inverse=True)
    split = np.full(len(boxes), "train", dtype="<U10")
    if len(blocks) < 2 or validation == 0:
        return split
    near = _neighbours(boxes, world, buffer_m)
    held, dropped = _best_choice(blocks, block_of.reshape(-1), near, shows, validation, np.random.default_rng(seed))
    split[dropped] = "buffer"
    split[held] = "validation"
    return split


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
    shows: NDArray[np.bool_],
    share: float,
    random: np.random.Generator,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The chips held back and the chips dropped, of the best of many choices of blocks."""
    sizes = np.bincount(block_of, minlength=len(blocks))
    everywhere = shows.any(axis=0)
    best: tuple[tuple[float, float], NDArray[np.bool_], NDArray[np.bool_]] | None = None
    for _ in range(_CANDIDATES):
        held = _clumps(blocks, sizes, share, random)[block_of]
        dropped = np.zeros(len(held), bool)
        dropped[near[1, held[near[0]]]] = True
        dropped &= ~held
        train = ~held & ~dropped
        missing = (everywhere & ~(shows[held].any(axis=0) & shows[train].any(axis=0))).sum()
        off = abs(held.mean() - share) / share + dropped.mean()
        # Nothing left to train on is worse than any class missing.
        score = (float(missing) + (0 if train.any() else shows.shape[1] + 1), float(off))
        if best is None or score < best[0]:
            best = score, held, dropped
    assert best is not None
    return best[1], best[2]


def _clumps(
    blocks: NDArray[np.int64], sizes: NDArray[np.int64], share: float, random: np.random.Generator
) -> NDArray[np.bool_]:
    """Blocks around one to five random ones, as many as make the share, at least one and never all."""
    seeds = blocks[random.choice(len(blocks), min(len(blocks), int(random.integers(1, 6))), replace=False)]
    offsets = blocks[:, None] - seeds[None]
    offsets[..., 0] *= 1_000_000
    distance = np.abs(offsets).max(axis=2).min(axis=1) + random.random(len(blocks))
    order = np.argsort(distance)
    total = np.cumsum(sizes[order])
    count = int(np.argmin(np.abs(total - share * total[-1]))) + 1
    chosen = np.zeros(len(blocks), bool)
    chosen[order[: min(count, len(blocks) - 1)]] = True
    return chosen
