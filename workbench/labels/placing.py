"""Outlines of any CRS made valid and given to the rasters that they lie on."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from shapely.geometry import box

from workbench.errors import LabelInvalid
from workbench.imagery.rasters import Imagery, Raster


def mended(frame: gpd.GeoDataFrame, name: str) -> tuple[gpd.GeoSeries, int]:
    """Valid polygons, and how many were not."""
    shapes = np.asarray(shapely.force_2d(frame.geometry.to_numpy()))
    bad = np.flatnonzero(~shapely.is_valid(shapes))
    for row in bad:
        shapes[row] = _polygons_of(shapely.make_valid(shapes[row]))
    if any(shapes[row].is_empty for row in bad):
        raise LabelInvalid(f"{name} has polygons without area. Take them out, or repair them.")
    return gpd.GeoSeries(shapes, crs=frame.crs), len(bad)


def _polygons_of(geometry: shapely.Geometry) -> shapely.Geometry:
    """The polygons in a geometry of any kind."""
    parts = [part for part in shapely.get_parts(shapely.get_parts(geometry)) if part.geom_type == "Polygon"]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def assign(shapes: gpd.GeoSeries, imagery: Imagery) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """For each polygon the raster that holds most of it (-1: none) and its outline in that raster's CRS."""
    best = np.full(len(shapes), -1)
    share = np.zeros(len(shapes))
    chosen = np.array(shapes, dtype=object)
    moved: dict[str, gpd.GeoSeries] = {}
    for number, raster in enumerate(imagery):
        if raster.crs is None:
            continue
        try:
            if raster.crs not in moved:
                moved[raster.crs] = shapes.to_crs(raster.crs)
        except pyproj.exceptions.ProjError:
            # A system of its own, which the file's cannot be related to: none of the polygons lies there.
            continue
        inside = share_inside(moved[raster.crs], raster)
        better = inside > share
        best[better], share[better], chosen[better] = number, inside[better], np.asarray(moved[raster.crs])[better]
    return best, chosen


def share_inside(shapes: gpd.GeoSeries, raster: Raster) -> NDArray[np.float64]:
    """How much of each polygon lies on a raster, 0..1."""
    inverse = ~raster.transform
    share = np.zeros(len(shapes))
    footprint = raster.footprint()
    near = np.flatnonzero(shapely.intersects(shapely.box(*footprint.bounds), shapely.box(*shapes.bounds.to_numpy().T)))
    if not len(near):
        return share
    to_pixels = (inverse.a, inverse.b, inverse.d, inverse.e, inverse.c, inverse.f)
    pixels = shapes.iloc[near].affine_transform(to_pixels)
    whole = np.asarray(pixels.area)
    part = np.asarray(pixels.intersection(box(0, 0, raster.width, raster.height)).area)
    share[near] = np.divide(part, whole, out=np.zeros(len(near)), where=whole > 0)
    return share
