"""What a network found, put before the analyst object by object: accepted, rejected, or outlined anew; the answers are labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from workbench.errors import QueryInvalid
from workbench.files import slug
from workbench.imagery.opening import open_imagery
from workbench.imagery.rasters import Raster
from workbench.labels.masks import known_ground
from workbench.labels.store import Mark
from workbench.objects import ObjectMarks, ObjectViews
from workbench.search.index import Hits
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


class Reviewing(ObjectViews):
    """The part of a `Session` that reviews the objects of its map."""

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

    @property
    def _review_path(self) -> Path:
        return self.store.folder / f"review-{slug(self.store.by)}.parquet"

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

    def _show_hits(self, *given: object, **more: object) -> None:
        # The tool that outlines an object anew is of no use on tiles.
        if self.tool == "edit" and more.get("queue") not in OBJECT_QUEUES:
            more["tool"] = "search"
        super()._show_hits(*given, **more)  # type: ignore[arg-type]
