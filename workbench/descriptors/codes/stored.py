"""An archive's own codes: fitted once, kept among its derived files, and encoded again only where tiles changed."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.centring import Centring
from workbench.descriptors.codes.fitting import SUPERVISED, check_kind, fit_codes, least_rows
from workbench.descriptors.codes.models import CodeModel
from workbench.descriptors.codes.packed import Codes, codes_name, codes_there, read_codes, read_record, write_codes
from workbench.descriptors.codes.saved import load_codes, save_codes
from workbench.descriptors.derived import find_derived
from workbench.descriptors.manifest import Manifest
from workbench.descriptors.rows import Rows
from workbench.descriptors.tiles import Tiles, raster_tiles
from workbench.errors import ArchiveInvalid, QueryInvalid

log = logging.getLogger(__name__)
_SAMPLE = 20_000  # forty rows a dimension: more cost minutes and memory
_CHUNK = 16_384


def check_archive_codes(kind: str, bits: int) -> None:
    """Raise `QueryInvalid` unless an archive can fit codes of this kind and length by itself."""
    check_kind(kind, bits)
    if kind in SUPERVISED:
        raise QueryInvalid(
            f"{kind} codes learn from labels, and an archive has none. Choose another kind for it, or fit them with "
            "fit_codes(..., labels=)."
        )


def read_model(folders: Sequence[Path], manifest: Manifest) -> CodeModel | None:
    """The stored model of the manifest's kind, bits and version, or None when it has to be fitted.

    Raises:
        ArchiveInvalid: the file is damaged or does not belong to the archive.
    """
    path = find_derived(folders, codes_name(manifest.centring, "safetensors"))
    if not path.is_file():
        return None
    model = load_codes(path)
    known = model.kind in (manifest.code_kind, "rotation")
    if not known or (model.bits, model.dim) != (manifest.code_bits, manifest.dim):
        raise ArchiveInvalid(
            f"{path} holds {model.kind} codes of {model.bits} bits for {model.dim} dimensions, not {manifest.code_kind} "
            f"codes of {manifest.code_bits} for {manifest.dim}. Delete it: it is fitted again from the descriptors."
        )
    return model


def fit_model(folder: Path, manifest: Manifest, raw: Rows, centring: Centring) -> CodeModel:
    """Fit the model of the manifest's kind and bits, and store it.

    Args:
        folder: to write in.
        manifest: of the archive.
        raw: its descriptors (n, dim); at most 20,000, evenly spaced, are used.
        centring: its centring.
    """
    # Archives of a tile or two cannot be learned from.
    kind = manifest.code_kind if len(raw) >= least_rows(manifest.code_kind) else "rotation"
    rows = np.unique(np.linspace(0, len(raw) - 1, min(_SAMPLE, len(raw))).astype(np.int64))
    model = fit_codes(kind, centring.apply(raw[rows]), bits=manifest.code_bits)
    save_codes(model, folder / codes_name(manifest.centring, "safetensors"))
    return model


def archive_codes(
    folders: Sequence[Path], manifest: Manifest, tiles: Tiles, raw: Rows, centring: Centring, model: CodeModel
) -> Codes:
    """Packed codes uint8 (n, bits // 8) of all tiles, memory-mapped: as stored, or encoded now and stored.

    A small record beside them names what they were made of. Those of rasters whose pixels, tiles, mean and model are the
    same are taken over; only the others are encoded.

    Args:
        folders: where derived files are read, in order; the last is written to.
        manifest: of the archive.
        tiles: of the archive.
        raw: its descriptors (n, dim).
        centring: its centring.
        model: its code model.

    Raises:
        ArchiveInvalid: the stored codes are damaged.
        DiskFull: there is no room for them.
    """
    version, shape = manifest.centring, (len(raw), model.bits // 8)
    named = [
        (rows, f"{digest}{hashlib.blake2b(f'{entry.content} {entry.stretch}'.encode(), digest_size=8).hexdigest()}")
        for (rows, digest), entry in zip(raster_tiles(tiles, len(manifest.rasters)), manifest.rasters, strict=True)
    ]
    made_of = [[name, rows.stop - rows.start] for rows, name in named]
    source = _source(centring, model)
    known: dict[str, NDArray[np.uint8]] = {}
    for folder in folders:
        stored = read_record(folder, version)
        if stored.get("source") != source:
            continue
        if stored.get("rasters") == made_of and codes_there(folder, version):
            return read_codes(folder, version, shape)
        known |= _known(folder, version, stored.get("rasters"))

    def parts() -> Iterator[NDArray[np.uint8]]:
        for rows, name in named:
            there = known.get(name)
            for start in range(rows.start, rows.stop, _CHUNK):
                stop = min(start + _CHUNK, rows.stop)
                if there is not None:
                    yield there[start - rows.start : stop - rows.start]
                else:
                    yield model.encode(centring.apply(raw[start:stop]))

    about = {"kind": model.kind, "bits": model.bits, "tiles": len(raw), "source": source, "rasters": made_of}
    write_codes(folders[-1], version, parts(), shape, about)
    return read_codes(folders[-1], version, shape)


def _known(folder: Path, version: int, made_of: object) -> dict[str, NDArray[np.uint8]]:
    """The stored codes of each raster by the name of what they were made of; none where they cannot be used."""
    try:
        codes = read_codes(folder, version)
        counts = [(str(name), int(count)) for name, count in made_of]  # type: ignore[attr-defined]
    except (ArchiveInvalid, TypeError, ValueError) as error:
        log.warning("Codes are made anew: %s", error)
        return {}
    ends = np.cumsum([count for _, count in counts])
    if not len(ends) or ends[-1] != len(codes):
        return {}
    return {name: codes[end - count : end] for (name, count), end in zip(counts, ends.tolist(), strict=True)}


def _source(centring: Centring, model: CodeModel) -> str:
    """Names the numbers that turn descriptors into codes: 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for values in (centring.mean, centring.scale, *model.tensors().values()):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
