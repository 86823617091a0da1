"""Class maps without a network: the likeliest class of every place by the tiles on it, as COGs in the tiles' own grid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as Xml

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window

from workbench.descriptors.archive import Archive
from workbench.descriptors.tiles import raster_slices
from workbench.errors import PathRefused
from workbench.files import write_bytes
from workbench.imagery.cogs import CogProfile, new_cog
from workbench.imagery.outlines import rgb
from workbench.jobs import Progress, shown_progress
from workbench.search.classes import NONE, Classes
from workbench.segmentation.cells import Cells, Strip, cells_of, strips
from workbench.segmentation.predict import NODATA, STEPS, target_paths

_AT_ONCE = 1 << 14
_ROW_BYTES = 32_000_000
_PROBABILITY = "-probability"


@dataclass(frozen=True)
class MapFiles:
    """The files of one raster's class map, on one grid.

    Attributes:
        classes: uint8, 0 none of them, 1 and up the classes, `NODATA` where no tile is; with colours and names.
        probability: uint8, of the class that is shown, times `STEPS`; `NODATA` where no tile is.
    """

    classes: Path
    probability: Path


def map_classes(
    archive: Archive,
    classes: Classes,
    out: str | Path,
    *,
    colours: Mapping[str, str] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[MapFiles]:
    """Write the class of every place that an archive's tiles cover.

    A place gets the class whose mean probability is highest over all tiles on it: tiles that overlap by half give half
    a tile's resolution. A pixel of the map is the largest square that all edges of tiles fall on. Memory is bounded
    whatever the archive's size, and a file appears under its name only when it is complete.

    Args:
        archive: whose descriptors are used; no imagery is read.
        classes: of `learn_classes`.
        out: the GeoTIFF to write; for several rasters, the folder for one each. The probability goes beside it, with
            ``-probability`` in its name, and the names of the values for GDAL and QGIS with ``.aux.xml``.
        colours: class name -> ``#rrggbb``; a class without one is grey.
        overwrite: replace files that are there.
        progress: counts rows of cells.

    Returns:
        the files of each raster that has tiles, in the imagery's order.

    Raises:
        PathRefused: ``out`` names no GeoTIFF.
        FileExists: a file is there already and ``overwrite`` is false.
        DiskFull: there is no room; no file is left half written.
        Cancelled: the user stopped it.
    """
    rasters = list(archive.imagery)
    out = Path(out)
    if len(rasters) == 1 and out.suffix.lower() not in (".tif", ".tiff"):
        raise PathRefused(f"{out.name} names no GeoTIFF. End it in .tif.")
    targets = target_paths(rasters, out, overwrite)
    beside = target_paths(rasters, out, overwrite, _PROBABILITY)
    both = sorted(set(targets) & set(beside))
    if both:
        raise PathRefused(f"{both[0]} would be two rasters' file. Rename one of the rasters.")
    places = [MapFiles(*pair) for pair in zip(targets, beside, strict=True)]
    tiles = raster_slices(archive.tiles, len(rasters))
    chosen = [position for position, mine in enumerate(tiles) if mine.stop > mine.start]
    with shown_progress(progress) as shown:
        for position in chosen:
            _write(archive, classes, position, places[position], dict(colours or {}), overwrite, shown)
    return [places[position] for position in chosen]


def _write(
    archive: Archive,
    classes: Classes,
    position: int,
    files: MapFiles,
    colours: Mapping[str, str],
    overwrite: bool,
    progress: Progress,
) -> None:
    raster, cells = archive.imagery[position], cells_of(archive, position)
    side = cells.pixel
    size = -(-raster.width // side), -(-raster.height // side)
    place = *size, raster.transform @ Affine.scale(side), raster.crs, NODATA
    names = (NONE, *classes.names)
    shades = {number: (*rgb(colours.get(name, "#999999")), 255) for number, name in enumerate(classes.names, 1)}
    tags = {f"CLASS_{number}": name for number, name in enumerate(names)}
    look = CogProfile(*place, ("class",), colours={0: (0, 0, 0, 0), **shades, NODATA: (0, 0, 0, 0)}, tags=tags)
    sure = CogProfile(*place, ("probability",), scale=1 / STEPS, smooth=True)

    def say(numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        parts = [numbers[start : start + _AT_ONCE] for start in range(0, len(numbers), _AT_ONCE)]
        return np.concatenate([classes.probabilities(archive.examples_of(part)) for part in parts])

    progress.begin(f"mapping {raster.name}", len(cells.rows) - 1, "rows of cells")
    with (
        new_cog(files.classes, look, overwrite=overwrite) as shown,
        new_cog(files.probability, sure, overwrite=overwrite) as probable,
    ):
        for strip in strips(archive, cells, say, len(names)):
            for window, value, chance in _pixels(strip, cells, side):
                shown.write(value, 1, window=window)
                probable.write(chance, 1, window=window)
            progress.advance(len(strip.means))
    write_bytes(files.classes.with_name(f"{files.classes.name}.aux.xml"), _category_names(names))


def _pixels(strip: Strip, cells: Cells, side: int) -> Iterator[tuple[Window, NDArray[np.uint8], NDArray[np.uint8]]]:
    """Class and probability of a strip's cells as pixels, some rows of cells at a time."""
    value = np.where(strip.known, strip.means.argmax(axis=-1), NODATA).astype(np.uint8)
    steps = np.where(strip.known, np.rint(strip.means.max(axis=-1) * STEPS), NODATA).astype(np.uint8)
    across = np.diff(cells.cols) // side
    rows = cells.rows[strip.first : strip.first + len(value) + 1] // side
    most = max(1, _ROW_BYTES // (int(across.sum()) * int(np.diff(rows).max())))
    for first in range(0, len(value), most):
        last = min(first + most, len(value))
        down = np.diff(rows[first : last + 1])
        parts = [each[first:last].repeat(down, axis=0).repeat(across, axis=1) for each in (value, steps)]
        window = Window(int(cells.cols[0]) // side, int(rows[first]), int(across.sum()), int(down.sum()))
        yield window, parts[0], parts[1]


def _category_names(names: Sequence[str]) -> bytes:
    """The names of a band's values as GDAL keeps them beside a file, for QGIS's legend."""
    root = Xml.Element("PAMDataset")
    listed = Xml.SubElement(Xml.SubElement(root, "PAMRasterBand", band="1"), "CategoryNames")
    for name in names:
        Xml.SubElement(listed, "Category").text = name
    return Xml.tostring(root, encoding="utf-8")
