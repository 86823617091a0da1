"""XYZ map tiles and rasters: which part of a tile a raster reaches, and where each map pixel lies in it; reads no pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely.geometry import Point

from workbench.imagery.rasters import Raster, transformer

TILE = 256
MAX_ZOOM = 30
WORLD_M = 2 * math.pi * 6_378_137
"""Side of the Web Mercator square in metres."""

_CRS = "EPSG:3857"
_SAMPLES = 17
_NODES = (17, 33, 65)
_TOLERANCE = 0.05
_FEW = 1024

Box = tuple[float, float, float, float]
Affine2D = NDArray[np.float64]


@dataclass(frozen=True)
class Placement:
    """Where a raster is on the map.

    Attributes:
        boxes: left, bottom, right, top in Web Mercator metres that together hold it; two where it crosses the
            antimeridian, none where it has no place on the map.
        affine: (2, 3), from (x, y, 1) on the map to (col, row), as good as a linear map can be.
        error: of ``affine`` within the raster, in raster pixels; infinite where there is none.
    """

    boxes: tuple[Box, ...]
    affine: Affine2D
    error: float


@dataclass(frozen=True)
class Patch:
    """The rectangle of a map tile that a raster may reach, and where its pixels lie in the raster.

    Attributes:
        top: its first row in the tile.
        left: its first column.
        cols: raster column of each map pixel's centre, (rows, cols); 0 is the left edge of the first pixel. NaN where
            the map has no place in the raster's CRS.
        rows: raster row of each map pixel's centre.
        scale: raster pixels to a map pixel, in the finer direction.
    """

    top: int
    left: int
    cols: NDArray[np.float64]
    rows: NDArray[np.float64]
    scale: float

    @property
    def window(self) -> tuple[slice, slice]:
        """The rows and columns of the tile."""
        height, width = self.cols.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    def coarser(self, factor: float) -> Patch:
        """The same map pixels in a copy of the raster that is smaller by a factor."""
        return Patch(self.top, self.left, self.cols / factor, self.rows / factor, self.scale / factor)


def is_tile(x: int, y: int, z: int) -> bool:
    """Whether there is such a tile in the XYZ scheme."""
    return 0 <= z <= MAX_ZOOM and 0 <= x < 2**z and 0 <= y < 2**z


def pixel_m(z: int, size: int = TILE) -> float:
    """Web Mercator metres of one tile pixel at a zoom."""
    return WORLD_M / size / 2**z


def tile_box(x: int, y: int, z: int) -> Box:
    """Left, bottom, right, top of a tile in Web Mercator metres."""
    side = WORLD_M / 2**z
    left, top = x * side - WORLD_M / 2, WORLD_M / 2 - y * side
    return left, top - side, left + side, top


def native_zoom(raster: Raster, size: int = TILE) -> int:
    """The first zoom whose pixels are at least as fine as the raster's, to 1 %.

    Web Mercator is a sphere's projection: on the ellipsoid, its pixels are up to 0.7 % off.
    """
    latitude = raster.footprint(crs="EPSG:4326").centroid.y
    pixel = min(raster.pixel_size_m) / math.cos(math.radians(min(85.0, abs(latitude))))
    return max(0, min(MAX_ZOOM, math.ceil(math.log2(pixel_m(0, size) / pixel / 1.01))))


def pixel_positions(
    raster: Raster, x: int, y: int, z: int, size: int = TILE
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where each pixel of a map tile lies in a raster.

    A coarse grid is projected exactly and interpolated between; within the raster the result is right to a tenth of a
    raster pixel or of a map pixel, whichever is larger.

    Args:
        raster: one that is mappable.
        x: column of the tile, 0 ... 2**z - 1.
        y: row of the tile.
        z: zoom.
        size: pixels on a side of the tile.

    Returns:
        columns and rows, float64 (size, size), of the map pixels' centres; 0 is the edge of the first pixel. NaN where
        the raster's CRS does not reach.
    """
    left, _, _, top = tile_box(x, y, z)
    return _positions(raster, placement(raster), left, top, pixel_m(z, size), (size, size))


