"""How far a training is, by epochs or by the clock, and the learning rate that belongs there."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Literal, get_args

Shape = Literal["one-cycle", "cyclic"]
SHAPES: tuple[Shape, ...] = get_args(Shape)
WARM_UP = 0.2
"""Share of a training during which the learning rate rises, or an encoder that knows something is left alone."""
PATIENT = 0.6
"""Share of a training before which no epoch counts towards the patience: the best ones come when the rate falls."""
_LEAST = 0.04
_EPOCHS_A_CYCLE = 8


@dataclass(frozen=True)
class Schedule:
    """The learning rate over a number of epochs or a time, whichever ends first.

    Attributes:
        epochs: at most.
        minutes: at most; None for no limit.
        rate: learning rate at the top of a cycle.
        started: when the time began, by `time.monotonic`.
        shape: ``one-cycle`` (Smith and Topin, 2018) or ``cyclic`` (Smith, 2017, "Cyclical learning rates for training neural
            networks", the triangular policy).
    """

    epochs: int
    minutes: float | None
    rate: float
    started: float
    shape: Shape = "one-cycle"

    def seconds(self) -> float:
        """How long it has taken."""
        return time.monotonic() - self.started

    def done(self, epochs: float) -> float:
        """The share that is over after so many epochs, 1 or more at the end."""
        share = epochs / self.epochs
        return share if self.minutes is None else max(share, self.seconds() / (60 * self.minutes))

    def learning_rate(self, epochs: float) -> float:
        """The rate after so many epochs.

        One cycle: up from a twenty-fifth along a cosine, then down to nothing along another. Cyclic: up and down in straight
        lines between a twenty-fifth and the top, in whole cycles of about eight epochs, so that the end is at the foot of one.
        """
        done = min(1.0, self.done(epochs))
        if self.shape == "cyclic":
            within = done * max(1, round(self.epochs / _EPOCHS_A_CYCLE)) % 1
            return self.rate * (_LEAST + (1 - _LEAST) * (1 - abs(2 * within - 1)))
        if done < WARM_UP:
            return self.rate * (_LEAST + (1 - _LEAST) * (1 - math.cos(math.pi * done / WARM_UP)) / 2)
        return self.rate * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP))) / 2

    def epochs_in_all(self, seconds: float) -> int:
        """How many epochs of ``seconds`` there will be."""
        return self.epochs if self.minutes is None else max(1, min(self.epochs, round(60 * self.minutes / seconds)))
