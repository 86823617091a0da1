"""A quick encoder of the user's own, small imagery, and what an archive's folder holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from small_rasters import patchwork, write_raster

from workbench.descriptors.archive import Archive
from workbench.imagery.opening import open_imagery
from workbench.imagery.rasters import Imagery


class MeanColour:
    """Mean and mean square of each colour in cells of 16 pixels: all that the `Encoder` protocol asks for, and no more."""

    name = "mean colour"
    weights_hash = "none"
    dim = 6
    stride = 16
    margin = 0
    standardise = False
    preprocessing: dict[str, object] = {"cell": 16}  # noqa: RUF012

    def features(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        bands, rows, cols = pixels.shape
        cells = pixels.reshape(bands, rows // 16, 16, cols // 16, 16)
        return np.concatenate([cells.mean(axis=(2, 4)), (cells**2).mean(axis=(2, 4))])

    def finish(self, pooled: NDArray[np.float32]) -> NDArray[np.float32]:
        return pooled


def small_imagery(folder: Path, names: tuple[str, ...] = ("north.tif", "south.tif"), size: int = 320) -> Imagery:
    for number, name in enumerate(names):
        tiles = {"tiled": True, "blockxsize": 64, "blockysize": 64}
        write_raster(folder / name, patchwork(size, size, seed=number), **tiles)
    return open_imagery(folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows_of(archive: Archive) -> dict[tuple[str, int, int, int], bytes]:
    """Each tile's descriptor by raster name and window."""
    return {
        (archive.imagery[tile["raster"]].name, int(tile["row"]), int(tile["col"]), int(tile["size"])): raw.tobytes()
        for tile, raw in zip(archive.tiles, archive.raw, strict=True)
    }
