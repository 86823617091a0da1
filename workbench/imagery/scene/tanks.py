"""Storage tanks, and the slim silos that look like them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from workbench.imagery.scene.canvas import Canvas, Colour, Patch, cover, rectangle, sunlight
from workbench.imagery.scene.noise import Floats

TANK = 3

TANKS: dict[str, Colour] = {
    "white cone": (214, 213, 207),
    "grey cone": (160, 163, 163),
    "rusty": (164, 142, 122),
    "dome": (196, 199, 200),
    "green cone": (124, 138, 118),
    "floating roof": (158, 158, 152),
}


@dataclass(frozen=True)
class Tank:
    """An upright storage tank."""

    x: float
    y: float
    diameter: float
    high: float
    variant: str
    detail: int

    layer = 50
    klass = TANK

    @property
    def radius(self) -> float:
        """Half the side of a square that holds it, metres."""
        return self.diameter / 2 + 1.5

    def outline(self) -> BaseGeometry:
        """Footprint in scene metres."""
        return shapely.Point(self.x, self.y).buffer(self.diameter / 2)

    def paint(self, canvas: Canvas) -> None:
        """Draw it: a cone, a dome, or a floating roof deep inside its shell."""
        patch = canvas.patch(self.x, self.y, self.radius)
        if patch is None:
            return
        rim, rho = self.diameter / 2, np.hypot(patch.dx, patch.dy)
        inward = rim - rho
        if self.variant == "floating roof":
            self._floating(patch, rho, rim)
            return
        rise = 0.5 * np.sqrt(np.maximum(rim**2 - rho**2, 0)) if self.variant == "dome" else 0.16 * inward
        height = self.high + rise
        colour = TANKS[self.variant]
        spokes = np.arctan2(patch.dy, patch.dx) * (10 if self.diameter > 12 else 6)
        tone = sunlight(height, 0.9, patch.canvas.light) * (
            1 + 0.05 * patch.cloudy(self.detail) + 0.02 * np.sign(np.sin(spokes))
        )
        patch.paint(cover(-inward), colour, height=height, klass=self.klass, tone=tone)
        if self.variant == "rusty":
            rust = np.clip(0.9 * patch.cloudy(self.detail + 5) + 0.15, 0, 0.8) * cover(-inward)
            patch.paint(rust, (126, 82, 58))
        patch.paint(0.6 * cover(np.abs(inward - 0.25) - 0.15), (232, 231, 226))
        patch.paint(cover(rho - 0.6), (120, 122, 122), height=height + 0.5)
        side = np.abs(np.arctan2(patch.dy, patch.dx) - (self.detail % 6 - 3)) * rim
        stairs = cover(np.maximum(np.abs(inward + 0.45) - 0.4, side - 4))
        patch.paint(0.7 * stairs, (112, 112, 110), height=self.high * 0.5)

    def _floating(self, patch: Patch, rho: Floats, rim: float) -> None:
        tone = 1 + 0.07 * patch.cloudy(self.detail) + 0.03 * patch.grainy()
        patch.paint(cover(rho - rim), (206, 205, 199), height=self.high, klass=self.klass)
        patch.paint(cover(rho - rim + 0.6), (158, 158, 152), height=self.high * 0.45, klass=self.klass, tone=tone)
        patch.paint(0.5 * cover(np.abs(rho - rim * 0.8) - 0.2), (110, 110, 106))
        ladder = rectangle(*patch.turned(self.detail), self.diameter * 0.55, 0.6)
        patch.paint(0.6 * cover(ladder), (96, 96, 94))


class Silo(Tank):
    """A slim silo: a look-alike of tanks, in no class."""

    klass = 0
