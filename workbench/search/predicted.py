"""What a network's probability map says of each tile, to be compared with what a scorer says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from workbench.descriptors.archive import Archive
from workbench.descriptors.tiles import raster_slices
from workbench.errors import QueryInvalid
from workbench.files import slug
from workbench.imagery.opening import open_imagery
from workbench.imagery.probabilities import STEPS
from workbench.imagery.rasters import Raster

_CELLS = 8
"""Cells along a tile: the probability is averaged over each, so that a speck says nothing and a small object much."""


def tile_probabilities(archive: Archive, maps: Sequence[Path], class_name: str) -> NDArray[np.float32]:
    """How probable it is that a class is somewhere in each tile, float32 (n,), 0 to 1; NaN where there is no map.

    That is the highest of the means over cells of an eighth of the smallest tile's side. The mean over the whole tile would
    call a tile with one boat in it water, and every such tile a disagreement.

    Args:
        archive: of the tiles.
        maps: files of `segmentation.predict`, each on exactly the grid of one of the archive's rasters.
        class_name: name of a band.

    Raises:
        QueryInvalid: no map belongs to a raster of the archive, or none has such a class.
        RasterUnreadable: a map cannot be read.
    """
    opened = [raster for path in maps for raster in open_imagery(path)]
    bands = {band.name for raster in opened for band in raster.bands}
    if class_name not in bands:
        raise QueryInvalid(
            f"The map shows {', '.join(sorted(bands)) or 'nothing'}, and not {class_name}. Train a U-Net on labels of "
            f"{class_name} and map all imagery first."
        )
    found = np.full(len(archive), np.nan, np.float32)
    for position, mine in enumerate(raster_slices(archive.tiles, len(archive.imagery))):
        on = _map_of(archive.imagery[position], opened)
        if on is not None and mine.stop > mine.start:
            opened.remove(on)
            found[mine] = _highest(on, class_name, archive.tiles[mine])
    if np.isnan(found).all():
        raise QueryInvalid("The map is not one of this archive's imagery. Map all imagery with the U-Net again.")
    return found


def _map_of(raster: Raster, maps: Sequence[Raster]) -> Raster | None:
    """The map on a raster's own grid; of several, as of two dates, the one with its name."""
    grid = raster.crs, raster.transform, raster.width, raster.height
    alike = [each for each in maps if (each.crs, each.transform, each.width, each.height) == grid]
    named = [each for each in alike if Path(each.name).stem == slug(Path(raster.name).stem)]
    return next(iter([*named, *alike]), None)


def _highest(on: Raster, class_name: str, tiles: NDArray[np.void]) -> NDArray[np.float32]:
    names = [band.name for band in on.bands]
    if class_name not in names:
        return np.full(len(tiles), np.nan, np.float32)
    cell = max(1, int(tiles["size"].min()) // _CELLS)
    size = -(-on.height // cell), -(-on.width // cell)
    read = on.read(size=size, bands=[names.index(class_name)])[0]
    scale = STEPS if read.dtype == np.uint8 else 1
    values = np.where(np.ma.getmaskarray(read), -1, np.ma.getdata(read).astype(np.float32) / scale)
    rows = (tiles["row"].astype(np.int64) * size[0] // on.height).clip(max=size[0] - 1)
    cols = (tiles["col"].astype(np.int64) * size[1] // on.width).clip(max=size[1] - 1)
    found = np.empty(len(tiles), np.float32)
    for side in np.unique(tiles["size"]).tolist():
        reach = max(1, round(side / cell))
        # With this origin the window of a cell begins there.
        best = maximum_filter(values, reach, mode="constant", cval=-1, origin=-(reach // 2))
        mine = tiles["size"] == side
        found[mine] = best[rows[mine], cols[mine]]
    return np.where(found < 0, np.float32(np.nan), found)
