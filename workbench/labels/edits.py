"""Labels edited in a GIS come back by their ids: what was changed, added and removed is shown before anything is applied."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from workbench.errors import LabelInvalid
from workbench.imagery.rasters import Imagery
from workbench.labels.checks import clean_name
from workbench.labels.events import PlaceKey
from workbench.labels.frames import labels_frame
from workbench.labels.placing import assign, mended, share_inside
from workbench.labels.store import Label, LabelStore, Mark, Place
from workbench.labels.vectors import read_polygons

_STAMP = re.compile(r"workbench (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z)")
_NEEDED = ("id", "class", "value", "exported")
# GeoJSON keeps seven decimals of a degree, about a centimetre.
_SAME_M, _SAME_DEGREES = 0.02, 3e-7
_COLUMNS = ["id", "class", "value", "was_class", "was_value", "redrawn"]


@dataclass(frozen=True, eq=False)
class Edits:
    """What somebody changed in a file of exported labels; nothing is applied until `apply`.

    Attributes:
        source: the file.
        changed: labels drawn anew or given another class or value: id, class, value, was_class, was_value, redrawn, and the
            new outline.
        added: outlines without an id, and all but one of those that share an id (a label that was split or copied): class,
            value and outline.
        removed: labels that were in the file when it was exported and are not there now: id, class, value and outline.
        foreign: rows whose id is none of the labels here, because it came from other labels or was undone or replaced since.
        unchanged: how many labels are as they were.
        outside: how many new outlines lie on no raster; they are left out.
        repaired: how many outlines crossed themselves and were mended.
    """

    source: str
    changed: gpd.GeoDataFrame
    added: gpd.GeoDataFrame
    removed: gpd.GeoDataFrame
    foreign: gpd.GeoDataFrame
    unchanged: int
    outside: int
    repaired: int
    _store: LabelStore = field(repr=False)
    _marks: dict[str, list[tuple[Label | None, str, int, Place | None]]] = field(repr=False)
    _applied: Callable[[str], None] | None = field(default=None, repr=False)

    @property
    def words(self) -> str:
        """One line for people."""
        counts = [
            f"{len(self.changed):,} changed",
            f"{len(self.added):,} added",
            f"{len(self.removed):,} removed",
            f"{self.unchanged:,} as they were",
        ]
        if len(self.foreign):
            counts.append(f"{len(self.foreign):,} of ids unknown here")
        if self.outside:
            counts.append(f"{self.outside:,} outside the imagery left out")
        if self.repaired:
            counts.append(f"{self.repaired:,} that crossed themselves mended")
        return f"{self.source}: {', '.join(counts)}"

    def apply(self, *, removed: bool = True, foreign: bool = False) -> str:
        """Make the labels what the file says, as one event and one undo.

        Args:
            removed: also take back the labels that are missing in the file.
            foreign: also add the outlines whose ids are unknown here.

        Returns:
            What was done, in words.

        Raises:
            LabelInvalid: nothing to do, or one of the labels was changed since the file was looked through.
            LabelNotSaved: it could not be written; nothing was changed.
        """
        kinds = ["changed", "added", *(["removed"] if removed else []), *(["foreign"] if foreign else [])]
        chosen = [mark for kind in kinds for mark in self._marks[kind]]
        if not chosen:
            raise LabelInvalid(f"{self.source} says what the labels say already. There is nothing to apply.")
        held = {label.id for label in self._store.labels()}
        lost = [label for label, _, _, _ in chosen if label is not None and label.id not in held]
        if lost:
            raise LabelInvalid(
                f"{len(lost):,} of the labels changed since {self.source} was looked through. Look through it again."
            )
        # What is taken back comes first: a new outline may be where an old one was.
        back: dict[tuple[str, int, bool], list[Place]] = {}
        said: dict[tuple[str, int, bool], list[Place]] = {}
        for label, name, value, place in chosen:
            if label is not None and (place is None or (label.class_name, label.place.key) != (name, place.key)):
                back.setdefault((label.class_name, 0, False), []).append(label.place)
            if place is not None:
                # A tile that was drawn anew is an outline from now on.
                whole = label is not None and label.whole and label.place.key == place.key
                said.setdefault((name, value, whole), []).append(place)
        marks = [
            Mark(name, value, tuple(places), whole=whole)
            for group in (back, said)
            for (name, value, whole), places in group.items()
        ]
        self._store.add_marks(marks)
        done = ", ".join(f"{len(self._marks[kind]):,} {kind}" for kind in kinds if self._marks[kind])
        words = f"Edits of {self.source} applied: {done}"
        if self._applied is not None:
            self._applied(words)
        return words


def stamp(labels: Sequence[Label]) -> str:
    """When labels are exported, in a form that no GIS takes for a date and rounds."""
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    return f"workbench {max([now, *(label.when for label in labels)])}"


def review_edits(
    source: str | Path | gpd.GeoDataFrame,
    imagery: Imagery,
    store: LabelStore,
    *,
    crs: str | None = None,
    applied: Callable[[str], None] | None = None,
) -> Edits:
    """Compare a file that `gis.export_gis` wrote and somebody edited with the labels; all of it is checked, nothing changed.

    Rows are matched by the column ``id``. Of rows with one id, the one nearest to the label keeps it. Outlines count as
    redrawn when they moved by more than two centimetres. Labels said since the export are left alone.

    Args:
        source: GeoPackage, GeoJSON, GeoParquet, Shapefile, or a GeoDataFrame.
        imagery: the rasters that new outlines may lie on.
        store: the labels.
        crs: of the coordinates, where the file does not say it or says it wrong.
        applied: called with what was done, after `Edits.apply`.

    Raises:
        LabelInvalid: not readable, not exported by the workbench, or a row has no usable class or value.
    """
    name, frame = read_polygons(source, None, crs)
    frame = frame.reset_index(drop=True)
    missing = [column for column in _NEEDED if column not in frame.columns]
    if missing:
        raise LabelInvalid(
            f"{name} has no column {missing[0]!r}, so it is no export of labels. Give a file of export_labels, or add the "
            "outlines with import_labels."
        )
    ids, values = _ids(frame), _values(frame, name)
    names = _names(frame, name)
    shapes, repaired = mended(frame, name)
    labels = {label.id: label for label in store.labels() if label.place.crs is not None}
    kept = _keepers(ids, shapes, labels)
    said = {(label.place.key, label.class_name) for label in labels.values()}
    found = _Found(labels, imagery, shapes, names, values)
    for row, label_id in enumerate(ids):
        if label_id in labels and kept[label_id] == row:
            found.compare(row, labels[label_id])
        elif label_id and label_id not in labels:
            found.stranger(row, said)
        else:
            found.add(row, "added")
    gone = [label for label in labels.values() if label.id not in kept and label.when <= _exported(frame)]
    found.marks["removed"] = [(label, label.class_name, 0, None) for label in gone]
    return found.edits(name, gone, repaired, store, applied)


class _Found:
    """What comparing the rows has found so far."""

    def __init__(
        self,
        labels: dict[str, Label],
        imagery: Imagery,
        shapes: gpd.GeoSeries,
        names: Sequence[str],
        values: Sequence[int],
    ) -> None:
        self.imagery, self.shapes, self.names, self.values = imagery, shapes, names, values
        self.own = {raster.fingerprint: raster for raster in imagery}
        self.in_label_crs: dict[str, gpd.GeoSeries] = {}
        self.raster_of, self.placed = assign(shapes, imagery)
        self.rows: dict[str, list[int]] = {"changed": [], "added": [], "foreign": []}
        self.marks: dict[str, list[tuple[Label | None, str, int, Place | None]]] = {kind: [] for kind in self.rows}
        self.was: list[tuple[str, str, int, str, int, bool]] = []
        self.unchanged = self.outside = 0

    def compare(self, row: int, label: Label) -> None:
        """A row that has the id of a label."""
        name, value = self.names[row], self.values[row]
        outline = self._outline(row, str(label.place.crs))
        redrawn = not _same(outline, label.place)
        if not redrawn and (name, value) == (label.class_name, label.value):
            self.unchanged += 1
            return
        self.rows["changed"].append(row)
        self.was.append((label.id, name, value, label.class_name, label.value, redrawn))
        self.marks["changed"].append((label, name, value, self._moved(row, label, outline) if redrawn else label.place))

    def stranger(self, row: int, said: set[tuple[PlaceKey, str]]) -> None:
        """A row whose id no label has; if a label says the same by now, it is as it was."""
        place = self._place(row)
        if place is not None and (place.key, self.names[row]) in said:
            self.unchanged += 1
        else:
            self.add(row, "foreign")

    def add(self, row: int, kind: str) -> None:
        """A row that is no label yet."""
        place = self._place(row)
        if place is None:
            self.outside += 1
            return
        self.rows[kind].append(row)
        self.marks[kind].append((None, self.names[row], self.values[row], place))

    def edits(
        self, name: str, gone: list[Label], repaired: int, store: LabelStore, applied: Callable[[str], None] | None
    ) -> Edits:
        """All of it, as tables in the file's CRS."""
        crs = self.shapes.crs

        def table(kind: str) -> gpd.GeoDataFrame:
            rows = self.rows[kind]
            columns = {"class": [self.names[row] for row in rows], "value": [self.values[row] for row in rows]}
            return gpd.GeoDataFrame(columns, geometry=list(self.shapes.iloc[rows]), crs=crs)

        changed = gpd.GeoDataFrame(
            pd.DataFrame(self.was, columns=_COLUMNS), geometry=list(self.shapes.iloc[self.rows["changed"]]), crs=crs
        )
        removed = labels_frame(gone, crs.to_wkt())[["id", "class", "value", "geometry"]]
        return Edits(
            name,
            changed,
            table("added"),
            removed,
            table("foreign"),
            self.unchanged,
            self.outside,
            repaired,
            store,
            self.marks,
            applied,
        )

    def _outline(self, row: int, crs: str) -> BaseGeometry:
        if crs not in self.in_label_crs:
            self.in_label_crs[crs] = self.shapes.to_crs(crs)
        return self.in_label_crs[crs].iloc[row]

    def _moved(self, row: int, label: Label, outline: BaseGeometry) -> Place:
        """Where a label is now: on its own raster while any of it lies there, or that is not among these."""
        raster = self.own.get(label.place.raster)
        if raster is not None and raster.crs is not None:
            here = gpd.GeoSeries([outline], crs=label.place.crs).to_crs(raster.crs)
            place = self._place(row)
            if place is not None and share_inside(here, raster)[0] == 0:
                return place
        return Place(label.place.raster, outline, label.place.crs, label.place.date)

    def _place(self, row: int) -> Place | None:
        if self.raster_of[row] < 0:
            return None
        raster = self.imagery[int(self.raster_of[row])]
        return Place(raster.fingerprint, self.placed[row], raster.crs, raster.date)


