"""A block of ground while it is painted: colour, height and class per pixel, lit by one sun at the end."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, sin

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from workbench.imagery.scene.light import FIRST, Light
from workbench.imagery.scene.noise import Floats, Noise

PIXEL_M = 0.2
SHADOW_REACH = 128
"""Pixels along the sun's direction in which something may stand that throws a shadow here."""

_SHADE = np.array([0.34, 0.39, 0.50], np.float32)[:, None, None]

Colour = tuple[float, float, float]


class Canvas:
    """Colour (3, rows, cols) in 0..255, height in metres and class of a window of the scene.

    Args:
        row: first row, in pixels of the scene.
        col: first column.
        shape: rows and columns.
        noise: the scene's noise.
        light: that falls on it.
    """

    def __init__(self, row: int, col: int, shape: tuple[int, int], noise: Noise, light: Light = FIRST) -> None:
        self.row, self.col, self.shape, self.noise, self.light = row, col, shape, noise, light
        self.rgb = np.zeros((3, *shape), np.float32)
        self.height = np.zeros(shape, np.float32)
        self.classes = np.zeros(shape, np.uint8)

    def patch(self, x: float, y: float, radius: float) -> Patch | None:
        """The part of the canvas within ``radius`` metres (a square) of a point, or None when it is all outside."""
        return self.box(x - radius, y - radius, x + radius, y + radius, x, y)

    def box(self, left: float, top: float, right: float, bottom: float, x: float = 0, y: float = 0) -> Patch | None:
        """The part of the canvas inside a box in metres, with coordinates relative to (x, y)."""
        row0 = max(int(np.floor(top / PIXEL_M)), self.row)
        col0 = max(int(np.floor(left / PIXEL_M)), self.col)
        row1 = min(int(np.ceil(bottom / PIXEL_M)), self.row + self.shape[0])
        col1 = min(int(np.ceil(right / PIXEL_M)), self.col + self.shape[1])
        if row0 >= row1 or col0 >= col1:
            return None
        dx = ((np.arange(col0, col1) + 0.5) * PIXEL_M - x).astype(np.float32)[None, :]
        dy = ((np.arange(row0, row1) + 0.5) * PIXEL_M - y).astype(np.float32)[:, None]
        window = (slice(row0 - self.row, row1 - self.row), slice(col0 - self.col, col1 - self.col))
        return Patch(self, row0, col0, window, dx, dy)

    def whole(self) -> Patch:
        """All of it, with coordinates in scene metres."""
        rows, cols = self.shape
        dx = ((np.arange(cols) + self.col + 0.5) * PIXEL_M).astype(np.float32)[None, :]
        dy = ((np.arange(rows) + self.row + 0.5) * PIXEL_M).astype(np.float32)[:, None]
        return Patch(self, self.row, self.col, (slice(0, rows), slice(0, cols)), dx, dy)

    def lit(self) -> Floats:
        """The colours with cast shadows: a pixel is dark where something toward the sun rises above its sun ray."""
        top = self.height.copy()
        step, rise, (right, down) = 1, PIXEL_M * self.light.rise, self.light.to_sun
        while step < SHADOW_REACH:
            rows, cols = round(step * down), round(step * right)
            seen = top[rows:, cols:] - np.float32(step * rise)
            np.maximum(top[: seen.shape[0], : seen.shape[1]], seen, out=top[: seen.shape[0], : seen.shape[1]])
            step *= 2
        dark = np.clip((top - self.height - 0.15) * 2.5, 0, 1)
        return self.rgb * (1 - dark * (1 - _SHADE))


