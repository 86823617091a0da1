"""Arrays of solar modules."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from workbench.imagery.scene.buildings import placed
from workbench.imagery.scene.canvas import Canvas, Colour, cover, rectangle
from workbench.imagery.scene.noise import Floats

PANEL = 4

PANELS: dict[str, Colour] = {
    "roof blue": (46, 60, 98),
    "roof black": (40, 42, 50),
    "flat roof": (44, 54, 84),
    "ground blue": (48, 62, 98),
    "ground black": (42, 46, 58),
    "tracker": (52, 64, 92),
    "carport": (44, 50, 70),
}


@dataclass(frozen=True)
class Panels:
    """A rectangular array of solar modules, on a roof (``high`` None) or on posts, tilted across."""

    x: float
    y: float
    angle: float
    length: float
    width: float
    variant: str
    high: float | None
    detail: int

    layer = 60
    klass = PANEL

    @property
    def radius(self) -> float:
        """Half the side of a square that holds it, metres."""
        return float(np.hypot(self.length, self.width)) / 2 + 0.5

    def outline(self) -> BaseGeometry:
        """Footprint in scene metres."""
        box = shapely.box(-self.length / 2, -self.width / 2, self.length / 2, self.width / 2)
        return placed(box, self.x, self.y, self.angle)

    def paint(self, canvas: Canvas) -> None:
        """Draw dark modules with pale frames; on posts the upper edge stands higher and throws the shadow."""
        patch = canvas.patch(self.x, self.y, self.radius)
        if patch is None:
            return
        s, t = patch.turned(self.angle)
        area = cover(rectangle(s, t, self.length, self.width))
        height = None if self.high is None else self.high - 0.35 * t
        module = np.sin(np.floor(s / 1.05) * 7.1 + np.floor(t / 1.7) * 3.7 + self.detail)
        tone = 1 + 0.05 * module + 0.03 * patch.cloudy(self.detail) + 0.10 * t / self.width
        patch.paint(area, PANELS[self.variant], height=height, klass=self.klass, tone=tone)
        seam = np.minimum(_to_line(s, 1.05), _to_line(t - self.width / 2, 1.7))
        patch.paint(area * np.clip(0.42 - seam * 2.4, 0, 0.42), (172, 178, 186))


def _to_line(at: Floats, spacing: float) -> Floats:
    """Distance in metres to the nearest of evenly spaced lines."""
    return np.abs((at / spacing + 0.5) % 1 - 0.5) * np.float32(spacing)
