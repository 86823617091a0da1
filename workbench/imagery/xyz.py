"""XYZ map tiles of a raster: warped to Web Mercator by rio-tiler, stretched as recorded, transparent where there is no data."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rio_tiler.errors import NoOverviewWarning, TileOutsideBounds
from rio_tiler.io import Reader

from workbench.errors import RasterUnreadable
from workbench.imagery.handles import READ_ERRORS, dataset_of
from workbench.imagery.quicklook import FACTOR
from workbench.imagery.rasters import Raster
from workbench.imagery.render import Stretch, display_bands, encode

TILE = 256
_EQUATOR_M = 2 * math.pi * 6_378_137
_QUICKLOOK_STRETCH = Stretch((0.0,) * 3, (255.0,) * 3)


def xyz_tile(
    raster: Raster, x: int, y: int, z: int, stretch: Stretch, *, quicklook: Path | None = None, size: int = TILE
) -> bytes | None:
    """One map tile in the XYZ scheme (Web Mercator, y from the north).

    Args:
        raster: to show.
        x: column of the tile, 0 ... 2**z - 1.
        y: row of the tile.
        z: zoom.
        stretch: of all bands of the raster.
        quicklook: its small copy, used where that is fine enough.
        size: pixels on a side.

    Returns:
        a PNG, or None where the raster has nothing: outside it, no data, no place on earth, or no such tile.

    Raises:
        RasterUnreadable: the pixels cannot be read.
    """
    if not raster.mappable or not (0 <= z <= 30 and 0 <= x < 2**z and 0 <= y < 2**z):
        return None
    if quicklook is not None and pixel_m(z, size) * math.cos(_latitude(y, z)) >= FACTOR * max(raster.pixel_size_m):
        rgba = _warp(quicklook, [1, 2, 3], x, y, z, size, None, _QUICKLOOK_STRETCH)
    else:
        rgba = _warp_raster(raster, x, y, z, size, stretch)
    return None if rgba is None or not rgba[..., 3].any() else encode(rgba, "PNG")


def native_zoom(raster: Raster, size: int = TILE) -> int:
    """The first zoom whose pixels are at least as fine as the raster's."""
    latitude = raster.footprint(crs="EPSG:4326").centroid.y
    pixel = min(raster.pixel_size_m) / math.cos(math.radians(min(85.0, abs(latitude))))
    return max(0, min(30, math.ceil(math.log2(pixel_m(0, size) / pixel) - 1e-3)))


def pixel_m(z: int, size: int = TILE) -> float:
    """Web Mercator metres of one tile pixel at a zoom."""
    return _EQUATOR_M / size / 2**z


def _warp_raster(raster: Raster, x: int, y: int, z: int, size: int, stretch: Stretch) -> NDArray[np.uint8] | None:
    bands = display_bands(raster)
    unique = tuple(dict.fromkeys(bands))
    nodata = raster.nodata if raster.user_nodata else None
    parts = []
    for path in dict.fromkeys(raster.bands[band].path for band in unique):
        places = [band for band in unique if raster.bands[band].path == path]
        numbers = [raster.bands[band].number for band in places]
        part = _warp(path, numbers, x, y, z, size, nodata, stretch.of(tuple(places)), allow_vrt=raster.is_vrt)
        if part is None:
            return None
        parts.append((places, part))
    order = [band for places, _ in parts for band in places]
    colours = np.concatenate([part[..., : len(places)] for places, part in parts], axis=2)
    alpha = np.minimum.reduce([part[..., -1] for _, part in parts])
    return np.dstack([colours[..., [order.index(band) for band in bands]], alpha])


def _warp(
    path: Path,
    numbers: list[int],
    x: int,
    y: int,
    z: int,
    size: int,
    nodata: float | None,
    stretch: Stretch,
    *,
    allow_vrt: bool = False,
) -> NDArray[np.uint8] | None:
    """Some bands of a file as stretched bytes with alpha last, (size, size, bands + 1); None outside of it."""
    options: dict[str, Any] = {} if nodata is None else {"nodata": nodata}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NoOverviewWarning)
            reader = Reader(str(path), dataset=dataset_of(path, allow_vrt=allow_vrt))
            image = reader.tile(x, y, z, tilesize=size, indexes=numbers, **options)
    except TileOutsideBounds:
        return None
    except READ_ERRORS as error:
        raise RasterUnreadable(
            f"{path.name}: map tile {z}/{x}/{y} cannot be read ({error}). Copy the file again."
        ) from error
    pixels = image.array
    data = np.ma.getdata(pixels)
    finite = np.isfinite(data) if np.issubdtype(data.dtype, np.floating) else np.ones(data.shape, bool)
    hidden = np.ma.getmaskarray(pixels).all(axis=0) | ~finite.all(axis=0)
    shown = stretch.apply(np.ma.MaskedArray(np.where(finite, data, 0), np.broadcast_to(hidden, data.shape)))
    alpha = np.where(hidden, 0, 255).astype(np.uint8)
    return np.concatenate([shown, alpha[None]]).transpose(1, 2, 0)


def _latitude(y: int, z: int) -> float:
    """Latitude of the middle of a tile row, radians."""
    return math.atan(math.sinh(math.pi * (1 - 2 * (y + 0.5) / 2**z)))
