"""Packed codes on disk: written a part at a time, with a record that goes last, and memory-mapped once they are checked."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.batches import BAD_ARRAY
from workbench.descriptors.codes.ordered import OrderedCodes
from workbench.errors import ArchiveInvalid
from workbench.files import atomic_write, ends_crc, write_json

Codes = NDArray[np.uint8] | OrderedCodes
"""Codes (n, bytes) by tile number; as an array, or as one that keeps them in another order."""
_WHOLE = (
    64 << 20
)  # larger files are checked at both ends only when they are opened: reading them takes a second and more
_ORDERED = ("order", "positions")


def codes_name(version: int, part: str = "npy") -> str:
    """File name of an archive's codes, or of what belongs to them, in a version (that of the centring)."""
    return f"codes-{version:03d}.{part}"


def write_codes(
    folder: Path, version: int, parts: Iterable[NDArray[np.uint8]], shape: tuple[int, int], about: Mapping[str, object]
) -> None:
    """Write codes in the order of the tiles.

    Args:
        folder: to write in.
        version: of the codes.
        parts: codes uint8 (m, bytes) that follow one another.
        shape: of all together, (n, bytes).
        about: what the record says besides: what they were made of.

    Raises:
        DiskFull: there is no room.
    """
    checksum = 0
    path = folder / codes_name(version)
    with atomic_write(path) as aside, aside.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            data = np.ascontiguousarray(part).data
            checksum = zlib.crc32(data, checksum)
            file.write(data)
    _write_record(folder, version, about, checksum, [path])
    for other in ("ordered", *_ORDERED):
        (folder / codes_name(version, f"{other}.npy")).unlink(missing_ok=True)


def order_codes(folder: Path, version: int, order: NDArray[np.uint32], into: Path | None = None) -> None:
    """Store codes in another order, in which those near one another lie together; by number they stay as they were.

    Stopped at any moment, the codes are there in one order or in the other.

    Args:
        folder: that holds them, as `write_codes` left them.
        version: of the codes.
        order: number of the tile in each row, (n,).
        into: folder to write in, the first being left as it is; in place when None.

    Raises:
        DiskFull: there is no room for both orders.
    """
    source, folder = folder, into or folder
    codes, about = read_codes(source, version), read_record(source, version)
    positions = np.empty(len(order), np.uint32)
    positions[order] = np.arange(len(order), dtype=np.uint32)
    paths = [folder / codes_name(version, f"{part}.npy") for part in _ORDERED]
    for path, values in zip(paths, (order, positions), strict=True):
        with atomic_write(path) as aside, aside.open("wb") as file:
            np.save(file, values.astype(np.uint32, copy=False), allow_pickle=False)
    rows = folder / codes_name(version, "ordered.npy")
    checksum, step = 0, 1 << 18
    with atomic_write(rows) as aside, aside.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": codes.shape})
        for start in range(0, len(order), step):
            data = np.ascontiguousarray(codes[order[start : start + step]]).data
            checksum = zlib.crc32(data, checksum)
            file.write(data)
    kept = {name: value for name, value in about.items() if name not in ("crc32", "ends")}
    _write_record(folder, version, kept, checksum, [rows, *paths])
    (folder / codes_name(version)).unlink(missing_ok=True)


def read_codes(folder: Path, version: int, shape: tuple[int, int] | None = None, *, deep: bool = False) -> Codes:
    """Codes uint8 (n, bytes), memory-mapped; in whatever order they lie, by number they are the tiles'.

    Args:
        folder: that holds them.
        version: of the codes.
        shape: that they must have; any when None.
        deep: read files of any size whole; those over 64 MB are checked by their size and both ends otherwise.

    Raises:
        ArchiveInvalid: a file is missing or damaged; the message names it.
    """
    record = read_record(folder, version)
    ends, names = record.get("ends"), _names(record, version)
    arrays = [_mapped(folder / name, ends.get(name) if isinstance(ends, dict) else None) for name in names]
    path, codes = folder / names[0], arrays[0]
    wrong = f"{path} is damaged: it is not the file that was written. {_MEND}"
    if codes.dtype != np.uint8 or codes.ndim != 2 or (shape is not None and codes.shape != shape):
        raise ArchiveInvalid(wrong)
    if (deep or codes.nbytes <= _WHOLE) and zlib.crc32(np.ascontiguousarray(codes).data) != record.get("crc32"):
        raise ArchiveInvalid(wrong)
    if len(arrays) == 1:
        return codes
    if any((part.shape, part.dtype) != ((len(codes),), np.dtype(np.uint32)) for part in arrays[1:]):
        raise ArchiveInvalid(f"{folder / names[1]} does not belong to {path.name}. {_MEND}")
    return OrderedCodes(codes, arrays[1], arrays[2])


def read_record(folder: Path, version: int) -> dict[str, Any]:
    """What was written about codes; nothing where there is none to be read."""
    try:
        stored = json.loads((folder / codes_name(version, "json")).read_bytes())
    except (OSError, ValueError):
        return {}
    return stored if isinstance(stored, dict) else {}


def codes_there(folder: Path, version: int) -> bool:
    """Whether every file that holds the codes is there, whatever is in it."""
    return all((folder / name).is_file() for name in _names(read_record(folder, version), version))


_MEND = "Delete it: it is made again from the descriptors; in an archive of codes only, restore it from a copy."


def _names(record: Mapping[str, object], version: int) -> list[str]:
    ends = record.get("ends")
    return [str(name) for name in ends] if isinstance(ends, dict) and ends else [codes_name(version)]


def _write_record(folder: Path, version: int, about: Mapping[str, object], checksum: int, paths: list[Path]) -> None:
    ends = {path.name: ends_crc(path) for path in paths}
    write_json(folder / codes_name(version, "json"), {**about, "crc32": checksum, "ends": ends})


def _mapped(path: Path, ends: object) -> NDArray[Any]:
    try:
        if ends is not None and ends_crc(path) != ends:
            raise ArchiveInvalid(f"{path} is damaged: it is not the file that was written. {_MEND}")
        found: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except BAD_ARRAY as error:
        raise ArchiveInvalid(f"{path} is missing or damaged ({error}). {_MEND}") from error
    return found
