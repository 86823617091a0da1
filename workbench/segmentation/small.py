"""A U-Net to start from nothing on a processor: all its convolutions run at half resolution or below."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

WIDTHS = (32, 48, 96, 128)


class SmallUnet(nn.Module):
    """The U-Net of Ronneberger et al. (2015), four levels deep, between a pixel unshuffle and a pixel shuffle.

    Packing 2 x 2 pixels into channels and unpacking them at the end (Shi et al., 2016, "sub-pixel convolution") takes
    the costly full-resolution layers out: one step costs about a third of one with a MobileNetV2 encoder, which matters
    when there are no ImageNet weights to start from and many steps are needed.

    Args:
        bands: input bands.
        outputs: output channels.
        widths: channels of each level, from half resolution downwards.
    """

    def __init__(self, bands: int, outputs: int, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        inputs = (bands * 4, *widths[:-1])
        self.down = nn.ModuleList(_block(before, after) for before, after in zip(inputs, widths, strict=True))
        pairs = list(zip(widths[1:], widths, strict=False))[::-1]  # (below, here), from the deepest upwards
        self.up = nn.ModuleList(_block(below + here, here) for below, here in pairs)
        self.head = nn.Conv2d(widths[0], outputs * 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(batch, bands, rows, cols) to logits (batch, outputs, rows, cols); rows and cols are multiples of 16."""
        x = F.pixel_unshuffle(images, 2)  # (batch, 4 bands, rows / 2, cols / 2)
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for block, skip in zip(self.up, skips[-2::-1], strict=True):
            x = block(torch.cat([F.interpolate(x, scale_factor=2.0), skip], dim=1))
        return F.pixel_shuffle(self.head(x), 2)


def _block(before: int, after: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs in (before, after):
        layers += [nn.Conv2d(inputs, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
