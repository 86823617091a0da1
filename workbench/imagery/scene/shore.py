"""Where the water is, and how it looks: a sea with bays on the left and some lakes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workbench.imagery.scene.canvas import Canvas
from workbench.imagery.scene.ground import WATER


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
        return 12 + self.extent * (0.145 + bays + 0.008 * np.sin(7.3 * turn + self.phases[2]))

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
        tone = 1 + 0.05 * cloud + 0.04 * patch.grainy(4)
        sea = np.clip((self.coast(patch.dy) - patch.dx + 30) / 10, 0, 1).astype(np.float32)
        patch.paint(np.clip((far + 6) / 2, 0, 1) * sea, (196, 180, 148), tone=tone)
        patch.paint(np.clip((far + 3) / 2, 0, 1) * (1 - sea), (104, 108, 66), tone=tone + 0.1 * patch.grainy(6))
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
        patch.paint(water, np.stack(bands), klass=WATER, height=0.0, tone=1 + ripple)
        glint = np.clip(patch.grainy(13) - 2.6, 0, 1) * (far > 4)
        patch.paint(glint * 0.7, (236, 238, 236))
        foam = np.clip(1 - np.abs(far - 0.4) / 0.5, 0, 1) * np.clip(0.5 + patch.cloudy(17), 0, 1)
        patch.paint(0.45 * foam, (222, 222, 214))
