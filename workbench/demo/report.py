"""report.md: what was done, what came out and what the pictures show, for somebody who has never seen the workbench."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from rasterio.windows import Window

from workbench.demo import pictures
from workbench.demo.analyst import IGNORE, Search, read_rows
from workbench.demo.played import Played, classify
from workbench.files import slug, write_bytes
from workbench.imagery.grid import tile_size_m
from workbench.imagery.opening import open_imagery
from workbench.imagery.rasters import Raster
from workbench.imagery.render import Stretch
from workbench.jobs import format_seconds
from workbench.segmentation.figures import save_figure

_STAGES = {
    "build": "index the imagery",
    "search": "search and mark",
    "labels": "trace outlines",
    "chips": "write chips",
    "training": "train the U-Net",
    "prediction": "map the whole raster",
    "polygons": "outline polygons",
    "scores": "compare with the truth",
    "report": "draw this report",
}


def write_report(played: Played, out: Path) -> Path:
    """Write ``report.md`` and its pictures into ``out / "pictures"``."""
    folder = out / "pictures"
    folder.mkdir(exist_ok=True)
    parts = [
        _head(played),
        _where(played, folder),
        _searched(played, folder),
        _taught(played, folder),
        _mapped(played, folder),
    ]
    text = "\n\n".join([*parts, _times(played)])
    write_bytes(out / "report.md", (text + "\n").encode())
    return out / "report.md"


def _head(played: Played) -> str:
    raster = played.archive.imagery[0]
    result = played.scores
    assert result is not None
    best = ", ".join(f"**{name} {_figure(result.iou[number])}**" for number, name in enumerate(played.unet_classes, 1))
    finals = ", ".join(
        f"{searches[0].target.name} {np.mean([search.rounds[-1].precision for search in searches]):.2f} "
        f"(by chance {searches[0].target.base_rate:.2f})"
        for searches in played.searches
    )
    return f"""# From one example to a map: {raster.name}

An analyst with a question ("where else is this?") was played by a program that knows the answer: it clicked an
example, marked ten hits a round as right or wrong, traced outlines on part of the ground, trained a U-Net from them and
mapped the whole raster. Everything below was measured on this machine in this run.

* **Finding:** precision among the first 20 hits after three rounds of ten marks: {finals or "no class had enough tiles"}.
* **Mapping:** intersection over union (IoU) on ground the network never saw: {best}.
* **Polygons:** {len(played.polygons) if played.polygons is not None else 0:,} in `polygons.gpkg`, ready for a GIS."""


def _where(played: Played, folder: Path) -> str:
    archive, raster = played.archive, played.archive.imagery[0]
    known = _known_window(played)
    figure = pictures.overview(archive, played.train_rows, played.test_rows, known)
    save_figure(figure, folder / "overview.jpg")
    x, y = raster.pixel_size_m
    width, _ = tile_size_m(raster, int(archive.tiles["size"][0]))
    left_out = f", {archive.without_data:,} left out for being over half no-data" if archive.without_data else ""
    return f"""## 1. The imagery

{raster.width:,} x {raster.height:,} pixels of {np.mean((x, y)):.2f} m
({raster.width * x / 1000:.1f} x {raster.height * y / 1000:.1f} km), cut into {len(archive):,} half-overlapping tiles
of {width:.0f} m{left_out}.
Each tile was turned into {archive.manifest.dim} numbers by the encoder *{archive.manifest.encoder}*{_why_texture(played)}.
Outlines may be traced in the blue rows only; the
orange rows are kept for the last figures and choose nothing before.

![The raster with training and test rows](pictures/overview.jpg)"""


def _figure(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "none there"


def _why_texture(played: Played) -> str:
    if played.archive.manifest.encoder != "texture":
        return ""
    return " (colour and texture statistics: the best descriptor that needs no downloaded weights)"


def _searched(played: Played, folder: Path) -> str:
    if not played.searches:
        return "## 2. Finding\n\nNo class was on at least ten tiles, so nothing was searched for."
    sections = []
    for searches in played.searches:
        name = f"search-{slug(searches[0].target.name)}.jpg"
        save_figure(pictures.search_sheet(played.archive, searches[0]), folder / name)
        sections.append(_search_words(searches, name))
    save_figure(pictures.precision_curves(played.searches), folder / "precision.png")
    rows = "\n".join(_search_row(searches) for searches in played.searches)
    return f"""## 2. Finding: click one, mark ten, again

