"""Tiles that share a CRS: how large a typical one is, and a grid of pixels on which each has a window."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from workbench.descriptors.embeddings.geometry import sides

TILE = 256
"""Pixels on a side of a typical tile, so that rounding to them moves it by a five-hundredth of itself at most."""
_ALIKE = 0.05
_STEP = 16
_SAMPLE = 20_000


@dataclass
class Group:
    """The tiles of a file that share a CRS, and a date where places are there at several.

    Attributes:
        crs: theirs.
        date: theirs, when it is known.
        bounds: least x and y, greatest x and y.
        sides: width and height of some, and
        middles: the middle of some.
    """

    crs: str
    date: str | None = None
    count: int = 0
    bounds: NDArray[np.float64] = field(default_factory=lambda: np.array([np.inf, np.inf, -np.inf, -np.inf]))
    sides: list[NDArray[np.float64]] = field(default_factory=list)
    middles: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, corners: NDArray[np.float64]) -> None:
        """Count tiles (n, 4, 2) in."""
        room = max(0, _SAMPLE - self.count)
        self.count += len(corners)
        self.bounds[:2] = np.minimum(self.bounds[:2], corners.min(axis=(0, 1)))
        self.bounds[2:] = np.maximum(self.bounds[2:], corners.max(axis=(0, 1)))
        if room:
            self.sides.append(sides(corners[:room]))
            self.middles.append(corners[:room].mean(axis=1))

    @cached_property
    def tile(self) -> NDArray[np.float64]:
        """Width and height of a typical tile, in units of the CRS."""
        return np.asarray(np.median(np.concatenate(self.sides), axis=0))

    @cached_property
    def apart(self) -> float:
        """How far neighbours are typically apart, in pixels of which a tile has `TILE`; at most so many."""
        places = np.concatenate(self.middles) / self.tile * TILE
        places = places[np.unique(np.round(places), axis=0, return_index=True)[1]]
        if len(places) < 2:
            return float(TILE)
        return float(np.clip(np.median(cKDTree(places).query(places, 2, p=np.inf)[0][:, 1]), _STEP, TILE))

    @property
    def stride(self) -> float:
        """As `apart`, in whole pixels as a fraction of a tile."""
        return round(self.apart) / TILE

    @cached_property
    def pixel(self) -> NDArray[np.float64]:
        """Width and height of a pixel: a typical tile has about `TILE`, and neighbours are a whole number of them apart."""
        return self.tile / TILE * (self.apart / round(self.apart))

    @property
    def transform(self) -> Affine:
        """From pixel (col, row) to the CRS."""
        return Affine(self.pixel[0], 0, self.bounds[0], 0, -self.pixel[1], self.bounds[3])

    def windows(self, corners: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Row, column and size in pixels of tiles (n, 4, 2): the nearest square windows."""
        ratio = np.sqrt(sides(corners).prod(axis=1) / self.tile.prod())
        stepped = np.maximum(_STEP, np.round(TILE * ratio / _STEP).astype(np.int64) * _STEP)
        size = np.where(np.abs(ratio - 1) <= _ALIKE, TILE, stepped)
        width, height = self.pixel
        middle = corners.mean(axis=1)
        cols = np.rint((middle[:, 0] - self.bounds[0]) / width - size / 2).astype(np.int64)
        rows = np.rint((self.bounds[3] - middle[:, 1]) / height - size / 2).astype(np.int64)
        return np.maximum(rows, 0), np.maximum(cols, 0), size
