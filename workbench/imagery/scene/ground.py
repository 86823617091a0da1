"""What lies flat: meadows, crops, yards, roads and water."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, sin

import numpy as np
import shapely
from numpy.typing import NDArray

from workbench.imagery.scene.canvas import Canvas, Colour, Patch, cover
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
    "red cinder": (164, 104, 84),
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
class Area:
    """A polygon of one surface, sharp-edged or frayed."""

    points: NDArray[np.float64]
    surface: str
    detail: int
    klass: int = 0
    ragged: float = 0.0
    layer: int = 20
    mottle: float = 0.06

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
        return float(np.ptp(self.points, axis=0).max()) / 2 + 1

    def patch(self, canvas: Canvas) -> Patch | None:
        """The part of the canvas in its bounds."""
        (left, top), (right, bottom) = self.points.min(axis=0) - 1, self.points.max(axis=0) + 1
        return canvas.box(left, top, right, bottom)

    def paint(self, canvas: Canvas) -> None:
        """Draw it."""
        patch = self.patch(canvas)
        if patch is None:
            return
        tone = 1 + self.mottle * patch.cloudy(self.detail) + 0.03 * patch.grainy(self.detail)
        patch.paint(patch.inside(self.points, ragged=self.ragged), SURFACES[self.surface], klass=self.klass, tone=tone)


@dataclass(frozen=True)
class Field(Area):
    """A field of one crop: rows, tramlines, a headland with rows along the edge, and uneven growth."""

    angle: float = 0.0

    def paint(self, canvas: Canvas) -> None:
        """Draw it."""
        patch = self.patch(canvas)
        if patch is None:
            return
        whole = patch.inside(self.points, ragged=self.ragged)
        if not whole.any():
            return
        growth = patch.cloudy(self.detail)
        x, y = patch.dx + 0.6 * np.float32(cos(self.detail)), patch.dy
        across = y * np.float32(cos(self.angle)) - x * np.float32(sin(self.angle))
        inner = shapely.Polygon(self.points).buffer(-9, join_style="mitre")
        core = np.float32(0)
        if inner.geom_type == "Polygon" and not inner.is_empty:
            core = patch.inside(np.asarray(inner.exterior.coords))
        turned = y * np.float32(sin(self.angle)) + x * np.float32(cos(self.angle))
        across = np.where(core > 0.5, across, turned)
        colour = np.array(CROPS[self.surface], np.float32)[:, None, None]
        dry = np.array([168, 146, 104], np.float32)[:, None, None]
        thin = np.clip(0.16 * growth + 0.05, 0, 0.5)
        tone = (1 + 0.05 * patch.grainy(self.detail)) * (1 + 0.05 * growth) * self._rows(across, patch)
        patch.paint(whole, colour + thin * (dry - colour), klass=self.klass, tone=tone)

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


@dataclass(frozen=True)
class Road:
    """A street, country road or track along a line, with a verge and, on the wider ones, markings."""

    points: NDArray[np.float64]
    width: float
    surface: str
    marked: bool
    detail: int
    part: str = "surface"

    @property
    def layer(self) -> int:
        """Verges under all surfaces, markings over all."""
        return {"verge": 30, "surface": 31, "markings": 32}[self.part]

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
        return float(np.ptp(self.points, axis=0).max()) / 2 + self.width + 2

    def paint(self, canvas: Canvas) -> None:
        """Draw this part of it, segment by segment."""
        run = 0.0
        for a, b in zip(self.points[:-1], self.points[1:], strict=True):
            length = float(np.hypot(*(b - a)))
            (left, top), (right, bottom) = np.minimum(a, b) - self.width, np.maximum(a, b) + self.width
            patch = canvas.box(left, top, right, bottom, a[0], a[1])
            if patch is not None:
                along, side = patch.turned(float(np.arctan2(*(b - a)[::-1])))
                self._segment(patch, along, side, length, run)
            run += length

    def _segment(self, patch: Patch, along: Floats, side: Floats, length: float, run: float) -> None:
        beyond = np.maximum(np.maximum(-along, along - length), 0)
        distance = np.hypot(beyond, side)
        half = self.width / 2
        if self.part == "verge":
            fray = 0.35 * patch.grainy(self.detail)
            edge = (168, 162, 152) if self.marked else (138, 132, 100)
            patch.paint(0.8 * np.clip(1.2 - (distance - half + fray) / 0.8, 0, 1), edge)
        elif self.part == "surface" and self.surface == "dirt":
            ruts = np.clip(1.2 - np.abs(np.abs(side) - 0.85) / 0.45 + 0.3 * patch.cloudy(self.detail), 0, 1)
            patch.paint(ruts * (distance < half) * (beyond == 0), SURFACES["dirt"], tone=1 + 0.05 * patch.grainy())
        elif self.part == "surface":
            tracks = 0.03 * np.cos(side * 3.6) + 0.05 * patch.cloudy(self.detail) + 0.02 * patch.grainy(self.detail)
            patch.paint(cover(distance - half), SURFACES[self.surface], height=0.0, klass=ROAD, tone=1 + tracks)
        elif self.marked:
            worn = np.clip(0.75 + 0.2 * patch.cloudy(self.detail + 3), 0.2, 0.9) * (beyond == 0)
            dash = ((along + run) % 9.0) < 4.0
            patch.paint(worn * dash * cover(np.abs(side) - 0.1), (226, 224, 216))
            patch.paint(0.8 * worn * cover(np.abs(np.abs(side) - half + 0.35) - 0.09), (220, 218, 210))


@dataclass(frozen=True)
class Shore:
    """Where the water is: a sea with bays on the left side and round lakes; all closed formulas.

    Attributes:
        extent: side of the scene, metres.
        lakes: centre x, y and radius of each, metres, (n, 3).
        phases: of the bays' three waves, radians.
    """

    extent: float
    lakes: NDArray[np.float64]
    phases: tuple[float, float, float]

    layer = 25

    @property
    def x(self) -> float:
        """Centre of the scene."""
        return self.extent / 2

    @property
    def y(self) -> float:
        """Centre of the scene."""
        return self.extent / 2

    @property
    def radius(self) -> float:
        """It may be anywhere."""
        return self.extent

    def coast(self, y: NDArray[np.floating]) -> NDArray[np.floating]:
        """The coast's x at each y, metres."""
        turn = 2 * np.pi * y / self.extent
        bays = 0.040 * np.sin(1.3 * turn + self.phases[0]) + 0.018 * np.sin(3.1 * turn + self.phases[1])
        return self.extent * (0.15 + bays + 0.008 * np.sin(7.3 * turn + self.phases[2]))

    def offshore(self, x: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.floating]:
        """About how far places lie from land, metres; negative on land. ``x`` and ``y`` broadcast."""
        far = self.coast(y) - x
        for cx, cy, radius in self.lakes:
            reach = 1.4 * radius
            if x.max() < cx - reach or x.min() > cx + reach or y.max() < cy - reach or y.min() > cy + reach:
                continue
            theta = np.arctan2(y - cy, x - cx)
            edge = 1 + 0.18 * np.sin(2 * theta + cx) + 0.10 * np.sin(3 * theta + cy) + 0.05 * np.sin(7 * theta)
            far = np.maximum(far, radius * edge - np.hypot(x - cx, y - cy))
        return far

    def paint(self, canvas: Canvas) -> None:
        """Draw sand, shallows and deep water with wind ripples."""
        patch = canvas.whole()
        far = self.offshore(patch.dx, patch.dy).astype(np.float32)
        if far.max() < -8:
            return
        cloud = patch.cloudy(11)
        far = far + 1.2 * cloud + 0.25 * patch.grainy(2)
        beach = np.clip((far + 6) / 2, 0, 1)
        patch.paint(beach, (196, 180, 148), tone=1 + 0.05 * cloud + 0.04 * patch.grainy(4))
        patch.paint(np.clip((far + 1.5) / 1.5, 0, 1), (154, 138, 110))
        water = np.clip(far / 0.6 + 0.5, 0, 1)
        stops = np.array([0, 2, 8, 25, 90], np.float32)
        depth = np.maximum(far + 2.5 * patch.cloudy(5), 0)
        bands = [
            np.interp(depth, stops, c)
            for c in ((150, 112, 78, 56, 44), (146, 128, 106, 84, 70), (112, 114, 106, 92, 82))
        ]
        ripple = patch.grainy(7) * 0.018 + 0.03 * patch.cloudy(8)
        ripple = ripple + 0.02 * np.sin((patch.dx * 0.8 + patch.dy * 1.9) + 2.2 * patch.cloudy(9))
        patch.paint(water, np.stack(bands).astype(np.float32), klass=None, height=0.0, tone=1 + ripple)
        patch.classes[water >= 0.5] = WATER
        glint = np.clip(patch.grainy(13) - 2.6, 0, 1) * (far > 4)
        patch.paint(glint * 0.7, (236, 238, 236))
        foam = np.clip(1 - np.abs(far - 0.4) / 0.5, 0, 1) * np.clip(0.5 + patch.cloudy(17), 0, 1)
        patch.paint(0.45 * foam, (222, 222, 214))


def paint_meadow(canvas: Canvas) -> None:
    """Cover the canvas with rough grass, the ground that everything else lies on."""
    patch = canvas.whole()
    cloud = patch.cloudy(1)
    colour = MEADOW[:, None, None] + np.array([14, 6, 4], np.float32)[:, None, None] * cloud
    patch.paint(np.ones(patch.shape, np.float32), colour, tone=1 + 0.06 * patch.grainy(1) + 0.04 * patch.cloudy(3))
