"""Where a training is after an epoch, on disk: a killed one goes on from there, to the weights it would have had."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn, optim

from workbench.errors import TrainingRefused
from workbench.files import atomic_write
from workbench.segmentation.runs import EpochRow

CHECKPOINT = "checkpoint.safetensors"
_FORMAT, _VERSION = "workbench-training", 1
_PARTS = ("network", "average")


@dataclass(frozen=True)
class Progressed:
    """How far a training is.

    Attributes:
        settings: what it was started with, JSON values; another training cannot go on from here.
        rows: of the epochs so far.
        best: number of the best of them, 0 for none.
        waited: epochs since then that count towards the patience.
        seconds: that it has taken.
        random: state of the generator that draws crops.
    """

    settings: Mapping[str, Any]
    rows: tuple[EpochRow, ...]
    best: int
    waited: int
    seconds: float
    random: Mapping[str, Any]


def save_checkpoint(
    folder: Path, network: nn.Module, average: nn.Module, optimiser: optim.Optimizer, reached: Progressed
) -> None:
    """Write where a training is, atomically: one file, tensors and JSON."""
    tensors: dict[str, Tensor] = {}
    for part, module in zip(_PARTS, (network, average), strict=True):
        tensors |= {f"{part}.{name}": value for name, value in module.state_dict().items()}
    for number, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{name}": value for name, value in state.items()}
    with atomic_write(folder / CHECKPOINT) as aside:
        plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        save_file(plain, aside, metadata={_FORMAT: json.dumps({"version": _VERSION, **asdict(reached)})})


def read_checkpoint(folder: Path) -> Progressed | None:
    """How far the training in a folder came; None where none was interrupted.

    Raises:
        TrainingRefused: the file is damaged, or of another version.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})[_FORMAT])
        if about.pop("version") != _VERSION:
            raise ValueError("another version")
        rows = tuple(EpochRow(**row) for row in about.pop("rows"))
        return Progressed(rows=rows, **about)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, error) from error


def load_checkpoint(folder: Path, network: nn.Module, average: nn.Module, optimiser: optim.Optimizer) -> None:
    """Put networks and optimiser back to where `save_checkpoint` found them.

    Raises:
        TrainingRefused: the file is damaged, or of another network.
    """
    path = folder / CHECKPOINT
    try:
        tensors = load_file(path)
        for part, module in zip(_PARTS, (network, average), strict=True):
            begin = f"{part}."
            module.load_state_dict({n.removeprefix(begin): v for n, v in tensors.items() if n.startswith(begin)})
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimiser."):
                _, number, key = name.split(".", 2)
                states.setdefault(int(number), {})[key] = value
        optimiser.load_state_dict({"state": states, "param_groups": optimiser.state_dict()["param_groups"]})
    except (OSError, SafetensorError, RuntimeError, ValueError, KeyError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> TrainingRefused:
    reason = (str(error).splitlines() or [""])[0][:160]
    return TrainingRefused(
        f"{path} cannot be gone on from ({reason}). Delete it and train again with overwrite=True; the best model so far "
        "is beside it."
    )
