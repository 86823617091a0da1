"""Queries: which tile lies at a place, and the descriptor of any rectangle, polygon or image file."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import Point
from shapely.geometry.base import BaseGeometry

from workbench.descriptors.archive import Archive
from workbench.descriptors.tiles import tile_sizes
from workbench.errors import QueryInvalid, RasterRefused
from workbench.imagery.opening import read_image
from workbench.imagery.rasters import transformer


def tile_at(
    archive: Archive,
    x: float,
    y: float,
    crs: str | None = "EPSG:4326",
    *,
    size: int | None = None,
    raster: int | None = None,
) -> int:
    """The tile whose centre is nearest to a place among those that hold it.

    Args:
        archive: to look in.
        x: longitude, easting, or pixel column.
        y: latitude, northing, or pixel row.
        crs: of ``x`` and ``y``; None: pixels of ``raster``.
        size: only tiles of this size, in pixels.
        raster: only tiles of this raster.

    Returns:
        its row in the archive.

    Raises:
        QueryInvalid: no tile is there; the message says what the imagery covers.
    """
    best, least = None, np.inf
    reach = max(tile_sizes(archive.tiles), default=0) / 2
    for position in range(len(archive.imagery)) if raster is None else [raster]:
        pixel = _pixel(archive, position, x, y, crs)
        if pixel is None:
            continue
        numbers = archive.tiles_within(
            position, pixel[0] - reach, pixel[1] - reach, pixel[0] + reach + 1, pixel[1] + reach + 1
        )
        found = archive.tiles[numbers]
        holds = np.full(len(numbers), True) if size is None else found["size"] == size
        for axis, value in (("col", pixel[0]), ("row", pixel[1])):
            holds &= (found[axis] <= value) & (value < found[axis] + found["size"])
        numbers, found = numbers[holds], found[holds]
        if not len(numbers):
            continue
        far = [
            np.abs(found[axis] + found["size"] / 2 - value) for axis, value in (("col", pixel[0]), ("row", pixel[1]))
        ]
        distance = np.maximum(*far)
        if distance.min() < least:
            best, least = int(numbers[np.argmin(distance)]), float(distance.min())
    if best is None:
        where = f"{x:.6g}, {y:.6g}" + (f" ({crs})" if crs else " (pixels)")
        raise QueryInvalid(f"No tile at {where}: the imagery covers {extent_text(archive)}, less what has no data.")
    return best


def raster_under(archive: Archive, geometry: BaseGeometry, crs: str | None) -> tuple[int, BaseGeometry]:
    """The raster that holds most of a geometry, and the geometry in its pixels.

    Raises:
        QueryInvalid: it is empty or invalid, or touches no raster.
    """
    geometry = geometry if geometry.is_valid else shapely.make_valid(geometry)
    if geometry.is_empty or geometry.area == 0:
        raise QueryInvalid(
            f"A {geometry.geom_type} without area cannot be searched for. Draw a rectangle or a polygon."
        )
    best, most, pixels = None, 0.0, geometry
    for position, raster in enumerate(archive.imagery):
        try:
            local = raster.to_pixels(geometry, crs) if crs is not None else geometry
        except RasterRefused:
            continue
        inside = local.intersection(shapely.box(0, 0, raster.width, raster.height))
        share = inside.area / local.area if local.area else 0.0
        if share > most:
            best, most, pixels = position, share, inside
        if crs is None:
            break
    if best is None:
        raise QueryInvalid(
            f"The shape touches no imagery: that covers {extent_text(archive)}. Check its coordinate system."
        )
    return best, pixels


def describe_shape(archive: Archive, geometry: BaseGeometry, crs: str | None = "EPSG:4326") -> NDArray[np.float32]:
    """The descriptor (dim,) of a rectangle or polygon, at its own size and not snapped to the grid."""
    raster, pixels = raster_under(archive, geometry, crs)
    return archive.describe(raster, pixels)


def describe_file(archive: Archive, path: str | Path) -> NDArray[np.float32]:
    """The descriptor (dim,) of a chip or photograph in a file.

    Raises:
        QueryInvalid: the path names no file.
        RasterUnreadable: it is no readable image.
        RasterRefused: its format is not allowed, or it is too large for an example.
    """
    if Path(path).expanduser().is_dir():
        raise QueryInvalid(f"{str(path)[:200]!r} is a folder. Give the path of one image file.")
    return archive.describe_image(read_image(path))


def place_of(archive: Archive, text: str) -> tuple[float, float]:
    """The place on the imagery that a text names.

    Args:
        archive: whose imagery.
        text: latitude and longitude in degrees, or x and y in the CRS of the first raster that has one: two numbers
            with decimal points, divided by a comma or a space.

    Returns:
        latitude and longitude in degrees.

    Raises:
        QueryInvalid: it is no place, or one without imagery.
    """
    covered = extent(archive)
    if covered is None:
        raise QueryInvalid("This imagery has no place on earth to go to. Show some tiles in the gallery instead.")
    own = next(str(raster.crs) for raster in archive.imagery if raster.mappable)
    example = f"{(covered[1] + covered[3]) / 2:.4f}, {(covered[0] + covered[2]) / 2:.4f}"
    parts = [part for part in re.split(r"[\s,;°]+", text.replace("\u2212", "-")) if part]
    try:
        first, second = (float(part) for part in parts)
    except ValueError as error:
        raise QueryInvalid(
            f"{text.strip()[:60]!r} is no place. Type latitude and longitude in degrees, such as {example}, "
            f"or x and y in {_crs_name(own)}."
        ) from error
    candidates = [(first, second)] if abs(first) <= 90 and abs(second) <= 180 else []
    lon, lat = transformer(own, "EPSG:4326").transform(first, second)
    for place in (*candidates, (float(lat), float(lon))):
        if any(_holds(archive, position, place) for position in range(len(archive.imagery))):
            return place
    raise QueryInvalid(
        f"{first:.10g}, {second:.10g} is outside the imagery, which covers {extent_text(archive)}. "
        f"Type the latitude first, such as {example}, or x and y in {_crs_name(own)}."
    )


def extent(archive: Archive) -> tuple[float, float, float, float] | None:
    """West, south, east, north of all imagery in degrees; None when none of it has a place on earth."""
    bounds = [raster.footprint(crs="EPSG:4326").bounds for raster in archive.imagery if raster.mappable]
    if not bounds:
        return None
    west, south = np.min(np.array(bounds)[:, :2], axis=0)
    east, north = np.max(np.array(bounds)[:, 2:], axis=0)
    return float(west), float(south), float(east), float(north)


def extent_text(archive: Archive) -> str:
    """What the imagery covers, in words."""
    covered = extent(archive)
    if covered is None:
        return f"{len(archive.imagery)} raster(s) without a place on earth"
    west, south, east, north = covered
    return f"lon {west:.4f} to {east:.4f}, lat {south:.4f} to {north:.4f}"


def _pixel(archive: Archive, raster: int, x: float, y: float, crs: str | None) -> tuple[float, float] | None:
    try:
        point = archive.imagery[raster].to_pixels(Point(x, y), crs) if crs is not None else Point(x, y)
    except RasterRefused:
        return None
    column, row = point.coords[0][:2]
    return (column, row) if np.isfinite([column, row]).all() else None


def _holds(archive: Archive, raster: int, place: tuple[float, float]) -> bool:
    pixel = _pixel(archive, raster, place[1], place[0], "EPSG:4326")
    found = archive.imagery[raster]
    return pixel is not None and 0 <= pixel[0] <= found.width and 0 <= pixel[1] <= found.height


def _crs_name(crs: str) -> str:
    return crs if len(crs) < 30 else "the coordinate system of the first raster"
