"""An archive's own codes: fitted once, kept in its derived folder, encoded again when its tiles or centring change."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.batches import BAD_ARRAY
from workbench.descriptors.centring import Centring
from workbench.descriptors.codes.fitting import SUPERVISED, check_kind, fit_codes, least_rows
from workbench.descriptors.codes.models import CodeModel
from workbench.descriptors.codes.saved import load_codes, save_codes
from workbench.descriptors.manifest import Manifest
from workbench.descriptors.rows import Rows
from workbench.errors import ArchiveInvalid, QueryInvalid
from workbench.files import atomic_write, write_json

log = logging.getLogger(__name__)
_SAMPLE = 20_000  # forty rows a dimension: more cost minutes and memory
_CHUNK = 16_384
Find = Callable[[str], Path]
"""From the name of a derived file to where it is, or is to be written."""
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


def check_archive_codes(kind: str, bits: int) -> None:
    """Raise `QueryInvalid` unless an archive can fit codes of this kind and length by itself."""
    check_kind(kind, bits)
    if kind in SUPERVISED:
        raise QueryInvalid(
            f"{kind} codes learn from labels, and an archive has none. Choose another kind for it, or fit them with "
            "fit_codes(..., labels=)."
        )


def archive_model(find: Find, manifest: Manifest, raw: Rows, centring: Centring) -> CodeModel:
    """The model of the manifest's kind, bits and version: as stored, or fitted now and stored.

    Args:
        find: where a derived file is, or is to be written.
        manifest: of the archive.
        raw: its descriptors (n, dim); at most 20,000, evenly spaced, are used.
        centring: its centring.

    Raises:
        ArchiveInvalid: the file is damaged or does not belong to the archive.
    """
    path = find(_name(manifest, ".safetensors"))
    # Archives of a tile or two cannot be learned from.
    kind = manifest.code_kind if len(raw) >= least_rows(manifest.code_kind) else "rotation"
    if path.is_file():
        model = load_codes(path)
        known = model.kind in (manifest.code_kind, "rotation")
        if not known or (model.bits, model.dim) != (manifest.code_bits, manifest.dim):
            raise ArchiveInvalid(
                f"{path} holds {model.kind} codes of {model.bits} bits for {model.dim} dimensions, not {kind} codes of "
                f"{manifest.code_bits} for {manifest.dim}. Delete it: it is fitted again from the descriptors."
            )
        return model
    rows = np.unique(np.linspace(0, len(raw) - 1, min(_SAMPLE, len(raw))).astype(np.int64))
    model = fit_codes(kind, centring.apply(raw[rows]), bits=manifest.code_bits)
    with _kept_where_allowed(path):
        save_codes(model, path)
    return model


def archive_codes(
    find: Find,
    manifest: Manifest,
    tiles: NDArray[Any],
    raw: Rows,
    centring: Centring,
    model: CodeModel,
) -> NDArray[np.uint8]:
    """Packed codes uint8 (n, bits // 8) of all tiles, memory-mapped: as stored, or encoded now and stored.

    A small record beside them, written last, names what they were made of: codes of other tiles, pixels or another
    mean are made anew.

    Raises:
        ArchiveInvalid: the stored codes are damaged.
    """
    path, record = find(_name(manifest, ".npy")), find(_name(manifest, ".json"))
    source = _source(manifest, tiles, centring, model)
    stored = _read_record(record)
    if stored.get("source") == source and path.is_file():
        return _read_codes(path, stored.get("crc32"), (len(raw), model.bits // 8))
    codes = np.concatenate([model.encode(centring.apply(part)) for _, part in raw.chunks(_CHUNK)])
    with _kept_where_allowed(path):
        with atomic_write(path) as aside, aside.open("wb") as file:
            np.save(file, codes, allow_pickle=False)
        about = {"kind": model.kind, "bits": model.bits, "tiles": len(codes)}
        write_json(record, {**about, "source": source, "crc32": zlib.crc32(codes.data)})
    return codes


def _read_codes(path: Path, crc: object, shape: tuple[int, int]) -> NDArray[np.uint8]:
    mend = "Delete it: it is made again from the descriptors."
    try:
        codes = np.load(path, mmap_mode="r", allow_pickle=False)
    except BAD_ARRAY as error:
        raise ArchiveInvalid(f"{path} is damaged ({error}). {mend}") from error
    if (codes.shape, codes.dtype) != (shape, np.dtype(np.uint8)) or zlib.crc32(np.ascontiguousarray(codes).data) != crc:
        raise ArchiveInvalid(f"{path} is damaged: it is not the file that was written. {mend}")
    return codes


def _read_record(path: Path) -> dict[str, object]:
    """The record, or nothing where there is none to be read: the codes are then made again."""
    try:
        stored = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return stored if isinstance(stored, dict) else {}


def _source(manifest: Manifest, tiles: NDArray[Any], centring: Centring, model: CodeModel) -> str:
    """Names everything that codes are made of: 32 hexadecimal digits."""
    digest = hashlib.blake2b(np.ascontiguousarray(tiles).tobytes(), digest_size=16)
    for entry in manifest.rasters:
        digest.update(f"{entry.content} {entry.stretch}".encode())
    for values in (centring.mean, centring.scale, *model.tensors().values()):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


@contextmanager
def _kept_where_allowed(path: Path) -> Iterator[None]:
    """Go on without storing where the archive is shared read-only: codes can be made again at any time."""
    try:
        path.parent.mkdir(exist_ok=True)
        yield
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise
        log.warning("%s was not written: the archive may not be changed. Its codes are made anew each time.", path)


def _name(manifest: Manifest, suffix: str) -> str:
    return f"codes-{manifest.centring:03d}{suffix}"
