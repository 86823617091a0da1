"""One analyst's work on one archive: what is searched and shown, and every verb of the screen."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import geopandas as gpd
from shapely.geometry.base import BaseGeometry

from workbench.comparing import Comparing
from workbench.descriptors.archive import Archive, open_archive
from workbench.errors import QueryInvalid, WorkbenchError
from workbench.labels.store import LabelStore
from workbench.resume import Resumed, read_state, state_path, unpack
from workbench.reviewing import Reviewing
from workbench.scorers import Scorers
from workbench.search.index import Hits
from workbench.search.query import tile_at
from workbench.search.refine import METHODS
from workbench.search.stopping import Estimate, Interval
from workbench.state import OBJECT_QUEUES, PAGE, QUEUES, STRETCHES, TOOLS
from workbench.teaching import Labelled, polygons_path

__all__ = [
    "OBJECT_QUEUES",
    "PAGE",
    "QUEUES",
    "STRETCHES",
    "TOOLS",
    "Archive",
    "Estimate",
    "Interval",
    "Labelled",
    "Session",
]

log = logging.getLogger(__name__)
ON_SCREEN = 200
"""Hits that a search from the screen asks for."""
_TOOL_VALUES = {"positive": 1, "negative": -1, "unlabel": 0}


class Session(Scorers, Reviewing, Comparing):
    """One piece of work on an archive: the state that views show, and every verb that changes it.

    Every verb may be called from any thread; one lock guards the state. A verb that fails raises and changes nothing.

    Args:
        archive: to search, or its folder.
        labels: folder of the label log, or an open store.
        by: who labels; the login name when None.
        resume: show what was shown last on these labels, and keep what is shown now.
    """

    def __init__(
        self,
        archive: Archive | str | Path,
        labels: LabelStore | str | Path,
        *,
        by: str | None = None,
        resume: bool = False,
    ) -> None:
        archive = archive if isinstance(archive, Archive) else open_archive(archive)
        store = labels if isinstance(labels, LabelStore) else LabelStore(labels, by=by)
        kept = state_path(store.folder, store.by) if resume else None
        super().__init__(archive, store, kept)
        self.look_for_interrupted()
        problems = " ".join((*archive.problems, *store.problems))
        stopped = f"{self.interrupted[0].words} The Train menu offers it too." if self.interrupted else ""
        self.status, self.alarm = problems or stopped, bool(problems)
        state = None if kept is None else read_state(kept, archive)
        if state is not None:
            self._resume(state)
        self.show_labels()

    def act_at(self, lon: float, lat: float) -> None:
        """Do at a place what the tool says: search like the tile there, or label it.

        Raises:
            QueryInvalid: no tile is there, or the tool wants an outline.
            LabelNotSaved: the label could not be written.
        """
        if self.tool == "complete":
            raise QueryInvalid("An area cannot be declared complete by a click. Draw its outline on the map.")
        if self.tool == "edit":
            raise QueryInvalid(
                "An object cannot be outlined by a click. Draw its outline on the map, corner by corner."
            )
        if self.tool == "search":
            self.search(lon=lon, lat=lat, k=ON_SCREEN)
        else:
            tile = tile_at(self.archive, lon, lat)
            self.label([tile], value=_TOOL_VALUES[self.tool])
            self.set_state(selected=tile)

    def act_on(self, shape: BaseGeometry) -> None:
        """Do with an outline (lon, lat) what the tool says: search like it, label it, or declare it complete.

        Raises:
            QueryInvalid: it touches no imagery.
            LabelNotSaved: the label could not be written.
        """
        if self.tool == "complete":
            self.declare_complete(shape)
        elif self.tool == "edit":
            self.edit_object(self.selected, shape)
            self._select_next()
        elif self.tool == "search":
            self.search(shape=shape, k=ON_SCREEN)
        else:
            self.label(shape, value=_TOOL_VALUES[self.tool])

    def go_to_page(self, page: int, last: bool = False) -> None:
        """Show another page of the hits, the nearest there is; its first card is selected, or its last."""
        with self._lock:
            page = max(0, min(page, self.pages - 1))
            shown = self.hits[page * PAGE : (page + 1) * PAGE]
            self.set_state(page=page, selected=shown[-1 if last else 0].number if len(shown) else -1)

    def select(self, number: int) -> None:
        """Let keys act on a tile of the page; of one that other hits have replaced meanwhile nothing comes."""
        with self._lock:
            if number in self.page_hits().numbers:
                self.set_state(selected=number)

    def _select_next(self) -> None:
        """Select the card after the one that is selected, on the next page if need be."""
        numbers = self.page_hits().numbers.tolist()
        place = numbers.index(self.selected) + 1 if self.selected in numbers else 0
        if place < len(numbers):
            self.select(numbers[place])
        elif self.page + 1 < self.pages:
            self.go_to_page(self.page + 1)

    @property
    def pages(self) -> int:
        """How many pages the hits fill."""
        return -(-len(self.hits) // PAGE)

    def page_hits(self) -> Hits:
        """The hits on the page that is shown."""
        return self.hits[self.page * PAGE : (self.page + 1) * PAGE]

    def warm_up(self) -> None:
        """Load what the first click needs: descriptors, encoder and thumbnail code; failures wait for that click."""
        try:
            self.index.warm()
            self.set_state(engine=self.index.engine_text)
            self.thumbnail(0)
            _ = self.archive.encoder
            self.layers.warm_up()
        except Exception as error:  # noqa: BLE001 - the click that needs it shows what is wrong
            log.info("Not warmed up: %s", error)

    def close(self) -> None:
        """Stop background work and let go of every observer."""
        self.jobs.close()
        self._estimating.close()
        self.unobserve_all()

    def _resume(self, state: Resumed) -> None:
        """Show again what was shown when the state was kept."""
        scorer = state.scorer()
        self._query_vector = unpack(state.query_vector) if state.query_vector else None
        values: dict[str, Any] = {
            name: getattr(state, name)
            for name in ("query", "query_ring", "page", "selected", "class_name", "map_view", "shown", "answers")
        }
        objects = self._resume_review() if state.queue in OBJECT_QUEUES else None
        lost = state.queue in OBJECT_QUEUES and (objects is None or objects.numbers.tolist() != state.numbers)
        values["queue"] = state.queue if state.queue in {**QUEUES, **OBJECT_QUEUES} and not lost else ""
        values["remarks"] = {int(number): tuple(remark) for number, remark in state.remarks.items()}
        # What it learned from was not kept: at most what is labelled now.
        self._taught = scorer, frozenset(label.id for label in self.store.labels(state.class_name))
        values |= {"scorer": scorer, "hits": Hits() if lost else objects or state.hits(self.archive)}
        if scorer is not None:
            self._show_heat(scorer, values["hits"])
        if state.stretch in STRETCHES:
            self.layers.set_stretch(state.stretch)
            values["stretch"] = state.stretch
        if state.method in METHODS:
            values["method"] = state.method
        values["small_tiles"] = state.small_tiles and len(self.archive.sizes) > 1
        values["opacity"] = {int(number): share for number, share in state.opacity.items()}
        if state.model and Path(state.model).is_file():
            values["model"] = Path(state.model)
        self.set_state(**values)
        if state.prediction and Path(state.prediction).exists():
            self._resume_map(Path(state.prediction))

    def _resume_map(self, prediction: Path) -> None:
        path = polygons_path(prediction)
        try:
            self.show_map(prediction, gpd.read_file(path) if path.is_file() else None)
        except (WorkbenchError, OSError, ValueError, RuntimeError) as error:
            log.warning("%s cannot be shown again: %s", prediction.name, error)
