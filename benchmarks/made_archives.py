"""Archives of made tiles: codes or descriptors written as a build would leave them, on a raster that holds no pixels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from made_tiles import Pattern, Recipe, made_codes
from numpy.typing import NDArray

from workbench.descriptors.archive import Archive
from workbench.descriptors.centring import Centring, centring_name, save_centring
from workbench.descriptors.codes.packed import codes_name
from workbench.descriptors.codes.saved import save_codes
from workbench.descriptors.codes_only import write_codes_only
from workbench.descriptors.derived import FOLDER
from workbench.descriptors.manifest import Manifest, describe_raster, write_manifest
from workbench.descriptors.parts import Merged, Part, descriptors_path, part_name, write_part
from workbench.descriptors.tiles import GridTiles
from workbench.files import atomic_write, ends_crc
from workbench.imagery.grid import TileGrid
from workbench.imagery.opening import open_imagery
from workbench.imagery.render import Stretch

_SIDE = 16
_PIXEL_M = 0.5


def described_archive(folder: Path, like: Archive, pattern: Pattern, recipe: Recipe, count: int) -> Path:
    """An archive of ``count`` tiles with descriptors, centred and coded as another; kept where it is there already."""
    if not (folder / "manifest.json").is_file():
        manifest = laid_out(folder, like, count)
        grid = GridTiles(manifest)
        merged = []
        for batch in manifest.batches():
            slots = grid.block_slots(batch.raster, batch.first, batch.last)
            size = slots.stop - slots.start
            merged.append(Merged(batch, manifest.rasters[0].content, size, size, 0))
        path = descriptors_path(folder, part_name(merged))
        rows = (raw_of(part, like.centring) for part in pattern.made(recipe, count))
        write_rows(path, rows, (count, like.manifest.dim), np.dtype(np.float16))
        write_part(folder, Part(tuple(merged), None, ends_crc(path)))
        version, derived = manifest.centring, folder / FOLDER
        derived.mkdir(exist_ok=True)
        save_centring(derived / centring_name(version), like.centring)
        save_codes(like.code_model, derived / codes_name(version, "safetensors"))
        write_manifest(folder, manifest)
    return folder


def coded_archive(folder: Path, like: Archive, pattern: Pattern, recipe: Recipe, count: int) -> Path:
    """An archive of ``count`` tiles that has codes only; kept where it is there already."""
    if not (folder / "manifest.json").is_file():
        manifest = laid_out(folder, like, count)
        codes = made_codes(pattern, recipe, count)
        write_codes_only(folder, manifest, GridTiles(manifest), codes, like.centring, like.code_model)
    return folder


def laid_out(folder: Path, like: Archive, count: int) -> Manifest:
    """The manifest of ``count`` tiles of 16 pixels side by side on one raster, of which nothing but the header is written."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = next(side for side in range(int(count**0.5), 0, -1) if count % side == 0)
    raster = open_imagery(empty_raster(folder / "ground.tif", rows * _SIDE, count // rows * _SIDE))[0]
    grid = TileGrid((float(_SIDE),), 1.0)
    entry = describe_raster(raster, grid, Stretch((0.0,), (255.0,)))
    return replace(like.manifest, grid=grid, rasters=(entry,), complete=True)


def empty_raster(path: Path, height: int, width: int) -> Path:
    """A GeoTIFF in UTM zone 33 north that stores no pixels."""
    if not path.is_file():
        tiled = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "sparse_ok": True}
        place = Affine(_PIXEL_M, 0, 400_000, 0, -_PIXEL_M, 5_600_000)
        shape = {"height": height, "width": width, "count": 1, "dtype": "uint8"}
        with (
            atomic_write(path) as aside,
            rasterio.open(aside, "w", driver="GTiff", crs="EPSG:32633", transform=place, **shape, **tiled),
        ):
            pass
    return path


def raw_of(vectors: NDArray[np.float32], centring: Centring) -> NDArray[np.float16]:
    """Descriptors as they would have been before centring."""
    return (vectors * centring.scale + centring.mean).astype(np.float16)


def write_rows(path: Path, parts: Iterator[NDArray], shape: tuple[int, int], dtype: np.dtype) -> None:  # type: ignore[type-arg]
    """An array of ``shape`` in a ``.npy`` file, from parts that follow one another."""
    with atomic_write(path) as aside, aside.open("wb") as file:
        about = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, about)
        for part in parts:
            file.write(np.ascontiguousarray(part).data)


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def drop_from_memory(folder: Path) -> bool:
    """Ask the system to forget what it holds of a folder's files, so that they are read from the disk; whether it can."""
    if not hasattr(os, "posix_fadvise"):
        return False
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)  # pages that are not on disk yet cannot be forgotten
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)
    return True
