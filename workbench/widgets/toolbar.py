"""The line of controls above map and gallery: tools, classes, refine, undo, and the menus."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import traitlets

from workbench.errors import QueryInvalid, WorkbenchError
from workbench.session import OBJECT_QUEUES, ON_SCREEN, STRETCHES, Session
from workbench.widgets.view import View, source

UPLOAD_BYTES = 20_000_000
"""The largest chip that a browser may send."""
_WATCHED = ("query", "hits", "class_name", "labels_version")
TOOL_WORDS = {
    "search": ("Search", "Click a tile or draw an outline on the map: find what looks like it"),
    "positive": ("Positive", "Click a tile or draw an outline on the map: the class is there"),
    "negative": ("Negative", "Click a tile or draw an outline on the map: the class is not there"),
    "unlabel": ("Unlabel", "Click a tile or draw an outline on the map: take its label of the class back"),
    "complete": (
        "Complete",
        "Draw an outline on the map: inside it every object is labelled, the rest is background",
    ),
    "edit": ("Edit", "Draw an outline on the map: it takes the place of the selected object's"),
}


QUEUE_WORDS = {
    "": ("All hits", "as they are ranked, labelled ones too"),
    "similar": ("Most similar", "the best that carry no label yet"),
    "uncertain": ("Most uncertain", "where the scorer is in two minds"),
    "diverse": ("Most varied", "uncertain ones, unlike each other"),
    "mistakes": ("Likely mistakes", "labels that all others contradict"),
    "audit": ("Audit", "ten tiles by lot: tells how far you are"),
    "disagreement": ("Disagreement", "U-Net and scorer say different things"),
    "outline": ("To outline", "few tiles that stand for many: outline all in them"),
    "objects uncertain": ("Least sure", "the lowest probability first"),
    "objects disagreement": ("Doubted", "where the scorer sees nothing of the kind"),
    "objects errors": ("Largest errors", "labels say one thing, the map another"),
}


METHOD_WORDS = {
    "auto": "chosen by the marks there are",
    "nearest": "nearest to the first example",
    "rocchio": "examples pulled together",
    "logistic": "regression against the archive",
    "spread": "regression, with what marks lead to",
}
"""How scorers are learned, by the names of `search.refine.METHODS`."""


class Toolbar(View):
    """The controls.

    A menu's verb carries ``ask``, a name that the browser gave it; the answer is ``{"ask": ask}`` when it was done, with
    ``"failed"``, the reason in words, when it was not. A chip comes in pieces, since a server may close a connection on
    a message over 10 MB: each has ``ask``, the file's ``name``, its ``size`` and the byte it starts at.

    Attributes:
        tools: id, name and what it does of each tool.
        tool: the one in use.
        classes: id, name, colour, counts of positive and negative labels, of each class there is to choose.
        class_name: the one chosen.
        palette: colours to choose from.
        refine: why the hits cannot be refined; empty when they can.
        queues: id, name and what it shows, and why it cannot be shown (empty when it can), of all there is to mark next.
        queue: the id of what is shown; empty for all hits.
        reviewing: whether that are objects of the map.
        methods: id and name of each way to learn a scorer.
        method: the id of the one in use.
        small_tiles: whether small tiles speak for large ones.
        no_small_tiles: why they cannot; empty when they can.
        undo: whether there is something to take back.
        redo: whether there is something to say again.
        layers: number, name, whether shown, opacity of each layer there is.
        stretch: of the imagery.
        stretches: those there are.
        training: chip, minutes and epochs to begin with.
        paths: where exports could go, as of the last ``suggest paths``.
        resumable: the training that was interrupted: words, batch; empty without one.
        ready: what there is to write or run: labels, polygons, model.
        job: name of the running job; empty when none runs.
        limit: bytes that a chip may have.
    """

    _esm = source("common.js", "icons.js", "panels.js", "classes.js", "menus.js", "queues.js", "toolbar.js")
    _css = source("toolbar.css")
    tools: traitlets.List[Any] = traitlets.List().tag(sync=True)
    tool = traitlets.Unicode().tag(sync=True)
    classes: traitlets.List[Any] = traitlets.List().tag(sync=True)
    class_name = traitlets.Unicode().tag(sync=True)
    palette: traitlets.List[Any] = traitlets.List().tag(sync=True)
    refine = traitlets.Unicode().tag(sync=True)
    queues: traitlets.List[Any] = traitlets.List().tag(sync=True)
    queue = traitlets.Unicode().tag(sync=True)
    reviewing = traitlets.Bool().tag(sync=True)
    methods: traitlets.List[Any] = traitlets.List([{"id": m, "name": n} for m, n in METHOD_WORDS.items()]).tag(
        sync=True
    )
    method = traitlets.Unicode().tag(sync=True)
    small_tiles = traitlets.Bool().tag(sync=True)
    no_small_tiles = traitlets.Unicode().tag(sync=True)
    undo = traitlets.Bool().tag(sync=True)
    redo = traitlets.Bool().tag(sync=True)
    layers: traitlets.List[Any] = traitlets.List().tag(sync=True)
    stretch = traitlets.Unicode().tag(sync=True)
    stretches = traitlets.List(list(STRETCHES)).tag(sync=True)
    training = traitlets.Dict().tag(sync=True)
    paths = traitlets.Dict().tag(sync=True)
    resumable = traitlets.Dict().tag(sync=True)
    ready: traitlets.List[Any] = traitlets.List().tag(sync=True)
    job = traitlets.Unicode().tag(sync=True)
    limit = traitlets.Int(UPLOAD_BYTES).tag(sync=True)

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._upload = ("", b"")
        self.tools = [{"id": tool, "name": name, "title": title} for tool, (name, title) in TOOL_WORDS.items()]
        self.palette = list(session.palette)
        self.training = session.training_defaults
        self.paths = session.new_paths()
        self.watch(lambda: setattr(self, "tool", session.tool), "tool")
        self.watch(self._show_classes, "class_name", "labels_version")
        self.watch(self._show_verbs, *_WATCHED)
        self.watch(self._show_queues, "scorer", "class_name", "labels_version", "prediction", "polygons")
        self.watch(self._show_queue_shown, "queue")
        self.no_small_tiles = session.no_small_tiles
        self.watch(self._show_method, "method", "small_tiles")
        self.watch(self._show_layers, "layers_version", "shown", "opacity", "stretch")
        self.watch(self._show_ready, "model", "polygons", "labels_version")
        self.watch(lambda: setattr(self, "resumable", session.resumable), "interrupted")
        self.watch(lambda: setattr(self, "job", session.running), "running")

    def actions(self) -> Mapping[str, Callable[..., object]]:
        """Every control's verb."""
        session = self.session
        return {
            "tool": session.use_tool,
            "class": session.choose_class,
            "add class": session.add_class,
            "colour": session.colour_class,
            "refine": lambda: session.go_on(ON_SCREEN),
            "queue": self._show_queue,
            "method": self._learn_by,
            "undo": session.undo,
            "redo": session.redo,
            "layer": session.show_layer,
            "opacity": session.set_opacity,
            "stretch": session.show_stretch,
            "whole imagery": session.show_whole,
            "suggest paths": lambda: setattr(self, "paths", session.new_paths()),
            "go to": self._go_to,
            "search by image": self._image,
            "upload": self._take_piece,
            "export": self._write,
            "train": self._train,
            "resume training": self._resume_training,
            "map all imagery": self._map,
        }

    def _show_queue(self, name: str) -> None:
        if name:
            self.session.show_queue(name)
        else:
            self.session.show_ranked(ON_SCREEN)

    def _learn_by(self, method: str, small_tiles: bool) -> None:
        self.session.choose_scorer(method, small_tiles)
        self.session.go_on(ON_SCREEN)

    def _go_to(self, text: str, ask: str) -> None:
        self._answer(ask, lambda: self.session.go_to(text))

    def _image(self, path: str, ask: str) -> None:
        self._answer(ask, lambda: self.session.search(image=path, k=ON_SCREEN))

    def _take_piece(self, ask: str, name: str, size: int, start: int, data: bytes) -> None:
        """Gather a chip piece by piece, in their order, and search for it when it is whole."""
        so_far = self._upload[1] if self._upload[0] == ask else b""
        whole = so_far + data
        if size > UPLOAD_BYTES or len(whole) > size or start != len(so_far):
            self._upload = ("", b"")
            self._answer(ask, lambda: _refuse_upload(name, size))
            return
        self._upload = (ask, whole)
        if len(whole) == size:
            self._upload = ("", b"")
            self._answer(ask, lambda: self.session.search_upload(name, whole, k=ON_SCREEN))

    def _write(self, what: str, path: str, chip: int, ask: str) -> None:
        session = self.session
        verbs: dict[str, Callable[[], object]] = {
            "labels": lambda: session.write_labels(path),
            "chips": lambda: session.write_chips(path, chip),
            "polygons": lambda: session.write_polygons(path),
        }
        if what in verbs:
            self._answer(ask, verbs[what])

    def _train(self, chip: int, minutes: float, epochs: int, map_after: bool, ask: str, go_on: bool = False) -> None:
        given: dict[str, Any] = {"chip": chip, "minutes": minutes, "epochs": epochs}
        self._answer(ask, lambda: self.session.train_here(**given, map_after=map_after, go_on=go_on))

    def _resume_training(self, batch: int, map_after: bool, ask: str) -> None:
        self._answer(ask, lambda: self.session.resume_here(batch=batch, map_after=map_after))

    def _map(self, ask: str) -> None:
        self._answer(ask, self.session.map_here)

    def _answer(self, ask: str, verb: Callable[[], object]) -> None:
        """Do what a menu asks for, and tell it whether that was done; the status line hears of a failure as always."""
        try:
            verb()
        except Exception as error:
            foreseen = isinstance(error, WorkbenchError)
            self.send({"ask": ask, "failed": str(error) if foreseen else "That failed; the line below says more."})
            raise
        self.send({"ask": ask})

    def _show_classes(self) -> None:
        session = self.session
        counts = session.label_counts()
        self.classes = [
            {"id": each.id, "name": each.name, "colour": each.colour, "counts": list(counts.get(each.name, (0, 0)))}
            for each in session.class_choices
        ]
        self.class_name = session.class_name

    def _show_verbs(self) -> None:
        session = self.session
        self.refine = "" if session.can_refine else "Search for something, or mark a tile as positive, then refine"
        self.undo, self.redo = session.can_undo, session.can_redo

    def _show_queue_shown(self) -> None:
        self.queue, self.reviewing = self.session.queue, self.session.queue in OBJECT_QUEUES

    def _show_queues(self) -> None:
        closed = self.session.queues_closed
        self.queues = [
            {"id": queue, "name": name, "says": says, "why": closed.get(queue, "")}
            for queue, (name, says) in QUEUE_WORDS.items()
        ]

    def _show_method(self) -> None:
        self.method, self.small_tiles = self.session.method, self.session.small_tiles

    def _show_layers(self) -> None:
        session = self.session
        self.layers = [
            {
                "number": info.number,
                "name": info.name,
                "shown": info.number in session.shown,
                "opacity": session.opacity_of(info.number),
            }
            for info in session.layers.infos()
            if info.available
        ]
        self.stretch = session.stretch

    def _show_ready(self) -> None:
        session = self.session
        there = {
            "labels": bool(session.label_counts()),
            "polygons": session.polygons is not None,
            "model": session.model is not None,
        }
        self.ready = [name for name, is_there in there.items() if is_there]


def _refuse_upload(name: str, size: int) -> None:
    raise QueryInvalid(
        f"{name[:80]} ({size / 1e6:.1f} MB) could not be taken over whole; an example may have "
        f"{UPLOAD_BYTES / 1e6:.0f} MB. Cut out what you look for, or give the path of a file that this machine can read."
    )
