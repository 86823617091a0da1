"""Cars, vans and lorries."""

from __future__ import annotations

from dataclasses import dataclass

import shapely
from shapely.geometry.base import BaseGeometry

from workbench.imagery.scene.buildings import placed
from workbench.imagery.scene.canvas import Canvas, Colour, cover, rectangle

VEHICLE = 5

VEHICLES: dict[str, tuple[float, float, float]] = {
    "car": (4.4, 1.85, 1.5),
    "van": (5.8, 2.1, 2.5),
    "lorry": (12.5, 2.55, 3.8),
}
"""Length, width and height in metres."""

PAINTS: tuple[Colour, ...] = (
    (214, 214, 210),
    (60, 62, 66),
    (150, 152, 154),
    (120, 44, 42),
    (58, 76, 112),
    (88, 92, 94),
    (196, 190, 176),
)


@dataclass(frozen=True)
class Vehicle:
    """A car, van or lorry."""

    x: float
    y: float
    angle: float
    variant: str
    colour: Colour
    detail: int

    layer = 50
    klass = VEHICLE

    @property
    def radius(self) -> float:
        """Half the side of a square that holds it, metres."""
        return VEHICLES[self.variant][0] / 2 + 0.5

    def outline(self) -> BaseGeometry:
        """Footprint in scene metres."""
        length, width, _ = VEHICLES[self.variant]
        return placed(shapely.box(-length / 2, -width / 2, length / 2, width / 2), self.x, self.y, self.angle)

    def paint(self, canvas: Canvas) -> None:
        """Draw body, panes and roof, or cab and load."""
        patch = canvas.patch(self.x, self.y, self.radius)
        if patch is None:
            return
        s, t = patch.turned(self.angle)
        length, width, high = VEHICLES[self.variant]
        body = cover(rectangle(s, t, length, width))
        if self.variant == "lorry":
            patch.paint(body, (78, 78, 80), height=1.0, klass=self.klass)
            patch.paint(cover(rectangle(s - 5.1, t, 2.1, width)), self.colour, height=3.0)
            load = (214, 212, 206) if self.detail % 3 else (104, 122, 140)
            patch.paint(cover(rectangle(s + 1.2, t, 9.8, width)), load, height=high)
            return
        patch.paint(body, self.colour, height=high * 0.7, klass=self.klass)
        if self.variant == "van":
            patch.paint(cover(rectangle(s - 0.31 * length, t, 0.1 * length, width * 0.84)), (48, 54, 60))
            patch.paint(
                cover(rectangle(s + 0.1 * length, t, 0.7 * length, width * 0.92)), self.colour, height=high, tone=1.06
            )
            return
        patch.paint(cover(rectangle(s + 0.02 * length, t, 0.56 * length, width * 0.84)), (46, 52, 58))
        patch.paint(
            cover(rectangle(s + 0.05 * length, t, 0.36 * length, width * 0.78)), self.colour, height=high, tone=1.08
        )
