"""The U-Net: built with or without ImageNet weights, saved with all that is needed to use it, loaded without pickle."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import segmentation_models_pytorch as smp
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from workbench.descriptors.aerial import WEIGHTS as AERIAL_WEIGHTS
from workbench.descriptors.archive import Archive
from workbench.descriptors.networks import TIMM, cached_weights, timm_network
from workbench.descriptors.weights import read_state_dict
from workbench.errors import WeightsUnavailable
from workbench.files import atomic_write
from workbench.imagery.render import Stretch
from workbench.labels.fold import LabelClass
from workbench.segmentation.classic import ClassicUnet
from workbench.segmentation.networks import EncoderUnet, SmallUnet
from workbench.segmentation.settings import STRIDE as STRIDE

log = logging.getLogger(__name__)
FORMAT, VERSION = "workbench-unet", 2
AERIAL, SMALL, CLASSIC = "aerial", "small", "classic"
FROM_NOTHING = (SMALL, CLASSIC)
"""Whole networks, which have no encoder that could begin with weights."""
ENCODERS = (AERIAL, *FROM_NOTHING, "mobilenet_v2", "resnet18", "resnet34", "resnet50")
_OF_TIMM = "tu-"
_BODY = f"{_OF_TIMM}efficientnet_lite0"
_OTHER_VERSION = (
    "was written by a newer workbench. Update this one to use it.",
    "was written by an older workbench, whose networks were built otherwise. Train again from its chips.",
)
_UNREADABLE = (OSError, RuntimeError, SafetensorError, EOFError, ValueError, KeyError)


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each band after the stretch to 0..1, over the training chips."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def apply(self, pixels: np.ma.MaskedArray[Any, Any], stretch: Stretch) -> NDArray[np.float32]:
        """Turn pixels (bands, rows, cols) into network input of the same shape; masked pixels become 0, the mean."""
        mean, std = (np.array(values, np.float32)[:, None, None] for values in (self.mean, self.std))
        values = stretch.to_unit(pixels)
        values -= mean
        values /= std
        values[np.ma.getmaskarray(pixels)] = 0
        return values


@dataclass(frozen=True)
class ModelCard:
    """What a model file says about itself.

    Attributes:
        encoder: name of the encoder, one of `ENCODERS` or another one that `segmentation_models_pytorch` knows.
        classes: in the order of their numbers.
        bands: number of input bands.
        pixel_size_m: ground size of the training pixels in metres, (x, y).
        normalisation: of the input.
        stretches: raster fingerprint -> the stretch its chips were trained with.
    """

    encoder: str
    classes: tuple[LabelClass, ...]
    bands: int
    pixel_size_m: tuple[float, float]
    normalisation: Normalisation
    stretches: Mapping[str, Stretch] = field(default_factory=dict)

    @property
    def highest(self) -> int:
        """The largest class number; the network has that many outputs and one for the background."""
        return highest_id(self.classes)


@dataclass(frozen=True)
class Model:
    """A trained network, in evaluation mode, and its card."""

    network: nn.Module
    card: ModelCard


def highest_id(classes: Sequence[LabelClass]) -> int:
    """The largest class number, 0 without classes. Numbers are never reused, so some may be missing below it."""
    return max((item.id for item in classes), default=0)


def build_unet(encoder: str, bands: int, classes: int, weights: str | Path | None = None) -> nn.Module:
    """Build a U-Net light enough for a processor, or the classic one; see `EncoderUnet`, `SmallUnet` and `ClassicUnet`.

    Args:
        encoder: one of `ENCODERS`, any other name `segmentation_models_pytorch` knows, or ``timm/NAME``.
            ``aerial`` is the encoder that archives are searched with, and starts from what it knows; ``small`` starts from
            nothing and is the quickest; ``classic`` is the network of the literature and starts from nothing too.
        bands: input bands. Where an encoder's weights are of other than ``bands`` bands, the first layer's kernels are
            repeated over the bands and scaled so that its output keeps its size.
        classes: the largest class number; output 0 is the background.
        weights: state dict of the encoder (``.pth`` or ``.safetensors``, float16 or float32): torchvision's, timm's, or for
            ``aerial`` another training of it. When None, ``aerial`` starts from the weights in the package and
            ``timm/NAME`` from timm's; for others the torch hub cache is looked in, and when that is empty, the start is
            random, and the log says so.

    Returns:
        A module from (batch, bands, rows, cols) to logits (batch, classes + 1, rows, cols); rows and cols must be
        multiples of `STRIDE`.

    Raises:
        WeightsUnavailable: the encoder is unknown, or the file is unreadable or of another network.
    """
    if encoder in FROM_NOTHING and weights is not None:
        raise WeightsUnavailable(
            f"{Path(weights).name} cannot be used: the {encoder} U-Net starts from random weights. Leave weights out."
        )
    network = _plain_unet(encoder, bands, classes)
    path = Path(weights) if weights is not None else AERIAL_WEIGHTS if encoder == AERIAL else cached_weights(encoder)
    if encoder.startswith(TIMM) or path is not None:
        _load_encoder(network.encoder, encoder, path)
        network.pretrained = True
    else:
        log.info("no weights for %s on this machine: training starts from random weights", encoder)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def encoder_of(archive: Archive) -> tuple[str, Path | None]:
    """What a U-Net starts from to know what an archive knows: ``encoder`` and ``weights`` of `build_unet`.

    The shipped encoder for an archive whose own is none a U-Net can stand on: statistics, imported or the user's code.
    """
    own, weights = archive.manifest.encoder, archive.manifest.weights_path
    if own in ENCODERS or own.startswith(TIMM):
        return own, None if weights is None else Path(weights)
    log.info("a U-Net cannot start from the archive's encoder, %s: it starts from %s", own, AERIAL)
    return AERIAL, None


def save_model(model: Model, path: str | Path) -> None:
    """Write network and card as one ``.safetensors`` file, atomically."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.network.state_dict().items()}
    card = json.dumps({"version": VERSION, **asdict(model.card)})
    with atomic_write(path) as aside:
        save_file(tensors, aside, metadata={FORMAT: card})


