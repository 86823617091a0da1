"""The classic U-Net, layer by layer, small enough to read in one sitting; it starts from nothing and sees every pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

CLASSIC_WIDTHS = (16, 32, 64, 128, 256)
"""Channels at full resolution, at a half, a quarter, an eighth and a sixteenth of it."""


class ClassicUnet(nn.Module):
    """The U-Net (Ronneberger, Fischer and Brox, 2015), half as wide twice over, with batch normalisation.

    With one class and three bands it is the network of the building-extraction literature: 22 convolutions of 4 x 4 pixels,
    4 of them transposed, 18 batch normalisations, and a last one of 1 x 1; 3,842,241 numbers, of which 3,839,297 are
    trained and 2,944 are the means and variances that the normalisations have seen.

    Args:
        bands: input bands.
        classes: without the background, whose logit is 0: for one class, the softmax is then the sigmoid of its logit.
        widths: channels of the five levels, from full resolution downwards.
    """

    def __init__(self, bands: int, classes: int, widths: Sequence[int] = CLASSIC_WIDTHS) -> None:
        super().__init__()
        a, b, c, d, e = widths
        self.down1 = _two_convolutions(bands, a)
        self.down2 = _two_convolutions(a, b)
        self.down3 = _two_convolutions(b, c)
        self.down4 = _two_convolutions(c, d)
        self.bottom = _two_convolutions(d, e)
        self.grow4, self.up4 = _twice_as_large(e, d), _two_convolutions(d + d, d)
        self.grow3, self.up3 = _twice_as_large(d, c), _two_convolutions(c + c, c)
        self.grow2, self.up2 = _twice_as_large(c, b), _two_convolutions(b + b, b)
        self.grow1, self.up1 = _twice_as_large(b, a), _two_convolutions(a + a, a)
        self.head = nn.Conv2d(a, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(batch, bands, rows, cols) to logits (batch, classes + 1, rows, cols); rows and cols are multiples of 16."""
        x1 = self.down1(images)  # (batch, 16, rows, cols)
        x2 = self.down2(F.max_pool2d(x1, 2))  # (batch, 32, rows / 2, cols / 2)
        x3 = self.down3(F.max_pool2d(x2, 2))  # (batch, 64, rows / 4, cols / 4)
        x4 = self.down4(F.max_pool2d(x3, 2))  # (batch, 128, rows / 8, cols / 8)
        x = self.bottom(F.max_pool2d(x4, 2))  # (batch, 256, rows / 16, cols / 16)
        x = self.up4(torch.cat([self.grow4(x), x4], dim=1))  # 128 + 128 to (batch, 128, rows / 8, cols / 8)
        x = self.up3(torch.cat([self.grow3(x), x3], dim=1))  # 64 + 64 to (batch, 64, rows / 4, cols / 4)
        x = self.up2(torch.cat([self.grow2(x), x2], dim=1))  # 32 + 32 to (batch, 32, rows / 2, cols / 2)
        x = self.up1(torch.cat([self.grow1(x), x1], dim=1))  # 16 + 16 to (batch, 16, rows, cols)
        return F.pad(self.head(x), (0, 0, 0, 0, 1, 0))  # the background's 0 in front: (batch, classes + 1, rows, cols)


def _two_convolutions(before: int, after: int) -> nn.Sequential:
    """(batch, before, rows, cols) to (batch, after, rows, cols).

    A kernel of four has no middle: padded by two, the first gives a row and a column more; by one, the second takes them
    back, so that nothing is shifted.
    """
    return nn.Sequential(
        nn.Conv2d(before, after, 4, padding=2),  # (batch, after, rows + 1, cols + 1)
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
        nn.Conv2d(after, after, 4, padding=1),  # (batch, after, rows, cols)
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )


def _twice_as_large(before: int, after: int) -> nn.ConvTranspose2d:
    """(batch, before, rows, cols) to (batch, after, 2 rows, 2 cols)."""
    return nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)
