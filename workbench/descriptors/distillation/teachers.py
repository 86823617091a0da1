"""What the teachers say of each crop: their pooled features, averaged over orientations, in one vector of 512 numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor, nn

from workbench.descriptors.aerial import ARCHITECTURE, DIM, NORMALISATION
from workbench.descriptors.folding import folded, fused
from workbench.descriptors.networks import IMAGENET, Normalisation
from workbench.descriptors.weights import load_into, read_state_dict
from workbench.errors import WeightsUnavailable
from workbench.files import write_json
from workbench.jobs import Progress

_CHUNK = 64
_SAVE_EVERY = 16


@dataclass(frozen=True)
class Teacher:
    """A network whose pooled features are to be learned.

    Attributes:
        body: from normalised pixels to a feature map.
        normalisation: of the pixels.
        weight: of its features against those of the others.
    """

    body: nn.Module
    normalisation: Normalisation
    weight: float


def load_teacher(name: str, path: str | Path) -> Teacher:
    """A teacher by name: ``mobilenet_v2``, ``squeezenet1_1`` (torchvision's state dicts), or ``efficientnet_lite0`` ... ``4``.

    Raises:
        WeightsUnavailable: another name, or weights that do not fit.
    """
    if name.startswith("efficientnet_lite"):
        import timm

        network = timm.create_model(name, num_classes=1000)
        load_into(network, lite_state(network, read_state_dict(path)), name)
        network.reset_classifier(0, "")  # type: ignore[operator]
        return Teacher(_ready(network), NORMALISATION, 1.0)
    from workbench.descriptors.networks import torchvision_body

    body = torchvision_body(name, path)
    return Teacher(_ready(body), IMAGENET, 0.7 if name.startswith("squeezenet") else 1.0)


def lite_state(network: nn.Module, published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published weights of EfficientNet-Lite under timm's names, if they are not already: both list the same layers in order.

    The published ones were converted from TensorFlow, which pads strided convolutions at the end only. timm's plain
    variant pads on both sides: inside a picture that is the same network, seen one pixel aside.

    Raises:
        WeightsUnavailable: the shapes differ.
    """
    own = network.state_dict()
    if own.keys() == published.keys():
        return dict(published)
    state = dict(zip(own, published.values(), strict=False))
    if len(own) != len(published) or any(own[name].shape != state[name].shape for name in own):
        raise WeightsUnavailable(
            f"These {len(published)} tensors are not those of the network's {len(own)} layers. "
            "Give the file of the variant that is named."
        )
    return state


def starting_weights(path: str | Path) -> dict[str, Tensor]:
    """The student's body at first: the published weights, without the classifier."""
    import timm

    network = timm.create_model(ARCHITECTURE, num_classes=1000)
    load_into(network, lite_state(network, read_state_dict(path)), ARCHITECTURE)
    network.reset_classifier(0, "")  # type: ignore[operator]
    return dict(network.state_dict())


def write_features(
    crops: NDArray[np.uint8], teacher: Teacher, path: Path, orientations: int, seed: int, progress: Progress
) -> None:
    """Write a teacher's pooled features of all crops, float16 (n, dim); an interrupted run goes on where it stopped.

    Of the eight orientations of each chunk of crops, as many as asked for are drawn, half of them mirrored: with more
    crops and fewer orientations, the student's own averaging does the rest.

    Args:
        crops: uint8 (n, rows, cols, 3).
        teacher: to ask.
        path: ``.npy``.
        orientations: per crop, 1 to 8.
        seed: of the orientations.
        progress: counts crops.
    """
    mark = path.with_suffix(".json")
    starts = range(0, len(crops), _CHUNK)
    progress.begin(f"asking {path.stem}", len(crops), "crops")
    done = 0
    out: np.memmap[Any, np.dtype[np.float16]] | None = None
    if path.is_file() and mark.is_file():
        import json

        done = int(json.loads(mark.read_bytes())["chunks"])
        out = open_memmap(path, mode="r+")
        progress.advance(min(len(crops), done * _CHUNK))
    for number in range(done, len(starts)):
        part = crops[starts[number] : starts[number] + _CHUNK]
        drawn = np.random.default_rng((seed, number))
        turns = [*drawn.permutation(4)[: (orientations + 1) // 2], *(4 + drawn.permutation(4)[: orientations // 2])]
        features = torch.stack([_pooled(teacher, part, int(turn)) for turn in turns]).mean(dim=0).numpy()
        if out is None:
            out = open_memmap(path, mode="w+", dtype=np.float16, shape=(len(crops), features.shape[1]))
        out[starts[number] : starts[number] + len(part)] = features
        progress.advance(len(part))
        if number % _SAVE_EVERY == _SAVE_EVERY - 1 or number == len(starts) - 1:
            out.flush()
            write_json(mark, {"chunks": number + 1})


def targets(features: Sequence[NDArray[np.float16]], weights: Sequence[float]) -> NDArray[np.float32]:
    """What the student shall answer, float32 (n, 512), of mean zero and mean square length one.

    Square roots of each teacher's features, centred and scaled to mean square length ``weight``, side by side, on their
    first 512 principal axes: inner products are those of the whole but for what the other axes hold.

    Args:
        features: of each teacher, (n, its dim).
        weights: of each teacher.
    """
    parts = []
    for found, weight in zip(features, weights, strict=True):
        root = np.sqrt(np.maximum(found.astype(np.float32), 0))
        root -= root.mean(axis=0)
        parts.append(root * np.float32(weight / np.sqrt((root**2).sum(axis=1).mean())))
    whole = np.concatenate(parts, axis=1)
    _, axes = np.linalg.eigh(whole.T @ whole)
    projected = whole @ axes[:, ::-1][:, :DIM]
    return (projected / np.sqrt((projected**2).sum(axis=1).mean())).astype(np.float32)  # type: ignore[no-any-return]


def turned(pixels: Tensor, number: int) -> Tensor:
    """One of the eight orientations of (..., rows, cols); see `orientations.turn`."""
    return torch.rot90(pixels.flip(-1) if number >= 4 else pixels, number % 4, (-2, -1))


def normalised(crops: NDArray[np.uint8], normalisation: Normalisation) -> Tensor:
    """Crops (n, rows, cols, 3) as a network wants them, (n, 3, rows, cols)."""
    mean, std = (torch.tensor(values) for values in normalisation)
    unit = torch.from_numpy(np.ascontiguousarray(crops)).float() / 255
    return ((unit - mean) / std).permute(0, 3, 1, 2)  # channels last in memory already


@torch.inference_mode()
def _pooled(teacher: Teacher, crops: NDArray[np.uint8], turn: int) -> Tensor:
    pixels = turned(normalised(crops, teacher.normalisation), turn).contiguous(memory_format=torch.channels_last)
    return teacher.body(pixels.to(torch.bfloat16)).float().mean(dim=(2, 3))  # type: ignore[no-any-return]


def _ready(body: nn.Module) -> nn.Module:
    body = folded(body.eval().requires_grad_(False)).to(torch.bfloat16)
    return fused(body).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
