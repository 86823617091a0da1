"""Places of embeddings: geometry of a Parquet column as the corners of tiles, in a CRS in which they are square, checked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyproj
import shapely
from numpy.typing import NDArray

from workbench.descriptors.embeddings.layout import LONLAT
from workbench.imagery.rasters import transformer

_LEAST_M, _MOST_M = 0.1, 1_000_000.0
_FAR_DEGREES = 20.0
_TOLERANCE = 1e-6
_NORTH_POLE, _SOUTH_POLE = "EPSG:5041", "EPSG:5042"


@dataclass(frozen=True)
class Tiles:
    """Tiles of a batch of rows.

    Attributes:
        corners: x, y of the four corners in ``crs``, float64 (n, 4, 2); NaN where there is a reason.
        crs: in which each tile is square, as far as it can be told, (n,).
        reasons: why a row has no usable place, (n,); empty text where it has.
    """

    corners: NDArray[np.float64]
    crs: NDArray[np.object_]
    reasons: NDArray[np.object_]


def decode(column: pa.Array, encoding: str) -> NDArray[np.object_]:
    """Geometries (n,) of a column; None where there is none or it cannot be read.

    Args:
        column: WKB, or the native encodings of GeoParquet 1.1 (separate or interleaved coordinates).
        encoding: ``WKB``, ``point``, ``polygon`` or ``multipolygon``.
    """
    column = column.storage if isinstance(column, pa.ExtensionArray) else column
    if encoding == "WKB":
        return np.asarray(shapely.from_wkb(np.array(column.to_pylist(), object), on_invalid="ignore"), object)
    found = np.full(len(column), None, object)
    there = np.flatnonzero(np.asarray(column.is_valid()))
    kept = column.take(pa.array(there))
    offsets: list[NDArray[np.int64]] = []
    for _ in range({"point": 0, "polygon": 2, "multipolygon": 3}[encoding]):
        offsets.append(np.asarray(kept.offsets, np.int64) - kept.offsets[0].as_py())
        kept = kept.flatten()
    kind = {"point": 0, "polygon": 3, "multipolygon": 6}[encoding]
    parts = None if kind == 0 else tuple(reversed(offsets))
    found[there] = shapely.from_ragged_array(shapely.GeometryType(kind), _coordinates(kept), parts)
    return found


def place(
    shapes: NDArray[np.object_], crs: str, zones: NDArray[np.object_] | None, tile_m: float | None, forced: str | None
) -> Tiles:
    """The tiles of geometries.

    Polygons in a projected CRS stay in it. Those in degrees go to the CRS that the file names for each, or else to the UTM
    zone of their middle (of the pole, beyond 84 degrees north and 80 south). A polygon of other than four corners becomes
    the smallest rectangle around it.

    Args:
        shapes: polygons, or points with ``tile_m``, (n,).
        crs: of the shapes.
        zones: the CRS that the file names for each, (n,), or None.
        tile_m: side of the squares around points, in metres.
        forced: one CRS for all instead.
    """
    reasons = _unusable(shapes, tile_m)
    found = Tiles(np.full((len(shapes), 4, 2), np.nan), np.full(len(shapes), "", object), reasons)
    shapes = np.array(shapes, object)
    single = (shapely.get_type_id(shapes) == 6) & (shapely.get_num_geometries(shapes) == 1)
    shapes[single] = shapely.get_geometry(shapes[single], 0)
    good = np.flatnonzero(reasons == "")
    if not len(good):
        return found
    rings, owners, middles = _rings(shapes[good], crs)
    reasons[good] = _outside(rings, owners, middles, crs)
    is_point = shapely.get_type_id(shapes[good]) == 0
    found.crs[good] = _homes(crs, None if zones is None else zones[good], middles, is_point, forced)
    for home in set(found.crs[good][reasons[good] == ""]):
        mine = (found.crs[good] == home) & (reasons[good] == "")
        try:
            moved = _move(rings[mine[owners]], crs, home)
        except pyproj.exceptions.ProjError:
            reasons[good[mine]] = f"names the coordinate system {str(home)[:40]!r}, which is not known"
            continue
        renumbered = np.cumsum(mine)[owners[mine[owners]]] - 1
        found.corners[good[mine]] = _corners(moved, renumbered, tile_m)
    _check_sizes(found)
    found.corners[reasons != ""] = np.nan
    return found


def sides(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Width and height (n, 2) of tiles by the lengths of their edges; what runs more across than down is the width."""
    edges = np.roll(corners, -1, axis=1) - corners
    lengths = np.linalg.norm(edges, axis=2)
    pairs = np.stack([lengths[:, 0] + lengths[:, 2], lengths[:, 1] + lengths[:, 3]], axis=1) / 2
    across = np.abs(edges[:, 0, 0]) >= np.abs(edges[:, 0, 1])
    return np.where(across[:, None], pairs, pairs[:, ::-1])


