"""Country roads, streets and tracks, drawn segment by segment: verges first, then surfaces, then markings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workbench.imagery.scene.canvas import Canvas, Patch, cover
from workbench.imagery.scene.ground import ROAD, SURFACES, Ground
from workbench.imagery.scene.noise import Floats


@dataclass(frozen=True)
class Road(Ground):
    """A street, country road or track along a line, with a verge and, on the wider ones, markings."""

    width: float
    surface: str
    marked: bool
    detail: int
    part: str = "surface"

    @property
    def layer(self) -> int:
        """Verges under all surfaces, markings over all."""
        return {"verge": 30, "surface": 31, "markings": 32}[self.part]

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
