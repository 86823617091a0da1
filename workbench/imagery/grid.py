"""The search grid: which square windows of a raster are tiles, in pixels or in metres; pure arithmetic, no pixels read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from workbench.errors import QueryInvalid
from workbench.imagery.rasters import Raster

TILE_DTYPE = np.dtype([("raster", "<u4"), ("row", "<u4"), ("col", "<u4"), ("size", "<u4")])


@dataclass(frozen=True)
class Tile:
    """One square window of the grid: which raster, its first row and column, and its size in pixels."""

    raster: int
    row: int
    col: int
    size: int

    @property
    def window(self) -> Window:
        """The tile's pixels."""
        return Window(self.col, self.row, self.size, self.size)


@dataclass(frozen=True)
class TileGrid:
    """Where tiles lie: a regular grid from the top left corner, with a last row and column flush to the far edges.

    Attributes:
        tile: tile sizes, in pixels, or in metres when ``resolution_m`` is set.
        stride: distance between neighbouring tiles as a fraction of their size, in (0, 1].
        resolution_m: ground metres of one pixel as the encoder sees it; None: each raster's own pixels.
    """

    tile: tuple[float, ...]
    stride: float = 0.5
    resolution_m: float | None = None

    def __post_init__(self) -> None:
        if not self.tile or min(self.tile) <= 0 or not 0 < self.stride <= 1:
            raise QueryInvalid(
                f"Tiles of {self.tile} with stride {self.stride} make no grid. Give sizes above 0 and a stride in (0, 1]."
            )
        if self.resolution_m is None and any(size != int(size) or size < 16 for size in self.tile):
            raise QueryInvalid(f"Tiles of {self.tile} pixels: expected whole numbers of at least 16.")
        if self.resolution_m is not None and min(self.tile) / self.resolution_m < 16:
            raise QueryInvalid(
                f"A tile of {min(self.tile):g} m is under 16 pixels of {self.resolution_m:g} m. Choose a larger tile_m."
            )

    def scale(self, raster: Raster) -> float:
        """Raster pixels per pixel that the encoder sees."""
        return 1.0 if self.resolution_m is None else self.resolution_m / float(np.mean(raster.pixel_size_m))

    def sizes(self, raster: Raster) -> tuple[int, ...]:
        """Tile sizes in pixels of this raster."""
        metres = self.resolution_m is not None
        pixel = float(np.mean(raster.pixel_size_m)) if metres else 1.0
        return tuple(max(1, round(size / pixel)) for size in self.tile)

    def starts(self, length: int, size: int) -> NDArray[np.int64]:
        """First pixels of the tiles of one size along one axis of ``length`` pixels."""
        step = max(1, round(size * self.stride))
        starts = np.arange(0, max(1, length - size + 1), step, dtype=np.int64)
        last = max(0, length - size)
        return starts if starts[-1] == last else np.append(starts, last)

    def count(self, raster: Raster) -> int:
        """Number of tiles of all sizes on a raster, those without data included."""
        return sum(
            len(self.starts(raster.height, size)) * len(self.starts(raster.width, size)) for size in self.sizes(raster)
        )


def tile_size_m(raster: Raster, size: int) -> tuple[float, float]:
    """Width and height of a tile on the ground, in metres."""
    x, y = raster.pixel_size_m
    return size * x, size * y
