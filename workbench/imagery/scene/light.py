"""Where the sun stood and what the air and the film did to the colours when a scene was photographed."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, radians, sin, tan


@dataclass(frozen=True)
class Light:
    """Light of one flight.

    Attributes:
        azimuth: of the sun, radians clockwise from north; between east and south.
        elevation: of the sun, radians.
        gain: on each colour.
        haze: added to each colour, of 255.
        grain: number of the sensor's noise; another flight has another one.
    """

    azimuth: float
    elevation: float
    gain: tuple[float, float, float]
    haze: tuple[float, float, float]
    grain: int = 20

    @property
    def to_sun(self) -> tuple[float, float]:
        """Unit vector (x right, y down) on the ground toward the sun."""
        return sin(self.azimuth), -cos(self.azimuth)

    @property
    def rise(self) -> float:
        """How far a sun ray rises in one metre on the ground."""
        return tan(self.elevation)


FIRST = Light(radians(148), radians(44), (0.90, 0.90, 0.90), (15, 18, 24))
"""A clear late morning in summer: the sun stands in the south-south-east."""

SECOND = Light(radians(118), radians(36), (0.80, 0.74, 0.64), (26, 24, 20), grain=31)
"""An earlier hour in autumn: a lower sun farther east, longer shadows, warmer and dimmer colours, more haze."""
