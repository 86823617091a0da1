"""The U-Nets: one on an encoder with weights, one to start from nothing; both leave the full resolution out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

SMALL_WIDTHS = (32, 48, 96, 128)
WIDTHS = (32, 48, 64, 128)


class EncoderUnet(nn.Module):
    """A U-Net (Ronneberger et al., 2015) on a classification encoder of five halvings.

    The decoder ends at half resolution, where each pixel gives four (Shi et al., 2016, "sub-pixel convolution"): layers at
    full resolution cost more than all others together and see no more.

    Args:
        encoder: gives its input and five feature maps, the last at a 32nd of the resolution; ``out_channels`` names the
            channels of all six, as encoders of `segmentation_models_pytorch` do.
        outputs: output channels.
        widths: channels of each level of the decoder, from half resolution downwards.

    Attributes:
        pretrained: the encoder began with weights that know something.
    """

    pretrained = False

    def __init__(self, encoder: Any, outputs: int, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.encoder: nn.Module = encoder
        for module in encoder.modules():
            # Not those that pad in a way of their own.
            if type(module) is nn.Conv2d and module.groups == module.in_channels > 1:
                module.__class__ = Depthwise
        *skips, below = encoder.out_channels[1:]
        self.decoder = _decoder(below, skips, widths)
        self.head = nn.Conv2d(widths[0], outputs * 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(batch, bands, rows, cols) to logits (batch, outputs, rows, cols); rows and cols are multiples of 32."""
        *skips, deepest = self.encoder(images)[1:]
        return F.pixel_shuffle(self.head(_climbed(self.decoder, deepest, skips)), 2)


class Depthwise(nn.Conv2d):
    """A depthwise convolution that learns in float32 on processors: oneDNN's bfloat16 gradients take up to 14 times as long."""

    def forward(self, input: Tensor) -> Tensor:
        """(batch, channels, rows, cols) to the same."""
        if input.device.type != "cpu" or not (torch.is_grad_enabled() and self.weight.requires_grad):
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.float()).to(input.dtype)


class SmallUnet(nn.Module):
    """A U-Net four levels deep between a pixel unshuffle and a pixel shuffle, to start from nothing on a processor.

    Packing 2 x 2 pixels into channels and unpacking them at the end makes a step cost about two thirds of one with an
    encoder, which matters when there are no weights to start from and many steps are needed.

    Args:
        bands: input bands.
        outputs: output channels.
        widths: channels of each level, from half resolution downwards.
    """

    def __init__(self, bands: int, outputs: int, widths: Sequence[int] = SMALL_WIDTHS) -> None:
        super().__init__()
        self.down = nn.ModuleList(_convolutions(*pair) for pair in pairwise((bands * 4, *widths)))
        self.up = _decoder(widths[-1], widths[:-1], widths[:-1])
        self.head = nn.Conv2d(widths[0], outputs * 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(batch, bands, rows, cols) to logits (batch, outputs, rows, cols); rows and cols are multiples of 16."""
        x = F.pixel_unshuffle(images, 2)  # (batch, 4 bands, rows / 2, cols / 2)
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        return F.pixel_shuffle(self.head(_climbed(self.up, x, skips[:-1])), 2)


def _decoder(below: int, skips: Sequence[int], widths: Sequence[int]) -> nn.ModuleList:
    """Blocks from the deepest level upwards; each takes what is below it, doubled in size, and its level's skip."""
    below_each = (*widths[1:], below)
    inputs = [deeper + skip for deeper, skip in zip(below_each, skips, strict=True)]
    return nn.ModuleList(_convolutions(*pair) for pair in zip(inputs[::-1], widths[::-1], strict=True))


def _climbed(blocks: Iterable[nn.Module], x: Tensor, skips: Sequence[Tensor]) -> Tensor:
    for block, skip in zip(blocks, reversed(skips), strict=True):
        x = block(torch.cat([F.interpolate(x, scale_factor=2.0), skip], dim=1))
    return x


def _convolutions(before: int, after: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs in (before, after):
        layers += [nn.Conv2d(inputs, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
