"""Class probabilities on the map: the colour of the most probable class, the stronger the surer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from workbench.imagery.mercator import Patch
from workbench.imagery.outlines import rgb
from workbench.imagery.pictures import Miniatures
from workbench.imagery.rasters import Raster
from workbench.imagery.xyz import warp

STEPS = 254
"""What a probability of 1 is in a uint8 raster, as `segmentation.predict` writes it."""
_FAINTEST = 0.45


class Probabilities:
    """Draws rasters with a band for each class.

    Args:
        rasters: their bands' names are the classes; uint8 in steps of 1 / `STEPS`, or floats from 0 to 1.
        colours: ``#rrggbb`` of each class.
        threshold: places where no class is at least this probable stay transparent.
    """

    def __init__(self, rasters: Sequence[Raster], colours: Mapping[str, str], threshold: float) -> None:
        self._rasters = tuple(rasters)
        self._threshold = threshold
        self._colours = [np.array([rgb(colours[band.name]) for band in raster.bands], np.uint8) for raster in rasters]
        self._miniatures = Miniatures()

    def draw(self, position: int, patch: Patch) -> NDArray[np.uint8] | None:
        """One raster in a patch, RGBA (rows, cols, 4); None where it has nothing.

        Raises:
            RasterUnreadable: its pixels cannot be read.
        """
        raster = self._rasters[position]
        if Miniatures.are_enough(raster, patch):
            return self._miniatures.draw(
                position, raster, patch, lambda size: self._picture(position, raster.window, size)
            )
        return warp(raster, patch, lambda window, size: self._picture(position, window, size))

    def _picture(self, position: int, window: Window, size: tuple[int, int]) -> NDArray[np.uint8]:
        raster = self._rasters[position]
        pixels = raster.read(window, size=size)
        values = np.ma.getdata(pixels)
        best = values.argmax(axis=0)
        most = values.max(axis=0).astype(np.float32) / (STEPS if values.dtype == np.uint8 else 1)
        shown = (most >= self._threshold) & ~np.ma.getmaskarray(pixels)[0]
        sure = (most - self._threshold) / max(1e-6, 1 - self._threshold)
        alpha = np.where(shown, 255 * (_FAINTEST + (1 - _FAINTEST) * np.clip(sure, 0, 1)), 0)
        return np.dstack([self._colours[position][best], alpha.round().astype(np.uint8)])
