"""Which tiles lie in an area: exact for every centre, though most are decided by the cell of a coarse raster they are in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from workbench.descriptors.archive import Archive
from workbench.descriptors.tiles import GridTiles, tile_sizes
from workbench.errors import QueryInvalid
from workbench.imagery.rasters import Raster, transformer

_MOST_CELLS = 96
_TILES_A_CELL = 32
_FEW = 4096
"""Tiles that are tested one by one sooner than cells are made for them."""
_SLACK = 1.0
"""Pixels around a cell that have to agree with it; the outline in pixels is true to a quarter of that."""
_MOST_POINTS = 20_000
_SPARE = 0.02  # a box around a bent outline is good to less
_INSIDE, _EDGE = 1, 2


def tiles_in_area(
    archive: Archive, area: BaseGeometry, crs: str | None = "EPSG:4326", rasters: Iterable[int] | None = None
) -> NDArray[np.int64]:
    """Numbers of the tiles whose centre, brought to the area's CRS, is inside the area; on its edge is outside.

    Args:
        archive: whose tiles.
        area: polygons.
        crs: of the area; None: pixels of each raster.
        rasters: positions of those to look at; all when None.

    Returns:
        int64 (m,), rising. Rasters without CRS have tiles only in an area in pixels.

    Raises:
        QueryInvalid: the area has no inside, or its CRS is unknown.
    """
    area = checked_area(area, crs)
    chosen = np.arange(len(archive.imagery)) if rasters is None else np.unique(np.fromiter(rasters, np.int64))
    near = chosen[touched_rasters(archive, area, crs)[chosen]]
    whole = _held_rasters(archive, area, crs, near)
    found = [
        archive.tiles_within(position, -np.inf, -np.inf, np.inf, np.inf)
        if all_of_it
        else _tiles_of_raster(archive, position, area, crs)
        for position, all_of_it in zip(near.tolist(), whole.tolist(), strict=True)
    ]
    numbers = np.concatenate([np.empty(0, np.int64), *found])
    return numbers if bool((np.diff(numbers) > 0).all()) else np.sort(numbers)


def touched_rasters(archive: Archive, area: BaseGeometry, crs: str | None) -> NDArray[np.bool_]:
    """Which rasters an area may reach, bool (rasters,): their boxes overlap."""
    left, bottom, right, top = area.bounds
    if crs is None:
        sizes = np.array([(raster.width, raster.height) for raster in archive.imagery]).reshape(-1, 2)
        return (left <= sizes[:, 0]) & (bottom <= sizes[:, 1]) & (right >= 0) & (top >= 0)
    boxes = archive.imagery.bounds_in(crs)
    return (boxes[:, 0] <= right) & (boxes[:, 2] >= left) & (boxes[:, 1] <= top) & (boxes[:, 3] >= bottom)


def _held_rasters(
    archive: Archive, area: BaseGeometry, crs: str | None, rasters: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which of some rasters lie in an area with room to spare, (m,): all their tiles do, wherever they are."""
    if crs is None:
        return np.zeros(len(rasters), bool)
    boxes = archive.imagery.bounds_in(crs)[rasters]
    told = np.isfinite(boxes).all(axis=1)
    spare = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])[told, None] * _SPARE
    held = np.zeros(len(rasters), bool)
    held[told] = shapely.contains(area, shapely.box(*(boxes[told, :2] - spare).T, *(boxes[told, 2:] + spare).T))
    return held


def checked_area(area: BaseGeometry, crs: str | None) -> BaseGeometry:
    """The area, mended where its outline crosses itself.

    Raises:
        QueryInvalid: it has no inside, or its CRS is unknown.
    """
    whole = area if area.is_valid else shapely.make_valid(area)
    area = _polygons(whole)
    if area.is_empty:
        raise QueryInvalid(f"A {whole.geom_type} holds no tiles: it has no inside. Give a polygon.")
    if crs is not None:
        _check_crs(crs)
    shapely.prepare(area)
    return area


def _polygons(geometry: BaseGeometry) -> BaseGeometry:
    """What of a geometry has an inside: a polygon or several; an empty one where nothing has."""
    if geometry.geom_type in ("Polygon", "MultiPolygon"):
        return geometry
    parts = shapely.get_parts(shapely.get_parts(geometry))
    return shapely.union_all(parts[shapely.area(parts) > 0])


