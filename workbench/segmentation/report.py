"""What came of a training, measured once with the best network and told with pictures: report.md in the run's folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workbench.files import write_bytes
from workbench.imagery.opening import open_imagery
from workbench.imagery.render import flatten, render
from workbench.jobs import format_seconds
from workbench.labels.chips import Chips
from workbench.labels.fold import LabelClass
from workbench.segmentation.devices import best_device
from workbench.segmentation.figures import Example, example_sheet, save_figure
from workbench.segmentation.loop import find
from workbench.segmentation.runs import CURVE, EXAMPLES, REPORT, Part, Run
from workbench.segmentation.samples import Sample, load_samples
from workbench.segmentation.scores import Scores, confusion, scores
from workbench.segmentation.unet import Model

_MOST_PIXELS = 512
Judged = tuple[Sample, NDArray[np.int64]]
"""A chip and the confusion matrix on it."""


def judge(model: Model, samples: Sequence[Sample]) -> tuple[Part, list[Judged]]:
    """Score a network on chips that it did not learn from.

    Returns:
        The scores over all chips together, and each chip with its confusion matrix.
    """
    device = best_device()
    network = model.network.to(device.name).eval()
    highest = model.card.highest
    judged = [(each, confusion(find(network, each, device), each.mask, highest)) for each in samples]
    total = sum((matrix for _, matrix in judged), np.zeros((highest + 1, highest + 1), np.int64))
    return part_of(scores(total), model.card.classes, len(samples), int(total.sum())), judged


def part_of(found: Scores, classes: Sequence[LabelClass], chips: int, pixels: int) -> Part:
    """Scores as they are kept in a run: by class name, None where there is no number."""

    def named(values: NDArray[np.float64]) -> dict[str, float | None]:
        numbers = {"background": 0} | {item.name: item.id for item in classes}
        return {name: _number(values[number]) for name, number in numbers.items()}

    return Part(
        chips,
        pixels,
        named(found.iou),
        named(found.precision),
        named(found.recall),
        _number(found.mean_iou),
        _number(found.accuracy),
    )


def judge_test(model: Model, chips: Chips) -> Part | None:
    """Score a network on the test chips, which chose nothing before; None where there are none."""
    samples = load_samples(chips, "test", model.card.normalisation)
    return judge(model, samples)[0] if samples else None


def write_report(run: Run, model: Model, chips: Chips, judged: Sequence[Judged], begun: str) -> Path:
    """Write ``report.md`` with the learning curve, the scores by class and example chips.

    Args:
        run: that has ended, with its scores.
        model: its best network.
        chips: that it was trained on.
        judged: its validation chips.
        begun: what it started from, in words.
    """
    examples = list(_examples(model, chips, judged))
    if examples:
        save_figure(example_sheet(examples, run.classes), run.folder / EXAMPLES)
    seconds = sum(row.seconds for row in run.history)
    counts = {split: len(chips.of(split)) for split in ("train", "validation", "test")}  # type: ignore[arg-type]
    parts = [("validation", run.validation), *([("test", run.test)] if run.test else [])]
    tables = "\n\n".join(_table(name, part, run.classes) for name, part in parts)
    text = f"""# Training {run.folder.name}

{counts["train"]:,} chips to learn from, {counts["validation"]:,} for validation and {counts["test"]:,} for the test, in
`{chips.folder}`; classes: {", ".join(item.name for item in run.classes)}. The network started from {begun} and trained for
{len(run.history)} epochs in {format_seconds(seconds)}. Epoch {run.best_epoch} was best on the validation chips and is kept in
`{run.model.name}`.

![Loss and validation IoU by epoch]({CURVE})

## Scores

IoU is intersection over union: of the pixels that are the class or were called so, the share that is both. Precision is the
share of what was found that is there, recall the share of what is there that was found.

{tables}

{_TESTED if run.test else _NOT_TESTED}
"""
    if examples:
        text += f"""
## Best, median and worst validation chips

![Image, truth, what was found, and errors]({EXAMPLES})

Errors: green was found, red was found and is not there (or is another class), blue was missed; hatched is ground that nobody
looked at, which counts for nothing. Outlines that are missing from the truth show as red here: look before you blame the network.
"""
    write_bytes(run.folder / REPORT, text.encode())
    return run.folder / REPORT


_TESTED = "The test chips chose no epoch, threshold or setting: theirs are the figures to quote."
_NOT_TESTED = (
    "There were no test chips. The epoch was chosen on the validation chips, so that their figures flatter it a little; labels "
    "in more places make a test part possible."
)


def _table(name: str, part: Part, classes: Sequence[LabelClass]) -> str:
    rows = [
        f"| {known} | "
        + " | ".join(_figure(values[known]) for values in (part.iou, part.precision, part.recall))
        + " |"
        for known in (*(item.name for item in classes), "background")
    ]
    return "\n".join(
        (
            f"### On the {name} chips: mean IoU {_figure(part.mean_iou)}, accuracy {_figure(part.accuracy)}",
            "",
            f"{part.chips:,} chips, {part.pixels / 1e6:,.2f} million labelled pixels.",
            "",
            "| class | IoU | precision | recall |",
            "|---|---|---|---|",
            *rows,
        )
    )


def _examples(model: Model, chips: Chips, judged: Sequence[Judged]) -> Iterator[Example]:
    """The best, the median and the worst chip that shows a class or had one found on it."""
    known = [(float(scores(matrix).mean_iou), sample) for sample, matrix in judged]
    ranked = sorted((each for each in known if np.isfinite(each[0])), key=lambda each: -each[0])
    chosen = dict.fromkeys(round(place * (len(ranked) - 1)) for place in (0, 0.5, 1)) if ranked else {}
    names = {1: ["only one"], 2: ["best", "worst"]}.get(len(chosen), ["best", "median", "worst"])
    records = {str(chip.image): chip for chip in chips.records}
    device = best_device()
    for name, position in zip(names, chosen, strict=True):
        overlap, sample = ranked[position]
        raster = open_imagery(chips.folder / sample.name)[0]
        picture = flatten(render(raster, raster.window, sample.mask.shape, chips.stretch[records[sample.name].raster]))
        step = max(1, -(-max(sample.mask.shape) // _MOST_PIXELS))
        found = find(model.network, sample, device)
        shown = [np.ascontiguousarray(array[::step, ::step]) for array in (picture, sample.mask, found)]
        yield Example((name, f"IoU {overlap:.2f}", Path(sample.name).stem), *shown)


def _figure(value: float | None) -> str:
    return "none there" if value is None else f"{value:.3f}"


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
