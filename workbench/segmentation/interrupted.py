"""Trainings that did not come to their end: how far they came and what they were started with, read without torch."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from workbench.errors import TrainingRefused
from workbench.files import is_held
from workbench.segmentation.runs import EpochRow

log = logging.getLogger(__name__)
CHECKPOINT = "checkpoint.safetensors"
FORMAT, VERSION = "workbench-training", 2


@dataclass(frozen=True)
class Progressed:
    """How far a training is.

    Attributes:
        settings: what it was started with, JSON values of `Settings.record`.
        rows: of the epochs so far.
        best: number of the best of them, 0 for none.
        waited: epochs since then that count towards the patience.
        seconds: that it has taken.
        random: state of the generator that draws crops.
    """

    settings: Mapping[str, Any]
    rows: tuple[EpochRow, ...]
    best: int
    waited: int
    seconds: float
    random: Mapping[str, Any]

    @property
    def words(self) -> str:
        """How far, in words: after epoch 7 of at most 30."""
        most = self.settings["epochs"]
        return f"after epoch {len(self.rows)} of at most {most}" if self.rows else f"in the first of {most} epochs"


@dataclass(frozen=True)
class Interrupted:
    """A training that was stopped, or whose process died: one that ran out of memory leaves nothing else behind.

    Attributes:
        folder: of the run.
        reached: how far it came.
    """

    folder: Path
    reached: Progressed

    @property
    def words(self) -> str:
        """Which one, how far it came and how to go on, in words."""
        best = (
            f", best validation IoU {self.reached.rows[self.reached.best - 1].mean_iou:.2f}"
            if self.reached.best
            else ""
        )
        return (
            f"The training in {self.folder} stopped {self.reached.words}{best}. Go on with "
            f'resume_training("{self.folder}"), with a smaller batch= if memory ran out.'
        )


def read_checkpoint(folder: Path) -> Progressed | None:
    """How far the training in a folder came; None where none was interrupted.

    Raises:
        TrainingRefused: the file is damaged, or of another version.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="np") as file:
            about = json.loads((file.metadata() or {})[FORMAT])
        if about.pop("version") != VERSION:
            raise ValueError("another version")
        rows = tuple(EpochRow(**row) for row in about.pop("rows"))
        return Progressed(rows=rows, **about)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(path, error) from error


def interrupted_runs(folder: str | Path, levels: int = 2) -> list[Interrupted]:
    """The interrupted trainings in the folders below a folder, some levels deep, the latest first.

    Those that still run are left out; of damaged ones the log speaks.
    """
    found: list[tuple[float, Interrupted]] = []
    for path in (path for depth in range(1, levels + 1) for path in Path(folder).glob("*/" * depth + CHECKPOINT)):
        try:
            reached = None if is_held(path.parent) else read_checkpoint(path.parent)
            if reached is not None:
                found.append((path.stat().st_mtime, Interrupted(path.parent, reached)))
        except TrainingRefused as error:
            log.warning("%s", error)
        except FileNotFoundError:  # it has ended just now
            continue
    return [run for _, run in sorted(found, key=lambda each: -each[0])]


def damaged(path: Path, error: Exception) -> TrainingRefused:
    """The error for a checkpoint that cannot be read."""
    reason = (str(error).splitlines() or [""])[0][:160]
    return TrainingRefused(
        f"{path} cannot be gone on from ({reason}). Delete it and train again with overwrite=True; the best model so far "
        "is beside it."
    )
