"""A function of small windows applied to an area of any size, without seams and in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from workbench.errors import ShapeMismatch
from workbench.jobs import Progress

Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""From windows (n, bands, size, size) to values (n, classes, size, size)."""

Reader = Callable[[Window], tuple[NDArray[np.float32], NDArray[np.bool_]]]
"""From a window, which may reach outside, to its network input (bands, rows, cols) and where there are data (rows, cols)."""

_AT_ONCE = 4
_PIXELS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Windows:
    """A fixed grid of overlapping square windows over the plane, and the weights that blend them.

    Window (i, j) starts at pixel ``i * step - overlap / 2``, wherever the area begins that is asked for: a pixel's value
    does not depend on it. Along each axis a window's weight is 0 on the outer quarter of an overlap, where a
    convolution sees the window's edge, rises as a raised cosine over its middle half, and is 1 inside. The weights of
    neighbours add up to 1, so no division is needed.

    Attributes:
        size: side of a window in pixels.
        overlap: pixels that neighbours share, a multiple of 4, at most half of ``size``.
    """

    size: int = 512
    overlap: int = 128

    def __post_init__(self) -> None:
        if self.size < 1 or self.overlap % 4 or not 0 <= self.overlap <= self.size // 2:
            raise ShapeMismatch(
                f"Windows of {self.size} px with an overlap of {self.overlap} px cannot be blended. "
                "Give an overlap that is a multiple of 4 and at most half of the window."
            )

    @property
    def step(self) -> int:
        """Pixels from one window to the next."""
        return self.size - self.overlap

    def start(self, number: int) -> int:
        """First pixel of a window along one axis."""
        return number * self.step - self.overlap // 2

    def touching(self, first: int, last: int) -> range:
        """Numbers of the windows with a weight in the pixels ``first`` to ``last - 1``."""
        reach = self.overlap // 4
        return range((first - reach) // self.step, (last - 1 + reach) // self.step + 1)

    def count(self, area: Window) -> int:
        """How many windows an area needs."""
        rows = self.touching(area.row_off, area.row_off + area.height)
        return len(rows) * len(self.touching(area.col_off, area.col_off + area.width))

    def weights(self) -> NDArray[np.float32]:
        """Weight of each pixel of a window, shape (size, size)."""
        quarter = self.overlap // 4
        ramp = np.sin(np.pi / 2 * (np.arange(2 * quarter) + 0.5) / max(1, 2 * quarter)) ** 2
        inside = np.ones(self.size - 2 * self.overlap + 2 * quarter)
        along = np.concatenate([np.zeros(quarter), ramp, inside, ramp[::-1], np.zeros(quarter)])
        return np.outer(along, along).astype(np.float32)


def blend(
    read: Reader, network: Network, classes: int, area: Window, windows: Windows, progress: Progress
) -> Iterator[tuple[Window, NDArray[np.float32], NDArray[np.bool_]]]:
    """Apply a network to an area, strip by strip from the top.

    Windows without data are not given to the network. Two rows of windows are in memory at a time: the next one is read
    while the network is at work.

    Args:
        read: gives the pixels.
        network: applied to a few windows at once.
        classes: how many values it gives a pixel.
        area: whole pixels.
        windows: the grid to use.
        progress: advanced by windows.

    Yields:
        Strips that cover the area once: the window, the values (classes, rows, cols), 0 where there are no data, and
        where there are data (rows, cols).
    """
    top, bottom, left, right = area.row_off, area.row_off + area.height, area.col_off, area.col_off + area.width
    columns = windows.touching(left, right)
    origin = windows.start(columns[0])
    width = (len(columns) - 1) * windows.step + windows.size
    weights, values = windows.weights(), np.zeros((classes, windows.size, width), np.float32)
    rows = windows.touching(top, bottom)
    with ThreadPoolExecutor(1, "reading ahead") as ahead:

        def begin(row: int) -> Future[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
            return ahead.submit(read, Window(origin, windows.start(row), width, windows.size))

        coming = begin(rows[0])
        for row in rows:
            first = windows.start(row)
            pixels, known = coming.result()
            if row + 1 in rows:
                coming = begin(row + 1)
            _add_row(values, pixels, known, network, weights, windows.step, progress)
            until = min(bottom, first + windows.size - 3 * windows.overlap // 4)
            since = max(top, first + windows.overlap // 4)
            # Rows above ``until`` get no weight from the next row of windows: they are complete.
            if until > since:
                part = np.s_[..., since - first : until - first, left - origin : right - origin]
                yield Window(left, since, area.width, until - since), values[part] * known[part], known[part]
            values[:, : windows.overlap] = values[:, windows.step :]
            values[:, windows.overlap :] = 0


def _add_row(
    values: NDArray[np.float32],
    pixels: NDArray[np.float32],
    known: NDArray[np.bool_],
    network: Network,
    weights: NDArray[np.float32],
    step: int,
    progress: Progress,
) -> None:
    """Add the weighted network output of one row of windows to the strip ``values``."""
    size = len(weights)
    starts = range(0, values.shape[2] - size + 1, step)
    useful = [start for start in starts if (known[:, start : start + size] & (weights > 0)).any()]
    progress.advance(len(starts) - len(useful))
    at_once = max(1, min(_AT_ONCE, _PIXELS_AT_ONCE // size**2))
    for chunk in range(math.ceil(len(useful) / at_once)):
        some = useful[chunk * at_once : (chunk + 1) * at_once]
        output = network(np.stack([pixels[:, :, start : start + size] for start in some]))
        for start, value in zip(some, output, strict=True):
            values[:, :, start : start + size] += value * weights
        progress.advance(len(some))
