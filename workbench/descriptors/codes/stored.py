"""An archive's own codes: fitted once, kept among its derived files, and encoded again only where tiles changed."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
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


@dataclass(frozen=True)
class CodesOf:
    """What an archive's codes are made of.

    Attributes:
        folders: where derived files are read; they are written to the last, which is asked first.
        manifest: of the archive.
        tiles: of the archive.
        raw: its descriptors (n, dim).
        centring: its centring.
        model: its code model.
    """

    folders: Sequence[Path]
    manifest: Manifest
    tiles: Tiles
    raw: Rows
    centring: Centring
    model: CodeModel

    def read(self) -> Codes:
        """Packed codes uint8 (n, bits // 8) of all tiles, memory-mapped: as stored, or encoded now and stored.

        A small record beside them names what they were made of. Those of rasters whose pixels, tiles, mean and model are
        the same are taken over; only the others are encoded.

        Raises:
            ArchiveInvalid: the stored codes are damaged.
            DiskFull: there is no room for them.
        """
        folder = self.folder()
        if folder is None:
            folder = self.folders[-1]
            write_codes(folder, self.manifest.centring, self._parts(), self._shape, self._about)
        return read_codes(folder, self.manifest.centring, self._shape)

    def folder(self) -> Path | None:
        """The folder that holds the codes, or None when they have to be made."""
        version, about = self.manifest.centring, self._about
        for folder in reversed(self.folders):
            stored = read_record(folder, version)
            if about.items() <= stored.items() and codes_there(folder, version):
                return folder
        return None

    @property
    def _shape(self) -> tuple[int, int]:
        return len(self.raw), self.model.bits // 8

    @cached_property
    def _rasters(self) -> list[tuple[slice, str]]:
        """The tiles of each raster, and a name of everything about them that their codes depend on."""
        rasters = self.manifest.rasters
        made_of = (hashlib.blake2b(f"{entry.content} {entry.stretch}".encode(), digest_size=8) for entry in rasters)
        tiles = raster_tiles(self.tiles, len(rasters))
        return [(rows, name + digest.hexdigest()) for (rows, name), digest in zip(tiles, made_of, strict=True)]

    @cached_property
    def _about(self) -> dict[str, object]:
        rasters = [[name, rows.stop - rows.start] for rows, name in self._rasters]
        source = _source(self.centring, self.model)
        about = {"kind": self.model.kind, "bits": self.model.bits, "tiles": len(self.raw)}
        return {**about, "source": source, "rasters": rasters}

    def _parts(self) -> Iterator[NDArray[np.uint8]]:
        version = self.manifest.centring
        known: dict[str, tuple[Codes, int]] = {}
        for folder in self.folders:
            stored = read_record(folder, version)
            if stored.get("source") == self._about["source"]:
                known |= _known(folder, version, stored.get("rasters"))
        for rows, name in self._rasters:
            there = known.get(name)
            for start in range(rows.start, rows.stop, _CHUNK):
                stop = min(start + _CHUNK, rows.stop)
                if there is not None:
                    moved = there[1] - rows.start
                    yield there[0][start + moved : stop + moved]
                else:
                    yield self.model.encode(self.centring.apply(self.raw[start:stop]))


def _known(folder: Path, version: int, made_of: object) -> dict[str, tuple[Codes, int]]:
    """By the name of what a raster's codes were made of: all stored codes, and where its own begin; empty if unusable."""
    try:
        codes = read_codes(folder, version)
        counts = [(str(name), int(count)) for name, count in made_of]  # type: ignore[attr-defined]
    except (ArchiveInvalid, TypeError, ValueError) as error:
        log.warning("Codes are made anew: %s", error)
        return {}
    ends = np.cumsum([count for _, count in counts])
    if not len(ends) or ends[-1] != len(codes):
        return {}
    return {name: (codes, end - count) for (name, count), end in zip(counts, ends.tolist(), strict=True)}


def _source(centring: Centring, model: CodeModel) -> str:
    """Names the numbers that turn descriptors into codes: 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for values in (centring.mean, centring.scale, *model.tensors().values()):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
