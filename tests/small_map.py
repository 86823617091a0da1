"""Map tiles for tests: which one holds a place, and what its picture shows there."""

from __future__ import annotations

import io

import numpy as np
import pyproj
from numpy.typing import NDArray
from PIL import Image

from workbench.imagery.mercator import WORLD_M
from workbench.imagery.rasters import Raster


def tile_of(raster: Raster, col: float, row: float, z: int) -> tuple[int, int, int, int]:
    """Tile column and row of a raster pixel, and the map pixel's column and row in that tile."""
    to_map = pyproj.Transformer.from_crs(raster.crs, "EPSG:3857", always_xy=True)
    x, y = to_map.transform(*(raster.transform @ (col, row)))
    across, down = (x / WORLD_M + 0.5) * 2**z, (0.5 - y / WORLD_M) * 2**z
    return int(across), int(down), int(across % 1 * 256), int(down % 1 * 256)


def picture(tile: bytes | None) -> NDArray[np.uint8]:
    """A tile as RGBA (256, 256, 4); all transparent when there is none."""
    if tile is None:
        return np.zeros((256, 256, 4), np.uint8)
    return np.asarray(Image.open(io.BytesIO(tile)).convert("RGBA"))
