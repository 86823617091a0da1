"""The archive: tiles and descriptors on disk, opened whole or refused by name, with the imagery they came from."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from workbench.descriptors.batches import Skipped
from workbench.descriptors.centring import Centring, centring_name, drift_of, fit_centring, read_centring
from workbench.descriptors.codes.decoding import archive_decoder
from workbench.descriptors.codes.models import CodeModel
from workbench.descriptors.codes.packed import Codes, codes_there, order_codes, read_codes
from workbench.descriptors.codes.stored import CodesOf, check_archive_codes, fit_model, read_model
from workbench.descriptors.codes_only import copy_outlines, read_codes_only, write_codes_only
from workbench.descriptors.contents import read_contents
from workbench.descriptors.dense import encode_alone, encode_window
from workbench.descriptors.derived import FOLDER, derived_folder, find_derived, may_write
from workbench.descriptors.encoders import Encoder
from workbench.descriptors.footprints import footprints
from workbench.descriptors.imported import Outlines, check_outlines, find_outlines
from workbench.descriptors.looks import ATTACHED, Attached, Look, attach, look_there, read_attached, seen_there
from workbench.descriptors.manifest import Manifest, read_manifest, with_dates, write_manifest
from workbench.descriptors.parts import damaged_parts
from workbench.descriptors.recorded import check_encoder, load_recorded
from workbench.descriptors.rows import Rows
from workbench.descriptors.sources import changed_content, find_rasters, relocated
from workbench.descriptors.tiles import Tiles, tile_sizes, tiles_digest, tiles_within
from workbench.errors import ArchiveInvalid, QueryInvalid, RasterUnreadable
from workbench.imagery.grid import Tile
from workbench.imagery.rasters import Imagery
from workbench.imagery.render import Stretch

log = logging.getLogger(__name__)


@dataclass(repr=False)
class Archive:
    """Tiles of some imagery and their descriptors.

    Attributes:
        folder: where it is.
        manifest: encoder, grid and rasters.
        imagery: the rasters, in the order that ``tiles["raster"]`` counts them.
        tiles: rows (n,) of raster, row, col, size: a structured array, or in large archives what reads like one.
        descriptors: as pooled, float16 (n, dim), in parts on disk; None in an archive of codes only. See `raw`.
        skipped: tiles that could not be indexed, and why.
        problems: what is wrong with the imagery now, in words.
    """

    folder: Path
    manifest: Manifest
    imagery: Imagery
    tiles: Tiles
    descriptors: Rows | None
    skipped: tuple[Skipped, ...]
    without_data: int
    problems: tuple[str, ...]
    _encoder: Encoder | None = None

    def __len__(self) -> int:
        return len(self.tiles)

    def __repr__(self) -> str:
        """Tiles, rasters, encoder, folder, and what is wrong."""
        sizes = " and ".join(map(str, self.sizes))
        rasters = f"{len(self.imagery)} raster{'s' if len(self.imagery) != 1 else ''}"
        said = (
            f"{len(self):,} tiles of {sizes} px from {rasters}, described by {self.manifest.encoder}, in {self.folder}"
        )
        return "\n".join((said, *self.problems))

    @property
    def complete(self) -> bool:
        """Whether every batch is there; a build that was interrupted leaves an archive that can be searched already."""
        return self.manifest.complete

    @property
    def encoder(self) -> Encoder:
        """The encoder the descriptors were made with, loaded when it is first needed.

        Raises:
            WeightsUnavailable: its weights are not on this machine.
            ArchiveMismatch: the weights found are not those of the archive.
        """
        if self._encoder is None:
            self._encoder = load_recorded(self.manifest)
        return self._encoder

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
        return found or fit_centring(path, self.raw, self._lone_chips(), standardise=self.manifest.standardise)

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

    def codes_only(self, folder: str | Path) -> Archive:
        """Write an archive of this one's codes without its descriptors, about a sixteenth of the size, and open it.

        It is searched by its codes, and cannot be added to or fitted again.

        Raises:
            FileExists: the folder holds an archive.
            DiskFull: there is no room.
        """
        folder, step = Path(folder), 1 << 18
        parts = (np.asarray(self.codes[start : start + step]) for start in range(0, len(self), step))
        copy_outlines(self.folder, folder, self.manifest)
        made_of = self.manifest, self.tiles, parts, self.centring, self.code_model
        write_codes_only(
            folder, *made_of, decoder=archive_decoder(self), without_data=self.without_data, skipped=self.skipped
        )
        return open_archive(folder, imagery=self.imagery, encoder=self._encoder)

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

    def relocate(self, imagery: Imagery | str | Path) -> None:
        """Say where the rasters are now; they are recognised by their content, and their new place is kept.

        In an archive that is read-only it holds for this object only, which is logged.

        Args:
            imagery: rasters, or what `open_imagery` takes.

        Raises:
            ArchiveMismatch: none of the archive's rasters is there; nothing was changed.
        """
        manifest = relocated(self.manifest, imagery)
        if may_write(self.folder):
            write_manifest(self.folder, manifest)
        else:
            log.warning("%s is read-only: open it with imagery= each time.", self.folder)
        rasters, problems = find_rasters(manifest, None)
        self.manifest, self.imagery, self.problems = manifest, rasters, tuple(problems)

    def set_dates(self, dates: Mapping[str, str]) -> None:
        """Say when rasters were taken, by name: ``2019``, ``2019-06`` or ``2019-06-03``; kept in the manifest.

        Raises:
            QueryInvalid: something is no date, or there is no raster of a name; nothing was changed.
        """
        self.manifest = with_dates(self.manifest, dates)
        write_manifest(self.folder, self.manifest)
        known = zip(self.imagery, self.manifest.rasters, strict=True)
        self.imagery = Imagery(tuple(replace(raster, date=entry.date or raster.date) for raster, entry in known))

    def check(self, *, deep: bool = False) -> tuple[str, ...]:
        """Everything wrong with the imagery, in words; ``deep`` reads it, and all descriptors, whole.

        A raster's fingerprint is read from 1 MB of it, so a change between its pieces that keeps size and date is found
        by the deep check only.
        """
        if not deep:
            return self.problems
        changed = changed_content(self.manifest, self.imagery, self.problems)
        damaged = damaged_parts(self.folder, self.manifest.dim)
        if not self.has_descriptors:
            try:
                read_codes(self._codes_folder, self.manifest.centring, deep=True)
            except ArchiveInvalid as error:
                damaged.append(str(error))
        return (*self.problems, *changed, *damaged)

    def tiles_within(self, raster: int, left: float, top: float, right: float, bottom: float) -> NDArray[np.int64]:
        """Tiles whose centre lies in a rectangle of a raster's pixels, ascending; see `tiles.tiles_within`."""
        return tiles_within(self.tiles, raster, left, top, right, bottom)

    def tile(self, number: int) -> Tile:
        """The tile in row ``number`` of the archive."""
        raster, row, col, size = self.tiles[number].item()
        return Tile(raster, row, col, size)

    def footprint(self, number: int, crs: str | None = None) -> BaseGeometry:
        """Where a tile is: in ``crs``, or in its raster's own CRS (in pixels where it has none)."""
        return self.footprints([number], crs)[0]

    def footprints(self, numbers: Sequence[int] | NDArray[np.int64], crs: str | None = None) -> NDArray[np.object_]:
        """Where many tiles are, as polygons (m,): see `footprint`. Imported tiles have the outline that they came with."""
        numbers = np.asarray(numbers, np.int64)
        return footprints(self.imagery, numbers, self.tiles[numbers], self.outlines, crs)

    @cached_property
    def outlines(self) -> Outlines | None:
        """The tiles' outlines as they were imported; None in an archive that was built from imagery."""
        return find_outlines(self.folder, [entry.imported for entry in self.manifest.rasters])

    def attach(self, imagery: Imagery | str | Path) -> None:
        """Look at imported tiles with imagery of the place; it is remembered beside the derived files.

        Raises:
            QueryInvalid: the archive was built from imagery of its own.
        """
        if self.outlines is None:
            raise QueryInvalid("This archive has imagery of its own. If that moved, call archive.relocate(FOLDER).")
        self.attached = attach(self.derived / ATTACHED, imagery)

    @cached_property
    def attached(self) -> Attached | None:
        """Imagery to look at imported tiles with; None when there is none, and in an archive that was built from imagery."""
        return None if self.outlines is None else read_attached(self.find_derived(ATTACHED))

    def look(self, number: int) -> Look:
        """Where the pixels of a tile are to be seen, and with which stretch.

        Raises:
            RasterUnreadable: its descriptor was imported, and no imagery of its place is attached.
        """
        tile = self.tile(number)
        raster = self.imagery[tile.raster]
        if self.outlines is None:
            return Look(raster, tile.window, self.stretch(tile.raster))
        return look_there(raster, self.footprint(number), self.attached)

    def stretch(self, raster: int) -> Stretch:
        """The stretch a raster was encoded with."""
        return self.manifest.rasters[raster].stretch

    def describe(self, raster: int, shape: BaseGeometry) -> NDArray[np.float32]:
        """The centred unit descriptor (dim,) of any rectangle or polygon in a raster's pixel coordinates.

        It is pooled from a fresh feature map in full context, so it compares with tiles of the archive.
        """
        from rasterio.windows import Window

        encoder = self.encoder  # that it is missing is the first thing to say
        source, shape, stretch = seen_there(self.imagery[raster], shape, self.stretch(raster), self.attached)
        left, top, right, bottom = shape.bounds
        window = Window(left, top, max(1.0, right - left), max(1.0, bottom - top))
        features = encode_window(source, window, self.manifest.rasters[raster].scale, encoder, stretch)
        return self.centring.apply(self.encoder.finish(features.pool_shape(shape)[None]))[0]

    def describe_image(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The centred unit descriptor (dim,) of a chip from elsewhere, RGB uint8 (3, rows, cols)."""
        return self.centring.apply(encode_alone(pixels, self.encoder)[None], alone=True)[0]

    def quicklook(self, raster: int) -> Path | None:
        """The small copy of a raster that has no overviews of its own."""
        path = self.find_derived(self.manifest.rasters[raster].quicklook)
        return path if path.is_file() else None

    def _lone_chips(self, count: int = 96) -> NDArray[np.float32]:
        """Uncentred descriptors of some of the archive's own tiles, seen as chips without surroundings."""
        chosen = np.unique(np.linspace(0, len(self) - 1, min(count, len(self))).astype(int))
        chosen = chosen if self.outlines is None else chosen[:0]
        found = []
        for number in chosen:
            try:
                found.append(encode_alone(self.pixels(int(number)), self.encoder))
            except RasterUnreadable as error:
                log.warning("%s", error)
        return np.array(found, np.float32).reshape(-1, self.manifest.dim)

    def pixels(self, number: int) -> NDArray[np.uint8]:
        """A tile's pixels as the encoder saw them: RGB uint8 (3, rows, cols), at the archive's ground resolution."""
        from workbench.imagery.render import display_bands

        tile = self.tile(number)
        raster, entry = self.imagery[tile.raster], self.manifest.rasters[tile.raster]
        side = max(1, round(tile.size / entry.scale))
        return entry.stretch.apply(raster.read(tile.window, size=(side, side)))[list(display_bands(raster))]


def open_archive(
    folder: str | Path, *, imagery: Imagery | str | Path | None = None, encoder: Encoder | None = None
) -> Archive:
    """Open an archive for searching.

    Args:
        folder: of the archive.
        imagery: where the rasters are now, when they moved; they are recognised by their content.
        encoder: the archive's encoder, when it is the user's own or its weights moved.

    Raises:
        ArchiveInvalid: a part is missing, damaged or does not belong here; the message names it.
        ArchiveMismatch: ``encoder`` is not the archive's.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    if encoder is not None:
        check_encoder(manifest, encoder)
    rasters, problems = find_rasters(manifest, imagery)
    contents = (read_codes_only if manifest.codes_only else read_contents)(folder, manifest)
    if contents.missing and manifest.complete:
        raise ArchiveInvalid(
            f"{folder}: {contents.missing} of {contents.batches} batches are gone. Restore their files, or run "
            "build_archive again to make them anew."
        )
    if contents.missing:
        problems.append(
            f"The build stopped with {contents.missing} of {contents.batches} batches to go; run build_archive again."
        )
    if not len(contents.tiles):
        stopped = ": the build was interrupted before its first batch" if contents.missing else ""
        raise ArchiveInvalid(f"{folder} holds no tiles{stopped}.")
    for problem in problems:
        log.warning("%s", problem)
    check_outlines(folder, [entry.imported for entry in manifest.rasters], len(contents.tiles))
    return Archive(
        folder,
        manifest,
        rasters,
        contents.tiles,
        contents.descriptors,
        contents.skipped,
        contents.without_data,
        tuple(problems),
        encoder,
    )
