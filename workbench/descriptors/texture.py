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
_KERNEL = 7
_LUMA_BINS = 12
_CHROMA_BINS = 7
# (axis, scale) of the first order; cameras and JPEG blur colour, so its finest scale says nothing.
_FIRST = [(axis, scale) for axis in range(3) for scale in range(_SCALES) if axis == 0 or scale > 0]
_PAIRS = [(j1, j2) for j1 in range(_SCALES) for j2 in range(j1 + 1, _SCALES)]


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
    weights_hash = "none-v2"
    stride = 32
    margin = 128
    largest_block = 1024  # its maps of all orientations and scales take a gigabyte
    standardise = True

    def __init__(self) -> None:
        self._filters = _morlet_bank()
        self.dim = _LUMA_BINS + _CHROMA_BINS**2 + len(_FIRST) + len(_PAIRS) * _ORIENTATIONS
        self.preprocessing: dict[str, object] = {"input": "RGB 0..1", "scales": _SCALES, "orientations": _ORIENTATIONS}

    def features(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Per-cell statistics whose mean over any window is the window's.

        Args:
            pixels: RGB in 0..1, shape (3, rows, cols), rows and cols multiples of ``stride``.

        Returns:
            float32 array (dim, rows // stride, cols // stride).
        """
        torch.set_num_threads(cpu_threads())
        with torch.inference_mode():
            opponent = _opponent(torch.from_numpy(pixels)[None])
            parts = [*_colour_histograms(opponent, self.stride), *self._scattering(opponent)]
        return torch.cat(parts)[:, : pixels.shape[1] // self.stride, : pixels.shape[2] // self.stride].numpy()

    def finish(self, pooled: NDArray[np.float32]) -> NDArray[np.float32]:
        """Square roots, logarithms and unit length of each group; (n, raw) to (n, dim), raw == dim here."""
        pooled = np.maximum(pooled, 0)
        colour = _LUMA_BINS + _CHROMA_BINS**2
        first, second = np.split(pooled[:, colour:], [len(_FIRST)], axis=1)
        luma = first[:, [_FIRST.index((0, j1)) for j1, _ in _PAIRS]]
        groups = [
            np.sqrt(pooled[:, :_LUMA_BINS]),
            np.sqrt(pooled[:, _LUMA_BINS:colour]),
            np.log1p(200 * first),
            np.log1p(20 * second / (np.repeat(luma, _ORIENTATIONS, axis=1) + 1e-4)),
        ]
        return np.concatenate(
            [group / (np.linalg.norm(group, axis=1, keepdims=True) + 1e-6) for group in groups], axis=1
        )

    def _scattering(self, opponent: torch.Tensor) -> list[torch.Tensor]:
        """First order in the order of ``_FIRST``, then second order in that of ``_PAIRS``, each (channels, rows, cols)."""
        first: dict[tuple[int, int], torch.Tensor] = {}
        second: dict[tuple[int, int], torch.Tensor] = {}
        image, waves = opponent, dict[int, torch.Tensor]()
        for scale in range(_SCALES):
            cell = self.stride >> scale
            axes = [axis for axis in range(3) if (axis, scale) in _FIRST]
            moduli = self._moduli(image[:, axes])
            for place, axis in enumerate(axes):
                first[axis, scale] = F.avg_pool2d(moduli[:, place], cell)[0].mean(dim=0, keepdim=True)
            for finer, wave in waves.items():
                turned = F.avg_pool2d(self._moduli(wave).flatten(1, 2), cell)[0]
                second[finer, scale] = _by_relative_angle(turned.unflatten(0, (_ORIENTATIONS, _ORIENTATIONS)))
            waves = {finer: F.avg_pool2d(wave, 2) for finer, wave in {**waves, scale: moduli[:, 0]}.items()}
            image = F.avg_pool2d(image, 2)
        return [*(first[key] for key in _FIRST), *(second[pair] for pair in _PAIRS)]

    def _moduli(self, maps: torch.Tensor) -> torch.Tensor:
        """|maps * psi_theta| for every map: (n, c, h, w) to (n, c, orientations, h, w)."""
        n, c, h, w = maps.shape
        flat = F.pad(maps.reshape(n * c, 1, h, w), (_KERNEL // 2,) * 4, mode="replicate")
        waves = F.conv2d(flat, self._filters)
        real, imaginary = waves[:, :_ORIENTATIONS], waves[:, _ORIENTATIONS:]
        return torch.sqrt(real**2 + imaginary**2 + 1e-12).reshape(n, c, _ORIENTATIONS, h, w)


def _by_relative_angle(moduli: torch.Tensor) -> torch.Tensor:
    """Mean over theta1 at each theta2 - theta1: (theta1, theta2, rows, cols) to (orientations, rows, cols)."""
    return torch.stack([moduli[theta].roll(-theta, dims=0) for theta in range(_ORIENTATIONS)]).mean(dim=0)


def _opponent(rgb: torch.Tensor) -> torch.Tensor:
    """Brightness, red-green and yellow-blue axes, the latter two in about -0.5..0.5."""
    red, green, blue = rgb[:, 0:1], rgb[:, 1:2], rgb[:, 2:3]
    luma = (red + green + blue) / 3
    return torch.cat([luma, (red - green) / 2, (red + green - 2 * blue) / 4], dim=1)


def _colour_histograms(opponent: torch.Tensor, cell: int) -> list[torch.Tensor]:
    """Histogram of brightness and joint histogram of both colour axes in each cell, each (bins, rows, cols)."""
    luma = F.avg_pool2d(_soft_bins(opponent[:, :1], 0.0, 1.0, _LUMA_BINS), cell)[0]
    half = F.avg_pool2d(opponent[:, 1:], 2)
    stretched = torch.sign(half) * torch.sqrt(half.abs())
    axes = [_in_cells(_soft_bins(stretched[:, axis : axis + 1], -0.5, 0.5, _CHROMA_BINS), cell // 2) for axis in (0, 1)]
    joint = torch.einsum("yxip,yxjp->ijyx", *axes) / axes[0].shape[-1]
    return [luma, joint.flatten(0, 1)]


def _in_cells(maps: torch.Tensor, cell: int) -> torch.Tensor:
    """(1, channels, h, w) to (h / cell, w / cell, channels, cell * cell)."""
    _, channels, height, width = maps.shape
    parts = maps.reshape(channels, height // cell, cell, width // cell, cell)
    return parts.permute(1, 3, 0, 2, 4).reshape(height // cell, width // cell, channels, cell * cell)


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
