"""Objects of a map, numbered after the archive's tiles: what takes the number of a tile takes that of an object too."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from workbench.asking import Asking
from workbench.descriptors.archive import Archive
from workbench.errors import QueryInvalid, RasterRefused
from workbench.imagery.grid import Tile
from workbench.imagery.render import thumbnail
from workbench.labels.store import Label, LabelStore, Place
from workbench.looking import ring_of
from workbench.marks import Marks
from workbench.search.index import Hit, Hits
from workbench.search.places import Places
from workbench.segmentation.review import Objects

_AROUND = 0.35
_LEAST_SIDE = 48
_ON_MAP = 140
_MOST_ZOOM = 22
_EQUATOR_M = 2 * math.pi * 6_378_137
_POINTS = 100


class ObjectMarks(Marks):
    """The labels as objects see them; see `segmentation.review.Objects.settled`.

    Args:
        store: of the labels.
        places: of the archive.
        objects: to be settled; the first has the number ``first``.
        first: the first object's number.
    """

    def __init__(self, store: LabelStore, places: Places, objects: Objects, first: int) -> None:
        super().__init__(store, places)
        self._objects, self._first = objects, first

    def _find(self, label: Label) -> NDArray[np.int64]:
        place = self._places.pixels(label.place.raster, label.place.geometry, label.place.crs)
        if place is None or label.class_name != self._objects.class_name:
            return np.empty(0, np.int64)
        is_tile = self._places.tile_of(*place) is not None
        return self._first + self._objects.settled(*place, is_tile=is_tile, is_there=label.value > 0)


class ObjectViews(Asking):
    """The part of a `Session` that looks at the objects of its map, one by one.

    Objects are numbered after the archive's tiles, in the order of the review: every verb that takes the number of a tile
    takes that of an object too, and answers for its outline.

    Attributes:
        objects: those under review; None when there are none.
    """

    def __init__(self, archive: Archive, store: LabelStore, kept: Path | None) -> None:
        super().__init__(archive, store, kept)
        self.objects: Objects | None = None
        self._object_marks: Marks = self.marks

    def marks_of(self, number: int) -> dict[str, int]:
        """Class name -> +1 or -1, of a tile or an object."""
        return self._object_marks.of(number) if self._is_object(number) else super().marks_of(number)

    def labels_on(self, number: int, class_name: str) -> list[Label]:
        """The labels of a class that a tile or an object counts as labelled by."""
        marks = self._object_marks if self._is_object(number) else self.marks
        return marks.labels_on(number, class_name)

    def outline(self, number: int) -> list[list[float]]:
        """An object's outline in its picture, [[x, y], ...] from 0 to 1; empty for a tile, which fills it."""
        if not self._is_object(number):
            return []
        position, shape = self._object(number)
        window = self._window(position, shape)
        ring = shapely.get_exterior_ring(max(shapely.get_parts(shape), key=lambda part: part.area))
        points = shapely.get_coordinates(ring.simplify(window.width / 200))
        step = max(1, -(-len(points) // _POINTS))
        return np.round((points[::step] - (window.col_off, window.row_off)) / window.width, 4).tolist()

    def thumbnail(self, number: int, pixels: int = 128, most_bytes: int = 7_000) -> bytes:
        """A tile, or an object in the middle of a square, as JPEG."""
        if not self._is_object(number):
            return super().thumbnail(number, pixels, most_bytes)
        position, shape = self._object(number)
        return self._picture(position, self._window(position, shape), pixels, most_bytes)

    def context(self, number: int, pixels: int = 384, around: float = 1.0) -> bytes:
        """A tile or an object in the middle of its surroundings, ``around`` of its picture's sizes on each side, as JPEG."""
        if not self._is_object(number):
            return super().context(number, pixels, around)
        position, shape = self._object(number)
        window = self._window(position, shape)
        margin = round(window.width * around)
        side = int(window.width) + 2 * margin
        return self._picture(position, Window(window.col_off - margin, window.row_off - margin, side, side), pixels)

    def ring(self, number: int) -> list[list[float]]:
        """Outline of a tile or an object as [[lat, lon], ...]; empty when its raster has no place on earth."""
        if not self._is_object(number):
            return super().ring(number)
        position, shape = self._object(number)
        try:
            return ring_of(self.archive.imagery[position].from_pixels(shape, "EPSG:4326"))
        except RasterRefused:
            return []

    def tile_text(self, number: int) -> str:
        """Where a tile or an object comes from and how large it is, in words."""
        if not self._is_object(number):
            return super().tile_text(number)
        position, shape = self._object(number)
        raster = self.archive.imagery[position]
        size = f", {shape.area * math.prod(raster.pixel_size_m):,.3g} m\u00b2" if raster.mappable else ""
        return f"{raster.name}{size}"

    def show_tile(self, number: int) -> None:
        """Move the map to a tile, or to an object and near enough to outline it."""
        if not self._is_object(number):
            super().show_tile(number)
            return
        position, shape = self._object(number)
        raster = self.archive.imagery[position]
        centre = raster.from_pixels(shape.envelope, "EPSG:4326").centroid
        left, top, right, bottom = shape.bounds
        metres = max(right - left, bottom - top, _LEAST_SIDE / 2) * max(raster.pixel_size_m)
        near = math.log2(_EQUATOR_M * math.cos(math.radians(centre.y)) * _ON_MAP / metres / 256)
        self.show_place(centre.y, centre.x, max(self.map_view.get("zoom", 0), min(_MOST_ZOOM, round(near))))

    def like(self, number: int, k: int = 50) -> Hits:
        """Search for tiles like a tile or an object."""
        if not self._is_object(number):
            return super().like(number, k)
        position, shape = self._object(number)
        return self._search_like(self.places.descriptor(position, shape), "an object of the map", self.ring(number), k)

    @property
    def _reviewed(self) -> Objects:
        if self.objects is None:
            raise QueryInvalid("No objects are under review. Call review_objects() first.")
        return self.objects

    def _is_object(self, number: int) -> bool:
        return self.objects is not None and 0 <= number - len(self.archive) < len(self.objects)

    def _object(self, number: int) -> tuple[int, BaseGeometry]:
        """An object's raster and its outline in pixels."""
        if not self._is_object(number):
            raise QueryInvalid(f"There is no object {number}. Choose one of those under review.")
        place = number - len(self.archive)
        return int(self._reviewed.rasters[place]), self._reviewed.shapes[place]

    def _window(self, position: int, shape: BaseGeometry) -> Window:
        """The square that an object's picture shows."""
        left, top, right, bottom = shape.bounds
        side = max(_LEAST_SIDE, round(max(right - left, bottom - top) * (1 + 2 * _AROUND)))
        return Window(round((left + right - side) / 2), round((top + bottom - side) / 2), side, side)

    def _picture(self, position: int, window: Window, pixels: int, most_bytes: int | None = None) -> bytes:
        raster = self.archive.imagery[position]
        return thumbnail(raster, window, self.archive.stretch(position), pixels, most_bytes)

    def _begin_review(self, objects: Objects) -> Hits:
        first = len(self.archive)
        self.objects = objects
        self._object_marks = ObjectMarks(self.store, self.places, objects, first)
        hits = []
        for place, (position, shape) in enumerate(zip(objects.rasters.tolist(), objects.shapes, strict=True)):
            window = self._window(position, shape)
            tile = Tile(position, int(window.row_off), int(window.col_off), int(window.width))
            hits.append(Hit(first + place, tile, float(objects.probability[place]), place + 1))
        return Hits(tuple(hits))

    def _tile_place(self, number: int) -> Place:
        if not self._is_object(number):
            return super()._tile_place(number)
        position, shape = self._object(number)
        raster = self.archive.imagery[position]
        return Place(raster.fingerprint, raster.from_pixels(shape), raster.crs, raster.date)
