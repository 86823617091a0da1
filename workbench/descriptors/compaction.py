"""Merging small batch files into parts of up to a million tiles: the same files at the end, stopped as often as you like."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.batches import read_batch, remove_unfinished
from workbench.descriptors.bitmap import pack
from workbench.descriptors.contents import committed_record, grid_slots, live_batches
from workbench.descriptors.manifest import Batch, Manifest
from workbench.descriptors.parts import (
    Merged,
    Part,
    descriptors_path,
    held_path,
    part_name,
    read_descriptors,
    read_held,
    read_part,
    write_part,
)
from workbench.descriptors.tiles import GridTiles
from workbench.errors import ArchiveInvalid
from workbench.files import atomic_write, ends_crc
from workbench.jobs import Progress

log = logging.getLogger(__name__)
PART_TILES = 1 << 20
"""Tiles of a part, at most; a single batch may have more."""


def committed_batches(folder: Path, manifest: Manifest) -> set[Batch]:
    """The batches that need not be made: those in parts, and those in files of their own; damaged ones are logged."""
    found = set(live_batches(manifest, _readable_parts(folder)))
    for batch in manifest.batches():
        if batch not in found:
            try:
                record = committed_record(folder, manifest, batch)
            except ArchiveInvalid as error:
                log.warning("%s", error)
                continue
            if record is not None:
                found.add(batch)
    return found


def compact(folder: Path, manifest: Manifest, progress: Progress) -> None:
    """Merge batches that lie in files of their own, in order, and parts of which some tiles are no longer wanted.

    Parts that are wanted whole stay as they are. A part is committed by its record, and only then are the files deleted
    that it replaces. A run that was stopped goes on to the same files, for what it merged is the beginning of what was to
    be merged.

    Args:
        folder: of the archive, with all of its batches.
        manifest: of the archive.
        progress: checked before each part.

    Raises:
        ArchiveInvalid: a file is missing or damaged; the message names it.
        Cancelled: the user stopped it; run it again to go on.
        DiskFull: there is no room for another part.
    """
    parts = _readable_parts(folder)
    settled = {batch for part in parts if _wanted_whole(manifest, part) for batch in _batches_of(part)}
    sources = _Sources(folder, manifest, parts)
    group: list[_Source] = []
    for batch in manifest.batches():
        source = None if batch in settled else sources.find(batch)
        if source is None:
            continue
        if group and sum(each.merged.tiles for each in group) + source.merged.tiles > PART_TILES:
            progress.check()
            _merge(folder, sources, group)
            group = []
        group.append(source)
    if group:
        progress.check()
        _merge(folder, sources, group)
    remove_leftovers(folder, manifest)


def remove_leftovers(folder: Path, manifest: Manifest) -> None:
    """Delete what a stopped run left half-written, what parts have replaced, and what is no longer wanted."""
    # What is in a part that is wanted whole is not needed of another.
    parts = sorted(_readable_parts(folder), key=lambda part: not _wanted_whole(manifest, part))
    merged = live_batches(manifest, parts)
    loose = {batch.stem for batch in manifest.batches() if batch not in merged}
    needed = {parts[number].name for number, _ in merged.values()}
    for path in folder.glob("part-*"):
        if path.name.split(".")[0] not in needed:
            path.unlink(missing_ok=True)
    remove_unfinished(folder, ("batch", "tiles", "descriptors"), loose)


@dataclass(frozen=True)
class _Source:
    """A batch that is to be merged, and which of its slots hold a tile."""

    merged: Merged
    held: NDArray[np.bool_]


class _Sources:
    """Finds batches wherever they are. Nothing stays open: a large archive has more batches than files may be open."""

    def __init__(self, folder: Path, manifest: Manifest, parts: list[Part]) -> None:
        self._folder, self._manifest, self._parts = folder, manifest, parts
        self._live = live_batches(manifest, parts)
        imported = any(entry.imported is not None for entry in manifest.rasters)
        self._grid = None if imported else GridTiles(manifest)
        self._held: dict[int, NDArray[np.bool_] | None] = {}

    def find(self, batch: Batch) -> _Source | None:
        """A batch's slots, or None where its tiles do not lie on the grid: such batches keep files of their own."""
        if batch in self._live:
            number, position = self._live[batch]
            part = self._parts[number]
            if number not in self._held:
                self._held[number] = read_held(self._folder, part)
            held, merged = self._held[number], part.batches[position]
            first = sum(each.slots for each in part.batches[:position])
            whole = np.ones(merged.slots, bool)
            return _Source(merged, whole if held is None else held[first : first + merged.slots])
        record = committed_record(self._folder, self._manifest, batch)
        if record is None or self._grid is None:
            return None
        slots = grid_slots(self._grid, read_batch(self._folder, record, self._manifest.dim)[0])
        if slots is None:
            return None
        span = self._grid.block_slots(batch.raster, batch.first, batch.last)
        held = np.zeros(span.stop - span.start, bool)
        held[slots - span.start] = True
        content = record.content, len(held), record.tiles, record.without_data, record.skipped
        return _Source(Merged(batch, *content), held)

    def rows(self, batch: Batch) -> NDArray[np.float16]:
        """A batch's descriptors (m, dim), memory-mapped."""
        if batch in self._live:
            number, position = self._live[batch]
            part = self._parts[number]
            first = sum(each.tiles for each in part.batches[:position])
            found = read_descriptors(self._folder, part, self._manifest.dim)
            return found[first : first + part.batches[position].tiles]
        record = committed_record(self._folder, self._manifest, batch)
        if record is None:
            raise ArchiveInvalid(f"Batch {batch.stem} of {self._folder} is gone. Run build_archive again.")
        return read_batch(self._folder, record, self._manifest.dim)[1]

    @property
    def dim(self) -> int:
        """Length of a descriptor."""
        return self._manifest.dim


def _merge(folder: Path, sources: _Sources, group: list[_Source]) -> None:
    """Write one part and delete the files of the batches in it."""
    merged = tuple(source.merged for source in group)
    name, held = part_name(merged), np.concatenate([source.held for source in group])
    held_crc = None
    if not held.all():
        with atomic_write(held_path(folder, name)) as aside, aside.open("wb") as file:
            np.save(file, pack(held), allow_pickle=False)
        held_crc = ends_crc(held_path(folder, name))
    shape, checksum = (sum(each.tiles for each in merged), sources.dim), 0
    with atomic_write(descriptors_path(folder, name)) as aside, aside.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": shape})
        for each in merged:
            data = np.ascontiguousarray(sources.rows(each.batch)).data
            checksum = zlib.crc32(data, checksum)
            file.write(data)
    write_part(folder, Part(merged, held_crc, ends_crc(descriptors_path(folder, name)), checksum))
    for each in merged:
        for kind, suffix in (("batch", "json"), ("tiles", "npy"), ("descriptors", "npy")):
            (folder / f"{kind}-{each.batch.stem}.{suffix}").unlink(missing_ok=True)


def _readable_parts(folder: Path) -> list[Part]:
    found = []
    for path in sorted(folder.glob("part-*.json")):
        try:
            found.append(read_part(path))
        except ArchiveInvalid as error:
            log.warning("%s", error)
    return found


def _batches_of(part: Part) -> Iterator[Batch]:
    return (each.batch for each in part.batches)


def _wanted_whole(manifest: Manifest, part: Part) -> bool:
    return len(live_batches(manifest, [part])) == len(part.batches)