def load_model(path: str | Path) -> Model:
    """Read a file of `save_model`; only tensors and JSON are read, so no code can come with it.

    Raises:
        WeightsUnavailable: not such a file, of a newer version, or damaged.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="pt") as file:
            record = json.loads((file.metadata() or {})[FORMAT])
        version = record.pop("version")
        if version != VERSION:
            raise WeightsUnavailable(f"{path.name} {_OTHER_VERSION[version < VERSION]}")
        card = _card(record)
        network = _plain_unet(card.encoder, card.bands, card.highest)
        network.load_state_dict(load_file(path))
    except (*_UNREADABLE, TypeError, AttributeError) as error:
        raise WeightsUnavailable(
            f"{path} is no model of this workbench ({_first_line(error)}). Expected the model.safetensors of a run."
        ) from error
    return Model(network.to(memory_format=torch.channels_last).eval(), card)  # type: ignore[call-overload]


def _plain_unet(encoder: str, bands: int, classes: int) -> Any:
    if encoder == SMALL:
        return SmallUnet(bands, classes + 1)
    if encoder == CLASSIC:
        return ClassicUnet(bands, classes)
    try:
        name = _BODY if encoder == AERIAL else encoder.replace(TIMM, _OF_TIMM, 1)
        module = smp.encoders.get_encoder(name, in_channels=bands, depth=5, weights=None)
    except (KeyError, RuntimeError, ValueError) as error:
        raise WeightsUnavailable(
            f"There is no encoder named {encoder!r}, or none that a U-Net can stand on ({_first_line(error)}). "
            f"Choose one of {', '.join(ENCODERS)}, or another one of segmentation_models_pytorch."
        ) from error
    return EncoderUnet(module, classes + 1)


def _load_encoder(module: nn.Module, encoder: str, path: Path | None) -> None:
    own, source = module.state_dict(), encoder if path is None else path.name
    if encoder.startswith(TIMM):
        state = timm_network(encoder, path).state_dict()
    else:
        assert path is not None
        state = read_state_dict(path)
    if encoder == AERIAL:
        state = {name.removeprefix("body."): tensor for name, tensor in state.items()}
    if encoder == AERIAL or encoder.startswith((TIMM, _OF_TIMM)):
        state = _as_timm_pyramid(state, own)
    first = next(iter(own))
    if first in state and state[first].ndim == 4:
        state[first] = _spread(state[first], own[first].shape[1])
    missing = [name for name, tensor in own.items() if name not in state or state[name].shape != tensor.shape]
    if missing:
        raise WeightsUnavailable(
            f"{source} does not fit {encoder}: {len(missing)} of {len(own)} tensors are missing or of another shape, "
            f"{missing[0]} first. Expected a state dict of {encoder}."
        )
    nn.Module.load_state_dict(module, {name: state[name] for name in own})
    log.info("%s starts from the weights in %s", encoder, source)


def _as_timm_pyramid(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of timm under the names that they have where all levels are given out: stages.0 is model.stages_0 there."""
    known = {name.removeprefix("model.").replace(".", "_"): tensor for name, tensor in state.items()}
    flat = {name: name.removeprefix("model.").replace(".", "_") for name in own}
    return {name: known[key] for name, key in flat.items() if key in known}


def _spread(kernels: Tensor, bands: int) -> Tensor:
    """Repeat first-layer kernels (out, 3, rows, cols) over ``bands`` inputs, keeping the size of their response."""
    given = kernels.shape[1]
    return kernels if given == bands else kernels[:, [band % given for band in range(bands)]] * (given / bands)


def _card(record: dict[str, Any]) -> ModelCard:
    def pair(values: Sequence[float]) -> tuple[float, ...]:
        return tuple(float(value) for value in values)

    stretches = {name: Stretch(pair(s["low"]), pair(s["high"])) for name, s in record["stretches"].items()}
    return ModelCard(
        encoder=str(record["encoder"]),
        classes=tuple(LabelClass(**item) for item in record["classes"]),
        bands=int(record["bands"]),
        pixel_size_m=(float(record["pixel_size_m"][0]), float(record["pixel_size_m"][1])),
        normalisation=Normalisation(pair(record["normalisation"]["mean"]), pair(record["normalisation"]["std"])),
        stretches=stretches,
    )


def _first_line(error: BaseException) -> str:
    return str(error).split("\n")[0][:200] or type(error).__name__
