"""Where many tiles lie on the ground at once: corners by arithmetic on the grid, or as they were imported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from workbench.descriptors.imported import Outlines
from workbench.errors import RasterRefused
from workbench.imagery.rasters import Raster, transformer


def footprints(
    imagery: Sequence[Raster],
    numbers: NDArray[np.int64],
    tiles: NDArray[Any],
    outlines: Outlines | None,
    crs: str | None,
) -> NDArray[np.object_]:
    """Where tiles are, as polygons (m,).

    Args:
        imagery: rasters of the archive.
        numbers: of the tiles, (m,).
        tiles: their rows, structured (m,).
        outlines: as they were imported; None: by the grid.
        crs: of the polygons; each tile's raster's own when None.

    Raises:
        RasterRefused: a raster has no CRS, and ``crs`` is one.
    """
    found = np.empty(len(numbers), object)
    for position in np.unique(tiles["raster"]).tolist():
        mine = tiles["raster"] == position
        raster = imagery[position]
        if outlines is None:
            corners = window_corners(raster, tiles[mine])
        else:
            corners = outlines.of(position, numbers[mine])["corners"]
        found[mine] = polygons_of(raster, corners, crs)
    return found


def window_corners(raster: Raster, tiles: NDArray[Any]) -> NDArray[np.float64]:
    """Corners of tiles (x, y) in a raster's own CRS, in pixels where it has none.

    Args:
        raster: that all of them lie on.
        tiles: structured array (m,) with row, col and size.

    Returns:
        float64 (m, 4, 2), in the order of `Raster.footprint`: from the first pixel along the first row.
    """
    left, top, size = (tiles[name].astype(np.float64) for name in ("col", "row", "size"))
    cols = np.stack([left, left + size, left + size, left], axis=1)
    rows = np.stack([top, top, top + size, top + size], axis=1)
    if raster.crs is None:
        return np.stack([cols, rows], axis=2)
    t = raster.transform
    return np.stack([t.a * cols + t.b * rows + t.c, t.d * cols + t.e * rows + t.f], axis=2)


def polygons_of(raster: Raster, corners: NDArray[np.float64], crs: str | None) -> NDArray[np.object_]:
    """Polygons (m,) with these corners (m, 4, 2).

    Args:
        raster: in whose CRS the corners are.
        corners: see `window_corners`.
        crs: of the polygons; the raster's own when None.

    Raises:
        RasterRefused: the raster has no CRS, and ``crs`` is one.
    """
    if crs is None or crs == raster.crs:
        return np.asarray(shapely.polygons(corners))
    if raster.crs is None:
        raise RasterRefused(
            f"{raster.name} has no coordinate system, so its tiles have no place on earth. Ask for them in pixels, or give "
            "it one with `rio edit-info --crs`."
        )
    x, y = transformer(raster.crs, crs).transform(corners[..., 0].ravel(), corners[..., 1].ravel())
    return np.asarray(shapely.polygons(np.stack([x, y], axis=1).reshape(corners.shape)))
