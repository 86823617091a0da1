"""Where many tiles lie on the ground at once: corners by arithmetic on the grid, or as they were imported."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from workbench.errors import RasterRefused
from workbench.imagery.rasters import Raster, transformer


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
    return np.asarray(shapely.polygons(corners_in(raster, corners, crs)))


def corners_in(raster: Raster, corners: NDArray[np.float64], crs: str | None) -> NDArray[np.float64]:
    """Corners (m, 4, 2) of tiles on a raster, brought to a CRS; see `polygons_of`."""
    if crs is None or crs == raster.crs:
        return corners
    if raster.crs is None:
        raise RasterRefused(
            f"{raster.name} has no coordinate system, so its tiles have no place on earth. Ask for them in pixels, or give "
            "it one with `rio edit-info --crs`."
        )
    x, y = transformer(raster.crs, crs).transform(corners[..., 0].ravel(), corners[..., 1].ravel())
    return np.stack([x, y], axis=1).reshape(corners.shape)
