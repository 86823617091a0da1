"""Masks kept as pictures: a number a pixel, or a colour a class; which file means what is decided elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from workbench.errors import RasterUnreadable
from workbench.imagery.opening import open_imagery

_TIFF = (".tif", ".tiff")


@dataclass(frozen=True)
class MaskPictures:
    """How the pixels of mask files become class numbers.

    Attributes:
        values: number in the mask (0 background, 1..n, 255 ignore) by the file's value; None: they are the numbers.
            Values that are not named become 255: nobody said what they are.
        colours: the file's values are colours, as 65536 red + 256 green + blue.
    """

    values: Mapping[int, int] | None = None
    colours: bool = False

    def read(self, path: Path, image: str) -> NDArray[np.uint8]:
        """The mask at a path, uint8 (rows, cols); ``image`` names its chip and is not needed here.

        Raises:
            RasterUnreadable: the file is missing or damaged, or is no mask.
        """
        if self.values is None and path.suffix.lower() in _TIFF:
            return np.ma.getdata(open_imagery(path)[0].read())[0].astype(np.uint8)
        return self.numbers(read_values(path, self.colours))

    def numbers(self, found: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Class numbers of a file's values, same shape."""
        if self.values is None:
            return found.astype(np.uint8)
        known, inverse = np.unique(found, return_inverse=True)
        numbers = np.array([self.values.get(int(value), 255) for value in known], np.uint8)
        return numbers[inverse.reshape(found.shape)]


def read_values(path: Path, colours: bool) -> NDArray[np.int64]:
    """What a mask picture holds for each pixel: its value or palette index, or its colour, (rows, cols).

    Raises:
        RasterUnreadable: the file is missing or damaged, or is no mask.
    """
    try:
        with Image.open(path) as picture:
            if colours:
                rgb = np.asarray(picture.convert("RGB"), np.int64)
                return np.asarray(rgb @ np.array([65536, 256, 1]), np.int64)
            pixels = np.asarray(picture)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RasterUnreadable(f"{path.name} cannot be read as a mask ({str(error)[:200]}). Copy it again.") from error
    if pixels.ndim != 2 or pixels.dtype.kind not in "ui b":
        raise RasterUnreadable(
            f"{path.name} has {1 if pixels.ndim == 2 else pixels.shape[2]} bands of {pixels.dtype}. A mask has one band "
            "of whole numbers; if its classes are colours, name them with classes=."
        )
    return pixels.astype(np.int64)


def palette_of(path: Path) -> dict[int, str]:
    """The colours ``#rrggbb`` of a picture's palette by index; empty when it has none."""
    try:
        with Image.open(path) as picture:
            flat = picture.getpalette() or []
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return {}
    return {place // 3: "#{:02x}{:02x}{:02x}".format(*flat[place : place + 3]) for place in range(0, len(flat) - 2, 3)}