def patch_of(raster: Raster, place: Placement, x: int, y: int, z: int, size: int = TILE) -> Patch | None:
    """The part of a tile that a raster may reach; None where it does not."""
    left, bottom, right, top = tile_box(x, y, z)
    step = pixel_m(z, size)
    met = [box for box in place.boxes if box[0] < right and box[2] > left and box[1] < top and box[3] > bottom]
    if not met:
        return None
    west, south, east, north = (pick(box[side] for box in met) for side, pick in enumerate((min, min, max, max)))
    first_col, first_row = max(0, math.floor((west - left) / step)), max(0, math.floor((top - north) / step))
    width = min(size, math.ceil((east - left) / step)) - first_col
    height = min(size, math.ceil((top - south) / step)) - first_row
    if width <= 0 or height <= 0:
        return None
    corner = left + first_col * step, top - first_row * step
    cols, rows = _positions(raster, place, *corner, step, (height, width))
    coarse = min(raster.width / (east - west), raster.height / (north - south)) * step
    return Patch(first_row, first_col, cols, rows, _scale(cols, rows) or coarse)


@lru_cache(maxsize=4096)
def placement(raster: Raster) -> Placement:
    """Where a raster is on the map."""
    nowhere = Placement((), np.zeros((2, 3)), math.inf)
    if not raster.mappable or raster.crs is None:
        return nowhere
    cols, rows = np.meshgrid(np.linspace(0, raster.width, _SAMPLES), np.linspace(0, raster.height, _SAMPLES))
    t = raster.transform
    x, y = transformer(raster.crs, _CRS).transform(t.a * cols + t.b * rows + t.c, t.d * cols + t.e * rows + t.f)
    known = np.isfinite(x) & np.isfinite(y)
    if not known.any():
        return nowhere
    boxes = _boxes(x[known], y[known])
    poles = [latitude for latitude in (90.0, -90.0) if _holds_pole(raster, latitude)]
    if poles:
        ends = (y[known].min(), WORLD_M) if poles[0] > 0 else (-WORLD_M, y[known].max())
        boxes = ((-WORLD_M / 2, ends[0], WORLD_M / 2, ends[1]),)
    if poles or len(boxes) > 1 or not known.all():
        return Placement(boxes, nowhere.affine, math.inf)
    affine = _fit(x.ravel(), y.ravel(), cols.ravel(), rows.ravel())
    found = affine @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
    error = float(np.abs(found - np.stack([cols.ravel(), rows.ravel()])).max())
    return Placement(boxes, affine, error)


