"""Lists of an archive's codes on disk: built once, with what was measured, and used for the codes they were made of only."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.archive import Archive
from workbench.descriptors.batches import BAD_ARRAY
from workbench.descriptors.codes.ordered import OrderedCodes
from workbench.errors import ArchiveInvalid
from workbench.files import atomic_write, ends_crc, require_space, write_json
from workbench.jobs import Progress
from workbench.search.engines.inverted import Lists, Measured, calibrated
from workbench.search.engines.lists import assigned, fitted, lists_for, middles, sorted_by_list

_VERSION = 2
_PARTS = ("starts", "centres")
_PLACES, _ROWS = 32, 128
_MEND = "Delete it and the record beside it, and build the index again."


def read_lists(archive: Archive) -> tuple[Lists, Measured] | None:
    """The lists of an archive's codes, or None where they are not built or are of other codes.

    Raises:
        ArchiveInvalid: a file is missing, damaged, or not the one that was built.
    """
    path = archive.find_derived(_name(archive, "json"))
    if not path.is_file() or not isinstance(archive.codes, OrderedCodes):
        return None
    try:
        stored = json.loads(path.read_bytes())
        if (stored["version"], stored["source"]) != (_VERSION, _source(archive, archive.codes)):
            return None
        measured, sums = Measured.of_record(stored["measured"]), dict(stored["sums"])
    except (ValueError, KeyError, TypeError) as error:
        raise ArchiveInvalid(f"{path} is damaged ({error}). {_MEND}") from error
    starts, centres = (_read(path.with_name(_name(archive, f"{part}.npy")), sums.get(part)) for part in _PARTS)
    return Lists(archive.codes, starts, centres, measured.near, measured.deep), measured


def build_lists(archive: Archive, progress: Progress, *, seed: int = 0) -> tuple[Lists, Measured]:
    """Sort an archive's codes into lists, store them, and set how many lists a search reads.

    The codes are then kept in the order of the lists, once. The record is written last: without it there are no lists, and
    all codes are read.

    Args:
        archive: whose codes.
        progress: counts tiles.
        seed: of the samples drawn.

    Raises:
        Cancelled: the user stopped it.
        DiskFull: there is no room for the codes in both orders.
    """
    began, codes = perf_counter(), archive.codes
    require_space(archive.derived, codes.shape[0] * (codes.shape[1] + 8), "Sorting codes into lists")
    progress.begin("sorting codes into lists", len(codes), "tiles")
    centres, graph = fitted(codes, lists_for(len(codes)), seed=seed)
    chosen = np.empty(len(codes), np.uint32)
    for start, part in assigned(codes, centres, graph):
        chosen[start : start + len(part)] = part
        progress.advance(len(part))
    starts, order, _ = sorted_by_list(chosen, len(centres))
    record = archive.derived / _name(archive, "json")
    record.unlink(missing_ok=True)
    ordered = _in_order(archive, order)
    centres = middles(ordered.rows, starts, centres)
    paths = {part: archive.derived / _name(archive, f"{part}.npy") for part in _PARTS}
    for path, values in zip(paths.values(), (starts, centres), strict=True):
        with atomic_write(path) as aside, aside.open("wb") as file:
            np.save(file, np.asarray(values), allow_pickle=False)
    lists, measured = calibrated(Lists(ordered, starts, centres), seed=seed)
    about = {"version": _VERSION, "source": _source(archive, ordered), "tiles": len(ordered), "lists": len(centres)}
    about |= {"seconds": round(perf_counter() - began, 1), "measured": asdict(measured)}
    about["sums"] = {part: ends_crc(path) for part, path in paths.items()}
    write_json(record, about)
    return lists, measured


def _in_order(archive: Archive, order: NDArray[np.uint32]) -> OrderedCodes:
    archive.order_codes(order)
    codes = archive.codes
    if not isinstance(codes, OrderedCodes):
        raise ArchiveInvalid(f"{archive.folder}: its codes were written anew meanwhile. Build the index again.")
    return codes


def _source(archive: Archive, codes: OrderedCodes) -> str:
    """Names the codes that lists are made of, and their order: 32 hexadecimal digits, from 32 places in them."""
    digest = hashlib.blake2b(f"{archive.identity} {codes.shape}".encode(), digest_size=16)
    # Rows in a row: each place costs a page from the disk, whatever is read of it.
    for start in np.unique(np.linspace(0, max(0, len(codes) - _ROWS), _PLACES).astype(np.int64)).tolist():
        for values in (codes.rows, codes.order):
            digest.update(np.ascontiguousarray(values[start : start + _ROWS]).tobytes())
    return digest.hexdigest()


def _read(path: Path, checksum: object) -> NDArray[Any]:
    try:
        if ends_crc(path) != checksum:
            raise ArchiveInvalid(f"{path} is not the file that was built. {_MEND}")
        return np.asarray(np.load(path, allow_pickle=False))
    except BAD_ARRAY as error:
        raise ArchiveInvalid(f"{path} is missing or damaged ({error}). {_MEND}") from error


def _name(archive: Archive, part: str) -> str:
    return f"index-{archive.manifest.centring:03d}{'.' if part == 'json' else '-'}{part}"
