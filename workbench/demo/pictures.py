"""The report's pictures: the place, the hits of each round, training chips, probability, and polygons over imagery."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from rasterio.windows import Window
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from workbench.demo.analyst import IGNORE, Search
from workbench.descriptors.archive import Archive
from workbench.imagery.rasters import Raster
from workbench.imagery.render import Stretch, flatten, render
from workbench.segmentation.figures import MISSED, RIGHT, WRONG, agreement, paint

GOOD, BAD, QUERY = RIGHT, WRONG, MISSED
_TRAIN, _TEST = "#2166ac", "#e08214"
_THUMB = 112
_CROP = 1024


def picture_of(archive: Archive, window: Window, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A window of the archive's first raster as it was searched, (rows, cols, 3), white where there is no data."""
    return flatten(render(archive.imagery[0], window, size, archive.stretch(0)))


def overview(archive: Archive, train: tuple[int, int], test: tuple[int, int], known: Window) -> Figure:
    """The whole raster with the ground that the truth covers and the rows for training and testing."""
    raster = archive.imagery[0]
    scale = 1100 / max(raster.width, raster.height)
    size = (round(raster.height * scale), round(raster.width * scale))
    source = archive.quicklook(0)
    image = _quick(source, size) if source else picture_of(archive, raster.window, size)
    figure = Figure(figsize=(8, 8 * size[0] / size[1]))
    axes = figure.add_subplot()
    axes.imshow(image, extent=(0, raster.width, raster.height, 0))
    left, width = known.col_off, known.width
    for rows, colour, name in ((train, _TRAIN, "training rows"), (test, _TEST, "test rows")):
        axes.add_patch(Rectangle((left, rows[0]), width, rows[1] - rows[0], fill=False, lw=2.5, ec="white"))
        axes.add_patch(Rectangle((left, rows[0]), width, rows[1] - rows[0], fill=False, lw=1.5, ec=colour, label=name))
    axes.legend(loc="lower right", fontsize=8)
    axes.set_axis_off()
    return figure


def search_sheet(archive: Archive, search: Search) -> Figure:
    """Row by row: the example, the ten tiles marked in each round, and last the ten best after all marks."""
    rounds = search.rounds
    figure = Figure(figsize=(11, 0.86 * len(rounds) + 0.5))
    grid = figure.add_gridspec(
        len(rounds), 12, width_ratios=[1.9, 1.0] + [1] * 10, wspace=0.06, hspace=0.1, left=0, right=1, top=1, bottom=0.1
    )
    for line, step in enumerate(rounds):
        words = figure.add_subplot(grid[line, 0])
        words.set_axis_off()
        head = "Like the example" if line == 0 else f"After round {line}"
        yes = f"{sum(step.right)} of {len(step.right)} " + ("are right" if step is rounds[-1] else "marked yes")
        text = f"{head}\nprecision@20: {step.precision:.2f}\n{yes}"
        words.text(0.0, 0.5, text, va="center", fontsize=8, linespacing=1.5, transform=words.transAxes)
        if line == 0:
            _tile(figure.add_subplot(grid[0, 1]), archive, search.query, QUERY)
        for place, (hit, right) in enumerate(zip(step.shown, step.right, strict=True), 2):
            _tile(figure.add_subplot(grid[line, place]), archive, hit.number, GOOD if right else BAD)
    handles = [Line2D([], [], color=colour, lw=3, label=name) for colour, name in _LEGEND]
    figure.legend(handles=handles, loc="lower center", ncol=3, fontsize=8, frameon=False)
    return figure


_LEGEND = ((QUERY, "the example"), (GOOD, "right"), (BAD, "wrong"))


def precision_curves(searches: Sequence[Sequence[Search]]) -> Figure:
    """Precision at 20 by round, one panel a class; each session grey, their mean black, the base rate dotted."""
    figure = Figure(figsize=(2.9 * len(searches), 2.6))
    for place, sessions in enumerate(searches, 1):
        axes = figure.add_subplot(1, len(searches), place)
        values = np.array([[step.precision for step in search.rounds] for search in sessions])
        rounds = np.arange(values.shape[1])
        axes.plot(rounds, values.T, color="0.75", lw=1)
        axes.plot(rounds, values.mean(axis=0), color="black", lw=2, marker="o", ms=4)
        target = sessions[0].target
        axes.axhline(target.base_rate, color=BAD, ls=":", lw=1.2)
        axes.text(rounds[-1], target.base_rate + 0.02, "by chance", color=BAD, fontsize=7, ha="right", va="bottom")
        axes.set(title=target.name, xlabel="rounds of ten marks", xticks=rounds, ylim=(0, 1.03))
        axes.title.set_fontsize(10)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        if place == 1:
            axes.set_ylabel("precision at 20")
    figure.tight_layout()
    return figure


