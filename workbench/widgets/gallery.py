"""The gallery: the page of hits as cards, to be looked at, labelled by click and key, and searched from."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import traitlets

from workbench.errors import QueryInvalid, WorkbenchError
from workbench.session import OBJECT_QUEUES, ON_SCREEN, PAGE, QUEUES, Session
from workbench.widgets.view import View, source

_ASK_LENGTH = 100
_NO_REMARK = ("", "", 0, False)


class Gallery(View):
    """Cards of the page that is shown, and the keys of the workbench.

    The browser moves the selection and turns keys into messages, each about the tile that was selected when the key was
    pressed. A message may carry ``ask``, any short text: when all that it asked for is done, and what that changed is on
    its way, ``{"settled": ask}`` is sent. Until then the browser keeps the keys that follow a turn of the page. The answer
    to ``context`` is ``{"context": number}`` with the picture as its only buffer.

    Attributes:
        page: set as one value: ``key``, another one for another page; ``cards`` of number, rank, score, text and, of objects
            of a map, their outline in the picture; ``thumbs``, their pictures as JPEG, empty where a tile cannot be read;
            ``index`` of ``pages``; ``total`` hits; ``query``, ``kind`` and ``queue`` in words, and whether these are
            ``objects``; ``room`` for cards; ``mapped``, whether there is a map to click on.
        marks: labels of the cards that carry any: tile number as text -> class name -> +1 or -1.
        remarks: what is said on cards: tile number as text -> ``words``, what they mean (``says``), and whether they ``warn``.
        classes: id, name and colour of those there are, were offered or are looked for, in the order of their keys 1 to 9.
        class_name: the class that is being looked for.
        selected: tile that keys act on; -1 for none.
        hovered: tile under the pointer, two-way; -1 for none.
    """

    _esm = source("common.js", "gallery_cards.js", "gallery_notes.js", "gallery_keys.js", "gallery.js")
    _css = source("gallery.css")
    page = traitlets.Dict().tag(sync=True)
    marks = traitlets.Dict().tag(sync=True)
    remarks = traitlets.Dict().tag(sync=True)
    classes: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    class_name = traitlets.Unicode().tag(sync=True)
    selected = traitlets.Int(-1).tag(sync=True)
    hovered = traitlets.Int(-1).tag(sync=True)

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._mapped = session.extent is not None
        self.watch(self._show_page, "hits", "page", "query", "scorer", "queue")
        self.watch(self._show_marks, "labels_version", "class_name", "remarks")
        self.watch(lambda: setattr(self, "selected", session.selected), "selected")
        self.watch(lambda: setattr(self, "hovered", session.hovered), "hovered")
        self.observe(lambda change: self.attempt("pointing", self._point, number=change["new"]), "hovered")

    def actions(self) -> Mapping[str, Callable[..., object]]:
        """What keys, cards and buttons ask for."""
        session = self.session
        return {
            "select": session.select,
            "label": self.label,
            "label_page": self.label_page,
            "choose": session.choose_class,
            "undo": session.undo,
            "redo": session.redo,
            "page": session.go_to_page,
            "refine": self.refine,
            "like": self.like,
            "browse": self.browse,
            "context": self.context,
            "go_to": session.show_tile,
            "edit": self.edit,
            "complete": session.complete_around,
        }

    def label(self, number: int, value: int, class_name: str = "", then: int = -1) -> None:
        """Label a tile, then select another; without a class for the one that an earlier key may just have chosen."""
        self.session.label([number], class_name or None, value=value)
        self.session.select(then)

    def label_page(self, value: int, numbers: list) -> None:  # type: ignore[type-arg]
        """Label those of a page's tiles that carry no label of the class that is looked for, as one event."""
        session = self.session
        shown = [number for number in numbers[:PAGE] if type(number) is int]
        bare = [number for number in shown if session.class_name not in session.marks_of(number)]
        if bare:
            session.label(bare, value=value)
        else:
            session.set_state(status=f"Every card on this page carries a label of {session.class_name} already.")

    def refine(self) -> None:
        """Rank the archive by what was labelled; a queue stays the same one."""
        self.session.go_on(ON_SCREEN)

    def like(self, number: int) -> None:
        """Search for tiles like a tile."""
        self.session.like(number, ON_SCREEN)

    def browse(self) -> None:
        """Show some tiles of everywhere."""
        self.session.browse(ON_SCREEN)

    def edit(self, number: int) -> None:
        """Show an object on the map, where it is then outlined anew."""
        session = self.session
        session.select(number)
        if session.queue not in OBJECT_QUEUES:
            raise QueryInvalid(
                "Only objects of a map are outlined anew. Choose some to review, by the arrow beside Refine."
            )
        session.show_tile(number)
        session.use_tool("edit")
        session.set_state(
            status="Draw the right outline on the map, corner by corner; it takes the place of the object's."
        )

    def context(self, number: int) -> None:
        """Send a tile in its surroundings."""
        self.send({"context": number}, [self.session.context(number)])

    def _take(self, widget: object, message: object, buffers: list[memoryview]) -> None:
        asked = dict(message) if isinstance(message, Mapping) else {}
        ask = asked.pop("ask", None)
        try:
            super()._take(widget, asked, buffers)
        finally:
            if isinstance(ask, str) and len(ask) <= _ASK_LENGTH:
                self.send({"settled": ask})

    def _point(self, number: int) -> None:
        if number != self.session.hovered:
            self.session.set_state(hovered=number)

    def _show_page(self) -> None:
        """Page, labels and selection in one message, so that the browser never shows one on another's cards."""
        session = self.session
        scorer, hits = session.scorer, session.page_hits()
        signed = scorer is not None and scorer.bias != 0
        page: dict[str, Any] = {
            "cards": [
                {
                    "number": hit.number,
                    "rank": hit.rank,
                    "score": self._score(hit.score, signed),
                    "text": session.tile_text(hit.number),
                    "outline": session.outline(hit.number),
                }
                for hit in hits
            ],
            "index": session.page,
            "pages": session.pages,
            "total": len(session.hits),
            "query": session.query,
            "kind": "" if scorer is None else scorer.kind,
            "queue": {**QUEUES, **OBJECT_QUEUES}.get(session.queue, ""),
            "objects": session.queue in OBJECT_QUEUES,
            "room": PAGE,
            "mapped": self._mapped,
        }
        # Made of what is shown: every view of a session has the same, and a page is cut and sent once.
        page["key"] = zlib.crc32(json.dumps(page).encode())
        if page["key"] == self.page.get("key"):
            return
        page["thumbs"] = self._pictures([hit.number for hit in hits])
        with self.hold_sync():
            self.page = page
            self._show_marks()
            self.selected = session.selected

    def _score(self, score: float, signed: bool) -> str:
        """What a card says; of an audit nothing may hint at what to say, and of an object how sure the network is."""
        if self.session.queue in OBJECT_QUEUES:
            return f"{score:.0%}"
        return "–" if self.session.queue == "audit" else _score_text(score, signed)

    def _pictures(self, numbers: list[int]) -> list[bytes]:
        """The cards' pictures; of a tile that cannot be read none, and the status line says why, once a page."""
        pictures, error = [], None
        for number in numbers:
            try:
                pictures.append(self.session.thumbnail(number))
            except WorkbenchError as problem:
                pictures.append(b"")
                error = problem
        if error is not None:
            self.session.fail(f"showing {pictures.count(b'')} of {len(numbers)} cards", error)
        return pictures

    def _show_marks(self) -> None:
        session = self.session
        marks = {str(hit.number): session.marks_of(hit.number) for hit in session.page_hits()}
        with self.hold_sync():
            self.classes = [{"id": each.id, "name": each.name, "colour": each.colour} for each in session.class_choices]
            self.class_name = session.class_name
            self.marks = {number: values for number, values in marks.items() if values}
            self.remarks = {
                number: {"words": words, "says": says, "warn": warn}
                for number, (words, says, value, warn) in (
                    (each, session.remarks.get(int(each), _NO_REMARK)) for each in marks
                )
                if words and marks[number].get(session.class_name, 0) == value
            }


def _score_text(score: float, signed: bool) -> str:
    """A score as cards show it; a dash where nothing ranked the tiles."""
    if not math.isfinite(score):
        return "–"
    return f"{score:{'+' if signed else ''}.3f}".replace("-", "−")
