"""A row of bits, which of many slots are held: the n-th held slot and the place of a slot among them, without scanning."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_WORD = 64


class Bitmap:
    """Truth values of slots with a running count every 64 of them (rank and select: Jacobson 1989)."""

    def __init__(self, packed: NDArray[np.uint8], slots: int) -> None:
        """Count the bits.

        Args:
            packed: one bit a slot, the lowest of each byte first, uint8 (ceil(slots / 8),); bits past ``slots`` are 0.
            slots: how many there are.
        """
        padded = np.zeros(-(-len(packed) // 8) * 8, np.uint8)
        padded[: len(packed)] = packed
        self._words = padded.view("<u8")
        self._before = np.zeros(len(self._words) + 1, np.int64)
        np.cumsum(np.bitwise_count(self._words), out=self._before[1:])
        self.packed = padded[: len(packed)]
        self.slots = slots

    def __len__(self) -> int:
        """How many slots are held."""
        return int(self._before[-1])

    def held(self, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each of some slots is held, (m,)."""
        bits = (self._words[slots // _WORD] >> (slots % _WORD).astype(np.uint64)) & np.uint64(1)
        return bits.astype(bool)

    def rank(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many held slots lie before each of some slots, int64 (m,); ``slots`` may be one past the last."""
        words, bits = slots // _WORD, (slots % _WORD).astype(np.uint64)
        below = (np.uint64(1) << bits) - np.uint64(1)
        last = np.minimum(words, len(self._words) - 1)
        partly: NDArray[np.int64] = np.bitwise_count(self._words[last] & below).astype(np.int64)
        return self._before[words] + partly

    def select(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """The slots that are held as the n-th, int64 (m,), from 0."""
        words = np.searchsorted(self._before, numbers, side="right") - 1
        bits = np.unpackbits(self._words[words].view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")
        counted = np.cumsum(bits, axis=1, dtype=np.uint8)
        rest = numbers - self._before[words]
        return words * _WORD + np.argmax(counted > rest[:, None], axis=1)

    def between(self, first: int, last: int) -> NDArray[np.int64]:
        """The slots held as the ``first`` to before the ``last``: as `select`, many times faster for long runs."""
        if first >= last:
            return np.empty(0, np.int64)
        start, stop = self.select(np.array([first, last - 1], np.int64)).tolist()
        bits = np.unpackbits(self.packed[start // 8 : stop // 8 + 1], bitorder="little")
        return np.flatnonzero(bits[start % 8 : stop + 1 - start // 8 * 8]) + start


def pack(held: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Truth values (n,) as the bits that `Bitmap` reads."""
    return np.packbits(held, bitorder="little")
