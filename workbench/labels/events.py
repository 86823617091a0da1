"""One event of the label log and its line of JSON on disk; what events add up to is the business of `store`."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import shapely
from shapely.geometry import mapping, shape
from shapely.geometry.base import BaseGeometry

from workbench.errors import LabelInvalid

if TYPE_CHECKING:
    from workbench.imagery.rasters import Raster

VERSION = 1
Kind = Literal["label", "class", "complete", "undo", "redo"]
PlaceKey = tuple[str, str | None, bytes]
_SUMMED = re.compile(rb'(\{.*),"sum":"([0-9a-f]{8})"\}', re.DOTALL)
_WHEN = re.compile(r"[0-8]\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@dataclass(frozen=True)
class Place:
    """Where a label lies, independent of any search grid.

    Attributes:
        raster: fingerprint of the raster it was seen on.
        geometry: a polygon in ``crs``.
        crs: of the geometry; None: it is in the raster's pixel (col, row) coordinates.
        date: ISO date of the imagery, if known.
    """

    raster: str
    geometry: BaseGeometry
    crs: str | None
    date: str | None = None

    @cached_property
    def key(self) -> PlaceKey:
        """What makes two places the same one: raster, CRS and outline, wherever the outline starts."""
        return self.raster, self.crs, shapely.to_wkb(shapely.normalize(self.geometry))

    def in_pixels(self, raster: Raster) -> BaseGeometry:
        """The geometry in pixel (col, row) coordinates of its raster.

        Raises:
            RasterRefused: the place has a CRS and the raster has none.
        """
        return self.geometry if self.crs is None else raster.to_pixels(self.geometry, self.crs)


@dataclass(frozen=True)
class Mark:
    """Places that get the same value for one class: +1 it is there, -1 it is not, 0 takes either back.

    ``whole``: the places are tiles that were marked as they are, so +1 says that it is somewhere in them.
    """

    class_name: str
    value: int
    places: tuple[Place, ...]
    class_id: int = 0
    whole: bool = False


@dataclass(frozen=True)
class Event:
    """One thing that was said; nothing ever changes or deletes it.

    Attributes:
        session: name of the session that said it, and ``sequence``, its number there.
        when: ISO time, UTC, never earlier than an event its session had seen: (when, session, sequence) is a total
            order in which an answer follows what it answers.
        kind: ``label`` has marks, ``class`` a class, ``complete`` places, ``undo`` and ``redo`` the number of another
            event of the same session.
    """

    session: str
    sequence: int
    when: str
    by: str
    kind: Kind
    marks: tuple[Mark, ...] = ()
    places: tuple[Place, ...] = ()
    class_name: str = ""
    class_id: int = 0
    colour: str = ""
    of: int = 0

    @property
    def order(self) -> tuple[str, str, int]:
        """The place in the order of all events, the same on every machine."""
        return self.when, self.session, self.sequence

    @property
    def name(self) -> tuple[str, int]:
        """What tells the event from all others."""
        return self.session, self.sequence

    @property
    def words(self) -> str:
        """What was said, for the status line."""
        if self.kind == "complete":
            return f"{_count(self.places, 'area')} declared complete"
        return describe(self.marks)


@dataclass(frozen=True)
class LogFile:
    """What one session's file gave: its events, and what was wrong with it in words."""

    events: tuple[Event, ...] = ()
    problems: tuple[str, ...] = ()


def describe(marks: tuple[Mark, ...]) -> str:
    """What marks say, in words."""
    verbs = {1: "labelled", -1: "labelled not", 0: "unlabelled"}
    return ", ".join(f'{_count(mark.places, "place")} {verbs[mark.value]} "{mark.class_name}"' for mark in marks)