def _same(outline: BaseGeometry, place: Place) -> bool:
    """Whether two outlines in the place's CRS are the same but for rounding."""
    system = CRS.from_user_input(place.crs)
    least = _SAME_DEGREES if system.is_geographic else _SAME_M / (system.axis_info[0].unit_conversion_factor or 1.0)
    return bool(shapely.hausdorff_distance(outline, place.geometry) <= least)


def _keepers(ids: Sequence[str], shapes: gpd.GeoSeries, labels: dict[str, Label]) -> dict[str, int]:
    """The row that keeps each known id: the only one, or the one nearest to the label's outline."""
    rows: dict[str, list[int]] = {}
    for row, label_id in enumerate(ids):
        if label_id in labels:
            rows.setdefault(label_id, []).append(row)
    kept = {}
    for label_id, found in rows.items():
        if len(found) > 1:
            place = labels[label_id].place
            here = shapes.iloc[found].to_crs(place.crs)
            kept[label_id] = found[int(np.argmin(shapely.hausdorff_distance(np.asarray(here), place.geometry)))]
        else:
            kept[label_id] = found[0]
    return kept


def _ids(frame: gpd.GeoDataFrame) -> list[str]:
    return ["" if pd.isna(value) else str(value).strip() for value in frame["id"]]


def _names(frame: gpd.GeoDataFrame, name: str) -> list[str]:
    empty = np.flatnonzero(frame["class"].isna() | (frame["class"].astype(str).str.strip() == ""))
    if len(empty):
        raise LabelInvalid(
            f"{name}: {len(empty):,} rows have no class, the first is row {empty[0] + 1}. Fill them in, or leave them out."
        )
    return [clean_name(str(value), "A class name") for value in frame["class"]]


def _values(frame: gpd.GeoDataFrame, name: str) -> list[int]:
    """+1 or -1 by row; what is not filled in is +1."""
    numbers: NDArray[np.float64] = pd.to_numeric(frame["value"], errors="coerce").fillna(np.nan).to_numpy(np.float64)
    numbers = np.where(frame["value"].isna(), 1, numbers)
    wrong = np.flatnonzero(~np.isin(numbers, (-1, 1)))
    if len(wrong):
        raise LabelInvalid(
            f"{name}: row {wrong[0] + 1} has the value {str(frame['value'].iloc[wrong[0]])[:40]!r}. Give 1 (it is there) or -1 "
            "(it is not), or delete the row to take the label back."
        )
    return [int(number) for number in numbers]


def _exported(frame: gpd.GeoDataFrame) -> str:
    """When the file was exported; of several times, which a merged file has, the earliest."""
    stamps = Counter(match[1] for value in frame["exported"].dropna() if (match := _STAMP.fullmatch(str(value))))
    return min(stamps, default="")
