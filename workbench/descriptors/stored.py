"""What an archive keeps on disk, and what is made of it once: tiles, descriptors, their centring and their codes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.centring import Centring, centring_name, drift_of, fit_centring, read_centring, save_centring
from workbench.descriptors.codes.models import CodeModel
from workbench.descriptors.codes.packed import Codes, codes_there, order_codes, read_codes
from workbench.descriptors.codes.stored import CodesOf, check_archive_codes, fit_model, read_model
from workbench.descriptors.derived import FOLDER, derived_folder, find_derived, may_write
from workbench.descriptors.manifest import Manifest, write_manifest
from workbench.descriptors.rows import Rows
from workbench.descriptors.tiles import Tiles, tile_sizes, tiles_digest, tiles_within
from workbench.errors import ArchiveInvalid
from workbench.imagery.grid import Tile


@dataclass(repr=False)
class Stored:
    """Tiles and descriptors in a folder, without their imagery.

    Attributes:
        folder: where it is.
        manifest: encoder, grid and rasters.
        tiles: rows (n,) of raster, row, col, size: a structured array, or in large archives what reads like one.
        descriptors: as pooled, float16 (n, dim), in parts on disk; None in an archive of codes only. See `raw`.
    """

    folder: Path
    manifest: Manifest
    tiles: Tiles
    descriptors: Rows | None

    def __len__(self) -> int:
        return len(self.tiles)

    def tiles_within(self, raster: int, left: float, top: float, right: float, bottom: float) -> NDArray[np.int64]:
        """Tiles whose centre lies in a rectangle of a raster's pixels, ascending; see `tiles.tiles_within`."""
        return tiles_within(self.tiles, raster, left, top, right, bottom)

    def tile(self, number: int) -> Tile:
        """The tile in row ``number`` of the archive."""
        raster, row, col, size = self.tiles[number].item()
        return Tile(raster, row, col, size)

    @property
    def has_descriptors(self) -> bool:
        """Whether descriptors are stored; an archive of codes only has none."""
        return self.descriptors is not None

    @property
    def raw(self) -> Rows:
        """Descriptors as pooled, float16 (n, dim), read from disk as they are asked for; centred: `vectors_of`.

        Raises:
            ArchiveInvalid: the archive holds codes only.
        """
        if self.descriptors is None:
            raise ArchiveInvalid(
                f"{self.folder} holds codes only, and descriptors were asked for. Search it by its codes, or open the "
                "archive that it was made from."
            )
        return self.descriptors

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Tile sizes in pixels, ascending."""
        return tile_sizes(self.tiles)

    @cached_property
    def identity(self) -> str:
        """Tells this archive's tiles and descriptors from any other's: 32 hexadecimal digits."""
        manifest = self.manifest
        parts = [manifest.encoder, manifest.weights_hash, manifest.orientations, tiles_digest(self.tiles)]
        parts += [entry.content for entry in manifest.rasters]
        return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()

    @cached_property
    def derived(self) -> Path:
        """Where files made from the archive are written: in it, or in the user's own folder where it is read-only."""
        return derived_folder(self.folder, self.identity)

    def find_derived(self, name: str) -> Path:
        """A derived file, where it is or would be written: the archive's own where it has one."""
        return find_derived(self._derived_folders, name)

    @property
    def _derived_folders(self) -> tuple[Path, ...]:
        """Where derived files are read, in order; the last is written to. Those of an archive of codes are part of it."""
        return (self.folder, self.folder / FOLDER, self.derived)[self.has_descriptors :]

    @cached_property
    def centring(self) -> Centring:
        """The mean that is taken off every descriptor; fitted once and frozen until `refit`."""
        path = self.find_derived(centring_name(self.manifest.centring))
        found = read_centring(path, self.manifest.dim)
        if found is None:
            found = fit_centring(self.raw, self._lone_chips(), standardise=self.manifest.standardise)
            save_centring(path, found)
        return found

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """Centred descriptors of unit length, float32 (n, dim), all in memory: for archives that are small."""
        return self.centring.apply(np.asarray(self.raw))

    def vectors_of(self, numbers: NDArray[np.integer[Any]] | Sequence[int]) -> NDArray[np.float32]:
        """Centred descriptors of unit length of some tiles, float32 (m, dim): their dot product is the cosine.

        Raises:
            ArchiveInvalid: the archive holds codes only.
        """
        return self.centring.apply(self.raw[np.asarray(numbers, np.int64)])

    @property
    def drift(self) -> float:
        """How far the mean has moved since it was fitted, by rasters that were added; see `centring.drift_of`."""
        return drift_of(self.centring, self.raw)

    @cached_property
    def code_model(self) -> CodeModel:
        """What turns centred descriptors into codes; fitted once and frozen until `refit`."""
        found = read_model(self._derived_folders, self.manifest)
        return found or fit_model(self.derived, self.manifest, self.raw, self.centring)

    @cached_property
    def codes(self) -> Codes:
        """Packed codes of all tiles by number, uint8 (n, bits // 8), memory-mapped.

        Raises:
            ArchiveInvalid: the stored codes are damaged; the message names the file.
        """
        shape = len(self), self.manifest.code_bits // 8
        made_of = self._codes_of
        return read_codes(self._codes_folder, self.manifest.centring, shape) if made_of is None else made_of.read()

    @property
    def _codes_of(self) -> CodesOf | None:
        """What codes are made of; None in an archive that has them only."""
        if not self.has_descriptors:
            return None
        return CodesOf(self._derived_folders, self.manifest, self.tiles, self.raw, self.centring, self.code_model)

    @property
    def _codes_folder(self) -> Path:
        """The folder with the codes of an archive that has only them; the user's own where they were ordered there."""
        there = (each for each in reversed(self._derived_folders) if codes_there(each, self.manifest.centring))
        return next(there, self.folder)

    def order_codes(self, order: NDArray[np.uint32]) -> None:
        """Store the codes in another order, in which those near one another lie together; by number they stay the same.

        Args:
            order: number of the tile in each row, (n,).

        Raises:
            DiskFull: there is no room for both orders.
        """
        _ = self.codes  # made if they were not yet
        source = self._codes_of.folder() if self._codes_of is not None else self._codes_folder
        into = source if source is not None and may_write(source) else self.derived
        order_codes(source or into, self.manifest.centring, order, into)
        self.__dict__.pop("codes", None)

    def refit(self, *, code_kind: str | None = None, code_bits: int | None = None) -> None:
        """Fit centring and codes anew, for instance after rasters were added; descriptors stay as they are.

        Args:
            code_kind: of the codes from now on, one that needs no labels (see `codes.fitting.KINDS`); as before when None.
            code_bits: their length, a multiple of 8; as before when None.

        Raises:
            QueryInvalid: there are no such codes; nothing was changed.
            ArchiveInvalid: the archive holds codes only.
        """
        _ = self.raw
        kind, bits = code_kind or self.manifest.code_kind, code_bits or self.manifest.code_bits
        check_archive_codes(kind, bits)
        version = self.manifest.centring + 1
        self.manifest = replace(self.manifest, centring=version, code_kind=kind, code_bits=bits)
        write_manifest(self.folder, self.manifest)
        for name in ("centring", "vectors", "code_model", "codes"):
            self.__dict__.pop(name, None)

    def _lone_chips(self) -> NDArray[np.float32]:
        """Uncentred descriptors (m, dim) of some tiles seen as chips without surroundings; none without imagery."""
        return np.empty((0, self.manifest.dim), np.float32)
