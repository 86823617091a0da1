"""Teaching the student: one loop over crops and what the teachers say of them, resumable after every epoch."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from workbench.descriptors.aerial import NORMALISATION, AerialNetwork
from workbench.descriptors.distillation.teachers import normalised, turned
from workbench.files import atomic_write
from workbench.jobs import Progress

log = logging.getLogger(__name__)
_WARM_UP = 0.05
_HELD_OUT = 1000
_MOSAICS = 0.5
_AVERAGE = 0.998
_FROZEN_STAGES = 3
_PART = 50


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        epochs: passes over all crops.
        batch: crops a step, a multiple of 4.
        rate: highest learning rate of the body; the head has five times that.
        decay: weight decay.
        seed: of the order, the orientations and the mosaics.
        kept: share of the weights at the start in those at the end.
    """

    epochs: int = 8
    batch: int = 64
    rate: float = 3e-4
    decay: float = 0.01
    seed: int = 0
    kept: float = 0.5


def train(
    crops: NDArray[np.uint8],
    targets: NDArray[np.float32],
    start: dict[str, Tensor],
    recipe: Recipe,
    checkpoint: Path,
    progress: Progress,
) -> AerialNetwork:
    """Train the student to give the teachers' answers in one pass, in whatever orientation and surroundings.

    Half of the batches are mosaics of 2 x 2 crops, of which each quarter is pooled on its own: so a window of a large
    block is learned to look like the same window alone. Normalisation layers keep their statistics, and the first
    layers, down to an eighth of the resolution, their weights: they see edges and colours, and their gradients would
    take half of the time. What is kept is the running mean of the weights (Polyak and Juditsky 1992), averaged with those
    at the start: what was known of other imagery is then not lost (Wortsman et al. 2022, "Robust fine-tuning of zero-shot
    models"). For the same reason the last layer keeps the student's own features beside the teachers' answers.

    Args:
        crops: uint8 (n, side, side, 3), the side a multiple of 32.
        targets: float32 (n, 512), see `teachers.targets`; the last 1,000 rows are held out.
        start: weights of the body to start from.
        recipe: how.
        checkpoint: ``.safetensors``, written after every epoch; where it is, training goes on from it.
        progress: counts crops.

    Returns:
        the student, in evaluation mode.
    """
    torch.manual_seed(recipe.seed)
    taught = len(crops) - min(_HELD_OUT, len(crops) // 5)
    student = AerialNetwork()
    student.body.load_state_dict(start)
    student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    _freeze(student)
    groups = [
        {
            "params": [each for each in student.body.parameters() if each.requires_grad],
            "lr": recipe.rate,
            "top": recipe.rate,
        },
        {"params": list(student.head.parameters()), "lr": 5 * recipe.rate, "top": 5 * recipe.rate},
    ]
    optimiser = torch.optim.AdamW(groups, weight_decay=recipe.decay)
    state = _State(student, optimiser)
    first = state.read(checkpoint)
    if first == 0:
        _fit_head(student, crops[:taught], targets[:taught])
        state.start = {name: value.detach().clone() for name, value in state.taught()}
        state.average = {name: value.clone() for name, value in state.start.items()}
    steps = math.ceil(taught / recipe.batch)
    progress.begin("teaching", recipe.epochs * taught, "crops", done=first * taught)
    for epoch in range(first, recipe.epochs):
        drawn = np.random.default_rng((recipe.seed, epoch))
        student.body.eval()
        for number, rows in enumerate(_batches(taught, recipe.batch, drawn)):
            for group in optimiser.param_groups:
                group["lr"] = group["top"] * _share((epoch * steps + number) / (recipe.epochs * steps))
            answers = _answers(student, crops[rows], drawn)
            loss = distance(answers, torch.from_numpy(targets[rows]))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            state.follow()
            progress.advance(len(rows))
        state.write(checkpoint, epoch + 1)
        with state.averaged():
            progress.say(f"epoch {epoch + 1}: {held_out(student, crops[taught:], targets[taught:])}")
    state.use_average(kept=recipe.kept)
    student.eval()
    _keep_own(student, crops[:taught])
    return student


def _freeze(student: AerialNetwork) -> None:
    body: Any = student.body
    for module in (body.conv_stem, body.bn1, *body.blocks[:_FROZEN_STAGES]):
        module.requires_grad_(False)


def distance(answers: Tensor, wanted: Tensor) -> Tensor:
    """One less the cosine, and half the squared distance: of vectors (batch, 512) of mean square length one."""
    cosine = F.cosine_similarity(answers, wanted).mean()
    return 1 - cosine + 0.5 * (answers - wanted).square().sum(dim=1).mean()


@torch.inference_mode()
def held_out(student: AerialNetwork, crops: NDArray[np.uint8], wanted: NDArray[np.float32]) -> str:
    """How well the student answers for crops it never saw: cosine, and how many of the teachers' ten nearest it finds."""
    found = torch.cat([_whole(student, pixels) for pixels in _parts(crops)])
    turns = torch.cat([_whole(student, turned(pixels, 1)) for pixels in _parts(crops)])
    cosine = F.cosine_similarity(found, torch.from_numpy(wanted)).mean()
    same = F.cosine_similarity(found - found.mean(dim=0), turns - found.mean(dim=0)).mean()
    neighbours = [_nearest(each) for each in (found.numpy(), wanted)]
    shared = np.mean([len(set(one) & set(other)) / 10 for one, other in zip(*neighbours, strict=True)])
    return f"cosine {cosine:.3f}, {shared:.2f} of the ten nearest, cosine when turned {same:.3f}"


def _nearest(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    centred = vectors - vectors.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    scores = unit @ unit.T
    np.fill_diagonal(scores, -np.inf)
    return np.argsort(-scores, axis=1)[:, :10]


def _answers(student: AerialNetwork, crops: NDArray[np.uint8], drawn: np.random.Generator) -> Tensor:
    """The student's descriptors of crops, each in an orientation of its own, alone or as quarters of mosaics."""
    pixels = normalised(crops, NORMALISATION)
    pixels = torch.stack(
        [turned(crop, int(number)) for crop, number in zip(pixels, drawn.integers(8, size=len(crops)), strict=True)]
    )
    if len(crops) % 4 or drawn.uniform() >= _MOSAICS:
        return _whole(student, pixels)
    side = pixels.shape[-1]
    mosaics = pixels.reshape(-1, 2, 2, 3, side, side).permute(0, 3, 1, 4, 2, 5).reshape(-1, 3, 2 * side, 2 * side)
    cells = _cells(student, mosaics)
    half = cells.shape[-1] // 2
    quarters = cells.reshape(len(cells), -1, 2, half, 2, half).mean(dim=(3, 5)).permute(0, 2, 3, 1)
    return student.head(quarters.reshape(len(crops), -1))  # type: ignore[no-any-return]


def _whole(student: AerialNetwork, pixels: Tensor) -> Tensor:
    return student.head(_cells(student, pixels).mean(dim=(2, 3)))  # type: ignore[no-any-return]


def _cells(student: AerialNetwork, pixels: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return student.body(pixels.contiguous(memory_format=torch.channels_last)).float()  # type: ignore[no-any-return]


@torch.inference_mode()
def _fit_head(student: AerialNetwork, crops: NDArray[np.uint8], targets: NDArray[np.float32]) -> None:
    """Start the linear layer at its best for the body as it is: least squares with a small ridge."""
    student.eval()
    inputs = _head_inputs(student, crops)
    wanted = torch.from_numpy(targets[: len(inputs)]).double()
    mean = inputs.mean(dim=0)
    centred = inputs - mean
    ridge = 0.01 * centred.square().sum() / centred.shape[1] * torch.eye(centred.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(centred.T @ centred + ridge, centred.T @ wanted)
    linear = student.head.linear
    linear.weight.copy_(weights.T)
    linear.bias.copy_(wanted.mean(dim=0) - mean @ weights)


@torch.inference_mode()
def _keep_own(student: AerialNetwork, crops: NDArray[np.uint8]) -> None:
    """Let the linear layer give what it learned and, with equal weight, its own inputs, on their first principal axes.

    Few crops do not show all that teachers know, and what the layer does not need for them it would leave out. An inner
    product is then half that of the answers and half that of the features, but for what the other axes hold.
    """
    inputs = _head_inputs(student, crops)
    linear = student.head.linear
    mean = inputs.mean(dim=0)
    covariance = (inputs - mean).T @ (inputs - mean) / len(inputs)
    answers = linear.weight.double()
    spread = [(part @ covariance @ part.T).trace().sqrt() for part in (answers, torch.eye(len(mean)).double())]
    both = torch.cat([answers / spread[0], torch.eye(len(mean)).double() / spread[1]])
    _, axes = torch.linalg.eigh(both @ covariance @ both.T)
    weights = axes[:, -len(answers) :].flip(1).T @ both
    linear.weight.copy_(weights)
    linear.bias.copy_(-weights @ mean)


def _head_inputs(student: AerialNetwork, crops: NDArray[np.uint8], most: int = 6000) -> Tensor:
    pooled = [_cells(student, pixels).mean(dim=(2, 3)) for pixels in _parts(crops[:most])]
    return student.head.evened(torch.cat(pooled)).double()


def _parts(crops: NDArray[np.uint8]) -> Iterator[Tensor]:
    return (normalised(crops[at : at + _PART], NORMALISATION) for at in range(0, len(crops), _PART))


def _batches(count: int, size: int, drawn: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    order = drawn.permutation(count)
    return (np.sort(order[at : at + size]) for at in range(0, count, size))


def _share(done: float) -> float:
    """The learning rate's share of its top: up along a line, down along a cosine."""
    if done < _WARM_UP:
        return (done + 1e-3) / (_WARM_UP + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (done - _WARM_UP) / (1 - _WARM_UP)))


class _State:
    """Weights, their running mean and the optimiser's moments, as one file of tensors."""

    def __init__(self, student: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        self.student, self.optimiser = student, optimiser
        self.average: dict[str, Tensor] = {}
        self.start: dict[str, Tensor] = {}

    def taught(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, value) for name, value in self.student.named_parameters() if value.requires_grad)

    def follow(self) -> None:
        for name, value in self.taught():
            self.average[name].lerp_(value.detach(), 1 - _AVERAGE)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The running mean in place of the weights, for a while."""
        now = {name: value.detach().clone() for name, value in self.taught()}
        self.use_average()
        yield
        with torch.no_grad():
            for name, value in self.taught():
                value.copy_(now[name])

    def use_average(self, kept: float = 0.0) -> None:
        with torch.no_grad():
            for name, value in self.taught():
                value.copy_(torch.lerp(self.average[name], self.start[name], kept))

    def write(self, path: Path, epochs: int) -> None:
        tensors = {f"now.{name}": value.contiguous() for name, value in self.student.state_dict().items()}
        tensors |= {f"mean.{name}": value.contiguous() for name, value in self.average.items()}
        tensors |= {f"start.{name}": value.contiguous() for name, value in self.start.items()}
        for name, value in self.taught():
            for key, moment in self.optimiser.state[value].items():
                tensors[f"{key}.{name}"] = moment.contiguous()
        with atomic_write(path) as aside:
            save_file(tensors, aside, metadata={"epochs": json.dumps(epochs)})

    def read(self, path: Path) -> int:
        """Epochs done; 0 when there is no file."""
        if not path.is_file():
            return 0
        with safe_open(path, framework="pt") as file:
            epochs = int(json.loads(file.metadata()["epochs"]))
        tensors = load_file(path)
        self.student.load_state_dict({name[4:]: value for name, value in tensors.items() if name.startswith("now.")})
        for name, value in self.taught():
            self.average[name], self.start[name] = tensors[f"mean.{name}"], tensors[f"start.{name}"]
            self.optimiser.state[value] = {key: tensors[f"{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq")}
        return epochs
