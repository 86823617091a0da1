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
class _Fitting:
    """A rectangle on deck: its place and length as shares of the boat's length, its width as a share of the beam."""

    at: float
    length: float
    width: float
    colours: tuple[Colour, ...]
    rise: float = 0.0


_WHITE: Colour = (228, 227, 222)
_GLASS: Colour = (54, 62, 70)
_TEAK: Colour = (142, 118, 92)
_OPEN = (
    _Fitting(-0.20, 0.42, 0.62, ((70, 92, 112), (92, 84, 78))),
    _Fitting(0.06, 0.06, 0.66, (_GLASS,), 0.8),
    _Fitting(-0.47, 0.08, 0.26, (_GLASS,), 0.3),
)
_FITTINGS: dict[str, tuple[_Fitting, ...]] = {
    "sailing yacht": (
        _Fitting(-0.30, 0.26, 0.50, (_TEAK,)),
        _Fitting(0.05, 0.30, 0.40, (_WHITE,), 0.5),
        _Fitting(-0.16, 0.40, 0.10, (_WHITE, (60, 76, 120), (60, 76, 120)), 1.5),
    ),
    "motor boat": _OPEN,
    "dinghy": _OPEN,
    "boat on trailer": _OPEN,
    "cabin cruiser": (_Fitting(-0.08, 0.53, 0.72, (_GLASS,), 0.8), _Fitting(-0.08, 0.46, 0.62, (_WHITE,), 1.6)),
    "fishing boat": (_Fitting(-0.22, 0.40, 0.70, (_TEAK,)), _Fitting(0.12, 0.20, 0.60, (_WHITE,), 2.6)),
    "house boat": (
        _Fitting(-0.08, 0.72, 0.78, (_GLASS,), 0.8),
        _Fitting(-0.08, 0.66, 0.66, (_WHITE, (176, 160, 140)), 1.8),
    ),
}


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
        for part in _FITTINGS[self.variant]:
            place = rectangle(s - part.at * length, t, part.length * length, part.width * beam)
            patch.paint(cover(place), part.colours[self.detail % len(part.colours)], height=high + part.rise)
        if self.variant == "sailing yacht":
            patch.paint(cover(np.hypot(s - 0.06 * length, t) - 0.16), (190, 190, 188), height=10 * self.scale)
