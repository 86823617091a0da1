"""Seeded, seamless noise: the same place has the same noise whichever block asks for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
"""Float arrays; those of pixels are float32."""


class Noise:
    """Two periodic textures with mean 0 and deviation 1: cloudy (all scales) and grainy (a few pixels).

    Args:
        rng: where the randomness comes from.
        size: period in pixels, a power of two.
    """

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self._cloudy = _spectral(rng, size, exponent=1.15)
        self._grainy = _spectral(rng, size, exponent=0.35)
        self._size = size

    def cloudy(self, row: int, col: int, shape: tuple[int, int], offset: int = 0) -> Floats:
        """The window of the cloudy texture at a pixel position; another ``offset`` is another texture."""
        return self._window(self._cloudy, row, col, shape, offset)

    def grainy(self, row: int, col: int, shape: tuple[int, int], offset: int = 0) -> Floats:
        """The window of the grainy texture at a pixel position."""
        return self._window(self._grainy, row, col, shape, offset)

    def at(self, places: Floats, offset: int = 0) -> Floats:
        """The cloudy texture at places (n, 2) in metres, stretched to one texel a metre, shape (n,)."""
        cols, rows = (np.floor(places.T).astype(int) + 311 * offset) % self._size
        return self._cloudy[rows, cols]

    def _window(self, texture: Floats, row: int, col: int, shape: tuple[int, int], offset: int) -> Floats:
        rows = (row + 197 * offset + np.arange(shape[0])) % self._size
        cols = (col + 491 * offset + np.arange(shape[1])) % self._size
        return texture[rows][:, cols]


def lumps(rng: np.random.Generator, size: int, exponent: float) -> Floats:
    """One small texture of its own, shape (size, size), mean 0 and deviation 1."""
    return _spectral(rng, size, exponent)


def _spectral(rng: np.random.Generator, size: int, exponent: float) -> Floats:
    """White noise with its spectrum's amplitude multiplied by frequency ** -exponent."""
    spectrum = np.fft.rfft2(rng.standard_normal((size, size), dtype=np.float32))
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    frequency[0, 0] = np.inf
    texture = np.fft.irfft2(spectrum * frequency**-exponent, s=(size, size))
    return ((texture - texture.mean()) / texture.std()).astype(np.float32)
