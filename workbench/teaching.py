"""What an analyst teaches: labels with undo, their export, the U-Net that learns from them, its map and its polygons."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from workbench.descriptors.archive import Archive
from workbench.errors import QueryInvalid, RasterChanged
from workbench.jobs import Job, Progress
from workbench.labels.checks import clean_name
from workbench.labels.edits import Edits, review_edits
from workbench.labels.export import Chips, export_chips
from workbench.labels.fold import default_colour
from workbench.labels.gis import ImportReport, export_gis, import_vectors
from workbench.labels.store import Label, LabelClass, LabelStore, Place
from workbench.layers import Layers
from workbench.marks import Marks
from workbench.search.index import Hit, Hits
from workbench.search.places import Places, tile_outline
from workbench.search.query import raster_under
from workbench.search.where import Where
from workbench.segmentation.interrupted import interrupted_runs
from workbench.segmentation.runs import Run
from workbench.state import State

log = logging.getLogger(__name__)
Labelled = Hits | Hit | Sequence[Hit] | Sequence[int] | int | BaseGeometry


class Teaching(State):
    """The half of a `Session` that writes: labels, chips, networks, maps.

    Attributes:
        store: the label log.
        marks: which tiles carry which labels.
        layers: what the map shows.
    """

    def __init__(self, archive: Archive, store: LabelStore, kept: Path | None) -> None:
        super().__init__(archive, kept)
        self.store = store
        self.layers = Layers(archive)
        self.places = Places(archive)
        self.marks = Marks(store, self.places)
        self._offered: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[LabelClass, ...]:
        """The classes in the order of their numbers."""
        return self.store.classes

    def offer_classes(self, names: Sequence[str]) -> None:
        """Name classes to choose from; each is defined when something is first labelled with it."""
        self._offered = tuple(dict.fromkeys((*self._offered, *names)))
        self.set_state(labels_version=self.labels_version + 1)

    @property
    def class_choices(self) -> tuple[LabelClass, ...]:
        """The classes there are, then those offered or chosen and not defined yet, with the numbers they would get."""
        known = self.store.classes
        names = [
            name for name in (*self._offered, self.class_name) if name and name not in {each.name for each in known}
        ]
        first = max((each.id for each in known), default=0) + 1
        return known + tuple(
            LabelClass(number, name, default_colour(number)) for number, name in enumerate(dict.fromkeys(names), first)
        )

    def choose_class(self, name: str) -> None:
        """Look for another class from now on; it is defined when something is first labelled with it.

        Raises:
            LabelInvalid: the name cannot be used.
        """
        name = clean_name(name, "A class name")
        self.set_state(class_name=name, status=f"Looking for {name}.")
        self.show_labels()

    def label(
        self, what: Labelled, class_name: str | None = None, *, value: int = 1, crs: str | None = "EPSG:4326"
    ) -> str:
        """Label hits, tiles or an outline: +1 it is there, -1 it is not, 0 takes a label back; on disk when it returns.

        Taking back the label of a tile takes back every label of the class that makes it count as labelled.

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
        with self._lock:
            whole = not isinstance(what, BaseGeometry)
            if isinstance(what, BaseGeometry):
                places = [self._outline_place(what, crs)]
            else:
                places = self._tile_places(_numbers(what), name, value)
            if places:
                self._define_offered()
            said = self.store.add(places, name, value, whole=whole)
            self._labels_changed(said, name)
        return said

    def undo(self) -> str | None:
        """Take back what was said last; None when there is nothing."""
        with self._lock:
            said = self.store.undo()
            self._labels_changed(f"Undone: {said}." if said else "There is nothing to undo.")
        return said

    def redo(self) -> str | None:
        """Say again what was undone last; None when there is nothing."""
        with self._lock:
            said = self.store.redo()
            self._labels_changed(f"Done again: {said}." if said else "There is nothing to redo.")
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

    def review_edits(self, source: str | Path | gpd.GeoDataFrame, *, crs: str | None = None) -> Edits:
        """What somebody changed in a file of `export_labels`, by the labels' ids; `Edits.apply` makes it so, as one undo.

        See `labels.edits.review_edits`; nothing is changed here.
        """

        def applied(words: str) -> None:
            with self._lock:
                self._labels_changed(words)

        return review_edits(source, self.archive.imagery, self.store, crs=crs, applied=applied)

    def export_labels(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the labels for a GIS, see `labels.gis.export_gis`."""
        written = export_gis(self.store, path, overwrite=overwrite)
        self.set_state(status=f"Labels written to {written.resolve()}.")
        return written

    def labelled(self, class_name: str | None = None) -> NDArray[np.bool_]:
        """Which tiles count as labelled for a class (any class when None): IoU of 0.5 with a labelled place, (n,)."""
        return self.marks.tiles(class_name, len(self.archive))

    def marks_of(self, number: int) -> dict[str, int]:
        """Class name -> +1 or -1, of a tile."""
        return self.marks.of(number)

    def labels_on(self, number: int, class_name: str) -> list[Label]:
        """The labels of a class that a tile counts as labelled by."""
        return self.marks.labels_on(number, class_name)

    def unlabelled(self, class_name: str | None = None) -> Where:
        """A filter that leaves out the tiles labelled for a class by now (any class when None); join others by ``&``."""
        return Where(unlabelled=self.marks.numbers(class_name))

    def export_chips(
        self, folder: str | Path, *, chip: int = 512, progress: Progress | None = None, **options: Any
    ) -> Chips:
        """Write the labels as training chips; ``options`` are those of `labels.export.export_chips`."""
        self._require_unchanged()
        return export_chips(self.store, self.archive.imagery, folder, chip=chip, progress=progress, **options)

    def train(
        self,
        folder: str | Path,
        out: str | Path,
        *,
        predict_to: str | Path | None = None,
        chip: int = 512,
        **options: Any,
    ) -> Job[Path]:
        """Export chips, train a U-Net and, if asked, map all imagery with it, in one background job.

        `curve` grows by a row after each epoch; `model`, then `prediction` and `polygons` are set as soon as they exist.

        Args:
            folder: for the chips.
            out: for the network.
            predict_to: for the probability map, a GeoTIFF or, for several rasters, a folder; None: no map.
            chip: side of a chip in pixels.
            options: of `segmentation.train.train_unet`; the encoder is the archive's own where a U-Net can stand on it.

        Raises:
            Busy: another job is running.
        """

        def begin(progress: Progress) -> Run:
            from workbench.segmentation.train import train_unet
            from workbench.segmentation.unet import encoder_of

            self.set_state(curve=[])
            chips = self.export_chips(folder, chip=chip, progress=progress)
            if options.get("start") is None and "encoder" not in options:
                options["encoder"], options["weights"] = encoder_of(self.archive)
            return train_unet(chips, out, progress=progress, on_epoch=self._add_epoch, **options)

        return self._train(begin, predict_to)

    def resume_training(
        self, folder: str | Path, *, batch: int | None = None, predict_to: str | Path | None = None
    ) -> Job[Path]:
        """Go on with an interrupted training in the background; see `segmentation.train.resume_training` and `train`.

        Args:
            folder: of the run.
            batch: crops per step, where memory ran out a smaller one; None: as before.
            predict_to: for the probability map; None: no map.

        Raises:
            Busy: another job is running.
        """

        def begin(progress: Progress) -> Run:
            from workbench.segmentation.interrupted import read_checkpoint
            from workbench.segmentation.train import resume_training

            reached = read_checkpoint(Path(folder))
            self.set_state(curve=[asdict(row) for row in reached.rows] if reached else [])
            return resume_training(folder, batch=batch, progress=progress, on_epoch=self._add_epoch)

        return self._train(begin, predict_to)

    def look_for_interrupted(self) -> None:
        """See which trainings in ``runs/`` beside the labels stopped before their end."""
        self.set_state(interrupted=interrupted_runs(self.store.folder.absolute().parent / "runs"))

    def _train(self, begin: Callable[[Progress], Run], predict_to: str | Path | None) -> Job[Path]:
        def work(progress: Progress) -> Path:
            try:
                run = begin(progress)
            finally:
                self.look_for_interrupted()
            scored, which = (run.test, "test chips") if run.test else (run.validation, "chips kept aside")
            overlap = "no class" if scored.mean_iou is None else f"IoU {scored.mean_iou:.2f}"
            said = f"Trained: {overlap} on {which} (epoch {run.best_epoch}); {run.report} tells more."
            self.set_state(model=run.model, status=said)
            if predict_to is not None:
                self._map(run.model, Path(predict_to), progress)
            return run.model

        return self.start("training", work, lambda _: self.status)

    def predict(self, out: str | Path, model: str | Path | None = None) -> Job[Path]:
        """Run the last (or given) U-Net over all imagery in the background; `prediction` and `polygons` are set then.

        Raises:
            QueryInvalid: there is no U-Net.
            Busy: another job is running.
        """
        chosen = model or self.model
        if chosen is None:
            raise QueryInvalid("There is no U-Net yet. Train one first, or give model=PATH.")
        network = Path(chosen)
        return self.start("prediction", lambda progress: self._map(network, Path(out), progress), lambda _: self.status)

    def show_labels(self) -> None:
        """Paint the labels as they are now."""
        self.layers.set_labels(self.store.labels(), self.store.classes, self.class_name)
        self.set_state(layers_version=self.layers_version + 1)

    def show_map(self, prediction: Path, polygons: gpd.GeoDataFrame | None) -> None:
        """Show a probability map and the polygons outlined in it."""
        colours = {known.name: known.colour for known in self.store.classes}
        self.layers.set_prediction(rasters_of(prediction), colours)
        self.layers.set_polygons(polygons, colours)
        self.set_state(prediction=prediction, polygons=polygons, layers_version=self.layers_version + 1)

    def _map(self, model: Path, out: Path, progress: Progress) -> Path:
        from workbench.segmentation.polygons import polygonize, save_polygons, together
        from workbench.segmentation.predict import predict, target_paths

        predict(self.archive.imagery, model, out, progress=progress)
        rasters = list(self.archive.imagery)
        progress.begin("outlining", len(rasters), "rasters")
        frames = []
        for raster, path in zip(rasters, target_paths(rasters, out, overwrite=True), strict=True):
            frames.append(polygonize(path).assign(raster=raster.fingerprint))
            progress.advance()
        found = together(frames)
        colours = {known.name: known.colour for known in self.store.classes}
        path = save_polygons(found, polygons_path(out), overwrite=True, colours=colours)
        self.show_map(out, found)
        counts = ", ".join(f"{count:,} {name}" for name, count in found["class"].value_counts().items())
        self.set_state(status=f"Mapped: {counts or 'nothing found'}; polygons in {path.resolve()}.")
        return out

    def _define_offered(self) -> None:
        """Define the classes offered, so that each keeps the number, colour and key it was shown with."""
        known = {each.name for each in self.store.classes}
        for name in self._offered:
            if name not in known:
                self.store.define_class(name)

    def _add_epoch(self, row: Any) -> None:
        self.set_state(curve=[*self.curve, asdict(row)])

    def _tile_places(self, numbers: Iterable[int], name: str, value: int) -> list[Place]:
        numbers = list(numbers)
        places = [self._tile_place(number) for number in numbers]
        if value:
            return places
        held = [label.place for number in numbers for label in self.labels_on(number, name)]
        return list({place.key: place for place in (*places, *held)}.values())

    def _tile_place(self, number: int) -> Place:
        fingerprint, outline, crs = tile_outline(self.archive, self.checked(number))
        raster = self.archive.imagery.by_fingerprint(fingerprint)
        return Place(fingerprint, outline, crs, raster.date)

    def _outline_place(self, shape: BaseGeometry, crs: str | None) -> Place:
        position, pixels = raster_under(self.archive, shape, crs)
        raster = self.archive.imagery[position]
        return Place(raster.fingerprint, raster.from_pixels(pixels), raster.crs, raster.date)

    def checked(self, number: int) -> int:
        """A tile's number, if it is one.

        Raises:
            QueryInvalid: it is none.
        """
        if not 0 <= number < len(self.archive):
            raise QueryInvalid(
                f"There is no tile {number}; the archive's tiles go from 0 to {len(self.archive) - 1:,}."
            )
        return int(number)

    def _labels_changed(self, said: str, class_name: str | None = None) -> None:
        self.layers.set_labels(self.store.labels(), self.store.classes, class_name or self.class_name)
        self.set_state(
            class_name=class_name or self.class_name,
            labels_version=self.labels_version + 1,
            layers_version=self.layers_version + 1,
            status=said,
        )

    def _require_unchanged(self) -> None:
        changed = [raster.name for raster in self.archive.imagery if not raster.unchanged()]
        if changed:
            raise RasterChanged(
                f"{', '.join(changed[:3])} changed or vanished since it was indexed. Run build_archive again before training."
            )


def polygons_path(prediction: Path) -> Path:
    """Where the polygons of a probability map are kept."""
    return prediction.with_suffix(".gpkg") if prediction.suffix else prediction / "polygons.gpkg"


def stamp() -> str:
    """The time as part of a file name."""
    return f"{datetime.now():%Y%m%d-%H%M%S}"


def rasters_of(prediction: Path) -> list[Path]:
    """The files of a probability map: itself, or those in its folder."""
    return sorted(prediction.glob("*.tif")) if prediction.is_dir() else [prediction]


def _numbers(what: Hits | Hit | Sequence[Hit] | Sequence[int] | int) -> list[int]:
    items = what if isinstance(what, Iterable) else [what]
    return [item.number if isinstance(item, Hit) else int(item) for item in items]
