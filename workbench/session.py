"""One analyst's work on one archive: what is searched, found, labelled and trained, and every verb that changes it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import geopandas as gpd
import numpy as np
import pandas as pd
import traitlets
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from workbench.descriptors.archive import Archive, open_archive
from workbench.errors import QueryInvalid
from workbench.imagery.render import thumbnail
from workbench.jobs import Job, Jobs, Progress
from workbench.labels.export import Chips, export_chips
from workbench.labels.gis import ImportReport, export_gis, import_vectors
from workbench.labels.store import LabelStore, Place
from workbench.search.index import Hit, Hits, Index, Scorer
from workbench.search.places import Places, tile_outline
from workbench.search.query import describe_file, describe_shape, raster_under, tile_at
from workbench.search.refine import refine

log = logging.getLogger(__name__)
T = TypeVar("T")
_OUTLINES_USED = 100
Labelled = Hits | Hit | Sequence[Hit] | Sequence[int] | int | BaseGeometry


class Session(traitlets.HasTraits):
    """The observable state of one piece of work; views observe it and hold no state of their own.

    Every verb may be called from any thread; one lock guards the state. A verb that fails raises and changes nothing.

    Args:
        archive: to search, or its folder.
        labels: folder of the label log, or an open store.
        by: who labels; the login name when None.

    Attributes:
        scorer: what ranks the archive now; None before the first search.
        hits: the answer to it.
        query: where the search started, in words.
        class_name: the class that is being looked for.
        labels_version: goes up with every change of the labels.
        status: what happened last, in words.
        job: the running or last background job.
        progress: how far it is, in words.
        model: the last trained U-Net.
        prediction: the last probability raster.
        polygons: what was outlined in it.
    """

    scorer = traitlets.Instance(Scorer, allow_none=True)
    hits = traitlets.Instance(Hits, args=())
    query = traitlets.Unicode()
    class_name = traitlets.Unicode()
    labels_version = traitlets.Int()
    status = traitlets.Unicode()
    job = traitlets.Instance(Job, allow_none=True)
    progress = traitlets.Unicode()
    model = traitlets.Instance(Path, allow_none=True)
    prediction = traitlets.Instance(Path, allow_none=True)
    polygons = traitlets.Instance(gpd.GeoDataFrame, allow_none=True)

    def __init__(
        self, archive: Archive | str | Path, labels: LabelStore | str | Path, *, by: str | None = None
    ) -> None:
        super().__init__()
        self._lock = threading.RLock()
        self.archive = archive if isinstance(archive, Archive) else open_archive(archive)
        self.store = labels if isinstance(labels, LabelStore) else LabelStore(labels, by=by)
        self.index = Index(self.archive)
        self.jobs = Jobs()
        self._places = Places(self.archive)
        self._query_vector: NDArray[np.float32] | None = None
        self.status = " ".join((*self.archive.problems, *self.store.problems))

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
        where: NDArray[np.bool_] | None = None,
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
            where: tiles that may be hits, bool (n,); all when None.

        Raises:
            QueryInvalid: no example or several, or a place without imagery.
        """
        given = {"tile": tile, "lon and lat": lon if lat is not None else None, "shape": shape, "image": image}
        chosen = [name for name, value in given.items() if value is not None]
        if len(chosen) != 1:
            raise QueryInvalid(
                f"Got {' and '.join(chosen) or 'no example'}; give one of tile, lon and lat, shape, or image."
            )
        if lon is not None and lat is not None:
            tile = tile_at(self.archive, lon, lat)
        if tile is not None:
            vector, words = self.archive.vectors[self._checked(tile)], f"tile {tile:,}"
        elif shape is not None:
            vector, words = describe_shape(self.archive, shape, crs), "a drawn outline"
        else:
            vector, words = describe_file(self.archive, str(image)), f"the image {Path(str(image)).name}"
        scorer = Scorer(vector, kind="nearest neighbours of one example")
        hits = self.index.search(scorer, k, where)
        with self._lock, self.hold_trait_notifications():
            self._query_vector = vector
            self.query, self.scorer, self.hits = words, scorer, hits
            self.status = f"{len(hits)} hits like {words}."
        return hits

    def refine(self, class_name: str | None = None, *, k: int = 50, where: NDArray[np.bool_] | None = None) -> Hits:
        """Rank the archive again by what was labelled positive and negative, and by the query.

        Outlines that are no tiles are described afresh; of many, 100 drawn at random are.

        Args:
            class_name: whose labels; the class labelled last when None.
            k: number of hits.
            where: tiles that may be hits, bool (n,); all when None.

        Raises:
            QueryInvalid: there is neither a positive label nor a query.
        """
        with self._lock:
            name = class_name or self.class_name
            positives, negatives = self._examples(name, 1), self._examples(name, -1)
            scorer = refine(positives, negatives, self.archive.vectors, query=self._query_vector)
            hits = self.index.search(scorer, k, where)
            with self.hold_trait_notifications():
                self.class_name, self.scorer, self.hits = name, scorer, hits
                self.status = f"{len(hits)} hits for {name or 'the query'} by {scorer.kind}."
        return hits

    def label(
        self, what: Labelled, class_name: str | None = None, *, value: int = 1, crs: str | None = "EPSG:4326"
    ) -> str:
        """Label hits, tiles or an outline: +1 it is there, -1 it is not, 0 takes a label back; on disk when it returns.

        Args:
            what: hits, tile numbers, or a polygon.
            class_name: the class; the one labelled last when None.
            value: +1, -1 or 0.
            crs: of a polygon; None: pixels of the first raster.

        Returns:
            what was done, in words.

        Raises:
            LabelInvalid: nothing to label, or no class.
            LabelNotSaved: it could not be written and does not count.
        """
        name = class_name or self.class_name
        if isinstance(what, BaseGeometry):
            places = [self._outline_place(what, crs)]
        else:
            places = [self._tile_place(number) for number in _numbers(what)]
        with self._lock:
            said = self.store.add(places, name, value)
            self._labels_changed(said, name)
        return said

    def undo(self) -> str | None:
        """Take back what was said last; None when there is nothing."""
        with self._lock:
            said = self.store.undo()
            self._labels_changed(said or "There is nothing to undo.")
        return said

    def redo(self) -> str | None:
        """Say again what was undone last; None when there is nothing."""
        with self._lock:
            said = self.store.redo()
            self._labels_changed(said or "There is nothing to redo.")
        return said

    def declare_complete(self, area: BaseGeometry, crs: str | None = "EPSG:4326") -> str:
        """Declare that inside an area every object of every class is outlined, so that the rest of it is background."""
        with self._lock:
            said = self.store.declare_complete([self._outline_place(area, crs)])
            self._labels_changed(said)
        return said

    def import_labels(
        self,
        source: str | Path | gpd.GeoDataFrame,
        class_name: str | None = None,
        *,
        class_column: str | None = None,
        value: int = 1,
        crs: str | None = None,
    ) -> ImportReport:
        """Label every polygon of a vector file, in any CRS, as one event; see `labels.gis.import_vectors`."""
        with self._lock:
            report = import_vectors(
                source,
                self.archive.imagery,
                self.store,
                class_name=class_name,
                class_column=class_column,
                value=value,
                crs=crs,
            )
            self._labels_changed(report.words, class_name)
        return report

    def export_labels(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the labels for a GIS, see `labels.gis.export_gis`."""
        return export_gis(self.store, path, overwrite=overwrite)

    def labelled(self, class_name: str | None = None) -> NDArray[np.bool_]:
        """Which tiles count as labelled for a class (any class when None): IoU of 0.5 with a labelled place, (n,)."""
        found = np.zeros(len(self.archive), bool)
        for label in self.store.labels(class_name):
            place = self._places.pixels(label.place.raster, label.place.geometry, label.place.crs)
            if place is not None:
                found[self._places.overlapping(*place)] = True
        return found

    def export_chips(
        self, folder: str | Path, *, chip: int = 512, progress: Progress | None = None, **split: float
    ) -> Chips:
        """Write the labels as training chips, see `labels.export.export_chips` (``split``: block_m, buffer_m, validation)."""
        self._require_unchanged()
        return export_chips(self.store, self.archive.imagery, folder, chip=chip, progress=progress, **split)  # type: ignore[arg-type]

    def thumbnail(self, number: int, pixels: int = 128) -> bytes:
        """A tile as JPEG, from the raster that was searched and with the stretch it was searched with."""
        tile = self.archive.tile(self._checked(number))
        return thumbnail(self.archive.imagery[tile.raster], tile.window, self.archive.stretch(tile.raster), pixels)

    def start(self, name: str, work: Callable[[Progress], T], then: Callable[[T], None] | None = None) -> Job[T]:
        """Run long work in the background; progress, status and the error, if there is one, appear as traits.

        Args:
            name: what it does, in words.
            work: called in a thread of its own with a progress object.
            then: called with the result, in that thread.

        Raises:
            Busy: another job is running.
        """

        def whole(progress: Progress) -> T:
            value = work(progress)
            if then is not None:
                then(value)
            return value

        def ended(job: Job[T]) -> None:
            with self.hold_trait_notifications():
                self.progress = ""
                self.status = f"{name}: done." if job.state == "done" else f"{name}: {job.error}"

        job = self.jobs.start(name, whole, ended, lambda job: setattr(self, "progress", job.progress.text()))
        self.job = job
        return job

    def train(self, folder: str | Path, out: str | Path, **options: object) -> Job[Path]:
        """Export chips to ``folder`` and train a U-Net into ``out`` in the background; `model` is set when it is done."""
        from workbench.segmentation.train import train_unet

        def work(progress: Progress) -> Path:
            chips = self.export_chips(folder, progress=progress)
            return train_unet(chips, out, progress=progress, **options).model  # type: ignore[arg-type]

        return self.start("training", work, lambda model: setattr(self, "model", model))

    def predict(self, out: str | Path, model: str | Path | None = None) -> Job[Path]:
        """Run the last (or given) U-Net over all imagery in the background; `prediction` and `polygons` are set then."""
        from workbench.segmentation.polygons import polygonize
        from workbench.segmentation.predict import predict

        chosen = model or self.model
        if chosen is None:
            raise QueryInvalid("There is no U-Net yet. Train one first, or give model=PATH.")

        def done(path: Path) -> None:
            rasters = sorted(path.glob("*.tif")) if path.is_dir() else [path]
            frames = [polygonize(raster) for raster in rasters]
            with self.hold_trait_notifications():
                self.prediction = path
                self.polygons = (
                    frames[0] if len(frames) == 1 else pd.concat([frame.to_crs(frames[0].crs) for frame in frames])
                )

        return self.start(
            "prediction", lambda progress: predict(self.archive.imagery, chosen, out, progress=progress), done
        )

    def close(self) -> None:
        """Stop background work and let go of every observer."""
        self.jobs.close()
        self.unobserve_all()

    def _examples(self, class_name: str, value: int) -> NDArray[np.float32]:
        labels = [label for label in self.store.labels(class_name) if label.value == value] if class_name else []
        found = [self._places.pixels(label.place.raster, label.place.geometry, label.place.crs) for label in labels]
        here = [place for place in found if place is not None]
        tiles = [place for place in here if self._places.tile_of(*place) is not None]
        outlines = [place for place in here if self._places.tile_of(*place) is None]
        if len(outlines) > _OUTLINES_USED:
            drawn = np.random.default_rng(0).choice(len(outlines), _OUTLINES_USED, replace=False)
            outlines = [outlines[place] for place in drawn]
        vectors = [self._places.descriptor(*place) for place in tiles + outlines]
        return np.array(vectors, np.float32).reshape(-1, self.archive.manifest.dim)

    def _tile_place(self, number: int) -> Place:
        fingerprint, outline, crs = tile_outline(self.archive, self._checked(number))
        raster = self.archive.imagery.by_fingerprint(fingerprint)
        return Place(fingerprint, outline, crs, raster.date)

    def _outline_place(self, shape: BaseGeometry, crs: str | None) -> Place:
        position, pixels = raster_under(self.archive, shape, crs)
        raster = self.archive.imagery[position]
        return Place(raster.fingerprint, raster.from_pixels(pixels), raster.crs, raster.date)

    def _checked(self, number: int) -> int:
        if not 0 <= number < len(self.archive):
            raise QueryInvalid(
                f"There is no tile {number}; the archive's tiles go from 0 to {len(self.archive) - 1:,}."
            )
        return int(number)

    def _labels_changed(self, said: str, class_name: str | None = None) -> None:
        with self.hold_trait_notifications():
            self.class_name = class_name or self.class_name
            self.labels_version += 1
            self.status = said

    def _require_unchanged(self) -> None:
        from workbench.errors import RasterChanged

        changed = [raster.name for raster in self.archive.imagery if not raster.unchanged()]
        if changed:
            raise RasterChanged(
                f"{', '.join(changed[:3])} changed or vanished since it was indexed. Run build_archive again before training."
            )


def _numbers(what: Hits | Hit | Sequence[Hit] | Sequence[int] | int) -> Iterable[int]:
    items = what if isinstance(what, Iterable) else [what]
    return [item.number if isinstance(item, Hit) else int(item) for item in items]
