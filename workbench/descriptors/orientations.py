"""The mean of an encoder's features over the eight orientations of a square: the same for a scene however it lies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.encoders import ORIENTATIONS, Encoder
from workbench.errors import QueryInvalid

COUNTS = (1, 4, 8)
_LARGEST_BLOCK = 2048


class Oriented:
    """An encoder whose map is the mean of the maps of the turned block, each turned back.

    A sum over a group of orientations does not change when the block is turned by one of them: a tile and the same
    ground turned by 90 degrees, or mirrored too where there are eight, have one descriptor, but for rounding.

    Args:
        encoder: to run once an orientation.
        orientations: 4 (turned by 0, 90, 180, 270 degrees) or 8 (also mirrored).

    Raises:
        QueryInvalid: another number.
    """

    def __init__(self, encoder: Encoder, orientations: int) -> None:
        if orientations not in COUNTS[1:]:
            raise QueryInvalid(f"Cannot average over {orientations!r} orientations. Choose 1, 4 or 8.")
        self._encoder, self._count = encoder, orientations
        self.name, self.weights_hash, self.dim = encoder.name, encoder.weights_hash, encoder.dim
        self.stride, self.margin, self.standardise = encoder.stride, encoder.margin, encoder.standardise
        self.takes_bytes: bool = getattr(encoder, "takes_bytes", False)
        self.largest_block = min(_LARGEST_BLOCK, getattr(encoder, "largest_block", _LARGEST_BLOCK))
        self.preprocessing: dict[str, object] = {**encoder.preprocessing, ORIENTATIONS: orientations}

    def features(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """The mean map, (3, rows, cols) to (raw, rows / stride, cols / stride)."""
        total = self._encoder.features(pixels)
        for number in range(1, self._count):
            total = total + back(self._encoder.features(np.ascontiguousarray(turn(pixels, number))), number)
        return total / np.float32(self._count)

    def finish(self, pooled: NDArray[np.float32]) -> NDArray[np.float32]:
        """As the encoder's own."""
        return self._encoder.finish(pooled)


def turn(pixels: NDArray[np.float32], number: int) -> NDArray[np.float32]:
    """One of the eight orientations of (..., rows, cols): quarter turns, from the fourth on of the mirrored picture."""
    mirrored = pixels[..., ::-1] if number >= 4 else pixels
    return np.rot90(mirrored, number % 4, axes=(-2, -1))


def back(cells: NDArray[np.float32], number: int) -> NDArray[np.float32]:
    """What undoes `turn`."""
    turned = np.rot90(cells, -(number % 4), axes=(-2, -1))
    return turned[..., ::-1] if number >= 4 else turned
