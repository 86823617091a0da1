"""One analyst's work on one archive: what is searched and shown, and every verb of the screen."""

from __future__ import annotations

import logging
import math
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import geopandas as gpd
import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from workbench.descriptors.archive import Archive, open_archive
from workbench.errors import QueryInvalid, WorkbenchError
from workbench.files import slug
from workbench.labels.store import LabelStore
from workbench.looking import Looking, ring_of
from workbench.resume import Resumed, read_state, state_path, unpack
from workbench.search.index import Hit, Hits, Index, Scorer
from workbench.search.query import describe_file, describe_shape, tile_at
from workbench.search.refine import refine
from workbench.search.where import Where
from workbench.state import PAGE, STRETCHES, TOOLS
from workbench.teaching import Labelled, polygons_path
from workbench.tile_map import MOST_RANKED

__all__ = ["PAGE", "STRETCHES", "TOOLS", "Archive", "Labelled", "Session"]

log = logging.getLogger(__name__)
Allowed = Where | NDArray[np.bool_] | NDArray[np.integer[Any]]
ON_SCREEN = 200
"""Hits that a search from the screen asks for."""
_SCORED_AT_ONCE = 1 << 18
"""Tiles whose scores are all computed for the hits as for the map: in a few ms. Of more, those for the map come later."""
_OUTLINES_USED = 100
_TOOL_VALUES = {"positive": 1, "negative": -1, "unlabel": 0}


