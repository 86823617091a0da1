"""What a training run leaves in its folder: the best model, a row per epoch, and the curve to look at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from workbench.files import atomic_write, write_json
from workbench.labels.fold import LabelClass

MODEL, HISTORY, CURVE = "model.safetensors", "history.json", "curve.png"


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
class Run:
    """A finished training.

    Attributes:
        folder: with everything below.
        model: file of the best epoch's network, for `predict`.
        history: a row per epoch.
        best_epoch: whose network is in ``model``.
        classes: what the network knows, ids 1…n.
    """

    folder: Path
    model: Path
    history: list[EpochRow]
    best_epoch: int
    classes: tuple[LabelClass, ...]

    @property
    def best(self) -> EpochRow:
        """The best epoch's row."""
        return self.history[self.best_epoch - 1]


def save_history(folder: Path, rows: Sequence[EpochRow], best_epoch: int) -> None:
    """Write the rows so far as JSON."""
    write_json(folder / HISTORY, {"best_epoch": best_epoch, "epochs": [asdict(row) for row in rows]})


def save_curve(folder: Path, rows: Sequence[EpochRow], best_epoch: int, classes: Sequence[LabelClass]) -> None:
    """Draw losses and validation IoU over the epochs, the best one marked."""
    figure = Figure(figsize=(9, 3.6), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    losses, overlap = figure.subplots(1, 2)
    epochs = [row.epoch for row in rows]
    marker = "o" if len(rows) == 1 else None
    losses.plot(epochs, [row.train_loss for row in rows], color="#777777", marker=marker, label="training")
    losses.plot(epochs, [row.val_loss for row in rows], color="#111111", marker=marker, label="validation")
    losses.set_title("Loss", loc="left")
    losses.set_ylim(bottom=0, top=1.1 * max(max(row.train_loss, min(row.val_loss, 5)) for row in rows))
    for item in classes:
        values = [row.iou.get(item.name) for row in rows]
        shown = [math.nan if value is None else value for value in values]
        overlap.plot(epochs, shown, color=item.colour, marker=marker, label=item.name)
    if len(classes) > 1:
        overlap.plot(epochs, [row.mean_iou for row in rows], color="#111111", linestyle=":", label="mean of classes")
    overlap.set_title(f"Validation IoU: best {rows[best_epoch - 1].mean_iou:.3f} at epoch {best_epoch}", loc="left")
    overlap.set_ylim(0, 1)
    for axes in (losses, overlap):
        axes.axvline(best_epoch, color="#bbbbbb", linewidth=1, zorder=0)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#eeeeee")
        axes.legend(frameon=False, fontsize=8)
    with atomic_write(folder / CURVE) as aside:
        figure.savefig(aside)
