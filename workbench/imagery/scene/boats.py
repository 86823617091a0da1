"""Boats, afloat or on their trailers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from workbench.imagery.scene.buildings import placed
from workbench.imagery.scene.canvas import Canvas, Colour, convex, cover, rectangle

BOAT = 2

BOATS: dict[str, tuple[float, float]] = {
    "sailing yacht": (11.0, 3.6),
    "motor boat": (8.0, 3.0),
    "cabin cruiser": (12.5, 4.3),
    "fishing boat": (14.0, 4.8),
    "dinghy": (5.0, 2.1),
    "house boat": (15.0, 5.2),
    "boat on trailer": (7.0, 2.5),
}
"""Length and beam in metres."""

HULLS: tuple[Colour, ...] = (
    (222, 221, 216),
    (226, 225, 220),
    (214, 216, 214),
    (70, 88, 128),
    (120, 56, 52),
    (60, 70, 78),
)


@dataclass(frozen=True)
class Boat:
    """A boat, afloat or on its trailer."""

    x: float
    y: float
    angle: float
    variant: str
    scale: float
    hull: Colour
    detail: int

    layer = 50
    klass = BOAT

    @property
    def size(self) -> tuple[float, float]:
        """Length and beam in metres."""
        length, beam = BOATS[self.variant]
        return length * self.scale, beam * self.scale

    @property
    def radius(self) -> float:
        """Half the side of a square that holds it, metres."""
        return self.size[0] / 2 + 1

    def _corners(self, shrink: float = 1.0) -> NDArray[np.float64]:
        length, beam = self.size[0] * shrink, self.size[1] * shrink
        if self.variant == "house boat":
            half = np.array([[-0.5, -0.46], [0.42, -0.46], [0.5, -0.3]])
        elif self.variant == "dinghy":
            half = np.array([[-0.5, -0.46], [0.2, -0.5], [0.42, -0.32], [0.5, -0.1]])
        else:
            half = np.array([[-0.5, -0.36], [-0.2, -0.49], [0.08, -0.5], [0.28, -0.4], [0.42, -0.2], [0.5, 0.0]])
        other = half[::-1] * [1, -1]
        return np.concatenate([half, other[1:] if half[-1, 1] == 0 else other]) * [length, beam]

    def outline(self) -> BaseGeometry:
        """Footprint in scene metres."""
        return placed(shapely.Polygon(self._corners()), self.x, self.y, self.angle)

    def paint(self, canvas: Canvas) -> None:
        """Draw hull, deck, cabin and, on a yacht, the boom and a mast that is seen by its shadow."""
        patch = canvas.patch(self.x, self.y, self.radius)
        if patch is None:
            return
        s, t = patch.turned(self.angle)
        length, beam = self.size
        high = 2.4 if self.variant == "boat on trailer" else 1.0
        patch.paint(cover(convex(s, t, self._corners())), self.hull, height=high, klass=self.klass)
        bright = 1 + 0.04 * patch.grainy(self.detail)
        patch.paint(cover(convex(s, t, self._corners(0.86))), (212, 211, 204), tone=bright)
        if self.variant == "sailing yacht":
            patch.paint(cover(rectangle(s + 0.3 * length, t, 0.26 * length, 0.5 * beam)), (150, 124, 96))
            patch.paint(cover(rectangle(s - 0.05 * length, t, 0.3 * length, 0.4 * beam)), (228, 227, 222), height=1.5)
            sail = (60, 76, 120) if self.detail % 3 else (232, 230, 224)
            patch.paint(cover(rectangle(s + 0.16 * length, t, 0.4 * length, 0.35)), sail, height=2.5)
            patch.paint(cover(np.hypot(s - 0.06 * length, t) - 0.16), (190, 190, 188), height=10 * self.scale)
        elif self.variant in ("dinghy", "motor boat", "boat on trailer"):
            inside = (92, 84, 78) if self.detail % 2 else (70, 92, 112)
            patch.paint(cover(rectangle(s + 0.2 * length, t, 0.42 * length, 0.62 * beam)), inside)
            patch.paint(
                cover(rectangle(s - 0.06 * length, t, 0.06 * length, 0.66 * beam)), (44, 54, 62), height=high + 0.8
            )
            patch.paint(cover(rectangle(s + 0.49 * length, t, 0.7, 0.6)), (52, 54, 58))
        elif self.variant == "fishing boat":
            patch.paint(cover(rectangle(s + 0.22 * length, t, 0.4 * length, 0.7 * beam)), (134, 112, 88))
            patch.paint(cover(rectangle(s - 0.12 * length, t, 0.2 * length, 0.6 * beam)), (222, 220, 214), height=3.6)
        else:
            roof = 0.66 if self.variant == "house boat" else 0.46
            colour = (176, 160, 140) if self.variant == "house boat" and self.detail % 2 else (230, 229, 224)
            patch.paint(
                cover(rectangle(s + 0.08 * length, t, roof * length + 0.9, 0.72 * beam)), (58, 66, 74), height=1.8
            )
            patch.paint(cover(rectangle(s + 0.08 * length, t, roof * length, 0.62 * beam)), colour, height=2.6)
