"""Tiles that came with imported descriptors: what stands for their raster, and their outlines, which lie on no pixel grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from workbench.errors import ArchiveInvalid
from workbench.files import atomic_write, ends_crc
from workbench.imagery.rasters import Raster

OUTLINE_DTYPE = np.dtype([("corners", "<f8", (4, 2)), ("row", "<u8")])
"""Corners of a tile (x, y) in the CRS of what stands for its raster, and its row in the file it came from."""


@dataclass(frozen=True)
class Imported:
    """What stands for a raster under imported descriptors: a grid of pixels in a CRS, fine enough to tell tiles apart.

    A tile's row, column and size are rounded to these pixels, of which a typical tile has 256 on a side; its outline is
    kept as it came.

    Attributes:
        source: fingerprint of the file that the descriptors came from.
        crs: ``EPSG:...`` or WKT.
        transform: from pixel (col, row) to the CRS's (x, y), as the six numbers of an affine.
        tiles: how many there are.
        batches: files they are in.
        outlines_crc: checksum of the outlines' file.
    """

    source: str
    crs: str
    transform: tuple[float, ...]
    tiles: int
    batches: int
    outlines_crc: int

    def raster(self, name: str, fingerprint: str, width: int, height: int) -> Raster:
        """A raster in this place that has no pixels."""
        return Raster(name, (), width, height, "uint8", Affine(*self.transform), self.crs, None, fingerprint)


class OutlineWriter:
    """Appends outlines to a ``.npy`` file whose length is known only at the end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.count = 0
        self._header = self._write_header()

    def append(self, outlines: NDArray[Any]) -> None:
        """Add outlines (n,) of `OUTLINE_DTYPE`."""
        self._file.write(np.ascontiguousarray(outlines).tobytes())
        self.count += len(outlines)

    def finish(self) -> None:
        """Write how many there are into the header, which numpy makes long enough for any count."""
        self._file.seek(0)
        if self._write_header() != self._header:
            raise ArchiveInvalid("The outlines' header changed its length. Import again with another version of numpy.")

    def _write_header(self) -> int:
        about = {"descr": OUTLINE_DTYPE.descr, "fortran_order": False, "shape": (self.count,)}
        np.lib.format.write_array_header_1_0(self._file, about)
        return self._file.tell()


@contextmanager
def writing_outlines(folder: Path, raster: int) -> Iterator[OutlineWriter]:
    """Write the outlines of one raster's tiles; the file is there, complete, when the block ends well."""
    with atomic_write(outlines_path(folder, raster)) as aside, aside.open("wb") as file:
        writer = OutlineWriter(file)
        yield writer
        writer.finish()


def read_outlines(folder: Path, raster: int, imported: Imported) -> NDArray[Any]:
    """Outlines (tiles,) of `OUTLINE_DTYPE`, memory-mapped, in the order of the raster's tiles.

    Size is checked whole, content by the checksum of the first and last 64 kB.

    Raises:
        ArchiveInvalid: the file is missing, truncated, or not the one of this raster.
    """
    path = outlines_path(folder, raster)
    mend = "Restore it from a copy, or import again into another folder."
    try:
        if ends_crc(path) != imported.outlines_crc:
            raise ArchiveInvalid(f"{path} is not the file that was written by the import. {mend}")
        outlines = np.load(path, mmap_mode="r" if imported.tiles else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ArchiveInvalid(f"{path} is missing or damaged ({error}). {mend}") from error
    if (outlines.shape, outlines.dtype) != ((imported.tiles,), OUTLINE_DTYPE):
        raise ArchiveInvalid(f"{path} holds {outlines.shape} outlines; expected {imported.tiles:,}. {mend}")
    return outlines


class Outlines:
    """The outlines of an imported archive's tiles, by tile number; opened, and checked, when they are first asked for.

    Args:
        folder: of the archive.
        imported: what stands for its rasters.
    """

    def __init__(self, folder: Path, imported: Sequence[Imported]) -> None:
        self._folder, self._imported = folder, tuple(imported)
        self._starts = np.cumsum([0, *(each.tiles for each in self._imported)])
        self._opened: dict[int, NDArray[Any]] = {}

    def __len__(self) -> int:
        return int(self._starts[-1])

    def of(self, raster: int, numbers: NDArray[np.int64]) -> NDArray[Any]:
        """Outlines (m,) of `OUTLINE_DTYPE` of tiles that all lie on one raster."""
        if raster not in self._opened:
            self._opened[raster] = read_outlines(self._folder, raster, self._imported[raster])
        return self._opened[raster][np.asarray(numbers) - self._starts[raster]]


def find_outlines(folder: Path, imported: Sequence[Imported | None]) -> Outlines | None:
    """The outlines of an archive's tiles, by what stands for its rasters; None when it was built from imagery."""
    known = [each for each in imported if each is not None]
    return Outlines(folder, known) if known else None


def check_outlines(folder: Path, imported: Sequence[Imported | None], tiles: int) -> None:
    """Raise `ArchiveInvalid` unless every file of outlines is the one that was written, and there is one a tile."""
    outlines = find_outlines(folder, imported)
    if outlines is None:
        return
    for raster, each in enumerate(imported):
        if each is not None:
            read_outlines(folder, raster, each)
    if len(outlines) != tiles:
        raise ArchiveInvalid(
            f"{folder} holds {tiles:,} tiles and {len(outlines):,} outlines of tiles. Restore it from a copy, or import "
            "again into another folder."
        )


def outlines_path(folder: Path, raster: int) -> Path:
    """Where the outlines of a raster's tiles are."""
    return folder / f"outlines-{raster:05d}.npy"
