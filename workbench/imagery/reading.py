"""How a raster's pixels are read at any size: averaged, interpolated, and around holes that GDAL does not know."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.windows import Window

from workbench.errors import RasterUnreadable
from workbench.files import format_bytes
from workbench.imagery.handles import READ_ERRORS, dataset_of, reason
from workbench.imagery.windows import block_sums

if TYPE_CHECKING:
    from workbench.imagery.rasters import Band, Raster

_MOST_AVERAGED, _MOST_AT_ONCE = 8, 2**23


def read_inside(
    raster: Raster, window: Window, size: tuple[int, int], chosen: list[Band]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Read a window inside the raster: pixels (bands, rows, cols) in its dtype, and where there are none (rows, cols).

    Args:
        raster: what is read.
        window: pixels, all of them inside the raster.
        size: (rows, cols) to resample to: averaged when smaller, bilinear when larger.
        chosen: some of its bands.

    Raises:
        RasterUnreadable: the pixels cannot be read.
    """
    if raster.user_nodata or raster.alpha:
        return _read_around_holes(raster, window, size, chosen)
    side = _whole_number(raster, window, size)
    if side > 1:
        return _read_and_average(raster, window, side, chosen)
    data = np.empty((len(chosen), *size), raster.dtype)
    mask = np.zeros(size, bool)
    shrinks = size[0] < window.height or size[1] < window.width
    resampling = Resampling.average if shrinks else Resampling.bilinear
    _read_bands(raster, window, chosen, resampling, data, mask)
    if np.issubdtype(data.dtype, np.floating):
        finite = np.isfinite(data)
        mask |= ~finite.all(axis=0)
        data[~finite] = 0
    return data, mask


def _whole_number(raster: Raster, window: Window, size: tuple[int, int]) -> int:
    """How many pixels a side make one, where that is a small whole number and no pixel can be a hole; else 1."""
    side = round(window.height / size[0])
    fits = (window.height, window.width) == (side * size[0], side * size[1])
    aligned = window.row_off == int(window.row_off) and window.col_off == int(window.col_off)
    holes = raster.has_mask or raster.nodata is not None or not np.issubdtype(raster.dtype, np.integer)
    few = 1 < side <= _MOST_AVERAGED and window.height * window.width <= _MOST_AT_ONCE
    return side if few and fits and aligned and not holes and not raster.has_overviews else 1


def _read_and_average(
    raster: Raster, window: Window, side: int, chosen: list[Band]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """As GDAL averages whole numbers of pixels, in a quarter of the time."""
    data = np.empty((len(chosen), int(window.height), int(window.width)), raster.dtype)
    mask = np.zeros(data.shape[1:], bool)
    _read_bands(raster, window, chosen, Resampling.nearest, data, mask)
    means = block_sums(data, side) / side**2
    return np.floor(means + 0.5).astype(raster.dtype), np.zeros(means.shape[1:], bool)


def _read_around_holes(
    raster: Raster, window: Window, size: tuple[int, int], chosen: list[Band]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """As `read_inside` where GDAL does not know the holes and would average them into their neighbours.

    Nearest pixels are read at up to four times the size, and those with data averaged. All bands are read, since a
    pixel has the declared no-data value where all of them have it.
    """
    fine = min(4, max(1, math.ceil(max(window.height / size[0], window.width / size[1]))))
    shape = (size[0] * fine, size[1] * fine)
    data = np.empty((len(raster.bands), *shape), raster.dtype)
    mask = np.zeros(shape, bool)
    _read_bands(raster, window, list(raster.bands), Resampling.nearest, data, mask)
    if raster.user_nodata:
        mask |= np.all(data == np.array(raster.nodata).astype(raster.dtype), axis=0)
    if np.issubdtype(data.dtype, np.floating):
        mask |= ~np.isfinite(data).all(axis=0)
    holes = bool(mask.any())
    picked = data[[raster.bands.index(band) for band in chosen]]
    picked = np.where(mask, 0, picked) if holes else picked
    if fine == 1:
        return picked, mask
    valid = block_sums(~mask, fine) if holes else np.full(size, fine**2, np.float32)
    means = block_sums(picked, fine) / np.maximum(valid, 1)
    whole = np.issubdtype(data.dtype, np.integer)
    return (np.rint(means) if whole else means).astype(raster.dtype), valid * 2 < fine**2


def _read_bands(
    raster: Raster,
    window: Window,
    chosen: list[Band],
    resampling: Resampling,
    data: NDArray[Any],
    mask: NDArray[np.bool_],
) -> None:
    """Read bands into ``data`` (bands, rows, cols), and what the files flag as holes into ``mask``."""
    try:
        for path in dict.fromkeys(band.path for band in chosen):
            places = [place for place, band in enumerate(chosen) if band.path == path]
            dataset = dataset_of(path, allow_vrt=raster.is_vrt)
            numbers = [chosen[place].number for place in places]
            if len(places) == len(data):
                dataset.read(numbers, out=data, window=window, resampling=resampling)
            else:
                shape = (len(places), *data.shape[1:])
                data[places] = dataset.read(numbers, window=window, out_shape=shape, resampling=resampling)
            if raster.has_mask:
                mask |= dataset.dataset_mask(window=window, out_shape=mask.shape) == 0
            if raster.alpha:
                mask |= dataset.read(raster.alpha, window=window, out_shape=mask.shape) == 0
    except READ_ERRORS as error:
        raise _unreadable(raster, window, error) from error


def _unreadable(raster: Raster, window: Window, error: Exception) -> RasterUnreadable:
    first, last = int(window.row_off), int(window.row_off + window.height) - 1
    size = sum(path.stat().st_size for path in raster.paths if path.exists())
    return RasterUnreadable(
        f"{raster.name}: rows {first}-{last} cannot be read ({format_bytes(size)} on disk; {reason(error)}). "
        f'Copy it again, or leave it out with imagery.without("{raster.name}").'
    )
