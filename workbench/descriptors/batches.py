"""One batch of an archive on disk: tile rows, descriptors and, last, the record that commits them."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.manifest import Batch
from workbench.errors import ArchiveInvalid
from workbench.files import atomic_write, ends_crc, write_json
from workbench.imagery.grid import TILE_DTYPE

# What numpy raises for a damaged file, by where the damage is.
BAD_ARRAY = (OSError, ValueError, EOFError, SyntaxError, TokenError)


@dataclass(frozen=True)
class Skipped:
    """A tile that should be there and is not."""

    raster: str
    row: int
    col: int
    size: int
    reason: str


@dataclass(frozen=True)
class Record:
    """What a batch holds, and of which content of its raster; its file's existence is the batch's commit."""

    batch: Batch
    content: str
    tiles: int
    without_data: int
    skipped: tuple[Skipped, ...]
    tiles_crc: int
    descriptors_crc: int


def write_batch(
    folder: Path,
    batch: Batch,
    content: str,
    tiles: NDArray[Any],
    descriptors: NDArray[np.float16],
    without_data: int,
    skipped: list[Skipped],
) -> None:
    """Write a batch; the record goes last."""
    for name, array in (("tiles", tiles), ("descriptors", descriptors)):
        with atomic_write(folder / f"{name}-{batch.stem}.npy") as aside, aside.open("wb") as file:
            np.save(file, array, allow_pickle=False)
    crcs = [ends_crc(folder / f"{name}-{batch.stem}.npy") for name in ("tiles", "descriptors")]
    record = Record(batch, content, len(tiles), without_data, tuple(skipped), *crcs)
    write_json(folder / f"batch-{batch.stem}.json", asdict(record))


def read_record(folder: Path, batch: Batch) -> Record | None:
    """A batch's record, or None when it is not committed.

    Raises:
        ArchiveInvalid: the record is damaged or belongs to another batch.
    """
    path = folder / f"batch-{batch.stem}.json"
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_bytes())
        found = Batch(**values.pop("batch"))
        skipped = tuple(Skipped(**item) for item in values.pop("skipped"))
        record = Record(batch=found, skipped=skipped, **values)
    except (ValueError, KeyError, TypeError) as error:
        raise ArchiveInvalid(f"{path} is damaged ({error}). {_mend(batch)}") from error
    if found != batch:
        raise ArchiveInvalid(f"{path} describes batch {found.stem}, not {batch.stem}. {_mend(batch)}")
    return record


def read_batch(folder: Path, record: Record, dim: int) -> tuple[NDArray[Any], NDArray[np.float16]]:
    """Tile rows (n,) and descriptors (n, dim), memory-mapped, after checking that they are what was committed.

    Sizes are checked whole, contents by the checksum of their first and last 64 kB.

    Raises:
        ArchiveInvalid: a file is missing, truncated, or not the one of this batch.
    """
    arrays = []
    expected = {"tiles": ((record.tiles,), TILE_DTYPE), "descriptors": ((record.tiles, dim), np.dtype(np.float16))}
    for name, crc in (("tiles", record.tiles_crc), ("descriptors", record.descriptors_crc)):
        path = folder / f"{name}-{record.batch.stem}.npy"
        wrong = f"{path} is not the file that was committed as batch {record.batch.stem}. {_mend(record.batch)}"
        try:
            if ends_crc(path) != crc:
                raise ArchiveInvalid(wrong)
            array = np.load(path, mmap_mode="r" if record.tiles else None, allow_pickle=False)
        except BAD_ARRAY as error:
            raise ArchiveInvalid(f"{path} is missing or damaged ({error}). {_mend(record.batch)}") from error
        if (array.shape, array.dtype) != expected[name]:
            raise ArchiveInvalid(wrong)
        arrays.append(array)
    return arrays[0], arrays[1]


def remove_unfinished(folder: Path, kinds: Sequence[str], wanted: Collection[str]) -> None:
    """Delete files ``KIND-NAME`` of an archive whose name is not wanted, and what a killed run left half-written."""
    for kind in kinds:
        for path in folder.glob(f"{kind}-*"):
            if path.stem.removeprefix(f"{kind}-") not in wanted:
                path.unlink(missing_ok=True)
    for pattern in (*(f".{kind}-*" for kind in kinds), ".part-*", ".manifest.*", "derived/.*"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def _mend(batch: Batch) -> str:
    return f"Restore it from a copy, or delete the three files *-{batch.stem}.* and run build_archive again."
