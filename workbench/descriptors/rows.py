"""Rows of descriptors over several memory-mapped parts, never joined: only what is asked for is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import DTypeLike, NDArray

_CHUNK = 16_384


class Rows:
    """Descriptors float16 (n, dim) that may be larger than memory.

    A slice that lies in one part is a view of it, anything else a copy; ``np.asarray`` reads all, so keep it for small
    archives.
    """

    def __init__(self, parts: Sequence[NDArray[np.float16]], dim: int) -> None:
        """Lay parts (n_i, dim) after one another; empty ones are left out."""
        self._parts = [np.asarray(part) for part in parts if len(part)]
        self._ends = np.cumsum([len(part) for part in self._parts], dtype=np.int64)
        self.shape = (int(self._ends[-1]) if self._parts else 0, dim)
        self.dtype = np.dtype(np.float16)
        self.ndim = 2

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[NDArray[np.float16]]:
        for part in self._parts:
            yield from part

    @overload
    def __getitem__(self, rows: int | np.integer[Any]) -> NDArray[np.float16]: ...
    @overload
    def __getitem__(self, rows: slice | Sequence[int] | NDArray[Any]) -> NDArray[np.float16]: ...
    def __getitem__(self, rows: int | np.integer[Any] | slice | Sequence[int] | NDArray[Any]) -> NDArray[np.float16]:
        """One row (dim,), or several (m, dim): by number, slice, numbers, or a truth value for each row.

        Raises:
            IndexError: there is no such row.
        """
        if isinstance(rows, slice):
            return self._between(*rows.indices(len(self)))
        numbers = np.asarray(rows)
        if numbers.dtype == bool:
            if numbers.shape != (len(self),):
                raise IndexError(f"{numbers.shape} truth values for {len(self)} rows")
            numbers = np.flatnonzero(numbers)
        if numbers.ndim == 0:
            return self._gather(numbers[None])[0]
        return self._gather(numbers)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        whole = self[:]
        return whole.astype(dtype or whole.dtype, copy=bool(copy))

    def chunks(self, rows: int = _CHUNK) -> Iterator[tuple[int, NDArray[np.float16]]]:
        """First row number and at most ``rows`` rows (m, dim) at a time, as views: nothing is copied."""
        start = 0
        for part in self._parts:
            for first in range(0, len(part), rows):
                yield start + first, part[first : first + rows]
            start += len(part)

    def _between(self, start: int, stop: int, step: int) -> NDArray[np.float16]:
        place = int(np.searchsorted(self._ends, start, side="right"))
        if step == 1 and start < stop and stop <= self._ends[place]:
            first = int(self._ends[place]) - len(self._parts[place])
            return self._parts[place][start - first : stop - first]
        return self._gather(np.arange(start, stop, step, dtype=np.int64))

    def _gather(self, numbers: NDArray[Any]) -> NDArray[np.float16]:
        found = np.empty((len(numbers), self.shape[1]), np.float16)
        if not len(numbers):
            return found
        numbers = np.where(numbers < 0, numbers.astype(np.int64) + len(self), numbers.astype(np.int64))
        if numbers.min() < 0 or numbers.max() >= len(self):
            raise IndexError(f"rows {numbers.min()} to {numbers.max()} of {len(self)}")
        places = np.searchsorted(self._ends, numbers, side="right")
        order = np.argsort(places, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(places[order])) + 1):
            place = int(places[group[0]])
            part = self._parts[place]
            found[group] = part[numbers[group] - (int(self._ends[place]) - len(part))]
        return found
