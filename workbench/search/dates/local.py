"""How much the ground of a tile changed, window by small window: an object that came or went is lost in a tile's mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from workbench.descriptors.dense import Block, FeatureMap, map_of
from workbench.descriptors.encoders import Encoder
from workbench.search.dates.residual import left_over

Floats = NDArray[np.float32]
_DEEP_SIDE, _EARLY_SIDE = 96, 72  # of the windows, in pixels as seen
_POWER = 4
_FEWEST = 200
_ROUNDS, _LOOSE, _RIDGE = 3, 1.5, 0.1
_MOST_DIRECTIONS = 64


@runtime_checkable
class Layered(Protocol):
    """An encoder that also gives the features of its first layers."""

    def features_and_early(self, pixels: Floats) -> tuple[Floats, Floats | None]:
        """Those of `Encoder.features`, and earlier ones (early, rows / step, cols / step)."""


@dataclass(frozen=True)
class Seen:
    """A block as an encoder sees it.

    Attributes:
        deep: the features that descriptors are made of.
        early: features that know small surroundings only; the same where the encoder has no others.
        scale: pixels of the raster per pixel as seen.
    """

    deep: FeatureMap
    early: FeatureMap
    scale: float

    def windows(self, features: FeatureMap, side: int) -> int:
        """Cells on the side of a window of so many pixels as seen."""
        return max(1, round(side * self.scale / features.cell))


@dataclass(frozen=True)
class Usual:
    """What differs everywhere between two dates, so that it is no change.

    Attributes:
        middle: mean descriptor of both dates, (dim,).
        means: of the early features on either date, (2, early).
        slopes: of their difference on the first date's, (early, early).
        whitening: makes what is left vary as much in all directions, (early, early).
    """

    middle: Floats
    means: Floats
    slopes: Floats
    whitening: Floats

    def changes(self, before: Seen, after: Seen, encoder: Encoder, tiles: NDArray[np.void]) -> Floats:
        """How much tiles changed by descriptors and by early features of their windows, float32 (m, 2).

        Of the windows in a tile the fourth power is averaged, so that those that changed most count.
        """
        deep = _apart(_described(before, encoder) - self.middle, _described(after, encoder) - self.middle)
        first, second = _first(before), _first(after)
        known = first - self.means[0]
        left = second - self.means[1] - known - known @ self.slopes
        early = np.linalg.norm(left @ self.whitening, axis=-1)
        return np.stack([_of_tiles(deep, before.deep, tiles), _of_tiles(early, before.early, tiles)], axis=1)


def seen(block: Block, encoder: Encoder) -> Seen:
    """Run the encoder over a block."""
    if isinstance(encoder, Layered):
        features, early = encoder.features_and_early(block.unit)
    else:
        features, early = encoder.features(block.unit), None
    deep = map_of(block, features)
    return Seen(deep, deep if early is None else map_of(block, early), block.cell / block.stride)


def fit_usual(pairs: list[tuple[Seen, Seen]], encoder: Encoder) -> Usual | None:
    """Learn from samples of both dates, most of which is taken to be unchanged; None where there is too little.

    The difference of early features is regressed on the first date's, and what is left is whitened by its covariance,
    windows with much left over counting less each time (the Mahalanobis distance of Reed & Yu 1990 on differences, iterated as
    Nielsen 2007 iterates alteration detection).
    """
    if not pairs:
        return None
    inside = [before.early.valid > 0.5 for before, _ in pairs]
    early = [
        np.concatenate([_first(pair[date])[there] for pair, there in zip(pairs, inside, strict=True)])
        for date in (0, 1)
    ]
    if len(early[0]) < max(_FEWEST, 2 * early[0].shape[1]):
        return None
    first, second = (values.astype(np.float64) for values in early)
    means = np.stack([first.mean(axis=0), second.mean(axis=0)])
    known, wanted = first - means[0], second - means[1] - (first - means[0])
    weights = np.ones(len(known))
    for _ in range(_ROUNDS):
        left, slopes, offset = left_over(known, wanted, weights)
        covariance = (left * (weights / weights.sum())[:, None]).T @ left
        values, directions = np.linalg.eigh(covariance)
        values, directions = values[::-1][:_MOST_DIRECTIONS], directions[:, ::-1][:, :_MOST_DIRECTIONS]
        whitening = directions / np.sqrt(values + _RIDGE * max(values.mean(), 1e-12))
        squared = ((left @ whitening) ** 2).sum(axis=1)
        weights = np.clip(_LOOSE * np.median(squared) / np.maximum(squared, 1e-12), 0, 1) ** 2
    means[1] += offset
    deep = [_described(each, encoder)[each.deep.valid > 0.5] for pair in pairs for each in pair]
    middle = np.concatenate(deep).mean(axis=0)
    return Usual(middle, *(part.astype(np.float32) for part in (means, slopes, whitening)))


def _described(seen_so: Seen, encoder: Encoder) -> Floats:
    """A descriptor of every window, (rows, cols, dim)."""
    features = seen_so.deep
    raw, rows, cols = features.cells.shape
    found = encoder.finish(np.ascontiguousarray(features.cells.reshape(raw, -1).T, np.float32))
    return _evened(found.T.reshape(-1, rows, cols), features, seen_so.windows(features, _DEEP_SIDE))


def _first(seen_so: Seen) -> Floats:
    """Early features of every window, (rows, cols, early)."""
    return _evened(seen_so.early.cells, seen_so.early, seen_so.windows(seen_so.early, _EARLY_SIDE))


def _evened(cells: Floats, features: FeatureMap, side: int) -> Floats:
    """Means of cells (n, rows, cols) over windows around each, holes left out, (rows, cols, n)."""
    sums = uniform_filter(cells * features.valid, (0, side, side), mode="constant")
    share = uniform_filter(features.valid, side, mode="constant")
    return np.moveaxis(sums / np.maximum(share, 1e-6), 0, -1)


def _apart(one: Floats, other: Floats) -> Floats:
    """Distance of unit vectors."""
    lengths = (np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-9) for values in (one, other))
    first, second = (values / length for values, length in zip((one, other), lengths, strict=True))
    return np.linalg.norm(second - first, axis=-1)  # type: ignore[no-any-return]


def _of_tiles(values: Floats, features: FeatureMap, tiles: NDArray[np.void]) -> Floats:
    """The power mean of a map's cells in each tile, (m,)."""
    found = np.zeros(len(tiles), np.float32)
    for place, tile in enumerate(tiles):
        size = max(1, round(tile["size"] / features.cell))
        top, left = (
            min(max(0, round((tile[axis] - first) / features.cell)), length - 1)
            for axis, first, length in zip(
                ("row", "col"), (features.row, features.col), features.valid.shape, strict=True
            )
        )
        inside = slice(top, top + size), slice(left, left + size)
        weights = features.valid[inside]
        mean = (values[inside] ** _POWER * weights).sum() / max(float(weights.sum()), 1e-9)
        found[place] = mean ** (1 / _POWER)
    return found
