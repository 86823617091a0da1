"""What a network's probability map says of each tile, to be compared with what a scorer says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy.ndimage import maximum_filter, uniform_filter

from workbench.descriptors.archive import Archive
from workbench.descriptors.tiles import raster_slices
from workbench.errors import QueryInvalid
from workbench.files import slug
from workbench.imagery.opening import open_imagery
from workbench.imagery.probabilities import STEPS
from workbench.imagery.rasters import Raster
from workbench.imagery.windows import block_sums

_CELLS = 8
"""Cells along a tile: the probability is averaged over each, so that a speck says nothing and a small object much."""
_STRIP = 64  # rows of cells that are read at once


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
    return _of_tiles(archive, maps, class_name, _highest)


def tile_doubts(archive: Archive, maps: Sequence[Path], class_name: str) -> NDArray[np.float32]:
    """The share of each tile's pixels that a network expects to have wrong, float32 (n,), 0 to 0.5; NaN without a map.

    That is the mean of min(p, 1 - p), the risk of the likelier answer, pixel by pixel. See `tile_probabilities` for the
    arguments and for what is raised.
    """
    return _of_tiles(archive, maps, class_name, _doubt)


def tile_objects(archive: Archive, polygons: gpd.GeoDataFrame | None, class_name: str) -> NDArray[np.int64]:
    """About how many objects outlined in a map have their middle in each tile, int64 (n,).

    Counted once in squares of the tiles' size: exact for tiles side by side, for others what is in the square of their middle.

    Args:
        archive: of the tiles.
        polygons: of `segmentation.polygonize`, with a column ``class``; None for none.
        class_name: of the objects that count.
    """
    found = np.zeros(len(archive), np.int64)
    mine = None if polygons is None else polygons[polygons["class"] == class_name]
    if mine is None or not len(mine):
        return found
    middles = shapely.MultiPoint(shapely.get_coordinates(shapely.centroid(mine.geometry.to_numpy())))
    for position, tiles in enumerate(raster_slices(archive.tiles, len(archive.imagery))):
        raster = archive.imagery[position]
        if (raster.crs is None) != (mine.crs is None):
            continue
        places = shapely.get_coordinates(raster.to_pixels(middles, mine.crs and mine.crs.to_wkt()))
        places = places[((places >= 0) & (places < (raster.width, raster.height))).all(axis=1)]
        col, row, size = (archive.tiles[tiles][name].astype(np.int64) for name in ("col", "row", "size"))
        for side in np.unique(size).tolist():
            across = -(-raster.width // side)
            cells, counts = np.unique(np.floor(places / side).astype(np.int64) @ [1, across], return_counts=True)
            own = np.flatnonzero(size == side)
            held = dict(zip(cells.tolist(), counts.tolist(), strict=True))
            cell = (row[own] + side // 2) // side * across + (col[own] + side // 2) // side
            found[tiles.start + own] += np.array([held.get(each, 0) for each in cell.tolist()], np.int64)
    return found


def _of_tiles(
    archive: Archive,
    maps: Sequence[Path],
    class_name: str,
    measure: Callable[[Raster, int, NDArray[np.void]], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """What is measured on the map of each raster, for its tiles (n,)."""
    opened = [raster for path in maps for raster in open_imagery(path)]
    bands = {band.name for raster in opened for band in raster.bands}
    if class_name not in bands:
        raise QueryInvalid(
            f"The map shows {', '.join(sorted(bands)) or 'nothing'}, and not {class_name}. Train a U-Net on labels of "
            f"{class_name} and map all imagery first."
        )
    found = np.full(len(archive), np.nan, np.float32)
    for position, mine in enumerate(raster_slices(archive.tiles, len(archive.imagery))):
        on = map_of(archive.imagery[position], opened)
        if on is not None and mine.stop > mine.start:
            opened.remove(on)
            names = [band.name for band in on.bands]
            if class_name in names:
                found[mine] = measure(on, names.index(class_name), archive.tiles[mine])
    if np.isnan(found).all():
        raise QueryInvalid("The map is not one of this archive's imagery. Map all imagery with the U-Net again.")
    return found


def map_of(raster: Raster, maps: Sequence[Raster]) -> Raster | None:
    """The map on a raster's own grid; of several, as of two dates, the one with its name."""
    grid = raster.crs, raster.transform, raster.width, raster.height
    alike = [each for each in maps if (each.crs, each.transform, each.width, each.height) == grid]
    named = [each for each in alike if Path(each.name).stem == slug(Path(raster.name).stem)]
    return next(iter([*named, *alike]), None)


def _highest(on: Raster, band: int, tiles: NDArray[np.void]) -> NDArray[np.float32]:
    cell = _cell(tiles)
    read = on.read(size=(-(-on.height // cell), -(-on.width // cell)), bands=[band])[0]
    values = np.where(np.ma.getmaskarray(read), -1, _unit(read))
    # With this origin the window of a cell begins there.
    found = _at_tiles(
        values,
        on,
        tiles,
        lambda reach: maximum_filter(values, reach, mode="constant", cval=-1, origin=-(reach // 2)),
    )
    return np.where(found < 0, np.float32(np.nan), found)


def _doubt(on: Raster, band: int, tiles: NDArray[np.void]) -> NDArray[np.float32]:
    cell = _cell(tiles)
    strips = []
    for top in range(0, on.height, _STRIP * cell):
        # Reaches beyond the raster, to whole cells; there and where there is no data nothing is in doubt.
        rows = -(-min(_STRIP * cell, on.height - top) // cell) * cell
        read = on.read(Window(0, top, -(-on.width // cell) * cell, rows), bands=[band])[0]
        wrong = _unit(read)
        wrong = np.where(np.ma.getmaskarray(read), 0, np.minimum(wrong, 1 - wrong))
        strips.append(block_sums(wrong, cell) / cell**2)
    values = np.concatenate(strips).astype(np.float32)
    return _at_tiles(
        values, on, tiles, lambda reach: uniform_filter(values, reach, mode="constant", origin=-(reach // 2))
    )


def _cell(tiles: NDArray[np.void]) -> int:
    return max(1, int(tiles["size"].min()) // _CELLS)


def _unit(read: NDArray[Any]) -> NDArray[np.float32]:
    scale = STEPS if read.dtype == np.uint8 else 1
    return np.asarray(np.ma.getdata(read).astype(np.float32) / scale)


def _at_tiles(
    values: NDArray[np.float32],
    on: Raster,
    tiles: NDArray[np.void],
    over: Callable[[int], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """A measure over so many cells a side, at each tile's first cell."""
    rows, cols = values.shape
    row = (tiles["row"].astype(np.int64) * rows // on.height).clip(max=rows - 1)
    col = (tiles["col"].astype(np.int64) * cols // on.width).clip(max=cols - 1)
    cell = _cell(tiles)
    found = np.empty(len(tiles), np.float32)
    for side in np.unique(tiles["size"]).tolist():
        mine = tiles["size"] == side
        found[mine] = over(max(1, round(side / cell)))[row[mine], col[mine]]
    return found
