"""Parts of an archive: many batches merged into one file of descriptors and a bit for each slot, and what they hold."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.batches import BAD_ARRAY, Skipped
from workbench.descriptors.manifest import Batch
from workbench.errors import ArchiveInvalid
from workbench.files import ends_crc, write_json

_CHUNK = 1 << 14


@dataclass(frozen=True)
class Merged:
    """One batch inside a part.

    Attributes:
        batch: which.
        content: of its raster, when it was made.
        slots: windows that might be tiles.
        tiles: of them that are.
        without_data: of them that have too little data.
        skipped: those that could not be indexed, and why.
    """

    batch: Batch
    content: str
    slots: int
    tiles: int
    without_data: int
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True)
class Part:
    """A run of batches in one file; its record's existence is its commit.

    Attributes:
        batches: in the order of their rows.
        held_crc: of the file of bits; None when every slot holds a tile and there is no such file.
        descriptors_crc: of the file of descriptors, its size and both ends.
        whole_crc: of all descriptors; None where it was not kept.
    """

    batches: tuple[Merged, ...]
    held_crc: int | None
    descriptors_crc: int
    whole_crc: int | None = None

    @property
    def name(self) -> str:
        """Common part of the part's file names."""
        return part_name(self.batches)

    @property
    def tiles(self) -> int:
        """How many tiles it holds."""
        return sum(each.tiles for each in self.batches)

    @property
    def slots(self) -> int:
        """How many slots its batches have."""
        return sum(each.slots for each in self.batches)


def part_name(batches: Sequence[Merged]) -> str:
    """The name of a part that merges these batches: the same for the same batches of the same content."""
    told = json.dumps([[each.batch.stem, each.batch.last, each.content, each.slots, each.tiles] for each in batches])
    return f"part-{batches[0].batch.stem}-{hashlib.blake2b(told.encode(), digest_size=8).hexdigest()}"


def write_part(folder: Path, part: Part) -> None:
    """Commit a part, whose two files are there."""
    contents: dict[str, str] = {}
    rows = []
    for each in part.batches:
        contents[str(each.batch.raster)] = each.content
        counts = [each.batch.raster, each.batch.first, each.batch.last, each.slots, each.tiles, each.without_data]
        rows.append([*counts, [asdict(skip) for skip in each.skipped]])
    about = {"held_crc": part.held_crc, "descriptors_crc": part.descriptors_crc, "whole_crc": part.whole_crc}
    write_json(record_path(folder, part.name), {**about, "contents": contents, "batches": rows})


def read_parts(folder: Path) -> list[Part]:
    """The committed parts of a folder, by name.

    Raises:
        ArchiveInvalid: a record is damaged, or belongs to another part.
    """
    return [read_part(path) for path in sorted(folder.glob("part-*.json"))]


def read_part(path: Path) -> Part:
    """One part's record.

    Raises:
        ArchiveInvalid: it is damaged, or belongs to another part.
    """
    try:
        values = json.loads(path.read_bytes())
        contents = values["contents"]
        batches = tuple(
            Merged(Batch(raster, first, last), contents[str(raster)], slots, tiles, without_data, _skipped(skipped))
            for raster, first, last, slots, tiles, without_data, skipped in values["batches"]
        )
        part = Part(batches, values["held_crc"], values["descriptors_crc"], values["whole_crc"])
        name = part.name
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ArchiveInvalid(f"{path} is damaged ({error}). {_mend(path.stem)}") from error
    if name != path.stem:
        raise ArchiveInvalid(f"{path} describes {name}, not {path.stem}. {_mend(path.stem)}")
    return part


def read_held(folder: Path, part: Part) -> NDArray[np.bool_] | None:
    """Which slots of a part hold a tile, (slots,), or None when all do.

    Raises:
        ArchiveInvalid: the file is missing or damaged.
    """
    if part.held_crc is None:
        return None
    path = held_path(folder, part.name)
    wrong = f"{path} is not the file that was committed with {part.name}. {_mend(part.name)}"
    try:
        if ends_crc(path) != part.held_crc:
            raise ArchiveInvalid(wrong)
        packed = np.load(path, allow_pickle=False)
    except BAD_ARRAY as error:
        raise ArchiveInvalid(f"{path} is missing or damaged ({error}). {_mend(part.name)}") from error
    if packed.dtype != np.uint8 or packed.shape != (-(-part.slots // 8),):
        raise ArchiveInvalid(wrong)
    held = np.unpackbits(packed, count=part.slots, bitorder="little").astype(bool)
    if int(held.sum()) != part.tiles:
        raise ArchiveInvalid(wrong)
    return held


def read_descriptors(folder: Path, part: Part, dim: int) -> NDArray[np.float16]:
    """A part's descriptors (tiles, dim), memory-mapped; size is checked whole, content by its first and last 64 kB.

    Raises:
        ArchiveInvalid: the file is missing, truncated, or not the one of this part.
    """
    path = descriptors_path(folder, part.name)
    wrong = f"{path} is not the file that was committed with {part.name}. {_mend(part.name)}"
    try:
        if ends_crc(path) != part.descriptors_crc:
            raise ArchiveInvalid(wrong)
        rows: NDArray[np.float16] = np.load(path, mmap_mode="r" if part.tiles else None, allow_pickle=False)
    except BAD_ARRAY as error:
        raise ArchiveInvalid(f"{path} is missing or damaged ({error}). {_mend(part.name)}") from error
    if (rows.shape, rows.dtype) != ((part.tiles, dim), np.dtype(np.float16)):
        raise ArchiveInvalid(wrong)
    return rows


def damaged_parts(folder: Path, dim: int) -> list[str]:
    """What is wrong with the descriptors of a folder's parts, in words, after reading all of them."""
    found = []
    for part in read_parts(folder):
        rows, checksum = read_descriptors(folder, part, dim), 0
        for start in range(0, len(rows), _CHUNK):
            checksum = zlib.crc32(np.ascontiguousarray(rows[start : start + _CHUNK]).data, checksum)
        if part.whole_crc not in (None, checksum):
            path = descriptors_path(folder, part.name)
            found.append(f"{path} holds other descriptors than were written. {_mend(part.name)}")
    return found


def record_path(folder: Path, name: str) -> Path:
    """Where a part's record is; its existence commits the part."""
    return folder / f"{name}.json"


def held_path(folder: Path, name: str) -> Path:
    """Where a part's bits are."""
    return folder / f"{name}.tiles.npy"


def descriptors_path(folder: Path, name: str) -> Path:
    """Where a part's descriptors are."""
    return folder / f"{name}.descriptors.npy"


def _skipped(values: list[dict[str, object]]) -> tuple[Skipped, ...]:
    return tuple(Skipped(**item) for item in values)  # type: ignore[arg-type]


def _mend(name: str) -> str:
    return f"Restore it from a copy, or delete the files {name}.* and run build_archive again."