One positive tile is the first query. In each round the ten best tiles not marked yet are judged, and the ranking is learned
anew from all marks (logistic regression on the tiles' descriptors, with random tiles as weak negatives).
*Precision at 20* is the share of right tiles among the first 20 hits as the analyst sees them, marked ones included; the last
column counts only tiles not marked yet, so it falls when few are left to find. Means of {len(played.searches[0])} sessions from
different first examples.

| looked for | tile counts if | positive tiles | by chance | example only | 1 round | 2 rounds | 3 rounds | unmarked only |
|---|---|---|---|---|---|---|---|---|
{rows}

![Precision by round](pictures/precision.png)

{chr(10).join(sections)}"""


def _search_row(searches: list[Search]) -> str:
    target = searches[0].target
    means = np.mean([[step.precision for step in search.rounds] for search in searches], axis=0)
    fresh = np.mean([search.rounds[-1].precision_unmarked for search in searches])
    cells = " | ".join(f"{value:.2f}" for value in means)
    return (
        f"| {target.name} | {target.rule} | {int(target.positive.sum()):,} of {int(target.known.sum()):,} "
        f"| {target.base_rate:.3f} | {cells} | {fresh:.2f} |"
    )


def _search_words(searches: list[Search], name: str) -> str:
    marked = searches[0].rounds[:-1]
    marks, found = sum(len(step.shown) for step in marked), sum(sum(step.right) for step in marked)
    what = searches[0].target.name
    return f"### {what}\n\nThe first session: {found} of {marks} marks were right.\n\n![Hits for {what}](pictures/{name})\n"


def _taught(played: Played, folder: Path) -> str:
    chips, run = played.chips, played.run
    assert chips is not None and run is not None
    colours = {known.id: known.colour for known in chips.classes}
    pairs = [_chip(chips.folder, chip, chips.stretch) for chip in chips.of("train")]
    save_figure(
        pictures.chip_sheet(pairs, colours, {known.id: known.name for known in chips.classes}), folder / "chips.jpg"
    )
    shutil.copyfile(run.folder / "curve.png", folder / "curve.png")
    best = run.history[run.best_epoch - 1]
    names = ", ".join(known.name for known in chips.classes)
    return f"""## 3. Teaching: outlines become chips, chips a network

{len(chips.of("train"))} training and {len(chips.of("validation"))} validation chips were cut from the training rows, in
separate blocks of ground with a gap between them. Classes: {names}. Grey is ground nobody looked at: it teaches nothing.

![Training chips and their masks](pictures/chips.jpg)

A U-Net that starts from the search's own encoder trained for {len(run.history)} epochs in
{format_seconds(played.seconds["training"])}. Epoch {run.best_epoch} was best on the validation chips
(mean IoU {best.mean_iou:.2f}) and was kept.

![Training curve](pictures/curve.png)"""


def _mapped(played: Played, folder: Path) -> str:
    result, probability_path = played.scores, played.probability
    assert result is not None and probability_path is not None and played.polygons is not None
    top, bottom = played.test_rows
    truth = _as_unet_classes(played, read_rows(played.truth, top, bottom))
    window = pictures.busiest_window(truth, top)
    local = (
        slice(window.row_off - top, window.row_off - top + window.height),
        slice(window.col_off, window.col_off + window.width),
    )
    probability = open_imagery(probability_path)[0]
    found = classify(probability, window.row_off, window.row_off + window.height)[:, local[1]]
    values = probability.read(window)
    scale = 254 if probability.dtype == "uint8" else 1
    highest = np.ma.filled(values.astype(np.float32) / scale, 0).max(axis=0)
    assert played.chips is not None
    colours = {known.name: known.colour for known in played.chips.classes}
    sheet = pictures.result_sheet(played.archive, window, truth[local], found, highest, played.polygons, colours)
    save_figure(sheet, folder / "result.jpg")
    rows = "\n".join(
        f"| {name} | {_figure(result.iou[number])} | {_figure(result.precision[number])} | {_figure(result.recall[number])} |"
        for number, name in enumerate(played.unet_classes, 1)
    )
    return f"""## 4. Mapping: the whole raster, and polygons

The network was run over the whole raster in overlapping windows (`probability.tif`, the source's own grid), and what
is at least one half became polygons with class, mean probability and area (`polygons.gpkg`). On the test rows, which
chose no checkpoint, threshold or epoch:

| class | IoU | precision | recall |
|---|---|---|---|
{rows}

Accuracy over all known pixels: {result.accuracy:.3f}. One window of the test rows:

![Imagery, probability, polygons and truth on unseen ground](pictures/result.jpg)"""


def _times(played: Played) -> str:
    rows = "\n".join(
        f"| {_STAGES.get(stage, stage)} | {format_seconds(value)} |" for stage, value in played.seconds.items()
    )
    return f"## 5. How long it took\n\n| stage | time |\n|---|---|\n{rows}"


def _known_window(played: Played) -> Window:
    """Columns and rows that the truth says something about."""
    rows = range(played.train_rows[0], played.test_rows[1], 256)
    known = np.zeros(played.truth.width, bool)
    for row in rows:
        known |= (read_rows(played.truth, row, min(row + 1, played.truth.height)) != IGNORE).any(axis=0)
    cols = np.flatnonzero(known)
    left, right = (int(cols[0]), int(cols[-1]) + 1) if len(cols) else (0, played.truth.width)
    return Window(left, rows.start, right - left, rows.stop - rows.start)


def _as_unet_classes(played: Played, truth: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    lookup = np.zeros(256, np.uint8)
    lookup[IGNORE] = IGNORE
    for number, name in enumerate(played.unet_classes, 1):
        lookup[played.plan.classes.index(name) + 1] = number
    return lookup[truth]


def _chip(folder: Path, chip: object, stretch: object) -> tuple[Raster, Raster, Stretch]:
    image = open_imagery(folder / chip.image)[0]  # type: ignore[attr-defined]
    mask = open_imagery(folder / chip.mask)[0]  # type: ignore[attr-defined]
    return image, mask, stretch[chip.raster]  # type: ignore[attr-defined, index]