def encode(event: Event) -> bytes:
    """An event as one line of JSON that ends with its own CRC-32, so that a damaged line is noticed."""
    value: dict[str, object] = {
        "v": VERSION,
        "session": event.session,
        "seq": event.sequence,
        "when": event.when,
        "by": event.by,
        "kind": event.kind,
    }
    if event.kind == "label":
        value["marks"] = [
            {"class": m.class_name, "id": m.class_id, "value": m.value}
            | ({"whole": True} if m.whole else {})
            | {"places": _places_to_json(m.places)}
            for m in event.marks
        ]
    elif event.kind == "class":
        value |= {"class": event.class_name, "id": event.class_id, "colour": event.colour}
    elif event.kind == "complete":
        value["places"] = _places_to_json(event.places)
    else:
        value["of"] = event.of
    body = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()[:-1]
    return body + b',"sum":"%08x"}\n' % zlib.crc32(body)


def read_log(path: Path) -> LogFile:
    """Read one session's file; damaged lines are left out and reported, never guessed at.

    Raises:
        LabelInvalid: a newer workbench wrote it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        return LogFile(problems=(f"{path.name} cannot be read ({error.strerror}); its labels are missing here.",))
    events, damaged, tail = [], [], ""
    for number, line, complete in _lines(data):
        try:
            events.append(_decode(line))
        except _NewerFormat as error:
            raise LabelInvalid(
                f"{path.name} was written by a newer workbench (label format {error}; this one reads {VERSION}). "
                "Update the workbench, or move that file out of the folder."
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, shapely.errors.ShapelyError):
            if complete:
                damaged.append(number)
            else:
                tail = f"{path.name}: the last line was cut off after {len(line):,} bytes and does not count."
    problems = [tail] if tail else []
    if damaged:
        problems.insert(
            0,
            f"{path.name}: {len(damaged)} of {len(damaged) + len(events)} lines are damaged and do not count "
            f"(first: line {damaged[0]}). Restore the file from a copy if they matter.",
        )
    return LogFile(tuple(events), tuple(problems))


class _NewerFormat(Exception):
    pass


def _lines(data: bytes) -> Iterator[tuple[int, bytes, bool]]:
    """Non-blank lines with their number, and whether a line end closes them."""
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    for number, line in enumerate(lines, 1):
        if line := line.strip(b"\r \t"):
            yield number, line, number < len(lines)


def _decode(line: bytes) -> Event:
    summed = _SUMMED.fullmatch(line)
    if summed is None:
        version = json.loads(line)["v"]
        raise _NewerFormat(version) if isinstance(version, int) and version > VERSION else ValueError("no checksum")
    if zlib.crc32(summed[1]) != int(summed[2], 16):
        raise ValueError("the checksum does not fit")
    value = json.loads(line)
    if value["v"] > VERSION:
        raise _NewerFormat(value["v"])
    if value["kind"] not in ("label", "class", "complete", "undo", "redo") or not _WHEN.fullmatch(value["when"]):
        raise ValueError("not an event")
    datetime.fromisoformat(value["when"])
    return Event(
        session=str(value["session"]),
        sequence=int(value["seq"]),
        when=value["when"],
        by=str(value["by"]),
        kind=value["kind"],
        marks=tuple(_mark(mark) for mark in value.get("marks", ())),
        places=tuple(_place(place) for place in value.get("places", ())),
        class_name=str(value.get("class", "")),
        class_id=int(value.get("id", 0)),
        colour=str(value.get("colour", "")),
        of=int(value.get("of", 0)),
    )


def _mark(value: dict[str, Any]) -> Mark:
    if value["value"] not in (-1, 0, 1):
        raise ValueError("a value is +1, -1 or 0")
    places = tuple(_place(place) for place in value["places"])
    return Mark(value["class"], value["value"], places, int(value["id"]), value.get("whole") is True)


def _place(value: dict[str, Any]) -> Place:
    return Place(value["raster"], shape(value["geometry"]), value["crs"], value["date"])


def _places_to_json(places: tuple[Place, ...]) -> list[dict[str, object]]:
    return [
        {"raster": place.raster, "crs": place.crs, "date": place.date, "geometry": mapping(place.geometry)}
        for place in places
    ]


def _count(places: tuple[Place, ...], noun: str) -> str:
    return f"{len(places):,} {noun}{'' if len(places) == 1 else 's'}"
