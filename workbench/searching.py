"""What ranks the archive: an example, the labels, or nothing; and the hits that come of it."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from workbench.descriptors.archive import Archive
from workbench.errors import QueryInvalid
from workbench.files import slug
from workbench.labels.store import LabelStore
from workbench.looking import Looking, ring_of
from workbench.search.index import Hit, Hits, Index, Scorer
from workbench.search.query import describe_file, describe_shape, tile_at
from workbench.search.refine import METHODS, Method, refine
from workbench.search.refinement.sizes import examples_within
from workbench.search.where import Where
from workbench.state import PAGE
from workbench.tile_map import MOST_RANKED

Allowed = Where | NDArray[np.bool_] | NDArray[np.integer[Any]]
Outline = tuple[int, BaseGeometry]
"""Position of a raster, and a place on it in pixels."""
_SCORED_AT_ONCE = 1 << 18
"""Tiles whose scores are all computed for the hits as for the map: in a few ms. Of more, those for the map come later."""
_OUTLINES_USED = 100


class Searching(Looking):
    """The part of a `Session` that searches.

    Attributes:
        index: answers over the archive.
    """

    def __init__(self, archive: Archive, store: LabelStore, kept: Path | None) -> None:
        super().__init__(archive, store, kept)
        self.index = Index(archive)
        self._scored: tuple[Scorer | None, NDArray[np.float32]] = (None, np.empty(0, np.float32))
        self._taught: tuple[Scorer | None, frozenset[str]] = (None, frozenset())

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
        method: Method | None = None,
        small_tiles: bool | None = None,
    ) -> Hits:
        """Rank the archive again by what was labelled positive and negative, and by the query.

        Outlines that are no tiles are described afresh; of many, 100 drawn at random are.

        Args:
            class_name: whose labels; the class labelled last when None.
            k: number of hits.
            where: tiles that may be hits: a `search.where.Where`, bool (n,) or their numbers; all when None.
            one_per_object: leave out tiles that show the same ground as a better hit.
            method: how to learn, from now on; see `choose_scorer`. As before when None.
            small_tiles: whether small tiles speak for large ones, from now on; see `choose_scorer`. As before when None.

        Raises:
            QueryInvalid: there is neither a positive label nor a query, or the archive has no smaller tiles.
        """
        with self._lock:
            self.choose_scorer(method, small_tiles)
            name = class_name or self.class_name
            scorer = self._learn(name)
            hits = self._rank(scorer, k, where, one_per_object)
            said = f"{len(hits)} hits for {name or 'the query'} by {scorer.kind}.{self._notes(where)}"
            query = self.query if self._query_vector is not None else ""
            self._show_hits(scorer, hits, said, class_name=name, query=query)
        return hits

    def choose_scorer(self, method: Method | str | None = None, small_tiles: bool | None = None) -> None:
        """Say how scorers are learned from labels from now on; nothing is ranked again.

        Args:
            method: one of `search.refine.METHODS`; "auto" chooses by the marks there are. As before when None.
            small_tiles: the best smaller tile inside a tile speaks for it where it scores higher, and large tiles teach by
                the part that says the most: for objects that fill little of a tile. As before when None.

        Raises:
            QueryInvalid: there is no such method, or no smaller tiles.
        """
        if method is not None and method not in METHODS:
            raise QueryInvalid(f"There is no scorer {str(method)[:40]!r}. Choose one of {', '.join(METHODS)}.")
        if small_tiles and self.no_small_tiles:
            raise QueryInvalid(self.no_small_tiles)
        chosen = {"method": method, "small_tiles": small_tiles}
        self.set_state(**{name: value for name, value in chosen.items() if value is not None})

    @property
    def no_small_tiles(self) -> str:
        """Why small tiles cannot speak for large ones here, and what to do, in words; empty when they can."""
        if len(self.archive.sizes) < 2:
            return "All tiles have one size. Build an archive with several, such as tile=(64, 128)."
        if len(self.archive) > MOST_RANKED:
            return f"There are {len(self.archive):,} tiles; up to {MOST_RANKED:,} can be ranked by smaller ones. Leave it off."
        return ""

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

    def like(self, number: int, k: int = 50) -> Hits:
        """Search for tiles like a tile."""
        return self.search(tile=number, k=k)

    def _search_like(
        self,
        vector: NDArray[np.float32],
        words: str,
        ring: list[list[float]],
        k: int,
        where: Allowed | None = None,
        one_per_object: bool = False,
    ) -> Hits:
        with self._lock:
            inner = ", or of the best smaller tile inside" if self.small_tiles else ""
            scorer = Scorer(vector, kind=f"nearest neighbours of one example{inner}", within=self.small_tiles)
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
        scores = self._scores(scorer)
        hits = self.index.top(scores, k, where, one_per_object=one_per_object)
        self.layers.set_scores(scores)
        return hits if scorer.is_descriptor else replace(hits, scored_by="linear")

    def _show_heat(self, scorer: Scorer, hits: Hits) -> None:
        """Colour the best tiles on the map once that is looked at; of very many tiles, the hits."""
        if len(self.archive) > MOST_RANKED:
            self.layers.set_hits(hits.numbers)
        else:
            self.layers.set_scores(partial(self.index.scores, scorer))

    def _scores(self, scorer: Scorer) -> NDArray[np.float32]:
        """The score of every tile, (n,); those of the last scorer are kept."""
        known, scores = self._scored
        if known is not scorer:
            scores = self.index.scores(scorer)
            self._scored = scorer, scores
        return scores

    def _learn(self, class_name: str) -> Scorer:
        """A scorer of the labels of a class and of the query."""
        learned = frozenset(label.id for label in self.store.labels(class_name)) if class_name else frozenset()
        (right, drawn_right), (wrong, drawn_wrong) = (self._labelled_places(class_name, value) for value in (1, -1))

        def learned_from(right: list[int], wrong: list[int]) -> Scorer:
            positives, negatives = self._described(right, drawn_right), self._described(wrong, drawn_wrong)
            return refine(positives, negatives, self.index, query=self._query_vector, method=self.method)

        scorer = learned_from(right, wrong)
        if self.small_tiles:
            places = np.array(right, np.int64), np.array(wrong, np.int64)
            more, less = examples_within(self.archive, *places, self._scores(scorer))
            scorer = learned_from([*right, *more.tolist()], [*wrong, *less.tolist()])
            scorer = replace(scorer, kind=f"{scorer.kind}; the best smaller tile inside speaks for each", within=True)
        self._taught = scorer, learned
        return scorer

    def _learned(self, scorer: Scorer) -> frozenset[str]:
        """Ids of the labels that a scorer learned from."""
        taught, learned = self._taught
        return learned if taught is scorer else frozenset()

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
            **{"queue": "", "remarks": {}, **more},
        )

    def _examples(self, class_name: str, value: int) -> NDArray[np.float32]:
        """Descriptors of what is labelled so, (m, dim): those of tiles first."""
        return self._described(*self._labelled_places(class_name, value))

    def _described(self, tiles: Sequence[int], outlines: Sequence[Outline]) -> NDArray[np.float32]:
        """Descriptors of tiles, then of outlines, (m, dim)."""
        drawn = [self.places.descriptor(*place) for place in outlines]
        shape = -1, self.archive.manifest.dim
        return np.concatenate(
            [self.archive.examples_of(tiles).reshape(shape), np.array(drawn, np.float32).reshape(shape)]
        )

    def _labelled_places(
        self, class_name: str, value: int, among: Collection[str] | None = None
    ) -> tuple[list[int], list[Outline]]:
        """Tiles that are labelled so (among some labels, by id), and at most 100 outlines that are none."""
        labels = self.store.labels(class_name) if class_name else ()
        labels = tuple(label for label in labels if label.value == value and (among is None or label.id in among))
        found = [self.places.pixels(label.place.raster, label.place.geometry, label.place.crs) for label in labels]
        here = [place for place in found if place is not None]
        numbers = [self.places.tile_of(*place) for place in here]
        tiles = [number for number in numbers if number is not None]
        outlines = [place for place, number in zip(here, numbers, strict=True) if number is None]
        if len(outlines) > _OUTLINES_USED:
            chosen = np.random.default_rng(0).choice(len(outlines), _OUTLINES_USED, replace=False)
            outlines = [outlines[place] for place in chosen]
        return tiles, outlines
