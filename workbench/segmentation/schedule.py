"""How far a training is, by epochs or by the clock, and the learning rate that belongs there."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

WARM_UP = 0.2
"""Share of a training during which the learning rate rises."""


@dataclass(frozen=True)
class Schedule:
    """One cycle of the learning rate (Smith and Topin, 2018) over a number of epochs or a time, whichever ends first.

    Attributes:
        epochs: at most.
        minutes: at most; None for no limit.
        rate: learning rate at the top of the cycle.
        started: when the time began, by `time.monotonic`.
    """

    epochs: int
    minutes: float | None
    rate: float
    started: float

    def seconds(self) -> float:
        """How long it has taken."""
        return time.monotonic() - self.started

    def done(self, epochs: float) -> float:
        """The share that is over after so many epochs, 1 or more at the end."""
        share = epochs / self.epochs
        return share if self.minutes is None else max(share, self.seconds() / (60 * self.minutes))

    def learning_rate(self, epochs: float) -> float:
        """One cycle: up from a twenty-fifth along a cosine, then down to nothing along another."""
        done = self.done(epochs)
        if done < WARM_UP:
            return self.rate * (0.04 + 0.96 * (1 - math.cos(math.pi * done / WARM_UP)) / 2)
        return self.rate * (1 + math.cos(math.pi * min(1.0, (done - WARM_UP) / (1 - WARM_UP)))) / 2

    def epochs_in_all(self, seconds: float) -> int:
        """How many epochs of ``seconds`` there will be."""
        return self.epochs if self.minutes is None else max(1, min(self.epochs, round(60 * self.minutes / seconds)))
