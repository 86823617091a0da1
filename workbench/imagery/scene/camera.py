"""Takes the picture: paints one window of the plan, and gives it a camera's blur, haze, grain and field of view."""

from __future__ import annotations

from math import ceil

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from workbench.imagery.scene.canvas import SHADOW_REACH, Canvas, filled
from workbench.imagery.scene.ground import paint_meadow
from workbench.imagery.scene.light import FIRST, Light
from workbench.imagery.scene.noise import Floats
from workbench.imagery.scene.plan import Plan

_EDGE = 8
"""Pixels painted around a window so that neither blur nor slopes know where windows end."""

Bytes = NDArray[np.uint8]


def photograph(
    plan: Plan, window: Window, flown: NDArray[np.float64], light: Light = FIRST
) -> tuple[Bytes, Bytes, NDArray[np.bool_]]:
    """The pixels (3, rows, cols), classes (rows, cols) and validity (rows, cols) of a window; unflown pixels are 0."""
    rows = window.height + 2 * _EDGE + ceil(SHADOW_REACH * abs(light.to_sun[1]))
    cols = window.width + 2 * _EDGE + ceil(SHADOW_REACH * abs(light.to_sun[0]))
    canvas = Canvas(window.row_off - _EDGE, window.col_off - _EDGE, (rows, cols), plan.noise, light)
    paint_meadow(canvas)
    for thing in plan.near(canvas):
        thing.paint(canvas)
    inner = (slice(_EDGE, _EDGE + window.height), slice(_EDGE, _EDGE + window.width))
    rgb = _developed(canvas)[:, inner[0], inner[1]]
    valid = np.asarray(filled(flown - (window.col_off, window.row_off), (window.height, window.width))) > 0
    return np.where(valid, rgb, 0).astype(np.uint8), canvas.classes[inner], valid


def flown_area(size: int, seed: int) -> NDArray[np.float64]:
    """Outline of what was flown, pixels (n, 2): strips that start and end where the pilot pressed the button."""
    rng = np.random.default_rng([seed, 4])
    strips = 9
    tops = np.linspace(rng.uniform(0.006, 0.014), 1 - rng.uniform(0.006, 0.014), strips + 1)
    lean = rng.uniform(-0.005, 0.005)
    left, right = rng.uniform(0.004, 0.022, strips), 1 - rng.uniform(0.004, 0.022, strips)
    slant = 0.004
    west = [(x + lean * (y - 0.5), y + slant) for k, x in enumerate(left) for y in (tops[k], tops[k + 1])]
    east = [(x + lean * (y - 0.5), y - slant) for k, x in enumerate(right) for y in (tops[k], tops[k + 1])]
    return np.array(west + east[::-1]) * size


def _developed(canvas: Canvas) -> Floats:
    """Shadows, the lens' blur (binomial, about 0.7 px), haze that lifts the blacks, and the sensor's grain."""
    rgb = canvas.lit()
    rgb[:, :, 1:-1] = 0.25 * (rgb[:, :, :-2] + rgb[:, :, 2:]) + 0.5 * rgb[:, :, 1:-1]
    rgb[:, 1:-1] = 0.25 * (rgb[:, :-2] + rgb[:, 2:]) + 0.5 * rgb[:, 1:-1]
    light = canvas.light
    rgb *= np.array(light.gain, np.float32)[:, None, None]
    rgb += np.array(light.haze, np.float32)[:, None, None]
    whole = canvas.whole()
    for number, band in enumerate(rgb, 1):
        band += 1.3 * whole.grainy(light.grain) + 0.8 * whole.grainy(light.grain + number)
    return np.clip(rgb, 1, 255, out=rgb)
