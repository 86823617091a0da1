"""What a training is started with, checked before anything else and kept in its checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from workbench.errors import TrainingRefused
from workbench.files import sha256
from workbench.labels.fold import LabelClass
from workbench.segmentation.schedule import SHAPES, Shape

STRIDE = 32
"""Rows and columns of a network's input are multiples of this: five halvings."""
_MAY_CHANGE = ("folder", "weights", "start", "batch")


@dataclass(frozen=True)
class Settings:
    """The arguments of `train_unet` that its result depends on, besides the chips; see there.

    Raises:
        TrainingRefused: one of them makes no training.
    """

    encoder: str
    weights: str | None
    start: str | None
    epochs: int
    minutes: float | None
    batch: int
    crop: int
    learning_rate: float | None
    schedule: Shape
    patience: int
    class_weights: Mapping[str, float] | None
    tolerance_px: int
    seed: int

    def __post_init__(self) -> None:
        if self.crop < STRIDE or self.crop % STRIDE:
            raise TrainingRefused(
                f"crop={self.crop} does not fit the network. Choose a multiple of {STRIDE}, such as 256."
            )
        if self.batch < 1 or self.epochs < 1:
            raise TrainingRefused(f"batch={self.batch}, epochs={self.epochs}: both must be at least 1.")
        if self.tolerance_px < 0:
            raise TrainingRefused(f"tolerance_px={self.tolerance_px}: expected 0 for exact masks, or more.")
        if self.schedule not in SHAPES:
            raise TrainingRefused(
                f"schedule={self.schedule!r} is no shape of a learning rate. Choose one of {', '.join(SHAPES)}."
            )

    def record(self, folder: Path, chips: str) -> dict[str, Any]:
        """As JSON values, with the chips' folder and what tells the chips (their digest) and files from others."""
        named = {"weights": self.weights, "start": self.start}
        files = {name: sha256(path) for name, path in named.items() if path and Path(path).is_file()}
        return {"folder": str(folder.absolute()), "chips": chips, "files": files, **asdict(self)}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Settings:
        """The settings in a `record`."""
        return cls(**{field.name: record[field.name] for field in fields(cls)})

    def factors(self, classes: Sequence[LabelClass]) -> list[float] | None:
        """Factors of the cross-entropy by class number; None when all are 1.

        Raises:
            TrainingRefused: a name is no class, or a factor not above 0.
        """
        if self.class_weights is None:
            return None
        numbers = {"background": 0} | {item.name: item.id for item in classes}
        wrong = [name for name, value in self.class_weights.items() if name not in numbers or not 0 < value < math.inf]
        if wrong:
            raise TrainingRefused(
                f"class_weights={dict(self.class_weights)}: {wrong[0]!r} is no class here, or its factor is not above 0. "
                f"There are {', '.join(numbers)}."
            )
        factors = [1.0] * (max(numbers.values()) + 1)
        for name, value in self.class_weights.items():
            factors[numbers[name]] = value
        return factors


def difference(asked: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """What keeps a training from going on where another stopped, in words; empty when nothing does.

    A smaller batch may go on where memory ran out, and files may have moved.
    """
    for name, value in asked.items():
        if name not in _MAY_CHANGE and before.get(name) != value:
            return f"other {name}: {before.get(name)!r} and not {value!r}"
    return ""
