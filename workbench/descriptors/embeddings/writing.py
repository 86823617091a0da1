"""The tiles of one imported file on their way to disk: gathered by CRS, written in batches, described for the manifest."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.batches import Skipped, write_batch
from workbench.descriptors.embeddings.groups import Group
from workbench.descriptors.embeddings.reading import Source
from workbench.descriptors.embeddings.survey import Survey
from workbench.descriptors.imported import (
    OUTLINE_DTYPE,
    Imported,
    OutlineWriter,
    outlines_path,
    writing_outlines,
)
from workbench.descriptors.manifest import Batch, RasterEntry
from workbench.files import ends_crc
from workbench.imagery.grid import TILE_DTYPE
from workbench.imagery.render import Stretch

_BATCH_BYTES = 48_000_000
_ALL_BYTES = 64_000_000
Part = tuple[NDArray[Any], NDArray[np.float16]]


class _Gathered:
    """Tiles of one CRS that are not on disk yet, and what was written of it so far."""

    def __init__(self, group: Group, raster: int, name: str, fingerprint: str, outlines: OutlineWriter) -> None:
        self.group, self.raster, self.name, self.fingerprint, self.outlines = group, raster, name, fingerprint, outlines
        self.parts: list[Part] = []
        self.bytes = self.batches = self.tiles = 0
        self.width = self.height = 1

    def write(self, folder: Path, skipped: list[Skipped], left_out: int) -> None:
        """Write what is here as one more batch."""
        tiles = np.concatenate([part[0] for part in self.parts])
        vectors = np.concatenate([part[1] for part in self.parts])
        batch = Batch(self.raster, self.batches, self.batches + 1)
        write_batch(folder, batch, self.fingerprint, tiles, vectors, left_out, skipped)
        self.parts, self.bytes = [], 0
        self.batches += 1
        self.tiles += len(tiles)


class FileWriter:
    """Writes the tiles of one file.

    Args:
        folder: of the archive.
        source: the file.
        found: in it.
        names: of what stands for the rasters before it.
        stack: closes what is being written.

    Attributes:
        sizes: of tiles, in pixels, that there are.
        left_out: rows that cannot be used.
    """

    def __init__(self, folder: Path, source: Source, found: Survey, names: list[str], stack: ExitStack) -> None:
        self._folder, self._source, self._found = folder, source, found
        self.sizes: set[int] = set()
        self.left_out = 0
        self._gathered: dict[str, _Gathered] = {}
        self._content = source.fingerprint
        for place, (home, group) in enumerate(found.groups.items()):
            name = source.name if len(found.groups) == 1 else f"{source.name} ({home[:40]})"
            name += f" {place + 1}" if name in names else ""
            raster = len(names) + place
            outlines = stack.enter_context(writing_outlines(folder, raster))
            named = hashlib.blake2b(f"{self._content} {home}".encode(), digest_size=16).hexdigest()
            self._gathered[home] = _Gathered(group, raster, name, named, outlines)

    def add(
        self,
        rows: NDArray[np.int64],
        homes: NDArray[np.object_],
        corners: NDArray[np.float64],
        vectors: NDArray[np.float16],
        shifts: NDArray[np.int64],
    ) -> None:
        """Add tiles.

        Args:
            rows: theirs in the file, (n,).
            homes: what each shares a raster by, (n,).
            corners: (n, 4, 2).
            vectors: descriptors, (n, dim).
            shifts: how many tiles came before at the same place: the window is moved by as many pixels, (n,).
        """
        for home in dict.fromkeys(homes.tolist()):
            mine = homes == home
            gathered = self._gathered[home]
            tiles = np.empty(int(mine.sum()), TILE_DTYPE)
            tiles["raster"] = gathered.raster
            tiles["row"], tiles["col"], tiles["size"] = gathered.group.windows(corners[mine])
            tiles["col"] += shifts[mine].astype(np.uint32)
            outlines = np.empty(len(tiles), OUTLINE_DTYPE)
            outlines["corners"], outlines["row"] = corners[mine], rows[mine]
            gathered.outlines.append(outlines)
            gathered.parts.append((tiles, vectors[mine]))
            gathered.bytes += tiles.nbytes + gathered.parts[-1][1].nbytes
            gathered.width = max(gathered.width, int((tiles["col"] + tiles["size"]).max()))
            gathered.height = max(gathered.height, int((tiles["row"] + tiles["size"]).max()))
            self.sizes |= set(np.unique(tiles["size"]).tolist())
            if gathered.bytes > _BATCH_BYTES:
                gathered.write(self._folder, [], 0)
        while sum(each.bytes for each in self._gathered.values()) > _ALL_BYTES:
            max(self._gathered.values(), key=lambda each: each.bytes).write(self._folder, [], 0)

    def finish(self, skipped: list[Skipped], dim: int) -> None:
        """Write the rest; rows that were left out are listed with the first batch of it."""
        for each in self._gathered.values():
            if not each.parts:
                each.parts.append((np.empty(0, TILE_DTYPE), np.empty((0, dim), np.float16)))
            each.write(self._folder, skipped, self.left_out)
            skipped, self.left_out = [], 0

    def entries(self) -> list[RasterEntry]:
        """What stands for the rasters, once all is written; nothing when no row could be used."""
        return [self._entry(each) for each in self._gathered.values()] if self.sizes else []

    def _entry(self, each: _Gathered) -> RasterEntry:
        crc = ends_crc(outlines_path(self._folder, each.raster))
        transform = tuple(float(number) for number in each.group.transform[:6])
        imported = Imported(self._content, each.group.crs, transform, each.tiles, each.batches, crc)
        return RasterEntry(
            name=each.name,
            paths=(),
            bands=(),
            fingerprint=each.fingerprint,
            sha256=(),
            states=(),
            width=each.width,
            height=each.height,
            scale=1.0,
            stretch=Stretch((), ()),
            nodata=None,
            user_nodata=False,
            date=each.group.date or self._found.date,
            imported=imported,
        )
