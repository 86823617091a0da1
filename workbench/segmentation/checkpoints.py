"""Where a training is after an epoch, on disk: a killed one goes on from there, to the weights it would have had."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn, optim

from workbench.files import atomic_write
from workbench.segmentation.interrupted import CHECKPOINT, FORMAT, VERSION, Progressed, damaged

_PARTS = ("network", "average")


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
        save_file(plain, aside, metadata={FORMAT: json.dumps({"version": VERSION, **asdict(reached)})})


def announce(folder: Path, begun: Progressed) -> None:
    """Leave word of a training that begins, so that one which dies before its first checkpoint is known by name."""
    with atomic_write(folder / CHECKPOINT) as aside:
        save_file({}, aside, metadata={FORMAT: json.dumps({"version": VERSION, **asdict(begun)})})


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
        raise damaged(path, error) from error
