"""What an archive's folder holds, read and checked part by part: tiles, descriptors, and what was left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.batches import Record, Skipped, read_batch, read_record
from workbench.descriptors.bitmap import pack
from workbench.descriptors.manifest import Batch, Manifest
from workbench.descriptors.parts import Part, read_descriptors, read_held, read_parts
from workbench.descriptors.rows import Rows
from workbench.descriptors.tiles import GridTiles, Tiles
from workbench.errors import ArchiveInvalid

_IN_MEMORY = 1 << 18  # tiles of smaller archives are rows in memory, 4 MB at most; those of larger ones are computed
_NONE = np.empty(0, np.int64)


@dataclass(frozen=True)
class Contents:
    """Tiles of an archive, in the order of its batches, and everything that belongs to them.

    Attributes:
        tiles: rows (n,), or what computes them.
        descriptors: (n, dim), on disk; None where there are only codes.
        skipped: tiles that could not be indexed.
        without_data: how many were left out for that.
        batches: that the finished archive has.
        missing: of them that are not there.
    """

    tiles: Tiles
    descriptors: Rows | None
    skipped: tuple[Skipped, ...]
    without_data: int
    batches: int
    missing: int


def read_contents(folder: Path, manifest: Manifest) -> Contents:
    """Read all of an archive's files but the descriptors themselves, which stay on disk.

    Raises:
        ArchiveInvalid: a file is missing, damaged or does not belong here; the message names it.
    """
    parts = [_Opened(folder, part, manifest.dim) for part in read_parts(folder)]
    live = live_batches(manifest, [opened.part for opened in parts])
    gathered, raw = _Gathered(manifest), _Runs()
    skipped: list[Skipped] = []
    without_data = batches = missing = 0
    for batch in manifest.batches():
        batches += 1
        place = live.get(batch)
        if place is not None:
            opened, position = parts[place[0]], place[1]
            merged = opened.part.batches[position]
            gathered.add_held(batch, merged.slots, opened.held_of(position))
            raw.add(opened.raw, opened.rows[position], opened.rows[position + 1])
            skipped += merged.skipped
            without_data += merged.without_data
            continue
        record = committed_record(folder, manifest, batch)
        if record is None:
            missing += 1
            continue
        rows, descriptors = read_batch(folder, record, manifest.dim)
        gathered.add_rows(rows)
        raw.add(descriptors, 0, len(descriptors))
        skipped += record.skipped
        without_data += record.without_data
    return Contents(gathered.tiles(), Rows(raw.runs(), manifest.dim), tuple(skipped), without_data, batches, missing)


def committed_record(folder: Path, manifest: Manifest, batch: Batch) -> Record | None:
    """The record of a batch in files of its own, or None where there is none of its raster's content now.

    Raises:
        ArchiveInvalid: the record is damaged or belongs to another batch.
    """
    record = read_record(folder, batch)
    wanted = record is not None and record.content == manifest.rasters[batch.raster].content
    return record if wanted else None


def live_batches(manifest: Manifest, parts: Sequence[Part]) -> dict[Batch, tuple[int, int]]:
    """Where each batch that the manifest asks for lies: part, and position in it. Of two, the first part's counts."""
    wanted = set(manifest.batches()) if parts else set()
    found: dict[Batch, tuple[int, int]] = {}
    for number, part in enumerate(parts):
        for position, each in enumerate(part.batches):
            if each.batch in wanted and each.content == manifest.rasters[each.batch.raster].content:
                found.setdefault(each.batch, (number, position))
    return found


class _Opened:
    """A part while its batches are gathered: where each begins in the files."""

    def __init__(self, folder: Path, part: Part, dim: int) -> None:
        self.part = part
        self.raw = read_descriptors(folder, part, dim)
        self._held = read_held(folder, part)
        self.rows = np.cumsum([0, *(each.tiles for each in part.batches)]).tolist()
        self._slots = np.cumsum([0, *(each.slots for each in part.batches)]).tolist()

    def held_of(self, position: int) -> NDArray[np.bool_] | None:
        """Which slots of a batch hold a tile; None when all do."""
        return None if self._held is None else self._held[self._slots[position] : self._slots[position + 1]]


class _Gathered:
    """The tiles of batches, in order: as bits over the grid's slots while all of them lie on it."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        imported = any(entry.imported is not None for entry in manifest.rasters)
        self._grid = None if imported else GridTiles(manifest)
        self._on_grid = not imported
        self._held = np.zeros(0 if self._grid is None else self._grid.slots, bool)
        self._pieces: list[NDArray[Any] | slice] = []

    def add_held(self, batch: Batch, count: int, held: NDArray[np.bool_] | None) -> None:
        """A batch of a part that had ``count`` slots; ``held`` (count,) is None when every slot holds a tile."""
        slots = slice(0, 0) if self._grid is None else self._grid.block_slots(batch.raster, batch.first, batch.last)
        if slots.stop - slots.start != count:
            raise ArchiveInvalid(
                f"Batch {batch.stem} was made of {count} windows, and the grid has others in its place. Restore "
                "manifest.json from a copy, or delete the part-* files and run build_archive again."
            )
        self._held[slots] = True if held is None else held
        self._pieces.append(slots)

    def add_rows(self, rows: NDArray[Any]) -> None:
        """A batch in files of its own."""
        self._pieces.append(rows)
        slots = _NONE if self._grid is None else grid_slots(self._grid, rows)
        self._on_grid &= slots is not None
        if slots is not None:
            self._held[slots] = True

    def tiles(self) -> Tiles:
        """All of them."""
        if self._on_grid:
            return rows_or_grid(GridTiles(self._manifest, None if self._held.all() else pack(self._held)))
        rows = [piece if isinstance(piece, np.ndarray) else self._rows_of(piece) for piece in self._pieces]
        return rows[0] if len(rows) == 1 else np.concatenate([np.empty(0, GridTiles.dtype), *rows])

    def _rows_of(self, slots: slice) -> NDArray[Any]:
        assert self._grid is not None
        return self._grid[np.flatnonzero(self._held[slots]) + slots.start]


def rows_or_grid(tiles: GridTiles) -> Tiles:
    """Tiles as rows in memory while they are few."""
    return tiles if len(tiles) > _IN_MEMORY else np.asarray(tiles)


def grid_slots(grid: GridTiles, rows: NDArray[Any]) -> NDArray[np.int64] | None:
    """The slots of a batch's rows, or None unless they lie on the grid in its own order."""
    slots = grid.slots_of(rows)
    return slots if len(slots) == 0 or (slots[0] >= 0 and (np.diff(slots) > 0).all()) else None


class _Runs:
    """Stretches of rows in files; neighbours that follow one another in one file become one."""

    def __init__(self) -> None:
        self._runs: list[tuple[NDArray[np.float16], int, int]] = []

    def add(self, rows: NDArray[np.float16], start: int, stop: int) -> None:
        """Add the rows from ``start`` to before ``stop``."""
        if self._runs and self._runs[-1][0] is rows and self._runs[-1][2] == start:
            rows, start, _ = self._runs.pop()
        self._runs.append((rows, start, stop))

    def runs(self) -> list[NDArray[np.float16]]:
        """Views of them, in order."""
        return [rows[start:stop] for rows, start, stop in self._runs]