def _check_crs(crs: str) -> None:
    try:
        transformer(crs, "EPSG:4326")
    except pyproj.exceptions.ProjError as error:
        raise QueryInvalid(f"{crs[:80]!r} is no coordinate system known here. Write EPSG: and its number.") from error


def _tiles_of_raster(archive: Archive, position: int, area: BaseGeometry, crs: str | None) -> NDArray[np.int64]:
    raster = archive.imagery[position]
    shape = _in_pixels(raster, area, crs, None if crs is None else archive.imagery.bounds_in(crs)[position])
    around = _SLACK + (0 if archive.outlines is None else max(tile_sizes(archive.tiles), default=0) / 2)
    left, top, right, bottom = -around, -around, raster.width + around, raster.height + around
    if shape is not None:
        bounds = shape.bounds
        left, top = max(left, bounds[0] - around), max(top, bounds[1] - around)
        right, bottom = min(right, bounds[2] + around), min(bottom, bounds[3] + around)
        if not (left < right and top < bottom):
            return np.empty(0, np.int64)
    room = (right - left) * (bottom - top)
    if isinstance(archive.tiles, GridTiles) and shape is not None and room > _FEW * archive.tiles.sizes[-1] ** 2:
        count = round(room / (archive.tiles.sizes[0] / 2) ** 2)
        # A grid's tiles in a rectangle are known in microseconds; where a given tile lies takes it longer.
        sure, edge = _by_cells(archive, position, _Cells(shape, count, left, top, right, bottom))
        edge = edge[_exactly(raster, *_centres(archive, position, edge), area, crs)]
        return np.sort(np.concatenate([sure, edge]), kind="stable")
    numbers = archive.tiles_within(position, left, top, right, bottom)
    cols, rows = _centres(archive, position, numbers)
    if shape is None or len(numbers) < _FEW:
        return numbers[_exactly(raster, cols, rows, area, crs)]
    count = len(numbers)
    kinds = _Cells(shape, count, left, top, right, bottom).at(cols, rows)
    inside = kinds == _INSIDE
    unsure = np.flatnonzero(kinds == _EDGE)
    inside[unsure] = _exactly(raster, cols[unsure], rows[unsure], area, crs)
    return numbers[inside]


def _by_cells(archive: Archive, position: int, cells: _Cells) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tiles of a raster in cells that are inside, and those in cells on the edge."""
    x, y = cells.x.tolist(), cells.y.tolist()
    found = []
    for kind in (_INSIDE, _EDGE):
        runs = [
            archive.tiles_within(position, x[first], y[row], x[last], y[row + 1])
            for row, first, last in cells.runs(kind)
        ]
        found.append(np.concatenate([np.empty(0, np.int64), *runs]))
    return found[0], found[1]


class _Cells:
    """A coarse raster over a rectangle of pixels that says of its cells what is known of a shape there.

    Attributes:
        x: left edges of its columns, and the last one's right edge.
        y: top edges of its rows, and the last one's bottom edge.
        kinds: of the cells, as many rows as columns: 0 outside the shape, or `_INSIDE`, or `_EDGE`.
    """

    def __init__(self, shape: BaseGeometry, tiles: int, left: float, top: float, right: float, bottom: float) -> None:
        """Look at a shape in as many cells as are worth it for so many ``tiles``."""
        side = max(2, min(_MOST_CELLS, round((tiles / _TILES_A_CELL) ** 0.5)))
        self.x, self.y = np.linspace(left, right, side + 1), np.linspace(top, bottom, side + 1)
        x, y = np.meshgrid(self.x, self.y)
        near = (x[:-1, :-1] - _SLACK, y[:-1, :-1] - _SLACK, x[1:, 1:] + _SLACK, y[1:, 1:] + _SLACK)
        boxes = shapely.box(*near)
        shapely.prepare(shape)
        self.kinds = np.where(shapely.intersects(shape, boxes), _EDGE, 0).astype(np.uint8)
        self.kinds[shapely.contains(shape, boxes)] = _INSIDE

    def at(self, cols: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.uint8]:
        """The kinds at some places (n,) in the rectangle, which rounding may lay into the next cell: slack covers that."""
        side = len(self.kinds)
        across, down = (
            ((places - edges[0]) * (side / (edges[-1] - edges[0]))).astype(np.int32).clip(0, side - 1)
            for places, edges in ((cols, self.x), (rows, self.y))
        )
        return self.kinds.ravel()[down * side + across]

    def runs(self, kind: int) -> Iterator[tuple[int, int, int]]:
        """Row, first column and one past the last of the cells of a kind that lie side by side."""
        for row, line in enumerate(np.pad(self.kinds == kind, ((0, 0), (1, 1)))):
            ends = np.flatnonzero(line[1:] != line[:-1]).tolist()
            for first, last in zip(ends[::2], ends[1::2], strict=True):
                yield row, first, last


def _centres(
    archive: Archive, position: int, numbers: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixel columns and rows of the centres of some tiles of a raster, each (m,)."""
    if archive.outlines is None:
        tiles = archive.tiles[numbers]
        half = tiles["size"] / 2
        return tiles["col"] + half, tiles["row"] + half
    # The windows of imported tiles are rounded, and no square where the tile is none: their outlines are not.
    x, y = archive.outlines.of(position, numbers)["corners"].mean(axis=1).T
    inverse = ~archive.imagery[position].transform
    return inverse.a * x + inverse.b * y + inverse.c, inverse.d * x + inverse.e * y + inverse.f


