"""Encoders by name: torchvision networks with ImageNet weights, or the descriptor that needs none."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray

from workbench.descriptors.texture import TextureEncoder
from workbench.errors import WeightsUnavailable
from workbench.jobs import cpu_threads

log = logging.getLogger(__name__)
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


@runtime_checkable
class Encoder(Protocol):
    """What turns pixels into a map of features; a user may supply one.

    Attributes:
        name: recorded in the archive.
        weights_hash: names the exact weights; an archive refuses an encoder with another one.
        dim: length of a descriptor.
        stride: pixels per cell of the feature map.
        margin: pixels of context beyond which a cell's features do not change.
        standardise: divide each dimension by its standard deviation over the archive (statistics without learned
            weights have dimensions of unlike scale; ImageNet features do not gain).
        preprocessing: what else determines the result, as JSON values; recorded in the archive.
    """

    name: str
    weights_hash: str
    dim: int
    stride: int
    margin: int
    standardise: bool
    preprocessing: dict[str, object]

    def features(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """RGB in 0..1, shape (3, rows, cols), both multiples of ``stride``, to cells (raw, rows/stride, cols/stride)."""

    def finish(self, pooled: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mean features of windows (n, raw) to descriptors (n, dim)."""


@dataclass(frozen=True)
class _Network:
    build: Callable[..., torch.nn.Module]
    body: Callable[[Any], torch.nn.Module]
    dim: int
    stride: int
    margin: int
    hub_file: str


def _resnet_body(network: Any) -> torch.nn.Module:
    return torch.nn.Sequential(*list(network.children())[:-2])


def _squeezenet_body(network: Any) -> torch.nn.Module:
    # Padding makes the map exactly rows / 16 x cols / 16, so that cells fall on the same grid in every block.
    network.features[0].padding = (1, 1)
    return network.features  # type: ignore[no-any-return]


def _features(network: Any) -> torch.nn.Module:
    return network.features  # type: ignore[no-any-return]


_NETWORKS = {
    "resnet18": _Network(torchvision.models.resnet18, _resnet_body, 512, 32, 224, "resnet18-f37072fd.pth"),
    "resnet34": _Network(torchvision.models.resnet34, _resnet_body, 512, 32, 288, "resnet34-b627a593.pth"),
    "resnet50": _Network(torchvision.models.resnet50, _resnet_body, 2048, 32, 256, "resnet50-11ad3fa6.pth"),
    "squeezenet1_1": _Network(
        torchvision.models.squeezenet1_1, _squeezenet_body, 512, 16, 128, "squeezenet1_1-b8a52dc0.pth"
    ),
    "mobilenet_v2": _Network(torchvision.models.mobilenet_v2, _features, 1280, 32, 192, "mobilenet_v2-7ebf99e0.pth"),
}
NAMES = ("texture", *_NETWORKS)


class TorchvisionEncoder:
    """The last feature map of a torchvision classification network, ImageNet weights, in bfloat16 where it is quick."""

    standardise = False

    def __init__(self, name: str, state: dict[str, torch.Tensor], weights_hash: str) -> None:
        network = _NETWORKS[name]
        model = network.build(weights=None)
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            raise WeightsUnavailable(
                f"The weights do not fit {name}: {str(error).splitlines()[-1].strip()[:200]} "
                f"Give a torchvision state dict of {name}, or name the encoder the file belongs to."
            ) from error
        self.name, self.weights_hash = name, weights_hash
        self.dim, self.stride, self.margin = network.dim, network.stride, network.margin
        self._device = _device()
        self._bfloat16 = _has_bfloat16(self._device)
        dtype = "bfloat16" if self._bfloat16 else "float32"
        self.preprocessing: dict[str, object] = {"mean": list(_MEAN), "std": list(_STD), "dtype": dtype}
        body = network.body(model).eval().requires_grad_(False)
        self._body = body.to(self._device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def features(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network's last feature map, (3, rows, cols) to (dim, rows / stride, cols / stride)."""
        torch.set_num_threads(cpu_threads())
        batch = torch.from_numpy(pixels)[None].to(self._device, memory_format=torch.channels_last)
        mean, std = (torch.tensor(values, device=self._device)[:, None, None] for values in (_MEAN, _STD))
        with torch.inference_mode(), self._precision():
            cells = self._body((batch - mean) / std)[0]
        return cells.float().cpu().numpy()  # type: ignore[no-any-return]

    def finish(self, pooled: NDArray[np.float32]) -> NDArray[np.float32]:
        """Nothing more: the mean of the last feature map is the descriptor."""
        return pooled

    def _precision(self) -> AbstractContextManager[object]:
        return torch.autocast(self._device, torch.bfloat16) if self._bfloat16 else nullcontext()


def load_encoder(name: str = "texture", weights: str | Path | None = None) -> Encoder:
    """An encoder by name.

    Args:
        name: one of `NAMES`. ``texture`` needs no weights and is the best that can be had without any.
        weights: state dict of the network (``.pth`` or ``.safetensors``). When None, the torch hub cache of this
            machine is looked through, then torchvision's own download is tried.

    Raises:
        WeightsUnavailable: unknown name, no weights to be had, or weights that do not fit.
    """
    if name == "texture":
        return TextureEncoder()
    if name not in _NETWORKS:
        raise WeightsUnavailable(f"There is no encoder {name!r}. Choose one of {', '.join(NAMES)}, or pass your own.")
    path = Path(weights) if weights is not None else _cached_or_downloaded(name)
    state = read_state_dict(path)
    return TorchvisionEncoder(name, state, _hash(state))


def read_state_dict(path: str | Path) -> dict[str, torch.Tensor]:
    """Read network weights without running anything from the file; half-precision weights become float32.

    Raises:
        WeightsUnavailable: missing, damaged, or not a plain state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsUnavailable(
            f"There are no weights at {path}. Check the path, or leave weights out to download them."
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch has a dozen classes for a bad file; all mean the same
        reason = str(error).strip().splitlines()
        raise WeightsUnavailable(
            f"{path.name} is not a plain file of weights ({reason[0][:160] if reason else type(error).__name__}). "
            "Give a state dict saved by torch.save or safetensors; nothing was run from it."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsUnavailable(f"{path.name} holds no state dict. Save model.state_dict(), not the model.")
    return {key: value.float() if value.is_floating_point() else value for key, value in state.items()}


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
            f"{Path(torch.hub.get_dir()) / 'checkpoints'}, or use the encoder 'texture', which needs none."
        ) from error
    return Path(torch.hub.get_dir()) / "checkpoints" / _NETWORKS[name].hub_file


def _hash(state: dict[str, torch.Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for key in sorted(state):
        digest.update(key.encode())
        digest.update(np.ascontiguousarray(state[key].numpy()).tobytes())
    return digest.hexdigest()


def _device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _has_bfloat16(device: str) -> bool:
    """Whether bfloat16 is computed in hardware: emulated, it would be slower than float32."""
    if device == "cpu":
        capable = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        return bool(capable())
    return device == "cuda" and torch.cuda.is_bf16_supported()
