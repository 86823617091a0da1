"""What the demo plays and what came of it: the plan, everything that was made, and the map as classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import geopandas as gpd
import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from workbench.demo.analyst import IGNORE, Search
from workbench.descriptors.archive import Archive
from workbench.imagery.rasters import Raster
from workbench.labels.export import Chips
from workbench.segmentation.runs import Run
from workbench.segmentation.scores import Scores
from workbench.session import Session


@dataclass(frozen=True)
class Plan:
    """What is played on which data; everything a terminal can set.

    Attributes:
        imagery: raster to work on.
        truth: mask on the same grid: 0, 1...n, 255 where nobody looked.
        classes: names of 1...n; further numbers of the mask are called ``class 2`` and so on.
        out: folder for everything that is made.
        train_rows: rows whose truth the analyst may trace; 65 % of the known rows when None.
        test_rows: rows that only the last figures see; the last 30 % when None.
        nodata: declared by the user.
        tile: of the search grid, pixels.
        stride: of the search grid, pixels.
        least: share of a tile that a class must fill to make it a positive tile.
        open_name: name of ground without any class, looked for too; None: not.
        encoder: of the search.
        weights: of that encoder.
        unet_classes: classes the U-Net learns; all when None.
        searched: classes to look for; all when None.
        chip: size of the training chips, pixels.
        minutes: most time for training.
        epochs: most epochs.
    """

    imagery: Path
    truth: Path
    classes: list[str]
    out: Path
    train_rows: tuple[int, int] | None = None
    test_rows: tuple[int, int] | None = None
    nodata: float | None = None
    tile: int = 256
    stride: int = 128
    least: float = 0.1
    open_name: str | None = "open ground"
    encoder: str = "aerial"
    weights: Path | None = None
    unet_classes: list[str] | None = None
    searched: list[str] | None = None
    chip: int = 512
    minutes: float = 12.0
    epochs: int = 20


@dataclass
class Played:
    """Everything the report needs."""

    plan: Plan
    archive: Archive
    truth: Raster
    train_rows: tuple[int, int]
    test_rows: tuple[int, int]
    labels: Path
    searches: list[list[Search]] = field(default_factory=list)
    session: Session | None = None
    chips: Chips | None = None
    run: Run | None = None
    probability: Path | None = None
    polygons: gpd.GeoDataFrame | None = None
    scores: Scores | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def unet_classes(self) -> list[str]:
        """Classes the U-Net learns."""
        return self.plan.unet_classes or self.plan.classes


def classify(probability: Raster, top: int, bottom: int, threshold: float = 0.5) -> NDArray[np.uint8]:
    """The most probable class of each pixel of some rows, 0 where none reaches the threshold, 255 without data."""
    pixels = probability.read(Window(0, top, probability.width, bottom - top))
    values = np.ma.getdata(pixels).astype(np.float32)
    if probability.dtype == "uint8":
        values /= 254
    found = (values.argmax(axis=0) + 1).astype(np.uint8)
    found[values.max(axis=0) < threshold] = 0
    found[np.ma.getmaskarray(pixels).any(axis=0)] = IGNORE
    return found
