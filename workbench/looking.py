"""What an analyst looks at: tiles as pictures and as outlines, and the place that the map shows."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path

import numpy as np
from rasterio.windows import Window
from shapely.geometry import Polygon, box
from shapely.geometry.base import BaseGeometry

from workbench.controls import Controls
from workbench.descriptors.archive import Archive
from workbench.errors import QueryInvalid, RasterRefused
from workbench.imagery.readout import Projection, projection_fit
from workbench.imagery.render import blank, thumbnail
from workbench.labels.store import LabelStore
from workbench.search.query import extent, place_of
from workbench.state import STRETCHES

_THUMBNAIL_BYTES = 7_000
"""So that a page of them stays below 150 kB."""
_TILES_KEPT = 1000
"""Tiles whose thumbnails and outlines are at hand, so that paging back and labelling cost nothing."""
_RING_POINTS = 200
_EQUATOR_M = 2 * math.pi * 6_378_137
_TILE_ON_SCREEN = 128
_BLIND = "no imagery\nattached"


class Looking(Controls):
    """The part of a `Session` that shows tiles and moves the map."""

    def __init__(self, archive: Archive, store: LabelStore, kept: Path | None) -> None:
        super().__init__(archive, store, kept)
        self._thumbnail = lru_cache(_TILES_KEPT)(self._cut)
        self._ring_of = lru_cache(_TILES_KEPT)(self._outline)

    @property
    def extent(self) -> tuple[float, float, float, float] | None:
        """West, south, east, north of the imagery in degrees; None when it has no place on earth."""
        return extent(self.archive)

    def projections(self) -> list[Projection]:
        """How a browser computes the rasters' own coordinates from longitude and latitude; see `imagery.readout`."""
        return projection_fit(self.archive.imagery)

    def show_place(self, lat: float, lon: float, zoom: float | None = None) -> None:
        """Move the map to a place in degrees, at the zoom it has when None is given.

        Raises:
            QueryInvalid: there is no such place.
        """
        place = {
            "lat": float(lat),
            "lon": float(lon),
            "zoom": float(self.map_view.get("zoom", 17) if zoom is None else zoom),
        }
        if not (-90 <= place["lat"] <= 90 and -540 <= place["lon"] <= 540 and 0 <= place["zoom"] <= 30):
            raise QueryInvalid(f"There is no place at lat {lat}, lon {lon}, zoom {zoom}. Give degrees.")
        self.set_state(map_view=place)

    def go_to(self, text: str) -> None:
        """Move the map to a place written as text, near enough to see tiles; see `search.query.place_of`.

        Raises:
            QueryInvalid: it is no place, or one without imagery.
        """
        lat, lon = place_of(self.archive, text)
        tile = self.archive.tile(0)
        metres = tile.size * max(self.archive.imagery[tile.raster].pixel_size_m)
        near = math.log2(_EQUATOR_M * math.cos(math.radians(lat)) * _TILE_ON_SCREEN / metres / 256)
        self.show_place(lat, lon, max(self.map_view.get("zoom", 0), min(22, round(near))))

    def show_tile(self, number: int) -> None:
        """Move the map to a tile, at the zoom it has.

        Raises:
            QueryInvalid: there is no such tile.
            RasterRefused: its raster has no place on earth.
        """
        centre = self.archive.footprint(self.checked(number), "EPSG:4326").centroid
        self.show_place(centre.y, centre.x)

    def show_stretch(self, name: str) -> None:
        """Stretch the imagery on the map another way, one of `state.STRETCHES`; what was searched does not change."""
        if name not in STRETCHES:
            raise QueryInvalid(f"There is no stretch {name!r}. Choose one of {', '.join(STRETCHES)}.")
        self.layers.set_stretch(name)
        self.set_state(stretch=name, layers_version=self.layers_version + 1)

    def thumbnail(self, number: int, pixels: int = 128, most_bytes: int = _THUMBNAIL_BYTES) -> bytes:
        """A tile as JPEG, from the raster that was searched and with the stretch it was searched with; the last are kept."""
        return self._thumbnail(self.checked(number), pixels, most_bytes)

    def context(self, number: int, pixels: int = 384, around: float = 1.0) -> bytes:
        """A tile in the middle of its surroundings, ``around`` tile sizes on each side, as JPEG."""
        if self._is_blind:
            return blank(_BLIND, pixels)
        look = self.archive.look(self.checked(number))
        margin = round(look.window.width * around)
        side = look.window.width + 2 * margin
        window = Window(look.window.col_off - margin, look.window.row_off - margin, side, side)
        return thumbnail(look.raster, window, look.stretch, pixels)

    def ring(self, number: int) -> list[list[float]]:
        """Outline of a tile as [[lat, lon], ...]; empty when its raster has no place on earth."""
        return self._ring_of(number)

    def tile_text(self, number: int) -> str:
        """Where a tile comes from and how large it is, in words: south.tif, 256 px = 34 m."""
        tile = self.archive.tile(self.checked(number))
        raster = self.archive.imagery[tile.raster]
        ground = f"{tile.size * max(raster.pixel_size_m):.4g} m" if raster.mappable else ""
        if self.archive.outlines is not None:
            row = self.archive.outlines.of(tile.raster, np.array([number]))["row"][0]
            return f"{raster.name}, row {row:,}, {ground}"
        return f"{raster.name}, {tile.size} px{ground and ' = '}{ground}"

    def _outline(self, number: int) -> list[list[float]]:
        try:
            return ring_of(self.archive.footprint(number, "EPSG:4326"))
        except RasterRefused:
            return []

    def _cut(self, number: int, pixels: int, most_bytes: int) -> bytes:
        if self._is_blind:
            return blank(_BLIND, pixels)
        look = self.archive.look(number)
        return thumbnail(look.raster, look.window, look.stretch, pixels, most_bytes)

    @property
    def _is_blind(self) -> bool:
        """Whether there is no imagery at all, since descriptors were imported and none was attached."""
        return self.archive.outlines is not None and self.archive.attached is None


def ring_of(shape: BaseGeometry) -> list[list[float]]:
    """The outer ring of a polygon in lon, lat as [[lat, lon], ...], of at most 200 points."""
    outer = shape if isinstance(shape, Polygon) else shape.convex_hull
    points = list((outer if isinstance(outer, Polygon) else box(*shape.bounds)).exterior.coords)
    step = max(1, -(-len(points) // _RING_POINTS))
    return [[float(point[1]), float(point[0])] for point in points[::step]]
