"""What lies flat: meadows, crops and yards."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, sin

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import affinity

from workbench.imagery.scene.canvas import Canvas, Colour, Patch
from workbench.imagery.scene.noise import Floats

ROAD, WATER, FOREST, FIELD = 6, 7, 8, 9

MEADOW = np.array([122, 126, 84], np.float32)
SURFACES: dict[str, Colour] = {
    "asphalt": (122, 121, 119),
    "old asphalt": (144, 141, 135),
    "concrete": (178, 174, 164),
    "gravel": (170, 160, 142),
    "dirt": (160, 140, 112),
    "lawn": (112, 124, 76),
    "forest floor": (72, 76, 52),
    "wood": (150, 134, 114),
    "pitch": (98, 124, 74),
    "pool": (116, 178, 190),
    "marking": (216, 214, 206),
    "paving": (166, 156, 146),
}
CROPS: dict[str, Colour] = {
    "wheat": (176, 158, 112),
    "barley": (194, 174, 128),
    "young cereal": (104, 124, 72),
    "maize": (92, 112, 62),
    "ploughed": (134, 110, 88),
    "bare": (158, 136, 110),
    "rape": (158, 156, 78),
    "hay": (150, 148, 98),
    "pasture": (118, 128, 80),
}


@dataclass(frozen=True)
class Ground:
    """Something flat that spans points in scene metres, (n, 2)."""

    points: NDArray[np.float64]

    @property
    def x(self) -> float:
        """Centre of its bounds."""
        return float(self.points[:, 0].min() + self.points[:, 0].max()) / 2

    @property
    def y(self) -> float:
        """Centre of its bounds."""
        return float(self.points[:, 1].min() + self.points[:, 1].max()) / 2

    @property
    def radius(self) -> float:
        """Half the side of a square that holds it, metres."""
        return float(np.ptp(self.points, axis=0).max()) / 2 + 9

    def bounds(self, canvas: Canvas) -> Patch | None:
        """The part of the canvas around the points."""
        (left, top), (right, bottom) = self.points.min(axis=0) - 1, self.points.max(axis=0) + 1
        return canvas.box(left, top, right, bottom)


@dataclass(frozen=True)
class Area(Ground):
    """A polygon of one surface, sharp-edged or frayed."""

    surface: str
    detail: int
    klass: int = 0
    ragged: float = 0.0
    layer: int = 20
    mottle: float = 0.06

    def paint(self, canvas: Canvas) -> None:
        """Draw it."""
        patch = self.bounds(canvas)
        if patch is None:
            return
        tone = 1 + self.mottle * patch.cloudy(self.detail) + 0.03 * patch.grainy(self.detail)
        patch.paint(patch.inside(self.points, ragged=self.ragged), SURFACES[self.surface], klass=self.klass, tone=tone)


@dataclass(frozen=True)
class Field(Area):
    """A field of one crop: rows, tramlines, headlands where the tractor turns, and uneven growth."""

    angle: float = 0.0

    def paint(self, canvas: Canvas) -> None:
        """Draw it."""
        patch = self.bounds(canvas)
        if patch is None:
            return
        whole = patch.inside(self.points, ragged=self.ragged)
        if not whole.any():
            return
        growth = patch.cloudy(self.detail)
        x, y = patch.dx + 0.6 * np.float32(cos(self.detail)), patch.dy
        across = y * np.float32(cos(self.angle)) - x * np.float32(sin(self.angle))
        core = patch.inside(self._between_headlands())
        turned = y * np.float32(sin(self.angle)) + x * np.float32(cos(self.angle))
        across = np.where(core > 0.5, across, turned)
        colour = np.array(CROPS[self.surface], np.float32)[:, None, None]
        dry = np.array([168, 146, 104], np.float32)[:, None, None]
        thin = np.clip(0.16 * growth + 0.05, 0, 0.5)
        tone = (1 + 0.05 * patch.grainy(self.detail)) * (1 + 0.05 * growth) * self._rows(across, patch)
        patch.paint(whole, colour + thin * (dry - colour), klass=self.klass, tone=tone)

    def _between_headlands(self) -> NDArray[np.float64]:
        """The part of the field that is more than a tractor's turn away from both ends of the rows."""
        whole = shapely.Polygon(self.points).buffer(0)
        s, t = 9 * cos(self.angle), 9 * sin(self.angle)
        inner = whole & affinity.translate(whole, s, t) & affinity.translate(whole, -s, -t)
        return shapely.get_coordinates(inner.convex_hull) if inner.area > 1 else self.points

    def _rows(self, across: Floats, patch: Patch) -> Floats:
        """Brightness from drill rows, swaths and the tractor's wheels."""
        spacing, depth = {"maize": (1.5, 0.12), "ploughed": (1.2, 0.10), "hay": (5.0, 0.09), "pasture": (3.0, 0.0)}.get(
            self.surface, (1.0, 0.05)
        )
        wobble = 0.15 * patch.cloudy(self.detail + 1)
        rows = 1 + depth * np.sin((across + wobble) * np.float32(2 * np.pi / spacing))
        if self.surface in ("pasture", "hay"):
            return rows.astype(np.float32)
        strip = np.sin(np.floor(across / 3.0) * 78.233 + self.detail)
        lane = np.abs(np.abs((across / 18.0) % 1 - 0.5) * 18.0 - 0.9)
        return (rows * (1 + 0.018 * strip) * (1 - 0.16 * (lane < 0.24))).astype(np.float32)


def circle(x: float, y: float, radius: float) -> NDArray[np.float64]:
    """Points of a circle, metres (32, 2)."""
    theta = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    return np.stack([x + radius * np.cos(theta), y + radius * np.sin(theta)], axis=1)


def paint_meadow(canvas: Canvas) -> None:
    """Cover the canvas with rough grass, the ground that everything else lies on."""
    patch = canvas.whole()
    cloud = patch.cloudy(1)
    colour = MEADOW[:, None, None] + np.array([14, 6, 4], np.float32)[:, None, None] * cloud
    patch.paint(np.ones(patch.shape, np.float32), colour, tone=1 + 0.06 * patch.grainy(1) + 0.04 * patch.cloudy(3))