@dataclass(frozen=True)
class Patch:
    """A window of a canvas with metre coordinates ``dx`` (1, cols) and ``dy`` (rows, 1) relative to some point."""

    canvas: Canvas
    row: int
    col: int
    window: tuple[slice, slice]
    dx: Floats
    dy: Floats

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.dy.shape[0], self.dx.shape[1]

    @property
    def height(self) -> Floats:
        """A view of the canvas' heights."""
        return self.canvas.height[self.window]

    @property
    def classes(self) -> NDArray[np.uint8]:
        """A view of the canvas' classes."""
        return self.canvas.classes[self.window]

    def turned(self, angle: float) -> tuple[Floats, Floats]:
        """Coordinates (along, across) in a frame turned by ``angle`` radians, both (rows, cols)."""
        c, s = np.float32(cos(angle)), np.float32(sin(angle))
        return self.dx * c + self.dy * s, self.dy * c - self.dx * s

    def cloudy(self, offset: int = 0) -> Floats:
        """Noise with all scales; see `Noise`."""
        return self.canvas.noise.cloudy(self.row, self.col, self.shape, offset)

    def grainy(self, offset: int = 0) -> Floats:
        """Noise of a few pixels; see `Noise`."""
        return self.canvas.noise.grainy(self.row, self.col, self.shape, offset)

    def paint(
        self,
        cover: Floats,
        colour: ArrayLike,
        *,
        height: ArrayLike | None = None,
        klass: int | None = None,
        tone: ArrayLike = 1.0,
    ) -> None:
        """Blend a colour in where ``cover`` (0..1) says so; height and class change where it is at least one half.

        Args:
            cover: opacity, (rows, cols).
            colour: 3 values, or (3, rows, cols), in 0..255.
            height: metres above ground; left as it is when None.
            klass: class of the mask; left as it is when None.
            tone: factor on the colour, broadcast to (rows, cols).
        """
        ink = np.asarray(colour, np.float32)
        ink = ink[:, None, None] if ink.ndim == 1 else ink
        rgb = self.canvas.rgb[:, self.window[0], self.window[1]]
        rgb += cover * (ink * np.asarray(tone, np.float32) - rgb)
        if height is not None or klass is not None:
            solid = cover >= 0.5
            if height is not None:
                np.copyto(self.height, np.asarray(height, np.float32), where=solid)
            if klass is not None:
                self.classes[solid] = klass

    def inside(self, points: NDArray[np.float64], *, ragged: float = 0.0) -> Floats:
        """Coverage of a polygon with corners in scene metres (n, 2): sharp, or with edges frayed by noise."""
        step = 4
        row, col = self.row - self.row % step, self.col - self.col % step
        down, right = self.row - row, self.col - col
        rows, cols = (-(-(n + more) // step) * step for n, more in zip(self.shape, (down, right), strict=True))
        image = filled(points / PIXEL_M - (col, row), (rows, cols))
        if ragged:
            image = image.reduce(step).resize((cols, rows), Image.Resampling.BILINEAR)
        soft = np.asarray(image, np.float32)[down:, right:][: self.shape[0], : self.shape[1]] / 255
        if not ragged:
            return soft
        return np.clip((soft - 0.5) * 3 + 0.5 + ragged * self.grainy() * soft * (1 - soft) * 4, 0, 1)


def filled(corners: NDArray[np.float64], shape: tuple[int, int]) -> Image.Image:
    """A polygon with corners (n, 2) in pixels (x, y), 255 on 0, in an image of ``shape`` (rows, cols)."""
    image = Image.new("L", shape[::-1])
    # PIL cuts fractions off toward zero, which would shift corners that lie left of or above the image.
    ImageDraw.Draw(image).polygon([(int(x), int(y)) for x, y in np.floor(corners)], fill=255)
    return image


def cover(distance: Floats) -> Floats:
    """Anti-aliased coverage of a shape from signed distances to its edge in metres (negative inside)."""
    return np.clip(0.5 - np.asarray(distance, np.float32) / np.float32(PIXEL_M), 0, 1)


def rectangle(s: Floats, t: Floats, length: float, width: float) -> Floats:
    """Signed distance to a centred rectangle (Chebyshev outside)."""
    return np.maximum(np.abs(s) - length / 2, np.abs(t) - width / 2)


def convex(s: Floats, t: Floats, corners: NDArray[np.float64]) -> Floats:
    """Signed distance to a convex polygon whose corners (n, 2) run clockwise on screen (x right, y down)."""
    edges = np.roll(corners, -1, axis=0) - corners
    outward = np.stack([edges[:, 1], -edges[:, 0]], axis=1) / np.hypot(*edges.T)[:, None]
    sides = [
        (s - x) * np.float32(nx) + (t - y) * np.float32(ny) for (x, y), (nx, ny) in zip(corners, outward, strict=True)
    ]
    return np.maximum.reduce(sides)


def sunlight(height: Floats, strength: float = 0.75, light: Light = FIRST) -> Floats:
    """Brightness of a surface relative to level ground, from its slope toward the sun (Lambert), 0.25..1.6."""
    down, right = np.gradient(height, PIXEL_M) if min(height.shape) > 1 else (np.zeros_like(height),) * 2
    flat, (east, south) = sin(light.elevation), light.to_sun
    facing = flat - (right * east + down * south) * cos(light.elevation)
    lambert = np.maximum(facing, 0) / np.sqrt(1 + right**2 + down**2) / flat
    return np.clip(1 - strength + strength * lambert, 0.25, 1.6).astype(np.float32)
