"""Many rasters on one map tile: those that reach it, the first on top, each shown where those above it have nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import STRtree

from workbench.errors import RasterUnreadable
from workbench.imagery.mercator import MAX_ZOOM, TILE, WORLD_M, Patch, patch_of, placement, tile_box
from workbench.imagery.rasters import Raster

Draw = Callable[[int, Patch], NDArray[np.uint8] | None]
"""Paints the raster at a position into a patch: RGBA (rows, cols, 4), or None where it has nothing there."""


class Mosaic:
    """Finds the rasters under a map tile and lays what is drawn of each over one another.

    Args:
        rasters: those without a place on the map are never found.
    """

    def __init__(self, rasters: Sequence[Raster]) -> None:
        self.rasters = tuple(rasters)
        self._places = [placement(raster) for raster in self.rasters]
        boxes = [(position, box) for position, place in enumerate(self._places) for box in place.boxes]
        self._owners = np.array([position for position, _ in boxes], np.intp)
        self._tree = STRtree([shapely.box(*box) for _, box in boxes])

    def tiles_of_all(self) -> list[tuple[int, int, int]]:
        """The few tiles (x, y, zoom) of one zoom that hold all rasters."""
        if not len(self._owners):
            return []
        left, bottom, right, top = shapely.total_bounds(self._tree.geometries)
        z = max(0, min(MAX_ZOOM, math.floor(math.log2(WORLD_M / max(right - left, top - bottom)))))
        ends = [int(min(2**z - 1, max(0.0, (place / WORLD_M + 0.5) * 2**z))) for place in (left, right, -top, -bottom)]
        return [(x, y, z) for x in range(ends[0], ends[1] + 1) for y in range(ends[2], ends[3] + 1)]

    def paint(
        self, x: int, y: int, z: int, draw: Draw, size: int = TILE
    ) -> tuple[NDArray[np.uint8] | None, dict[int, RasterUnreadable]]:
        """One map tile, RGBA (size, size, 4), None where there is nothing; and by position, which rasters cannot be read."""
        whole: NDArray[np.uint8] | None = None
        errors: dict[int, RasterUnreadable] = {}
        for position in np.unique(self._owners[self._tree.query(shapely.box(*tile_box(x, y, z)))]).tolist():
            patch = patch_of(self.rasters[position], self._places[position], x, y, z, size)
            try:
                part = None if patch is None else draw(position, patch)
            except RasterUnreadable as error:
                errors[position] = error
                continue
            if part is None or patch is None:
                continue
            if whole is None:
                whole = np.zeros((size, size, 4), np.uint8)
                whole[patch.window] = part
            else:
                there = whole[patch.window]
                np.copyto(there, part, where=there[..., 3:] == 0)
            if whole[..., 3].all():
                break
        return whole, errors
