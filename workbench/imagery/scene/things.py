"""Boats, tanks, solar panels and vehicles, with the round and white things that look like them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from workbench.imagery.scene.buildings import placed
from workbench.imagery.scene.canvas import Canvas, Colour, Patch, convex, cover, rectangle, sunlight
from workbench.imagery.scene.noise import Floats

BOAT, TANK, PANEL, VEHICLE = 2, 3, 4, 5

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

PANELS: dict[str, Colour] = {
    "roof blue": (46, 60, 98),
    "roof black": (40, 42, 50),
    "flat roof": (44, 54, 84),
    "ground blue": (48, 62, 98),
    "ground black": (42, 46, 58),
    "tracker": (52, 64, 92),
    "carport": (44, 50, 70),
}
VEHICLES: dict[str, tuple[float, float, float]] = {
    "car": (4.4, 1.85, 1.5),
    "van": (5.8, 2.1, 2.5),
    "lorry": (12.5, 2.55, 3.8),
}
"""Length, width and height in metres."""


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

    def outline(self) -> shapely.Polygon:
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
    angle = 0.0

    @property
    def radius(self) -> float:
        """Half the side of a square that holds it, metres."""
        return self.diameter / 2 + 1.5

    def outline(self) -> shapely.Polygon:
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
        height = self.high + (
            0.5 * np.sqrt(np.maximum(rim**2 - rho**2, 0)) if self.variant == "dome" else 0.16 * inward
        )
        colour = TANKS[self.variant]
        spokes = np.arctan2(patch.dy, patch.dx) * (10 if self.diameter > 12 else 6)
        tone = sunlight(height, 0.9) * (1 + 0.05 * patch.cloudy(self.detail) + 0.02 * np.sign(np.sin(spokes)))
        patch.paint(cover(-inward), colour, height=height, klass=self.klass, tone=tone)
        if self.variant == "rusty":
            rust = np.clip(0.9 * patch.cloudy(self.detail + 5) + 0.15, 0, 0.8) * cover(-inward)
            patch.paint(rust, (126, 82, 58))
        patch.paint(0.6 * cover(np.abs(inward - 0.25) - 0.15), (232, 231, 226))
        patch.paint(cover(rho - 0.6), (120, 122, 122), height=height + 0.5)
        side = np.abs(np.arctan2(patch.dy, patch.dx) - (self.detail % 6 - 3)) * rim
        patch.paint(
            0.7 * cover(np.maximum(np.abs(inward + 0.45) - 0.4, side - 4)), (112, 112, 110), height=self.high * 0.5
        )

    def _floating(self, patch: Patch, rho: Floats, rim: float) -> None:
        tone = 1 + 0.07 * patch.cloudy(self.detail) + 0.03 * patch.grainy()
        patch.paint(cover(rho - rim), (206, 205, 199), height=self.high, klass=self.klass)
        patch.paint(cover(rho - rim + 0.6), (158, 158, 152), height=self.high * 0.45, klass=self.klass, tone=tone)
        patch.paint(0.5 * cover(np.abs(rho - rim * 0.8) - 0.2), (110, 110, 106))
        ladder = rectangle(*patch.turned(self.detail), self.diameter * 0.55, 0.6)
        patch.paint(0.6 * cover(ladder), (96, 96, 94))


TANKS: dict[str, Colour] = {
    "white cone": (214, 213, 207),
    "grey cone": (160, 163, 163),
    "rusty": (164, 142, 122),
    "dome": (196, 199, 200),
    "green cone": (124, 138, 118),
    "floating roof": (158, 158, 152),
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

    def outline(self) -> shapely.Polygon:
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

    def outline(self) -> shapely.Polygon:
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


def _to_line(at: Floats, spacing: float) -> Floats:
    """Distance in metres to the nearest of evenly spaced lines."""
    return np.abs((at / spacing + 0.5) % 1 - 0.5) * np.float32(spacing)