class Session(Looking):
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
        self.index = Index(archive)
        problems = " ".join((*archive.problems, *store.problems))
        self.status, self.alarm = problems, bool(problems)
        state = None if kept is None else read_state(kept, archive)
        if state is not None:
            self._resume(state)
        self.show_labels()

    def search(
        self,
        *,
        tile: int | None = None,
        lon: float | None = None,
        lat: float | None = None,
        shape: BaseGeometry | None = None,
        crs: str | None = "EPSG:4326",
        image: str | Path | None = None,
        k: int = 50,
        where: Allowed | None = None,
        one_per_object: bool = False,
    ) -> Hits:
        """Find the tiles most like an example; give exactly one.

        Args:
            tile: a tile of the archive, by number.
            lon: longitude of a place; the tile there is the example.
            lat: its latitude.
            shape: a rectangle or polygon, taken at its own size and not snapped to the grid.
            crs: of ``shape``; None: pixels of the first raster.
            image: file of a chip or photograph.
            k: number of hits.
            where: tiles that may be hits: a `search.where.Where`, bool (n,) or their numbers; all when None.
            one_per_object: leave out tiles that show the same ground as a better hit.

        Raises:
            QueryInvalid: no example or several, a place without imagery, or a filter for something that is not there.
        """
        given = {"tile": tile, "lon and lat": lon if lat is not None else None, "shape": shape, "image": image}
        chosen = [name for name, value in given.items() if value is not None]
        if len(chosen) != 1:
            raise QueryInvalid(
                f"Got {' and '.join(chosen) or 'no example'}; give one of tile, lon and lat, shape, or image."
            )
        ring: list[list[float]] = []
        if lon is not None and lat is not None:
            tile = tile_at(self.archive, lon, lat)
        if tile is not None:
            vector, words = self.archive.examples_of([self.checked(tile)])[0], f"tile {tile:,}"
            ring = self.ring(tile)
        elif shape is not None:
            vector, words = describe_shape(self.archive, shape, crs), "a drawn outline"
            ring = ring_of(shape) if crs == "EPSG:4326" else []
        else:
            vector, words = describe_file(self.archive, str(image)), f"the image {Path(str(image)).name}"
        return self._search_like(vector, words, ring, k, where, one_per_object)

    def search_upload(self, name: str, data: bytes, *, k: int = 50) -> Hits:
        """Find the tiles most like an image that was sent here; nothing of it is kept.

        Args:
            name: of its file, only to be shown.
            data: the whole file.
            k: number of hits.

        Raises:
            RasterUnreadable: it is no readable image.
            RasterRefused: its format is not allowed.
        """
        with TemporaryDirectory(prefix="workbench-") as folder:
            path = Path(folder) / (slug(Path(name).stem) + "".join(re.findall(r"\.[A-Za-z0-9]{1,5}$", name)))
            path.write_bytes(data)
            vector = describe_file(self.archive, path)
        return self._search_like(vector, f"the image {name[:80]}", [], k)

    def refine(
        self,
        class_name: str | None = None,
        *,
        k: int = 50,
        where: Allowed | None = None,
        one_per_object: bool = False,
    ) -> Hits:
        """Rank the archive again by what was labelled positive and negative, and by the query.

        Outlines that are no tiles are described afresh; of many, 100 drawn at random are.

        Args:
            class_name: whose labels; the class labelled last when None.
            k: number of hits.
            where: tiles that may be hits: a `search.where.Where`, bool (n,) or their numbers; all when None.
            one_per_object: leave out tiles that show the same ground as a better hit.

        Raises:
            QueryInvalid: there is neither a positive label nor a query.
        """
        with self._lock:
            name = class_name or self.class_name
            positives, negatives = self._examples(name, 1), self._examples(name, -1)
            scorer = refine(positives, negatives, self.index, query=self._query_vector)
            hits = self._rank(scorer, k, where, one_per_object)
            said = f"{len(hits)} hits for {name or 'the query'} by {scorer.kind}.{self._notes(where)}"
            query = self.query if self._query_vector is not None else ""
            self._show_hits(scorer, hits, said, class_name=name, query=query)
        return hits

    def act_at(self, lon: float, lat: float) -> None:
        """Do at a place what the tool says: search like the tile there, or label it.

        Raises:
            QueryInvalid: no tile is there, or the tool wants an outline.
            LabelNotSaved: the label could not be written.
        """
        if self.tool == "complete":
            raise QueryInvalid("An area cannot be declared complete by a click. Draw its outline on the map.")
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
        elif self.tool == "search":
            self.search(shape=shape, k=ON_SCREEN)
        else:
            self.label(shape, value=_TOOL_VALUES[self.tool])

    def browse(self, k: int = 50) -> Hits:
        """Show tiles spread over the whole archive, each page over all of it; nothing ranks them, so scores are NaN."""
        count = max(0, min(k, len(self.archive)))
        ends = np.linspace(0, len(self.archive), count + 1).astype(int)
        drawn = np.random.default_rng(0).integers(ends[:-1], ends[1:])
        numbers = drawn[np.argsort(np.arange(count) % max(1, -(-count // PAGE)), kind="stable")].tolist()
        hits = Hits(tuple(Hit(each, self.archive.tile(each), math.nan, rank) for rank, each in enumerate(numbers, 1)))
        with self._lock:
            self.layers.set_scores(None)
            self._query_vector = None
            said = f"{len(hits)} tiles spread over the archive."
            self._show_hits(None, hits, said, query="a look around", query_ring=[])
        return hits

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
        self.unobserve_all()

    def _search_like(
        self,
        vector: NDArray[np.float32],
        words: str,
        ring: list[list[float]],
        k: int,
        where: Allowed | None = None,
        one_per_object: bool = False,
    ) -> Hits:
        scorer = Scorer(vector, kind="nearest neighbours of one example")
        with self._lock:
            hits = self._rank(scorer, k, where, one_per_object)
            self._query_vector = vector
            said = f"{len(hits)} hits like {words}.{self._notes(where)}"
            self._show_hits(scorer, hits, said, query=words, query_ring=ring)
        return hits

    def _notes(self, where: Allowed | None) -> str:
        """What a filter leaves out besides what it was asked to, in words."""
        return "".join(f" {note}" for note in where.notes(self.archive)) if isinstance(where, Where) else ""

    def _rank(self, scorer: Scorer, k: int, where: Allowed | None, one_per_object: bool) -> Hits:
        if k < 0:
            raise QueryInvalid(f"k is {k}; expected 0 or more hits.")
        if len(self.archive) > _SCORED_AT_ONCE:
            hits = self.index.search(scorer, k, where, one_per_object=one_per_object)
            self._show_heat(scorer, hits)
            return hits
        scores = self.index.scores(scorer)
        hits = self.index.top(scores, k, where, one_per_object=one_per_object)
        self.layers.set_scores(scores)
        return hits if scorer.is_descriptor else replace(hits, scored_by="linear")

    def _show_heat(self, scorer: Scorer, hits: Hits) -> None:
        """Colour the best tiles on the map once that is looked at; of very many tiles, the hits."""
        if len(self.archive) > MOST_RANKED:
            self.layers.set_hits(hits.numbers)
        else:
            self.layers.set_scores(partial(self.index.scores, scorer))

    def _show_hits(self, scorer: Scorer | None, hits: Hits, said: str, **more: Any) -> None:
        self.set_state(
            engine=self.engine if scorer is None else self.index.engine_text,
            scorer=scorer,
            hits=hits,
            page=0,
            selected=hits[0].number if len(hits) else -1,
            hovered=-1,
            layers_version=self.layers_version + 1,
            status=said,
            **more,
        )

    def _examples(self, class_name: str, value: int) -> NDArray[np.float32]:
        labels = [label for label in self.store.labels(class_name) if label.value == value] if class_name else []
        found = [self.places.pixels(label.place.raster, label.place.geometry, label.place.crs) for label in labels]
        here = [place for place in found if place is not None]
        numbers = [self.places.tile_of(*place) for place in here]
        tiles = [number for number in numbers if number is not None]
        outlines = [place for place, number in zip(here, numbers, strict=True) if number is None]
        if len(outlines) > _OUTLINES_USED:
            chosen = np.random.default_rng(0).choice(len(outlines), _OUTLINES_USED, replace=False)
            outlines = [outlines[place] for place in chosen]
        drawn = [self.places.descriptor(*place) for place in outlines]
        shape = -1, self.archive.manifest.dim
        return np.concatenate(
            [self.archive.examples_of(tiles).reshape(shape), np.array(drawn, np.float32).reshape(shape)]
        )

    def _resume(self, state: Resumed) -> None:
        """Show again what was shown when the state was kept."""
        scorer = state.scorer()
        self._query_vector = unpack(state.query_vector) if state.query_vector else None
        values: dict[str, Any] = {
            name: getattr(state, name)
            for name in ("query", "query_ring", "page", "selected", "class_name", "map_view", "shown")
        }
        values |= {"scorer": scorer, "hits": state.hits(self.archive)}
        if scorer is not None:
            self._show_heat(scorer, values["hits"])
        if state.stretch in STRETCHES:
            self.layers.set_stretch(state.stretch)
            values["stretch"] = state.stretch
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
