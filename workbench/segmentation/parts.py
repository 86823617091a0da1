"""A prediction under way on disk: strips of pixels, each complete or absent, so that a killed one goes on where it stopped."""

from __future__ import annotations

import re
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from rasterio.windows import Window

from workbench.errors import RasterUnreadable
from workbench.files import write_bytes

_NAME = re.compile(r"(\d+)-(\d+)-(\d+)-(\d+)\.z")
_QUICK = 1


class Parts:
    """The strips of one file to be, in a hidden folder beside it; a strip's existence is its commit.

    Args:
        target: the file.
        key: names everything that its values depend on: strips of another key are none of these.
        bands: of each strip.
        dtype: of its values.
    """

    def __init__(self, target: Path, key: str, bands: int, dtype: DTypeLike) -> None:
        self._beside = target.parent, f".{target.stem[:60]}."
        self.folder = target.parent / f".{target.stem[:60]}.{key[:16]}.parts"
        self._bands, self._dtype = bands, np.dtype(dtype)

    def add(self, window: Window, values: NDArray[Any]) -> None:
        """Bring a strip (bands, rows, cols) to disk.

        Raises:
            DiskFull: there is no room.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        write_bytes(self._path(window), zlib.compress(np.ascontiguousarray(values, self._dtype).tobytes(), _QUICK))

    def left(self, area: Window) -> Window | None:
        """What of an area is not there yet, when its strips are written from the top; None when all are."""
        heights = {each.row_off: each.height for each in self._windows() if self._spans(each, area)}
        row, end = area.row_off, area.row_off + area.height
        while row in heights:
            row += heights[row]
        return None if row >= end else Window(area.col_off, row, area.width, end - row)

    def read(self) -> Iterator[tuple[Window, NDArray[Any]]]:
        """All strips, from the top.

        Raises:
            RasterUnreadable: one is damaged; it is taken away, so that the next call makes it again.
        """
        for window in sorted(self._windows(), key=lambda each: (each.row_off, each.col_off)):
            shape = self._bands, window.height, window.width
            try:
                values = np.frombuffer(zlib.decompress(self._path(window).read_bytes()), self._dtype).reshape(shape)
            except (OSError, ValueError, zlib.error) as error:
                self._path(window).unlink(missing_ok=True)
                raise RasterUnreadable(
                    f"A part of the prediction, {self._path(window)}, is damaged ({error}). Run the same call again: what "
                    "follows it is made anew."
                ) from error
            yield window, values

    def clear(self) -> None:
        """Take away these strips, and what earlier calls with other settings left of the same file."""
        folder, start = self._beside
        for each in folder.glob(f"{start}*.parts") if folder.is_dir() else ():
            shutil.rmtree(each, ignore_errors=True)

    def _windows(self) -> list[Window]:
        names = [_NAME.fullmatch(path.name) for path in self.folder.iterdir()] if self.folder.is_dir() else []
        return [Window(*map(int, name.groups())) for name in names if name]

    def _path(self, window: Window) -> Path:
        return self.folder / f"{window.col_off}-{window.row_off}-{window.width}-{window.height}.z"

    @staticmethod
    def _spans(strip: Window, area: Window) -> bool:
        return bool((strip.col_off, strip.width) == (area.col_off, area.width))
