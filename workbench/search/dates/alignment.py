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
_SQUARE = 4  # pixels whose mean evens out noise and what is left of a shift
_LEAST_SQUARES, _LEAST_SPREAD = 256, 1e-3
_ROUNDS, _LOOSE = 8, 2.5
Floats = NDArray[np.float32]
Pair = tuple[Floats, Floats, NDArray[np.bool_]]


@dataclass(frozen=True)
class Alignment:
    """What makes one raster comparable with another.

    Attributes:
        shift: rows and columns, in pixels as seen, by which it is out of place.
        gain: on each of its colours, float32 (3,).
        haze: added to each, float32 (3,).
    """

    shift: tuple[float, float]
    gain: Floats
    haze: Floats

    def lit(self, pixels: Floats) -> Floats:
        """Colours (3, rows, cols) in 0..1 as the other raster shows such ground."""
        lit = pixels * self.gain[:, None, None] + self.haze[:, None, None]
        return lit.clip(0, 1).astype(np.float32)  # type: ignore[no-any-return]


NONE = Alignment((0.0, 0.0), np.ones(3, np.float32), np.zeros(3, np.float32))
"""Leaves a raster as it is."""


def fit_alignment(other: Raster, place: Raster, scale: float, stretches: tuple[Stretch, Stretch]) -> Alignment:
    """Compare up to nine windows, spread over what both rasters show, most of which is taken to be unchanged.

    The shift is the median of those found by phase correlation of edges (Kuglin and Hines 1975; Guizar-Sicairos et al.
    2008) in windows where it makes the edges correlate better than they did. The light is a line for each colour, fitted to
    the same ground on both dates and again to what lies near it, so that neither changes nor the shadows of another hour
    bend it (relative normalisation on pseudo-invariant features: Schott, Salvaggio & Volchok 1988). Distributions of colours,
    matched without regard to place, would take longer shadows for darker ground.

    Args:
        other: that will be seen on the grid of ``place``.
        place: of the tiles.
        scale: pixels of ``place`` per pixel as seen.
        stretches: of ``other`` and of ``place``.
    """
    found = [
        pair
        for pair in (_pair(other, place, window, scale, stretches) for window in sample_windows(other, place, scale))
    ]
    pairs = [pair for pair in found if pair is not None]
    shifts = [each for each in (_shift(*pair) for pair in pairs) if each is not None]
    if not pairs:
        return NONE
    rows, cols = np.median(np.array(shifts), axis=0).tolist() if 2 * len(shifts) >= len(pairs) else (0.0, 0.0)
    moved = [_squares(pair, (round(rows), round(cols))) for pair in pairs]
    before, after = (np.concatenate(values, axis=1) for values in zip(*moved, strict=True))
    lines = [_line(*values) for values in zip(before, after, strict=True)]
    gain, haze = np.array(lines, np.float32).T
    return Alignment((rows, cols), gain, haze)


def _squares(pair: Pair, shift: tuple[int, int]) -> tuple[Floats, Floats]:
    """Colours (3, m) of both rasters in squares of 4 pixels without a hole, the first raster put back by a shift."""
    there, own, holes = pair
    back = -shift[0], -shift[1]
    holes = holes | np.roll(holes, back, axis=(0, 1))
    rows, cols = (length // _SQUARE * _SQUARE for length in holes.shape)
    form = rows // _SQUARE, _SQUARE, cols // _SQUARE, _SQUARE
    whole = ~holes[:rows, :cols].reshape(form).any(axis=(1, 3))
    both = (np.roll(there, back, axis=(1, 2)), own)
    first, second = (values[:, :rows, :cols].reshape(3, *form).mean(axis=(2, 4))[:, whole] for values in both)
    return first, second


def _line(before: Floats, after: Floats) -> tuple[float, float]:
    """Slope and intercept of the line that most ground follows; (1, 0) where there is none."""
    kept = np.ones(len(before), bool)
    gain, haze = 1.0, 0.0
    for _ in range(_ROUNDS):
        x, y = before[kept].astype(np.float64), after[kept].astype(np.float64)
        if len(x) < _LEAST_SQUARES or x.std() < _LEAST_SPREAD:
            return 1.0, 0.0
        gain = float(((x - x.mean()) * (y - y.mean())).mean() / x.var())
        haze = float(y.mean() - gain * x.mean())
        off = np.abs(after - gain * before - haze)
        kept = off <= _LOOSE * np.median(off)
    return (gain, haze) if gain > 0 else (1.0, 0.0)


def sample_windows(other: Raster, place: Raster, scale: float) -> list[Window]:
    """At most nine windows of 512 pixels as seen, spread over what both rasters show, in pixels of ``place``."""
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
) -> Pair | None:
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
