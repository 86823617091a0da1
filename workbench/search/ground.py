"""The ground that each tile stands for, so that areas add up where tiles overlap; by arithmetic, no pixels read."""

from __future__ import annotations

import numpy as np
import pyproj
from numpy.typing import NDArray

from workbench.descriptors.archive import Archive
from workbench.descriptors.tiles import raster_slices

_GEOD = pyproj.Geod(ellps="WGS84")
_SAMPLE = 64


def tile_areas(archive: Archive) -> NDArray[np.float32] | None:
    """Square metres that each tile has for itself, float32 (n,): stride by stride, not the whole of a tile.

    Tiles of several sizes all tile the same ground; each then has its share by their number, so that areas of all tiles
    still add up to the imagery. Imported tiles have the area of their outlines, the median of 64 of each raster.

    Returns:
        None where a raster has no place on earth.
    """
    if not all(raster.mappable for raster in archive.imagery):
        return None
    areas = np.empty(len(archive), np.float32)
    for position, mine in enumerate(raster_slices(archive.tiles, len(archive.imagery))):
        if mine.stop > mine.start:
            areas[mine] = _of_grid(archive, position, mine) if archive.outlines is None else _imported(archive, mine)
    return areas


def _of_grid(archive: Archive, position: int, mine: slice) -> NDArray[np.float64]:
    raster, grid = archive.imagery[position], archive.manifest.grid
    across, down = raster.pixel_size_m
    steps = np.maximum(1, np.rint(archive.tiles[mine]["size"] * grid.stride))
    return np.asarray(steps**2 * across * down / len(grid.sizes(raster)), np.float64)


def _imported(archive: Archive, mine: slice) -> float:
    chosen = np.unique(np.linspace(mine.start, mine.stop - 1, _SAMPLE).astype(np.int64))
    outlines = archive.footprints(chosen, "EPSG:4326")
    return float(np.median([abs(_GEOD.geometry_area_perimeter(outline)[0]) for outline in outlines]))