def _exactly(
    raster: Raster, cols: NDArray[np.float64], rows: NDArray[np.float64], area: BaseGeometry, crs: str | None
) -> NDArray[np.bool_]:
    """Whether places, given in pixels, are inside the area when brought to its CRS, (n,)."""
    x, y = cols, rows
    if crs is not None and raster.crs is not None:
        t = raster.transform
        x, y = t.a * cols + t.b * rows + t.c, t.d * cols + t.e * rows + t.f
        if crs != raster.crs:
            x, y = transformer(raster.crs, crs).transform(x, y)
    return np.asarray(shapely.contains_xy(area, x, y), bool)


def _in_pixels(
    raster: Raster, area: BaseGeometry, crs: str | None, box: NDArray[np.float64] | None
) -> BaseGeometry | None:
    """The part of an area near a raster in its pixels, true to a quarter of one; None where that cannot be had.

    An edge that is straight in one CRS is bent in another, so points are put in until the middles between them agree.
    ``box`` is the raster's in that CRS.
    """
    if crs is None or box is None or raster.crs is None:
        return area
    if crs == raster.crs:
        return raster.to_pixels(area)
    if not np.isfinite(box).all():
        return None
    side = float(max(box[2:] - box[:2]))
    near = shapely.box(*(box[:2] - side / 20), *(box[2:] + side / 20))
    part = _polygons(shapely.intersection(area, near))
    if part.is_empty:
        return part
    step = side / 4
    for _ in range(8):
        fine = shapely.segmentize(part, step)
        points, ring = shapely.get_coordinates(shapely.get_rings(shapely.get_parts(fine)), return_index=True)
        if len(points) > _MOST_POINTS:
            return None
        ends, middles = _pixels(raster, points, crs), _pixels(raster, (points[1:] + points[:-1]) / 2, crs)
        bend = np.abs((ends[1:] + ends[:-1]) / 2 - middles)[ring[1:] == ring[:-1]]
        if not np.isfinite(bend).all():
            return None
        if bend.max() <= _SLACK / 4:
            local = shapely.transform(fine, lambda each: _pixels(raster, each, crs))
            return local if local.is_valid else None
        lengths = np.hypot(*(points[1:] - points[:-1])[ring[1:] == ring[:-1]].T)
        step = float(lengths.max()) * max(0.1, min(0.7, float(np.sqrt(_SLACK / 5 / bend.max()))))
    return None


def _pixels(raster: Raster, points: NDArray[np.float64], crs: str) -> NDArray[np.float64]:
    """Points (n, 2) in a CRS as pixel columns and rows (n, 2)."""
    x, y = transformer(crs, str(raster.crs)).transform(points[:, 0], points[:, 1])
    inverse = ~raster.transform
    return np.column_stack([inverse.a * x + inverse.b * y + inverse.c, inverse.d * x + inverse.e * y + inverse.f])
