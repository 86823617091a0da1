"""Polygons painted into map tiles: filled, outlined or dashed, smooth at every zoom, and quick by the thousand."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import STRtree

from workbench.imagery.mercator import TILE, WORLD_M, Box, pixel_m, tile_box

_RIM = 8
_BIG = 8
_SPECK = 2.5
_ROOM = 20
_THINNEST = 0.35
_MANY = 10_000
_DETAIL = 0.3
_DASHES = (5.0, 4.0)
# matplotlib says of none of its parts that threads may share them.
_painting = threading.Lock()


@dataclass(frozen=True)
class Style:
    """How a polygon is drawn.

    Attributes:
        colour: ``#rrggbb``.
        fill: opacity inside, 0 to 1.
        width: of the line, in map pixels.
        dashed: whether the line is.
        speck: side in map pixels of the square that stands for a polygon too small to be drawn.
    """

    colour: str
    fill: float
    width: float
    dashed: bool = False
    speck: int = 1


class Outlines:
    """Polygons on the map, found by place.

    Args:
        polygons: in Web Mercator metres (n,); what is no polygon, or not finite, is left out. One that seems to go around
            the world crosses the antimeridian.
        kinds: place of each one's style in ``styles``, (n,).
        styles: those later in the list are painted over those before.
    """

    def __init__(self, polygons: NDArray[np.object_], kinds: NDArray[np.int64], styles: Sequence[Style]) -> None:
        self.styles = tuple(styles)
        polygons, kinds = _joined_at_the_antimeridian(polygons, kinds)
        parts, owners = shapely.get_parts(polygons, return_index=True)
        bounds = shapely.bounds(parts)
        usable = (shapely.get_type_id(parts) == shapely.GeometryType.POLYGON) & np.isfinite(bounds).all(axis=1)
        # Normalized, every outline turns one way and every hole the other, so that holes stay open when filled.
        self._parts = shapely.normalize(parts[usable])
        self._kinds = np.asarray(kinds)[owners][usable]
        self._bounds = bounds[usable]
        self._points = shapely.get_num_coordinates(self._parts)
        self._typical = float(np.median(_extents(self._bounds))) if len(self._bounds) else 0.0
        self._tree = STRtree(self._parts)
        self._plain: dict[float, NDArray[Any]] = {}

    def __len__(self) -> int:
        return len(self._parts)

    def paint(self, x: int, y: int, z: int, size: int = TILE) -> NDArray[np.uint8] | None:
        """One map tile, RGBA (size, size, 4); None where there is nothing."""
        left, bottom, right, top = tile_box(x, y, z)
        step = pixel_m(z, size)
        rim = _RIM * step * size / TILE
        near = shapely.box(left - rim, bottom - rim, right + rim, top + rim)
        found = np.sort(self._tree.query(near))
        if not len(found):
            return None
        extents = _extents(self._bounds[found])
        # From afar, full lines would run together and hide what they surround.
        thinner = min(1.0, max(_THINNEST, self._typical / step / _ROOM * TILE / size))
        canvas = _Canvas(size, left, top, step, thinner)
        for kind, style in enumerate(self.styles):
            mine = self._kinds[found] == kind
            small = mine & (extents < _SPECK * step)
            canvas.draw(self._shapes(found[mine & ~small], (left, bottom, right, top), step), style)
            canvas.specks(self._bounds[found[small]], style)
        painted = canvas.pixels()
        return painted if painted[..., 3].any() else None

    def _shapes(self, numbers: NDArray[np.intp], box: Box, step: float) -> NDArray[Any]:
        """Polygons to be drawn: without detail that does not show, those far larger than the tile cut to its surroundings."""
        shapes = self._parts[numbers]
        if self._points[numbers].sum() > _MANY:
            if step not in self._plain:
                plain = shapely.simplify(self._parts, _DETAIL * step, preserve_topology=False)
                self._plain[step] = np.where(shapely.is_empty(plain), self._parts, shapely.normalize(plain))
            shapes = self._plain[step][numbers]
        side = box[2] - box[0]
        extents = _extents(self._bounds[numbers])
        big = extents > _BIG * side
        if not big.any():
            return shapes
        left, bottom, right, top = box
        cut = shapely.clip_by_rect(shapes[big], left - side, bottom - side, right + side, top + side)
        pieces = shapely.get_parts(cut)
        pieces = pieces[shapely.get_type_id(pieces) == shapely.GeometryType.POLYGON]
        return np.concatenate([shapes[~big], shapely.normalize(pieces)])


class _Canvas:
    """A transparent picture to draw on in Web Mercator metres, with smooth edges (Anti-Grain Geometry, by matplotlib)."""

    def __init__(self, size: int, left: float, top: float, step: float, thinner: float) -> None:
        self._thinner = thinner
        self._size, self._left, self._top, self._step = size, left, top, step
        self._scale = size / TILE
        self._picture: NDArray[np.uint8] | None = None
        self._renderer: Any = None

    def draw(self, shapes: NDArray[Any], style: Style) -> None:
        """Draw polygons of one style in one go: what they share is filled once."""
        if not len(shapes):
            return
        from matplotlib.backends.backend_agg import RendererAgg
        from matplotlib.path import Path
        from matplotlib.transforms import IdentityTransform

        rings = shapely.get_rings(shapely.get_parts(shapes))
        points, owners = shapely.get_coordinates(rings, return_index=True)
        # matplotlib counts rows from the bottom.
        pixels = (points - (self._left, self._top)) / self._step + (0, self._size)
        codes = np.full(len(pixels), Path.LINETO, Path.code_type)
        starts = np.searchsorted(owners, np.arange(len(rings)))
        codes[starts] = Path.MOVETO
        codes[np.append(starts[1:], len(owners)) - 1] = Path.CLOSEPOLY
        colour = tuple(channel / 255 for channel in rgb(style.colour))
        with _painting:
            if self._renderer is None:
                self._renderer = RendererAgg(self._size, self._size, 72)
            context = self._renderer.new_gc()
            context.set_foreground((*colour, 1.0), isRGBA=True)
            context.set_linewidth(style.width * self._scale * self._thinner)
            context.set_joinstyle("round")
            if style.dashed:
                context.set_dashes(0, [length * self._scale for length in _DASHES])
            self._renderer.draw_path(context, Path(pixels, codes), IdentityTransform(), (*colour, style.fill))

    def specks(self, bounds: NDArray[np.float64], style: Style) -> None:
        """Stand in for polygons that are smaller than a few pixels, given by their bounds (n, 4)."""
        if not len(bounds):
            return
        picture = self.pixels()
        middle = (bounds[:, :2] + bounds[:, 2:]) / 2
        across = (middle[:, 0] - self._left) / self._step
        down = (self._top - middle[:, 1]) / self._step
        side = max(1, round(style.speck * self._scale))
        for row, col in product(range(side), repeat=2):
            rows = np.floor(down + row - (side - 1) / 2).astype(np.int64)
            cols = np.floor(across + col - (side - 1) / 2).astype(np.int64)
            here = (rows >= 0) & (rows < self._size) & (cols >= 0) & (cols < self._size)
            picture[rows[here], cols[here]] = (*rgb(style.colour), 255)

    def pixels(self) -> NDArray[np.uint8]:
        """What was drawn, RGBA (size, size, 4)."""
        if self._renderer is not None:
            # The renderer's own memory: what is painted into it is under what is drawn next.
            return np.asarray(self._renderer.buffer_rgba())
        if self._picture is None:
            self._picture = np.zeros((self._size, self._size, 4), np.uint8)
        return self._picture


def _extents(bounds: NDArray[np.float64]) -> NDArray[np.float64]:
    """The longer side of each box (n, 4)."""
    return np.asarray((bounds[:, 2:] - bounds[:, :2]).max(axis=1, initial=0))


def load_canvas() -> None:
    """Import what draws, so that the first tile with an outline need not."""
    from matplotlib.backends import backend_agg

    backend_agg.RendererAgg(1, 1, 72)


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue of ``#rrggbb``, 0 to 255."""
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return red, green, blue


def _joined_at_the_antimeridian(
    polygons: NDArray[np.object_], kinds: NDArray[np.int64]
) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Polygons that have points at both ends of the map, made whole at each end."""
    bounds = shapely.bounds(polygons)
    wide = bounds[:, 2] - bounds[:, 0] > WORLD_M / 2
    if not wide.any():
        return polygons, kinds

    def eastwards(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return points + np.stack([np.where(points[:, 0] < 0, WORLD_M, 0), np.zeros(len(points))], axis=1)

    east = shapely.transform(polygons[wide], eastwards)
    west = shapely.transform(east, lambda points: points - (WORLD_M, 0))
    return np.concatenate([polygons[~wide], east, west]), np.concatenate([kinds[~wide], kinds[wide], kinds[wide]])
