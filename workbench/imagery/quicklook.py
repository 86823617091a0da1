"""A small copy of a raster for low zooms, so that imagery without overviews is as quick to look at as any."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import Resampling
from rasterio.windows import Window

from workbench.files import atomic_write
from workbench.imagery.rasters import Raster, blocks
from workbench.imagery.render import Stretch, render
from workbench.jobs import Progress

FACTOR = 4
_BLOCK = 2048


def write_quicklook(raster: Raster, stretch: Stretch, path: Path, progress: Progress) -> Path:
    """Write a raster at a quarter of its resolution as an RGB GeoTIFF with overviews down to 1/256 and a mask.

    Pixels are stretched as recorded, so the picture is what the encoder saw. Read and written block by block.
    """
    rows, cols = -(-raster.height // FACTOR), -(-raster.width // FACTOR)
    profile = {
        "driver": "GTiff",
        "width": cols,
        "height": rows,
        "count": 3,
        "dtype": "uint8",
        "crs": raster.crs,
        "transform": raster.transform @ Affine.scale(FACTOR),
        "tiled": True,
        "blockxsize": 256,
        "blockysize": 256,
        "compress": "deflate",
        "predictor": 2,
        "photometric": "RGB",
    }
    with atomic_write(path) as aside, rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True, GDAL_CACHEMAX=128):
        with rasterio.open(aside, "w", **profile) as picture:
            for window in blocks(raster, _BLOCK):
                small = Window(window.col_off // FACTOR, window.row_off // FACTOR, *_small(window))
                rgba = render(raster, window, (small.height, small.width), stretch)
                picture.write(np.moveaxis(rgba[..., :3], 2, 0), window=small)
                picture.write_mask(rgba[..., 3], window=small)
                progress.check()
        with rasterio.open(aside, "r+") as picture:
            picture.build_overviews(
                [factor for factor in (2, 4, 8, 16, 32, 64) if factor < max(rows, cols)], Resampling.average
            )
    return path


def _small(window: Window) -> tuple[int, int]:
    return -(-window.width // FACTOR), -(-window.height // FACTOR)
