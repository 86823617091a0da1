"""Small rasters and chips: bright blocks on a dark ground, easy enough for a network of a few steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

CLASSES = [
    {"id": 1, "name": "roof", "colour": "#e6550d"},
    {"id": 2, "name": "pool", "colour": "#3182bd"},
]
GRID = Affine(0.5, 0, 500_000, 0, -0.5, 6_200_000)


def write_raster(path: Path, pixels: NDArray[np.generic], transform: Affine = GRID, **profile: object) -> Path:
    """Write pixels (bands, rows, cols) as a GeoTIFF, in UTM zone 32 unless told otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bands, height, width = pixels.shape
    given = {"crs": "EPSG:32632", "compress": "deflate", "photometric": "MINISBLACK"} | profile
    with rasterio.open(
        path, "w", "GTiff", width, height, bands, dtype=pixels.dtype, transform=transform, **given
    ) as dataset:
        dataset.write(pixels)
    return path


def blocks_image(seed: int, size: int = 64, bands: int = 3) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """An image with bright blocks of class 1, and its mask."""
    random = np.random.default_rng(seed)
    mask = np.kron(random.integers(0, 2, (size // 16, size // 16)), np.ones((16, 16), np.int64)).astype(np.uint8)
    image = np.where(mask, 200, 60) + random.normal(0, 10, (bands, size, size))
    return image.clip(0, 255).astype(np.uint8), mask
