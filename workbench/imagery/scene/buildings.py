"""Houses, halls and greenhouses: roofs as height functions, so that ridges shade and walls throw shadows by themselves."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, sin
from typing import Literal

import numpy as np
import shapely
from shapely import affinity
from shapely.geometry.base import BaseGeometry

from workbench.imagery.scene.canvas import Canvas, Colour, Patch, cover, rectangle, sunlight
from workbench.imagery.scene.noise import Floats

HOUSE = 1
RoofShape = Literal["gable", "hip", "flat", "l_shape", "terrace", "barn", "hall"]
ROOFS: dict[str, Colour] = {
    "red tile": (168, 92, 70),
    "old tile": (142, 84, 66),
    "brown tile": (112, 84, 70),
    "grey slate": (104, 106, 110),
    "dark slate": (74, 75, 80),
    "white": (205, 203, 196),
    "gravel": (150, 146, 138),
    "metal": (166, 172, 174),
    "fibre cement": (136, 132, 124),
}


@dataclass(frozen=True)
class House:
    """A building: ``shape`` is its variant in the truth.

    Attributes:
        x: centre, metres from the scene's left edge.
        y: centre, metres from its top.
        angle: direction of the ridge, radians clockwise on screen.
        length: along the ridge, metres.
        width: across, metres.
        shape: form of the roof.
        roof: a key of `ROOFS`.
        eaves: height of the eaves, metres.
        pitch: rise per metre.
        detail: small number that chooses chimneys, skylights and weathering.
    """

    x: float
    y: float
    angle: float
    length: float
    width: float
    shape: RoofShape
    roof: str
    eaves: float
    pitch: float
    detail: int

    layer = 50
    klass = HOUSE

    @property
    def variant(self) -> str:
        """The form of the roof."""
        return self.shape

    @property
    def radius(self) -> float:
        """Half the side of a square that holds it, metres."""
        return float(np.hypot(self.length, self.width)) / 2 + self.width * 0.4 + 1

    @property
    def wing(self) -> tuple[float, float, float, float]:
        """Centre (s, t), extent along s and across t of the second wing of an L."""
        across = self.width * 0.8
        side = 1 if self.detail % 2 else -1
        return side * (self.length - across) / 2, self.width * 0.4, across, self.width * 1.2

    def outline(self) -> BaseGeometry:
        """Footprint in scene metres."""
        shape: BaseGeometry = shapely.box(-self.length / 2, -self.width / 2, self.length / 2, self.width / 2)
        if self.shape == "l_shape":
            s, t, across, long = self.wing
            shape = shape.union(shapely.box(s - across / 2, t - long / 2, s + across / 2, t + long / 2))
        return placed(shape, self.x, self.y, self.angle)

    def point(self, s: float, t: float) -> tuple[float, float]:
        """Scene metres of a place on the roof, along and across the ridge from the centre."""
        return self.x + s * cos(self.angle) - t * sin(self.angle), self.y + s * sin(self.angle) + t * cos(self.angle)

    def paint(self, canvas: Canvas) -> None:
        """Draw it."""
        patch = canvas.patch(self.x, self.y, self.radius)
        if patch is None:
            return
        s, t = patch.turned(self.angle)
        distance, height = self._form(s, t)
        tone = sunlight(height, light=canvas.light) * self._weather(patch, s, t)
        patch.paint(cover(distance), ROOFS[self.roof], height=height, klass=self.klass, tone=tone)
        if self.shape in ("flat", "hall"):
            self._furnish_flat(patch, s, t, distance)
        else:
            self._furnish_pitched(patch, s, t)

    def _form(self, s: Floats, t: Floats) -> tuple[Floats, Floats]:
        distance = rectangle(s, t, self.length, self.width)
        in_t, in_s = self.width / 2 - np.abs(t), self.length / 2 - np.abs(s)
        if self.shape == "hip":
            return distance, self.eaves + self.pitch * np.minimum(in_t, in_s)
        if self.shape == "flat":
            return distance, self.eaves + 0.5 * (distance > -0.5).astype(np.float32)
        height = self.eaves + self.pitch * in_t
        if self.shape == "l_shape":
            ws, wt, across, long = self.wing
            second = rectangle(s - ws, t - wt, across, long)
            gable = self.eaves + self.pitch * (across / 2 - np.abs(s - ws))
            inner = np.where(second < 0, gable, -1)
            height = np.where(distance < 0, np.maximum(height, inner), gable)
            return np.minimum(distance, second), height
        return distance, height

    def _weather(self, patch: Patch, s: Floats, t: Floats) -> Floats:
        """Tiles differ, rain leaves streaks down the slope, units of a terrace were roofed in different years."""
        tone = 1 + 0.07 * patch.cloudy(self.detail) + 0.04 * patch.grainy(self.detail)
        if self.shape == "terrace":
            units = np.floor(s / 6.5)
            tone = (
                tone
                * (1 + 0.13 * np.sin(units * 12.9898 + self.detail))
                * (1 - 0.25 * (np.abs(s / 6.5 - units) < 0.04))
            )
        elif self.shape in ("barn", "hall"):
            tone = tone * (1 + 0.05 * np.sign(np.sin(s * 2.1)))
        elif self.shape != "flat":
            tone = tone * (1 + 0.035 * np.sin(s * 5.3 + self.detail) + 0.12 * (np.abs(t) < 0.18))
        return tone.astype(np.float32)

    def _furnish_pitched(self, patch: Patch, s: Floats, t: Floats) -> None:
        ridge = self.eaves + self.pitch * self.width / 2
        rng = np.random.default_rng(self.detail)
        if self.shape == "barn":
            for at in np.arange(-self.length / 2 + 4, self.length / 2 - 3, 6.0):
                for side in (-1, 1):
                    strip = rectangle(s - at, t - side * self.width / 4, 1.0, self.width / 4)
                    patch.paint(0.7 * cover(strip), (188, 196, 196))
            return
        spread = max(self.length / 2 - 2.0, 0.5)
        for at in rng.uniform(-spread, spread, 1 + self.detail % 2 + (3 if self.shape == "terrace" else 0)):
            patch.paint(
                cover(rectangle(s - at, t - 0.7, 0.9, 0.7)), (128, 92, 80), height=ridge + 0.9, klass=self.klass
            )
        for at in rng.uniform(-spread, spread, self.detail % 4):
            side = -1 if rng.random() < 0.5 else 1
            place = rectangle(s - at, t - side * self.width * 0.27, 0.9, 1.3)
            patch.paint(cover(place - 0.12), (196, 196, 192))
            patch.paint(cover(place), (58, 70, 86))

    def _furnish_flat(self, patch: Patch, s: Floats, t: Floats, distance: Floats) -> None:
        rng = np.random.default_rng(self.detail)
        if self.shape == "hall":
            for at in np.arange(-self.length / 2 + 5, self.length / 2 - 4, 9.0):
                strip = rectangle(s - at, t, 2.0, self.width - 6)
                patch.paint(cover(strip), (176, 192, 198), height=self.eaves + 1.2, klass=self.klass)
        else:
            patch.paint(0.5 * cover(np.abs(distance + 0.3) - 0.25), (206, 204, 198))
        for _ in range(2 + self.detail % 4):
            at_s, at_t = rng.uniform(-0.36, 0.36) * self.length, rng.uniform(-0.36, 0.36) * self.width
            box = rectangle(s - at_s, t - at_t, rng.uniform(1, 2.4), rng.uniform(1, 2))
            patch.paint(cover(box), (184, 186, 186), height=self.eaves + 1.4, klass=self.klass)


@dataclass(frozen=True)
class Greenhouse:
    """A glass house: a look-alike of solar panels, in no class."""

    x: float
    y: float
    angle: float
    length: float
    width: float
    detail: int

    layer = 50

    @property
    def radius(self) -> float:
        """Half the side of a square that holds it, metres."""
        return float(np.hypot(self.length, self.width)) / 2 + 1

    def paint(self, canvas: Canvas) -> None:
        """Draw it: bays of glass with white frames over dim green."""
        patch = canvas.patch(self.x, self.y, self.radius)
        if patch is None:
            return
        s, t = patch.turned(self.angle)
        bay = np.abs((t / 3.2) % 1 - 0.5) * 3.2
        roof = 2.6 + 0.5 * (1.6 - bay)
        frames = (np.abs((s / 3.0) % 1 - 0.5) > 0.46) | (bay < 0.12) | (bay > 1.5)
        tone = sunlight(roof, 0.4, canvas.light) * (1 + 0.08 * patch.cloudy(self.detail))
        area = cover(rectangle(s, t, self.length, self.width))
        patch.paint(area, (132, 152, 148), height=2.6, tone=tone)
        patch.paint(area * frames * np.float32(0.6), (208, 214, 212))


def placed(shape: BaseGeometry, x: float, y: float, angle: float) -> BaseGeometry:
    """A polygon from its own frame (along, across) to scene metres."""
    return affinity.affine_transform(shape, [np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle), x, y])
