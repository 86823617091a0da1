"""Convolutions that take what follows them along, normalisation and clipping: the same function in half of the time."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

_CLIPS: dict[type[nn.Module], tuple[str, list[float]]] = {nn.ReLU: ("relu", []), nn.ReLU6: ("hardtanh", [0.0, 6.0])}


def folded(network: nn.Module) -> nn.Module:
    """A network in evaluation mode, changed in place: each batch normalisation right after a convolution becomes part of it.

    With frozen statistics, normalisation is linear: w' = w g / s, b' = (b - m) g / s + c (Jacob et al. 2018, section 3.2).
    """
    network.eval()
    for module in network.modules():
        previous: tuple[str, nn.Conv2d] | None = None
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d) and previous is not None:
                _fold(module, previous, name, child)
            previous = (name, child) if isinstance(child, nn.Conv2d) else None
    return network


def _fold(module: nn.Module, before: tuple[str, nn.Conv2d], name: str, norm: nn.BatchNorm2d) -> None:
    _, convolution = before
    assert norm.running_mean is not None and norm.running_var is not None
    weight, bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    with torch.no_grad():
        convolution.weight, convolution.bias = nn.Parameter(weight), nn.Parameter(bias)
    # timm's normalisation carries the activation that follows it.
    setattr(module, name, getattr(norm, "act", nn.Identity()))


def fused(network: nn.Module) -> nn.Module:
    """A network changed in place: each ReLU and ReLU6 right after a convolution is done by the convolution's own kernel.

    oneDNN computes both in one pass over memory, where this build of torch offers it; elsewhere nothing changes.
    """
    if not hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        return network
    for module in network.modules():
        children = list(module.named_children())
        clips: tuple[type[nn.Module], ...] = (nn.ReLU6,)
        if isinstance(module, nn.Sequential):
            # Only here children are called in their order, and each once: a block of a ResNet calls its one ReLU twice.
            clips = tuple(_CLIPS)
            # What normalisation left behind when it was folded does nothing between the two.
            children = [each for each in children if type(each[1]) is not nn.Identity]
        for (name, child), (after, follower) in pairwise(children):
            if isinstance(child, nn.Conv2d) and type(follower) in clips and child.padding_mode == "zeros":
                setattr(module, name, _ClippedConv(child, *_CLIPS[type(follower)]))
                setattr(module, after, nn.Identity())
    return network


class _ClippedConv(nn.Module):
    """A convolution and what clips its values."""

    def __init__(self, convolution: nn.Conv2d, clip: str, ends: list[float]) -> None:
        super().__init__()
        self._clip, self._ends = clip, ends
        self.weight, self.bias = convolution.weight, convolution.bias
        self._shape = (list(convolution.padding), list(convolution.stride), list(convolution.dilation))
        self._groups = convolution.groups

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._convolution_pointwise(  # type: ignore[no-any-return]
            pixels, self.weight, self.bias, *self._shape, self._groups, self._clip, self._ends, ""
        )
