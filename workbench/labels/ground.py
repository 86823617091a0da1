"""Where windows of many rasters lie on the ground, in metres that can be compared."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from workbench.imagery.rasters import Raster

_EARTH_M = 6_371_000.0


def metres_per_pixel(rasters: Sequence[Raster]) -> float:
    """The coarsest pixel among the rasters that lie somewhere on earth, in metres; 1 when none does."""
    return max((max(raster.pixel_size_m) for raster in rasters if raster.crs is not None), default=1.0)


def ground_bounds(
    rasters: Sequence[Raster], windows: Sequence[Window], reach_m: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Bounding boxes of windows in metres, also where rasters overlap or have different CRSs.

    Rasters closer than ``reach_m`` to each other share a world: an azimuthal equidistant projection about one of them.
    A raster without CRS is a world of its own, in which its pixels count as large as the coarsest of the others.

    Args:
        rasters: the raster of each window, shape (n,).
        windows: pixels, shape (n,).
        reach_m: rasters further apart need not be compared.

    Returns:
        (min x, min y, max x, max y) of each window in metres, shape (n, 4), and the number of its world, shape (n,).
    """
    unique = list(dict.fromkeys(rasters))
    worlds = dict(zip(unique, _worlds(unique, reach_m), strict=True))
    unit = metres_per_pixel(unique)
    boxes = [_bounds(raster, window, worlds[raster][1], unit) for raster, window in zip(rasters, windows, strict=True)]
    return np.array(boxes, np.float64).reshape(-1, 4), np.array([worlds[raster][0] for raster in rasters], np.int64)


def _bounds(raster: Raster, window: Window, crs: str | None, unit: float) -> tuple[float, ...]:
    if raster.crs is None:
        left, top = window.col_off * unit, window.row_off * unit
        return left, top, left + window.width * unit, top + window.height * unit
    return raster.footprint(window, crs).bounds


def _worlds(rasters: Sequence[Raster], reach_m: float) -> list[tuple[int, str | None]]:
    """The number of each raster's world and the CRS to measure in there; None: the raster's own coordinates."""
    found: list[tuple[int, str | None]] = []
    own: dict[str, int] = {}
    located = [raster for raster in rasters if raster.mappable]
    groups = dict(zip(located, _groups(located, reach_m), strict=True))
    for raster in rasters:
        if raster in groups:
            lon, lat = _lonlat(located[groups[raster]])
            found.append((groups[raster], f"+proj=aeqd +lat_0={lat!r} +lon_0={lon!r} +datum=WGS84 +units=m"))
        else:
            # A local CRS can be compared with itself only, pixels with those of the same raster only.
            key = raster.crs or raster.fingerprint
            found.append((len(rasters) + own.setdefault(key, len(own)), None))
    return found


def _groups(rasters: Sequence[Raster], reach_m: float) -> list[int]:
    """For each raster the position of the first one it is connected to by rasters within reach of each other."""
    lonlat = np.radians([_lonlat(raster) for raster in rasters]).reshape(-1, 2)
    lon, lat = lonlat.T
    directions = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)
    chords = np.linalg.norm(directions[:, None] - directions[None], axis=2)
    distance = 2 * _EARTH_M * np.arcsin(np.minimum(chords / 2, 1))
    radius = np.array([_radius_m(raster) for raster in rasters])
    # 1 % for the earth not being a sphere.
    linked = 0.99 * distance <= radius[:, None] + radius[None] + reach_m
    group = np.arange(len(rasters))
    while True:
        merged = np.where(linked, group[None], len(rasters)).min(axis=1, initial=len(rasters))
        if (merged == group).all():
            return [int(number) for number in group]
        group = merged


def _lonlat(raster: Raster) -> tuple[float, float]:
    centre = raster.footprint(Window(raster.width / 2, raster.height / 2, 0, 0), "EPSG:4326").bounds
    return centre[0], centre[1]


def _radius_m(raster: Raster) -> float:
    across, down = raster.pixel_size_m
    return math.hypot(raster.width * across, raster.height * down) / 2
