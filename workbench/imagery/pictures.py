"""The pixels of many rasters for the map, under one stretch; each raster's small picture is kept in memory for low zooms."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from workbench.errors import QueryInvalid
from workbench.imagery.mercator import Patch
from workbench.imagery.rasters import Raster
from workbench.imagery.render import Stretch, display_bands, percentile_stretch, render, sample
from workbench.imagery.xyz import nearest, paint_raster, quicklook_raster, quicklook_stretch

STRETCHES = ("as searched", "2-98 %", "full range")
"""Ways to show pixels: as the archive was built, from the 2nd to the 98th percentile of each band, or from least to most."""

_ENDS = {"2-98 %": (2.0, 98.0), "full range": (0.0, 100.0)}
_SMALL = 128
_SMALL_BYTES = 48_000_000


class Miniatures:
    """Small pictures of whole rasters and their halved copies, so that a view of hundreds opens no file twice."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, list[NDArray[np.uint8]]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def draw(
        self, position: int, raster: Raster, patch: Patch, whole: Callable[[tuple[int, int]], NDArray[np.uint8]]
    ) -> NDArray[np.uint8] | None:
        """A raster in a patch in which it is small (see `are_enough`), RGBA (rows, cols, 4); None where it has nothing.

        Args:
            position: of the raster: the name of its picture here.
            raster: to draw.
            patch: of the map tile.
            whole: makes the picture of all of it at a size (rows, cols).
        """
        with self._lock:
            copies = self._kept.get(position)
            if copies is not None:
                self._kept.move_to_end(position)
        if copies is None:
            copies = self._keep(position, _halved(whole(_size(raster))))
        # The smallest copy that is not coarser than the map.
        side = max(1.0, max(raster.width, raster.height) / patch.scale)
        level = int(math.log2(max(copies[0].shape[:2]) / side)) if side < max(copies[0].shape[:2]) else 0
        return nearest(copies[min(level, len(copies) - 1)], raster, patch)

    @staticmethod
    def are_enough(raster: Raster, patch: Patch) -> bool:
        """Whether a raster is so small on the map that its picture shows all there is to see."""
        return max(raster.width, raster.height) / patch.scale <= _SMALL

    def _keep(self, position: int, copies: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
        with self._lock:
            if position not in self._kept:
                self._kept[position] = copies
                self._bytes += sum(picture.nbytes for picture in copies)
            while self._bytes > _SMALL_BYTES and len(self._kept) > 1:
                _, old = self._kept.popitem(last=False)
                self._bytes -= sum(picture.nbytes for picture in old)
        return copies


@dataclass(frozen=True)
class _Shown:
    """How one raster is shown: its stretch, and its small copy on disk with the stretch of that."""

    stretch: Stretch
    quick: tuple[Raster, Stretch] | None


class Pictures:
    """Draws an archive's rasters under one stretch.

    Args:
        rasters: to draw.
        recorded: the stretch that each was searched with, and its small copy made.
        quicklooks: the small copies, None where there is none.
        stretch: one of `STRETCHES`.

    Raises:
        QueryInvalid: no such stretch.
    """

    def __init__(
        self,
        rasters: Sequence[Raster],
        recorded: Sequence[Stretch],
        quicklooks: Sequence[Path | None],
        stretch: str = STRETCHES[0],
    ) -> None:
        if stretch not in STRETCHES:
            raise QueryInvalid(f"There is no stretch {stretch!r}. Choose one of {', '.join(STRETCHES)}.")
        self.stretch = stretch
        self._rasters, self._recorded, self._quicklooks = tuple(rasters), tuple(recorded), tuple(quicklooks)
        self._shown: dict[int, _Shown] = {}
        self._miniatures = Miniatures()

    def draw(self, position: int, patch: Patch) -> NDArray[np.uint8] | None:
        """One raster in a patch, RGBA (rows, cols, 4); None where it has nothing.

        Raises:
            RasterUnreadable: its pixels cannot be read.
        """
        raster = self._rasters[position]
        shown = self._shown.get(position)
        if shown is None:
            shown = self._shown[position] = self._choose(position)
        if not Miniatures.are_enough(raster, patch):
            return paint_raster(raster, patch, shown.stretch, shown.quick)
        source, stretch = shown.quick or (raster, shown.stretch)
        return self._miniatures.draw(position, raster, patch, lambda size: render(source, source.window, size, stretch))

    def _choose(self, position: int) -> _Shown:
        raster, recorded, path = self._rasters[position], self._recorded[position], self._quicklooks[position]
        quick = None if path is None else quicklook_raster(raster, path)
        if self.stretch not in _ENDS:
            return _Shown(recorded, quick)
        bands = display_bands(raster)
        if quick is not None and raster.dtype == "uint8":
            # The small copy holds the pixels' own values: the sample need not read the raster.
            wanted, places = percentile_stretch(sample(quick[0]), *_ENDS[self.stretch]), (0, 1, 2)
        else:
            wanted, places = percentile_stretch(sample(raster), *_ENDS[self.stretch]), bands
        low, high = list(recorded.low), list(recorded.high)
        for band, place in zip(bands, places, strict=True):
            low[band], high[band] = wanted.low[place], wanted.high[place]
        stretch = Stretch(tuple(low), tuple(high))
        return _Shown(stretch, quick and (quick[0], quicklook_stretch(raster, recorded, stretch)))


def _size(raster: Raster) -> tuple[int, int]:
    shrink = max(1.0, max(raster.width, raster.height) / _SMALL)
    return max(1, round(raster.height / shrink)), max(1, round(raster.width / shrink))


def _halved(rgba: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """A picture and its copies at half the size each, down to one pixel.

    Half of a pixel or more must be shown for the whole of it to be; it is as opaque as what is shown of it.
    """
    copies = [rgba]
    while max(copies[-1].shape[:2]) > 1:
        before = Image.fromarray(copies[-1])
        small = np.array(before.convert("RGBa").reduce(2).convert("RGBA"))
        shown = np.asarray(Image.fromarray(np.where(copies[-1][..., 3] > 0, 255, 0).astype(np.uint8)).reduce(2))
        opaque = small[..., 3] * 255.0 / np.maximum(shown, 1)
        small[..., 3] = np.where(shown >= 127, np.minimum(255, opaque.round()), 0)
        copies.append(small)
    return copies
