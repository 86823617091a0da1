"""Encoders by name: the one shipped with the program, networks with ImageNet weights, or the one that needs none."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from workbench.errors import WeightsUnavailable

ORIENTATIONS = "mean_of_orientations"
"""In an encoder's preprocessing: how many orientations its features are the mean of; absent for one."""


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

    It may also have ``largest_block``, the most pixels on a side of a block without its margin (2,048 when it does not say), and
    ``takes_bytes``, true when `features` takes uint8 as well as float32 (a block is then a quarter as large), and
    ``takes_many``, true when it takes several pictures at once, (n, 3, rows, cols).
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


def load_encoder(name: str = "aerial", weights: str | Path | None = None, *, orientations: int = 1) -> Encoder:
    """An encoder by name.

    Args:
        name: ``aerial`` (shipped with the program), ``texture`` (no weights at all), a torchvision network
            (`networks.TORCHVISION`), or ``timm/NAME`` for a convolutional network of timm.
        weights: state dict of the network (``.pth`` or ``.safetensors``). When None, that of the package, else this
            machine's caches are looked through, then the library's own download is tried.
        orientations: average over 4 or 8 of them, at 4 or 8 times the cost; see `orientations.Oriented`.

    Raises:
        WeightsUnavailable: unknown name, no weights to be had, or weights that do not fit.
        QueryInvalid: another number of orientations.
    """
    encoder = _load(name, weights)
    if orientations == 1:
        return encoder
    from workbench.descriptors.orientations import Oriented

    return Oriented(encoder, orientations)


def _load(name: str, weights: str | Path | None) -> Encoder:
    if name == "texture":
        from workbench.descriptors.texture import TextureEncoder

        return TextureEncoder()
    if name == "aerial":
        from workbench.descriptors.aerial import load_aerial

        return load_aerial(weights)
    from workbench.descriptors.networks import TIMM, TORCHVISION, load_timm, load_torchvision

    if name.startswith(TIMM):
        return load_timm(name, weights)
    if name in TORCHVISION:
        return load_torchvision(name, weights)
    raise WeightsUnavailable(
        f"There is no encoder {name!r}. Choose aerial, texture, {', '.join(TORCHVISION)}, {TIMM}NAME for a network of timm, "
        "or pass your own."
    )