def _boxes(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[Box, ...]:
    """Boxes around points, a little larger, since a curved edge bulges between them."""
    bottom, top = float(y.min()), float(y.max())
    ordered = np.sort(x)
    gap = int(np.argmax(np.diff(ordered)))
    crosses = ordered[gap + 1] - ordered[gap] > WORLD_M / 2
    spans = [(float(ordered[0]), float(ordered[-1]))]
    if crosses:
        spans = [(-WORLD_M / 2, float(ordered[gap])), (float(ordered[gap + 1]), WORLD_M / 2)]
    high = 0.02 * (top - bottom)
    return tuple((a - 0.02 * (b - a), bottom - high, b + 0.02 * (b - a), top + high) for a, b in spans)


def _holds_pole(raster: Raster, latitude: float) -> bool:
    col, row = raster.to_pixels(Point(0.0, latitude), "EPSG:4326").coords[0][:2]
    # A raster in degrees may have the pole for its edge; then it is no point inside.
    return 0 < col < raster.width and 0 < row < raster.height


def _fit(
    x: NDArray[np.float64], y: NDArray[np.float64], cols: NDArray[np.float64], rows: NDArray[np.float64]
) -> Affine2D:
    """The affine map (2, 3) with least squared error, fitted around the middle so that no digits are lost."""
    middle = x.mean(), y.mean()
    known = np.stack([x - middle[0], y - middle[1], np.ones(x.size)], axis=1)
    solved = np.linalg.lstsq(known, np.stack([cols, rows], axis=1), rcond=None)[0].T
    solved[:, 2] -= solved[:, 0] * middle[0] + solved[:, 1] * middle[1]
    return np.asarray(solved)


def _positions(
    raster: Raster, place: Placement, left: float, top: float, step: float, shape: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Raster positions of a rectangle of map pixels with the outer corner (left, top), by the cheapest exact enough way."""
    height, width = shape
    x, y = left + step * (np.arange(width) + 0.5), top - step * (np.arange(height) + 0.5)
    (a, b, c), (d, e, f) = place.affine
    if place.error <= _TOLERANCE * max(1.0, step * math.sqrt(abs(a * e - b * d))):
        return (a * x + c) + (b * y)[:, None], (d * x + f) + (e * y)[:, None]
    for nodes in _NODES if height * width > _FEW else ():
        cols, rows = _project(raster, np.linspace(x[0], x[-1], nodes), np.linspace(y[0], y[-1], nodes))
        if not (np.isfinite(cols).all() and np.isfinite(rows).all()):
            continue
        # Between nodes, linear interpolation is off by an eighth of the second difference.
        bend = max(float(np.abs(np.diff(grid, 2, axis)).max()) for grid in (cols, rows) for axis in (0, 1))
        cell = _scale(cols, rows)
        if bend / 4 <= _TOLERANCE * max(1.0, cell * (nodes - 1) / max(height, width)):
            return _between(cols, height, width), _between(rows, height, width)
    return _project(raster, x, y)


def _project(
    raster: Raster, x: NDArray[np.floating[Any]], y: NDArray[np.floating[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Raster positions of the crossings of map columns ``x`` and map rows ``y``, exactly; NaN where there is none."""
    across, down = np.meshgrid(x, y)
    own_x, own_y = transformer(_CRS, str(raster.crs)).transform(across, down)
    inverse = ~raster.transform
    with np.errstate(invalid="ignore"):
        cols = inverse.a * own_x + inverse.b * own_y + inverse.c
        rows = inverse.d * own_x + inverse.e * own_y + inverse.f
    lost = ~(np.isfinite(own_x) & np.isfinite(own_y))
    cols[lost] = rows[lost] = np.nan
    return cols, rows


def _scale(cols: NDArray[np.float64], rows: NDArray[np.float64]) -> float:
    """Raster pixels from one position to the next in the middle of a grid, in the finer direction; 0 when unknown."""
    down, across = cols.shape[0] // 2, cols.shape[1] // 2
    if not (down and across):
        return 0.0
    steps = [
        math.hypot(cols[down, across] - cols[other], rows[down, across] - rows[other])
        for other in ((down - 1, across), (down, across - 1))
    ]
    return min(steps) if all(math.isfinite(step) for step in steps) else 0.0


def _between(grid: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Bilinear interpolation of nodes at equal distances to (height, width).

    No matrix product: BLAS would wake its threads for it and wait for a core when the machine is busy.
    """
    lower, share = _places(height, len(grid))
    columns = grid[lower] + (grid[lower + 1] - grid[lower]) * share[:, None]
    lower, share = _places(width, len(grid))
    before = columns.take(lower, axis=1)
    return before + (columns.take(lower + 1, axis=1) - before) * share


@lru_cache(maxsize=256)
def _places(length: int, nodes: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The node before each of ``length`` places that span ``nodes``, and the way from it to the next as a share."""
    place = np.linspace(0, nodes - 1, length)
    lower = np.minimum(place.astype(np.intp), nodes - 2)
    return lower, place - lower
