"""Scorers as things: saved beside the labels, loaded, used to rank an archive or what is new in it; and maps of all classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import numpy as np
from numpy.typing import NDArray

from workbench.errors import FileExists, QueryInvalid
from workbench.jobs import Job, Progress
from workbench.search.classes import Classes, check_marks, learn_classes
from workbench.search.index import Hits
from workbench.search.renewed import Since
from workbench.search.saved import SavedScorer, list_scorers, load_scorer, name_scorer, save_scorer, scorer_path
from workbench.searching import Allowed, Searching
from workbench.teaching import polygons_path


class Scorers(Searching):
    """The part of a `Session` that keeps scorers."""

    def save_scorer(self, name: str, *, overwrite: bool = False) -> SavedScorer:
        """Save what ranks the archive now under a name, beside the labels; see `search.saved`.

        Args:
            name: any text of 1 to 80 printable characters.
            overwrite: replace the scorer of this name.

        Raises:
            QueryInvalid: nothing ranks the archive yet, or the name cannot be used.
            FileExists: there is a scorer of this name and ``overwrite`` is false.
            DiskFull: there is no room; nothing new is left.
        """
        with self._lock:
            if self.scorer is None:
                raise QueryInvalid(
                    "Nothing ranks the tiles yet. Search for something, or refine, then save the scorer."
                )
            saved = name_scorer(name, self.scorer, self.archive, self.class_name)
        path = save_scorer(saved, scorer_path(self.store.folder, saved.name), overwrite=overwrite)
        self.set_state(status=f"Scorer {saved.name} saved in {path}.")
        return saved

    def load_scorer(self, name: str | Path) -> SavedScorer:
        """A scorer that was saved beside these labels, by name, or any scorer's file; `rank_by` ranks this archive by it.

        Raises:
            ScorerInvalid: there is none, or the file cannot be used.
        """
        return load_scorer(name, self.store.folder)

    def scorers(self) -> tuple[SavedScorer, ...]:
        """The scorers that were saved beside these labels, by name."""
        return list_scorers(self.store.folder)

    def rank_by(
        self,
        scorer: SavedScorer | str | Path,
        *,
        k: int = 50,
        where: Allowed | None = None,
        new_since: Since | None = None,
        one_per_object: bool = False,
    ) -> Hits:
        """Rank this archive by a saved scorer and show the hits; see `search.saved.SavedScorer.rank`.

        Args:
            scorer: a saved scorer, its name, or its file.
            k: number of hits.
            where: tiles that may be hits: a `search.where.Where`, bool (n,) or their numbers; all when None.
            new_since: only new hits: a date, or an earlier archive and its hits.
            one_per_object: leave out tiles that show the same ground as a better hit.

        Raises:
            ScorerInvalid: there is none of this name, or the file cannot be used.
            ArchiveMismatch: it was learned with another encoder.
            QueryInvalid: there is nothing from the date on, or a filter for something that is not there.
        """
        saved = scorer if isinstance(scorer, SavedScorer) else self.load_scorer(scorer)
        with self._lock:
            hits = saved.rank(self.index, k, where, new_since=new_since, one_per_object=one_per_object)
            self._query_vector = None
            self._show_heat(saved.scorer, hits)
            new = "new hits" if new_since is not None else "hits"
            said = f"{len(hits)} {new} by the scorer {saved.name}.{self._notes(where)}"
            about = {"class_name": saved.class_name} if saved.class_name else {}
            self._show_hits(saved.scorer, hits, said, query=f"the scorer {saved.name}", query_ring=[], **about)
        return hits

    def learn_classes(self, class_names: Sequence[str] | None = None) -> Classes:
        """One scorer for each class, from what is labelled, with probabilities that can be compared; see `search.classes`.

        Tiles that are marked as not of a class, and as no other, teach what none of them looks like.

        Args:
            class_names: two or more; all classes with a positive label when None.

        Raises:
            QueryInvalid: there are fewer than two classes, or one has no positive label here.
        """
        with self._lock:
            marks, others = self._class_marks(class_names)
        return learn_classes(marks, others, self.archive)

    def class_map(
        self, path: str | Path, class_names: Sequence[str] | None = None, *, overwrite: bool = False
    ) -> Job[gpd.GeoDataFrame]:
        """Map all classes over the whole archive by its descriptors alone, in the background; no U-Net, no imagery is read.

        See `segmentation.class_map.map_classes`. The polygons are shown on the map and are in a GeoPackage beside it.

        Args:
            path: the GeoTIFF of classes; for several rasters, a folder.
            class_names: two or more; all classes with a positive label when None.
            overwrite: replace files that are there.

        Returns:
            the job; its result are the polygons, with class, mean probability and area in m².

        Raises:
            QueryInvalid: there are fewer than two classes, or one has no positive label here.
            FileExists: the GeoPackage is there already and ``overwrite`` is false.
            Busy: another job is running.
        """
        with self._lock:
            marks, others = self._class_marks(class_names)
            colours = {known.name: known.colour for known in self.classes}
        check_marks(marks)
        polygons = polygons_path(Path(path))
        if polygons.exists() and not overwrite:
            raise FileExists(f"{polygons} exists already. Choose another name, or pass overwrite=True.")

        def work(progress: Progress) -> gpd.GeoDataFrame:
            from workbench.segmentation.class_map import map_classes
            from workbench.segmentation.polygons import polygonize_classes, save_polygons, together

            out = Path(path)
            classes = learn_classes(marks, others, self.archive)
            files = map_classes(self.archive, classes, out, colours=colours, overwrite=overwrite, progress=progress)
            progress.begin("outlining", len(files), "rasters")
            frames = []
            for each in files:
                frames.append(polygonize_classes(each.classes, each.probability, classes.names))
                progress.advance()
            found = together(frames)
            save_polygons(found, polygons, overwrite=overwrite, colours=colours)
            return found

        def show(found: gpd.GeoDataFrame) -> str:
            self.layers.set_polygons(found, colours)
            self.set_state(polygons=found, layers_version=self.layers_version + 1)
            hectares = found.groupby("class")["area_m2"].sum() / 10_000
            areas = ", ".join(f"{area:,.4g} ha of {name}" for name, area in hectares.items() if np.isfinite(area))
            return f"Mapped: {areas or 'nothing found'}; polygons in {polygons.resolve()}."

        return self.start("class map", work, show)

    def _class_marks(
        self, class_names: Sequence[str] | None
    ) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
        """Descriptors of what is labelled as each class, and of what is labelled as not one of them and as no other."""
        counts = self.label_counts()
        labelled = [known.name for known in self.classes if counts.get(known.name, (0, 0))[0]]
        names = labelled if class_names is None else list(dict.fromkeys(class_names))
        marks = {name: self._examples(name, 1) for name in names}
        claimed = {vector.tobytes() for vectors in marks.values() for vector in vectors}
        nothing = np.empty((0, self.archive.manifest.dim), np.float32)
        denied = np.concatenate([nothing, *(self._examples(name, -1) for name in names)])
        unclaimed = np.array([vector.tobytes() not in claimed for vector in denied], bool)
        return marks, np.unique(denied[unclaimed], axis=0)