def _unusable(shapes: NDArray[np.object_], tile_m: float | None) -> NDArray[np.object_]:
    """Why geometries can be no tile, before looking at where they are."""
    reasons = np.full(len(shapes), "", object)
    kinds = shapely.get_type_id(shapes)
    single = (kinds == 6) & (shapely.get_num_geometries(shapes) == 1)
    bounds = shapely.bounds(shapes)
    checks = [
        ((kinds == 0) & (tile_m is None), "is a point, and how large its tile is was not said: give tile_m=METRES"),
        (~((kinds == 0) | (kinds == 3) | single), "is no polygon of one part"),
        (~np.isfinite(bounds).all(axis=1), "has coordinates that are not finite"),
        (((kinds == 3) | single) & (shapely.area(shapes) == 0), "has no area"),
        (~shapely.is_valid(shapes), "crosses itself"),
        (shapely.is_empty(shapes), "is empty"),
        (shapely.is_missing(shapes), "is missing or cannot be read"),
    ]
    for wrong, reason in checks:
        reasons[wrong] = f"its geometry {reason}"
    return reasons


def _rings(shapes: NDArray[np.object_], crs: str) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.float64]]:
    """Points of all outer rings (m, 2), which shape each is of (m,), and the middle of each shape in lon and lat (n, 2).

    In degrees, an outline that seems to go around the world crosses the antimeridian: its west is brought east.
    """
    outer = np.where(shapely.get_type_id(shapes) == 0, shapes, shapely.get_exterior_ring(shapes))
    points, owners = shapely.get_coordinates(outer, return_index=True)
    bounds = shapely.bounds(shapes)
    degrees = points
    if crs == LONLAT:
        across = (bounds[:, 2] - bounds[:, 0] > 180)[owners] & (points[:, 0] < 0)
        points = degrees = points + across[:, None] * np.array([360.0, 0.0])
    else:
        degrees = _move(points, crs, LONLAT)
    count = np.bincount(owners, minlength=len(shapes))
    with np.errstate(invalid="ignore"):
        middles = np.stack([np.bincount(owners, degrees[:, axis], len(shapes)) / count for axis in (0, 1)], axis=1)
    return points, owners, middles


def _outside(
    points: NDArray[np.float64], owners: NDArray[np.intp], middles: NDArray[np.float64], crs: str
) -> NDArray[np.object_]:
    """Why shapes lie outside the world of their CRS; empty text where they do not."""
    reasons = np.full(len(middles), "", object)
    if crs == LONLAT:
        beyond: NDArray[np.bool_] = (
            (np.abs(points[:, 1]) > 90 + _TOLERANCE) | (points[:, 0] < -180 - _TOLERANCE) | (points[:, 0] > 360)
        )
        beyond |= (points[:, 0] > 180 + _TOLERANCE) & (middles[owners, 0] > 190)
        wrong = np.bincount(owners, beyond, len(middles)) > 0
    else:
        wrong = np.asarray(~np.isfinite(middles).all(axis=1))
        area = _area_of_use(crs)
        if area is not None:
            west, south, east, north = area
            lon, lat = middles[:, 0], middles[:, 1]
            away = np.minimum(np.abs((lon - west + 540) % 360 - 180), np.abs((lon - east + 540) % 360 - 180))
            inside = (lon - west) % 360 <= (east - west) % 360 if (east - west) % 360 else np.ones(len(lon), bool)
            wrong = (
                wrong | (~inside & (away > _FAR_DEGREES)) | (lat < south - _FAR_DEGREES) | (lat > north + _FAR_DEGREES)
            )
    first = points[np.searchsorted(owners, np.flatnonzero(wrong))]
    said = "longitude and latitude" if crs == LONLAT else crs[:40]
    reasons[wrong] = [
        f"its geometry lies outside the world of {said} (at {x:.6g}, {y:.6g}): give its crs=" for x, y in first
    ]
    return reasons


