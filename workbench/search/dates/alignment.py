"""How one raster is out of place beside another, and how its colours map to the other's: fitted on samples of both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy.ndimage import shift as moved_by
from skimage.registration import phase_cross_correlation

from workbench.errors import RasterUnreadable
from workbench.imagery.rasters import Raster
from workbench.imagery.render import Stretch, display_bands
from workbench.search.dates.view import overlap_window, view_of

_SAMPLES, _SIDE = 3, 512
_FARTHEST = 16.0
_LEAST_GAIN = 0.01
_QUANTILES = np.linspace(0.005, 0.995, 100)
_FEW = 1 << 20  # in a smaller picture, what changed moves the distribution as much as light does
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Alignment:
    """What makes one raster comparable with another.

    Attributes:
        shift: rows and columns, in pixels as seen, by which it is out of place.
        before: its values at some quantiles of each colour, rising, float32 (3, q); empty where nothing was to be fitted.
        after: those of the other raster.
    """

    shift: tuple[float, float]
    before: Floats
    after: Floats

    def lit(self, pixels: Floats) -> Floats:
        """Colours (3, rows, cols) in 0..1 as the other raster shows such ground.

        Each colour's distribution becomes the other's (Gonzalez and Woods, "Digital Image Processing", section 3.3):
        light, haze and film change all ground alike, what changed on it is little.
        """
        if not self.before.size:
            return pixels
        bands = zip(pixels, self.before, self.after, strict=True)
        return np.stack([np.interp(band, x, y) for band, x, y in bands]).astype(np.float32)


def fit_alignment(other: Raster, place: Raster, scale: float, stretches: tuple[Stretch, Stretch]) -> Alignment:
    """Compare up to nine windows, spread over what both rasters show.

    The shift is the median of those found by phase correlation of edges (Kuglin and Hines 1975; Guizar-Sicairos et al.
    2008) in windows where it makes the edges correlate better than they did.

    Args:
        other: that will be seen on the grid of ``place``.
        place: of the tiles.
        scale: pixels of ``place`` per pixel as seen.
        stretches: of ``other`` and of ``place``.
    """
    found = [
        pair for pair in (_pair(other, place, window, scale, stretches) for window in _windows(other, place, scale))
    ]
    pairs = [pair for pair in found if pair is not None]
    shifts = [each for each in (_shift(*pair) for pair in pairs) if each is not None]
    rows, cols = np.median(np.array(shifts), axis=0) if 2 * len(shifts) >= len(pairs) > 0 else (0.0, 0.0)
    none = np.empty((3, 0), np.float32)
    seen = [np.concatenate([pair[which][:, ~pair[2]] for pair in pairs], axis=1) if pairs else none for which in (0, 1)]
    if seen[0].shape[1] < _FEW:
        return Alignment((float(rows), float(cols)), none, none)
    before, after = (np.quantile(values, _QUANTILES, axis=1).T.astype(np.float32) for values in seen)
    rising = np.arange(before.shape[1], dtype=np.float32) * 1e-6  # where many pixels are alike
    return Alignment((float(rows), float(cols)), (before + rising).astype(np.float32), after)


def _windows(other: Raster, place: Raster, scale: float) -> list[Window]:
    both = overlap_window(other, place)
    if both is None:
        return []
    height, width = (min(length, _SIDE * scale) for length in (both.height, both.width))
    tops, lefts = (
        np.unique(np.linspace(first, first + length - part, 1 if length < 1.5 * part else _SAMPLES))
        for first, length, part in ((both.row_off, both.height, height), (both.col_off, both.width, width))
    )
    return [Window(left, top, width, height) for top in tops for left in lefts]


def _pair(
    other: Raster, place: Raster, window: Window, scale: float, stretches: tuple[Stretch, Stretch]
) -> tuple[Floats, Floats, NDArray[np.bool_]] | None:
    """Both rasters' pixels in a window, and true where either has a hole; None where there is little to compare."""
    size = max(1, round(window.height / scale)), max(1, round(window.width / scale))
    bands = display_bands(place)
    unique = tuple(dict.fromkeys(bands))
    try:
        pixels = place.read(window, size=size, bands=unique)
    except RasterUnreadable:
        return None
    own = stretches[1].of(unique).to_unit(pixels)[[unique.index(band) for band in bands]]
    there, holes = view_of(other, place, window, size, stretches[0])
    holes = holes | np.ma.getmaskarray(pixels)[0]
    return (there, own, holes) if holes.mean() < 0.5 else None


def _shift(there: Floats, own: Floats, holes: NDArray[np.bool_]) -> tuple[float, float] | None:
    """By how many rows and columns the first lies off the second; None where that cannot be told."""
    first, second = _edges(there, holes), _edges(own, holes)
    if min(first.shape) < 64 or first.std() < 1e-6 or second.std() < 1e-6:
        return None
    back = phase_cross_correlation(second, first, upsample_factor=4, normalization=None)[0]
    if np.abs(back).max() > _FARTHEST:
        return None
    gain = _correlation(moved_by(first, back, order=1), second) - _correlation(first, second)
    return (-float(back[0]), -float(back[1])) if gain > _LEAST_GAIN else (0.0, 0.0)


def _edges(pixels: Floats, holes: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How steep the brightness is, 0 around holes, with mean 0."""
    down, right = np.gradient(pixels.mean(axis=0).astype(np.float64))
    steep = np.hypot(down, right)
    near = holes | np.roll(holes, 1, 0) | np.roll(holes, -1, 0) | np.roll(holes, 1, 1) | np.roll(holes, -1, 1)
    steep = np.minimum(steep, np.quantile(steep, 0.99))
    kept = ~near
    steep[kept] -= steep[kept].mean() if kept.any() else 0
    steep[near] = 0
    return steep


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float((one * other).sum() / max(np.sqrt((one**2).sum() * (other**2).sum()), 1e-12))
