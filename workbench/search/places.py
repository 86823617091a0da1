"""Between labels and tiles: the place of a tile, the descriptor of a labelled place, and which tiles count as labelled."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from functools import cached_property

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from workbench.descriptors.archive import Archive
from workbench.descriptors.tiles import GridTiles, tile_sizes
from workbench.errors import RasterUnreadable, WeightsUnavailable
from workbench.imagery.grid import TILE_DTYPE

_LABELLED_IOU = 0.5
_COVERED = 0.5 - 1e-6
_REMEMBERED = 5000
_EXACT = 0.01
_FEW = 1 << 18  # of more, a table by window takes 100 MB and more


class Places:
    """Finds an archive's tiles by their outline, and describes outlines that are no tile."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._rasters = {raster.fingerprint: position for position, raster in enumerate(archive.imagery)}
        self._described: OrderedDict[tuple[str, bytes], NDArray[np.float32]] = OrderedDict()

    def pixels(self, fingerprint: str, geometry: BaseGeometry, crs: str | None) -> tuple[int, BaseGeometry] | None:
        """Raster position and pixel geometry of a place, or None when its raster is not in this archive."""
        position = self._rasters.get(fingerprint)
        if position is None:
            return None
        raster = self._archive.imagery[position]
        return position, geometry if crs is None else raster.to_pixels(geometry, crs)

    def tile_of(self, raster: int, shape: BaseGeometry) -> int | None:
        """The archive's tile with exactly this outline in pixels, if there is one."""
        left, top, right, bottom = shape.bounds
        size = round(right - left)
        near = max(abs(value - round(value)) for value in shape.bounds)
        if near > _EXACT or round(bottom - top) != size or abs(shape.area - size * size) > _EXACT * size:
            return None
        window = raster, round(top), round(left), size
        tiles = self._archive.tiles
        if isinstance(tiles, GridTiles):
            number = int(tiles.numbers_of(np.array([window], TILE_DTYPE))[0]) if min(window) >= 0 else -1
            return None if number < 0 else number
        if len(tiles) <= _FEW:
            return self._by_window.get(window)
        col, row = window[2] + size / 2, window[1] + size / 2
        same = self._archive.tiles_within(raster, col, row, col + _EXACT, row + _EXACT)
        return next((int(each) for each in same if tiles[each].item() == window), None)

    def descriptor(self, raster: int, shape: BaseGeometry) -> NDArray[np.float32]:
        """The centred unit descriptor (dim,) of an outline; a tile's is looked up, another's computed once."""
        number = self.tile_of(raster, shape)
        if number is not None:
            return self._archive.examples_of([number])[0]
        key = (self._archive.imagery[raster].fingerprint, shape.wkb)
        if key not in self._described:
            self._described[key] = self._describe(raster, shape)
            while len(self._described) > _REMEMBERED:
                self._described.popitem(last=False)
        return self._described[key]

    def _describe(self, raster: int, shape: BaseGeometry) -> NDArray[np.float32]:
        """The descriptor of an outline; with neither encoder nor imagery, the mean of the tiles it lies on, by their share."""
        try:
            return self._archive.describe(raster, shape)
        except (WeightsUnavailable, RasterUnreadable):
            near, shared = self._shared(raster, shape)
            if self._archive.outlines is None or not shared.any():
                raise
            mean = shared[shared > 0] @ self._archive.examples_of(near[shared > 0])
            return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9), np.float32)

    def overlapping(self, raster: int, shape: BaseGeometry) -> NDArray[np.int64]:
        """Tiles whose overlap with an outline is at least half of the two together (IoU 0.5)."""
        number = self.tile_of(raster, shape)
        candidates, shared = self._shared(raster, shape)
        size = self._archive.tiles[candidates]["size"].astype(float)
        near = candidates[shared / (size**2 + shape.area - shared) >= _LABELLED_IOU]
        return near if number is None else np.union1d(near, [number])

    def covered(self, areas: Iterable[tuple[int, BaseGeometry]]) -> NDArray[np.int64]:
        """Tiles of which some areas (raster position, pixels; not overlapping) cover at least half, int64 (m,), rising."""
        total: defaultdict[int, float] = defaultdict(float)
        for raster, shape in areas:
            near, shared = self._shared(raster, shape)
            for number, share in zip(
                near.tolist(), (shared / self._archive.tiles[near]["size"] ** 2.0).tolist(), strict=True
            ):
                total[number] += share
        return np.array(sorted(number for number, share in total.items() if share >= _COVERED), np.int64)

    def _shared(self, raster: int, shape: BaseGeometry) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Tiles that may touch an outline, and how much of it each covers, in pixels."""
        left, top, right, bottom = shape.bounds
        reach = self._reach
        near = self._archive.tiles_within(raster, left - reach, top - reach, right + reach, bottom + reach)
        found = self._archive.tiles[near]
        col, row, size = (found[name].astype(float) for name in ("col", "row", "size"))
        boxes = shapely.box(col, row, col + size, row + size)
        return near, np.asarray(shapely.area(shapely.intersection(boxes, shape)), float)

    @cached_property
    def _reach(self) -> float:
        """How far the centre of a tile that touches a place may be from it."""
        return max(tile_sizes(self._archive.tiles), default=0) / 2

    @cached_property
    def _by_window(self) -> dict[tuple[int, int, int, int], int]:
        return {row.item(): number for number, row in enumerate(self._archive.tiles)}


def tile_outline(archive: Archive, number: int) -> tuple[str, BaseGeometry, str | None]:
    """Raster fingerprint, outline and CRS of a tile: what a label keeps of it."""
    tile = archive.tile(number)
    raster = archive.imagery[tile.raster]
    window = Window(tile.col, tile.row, tile.size, tile.size)
    return raster.fingerprint, raster.footprint(window), raster.crs
