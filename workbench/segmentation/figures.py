"""Pictures of training and of masks: the learning curve, masks over pixels, and example chips with what was found on them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from workbench.files import atomic_write
from workbench.labels.fold import LabelClass
from workbench.segmentation.runs import EpochRow
from workbench.segmentation.scores import IGNORE

RIGHT, WRONG, MISSED = "#1a9850", "#d73027", "#2166ac"
_AGREEMENT = {1: (RIGHT, "found"), 2: (WRONG, "found, not there"), 3: (MISSED, "missed")}
_GREY, _HATCH = "#d0d0d0", "////"
_DPI = 110


@dataclass(frozen=True)
class Example:
    """One chip and what was found on it.

    Attributes:
        words: beside it, a line each.
        picture: uint8 (rows, cols, 3).
        truth: classes, `IGNORE` where nobody looked, uint8 (rows, cols).
        found: classes, uint8 (rows, cols).
    """

    words: tuple[str, ...]
    picture: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    found: NDArray[np.uint8]


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG or JPEG, atomically."""
    FigureCanvasAgg(figure)
    with atomic_write(path) as aside:
        options: dict[str, Any] = {"pil_kwargs": {"quality": 88}} if path.suffix == ".jpg" else {}
        figure.savefig(aside, dpi=_DPI, bbox_inches="tight", facecolor="white", **options)
    return path


def curve(rows: Sequence[EpochRow], best_epoch: int, classes: Sequence[LabelClass]) -> Figure:
    """Losses and validation IoU over the epochs, the best one marked."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
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
    return figure


def example_sheet(examples: Sequence[Example], classes: Sequence[LabelClass]) -> Figure:
    """A row a chip: its pixels, the truth, what the network found, and where the two differ."""
    colours = {item.id: item.colour for item in classes}
    figure = Figure(figsize=(11, 2.4 * len(examples)))
    grid = figure.add_gridspec(
        len(examples), 5, width_ratios=[0.4, 1, 1, 1, 1], wspace=0.03, hspace=0.03, left=0, right=1, top=1, bottom=0
    )
    for line, each in enumerate(examples):
        words = figure.add_subplot(grid[line, 0])
        words.set_axis_off()
        words.text(0, 0.5, "\n".join(each.words), va="center", fontsize=9, linespacing=1.6, transform=words.transAxes)
        grey = np.repeat(each.picture.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
        errors = np.where(each.truth == IGNORE, np.uint8(IGNORE), agreement(each.truth, each.found))
        panels = {
            "image": each.picture,
            "truth": paint(each.picture, each.truth, colours),
            "found": paint(each.picture, each.found, colours),
            "errors": paint(grey, errors, {number: colour for number, (colour, _) in _AGREEMENT.items()}),
        }
        for place, (title, pixels) in enumerate(panels.items(), 1):
            axes = figure.add_subplot(grid[line, place])
            axes.imshow(pixels, interpolation="nearest")
            if title in ("truth", "errors"):
                _hatch(axes, each.truth == IGNORE)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_color("#cccccc")
            if line == 0:
                axes.set_title(title, fontsize=10)
    unknown = any((each.truth == IGNORE).any() for each in examples)
    handles = [Patch(color=item.colour, label=item.name) for item in classes]
    handles += [Patch(color=colour, label=name) for colour, name in _AGREEMENT.values()]
    handles += [Patch(facecolor="#808080", edgecolor=_GREY, hatch=_HATCH, label="nobody looked")] if unknown else []
    figure.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.01),
        ncol=min(8, len(handles)),
        fontsize=9,
        frameon=False,
    )
    return figure


def paint(picture: NDArray[np.uint8], values: NDArray[np.uint8], colours: Mapping[int, str]) -> NDArray[np.uint8]:
    """Tint the pixels of each class; unknown ones (255) become grey."""
    tinted = picture.astype(np.float32)
    for value, colour in colours.items():
        tinted[values == value] = 0.45 * tinted[values == value] + 0.55 * 255 * np.array(to_rgb(colour))
    tinted[values == IGNORE] = 0.35 * tinted[values == IGNORE] + 0.65 * 128
    return tinted.astype(np.uint8)


def agreement(truth: NDArray[np.uint8], found: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Where a map and the truth agree: 1 found, 2 found and not there (or another class), 3 missed, 0 the rest."""
    known = (truth != IGNORE) & (found != IGNORE)
    there, shown = known & (truth > 0), known & (found > 0)
    return np.select([there & (truth == found), shown & (truth != found), there & (found == 0)], [1, 2, 3], 0).astype(
        np.uint8
    )


def _hatch(axes: Axes, unknown: NDArray[np.bool_]) -> None:
    """Hatch where nobody looked, so that it cannot be taken for a class."""
    if unknown.any() and min(unknown.shape) > 1:
        # Mostly unknown lies at the border, which a contour would cut off.
        shown = np.pad(unknown.astype(float), 1, mode="edge")
        rows, cols = (np.arange(length + 2) - 1 for length in unknown.shape)
        drawn = axes.contourf(cols, rows, shown, levels=[0.5, 1.5], colors="none", hatches=[_HATCH])
        drawn.set_edgecolor(_GREY)
        axes.set(xlim=(-0.5, unknown.shape[1] - 0.5), ylim=(unknown.shape[0] - 0.5, -0.5))
