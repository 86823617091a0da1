"""One raster seen on the pixel grid of another: at the same places, with the same size of pixel, less a shift."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy.ndimage import map_coordinates
from shapely.geometry import LineString

from workbench.errors import RasterRefused, RasterUnreadable
from workbench.imagery.rasters import Raster
from workbench.imagery.render import Stretch, display_bands

Size = tuple[int, int]
_KNOT = 64
_LARGE = 8192


def view_of(
    other: Raster, place: Raster, window: Window, size: Size, stretch: Stretch, shift: tuple[float, float] = (0.0, 0.0)
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """What one raster shows where another's window lies.

    Args:
        other: to read.
        place: on whose grid.
        window: pixels of ``place``; may reach beyond it.
        size: rows and columns of the answer.
        stretch: of all of ``other``'s bands.
        shift: rows and columns of the answer by which ``other`` is out of place: what belongs at (0, 0) lies there.

    Returns:
        RGB 0..1, float32 (3, rows, cols), and true where there are no data, (rows, cols).

    Raises:
        RasterRefused: one of the two has a place on earth and the other has none, or both have none and differ in form.
    """
    cols, rows = _places(other, place, window, size, shift)
    step = max(1.0, min(_step(cols, 1), _step(rows, 0)))
    left, top = math.floor(cols.min()) - 2, math.floor(rows.min()) - 2
    width, height = (math.ceil((values.max() - first + 4) / step) for values, first in ((cols, left), (rows, top)))
    bands = display_bands(other)
    unique = tuple(dict.fromkeys(bands))
    empty = np.zeros((3, *size), np.float32), np.ones(size, bool)
    if not (0 < width <= _LARGE and 0 < height <= _LARGE):
        return empty
    try:
        pixels = other.read(Window(left, top, width * step, height * step), size=(height, width), bands=unique)
    except RasterUnreadable:
        return empty
    unit = stretch.of(unique).to_unit(pixels)
    at = np.stack([(rows - top) / step - 0.5, (cols - left) / step - 0.5])
    found = np.stack([map_coordinates(band, at, order=1, mode="nearest") for band in unit])
    holes = map_coordinates(np.ma.getmaskarray(pixels)[0].astype(np.float32), at, order=1, cval=1.0) > 0.5
    return np.ascontiguousarray(found[[unique.index(band) for band in bands]]), holes


def overlap_window(other: Raster, place: Raster) -> Window | None:
    """The pixels of ``place`` that ``other`` covers, as the rectangle around them; None where they do not meet.

    Raises:
        RasterRefused: they cannot be related; see `view_of`.
    """
    if place.crs is None or other.crs is None:
        _check_alike(other, place)
        return place.window
    left, top, right, bottom = place.to_pixels(other.footprint(), other.crs).bounds
    left, top = max(0.0, left), max(0.0, top)
    right, bottom = min(float(place.width), right), min(float(place.height), bottom)
    return Window(left, top, right - left, bottom - top) if right > left and bottom > top else None


def coarser(other: Raster, place: Raster) -> float:
    """How many pixels of ``place`` one pixel of ``other`` is on the ground, at least 1."""
    if place.crs is None or other.crs is None:
        return max(1.0, place.width / other.width)
    return max(1.0, float(np.mean(other.pixel_size_m)) / float(np.mean(place.pixel_size_m)))


def _places(
    other: Raster, place: Raster, window: Window, size: Size, shift: tuple[float, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Columns and rows in ``other`` of the centres of the answer's pixels, each (rows, cols)."""
    knots = [np.linspace(0, length, max(2, math.ceil(length / _KNOT) + 1)) for length in size]
    scale = window.height / size[0], window.width / size[1]
    down, right = (knot + moved for knot, moved in zip(knots, shift, strict=True))
    x, y = np.meshgrid(window.col_off + right * scale[1], window.row_off + down * scale[0])
    if place.crs is None or other.crs is None:
        _check_alike(other, place)
        x, y = x * other.width / place.width, y * other.height / place.height
    else:
        line = LineString(np.stack([x.ravel(), y.ravel()], axis=1))
        moved = other.to_pixels(place.from_pixels(line), place.crs)
        x, y = (values.reshape(x.shape) for values in np.array(moved.coords).T)
    return _between(x, knots, size), _between(y, knots, size)


def _between(values: NDArray[np.float64], knots: list[NDArray[np.float64]], size: Size) -> NDArray[np.float64]:
    """Values at the knots interpolated to the centres of pixels: a projection is straight over 64 of them."""
    at = [
        np.interp(np.arange(length) + 0.5, knot, np.arange(len(knot))) for length, knot in zip(size, knots, strict=True)
    ]
    for axis, where in enumerate(at):
        low = np.minimum(where.astype(int), values.shape[axis] - 2)
        share = np.expand_dims(where - low, 1 - axis)
        values = np.take(values, low, axis) * (1 - share) + np.take(values, low + 1, axis) * share
    return values


def _step(values: NDArray[np.float64], axis: int) -> float:
    """Mean distance of neighbours."""
    return float(np.abs(np.diff(values, axis=axis)).mean()) if values.shape[axis] > 1 else 1.0


def _check_alike(other: Raster, place: Raster) -> None:
    if place.crs is not None or other.crs is not None:
        raise RasterRefused(
            f"{place.name} and {other.name}: one has a coordinate system and the other has none, so nobody knows where they "
            "meet. Give both one, or neither."
        )
    if abs(place.width / place.height - other.width / other.height) > 0.01 * place.width / place.height:
        raise RasterRefused(
            f"{place.name} and {other.name} have no coordinate system and are of different form "
            f"({place.width} x {place.height}, {other.width} x {other.height} px), so they are no two pictures of one place. "
            "Give both a coordinate system."
        )
