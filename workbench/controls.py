"""What the screen's controls do besides searching and labelling: tools, classes, layers, exports, runs in new folders."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from workbench.errors import FileExists, PathRefused, QueryInvalid, TrainingRefused
from workbench.jobs import Job, Progress
from workbench.labels.checks import clean_name
from workbench.labels.chips import Chips
from workbench.labels.fold import PALETTE
from workbench.state import TOOLS
from workbench.teaching import Teaching, stamp

_CHIPS = (512, 256, 128)
_CHIPS_ACROSS = 8
_CROP = 256
_LEAST_CHIP = 32


class Controls(Teaching):
    """The part of a `Session` that its buttons and menus call, and what they need to know."""

    @property
    def can_undo(self) -> bool:
        """Whether there is something to take back."""
        return self.store.can_undo

    @property
    def can_redo(self) -> bool:
        """Whether something was taken back that can be said again."""
        return self.store.can_redo

    @property
    def can_refine(self) -> bool:
        """Whether there is a query, or a positive label of the class that is looked for."""
        return self._query_vector is not None or self.label_counts().get(self.class_name, (0, 0))[0] > 0

    @property
    def palette(self) -> tuple[str, ...]:
        """Colours that can be told apart with any colour vision, ``#rrggbb``."""
        return PALETTE

    @property
    def tiles_text(self) -> str:
        """Size and number of the tiles, in words: tile 256 px = 33 m · 12,345 tiles."""
        sizes = self.archive.sizes
        raster = next((raster for raster in self.archive.imagery if raster.mappable), None)
        ground = "" if raster is None else f" = {_listed(size * max(raster.pixel_size_m) for size in sizes)} m"
        return f"tile {_listed(sizes)} px{ground} · {len(self.archive):,} tiles"

    def label_counts(self) -> dict[str, tuple[int, int]]:
        """How many labels say that a class is there, and how many that it is not, by its name."""
        counts = Counter((label.class_name, label.value) for label in self.store.labels())
        return {name: (counts[name, 1], counts[name, -1]) for name, _ in counts}

    def use_tool(self, name: str) -> None:
        """Let a click or an outline on the map do something else, one of `state.TOOLS`."""
        if name not in TOOLS:
            raise QueryInvalid(f"There is no tool {name[:40]!r}. Choose one of {', '.join(TOOLS)}.")
        self.set_state(tool=name)

    def add_class(self, name: str) -> None:
        """Define a class and look for it from now on; those offered before keep the numbers they were shown with.

        Raises:
            LabelInvalid: the name cannot be used.
            LabelNotSaved: it could not be written; nothing was changed.
        """
        name = clean_name(name, "A class name")
        with self._lock:
            self._define_offered()
            if name not in {each.name for each in self.store.classes}:
                self.store.define_class(name)
            self.choose_class(name)
            self.set_state(labels_version=self.labels_version + 1)

    def colour_class(self, name: str, colour: str) -> None:
        """Show a class in another colour, on the map, on cards and in exports; it is defined if it was not.

        Raises:
            LabelInvalid: the colour is not written as ``#rrggbb``.
            LabelNotSaved: it could not be written; nothing was changed.
        """
        with self._lock:
            self.store.define_class(name, colour)
            self.show_labels()
            if self.prediction is not None:
                self.show_map(self.prediction, self.polygons)
            self.set_state(labels_version=self.labels_version + 1, status=f"{name} is shown in {colour.lower()}.")

    def show_layer(self, number: int, shown: bool) -> None:
        """Show a layer on the map, or take it away."""
        self._checked_layer(number)
        with self._lock:
            others = [each for each in self.shown if each != number]
            self.set_state(shown=sorted([*others, number]) if shown else others)

    def set_opacity(self, number: int, share: float) -> None:
        """Make a layer on the map more or less opaque, 0 to 1."""
        self._checked_layer(number)
        if not 0 <= share <= 1:
            raise QueryInvalid(f"An opacity of {share:g} cannot be shown. Give 0 (unseen) to 1 (opaque).")
        with self._lock:
            self.set_state(opacity={**self.opacity, number: float(share)})

    def show_whole(self) -> None:
        """Show the whole imagery on the map."""
        self.set_state(map_view={})

    def new_paths(self) -> dict[str, str]:
        """Where things could be written now, beside the labels and with the time in their names; nothing is made."""
        home, now = self._home, stamp()
        return {
            "labels": str(home / "exports" / f"labels-{now}.gpkg"),
            "chips": str(home / "exports" / f"chips-{now}"),
            "polygons": str(home / "exports" / f"polygons-{now}.gpkg"),
            "run": str(home / "runs" / now),
        }

    def write_labels(self, path: str) -> Path:
        """Write the labels to a file that is not there yet; see `export_labels`."""
        return self.export_labels(new_path(path))

    def write_polygons(self, path: str) -> Path:
        """Write the polygons of the last map to a file that is not there yet, in the classes' colours.

        Raises:
            QueryInvalid: nothing was mapped.
            PathRefused: nothing can be written there, or not in this format.
            FileExists: something is there already.
        """
        from workbench.segmentation.polygons import save_polygons

        if self.polygons is None:
            raise QueryInvalid("There are no polygons yet. Train a U-Net and map all imagery first.")
        colours = {known.name: known.colour for known in self.store.classes}
        written = save_polygons(self.polygons, new_path(path), colours=colours)
        self.set_state(status=f"{len(self.polygons):,} polygons written to {written}.")
        return written

    def write_chips(self, folder: str, chip: int) -> Job[Chips]:
        """Write the labels as training chips into a new folder, in the background; see `export_chips`.

        Raises:
            PathRefused: nothing can be written there.
            FileExists: something is there already.
            Busy: another job is running.
        """
        out = new_path(folder)

        def work(progress: Progress) -> Chips:
            return self.export_chips(out, chip=chip, progress=progress)

        return self.start("writing chips", work, lambda chips: f"{len(chips):,} chips written to {out}.")

    @property
    def training_defaults(self) -> dict[str, Any]:
        """Settings that suit the imagery: chips so small that some can be kept aside for validation."""
        rasters = self.archive.imagery
        side = math.sqrt(sum(raster.width * raster.height for raster in rasters))
        least = min(min(raster.width, raster.height) for raster in rasters)
        fitting = [chip for chip in _CHIPS if chip * _CHIPS_ACROSS <= side and chip <= least]
        return {"chip": fitting[0] if fitting else 64, "minutes": 5, "epochs": 30}

    def train_here(
        self, *, chip: int, minutes: float, epochs: int, map_after: bool = True, go_on: bool = False
    ) -> Job[Path]:
        """Train a U-Net in a new folder beside the labels (``runs/<time>``), and map all imagery with it; see `train`.

        Args:
            chip: side of a chip in pixels.
            minutes: at most.
            epochs: at most.
            map_after: map all imagery when it is trained.
            go_on: start from the weights of the last U-Net, which must know the same classes.

        Raises:
            QueryInvalid: there is no U-Net to go on from.
            TrainingRefused: a setting cannot be used.
            PathRefused: nothing can be written there.
            Busy: another job is running.
        """
        if chip < _LEAST_CHIP or not 0 < minutes < math.inf or epochs < 1:
            raise TrainingRefused(
                f"Chips of {chip} pixels, {minutes:g} minutes and {epochs} epochs make no training. "
                f"Give chips of at least {_LEAST_CHIP} pixels, some minutes and at least one epoch."
            )
        if go_on and self.model is None:
            raise QueryInvalid("There is no U-Net to go on from yet. Train one from the start.")
        run = new_path(self.new_paths()["run"])
        crop = min(_CROP, chip // _LEAST_CHIP * _LEAST_CHIP)
        return self.train(
            run / "chips",
            run / "unet",
            predict_to=self._map_of(run) if map_after else None,
            chip=chip,
            minutes=minutes,
            epochs=epochs,
            crop=crop,
            start=self.model if go_on else None,
        )

    @property
    def resumable(self) -> dict[str, Any]:
        """The latest interrupted training: ``words``, how far it came, and its ``batch``; empty without one."""
        if not self.interrupted:
            return {}
        run = self.interrupted[0]
        name = run.folder.relative_to(self._home) if run.folder.is_relative_to(self._home) else run.folder
        return {"words": f"{name} stopped {run.reached.words}", "batch": int(run.reached.settings["batch"])}

    def resume_here(self, *, batch: int, map_after: bool = True) -> Job[Path]:
        """Go on with the latest interrupted training beside the labels, and map all imagery then; see `resume_training`.

        Raises:
            QueryInvalid: none was interrupted.
            Busy: another job is running.
        """
        if not self.interrupted:
            raise QueryInvalid("No training beside these labels was interrupted. Train a U-Net from the start.")
        folder = self.interrupted[0].folder
        out = self._map_of(folder.parent)
        return self.resume_training(folder, batch=batch, predict_to=out if map_after and not out.exists() else None)

    def map_here(self) -> Job[Path]:
        """Map all imagery with the last U-Net, in a new folder beside the labels; see `predict`."""
        if self.model is None:
            raise QueryInvalid("There is no U-Net yet. Train one first.")
        return self.predict(self._map_of(new_path(self.new_paths()["run"])))

    def dismiss_curve(self) -> None:
        """Put the learning curve of a training that has ended away."""
        self.set_state(curve=[])

    @property
    def _home(self) -> Path:
        return self.store.folder.absolute().parent

    def _map_of(self, run: Path) -> Path:
        return run / ("map.tif" if len(self.archive.imagery) == 1 else "map")

    def _checked_layer(self, number: int) -> None:
        numbers = [info.number for info in self.layers.infos()]
        if number not in numbers:
            raise QueryInvalid(f"There is no layer {number} on the map. Choose one of {numbers}.")


def new_path(text: str | Path) -> Path:
    """The absolute path that a text names, free to be written; its folder is made where it is missing.

    Raises:
        PathRefused: it is empty, or nothing can be written there.
        FileExists: something is there already.
    """
    name = str(text).strip()
    if not name or "\0" in name:
        raise PathRefused(f"{name[:60]!r} names no file. Type a path, such as exports/labels.gpkg.")
    try:
        path = Path(name).expanduser().absolute()
        if path.exists() or path.is_symlink():
            raise FileExists(f"{path} exists already. Choose another name.")
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(path.parent, os.W_OK):
            raise PermissionError(0, "no permission to write")
    except (FileExists, PathRefused):
        raise
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PathRefused(f"{name[:200]} cannot be written ({reason}). Choose another folder.") from error
    return path


def _listed(values: Iterable[float]) -> str:
    return ", ".join(f"{value:.3g}" if value < 100 else f"{value:,.0f}" for value in values)
