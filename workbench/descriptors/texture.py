"""The descriptor that needs no weights: colour histograms and wavelet scattering, averaged over orientations."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray

from workbench.jobs import cpu_threads

_SCALES = 4
_ORIENTATIONS = 8
_KERNEL = 9
_LUMA_BINS = 12
_CHROMA_BINS = 7


class TextureEncoder:
    """Colour and texture statistics of a window, the same for a scene and its rotation by 45 degrees.

    Three groups, each of unit length, pooled over the window:

    * joint histogram of the two opponent colour axes, and histogram of brightness, with linear soft binning;
      their square roots make the cosine a Hellinger kernel (Arandjelovic & Zisserman 2012, "RootSIFT").
    * first-order scattering |x * psi_{j,theta}| of brightness and both opponent axes, mean over theta.
    * second-order scattering ||x * psi_{j1,theta1}| * psi_{j2,theta2}| of brightness, mean over theta1 at each
      relative angle theta2 - theta1 (Bruna & Mallat 2013, "Invariant scattering convolution networks", eq. 11; the
      joint average over rotations follows Sifre & Mallat 2013), divided by its first order (normalised scattering).
    """

    name = "texture"
    weights_hash = "none-v1"
    stride = 32
    margin = 128
    standardise = True

    def __init__(self) -> None:
        self._filters = _morlet_bank()
        pairs = _SCALES * (_SCALES - 1) // 2
        self.raw_dim = _LUMA_BINS + _CHROMA_BINS**2 + 3 * _SCALES + pairs * _ORIENTATIONS + 1
        self.dim = self.raw_dim - 1
        self.preprocessing: dict[str, object] = {"input": "RGB 0..1", "scales": _SCALES, "orientations": _ORIENTATIONS}

    def features(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Per-cell sums that averaging over any window keeps meaningful.

        Args:
            pixels: RGB in 0..1, shape (3, rows, cols), rows and cols multiples of ``stride``.

        Returns:
            float32 array (raw_dim, rows // stride, cols // stride).
        """
        torch.set_num_threads(cpu_threads())
        with torch.inference_mode():
            rgb = torch.from_numpy(pixels)[None]
            opponent = _opponent(rgb)
            shape = (pixels.shape[1] // self.stride, pixels.shape[2] // self.stride)
            maps = [*_colour_bins(opponent), *self._scattering(opponent)]
            cells = torch.cat([F.adaptive_avg_pool2d(part, shape) for part in maps], dim=1)[0]
        return cells.numpy()

    def finish(self, pooled: NDArray[np.float32]) -> NDArray[np.float32]:
        """Square roots and unit length of each group; (n, raw_dim) to (n, dim)."""
        pooled = np.maximum(pooled, 0)
        colour = _LUMA_BINS + _CHROMA_BINS**2
        first_end = colour + 3 * _SCALES
        first, second = pooled[:, colour:first_end], pooled[:, first_end:-1]
        pairs = [(j1, j2) for j1 in range(_SCALES) for j2 in range(j1 + 1, _SCALES)]
        norm = np.repeat(first[:, [j1 for j1, _ in pairs]], _ORIENTATIONS, axis=1)
        groups = [
            np.sqrt(pooled[:, :_LUMA_BINS]),
            np.sqrt(pooled[:, _LUMA_BINS:colour]),
            np.log1p(first * 200),
            np.log1p(20 * second / (norm + 1e-4)),
        ]
        return np.concatenate(
            [group / (np.linalg.norm(group, axis=1, keepdims=True) + 1e-6) for group in groups], axis=1
        )

    def _scattering(self, opponent: torch.Tensor) -> list[torch.Tensor]:
        first: list[list[torch.Tensor]] = [[], [], []]
        second: list[torch.Tensor] = []
        image = opponent
        waves: list[torch.Tensor] = []
        for scale in range(_SCALES):
            moduli = self._moduli(image)
            for axis in range(3):
                first[axis].append(moduli[:, axis].mean(dim=1, keepdim=True))
            for wave in waves:
                second.append(_by_relative_angle(self._moduli(wave)))
            waves = [F.avg_pool2d(wave, 2) for wave in [*waves, moduli[:, 0]]]
            if scale < _SCALES - 1:
                image = F.avg_pool2d(image, 2)
        ordered = [second[index] for index in _pair_order()]
        count = torch.ones_like(opponent[:, :1])
        return [*(part for axis in first for part in axis), *ordered, count]

    def _moduli(self, maps: torch.Tensor) -> torch.Tensor:
        """|maps * psi_theta| for every map: (n, c, h, w) to (n, c, orientations, h, w)."""
        n, c, h, w = maps.shape
        flat = F.pad(maps.reshape(n * c, 1, h, w), (_KERNEL // 2,) * 4, mode="replicate")
        waves = F.conv2d(flat, self._filters)
        real, imaginary = waves[:, :_ORIENTATIONS], waves[:, _ORIENTATIONS:]
        return torch.sqrt(real**2 + imaginary**2 + 1e-12).reshape(n, c, _ORIENTATIONS, h, w)


def _pair_order() -> list[int]:
    """Second-order maps are computed by their coarser scale; bring them into the order of (j1, j2) with j1 outermost."""
    computed = [(j1, j2) for j2 in range(_SCALES) for j1 in range(j2)]
    return [computed.index((j1, j2)) for j1 in range(_SCALES) for j2 in range(j1 + 1, _SCALES)]


def _by_relative_angle(moduli: torch.Tensor) -> torch.Tensor:
    """Mean over theta1 at each theta2 - theta1: (n, theta1, theta2, h, w) to (n, orientations, h, w)."""
    turned = [moduli[:, theta].roll(-theta, dims=1) for theta in range(_ORIENTATIONS)]
    return torch.stack(turned).mean(dim=0)


def _opponent(rgb: torch.Tensor) -> torch.Tensor:
    """Brightness, red-green and yellow-blue axes, the latter two in about -0.5..0.5."""
    red, green, blue = rgb[:, 0:1], rgb[:, 1:2], rgb[:, 2:3]
    luma = (red + green + blue) / 3
    return torch.cat([luma, (red - green) / 2, (red + green - 2 * blue) / 4], dim=1)


def _colour_bins(opponent: torch.Tensor) -> list[torch.Tensor]:
    luma = _soft_bins(opponent[:, 0:1], 0.0, 1.0, _LUMA_BINS)
    stretched = torch.sign(opponent[:, 1:]) * torch.sqrt(opponent[:, 1:].abs())
    red_green = _soft_bins(stretched[:, 0:1], -0.5, 0.5, _CHROMA_BINS)
    yellow_blue = _soft_bins(stretched[:, 1:2], -0.5, 0.5, _CHROMA_BINS)
    joint = (red_green[:, :, None] * yellow_blue[:, None]).flatten(1, 2)
    return [luma, joint]


def _soft_bins(values: torch.Tensor, low: float, high: float, bins: int) -> torch.Tensor:
    """Linear soft assignment of (n, 1, h, w) to ``bins`` centres: (n, bins, h, w), summing to one."""
    position = ((values - low) / (high - low)).clamp(0, 1) * (bins - 1)
    centres = torch.arange(bins, dtype=values.dtype)[None, :, None, None]
    return (1 - (position - centres).abs()).clamp_min(0)


def _morlet_bank() -> torch.Tensor:
    """Real and imaginary parts of Morlet wavelets of zero mean, shape (2 * orientations, 1, kernel, kernel)."""
    grid = torch.arange(_KERNEL, dtype=torch.float32) - _KERNEL // 2
    y, x = torch.meshgrid(grid, grid, indexing="ij")
    sigma, slant, xi = 1.3, 0.6, 3 * math.pi / 5
    real, imaginary = [], []
    for index in range(_ORIENTATIONS):
        theta = math.pi * index / _ORIENTATIONS
        along, across = x * math.cos(theta) + y * math.sin(theta), y * math.cos(theta) - x * math.sin(theta)
        envelope = torch.exp(-(along**2 + (slant * across) ** 2) / (2 * sigma**2))
        wave = torch.cos(xi * along)
        wave = wave - (wave * envelope).sum() / envelope.sum()
        norm = envelope.sum()
        real.append(wave * envelope / norm)
        imaginary.append(torch.sin(xi * along) * envelope / norm)
    return torch.stack(real + imaginary)[:, None]