def chip_sheet(
    chips: Sequence[tuple[Raster, Raster, Stretch]], colours: dict[int, str], names: dict[int, str], count: int = 4
) -> Figure:
    """The training chips with most to see, above their masks over the same pixels."""
    order = sorted(chips, key=lambda chip: -_labelled_pixels(chip[1]))
    shown = order[: count * 3 : 3] or order[:count]
    figure = Figure(figsize=(2.6 * len(shown), 5.2))
    for place, (image, mask, stretch) in enumerate(shown):
        picture = flatten(render(image, image.window, (image.height, image.width), stretch))
        values = np.ma.getdata(mask.read())[0]
        for row, panel in enumerate((picture, paint(picture, values, colours))):
            axes = figure.add_subplot(2, len(shown), row * len(shown) + place + 1)
            axes.imshow(panel)
            axes.set_axis_off()
    handles = [Rectangle((0, 0), 1, 1, color=colours[number], label=name) for number, name in names.items()]
    handles.append(Rectangle((0, 0), 1, 1, color="0.5", label="unknown"))
    figure.legend(handles=handles, loc="lower center", ncol=len(handles), fontsize=9, frameon=False)
    figure.subplots_adjust(wspace=0.03, hspace=0.03, left=0, right=1, top=1, bottom=0.06)
    return figure


def result_sheet(
    archive: Archive,
    window: Window,
    truth: NDArray[np.uint8],
    found: NDArray[np.uint8],
    probability: NDArray[np.float32],
    polygons: gpd.GeoDataFrame,
    colours: dict[str, str],
) -> Figure:
    """Four panels of one window of the test rows: imagery, probability, polygons, and where truth and map differ."""
    size = truth.shape
    picture = picture_of(archive, window, (size[0], size[1]))
    figure = Figure(figsize=(10, 10.5 * size[0] / size[1] + 0.5))
    panels = [figure.add_subplot(2, 2, place) for place in range(1, 5)]
    titles = ("imagery", "probability of the class (dark = 0, bright = 1)", "polygons", "map against truth")
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title, fontsize=10)
        axes.set_axis_off()
    panels[0].imshow(picture)
    panels[1].imshow(probability, vmin=0, vmax=1, cmap="magma")
    panels[2].imshow(picture)
    raster = archive.imagery[0]
    area = box(window.col_off, window.row_off, window.col_off + window.width, window.row_off + window.height)
    for geometry, name in zip(polygons.geometry, polygons["class"], strict=True):
        local = raster.to_pixels(geometry)
        if local.intersects(area):
            _draw(panels[2], local, window, colours.get(str(name), GOOD))
    panels[2].set(xlim=(0, size[1]), ylim=(size[0], 0))
    panels[3].imshow(paint(picture, agreement(truth, found), {1: GOOD, 2: BAD, 3: QUERY}))
    names = ((GOOD, "found"), (BAD, "found, not there"), (QUERY, "missed"))
    panels[3].legend(
        handles=[Rectangle((0, 0), 1, 1, color=colour, label=name) for colour, name in names],
        loc="lower right",
        fontsize=8,
    )
    figure.subplots_adjust(wspace=0.02, hspace=0.08, left=0, right=1, top=0.96, bottom=0)
    return figure


def busiest_window(truth: NDArray[np.uint8], top: int, size: int = _CROP) -> Window:
    """The window of some rows of truth with the most labelled objects' pixels, on a grid of half windows."""
    best, most = Window(0, top, min(size, truth.shape[1]), min(size, truth.shape[0])), -1
    for row in range(0, max(1, truth.shape[0] - size + 1), size // 2):
        for col in range(0, max(1, truth.shape[1] - size + 1), size // 2):
            part = truth[row : row + size, col : col + size]
            count = int(((part > 0) & (part != IGNORE)).sum())
            if count > most:
                best, most = Window(col, top + row, part.shape[1], part.shape[0]), count
    return best


def _labelled_pixels(mask: Raster) -> int:
    values = np.ma.getdata(mask.read())[0]
    return int(((values > 0) & (values != IGNORE)).sum())


def _tile(axes: Any, archive: Archive, number: int, colour: str) -> None:
    axes.imshow(picture_of(archive, archive.tile(number).window, (_THUMB, _THUMB)))
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=3)


def _draw(axes: Any, shape: BaseGeometry, window: Window, colour: str) -> None:
    for part in getattr(shape, "geoms", [shape]):
        for ring in (part.exterior, *part.interiors):
            points = np.asarray(ring.coords)
            axes.plot(points[:, 0] - window.col_off, points[:, 1] - window.row_off, color="white", lw=2.2)
            axes.plot(points[:, 0] - window.col_off, points[:, 1] - window.row_off, color=colour, lw=1.2)


def _quick(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    from workbench.imagery.opening import open_imagery

    raster = open_imagery(path)[0]
    return flatten(render(raster, raster.window, size, Stretch((0.0,) * 3, (255.0,) * 3)))
