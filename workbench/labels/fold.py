"""What a sequence of label events adds up to: the labels, classes and complete areas that hold, and who disagrees."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from workbench.errors import LabelInvalid
from workbench.labels.events import Event, LogFile, Mark, Place, PlaceKey

MAX_CLASSES = 254

# Okabe and Ito (2008), then Tol's "muted" (2021): told apart with any colour vision; those that show best on green
# and grey imagery come first.
PALETTE = (
    "#d55e00",
    "#56b4e9",
    "#f0e442",
    "#cc79a7",
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#882255",
    "#88ccee",
    "#ddcc77",
    "#332288",
    "#44aa99",
    "#cc6677",
    "#117733",
    "#aa4499",
    "#999933",
)


@dataclass(frozen=True)
class LabelClass:
    """A class: its number in masks (1..254, never reused), its name as the analyst wrote it, its colour ``#rrggbb``."""

    id: int
    name: str
    colour: str


@dataclass(frozen=True)
class Label:
    """A class that somebody saw (+1) or did not see (-1) at a place; ``whole``: a tile that was marked as it is."""

    id: str
    place: Place
    class_name: str
    value: int
    when: str
    by: str
    whole: bool = False


@dataclass(frozen=True)
class Conflict:
    """A place that sessions marked +1 and -1 for one class: the last word of each, the one that holds at the end."""

    place: Place
    class_name: str
    labels: tuple[Label, ...]


class Fold:
    """The state after some events.

    Attributes:
        labels: what holds, by place and class, in the order in which it was said.
        complete: the session that declared an area complete last, and the area.
        classes: by name.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.labels: dict[tuple[PlaceKey, str], Label] = {}
        self.complete: dict[PlaceKey, tuple[str, Place]] = {}
        self.classes: dict[str, LabelClass] = {}
        self._used: set[int] = set()
        for event in events:
            self.apply(event)

    def apply(self, event: Event) -> None:
        """Take in one event that is later than all before it; undo and redo are for `effective`."""
        if event.kind == "class":
            self._define(event.class_name, event.class_id, event.colour)
        elif event.kind == "complete":
            self.complete |= {place.key: (event.session, place) for place in event.places}
        for label in labels_of(event):
            key = label.place.key, label.class_name
            self.labels.pop(key, None)
            if label.value:
                self.labels[key] = label
        for mark in event.marks:
            # The line that defined the class was lost: its labels are not.
            if mark.class_name not in self.classes:
                self._define(mark.class_name, mark.class_id, "")

    def says(self, marks: Iterable[Mark], session: str) -> bool:
        """Whether marks would change nothing: they hold already, and this session said so last."""
        for mark in marks:
            for place in mark.places:
                label = self.labels.get((place.key, mark.class_name))
                value, own = (0, True) if label is None else (label.value, label.id.startswith(f"{session}/"))
                if value != mark.value or not own or (label is not None and label.whole != mark.whole):
                    return False
        return True

    def free_ids(self, count: int) -> range:
        """The numbers that the next classes get.

        Raises:
            LabelInvalid: a mask cannot hold that many.
        """
        first = max(self._used, default=0) + 1
        if first + count - 1 > MAX_CLASSES:
            raise LabelInvalid(
                f"There are {len(self.classes)} classes and a mask can hold {MAX_CLASSES}. Use one of those there are."
            )
        return range(first, first + count)

    def _define(self, name: str, number: int, colour: str) -> None:
        known = self.classes.get(name)
        if known is not None:
            number = known.id
        elif number in self._used or not 1 <= number <= MAX_CLASSES:
            # Two sessions took the same number at once: the earlier keeps it.
            number = self.free_ids(1)[0]
        self._used.add(number)
        self.classes[name] = LabelClass(number, name, colour or (known.colour if known else default_colour(number)))


def union(own: Sequence[Event], files: Sequence[LogFile]) -> tuple[dict[tuple[str, int], Event], list[str]]:
    """All events by name, and the names that two different events bear (a file copied, then written to)."""
    events = {event.name: event for event in own}
    problems = []
    for event in (event for file in files for event in file.events):
        if events.setdefault(event.name, event) != event:
            problems.append(f"Two events are named {event.session}/{event.sequence}; the first one found counts.")
    return events, problems


def effective(events: Iterable[Event]) -> list[Event]:
    """The events in their order without those that are undone."""
    ordered = sorted(events, key=lambda event: event.order)
    undone: set[tuple[str, int]] = set()
    for event in ordered:
        if event.kind == "undo":
            undone.add((event.session, event.of))
        elif event.kind == "redo":
            undone.discard((event.session, event.of))
    return [event for event in ordered if event.kind == "class" or event.name not in undone]


def labels_of(event: Event) -> Iterable[Label]:
    """Every single label an event sets; those with value 0 take one back."""
    number = 0
    for mark in event.marks:
        for place in mark.places:
            number += 1
            name = f"{event.session}/{event.sequence}/{number}"
            yield Label(name, place, mark.class_name, mark.value, event.when, event.by, mark.whole)


def find_conflicts(events: Iterable[Event]) -> tuple[Conflict, ...]:
    """Places whose sessions disagree, among effective events in order.

    The same person in a later session is a change of mind and no conflict; at the same time it is one.
    """
    spans: dict[str, tuple[str, str]] = {}
    last: dict[tuple[PlaceKey, str], dict[str, Label]] = defaultdict(dict)
    for event in events:
        spans[event.session] = spans.get(event.session, (event.when,))[0], event.when
        for label in labels_of(event):
            said = last[label.place.key, label.class_name]
            said.pop(event.session, None)
            said[event.session] = label

    def disagree(one: str, two: str, said: dict[str, Label]) -> bool:
        at_once = spans[one][0] <= spans[two][1] and spans[two][0] <= spans[one][1]
        return said[one].value * said[two].value == -1 and (at_once or said[one].by != said[two].by)

    return tuple(
        Conflict(next(iter(said.values())).place, class_name, tuple(label for label in said.values() if label.value))
        for (_, class_name), said in last.items()
        if len(said) > 1 and any(disagree(one, two, said) for one in said for two in said)
    )


def default_colour(number: int) -> str:
    """The colour of a class nobody chose one for."""
    return PALETTE[(number - 1) % len(PALETTE)]
