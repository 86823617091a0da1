"""Small rasters written for the tests, and what they look like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

HALF_METRE = Affine(0.5, 0, 574_000, 0, -0.5, 6_222_000)


def patchwork(
    rows: int = 256, cols: int = 256, bands: int = 3, *, seed: int = 0, patch: int = 32, dtype: str = "uint8"
) -> NDArray[Any]:
    """Patches of one colour each with some noise, (bands, rows, cols): every place has a look of its own."""
    chance = np.random.default_rng(seed)
    coarse = chance.uniform(30, 220, (bands, -(-rows // patch), -(-cols // patch)))
    fine = np.kron(coarse, np.ones((patch, patch)))[:, :rows, :cols]
    return np.asarray(np.clip(fine + chance.normal(0, 8, fine.shape), 1, 250).astype(dtype))


def write_raster(
    path: Path,
    pixels: NDArray[Any],
    *,
    crs: str | None = "EPSG:32632",
    transform: Affine = HALF_METRE,
    nodata: float | None = None,
    mask: NDArray[np.bool_] | None = None,
    alpha: bool = False,
    names: tuple[str, ...] = (),
    **profile: Any,
) -> Path:
    """Write (bands, rows, cols) as a GeoTIFF; ``mask`` is true where there are data; ``alpha``: the last band is alpha."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bands, rows, cols = pixels.shape
    written = {"driver": "GTiff", "compress": "deflate", **profile}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path,
            "w",
            width=cols,
            height=rows,
            count=bands,
            dtype=pixels.dtype,
            crs=crs,
            transform=transform,
            nodata=nodata,
            **written,
        ) as file,
    ):
        if alpha:
            file.colorinterp = [*file.colorinterp[:-1], ColorInterp.alpha]
        file.write(pixels)
        for number, name in enumerate(names, 1):
            file.set_band_description(number, name)
        if mask is not None:
            file.write_mask(np.where(mask, 255, 0).astype(np.uint8))
    return path
