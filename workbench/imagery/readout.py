"""The rasters' own coordinates under the cursor: polynomials that a browser computes by itself, checked to half a pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import pyproj
from numpy.typing import NDArray

from workbench.imagery.rasters import Raster, transformer

_LONLAT = "EPSG:4326"
_MOST_DEGREE = 6
_HALF_A_PIXEL = 0.5
_PLENTY = 0.05
_SAMPLES = 9
_NODES = 15
_CHECKS = 31


class Projection(TypedDict):
    """From longitude and latitude to one CRS, within a box.

    With ``u = (lon - (west + east) / 2) / ((east - west) / 2)``, ``v`` likewise from south and north, each of ``x`` and
    ``y`` is the sum of coefficient * u**i * v**j over i = 0 ... degree and, for each i, j = 0 ... degree - i, in this
    order. Across the antimeridian ``east`` is above 180: a longitude below ``west`` has 360 added.
    """

    crs: str
    west: float
    south: float
    east: float
    north: float
    degree: int
    x: list[float]
    y: list[float]
    digits: int


def projection_fit(imagery: Sequence[Raster]) -> list[Projection]:
    """How a browser computes the rasters' own coordinates from longitude and latitude.

    Args:
        imagery: rasters without a place on earth are left out.

    Returns:
        One fit for each CRS, over all its rasters together; where that is off by half a pixel or more, one for each
        raster; none for a raster that even this cannot describe, such as one around a pole. ``digits`` are the decimals
        that a pixel needs.
    """
    by_crs: dict[str, list[Raster]] = {}
    for raster in imagery:
        if raster.mappable and raster.crs is not None:
            by_crs.setdefault(raster.crs, []).append(raster)
    fits: list[Projection] = []
    for rasters in by_crs.values():
        whole = _fit(rasters)
        alone = [whole] if whole or len(rasters) == 1 else [_fit([raster]) for raster in rasters]
        fits += [fit for fit in alone if fit is not None]
    return fits


def _fit(rasters: Sequence[Raster]) -> Projection | None:
    """The polynomial of the lowest degree that is right to half a pixel, better one that is far better; None if there is none."""
    crs = str(rasters[0].crs)
    box = _extent(rasters, crs)
    if box is None:
        return None
    west, south, east, north = box
    pixel = min(_pixel(raster) for raster in rasters)
    # Chebyshev's nodes: an even grid would swing at the edges.
    nodes = np.cos(np.pi * (np.arange(_NODES) + 0.5) / _NODES)
    known = _project(box, crs, nodes)
    checks = _project(box, crs, np.linspace(-1, 1, _CHECKS))
    if known is None or checks is None:
        return None
    best: tuple[float, int, NDArray[np.float64]] | None = None
    for degree in range(1, _MOST_DEGREE + 1):
        middle = known[2:].mean(axis=1, keepdims=True)
        terms = _terms(known[0], known[1], degree)
        found = np.linalg.lstsq(terms, (known[2:] - middle).T, rcond=None)[0].T
        found[:, 0] += middle[:, 0]
        off = found @ _terms(checks[0], checks[1], degree).T - checks[2:]
        error = float(np.hypot(*off).max()) / pixel
        if best is None or error < best[0]:
            best = error, degree, found
        if error < _PLENTY:
            break
    if best is None or not best[0] < _HALF_A_PIXEL:
        return None
    return Projection(
        crs=_name(crs),
        west=west,
        south=south,
        east=east,
        north=north,
        degree=best[1],
        x=best[2][0].tolist(),
        y=best[2][1].tolist(),
        digits=max(0, math.ceil(-math.log10(pixel) - 1e-9)),
    )


def _extent(rasters: Sequence[Raster], crs: str) -> tuple[float, float, float, float] | None:
    """West, south, east, north of rasters of one CRS; None when not all of them are finite."""
    lons: list[NDArray[np.float64]] = []
    lats: list[NDArray[np.float64]] = []
    for raster in rasters:
        cols, rows = np.meshgrid(np.linspace(0, raster.width, _SAMPLES), np.linspace(0, raster.height, _SAMPLES))
        t = raster.transform
        lon, lat = transformer(crs, _LONLAT).transform(t.a * cols + t.b * rows + t.c, t.d * cols + t.e * rows + t.f)
        if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
            return None
        first = lons[0].flat[0] if lons else lon.flat[0]
        lons.append(first + (lon - first + 180) % 360 - 180)
        lats.append(lat)
    west, east = min(float(lon.min()) for lon in lons), max(float(lon.max()) for lon in lons)
    south, north = min(float(lat.min()) for lat in lats), max(float(lat.max()) for lat in lats)
    turn = -360 if west >= 180 else 360 if west < -180 else 0
    return (west + turn, south, east + turn, north) if east > west and north > south else None


def _project(
    box: tuple[float, float, float, float], crs: str, places: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """u, v, x, y at the crossings of ``places`` (-1 ... 1) along both sides of a box, (4, n); None when not all are finite."""
    west, south, east, north = box
    u, v = (grid.ravel() for grid in np.meshgrid(places, places))
    lon, lat = west + (u + 1) / 2 * (east - west), south + (v + 1) / 2 * (north - south)
    x, y = transformer(_LONLAT, crs).transform(lon, lat)
    found = np.stack([u, v, x, y])
    return found if np.isfinite(found).all() else None


def _terms(u: NDArray[np.float64], v: NDArray[np.float64], degree: int) -> NDArray[np.float64]:
    return np.stack([u**i * v**j for i in range(degree + 1) for j in range(degree + 1 - i)], axis=1)


def _pixel(raster: Raster) -> float:
    """The shorter side of a pixel, in units of the CRS."""
    t = raster.transform
    return min(math.hypot(t.a, t.d), math.hypot(t.b, t.e))


def _name(crs: str) -> str:
    """``EPSG:...``, or the name in a longer definition."""
    return crs if len(crs) < 20 else str(pyproj.CRS(crs).name)
