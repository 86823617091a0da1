"""Convolutional networks as encoders: torchvision's by name, timm's by name, run over blocks of any size."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray

from workbench.descriptors.folding import folded, fused
from workbench.descriptors.pieces import Stage, Staged
from workbench.descriptors.weights import hash_of, load_into, read_state_dict
from workbench.errors import WeightsUnavailable
from workbench.jobs import cpu_threads

log = logging.getLogger(__name__)
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
TIMM = "timm/"
_BLOCK = 2048
_SAME = 1e-3
_WINDOW = 128
_MARGINS = (64, 96, 128, 192, 256, 384)
Normalisation = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class Geometry:
    """What a dense pass must know of a network.

    Attributes:
        dim: length of a descriptor.
        stride: pixels per cell of its feature map.
        margin: pixels of context beyond which a cell's features do not change.
        block: pixels on a side of the largest block, without its margin, that is run in 2 GB of memory in bfloat16.
    """

    dim: int
    stride: int
    margin: int
    block: int = _BLOCK


class NetworkEncoder:
    """The last feature map of a convolutional network, in bfloat16 where that is quick; see `encoders.Encoder`.

    Args:
        name: recorded in archives.
        body: from (batch, 3, rows, cols) to (batch, raw, rows / stride, cols / stride), in stages if its blocks are large.
        geometry: of the body.
        weights_hash: of all weights.
        normalisation: mean and standard deviation that the network was trained with.
        head: from mean features (n, raw) to descriptors (n, dim); None: they are the descriptors.
    """

    standardise = False
    takes_bytes = takes_many = True

    def __init__(
        self,
        name: str,
        body: torch.nn.Module,
        geometry: Geometry,
        weights_hash: str,
        normalisation: Normalisation = IMAGENET,
        head: torch.nn.Module | None = None,
    ) -> None:
        self.name, self.weights_hash = name, weights_hash
        self.dim, self.stride, self.margin = geometry.dim, geometry.stride, geometry.margin
        self._device = device()
        self._bfloat16 = has_bfloat16(self._device)
        mean, std = normalisation
        dtype = "bfloat16" if self._bfloat16 else "float32"
        self.preprocessing: dict[str, object] = {"mean": list(mean), "std": list(std), "dtype": dtype}
        self._dtype = torch.bfloat16 if self._bfloat16 else torch.float32
        self._mean, self._std = (torch.tensor(values, device=self._device)[:, None, None] for values in (mean, std))
        self.largest_block = geometry.block if self._bfloat16 else max(_BLOCK, geometry.block * 2 // 3)
        body = body.eval().requires_grad_(False).to(self._device, self._dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._body = fused(body) if self._device == "cpu" else body
        self._head = None if head is None else head.eval().requires_grad_(False)

    def features(self, pixels: NDArray[np.float32] | NDArray[np.uint8]) -> NDArray[np.float32]:
        """The network's last feature map, (3, rows, cols) to (raw, rows / stride, cols / stride).

        Args:
            pixels: RGB, float32 in 0..1 or uint8; or several pictures of one size, (n, 3, rows, cols), for as many maps.
        """
        torch.set_num_threads(cpu_threads())
        batch = torch.from_numpy(pixels.reshape(-1, *pixels.shape[-3:])).to(self._device)
        with torch.inference_mode():
            staged = isinstance(self._body, Staged)
            cells = self._body(batch, self._normalised) if staged else self._body(self._normalised(batch))
        found: NDArray[np.float32] = cells.float().cpu().numpy()
        return found if pixels.ndim == 4 else found[0]

    def features_and_early(
        self, pixels: NDArray[np.float32] | NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """`features`, and those of the network's first layers (early, rows / 8, cols / 8 or so); None where there are none."""
        body = self._body
        if not isinstance(body, Staged) or not body.early:
            return self.features(pixels), None
        torch.set_num_threads(cpu_threads())
        batch = torch.from_numpy(pixels)[None].to(self._device)
        with torch.inference_mode():
            early = body.run(batch, 0, body.early, self._normalised)
            cells = body.run(early, body.early)
        return cells[0].float().cpu().numpy(), early[0].float().cpu().numpy()

    def _normalised(self, batch: torch.Tensor) -> torch.Tensor:
        """Pixels (n, 3, rows, cols) as the network wants them."""
        whole = 1.0 if batch.is_floating_point() else 255.0
        unit = torch.addcmul(-self._mean / self._std, batch.float(), 1 / (whole * self._std))
        return unit.to(self._dtype).contiguous(memory_format=torch.channels_last)

    def finish(self, pooled: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mean features (n, raw) to descriptors (n, dim), in float32."""
        if self._head is None:
            return pooled
        with torch.inference_mode():
            return self._head(torch.from_numpy(np.ascontiguousarray(pooled))).numpy()  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Network:
    build: Callable[..., torch.nn.Module]
    body: Callable[[Any], torch.nn.Module]
    geometry: Geometry
    hub_file: str


_Table = tuple[tuple[int, int, int, int | None], ...]
"""Of each stage of layers in order: the first layer that is not in it any more, stride, halo and piece."""
_RESNET18: _Table = ((5, 4, 24, 512), (6, 8, 32, 1024), (7, 16, 64, 2048), (8, 32, 0, None))
_RESNETS: _Table = ((5, 4, 32, 512), (6, 8, 64, 1024), (7, 16, 192, 2048), (8, 32, 0, None))
_SQUEEZENET: _Table = ((5, 4, 16, 512), (8, 8, 32, 1024), (13, 16, 96, 2048))
_MOBILENET: _Table = ((4, 4, 12, 512), (7, 8, 24, 1024), (14, 16, 112, 2048), (19, 32, 0, None))


def _staged(layers: torch.nn.Sequential, table: _Table, early: int = 0) -> Staged:
    starts = [0, *(stop for stop, *_ in table)]
    stages = [
        Stage(partial(_run, layers, start, stop), stride, halo, piece)
        for start, (stop, stride, halo, piece) in zip(starts, table, strict=False)
    ]
    return Staged(layers, stages, early)


def _run(layers: torch.nn.Sequential, start: int, stop: int, values: torch.Tensor) -> torch.Tensor:
    """Some of the layers, as they are now: others may have taken the place of those that were there."""
    return layers[start:stop](values)  # type: ignore[no-any-return]


def _resnet18_body(network: Any) -> torch.nn.Module:
    return _staged(torch.nn.Sequential(*list(network.children())[:-2]), _RESNET18, early=1)


def _resnet_body(network: Any) -> torch.nn.Module:
    return _staged(torch.nn.Sequential(*list(network.children())[:-2]), _RESNETS, early=1)


def _squeezenet_body(network: Any) -> torch.nn.Module:
    # Padding makes the map exactly rows / 16 x cols / 16, so that cells fall on the same grid in every block.
    network.features[0].padding = (1, 1)
    return _staged(network.features, _SQUEEZENET)


def _mobilenet_body(network: Any) -> torch.nn.Module:
    return _staged(network.features, _MOBILENET, early=2)


_models = torchvision.models
_NETWORKS = {
    "resnet18": _Network(_models.resnet18, _resnet18_body, Geometry(512, 32, 224, 4096), "resnet18-f37072fd.pth"),
    "resnet34": _Network(_models.resnet34, _resnet_body, Geometry(512, 32, 288, 4096), "resnet34-b627a593.pth"),
    "resnet50": _Network(_models.resnet50, _resnet_body, Geometry(2048, 32, 256), "resnet50-11ad3fa6.pth"),
    "squeezenet1_1": _Network(
        _models.squeezenet1_1, _squeezenet_body, Geometry(512, 16, 128, 3072), "squeezenet1_1-b8a52dc0.pth"
    ),
    "mobilenet_v2": _Network(
        _models.mobilenet_v2, _mobilenet_body, Geometry(1280, 32, 192, 4096), "mobilenet_v2-7ebf99e0.pth"
    ),
}
TORCHVISION = tuple(_NETWORKS)


def load_torchvision(name: str, weights: str | Path | None = None) -> NetworkEncoder:
    """One of `TORCHVISION` with ImageNet weights: from a file, this machine's torch hub cache, or a download.

    Raises:
        WeightsUnavailable: no weights to be had, or weights that do not fit.
    """
    state = read_state_dict(weights if weights is not None else _cached_or_downloaded(name))
    return NetworkEncoder(name, _body(name, state), _NETWORKS[name].geometry, hash_of(state))


def torchvision_body(name: str, weights: str | Path) -> torch.nn.Module:
    """One of `TORCHVISION` without its classifier, in evaluation mode.

    Raises:
        WeightsUnavailable: another name, or weights that do not fit.
    """
    if name not in _NETWORKS:
        raise WeightsUnavailable(f"There is no network {name!r}. Choose one of {', '.join(TORCHVISION)}.")
    return _body(name, read_state_dict(weights))


def _body(name: str, state: dict[str, torch.Tensor]) -> torch.nn.Module:
    model = _NETWORKS[name].build(weights=None)
    load_into(model, state, name)
    return folded(_NETWORKS[name].body(model))


def load_timm(name: str, weights: str | Path | None = None) -> NetworkEncoder:
    """A convolutional network of timm (Wightman 2019), ``timm/NAME``.

    Its margin is measured: the least context beyond which a change of the surroundings changes a pooled window by a
    cosine under 0.001.

    Args:
        name: with or without the ``timm/``.
        weights: a state dict; when None, timm's own weights are taken from its cache or downloaded.

    Raises:
        WeightsUnavailable: timm has no such network, it is not convolutional, or its weights are not to be had.
    """
    model = timm_network(name, weights)
    body = _TimmBody(model)
    geometry = _measured(body, name)
    settings: Any = model.pretrained_cfg
    normalisation = (tuple(settings["mean"]), tuple(settings["std"]))
    return NetworkEncoder(TIMM + name.removeprefix(TIMM), body, geometry, hash_of(model.state_dict()), normalisation)


def timm_network(name: str, weights: str | Path | None = None) -> Any:
    """A network of timm with weights from a file, from timm's cache, or downloaded.

    Raises:
        WeightsUnavailable: timm has no such network, or its weights are not to be had.
    """
    import timm

    short = name.removeprefix(TIMM)
    if not timm.is_model(short):
        near = ", ".join(timm.list_models(f"*{short.split('.')[0][:8]}*")[:5]) or "see timm.list_models()"
        raise WeightsUnavailable(f"timm has no network {short!r}. Choose another, for instance {near}.")
    try:
        model = timm.create_model(short, pretrained=weights is None, num_classes=0 if weights is None else 1000)
    except Exception as error:  # huggingface_hub has a dozen classes for "no network"
        raise WeightsUnavailable(
            f"The weights of {name} are not on this machine and cannot be downloaded ({str(error)[:200]}). "
            "Give a local file with weights=PATH."
        ) from error
    if weights is not None:
        load_into(model, read_state_dict(weights), name)
    return model


class _TimmBody(torch.nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.model.forward_features(pixels)  # type: ignore[no-any-return]


@torch.inference_mode()
def _measured(body: torch.nn.Module, name: str) -> Geometry:
    """Stride and margin of a network, from what it does to noise.

    Raises:
        WeightsUnavailable: its features are no map, or each depends on the whole block.
    """
    body.eval()
    drawn = torch.Generator().manual_seed(0)
    side = 256
    try:
        found = body(torch.randn(1, 3, side, side, generator=drawn))
    except (AssertionError, RuntimeError) as error:  # made for one size of image
        raise WeightsUnavailable(
            f"{name} cannot see blocks of any size ({str(error)[:100]}). Choose a convolutional network."
        ) from error
    if found.ndim != 4 or found.shape[2] != found.shape[3] or side % found.shape[2]:
        raise WeightsUnavailable(
            f"{name} gives features of shape {tuple(found.shape)}, no map. Choose a convolutional network."
        )
    stride = side // found.shape[2]
    for margin in _MARGINS:
        edge = math.ceil(margin / stride) * stride
        one, two = (_noise(_WINDOW + 4 * edge, drawn) for _ in range(2))
        two[..., edge:-edge, edge:-edge] = one[..., edge:-edge, edge:-edge]  # only what is farther than that differs
        cells = 2 * edge // stride
        pooled = [body(block)[..., cells:-cells, cells:-cells].mean(dim=(2, 3)) for block in (one, two)]
        if 1 - float(torch.cosine_similarity(*pooled)) < _SAME:
            return Geometry(found.shape[1], stride, margin)
    raise WeightsUnavailable(
        f"The features of {name} depend on more than {_MARGINS[-1]} pixels around them, as those of networks with attention "
        "or squeeze-and-excitation do, so they cannot be pooled from large blocks. Choose a plain convolutional network."
    )


def _noise(side: int, drawn: torch.Generator) -> torch.Tensor:
    """Noise that is coarse and fine at once, as ground is: (1, 3, side, side)."""
    coarse = torch.randn(1, 3, side // 8, side // 8, generator=drawn)
    fine = torch.randn(1, 3, side, side, generator=drawn)
    return torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear") + 0.3 * fine


def cached_weights(name: str) -> Path | None:
    """The ImageNet weights of a torchvision network in this machine's torch hub cache, if they are there."""
    if name not in _NETWORKS:
        return None
    path = Path(torch.hub.get_dir()) / "checkpoints" / _NETWORKS[name].hub_file
    return path if path.is_file() else None


def _cached_or_downloaded(name: str) -> Path:
    cached = cached_weights(name)
    if cached is not None:
        return cached
    weights = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
    log.info("downloading the ImageNet weights of %s", name)
    try:
        weights.get_state_dict(progress=False, check_hash=True)
    except OSError as error:
        raise WeightsUnavailable(
            f"The ImageNet weights of {name} are not on this machine and cannot be downloaded ({error}). "
            f"Give a local file with weights=PATH, put {_NETWORKS[name].hub_file} into "
            f"{Path(torch.hub.get_dir()) / 'checkpoints'}, or use the encoder 'aerial', which comes with the program."
        ) from error
    return Path(torch.hub.get_dir()) / "checkpoints" / _NETWORKS[name].hub_file


def device() -> str:
    """Where networks run: an accelerator if there is one."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def has_bfloat16(device: str) -> bool:
    """Whether bfloat16 is computed in hardware: emulated, it would be slower than float32."""
    if device == "cpu":
        capable = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        return bool(capable())
    return device == "cuda" and torch.cuda.is_bf16_supported()
