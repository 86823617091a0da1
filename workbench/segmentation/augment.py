"""What differs between two flights over the same ground: colours, sharpness and noise of training crops, changed at random."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

_CONTRAST, _BRIGHTNESS = 0.3, 0.4
_BAND_GAIN, _BAND_SHIFT, _MIXING = 0.1, 0.15, 0.05
_SATURATION, _GREY = 0.6, 0.05
_CURVE = 0.1
_BLUR, _NOISE = 0.7, 0.1


def recoloured(image: Tensor, random: np.random.Generator) -> Tensor:
    """Change a crop as light, season, camera and processing do.

    Contrast, brightness, saturation, hue and the gain of each band are one random linear map of the bands, near to the
    identity; then follow a tone curve (the second order of a gamma correction) and, each on a part of the crops, blur or
    sharpening, and noise. All of it works on any number of bands.

    Args:
        image: float32 (bands, rows, cols), each band with mean 0 and standard deviation 1 over the training pixels.
        random: draws all that is random.

    Returns:
        Another image of the same shape.
    """
    bands = image.shape[0]
    mixing, shift = _colours(bands, random)
    image = torch.einsum("ij,jrc->irc", torch.from_numpy(mixing), image) + torch.from_numpy(shift)[:, None, None]
    image = image + random.uniform(-_CURVE, _CURVE) * (image.clamp(-3, 3).square() - 1)
    if random.random() < 0.4:
        blurred = F.avg_pool2d(F.pad(image[None], (1, 1, 1, 1), mode="replicate"), 3, stride=1)[0]
        image = torch.lerp(image, blurred, random.uniform(-_BLUR, 1))
    if random.random() < 0.2:
        noise = random.standard_normal(image.shape, dtype=np.float32)
        image = image + torch.from_numpy(noise) * random.uniform(0, _NOISE)
    return image


def _colours(bands: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A random map of colours: a matrix (bands, bands) and a shift (bands,)."""
    identity, grey = np.eye(bands), np.full((bands, bands), 1 / bands)
    saturation = 0.0 if random.random() < _GREY else 1 + random.uniform(-_SATURATION, _SATURATION)
    gain = np.exp(random.uniform(-_CONTRAST, _CONTRAST) + random.uniform(-_BAND_GAIN, _BAND_GAIN, bands))
    mixing = grey + saturation * (identity - grey) + random.uniform(-_MIXING, _MIXING, (bands, bands))
    shift = random.uniform(-_BRIGHTNESS, _BRIGHTNESS) + random.uniform(-_BAND_SHIFT, _BAND_SHIFT, bands)
    return (gain[:, None] * mixing).astype(np.float32), shift.astype(np.float32)


def turned(image: Tensor, mask: Tensor, size: int, zoom: float, angle: float, ignore: int) -> tuple[Tensor, Tensor]:
    """Cut the middle of a square out, turned and zoomed.

    Args:
        image: float32 (bands, side, side).
        mask: uint8 (side, side).
        size: side of the result.
        zoom: pixels of the square on one pixel of the result.
        angle: in radians.
        ignore: mask value of what lies outside of the square.

    Returns:
        Image (bands, size, size), bilinear, and mask (size, size), nearest.
    """
    side = mask.shape[-1]
    reach = zoom * size / side  # half of the result in halves of the square, which grid_sample counts from -1 to 1
    cos, sin = reach * np.cos(angle), reach * np.sin(angle)
    grid = F.affine_grid(
        torch.tensor([[[cos, -sin, 0], [sin, cos, 0]]]).float(), [1, 1, size, size], align_corners=False
    )
    pixels = F.grid_sample(image[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]
    # Zero is what grid_sample gives outside: there the mask less ignore is zero too.
    found = F.grid_sample(mask[None, None].float() - ignore, grid, mode="nearest", align_corners=False)[0, 0] + ignore
    return pixels, found.to(mask.dtype)
