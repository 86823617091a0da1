"""Trees and bushes: a small library of crowns, stamped thousands of times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from workbench.imagery.scene.canvas import PIXEL_M, Canvas, Colour, sunlight
from workbench.imagery.scene.ground import Ground
from workbench.imagery.scene.noise import Floats, lumps

PlantKind = Literal["broadleaf", "conifer", "bush"]
GREENS: dict[PlantKind, tuple[Colour, ...]] = {
    "broadleaf": ((76, 92, 54), (86, 98, 56), (66, 84, 52), (98, 104, 60), (80, 88, 60)),
    "conifer": ((66, 86, 58), (74, 92, 62), (60, 78, 56), (70, 84, 54)),
    "bush": ((84, 98, 58), (74, 90, 56), (98, 104, 68)),
}
_RADII: dict[PlantKind, tuple[float, float]] = {"broadleaf": (1.8, 4.6), "conifer": (1.3, 2.6), "bush": (0.6, 1.4)}
_SLIMNESS: dict[PlantKind, float] = {"broadleaf": 2.3, "conifer": 5.0, "bush": 1.2}
_PER_KIND = 24


@dataclass(frozen=True)
class Crown:
    """One crown seen from above: opacity, brightness and height above ground in metres, all (side, side)."""

    opacity: Floats
    tone: Floats
    height: Floats


@dataclass(frozen=True)
class Plants:
    """The library: crowns of each kind from the smallest to the largest."""

    crowns: dict[PlantKind, tuple[Crown, ...]]

    @classmethod
    def grow(cls, rng: np.random.Generator) -> Plants:
        """Make the crowns."""
        return cls(
            {
                kind: tuple(_crown(rng, kind, radius) for radius in np.linspace(low, high, _PER_KIND))
                for kind, (low, high) in _RADII.items()
            }
        )


@dataclass(frozen=True)
class Grove(Ground):
    """Many plants of one kind, painted together.

    Attributes:
        plants: the library.
        kind: which crowns.
        sizes: index of the crown, (n,).
        tints: index of the green, (n,).
    """

    plants: Plants
    kind: PlantKind
    sizes: NDArray[np.int64]
    tints: NDArray[np.int64]

    layer = 70
    reach = 5.0

    def without(self, taken: NDArray[np.int64]) -> Grove:
        """The grove less some of its plants, by position."""
        kept = np.setdiff1d(np.arange(len(self.points)), taken)
        return Grove(self.points[kept], self.plants, self.kind, self.sizes[kept], self.tints[kept])

    def paint(self, canvas: Canvas) -> None:
        """Stamp every crown that reaches into the canvas; the higher one is seen."""
        low = (np.array([canvas.col, canvas.row]) * PIXEL_M) - self.reach
        high = low + np.array(canvas.shape[::-1]) * PIXEL_M + 2 * self.reach
        near = ((self.points > low) & (self.points < high)).all(axis=1)
        for (x, y), size, tint in zip(self.points[near], self.sizes[near], self.tints[near], strict=True):
            _stamp(canvas, self.plants.crowns[self.kind][size], x, y, GREENS[self.kind][tint % len(GREENS[self.kind])])


def _stamp(canvas: Canvas, crown: Crown, x: float, y: float, green: Colour) -> None:
    side = crown.opacity.shape[0]
    row, col = round(y / PIXEL_M) - side // 2 - canvas.row, round(x / PIXEL_M) - side // 2 - canvas.col
    top, left = max(row, 0), max(col, 0)
    bottom, right = min(row + side, canvas.shape[0]), min(col + side, canvas.shape[1])
    if top >= bottom or left >= right:
        return
    part = (slice(top - row, bottom - row), slice(left - col, right - col))
    here = (slice(top, bottom), slice(left, right))
    height = crown.height[part]
    opacity = crown.opacity[part] * (height > canvas.height[here])
    rgb = canvas.rgb[:, here[0], here[1]]
    rgb += opacity * (crown.tone[part] * np.array(green, np.float32)[:, None, None] - rgb)
    np.maximum(canvas.height[here], height * (opacity > 0.5), out=canvas.height[here])


def _crown(rng: np.random.Generator, kind: PlantKind, radius: float) -> Crown:
    half = int(radius * 1.25 / PIXEL_M) + 2
    axis = np.arange(-half, half + 1, dtype=np.float32) * PIXEL_M
    rho, theta = np.hypot(axis[:, None], axis[None, :]), np.arctan2(axis[:, None], axis[None, :])
    waves = sum(rng.normal(0, 0.10) * np.cos(k * theta + rng.uniform(0, 6.3)) for k in range(2, 7))
    edge = radius * (1 + (waves if kind != "conifer" else 0.08 * np.cos(9 * theta + rng.uniform(0, 6.3))))
    bumps = lumps(rng, 64, 0.9)[: len(axis), : len(axis)]
    inward = np.clip(1 - (rho / edge) ** 2, 0, 1)
    dome = np.sqrt(inward) if kind != "conifer" else np.clip(1 - rho / edge, 0, 1)
    total = radius * _SLIMNESS[kind]
    surface = dome * radius * (0.8 if kind != "conifer" else 2.2) + 0.28 * bumps
    tone = np.clip(sunlight(surface.astype(np.float32), 0.8) * (0.72 + 0.34 * dome) * (1 + 0.10 * bumps), 0.2, 1.7)
    opacity = np.clip((edge - rho + 0.22 * bumps) / (1.5 * PIXEL_M), 0, 1)
    height = np.clip(total - radius * 0.8 + surface, 0, None) * (opacity > 0.3)
    return Crown(opacity.astype(np.float32), tone.astype(np.float32), height.astype(np.float32))
