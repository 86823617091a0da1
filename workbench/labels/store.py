"""The append-only log of labels with undo: one JSON-lines file a session, on disk before the state changes."""

from __future__ import annotations

import getpass
import logging
import os
import re
import secrets
import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from workbench.errors import LabelInvalid, LabelNotSaved
from workbench.files import append_durably
from workbench.labels.checks import checked_mark, checked_place, clean_name
from workbench.labels.events import Event, Kind, LogFile, Mark, Place, describe, encode, read_log
from workbench.labels.fold import Conflict, Fold, Label, LabelClass, default_colour, effective, find_conflicts, union

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

__all__ = ["Conflict", "Label", "LabelClass", "LabelStore", "Mark", "Place"]

log = logging.getLogger(__name__)
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


class LabelStore:
    """Labels in a folder that any number of sessions may write to at once.

    Every call that changes something is one event and one undo, appended durably to this session's own file before it
    counts; `labels` is what all events of all sessions add up to. Later events win, by (when, session, sequence), so
    that every session that has read the same files sees the same. All methods may be called from any thread.

    Args:
        folder: where the log files are; made at the first event.
        by: who labels; the user's login name when None.

    Raises:
        LabelInvalid: the folder is a file, or a newer workbench wrote in it.
    """

    def __init__(self, folder: str | Path, *, by: str | None = None) -> None:
        self.folder = Path(folder)
        self.by = clean_name(_login() if by is None else by, "A labeller's name")
        self.session = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
        self._path = self.folder / f"{self.session}.jsonl"
        self._lock = threading.RLock()
        self._own: list[Event] = []
        self._done: list[Event] = []
        self._undone: list[Event] = []
        self._files: dict[str, tuple[tuple[int, int], LogFile]] = {}
        self._events: dict[tuple[str, int], Event] = {}
        self._fold = Fold()
        self._latest = ""
        self._sequence = 0
        self._torn = False
        self._problems: tuple[str, ...] = ()
        self.reload()

    def add(self, places: Iterable[Place], class_name: str, value: int = 1, *, whole: bool = False) -> str:
        """Label places: +1 it is there, -1 it is not, 0 takes the label back; sets, never toggles.

        A class of a new name is defined. Nothing is written when this session said the same before. ``whole``: the places
        are tiles marked as they are, not outlines: a mask of one is weak, and an outline in it says more.

        Returns:
            What was done, in words.

        Raises:
            LabelInvalid: no place, a geometry, value or name that cannot be used; nothing was changed.
            LabelNotSaved: it could not be written; nothing was changed.
        """
        return self.add_marks([Mark(class_name, value, tuple(places), whole=whole)])

    def add_marks(self, marks: Sequence[Mark]) -> str:
        """Label places with several classes or values as one event and one undo; see `add`."""
        checked = tuple(checked_mark(mark) for mark in marks if mark.places)
        if not checked:
            raise LabelInvalid("There is no place to label. Select at least one tile or outline.")
        with self._lock:
            if self._fold.says(checked, self.session):
                return describe(checked) + " already"
            events = self._define_missing([mark.class_name for mark in checked])
            ids = {event.class_name: event.class_id for event in events}
            ids |= {name: known.id for name, known in self._fold.classes.items()}
            marks = tuple(replace(mark, class_id=ids[mark.class_name]) for mark in checked)
            return self._act([*events, replace(self._event("label"), marks=marks)])

    def declare_complete(self, places: Iterable[Place]) -> str:
        """Declare areas complete: inside, every object of every class is outlined, so the rest is background.

        Returns:
            What was done, in words.

        Raises:
            LabelInvalid: no area, or a geometry that cannot be used; nothing was changed.
            LabelNotSaved: it could not be written; nothing was changed.
        """
        areas = tuple(checked_place(place) for place in places)
        if not areas:
            raise LabelInvalid("There is no area to declare complete. Draw at least one outline.")
        with self._lock:
            event = replace(self._event("complete"), places=areas)
            if all(self._fold.complete.get(area.key, ("",))[0] == self.session for area in areas):
                return event.words + " already"
            return self._act([event])

    def complete(self) -> tuple[Place, ...]:
        """The areas that are declared complete, in the order in which they were."""
        with self._lock:
            return tuple(place for _, place in self._fold.complete.values())

    def undo(self) -> str | None:
        """Undo the last thing that this session said and has not undone; None when there is none.

        Undoing is an event too: nothing is ever deleted. Defining a class is not undone: its number is never reused.

        Returns:
            What was undone, in words.

        Raises:
            LabelNotSaved: it could not be written; nothing was changed.
        """
        return self._step("undo", self._done, self._undone)

    def redo(self) -> str | None:
        """Say again what `undo` took back last; None when there is nothing, or something was said since."""
        return self._step("redo", self._undone, self._done)

    @property
    def can_undo(self) -> bool:
        """Whether `undo` has something to take back."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether `redo` has something to say again."""
        return bool(self._undone)

    def define_class(self, name: str, colour: str | None = None) -> LabelClass:
        """Define a class, or give one that exists another colour.

        Args:
            name: any text of 1 to 80 characters without control characters; kept as plain data.
            colour: ``#rrggbb``; from a colour-blind-safe palette when None.

        Raises:
            LabelInvalid: a name or colour that cannot be used, or 254 classes exist; nothing was changed.
            LabelNotSaved: it could not be written; nothing was changed.
        """
        name = clean_name(name, "A class name")
        if colour is not None and not _COLOUR.fullmatch(colour):
            raise LabelInvalid(f"{colour[:40]!r} is no colour. Give it as #rrggbb, for example #d55e00.")
        with self._lock:
            events = self._define_missing([name])
            if not events and colour is not None and colour.lower() != self._fold.classes[name].colour:
                known = self._fold.classes[name]
                events = [replace(self._event("class"), class_name=name, class_id=known.id)]
            if events:
                self._save([replace(events[0], colour=colour.lower() if colour else events[0].colour)])
            return self._fold.classes[name]

    @property
    def classes(self) -> tuple[LabelClass, ...]:
        """The classes in the order of their numbers."""
        with self._lock:
            return tuple(sorted(self._fold.classes.values(), key=lambda known: known.id))

    def labels(self, class_name: str | None = None) -> tuple[Label, ...]:
        """The labels that hold, of one class or all, in the order in which they were said."""
        with self._lock:
            labels = tuple(self._fold.labels.values())
        return labels if class_name is None else tuple(label for label in labels if label.class_name == class_name)

    def conflicts(self) -> tuple[Conflict, ...]:
        """Places that sessions marked +1 and -1 for the same class; the last label of each is the one that holds."""
        with self._lock:
            return find_conflicts(effective(self._events.values()))

    def reload(self) -> None:
        """Read what other sessions wrote since.

        Raises:
            LabelInvalid: the folder is a file, or a newer workbench wrote in it; nothing was changed.
        """
        with self._lock:
            files = {path.name: self._read(path) for path in self._others()}
            if files == self._files:
                return
            self._events, copies = union(self._own, [file for _, file in files.values()])
            self._files = files
            self._problems = (*(problem for _, file in files.values() for problem in file.problems), *copies)
            for problem in self._problems:
                log.warning("%s", problem)
            self._latest = max((event.when for event in self._events.values()), default="")
            self._refold()

    @property
    def problems(self) -> tuple[str, ...]:
        """What was damaged in the files that were read, in words."""
        with self._lock:
            return self._problems

    def frame(self, crs: str = "EPSG:4326") -> GeoDataFrame:
        """The labels as a table in one CRS.

        Returns:
            Columns id, class, value, raster, date, when, by, geometry. Labels in pixels of a raster without CRS have no
            place on earth; they are left out and counted in ``frame.attrs["left_out"]``.
        """
        from workbench.labels.frames import labels_frame

        return labels_frame(self.labels(), crs)

    def _event(self, kind: Kind) -> Event:
        """The start of a new event; its number is never given again, also when the event is not saved."""
        now = f"{datetime.now(UTC):{_TIME}}"
        if now <= self._latest:
            # Another session's clock is ahead: what answers it must come after it all the same.
            now = f"{datetime.fromisoformat(self._latest) + timedelta(microseconds=1):{_TIME}}"
        self._sequence += 1
        return Event(self.session, self._sequence, now, self.by, kind)

    def _define_missing(self, names: Sequence[str]) -> list[Event]:
        """Events that define the classes which do not exist yet, not saved."""
        if any(name not in self._fold.classes for name in names):
            # Another session may have defined them, or taken the next number.
            self.reload()
        missing = [name for name in dict.fromkeys(names) if name not in self._fold.classes]
        return [
            replace(self._event("class"), class_name=name, class_id=number, colour=default_colour(number))
            for name, number in zip(missing, self._fold.free_ids(len(missing)), strict=True)
        ]

    def _act(self, events: Sequence[Event]) -> str:
        """Save events of which the last one is what can be undone."""
        self._save(events)
        self._done.append(events[-1])
        self._undone.clear()
        return events[-1].words

    def _step(self, kind: Literal["undo", "redo"], source: list[Event], target: list[Event]) -> str | None:
        with self._lock:
            if not source:
                return None
            self._save([replace(self._event(kind), of=source[-1].sequence)])
            target.append(source.pop())
            self._refold()
            return target[-1].words

    def _save(self, events: Sequence[Event]) -> None:
        """Bring events to disk, then into the state; on failure neither is changed."""
        # A write that was interrupted may have left half a line: the next one must not be glued to it.
        data = b"\n" * self._torn + b"".join(encode(event) for event in events)
        self._torn = True
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            append_durably(self._path, data)
        except OSError as error:
            raise LabelNotSaved(
                f"Not saved: {error.strerror or error}. Nothing was changed and earlier labels are intact; "
                f"make {self.folder} writable or make room there, then do it again."
            ) from error
        self._torn = False
        for event in events:
            self._own.append(event)
            self._events[event.name] = event
            self._fold.apply(event)
        self._latest = events[-1].when

    def _refold(self) -> None:
        self._fold = Fold(effective(self._events.values()))

    def _others(self) -> list[Path]:
        """The other sessions' files."""
        try:
            found = sorted(self.folder.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise LabelInvalid(
                f"{self.folder} cannot be read as a folder of labels ({error.strerror}). "
                "Give the folder in which labels are, or shall be, kept."
            ) from error
        return [path for path in found if path.suffix == ".jsonl" and path != self._path]

    def _read(self, path: Path) -> tuple[tuple[int, int], LogFile]:
        """A file's size and time and what is in it, read only when it changed."""
        try:
            state = path.stat()
        except OSError:
            return (0, 0), read_log(path)
        stamp = state.st_size, state.st_mtime_ns
        known = self._files.get(path.name)
        return known if known is not None and known[0] == stamp else (stamp, read_log(path))


def _login() -> str:
    try:
        return os.environ.get("JUPYTERHUB_USER") or getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