@lru_cache(maxsize=64)
def _area_of_use(crs: str) -> tuple[float, float, float, float] | None:
    area = pyproj.CRS(crs).area_of_use
    return None if area is None else area.bounds


def _homes(
    crs: str,
    zones: NDArray[np.object_] | None,
    middles: NDArray[np.float64],
    is_point: NDArray[np.bool_],
    forced: str | None,
) -> NDArray[np.object_]:
    """The CRS that each tile is kept in."""
    if forced is not None:
        return np.full(len(middles), forced, object)
    lon, lat = np.nan_to_num(middles[:, 0]), np.nan_to_num(middles[:, 1])
    zone = (np.floor((lon + 180) / 6) % 60 + 1).astype(int)
    codes = np.where(lat >= 0, 32600, 32700) + zone
    homes = np.array([f"EPSG:{code}" for code in codes.tolist()], object)
    homes[lat > 84], homes[lat < -80] = _NORTH_POLE, _SOUTH_POLE
    if zones is not None:
        named = np.array([isinstance(zone, str) and bool(zone) for zone in zones], bool) & ~is_point
        homes[named] = zones[named]
    elif not pyproj.CRS(crs).is_geographic:
        homes[~is_point] = crs
    return homes


def _corners(points: NDArray[np.float64], owners: NDArray[np.intp], tile_m: float | None) -> NDArray[np.float64]:
    """Corners (n, 4, 2) of rings of one CRS: points (m, 2) and which ring each is of (m,)."""
    count = np.bincount(owners)
    starts = np.concatenate([[0], np.cumsum(count)[:-1]])
    corners = np.full((len(count), 4, 2), np.nan)
    quads = np.flatnonzero(count == 5)
    corners[quads] = points[starts[quads, None] + np.arange(4)]
    dots = np.flatnonzero(count == 1)
    if len(dots) and tile_m is not None:
        around = np.array([(-0.5, 0.5), (0.5, 0.5), (0.5, -0.5), (-0.5, -0.5)]) * tile_m
        corners[dots] = points[starts[dots], None] + around
    for other in np.flatnonzero((count != 5) & (count != 1)):
        ring = points[starts[other] : starts[other] + count[other]]
        box = shapely.oriented_envelope(shapely.linestrings(ring)) if np.isfinite(ring).all() else None
        if isinstance(box, shapely.Polygon):
            corners[other] = shapely.get_coordinates(box)[:4]
    return corners


def _check_sizes(found: Tiles) -> None:
    """Give a reason to tiles that are nowhere in their CRS, or too small or large to be any."""
    for home in set(found.crs[found.reasons == ""]):
        mine = np.flatnonzero((found.crs == home) & (found.reasons == ""))
        metres = sides(found.corners[mine]) * (pyproj.CRS(home).axis_info[0].unit_conversion_factor or 1.0)
        nowhere = ~np.isfinite(metres).all(axis=1)
        found.reasons[mine[nowhere]] = f"its geometry lies outside the world of {home[:40]}"
        odd = ~nowhere & ((metres.min(axis=1) < _LEAST_M) | (metres.max(axis=1) > _MOST_M))
        found.reasons[mine[odd]] = [
            f"its geometry is {width:.3g} m by {height:.3g} m: if it should not be, give its crs="
            for width, height in metres[odd]
        ]


def _coordinates(values: Any) -> NDArray[np.float64]:
    """Both coordinates (n, 2) of native points: a struct of x and y, or a list of two."""
    if pa.types.is_struct(values.type):
        return np.stack([values.field(axis).to_numpy(zero_copy_only=False) for axis in ("x", "y")], axis=1)
    flat = values.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat.reshape(len(values), -1)[:, :2], np.float64)


def _move(points: NDArray[np.float64], source: str, target: str) -> NDArray[np.float64]:
    if source == target or not len(points):
        return points
    return np.stack(transformer(source, target).transform(points[:, 0], points[:, 1]), axis=1)
