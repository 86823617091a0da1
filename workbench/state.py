"""What one piece of work consists of, as traits that views observe: set whole, in one lock, kept on disk, failures in words."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import geopandas as gpd
import numpy as np
import traitlets
from numpy.typing import NDArray

from workbench.descriptors.archive import Archive
from workbench.errors import WorkbenchError
from workbench.jobs import Job, Jobs, Progress
from workbench.layers import HEAT, IMAGERY, LABELS, POLYGONS, PREDICTION
from workbench.resume import Resumed, pack, write_state
from workbench.search.index import Hits, Scorer
from workbench.search.refine import METHODS
from workbench.search.stopping import Estimate
from workbench.segmentation.interrupted import Interrupted

log = logging.getLogger(__name__)
T = TypeVar("T")

PAGE = 20
"""Cards on a page."""
TOOLS = ("search", "positive", "negative", "unlabel", "complete", "edit")
"""What a click or an outline on the map does."""
QUEUES = {
    "similar": "most similar",
    "uncertain": "most uncertain",
    "diverse": "most varied",
    "mistakes": "likely mistakes, and what the scorer thinks",
    "audit": "audit",
    "disagreement": "U-Net and scorer disagree",
    "outline": "to outline whole, then declare complete",
}
"""What can be shown to be marked next, and its name in words."""
OBJECT_QUEUES = {
    "objects uncertain": "least sure objects of the map",
    "objects disagreement": "objects that the scorer doubts",
    "objects errors": "where map and labels differ",
}
"""What of the last map can be shown to be reviewed, and its name in words."""
Remark = tuple[str, str, int, bool]
"""What a tile's card says, what that means, the label of the class with which it holds (+1, -1, or 0 for none), and whether
it warns of that label."""
NO_REMARKS: Mapping[int, Remark] = MappingProxyType({})
STRETCHES = ("as searched", "2-98 %", "full range")
# What is selected is kept with the rest, but an arrow key alone is not worth a file.
_KEPT = {"query", "query_ring", "scorer", "hits", "page", "class_name", "map_view", "shown", "opacity", "stretch"}
_KEPT |= {"model", "prediction", "queue", "remarks", "answers", "method", "small_tiles"}
_PROGRESS_S = 0.2
_OPACITY = {HEAT: 0.55, PREDICTION: 0.6}


class State(traitlets.HasTraits):
    """The observable state of one piece of work; views observe it and hold no state of their own.

    Attributes:
        scorer: what ranks the archive now; None before the first search.
        method: how a scorer is learned from labels, one of `search.refine.METHODS`.
        small_tiles: whether the best smaller tile inside a tile speaks for it; see `search.refinement.sizes`.
        hits: the answer to it.
        engine: how the archive is searched, in words; empty before that is known.
        query: where the search started, in words.
        query_ring: outline of the example, [[lat, lon], ...]; empty without one on earth.
        queue: which of `QUEUES` or `OBJECT_QUEUES` the hits are; empty when they are all there are.
        remarks: what is said on the cards of some tiles, by number.
        answers: class name -> how many of the best tiles are the answer that is judged; by the marks where none is given.
        estimates: how far the search for the class is, by number of labels, oldest first.
        page: of the hits that is shown, from 0.
        selected: tile that keys act on; -1 for none.
        hovered: tile under the pointer, on a card or on the map; -1 for none.
        class_name: the class that is being looked for.
        labels_version: goes up with every change of the labels.
        tool: what a click or an outline on the map does, one of `TOOLS`.
        map_view: lat, lon (degrees) and zoom of the map; empty: the whole imagery.
        shown: layers on the map, by number.
        opacity: of layers by number, 0 to 1; see `opacity_of`.
        stretch: of the imagery on the map, one of `STRETCHES`.
        layers_version: goes up with every change of what a layer shows.
        status: what happened last, in words.
        alarm: whether that is a failure.
        job: the running or last background job.
        running: its name while it runs; empty when none runs.
        progress: how far it is, in words; empty when none runs.
        fraction: of its stage that is done, 0 to 1; -1 when none runs.
        curve: a row per epoch of the running or last training: epoch, train_loss, val_loss, iou.
        interrupted: trainings beside the labels that stopped before their end, the latest first.
        model: the last trained U-Net.
        prediction: the last probability raster, or folder of them.
        polygons: what was outlined in it.
    """

    scorer = traitlets.Instance(Scorer, allow_none=True)
    method = traitlets.Enum(METHODS, default_value=METHODS[0])
    small_tiles = traitlets.Bool()
    hits = traitlets.Instance(Hits, args=())
    engine = traitlets.Unicode()
    query = traitlets.Unicode()
    query_ring: traitlets.List[list[float]] = traitlets.List()
    queue = traitlets.Unicode()
    remarks: traitlets.Dict[int, Remark] = traitlets.Dict()
    answers: traitlets.Dict[str, int] = traitlets.Dict()
    estimates: traitlets.List[Estimate] = traitlets.List()
    page = traitlets.Int()
    selected = traitlets.Int(-1)
    hovered = traitlets.Int(-1)
    class_name = traitlets.Unicode()
    labels_version = traitlets.Int()
    tool = traitlets.Enum(TOOLS, default_value="search")
    map_view = traitlets.Dict()
    shown = traitlets.List(traitlets.Int(), default_value=[IMAGERY, HEAT, PREDICTION, POLYGONS, LABELS])
    opacity: traitlets.Dict[int, float] = traitlets.Dict()
    stretch = traitlets.Enum(STRETCHES, default_value=STRETCHES[0])
    layers_version = traitlets.Int()
    status = traitlets.Unicode()
    alarm = traitlets.Bool()
    job = traitlets.Instance(Job, allow_none=True)
    running = traitlets.Unicode()
    progress = traitlets.Unicode()
    fraction = traitlets.Float(-1.0)
    curve: traitlets.List[dict[str, Any]] = traitlets.List()
    interrupted: traitlets.List[Interrupted] = traitlets.List()
    model = traitlets.Instance(Path, allow_none=True)
    prediction = traitlets.Instance(Path, allow_none=True)
    polygons = traitlets.Instance(gpd.GeoDataFrame, allow_none=True)

    def __init__(self, archive: Archive, kept: Path | None = None) -> None:
        super().__init__()
        self.archive = archive
        self.jobs = Jobs()
        self.last_error = ""
        self._kept = kept
        self._lock = threading.RLock()
        self._query_vector: NDArray[np.float32] | None = None
        self._told = 0.0

    def set_state(self, **values: Any) -> None:
        """Set traits together: observers see all of them changed, and what a new kernel needs is kept on disk after."""
        if "status" in values:
            values.setdefault("alarm", False)
        with self._lock:
            before = {name: getattr(self, name) for name in _KEPT & values.keys()}
            with self.hold_trait_notifications():
                for name, value in values.items():
                    setattr(self, name, value)
            # Most labels set the class that is looked for already: a file a key press would be twice the work of a label.
            if self._kept is not None and any(getattr(self, name) is not value for name, value in before.items()):
                write_state(self._kept, self.archive, self._snapshot())

    def opacity_of(self, layer: int) -> float:
        """How opaque a layer is on the map, 0 to 1."""
        return float(self.opacity.get(layer, _OPACITY.get(layer, 1.0)))

    def fail(self, action: str, error: BaseException) -> None:
        """Show a failure in the status line, in words, and log it with its traceback; never raises.

        Args:
            action: what was tried, in words.
            error: what was raised.
        """
        self.last_error = "".join(traceback.format_exception(error))
        foreseen = isinstance(error, WorkbenchError)
        log.log(logging.WARNING if foreseen else logging.ERROR, "%s: %s", action, error, exc_info=error)
        words = str(error) if foreseen else f"{_named(error)} {_SHOW}"
        self.set_state(status=f"{action}: {words}", alarm=True)

    def start(self, name: str, work: Callable[[Progress], T], then: Callable[[T], object] | None = None) -> Job[T]:
        """Run long work in the background; progress, status and the error, if there is one, appear as traits.

        Args:
            name: what it does, in words.
            work: called in a thread of its own with a progress object.
            then: called with the result, in that thread; a string that it returns is the closing status.

        Raises:
            Busy: another job is running.
        """
        said = f"{name}: done."

        def whole(progress: Progress) -> T:
            nonlocal said
            value = work(progress)
            words = then(value) if then is not None else None
            said = words if isinstance(words, str) else said
            return value

        def ended(job: Job[T]) -> None:
            self.set_state(running="", progress="", fraction=-1.0)
            if job.state == "done":
                self.set_state(status=" ".join((said, *job.progress.notes[-1:])))
            elif job.state == "cancelled":
                self.set_state(status=f"{name}: {job.error}")
            else:
                self.fail(name, job.error or RuntimeError("it ended without a reason"))

        job = self.jobs.start(name, whole, ended, self._tell)
        with self._lock:
            # It may have ended already; `ended` comes after this or has come before.
            self.set_state(job=job, running=name if job.state == "running" else "")
        return job

    def cancel(self) -> None:
        """Ask the running job to stop at the end of its current batch."""
        if self.job is not None and self.job.state == "running":
            self.job.cancel()
            self.set_state(status=f"{self.job.name}: stopping after this batch …")

    def _tell(self, job: Job[Any]) -> None:
        """Progress for the screen, a few times a second at most."""
        progress, now = job.progress, time.monotonic()
        if progress.done not in (0, progress.total) and now - self._told < _PROGRESS_S:
            return
        self._told = now
        self.set_state(progress=progress.text(), fraction=progress.done / max(1, progress.total))

    def _snapshot(self) -> Resumed:
        scorer = self.scorer
        return Resumed(
            query=self.query,
            query_ring=self.query_ring,
            query_vector=pack(self._query_vector),
            weights=pack(None if scorer is None else scorer.weights),
            bias=0.0 if scorer is None else float(scorer.bias),
            kind="" if scorer is None else scorer.kind,
            within=scorer is not None and scorer.within,
            method=self.method,
            small_tiles=self.small_tiles,
            numbers=[hit.number for hit in self.hits],
            scores=[] if scorer is None else [hit.score for hit in self.hits],
            queue=self.queue,
            remarks={str(number): list(remark) for number, remark in self.remarks.items()},
            answers=dict(self.answers),
            page=self.page,
            selected=self.selected,
            class_name=self.class_name,
            map_view=self.map_view,
            shown=list(self.shown),
            opacity={str(number): float(share) for number, share in self.opacity.items()},
            stretch=self.stretch,
            model=str(self.model or ""),
            prediction=str(self.prediction or ""),
        )


_SHOW = (
    "This is a fault in the program; labels shown as saved are on disk. print(session.last_error) says where it arose."
)


def _named(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}{f' ({text})' if text else ''}."
