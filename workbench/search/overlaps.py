"""Which hits show the same ground as a better one, so that one object gives one hit; windows in pixels, or on the ground."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from workbench.descriptors.archive import Archive
from workbench.errors import QueryInvalid, RasterRefused

SAME_OBJECT = 0.25
"""Share of the smaller window: what the four tiles that meet at a point have in common where the stride is half a tile."""
_ROUNDING = 1e-6


def apart(archive: Archive, numbers: Iterable[int], share: float = SAME_OBJECT) -> NDArray[np.int64]:
    """Which tiles, in their order, share no ground with an earlier one that was taken; greedy non-maximum suppression.

    Two windows show the same ground when the part they share is at least ``share`` of the smaller one: so a small tile
    inside a large one counts too, which the intersection over union of the two would miss. Tiles of one raster are compared
    in pixels; those of two rasters by footprints, of whatever dates the rasters are.

    Args:
        archive: of the tiles.
        numbers: of tiles, best first.
        share: from 0 (excluded; touching is not sharing) to 1.

    Returns:
        places among ``numbers`` of those taken, int64 (m,), rising.

    Raises:
        QueryInvalid: the share is not between 0 and 1.
    """
    if not 0 < share <= 1:
        raise QueryInvalid(f"A share of {share:g} says nothing. Give more than 0 and at most 1, such as {SAME_OBJECT}.")
    order = np.fromiter(numbers, np.int64)
    tiles = np.asarray(archive.tiles[order])
    taken = _Taken(archive, np.unique(tiles["raster"]).tolist())
    places = [
        place
        for place, (number, (raster, row, col, size)) in enumerate(zip(order.tolist(), tiles.tolist(), strict=True))
        if taken.take(number, (row, col, size), raster, share)
    ]
    return np.array(places, np.int64)


def windows_overlap(first: NDArray[np.void], second: NDArray[np.void]) -> NDArray[np.bool_]:
    """Whether tiles of two structured arrays (m,), pair by pair, are of one raster and have pixels in common."""
    same = first["raster"] == second["raster"]
    for axis in ("row", "col"):
        a, b = first[axis].astype(np.int64), second[axis].astype(np.int64)
        same &= (a < b + second["size"]) & (b < a + first["size"])
    return np.asarray(same, bool)


class _Taken:
    """Windows that were taken so far, by raster."""

    def __init__(self, archive: Archive, rasters: list[int]) -> None:
        self._archive = archive
        self._windows: dict[int, list[tuple[int, int, int]]] = {raster: [] for raster in rasters}
        self._beside = _beside(archive, rasters)

    def take(self, number: int, window: tuple[int, int, int], raster: int, share: float) -> bool:
        """Take a tile unless it shares ground with one that was taken."""
        shares = [self._in_pixels(raster, *window)]
        if self._beside[raster]:
            ground = self._archive.footprint(number)
            crs = self._archive.imagery[raster].crs
            shares += [self._on_ground(other, ground, crs) for other in self._beside[raster] if self._windows[other]]
        if max(shares) >= share - _ROUNDING:
            return False
        self._windows[raster].append(window)
        return True

    def _in_pixels(self, raster: int, row: int, col: int, size: int) -> float:
        """The largest share that a window has in common with one taken of its own raster."""
        if not self._windows[raster]:
            return 0.0
        rows, cols, sizes = np.array(self._windows[raster]).T
        down = np.minimum(rows + sizes, row + size) - np.maximum(rows, row)
        across = np.minimum(cols + sizes, col + size) - np.maximum(cols, col)
        return float((down.clip(min=0) * across.clip(min=0) / np.minimum(sizes, size) ** 2).max())

    def _on_ground(self, other: int, ground: BaseGeometry, crs: str | None) -> float:
        """The largest share that an outline has in common with a window taken of another raster."""
        try:
            shape = self._archive.imagery[other].to_pixels(ground, crs)
        except (RasterRefused, pyproj.exceptions.ProjError):
            return 0.0
        left, top, right, bottom = shape.bounds
        rows, cols, sizes = np.array(self._windows[other]).T
        near = (cols < right) & (cols + sizes > left) & (rows < bottom) & (rows + sizes > top)
        if not near.any():
            return 0.0
        rows, cols, sizes = rows[near], cols[near], sizes[near]
        shared = shapely.area(shapely.intersection(shape, shapely.box(cols, rows, cols + sizes, rows + sizes)))
        return float((shared / np.minimum(sizes**2, shape.area)).max())


def _beside(archive: Archive, rasters: list[int]) -> dict[int, list[int]]:
    """For each raster the others whose box on earth overlaps with its own."""
    boxes = archive.imagery.bounds_in("EPSG:4326")[rasters]
    found = {}
    for raster, (left, bottom, right, top) in zip(rasters, boxes, strict=True):
        meets = (boxes[:, 0] < right) & (boxes[:, 2] > left) & (boxes[:, 1] < top) & (boxes[:, 3] > bottom)
        found[raster] = [other for other, there in zip(rasters, meets, strict=True) if there and other != raster]
    return found
