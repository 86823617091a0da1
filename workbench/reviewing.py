"""What a network found, put before the analyst object by object: accepted, rejected, or outlined anew; the answers are labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from workbench.asking import Asking
from workbench.descriptors.archive import Archive
from workbench.errors import QueryInvalid, RasterRefused
from workbench.files import slug
from workbench.imagery.grid import Tile
from workbench.imagery.opening import open_imagery
from workbench.imagery.rasters import Raster
from workbench.imagery.render import thumbnail
from workbench.labels.masks import known_ground
from workbench.labels.store import Label, LabelStore, Mark, Place
from workbench.looking import ring_of
from workbench.marks import Marks
from workbench.search.index import Hit, Hits
from workbench.search.places import Places
from workbench.search.predicted import map_of
from workbench.search.query import raster_under, tile_at
from workbench.segmentation.differences import differences
from workbench.segmentation.review import Objects, mapped_objects, read_objects, write_objects
from workbench.state import OBJECT_QUEUES, Remark
from workbench.teaching import rasters_of

MOST = 200
"""Objects of a review."""
ORDERS = tuple(name.removeprefix("objects ") for name in OBJECT_QUEUES)
_NO_MAP = "Train a U-Net and map all imagery first"
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


class Reviewing(Asking):
    """The part of a `Session` that reviews the objects of its map.

    Objects are numbered after the archive's tiles, in the order of the review: every verb that takes the number of a tile
    takes that of an object too, and answers for its outline.

    Attributes:
        objects: those under review; None when there are none.
    """

    def __init__(self, archive: Archive, store: LabelStore, kept: Path | None) -> None:
        super().__init__(archive, store, kept)
        self.objects: Objects | None = None
        self._object_marks: Marks = self.marks

    def review_objects(self, order: str = "uncertain", class_name: str | None = None, *, k: int = MOST) -> Hits:
        """Fill the gallery with objects of the last map, to be accepted, rejected or outlined anew.

        - ``uncertain``: those of the lowest mean probability first.
        - ``disagreement``: those that the scorer in use believes least, for their probability.
        - ``errors``: areas where the labels say one thing and the map another, largest first.

        Objects that a label answers already are not shown, but for errors, which are about labels.

        Args:
            order: one of these.
            class_name: whose objects; the class looked for when None.
            k: at most so many.

        Raises:
            QueryInvalid: no such order, no map, or for ``disagreement`` nothing that ranks the tiles.
        """
        makers: dict[str, Callable[[str, int], Objects]] = {
            "uncertain": self._least_sure,
            "disagreement": self._disbelieved,
            "errors": self._errors,
        }
        if order not in makers:
            raise QueryInvalid(f"There is no order {str(order)[:40]!r}. Choose one of {', '.join(makers)}.")
        if k < 0:
            raise QueryInvalid(f"{k} objects were asked for. Ask for 0 or more.")
        with self._lock:
            name = class_name or self.class_name
            if self.prediction is None or (self.polygons is None and order != "errors"):
                raise QueryInvalid(f"There is no map of a U-Net yet. {_NO_MAP}.")
            objects = makers[order](name, k)
            if self._kept is not None:
                write_objects(objects, self.archive.imagery, self._review_path)
            hits = self._begin_review(objects)
            queue = f"objects {order}"
            said = (
                f"{len(hits)} {'object' if len(hits) == 1 else 'objects'} of {name} to review: {OBJECT_QUEUES[queue]}."
            )
            remarks = self._object_remarks(objects)
            self._show_hits(self.scorer, hits, said, queue=queue, remarks=remarks, class_name=name)
        return hits

    def accept(self, numbers: Iterable[int]) -> str:
        """Label objects of the review, by their numbers, as positive: their outlines are right; one event, one undo."""
        return self.label(list(numbers), self._reviewed.class_name)

    def reject(self, numbers: Iterable[int]) -> str:
        """Label objects of the review as negative: nothing of the class is inside their outlines."""
        return self.label(list(numbers), self._reviewed.class_name, value=-1)

    def edit_object(self, number: int, shape: BaseGeometry, crs: str | None = "EPSG:4326") -> str:
        """Label an outline as positive in an object's place; what was said of the object's own is taken back with it.

        Args:
            number: of the object.
            shape: the right outline.
            crs: of it; None: pixels of the first raster.

        Raises:
            QueryInvalid: there is no such object, or the outline shares too little with it; see `Objects.settled`.
            LabelNotSaved: it could not be written; nothing was changed.
        """
        with self._lock:
            self._object(number)
            place, name = number - len(self.archive), self._reviewed.class_name
            position, drawn = raster_under(self.archive, shape, crs)
            if place not in self._reviewed.settled(position, drawn, is_tile=False, is_there=True):
                raise QueryInvalid(
                    f"The outline shares less than half of itself with object {place + 1}, and of that. Draw it there, or "
                    "label it with the tool Positive."
                )
            own = self._tile_place(number).key
            held = [label for label in self.labels_on(number, name) if label.value > 0 or label.place.key == own]
            marks = [Mark(name, 1, (self._outline_place(shape, crs),))]
            if held:
                marks.insert(0, Mark(name, 0, tuple(label.place for label in held)))
            self._define_offered()
            said = self.store.add_marks(marks)
            self._labels_changed(said, name)
        return said

    def complete_around(self, number: int) -> str:
        """Declare the tile complete that a tile or an object stands for: everything in it is labelled, the rest is background.

        Raises:
            QueryInvalid: objects of the map in it have not been answered yet.
        """
        with self._lock:
            tile = self._tile_around(number)
            left = sum(self._unanswered(tile, name) for name in self._mapped_classes)
            if left:
                raise QueryInvalid(
                    f"{left} {'object' if left == 1 else 'objects'} of the map in this tile had no answer yet. "
                    "Accept, reject or edit each, then declare it complete."
                )
            said = self.store.declare_complete([super()._tile_place(tile)])
            self._labels_changed(f"{said}: all of tile {tile:,} that carries no label is background")
        return said

    def show_queue(self, name: str, class_name: str | None = None, *, k: int | None = None) -> Hits:
        """Fill the gallery with what to mark next: tiles (see `Asking.show_queue`), or objects, one of `OBJECT_QUEUES`."""
        if name in OBJECT_QUEUES:
            return self.review_objects(name.removeprefix("objects "), class_name, k=MOST if k is None else k)
        return super().show_queue(name, class_name, k=k)

    def go_on(self, k: int = MOST) -> Hits:
        """Refine by the labels, and show the same queue again; of objects those that have no answer yet."""
        with self._lock:
            if self.queue not in OBJECT_QUEUES:
                return super().go_on(k)
            if self.can_refine:
                self.scorer = self._learn(self.class_name)
            return self.review_objects(self.queue.removeprefix("objects "))

    @property
    def queues_closed(self) -> dict[str, str]:
        """Why queues cannot be shown now, in words, by their names; those that can are not named."""
        found = super().queues_closed
        if self.prediction is None:
            return found | dict.fromkeys(OBJECT_QUEUES, _NO_MAP)
        if self.class_name not in self._mapped_classes:
            found |= dict.fromkeys(OBJECT_QUEUES, f"The last map shows nothing of {self.class_name or 'this class'}")
            if self.label_counts().get(self.class_name, (0, 0))[0]:
                found.pop("objects errors")
        elif "disagreement" in found:
            found["objects disagreement"] = found["disagreement"]
        return found

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
    def _review_path(self) -> Path:
        return self.store.folder / f"review-{slug(self.store.by)}.parquet"

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

    def _object_remarks(self, objects: Objects) -> dict[int, Remark]:
        said = enumerate(objects.remarks, len(self.archive))
        return {number: (words, says, 0, False) for number, (words, says) in said if words}

    def _resume_review(self) -> Hits | None:
        """The objects that were under review when the state was kept."""
        objects = read_objects(self._review_path, self.archive.imagery)
        return None if objects is None else self._begin_review(objects)

    @property
    def _mapped_classes(self) -> list[str]:
        """Classes of which the last map shows anything."""
        return [] if self.polygons is None else self.polygons["class"].unique().tolist()

    def _mapped(self, class_name: str) -> Objects:
        assert self.polygons is not None
        return mapped_objects(self.polygons, self.archive.imagery, class_name)

    def _open_ones(self, class_name: str) -> Objects:
        """The objects of the map that no label answers."""
        objects = self._mapped(class_name)
        answered = ObjectMarks(self.store, self.places, objects, 0).numbers(class_name)
        return objects.take(np.setdiff1d(np.arange(len(objects)), answered))

    def _least_sure(self, class_name: str, k: int) -> Objects:
        objects = self._open_ones(class_name)
        return objects.take(np.argsort(objects.probability, kind="stable")[:k])

    def _disbelieved(self, class_name: str, k: int) -> Objects:
        """The chance that the scorer gives to the tiles under an object: the highest of those that hold its middle."""
        ranking, audit, _ = self._judge(self._basis(class_name, self._in_use()))
        chances = audit.chances(ranking)
        objects = self._open_ones(class_name)
        believed = np.array(
            [self._chance(chances, *each) for each in zip(objects.rasters.tolist(), objects.shapes, strict=True)]
        ).reshape(len(objects))
        order = np.argsort(-(objects.probability - believed), kind="stable")[:k]
        pairs = [(objects.probability[place], believed[place]) for place in order]
        said = [
            (f"{sure:.0%} \u2194 {chance:.0%}", f"U-Net {sure:.0%}, scorer {chance:.0%} for its tile")
            for sure, chance in pairs
        ]
        return objects.take(order, said)

    def _chance(self, chances: NDArray[np.floating], position: int, shape: BaseGeometry) -> float:
        middle = shape.representative_point()
        tiles = self._tiles_on(position, middle.x, middle.y)
        return float(chances[tiles].max()) if len(tiles) else 0.0

    def _tiles_on(self, position: int, col: float, row: float) -> NDArray[np.int64]:
        """The tiles of a raster that hold a place in its pixels."""
        reach = max(self.archive.sizes) / 2
        near = self.archive.tiles_within(position, col - reach, row - reach, col + reach + 1, row + reach + 1)
        found = self.archive.tiles[near]
        holds = np.full(len(near), True)
        for axis, value in (("col", col), ("row", row)):
            first = found[axis].astype(np.int64)
            holds &= (first <= value) & (value < first + found["size"])
        return near[holds]

    def _errors(self, class_name: str, k: int) -> Objects:
        assert self.prediction is not None
        opened: list[Raster] = [raster for path in rasters_of(self.prediction) for raster in open_imagery(path)]
        maps = [map_of(raster, opened) for raster in self.archive.imagery]
        grounds, _ = known_ground(self.store, self.archive.imagery, self.store.classes)
        number = next((each.id for each in self.store.classes if each.name == class_name), -1)
        return differences(grounds, self.archive.imagery, maps, number, class_name, most=k)

    def _tile_around(self, number: int) -> int:
        if not self._is_object(number):
            return self.checked(number)
        position, shape = self._object(number)
        middle = shape.envelope.centroid
        return tile_at(self.archive, middle.x, middle.y, None, raster=position)

    def _unanswered(self, tile: int, class_name: str) -> int:
        """How many objects of the map in a tile have no answer; of those that only reach into it none is asked."""
        window = self.archive.tile(tile)
        square = shapely.box(window.col, window.row, window.col + window.size, window.row + window.size)
        objects = self._open_ones(class_name)
        here = objects.rasters == window.raster
        return int(shapely.contains_xy(square, shapely.get_coordinates(shapely.centroid(objects.shapes[here]))).sum())

    def _tile_place(self, number: int) -> Place:
        if not self._is_object(number):
            return super()._tile_place(number)
        position, shape = self._object(number)
        raster = self.archive.imagery[position]
        return Place(raster.fingerprint, raster.from_pixels(shape), raster.crs, raster.date)

    def _show_hits(self, *given: object, **more: object) -> None:
        # The tool that outlines an object anew is of no use on tiles.
        if self.tool == "edit" and more.get("queue") not in OBJECT_QUEUES:
            more["tool"] = "search"
        super()._show_hits(*given, **more)  # type: ignore[arg-type]
