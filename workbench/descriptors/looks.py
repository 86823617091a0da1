"""What a tile looks like: a window of the raster it was described from, or of imagery attached to imported descriptors."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from workbench.errors import RasterRefused, RasterUnreadable
from workbench.files import write_json
from workbench.imagery.opening import open_imagery
from workbench.imagery.rasters import Imagery, Raster
from workbench.imagery.render import Stretch, fit_stretch

log = logging.getLogger(__name__)
ATTACHED = "attached.json"


@dataclass(frozen=True)
class Look:
    """A square window to be read, and the stretch to show it with."""

    raster: Raster
    window: Window
    stretch: Stretch


@dataclass(frozen=True)
class Attached:
    """Imagery under imported tiles, to look at them, and the stretch of each raster."""

    imagery: Imagery
    stretches: tuple[Stretch, ...]

    def under(self, outline: BaseGeometry, crs: str) -> tuple[int, BaseGeometry] | None:
        """The raster that holds most of an outline, and the outline in its pixels; None where there is no imagery."""
        left, bottom, right, top = outline.bounds
        boxes = self.imagery.bounds_in(crs)
        near = (boxes[:, 0] < right) & (boxes[:, 2] > left) & (boxes[:, 1] < top) & (boxes[:, 3] > bottom)
        best, most = None, 0.0
        for position in np.flatnonzero(near).tolist():
            raster = self.imagery[position]
            try:
                shape = raster.to_pixels(outline, crs)
            except RasterRefused:
                continue
            share = shape.intersection(shapely.box(0, 0, raster.width, raster.height)).area / max(shape.area, 1e-9)
            if share > most:
                best, most = (position, shape), share
        return best


def look_there(place: Raster, outline: BaseGeometry, attached: Attached | None) -> Look:
    """The square window of attached imagery around an outline, in the CRS of what stands for a raster.

    Raises:
        RasterUnreadable: no imagery is attached there.
    """
    found = None if attached is None else attached.under(outline, str(place.crs))
    if attached is None or found is None:
        raise place.no_pixels()
    left, top, right, bottom = found[1].bounds
    side = max(right - left, bottom - top, 1.0)
    window = Window((left + right - side) / 2, (top + bottom - side) / 2, side, side)
    return Look(attached.imagery[found[0]], window, attached.stretches[found[0]])


def seen_there(
    raster: Raster, shape: BaseGeometry, stretch: Stretch, attached: Attached | None
) -> tuple[Raster, BaseGeometry, Stretch]:
    """A shape in the pixels of a raster, or of the imagery that is attached in its place, and what shows them.

    Raises:
        RasterUnreadable: the raster has no pixels, and no imagery is attached there.
    """
    if raster.has_pixels:
        return raster, shape, stretch
    found = None if attached is None else attached.under(raster.from_pixels(shape), str(raster.crs))
    if attached is None or found is None:
        raise raster.no_pixels()
    return attached.imagery[found[0]], found[1], attached.stretches[found[0]]


def attach(path: Path, imagery: Imagery | str | Path) -> Attached:
    """Choose imagery to look at imported tiles with, and remember it in a file."""
    if not isinstance(imagery, Imagery):
        imagery = open_imagery(imagery)
    attached = Attached(imagery, tuple(fit_stretch(raster) for raster in imagery))
    write_json(path, {"rasters": [_entry(*pair) for pair in zip(imagery, attached.stretches, strict=True)]})
    return attached


def read_attached(path: Path) -> Attached | None:
    """The imagery that was attached, where it still is; None when there is none. What is not there any more is logged."""
    if not path.is_file():
        return None
    rasters: list[Raster] = []
    stretches: list[Stretch] = []
    try:
        entries = json.loads(path.read_bytes())["rasters"]
        for entry in entries:
            paths = entry["paths"]
            source = paths[0] if len(paths) == 1 else paths
            try:
                rasters += open_imagery(source, bands=entry["bands"], nodata=entry["nodata"], allow_vrt=True)[:1]
            except (RasterUnreadable, RasterRefused) as error:
                log.warning("%s Attach the imagery again with archive.attach(FOLDER).", error)
                continue
            stretches.append(Stretch(tuple(entry["low"]), tuple(entry["high"])))
    except (ValueError, KeyError, TypeError, OSError) as error:
        log.warning("%s is damaged (%s). Attach the imagery again with archive.attach(FOLDER).", path, error)
    return Attached(Imagery(tuple(rasters)), tuple(stretches)) if rasters else None


def _entry(raster: Raster, stretch: Stretch) -> dict[str, Any]:
    single = len(raster.paths) == 1
    return {
        "paths": [str(path.resolve()) for path in raster.paths],
        "bands": [band.number if single else band.name for band in raster.bands],
        "nodata": raster.nodata if raster.user_nodata else None,
        "low": stretch.low,
        "high": stretch.high,
    }
