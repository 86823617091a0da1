"""What a training run leaves in its folder: the best model, a row per epoch, its scores, and a report to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from workbench.files import write_json
from workbench.labels.fold import LabelClass

MODEL, HISTORY, CURVE = "model.safetensors", "history.json", "curve.png"
REPORT, EXAMPLES = "report.md", "examples.png"


@dataclass(frozen=True)
class EpochRow:
    """One pass: mean losses, scores on the validation chips, seconds since the last row.

    Attributes:
        epoch: from 1.
        train_loss: mean over the epoch's batches.
        val_loss: mean over the labelled validation pixels.
        iou: IoU of each class by name, None for a class that is neither there nor predicted.
        mean_iou: mean of those that are there; what the best checkpoint is chosen by.
        accuracy: share of the labelled validation pixels with the right class, background included.
        seconds: for training and validation of this epoch.
    """

    epoch: int
    train_loss: float
    val_loss: float
    iou: dict[str, float | None]
    mean_iou: float
    accuracy: float
    seconds: float


@dataclass(frozen=True)
class Part:
    """Scores of the best epoch's network on one side of the split, over all its chips together.

    Attributes:
        chips: how many.
        pixels: labelled ones among theirs.
        iou: by class name, "background" too; None where a class is neither there nor found.
        precision: likewise.
        recall: likewise.
        mean_iou: over the classes that are there, without the background; None where none is.
        accuracy: share of the labelled pixels with the right class.
    """

    chips: int
    pixels: int
    iou: dict[str, float | None]
    precision: dict[str, float | None]
    recall: dict[str, float | None]
    mean_iou: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Run:
    """A finished training.

    Attributes:
        folder: with everything below.
        model: file of the best epoch's network, for `predict`.
        history: a row per epoch.
        best_epoch: whose network is in ``model``.
        classes: what the network knows, ids 1…n.
        validation: scores on the chips that chose the epoch.
        test: scores on the chips that chose nothing; None where there are none.
    """

    folder: Path
    model: Path
    history: list[EpochRow]
    best_epoch: int
    classes: tuple[LabelClass, ...]
    validation: Part
    test: Part | None

    @property
    def report(self) -> Path:
        """What came of it, with pictures: ``report.md``."""
        return self.folder / REPORT

    @property
    def best(self) -> EpochRow:
        """The best epoch's row."""
        return self.history[self.best_epoch - 1]


def save_history(folder: Path, rows: Sequence[EpochRow], best_epoch: int, **parts: Part | None) -> None:
    """Write the rows so far as JSON, and at the end the scores on the parts, by their names."""
    scored = {name: part and asdict(part) for name, part in parts.items()}
    write_json(folder / HISTORY, {"best_epoch": best_epoch, "epochs": [asdict(row) for row in rows], **scored})
