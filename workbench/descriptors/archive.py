"""The archive: tiles and descriptors on disk, opened whole or refused by name, with the imagery they came from."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from workbench.descriptors.batches import Skipped
from workbench.descriptors.codes.decoding import archive_decoder, decode
from workbench.descriptors.codes.packed import read_codes
from workbench.descriptors.codes_only import copy_outlines, read_codes_only, write_codes_only
from workbench.descriptors.contents import read_contents
from workbench.descriptors.dense import encode_alone, encode_window
from workbench.descriptors.derived import may_write
from workbench.descriptors.encoders import Encoder
from workbench.descriptors.footprints import footprints
from workbench.descriptors.imported import Outlines, check_outlines, find_outlines
from workbench.descriptors.looks import ATTACHED, Attached, Look, attach, look_there, read_attached, seen_there
from workbench.descriptors.manifest import read_manifest, with_dates, write_manifest
from workbench.descriptors.parts import damaged_parts
from workbench.descriptors.recorded import check_encoder, load_recorded
from workbench.descriptors.sources import changed_content, find_rasters, relocated
from workbench.descriptors.stored import Stored
from workbench.errors import ArchiveInvalid, QueryInvalid, RasterUnreadable
from workbench.imagery.rasters import Imagery
from workbench.imagery.render import Stretch

log = logging.getLogger(__name__)
_TOGETHER = 8


@dataclass(repr=False)
class Archive(Stored):
    """Tiles of some imagery and their descriptors: what is `Stored`, with the imagery and the encoder.

    Attributes:
        imagery: the rasters, in the order that ``tiles["raster"]`` counts them.
        skipped: tiles that could not be indexed, and why.
        problems: what is wrong with the imagery now, in words.
    """

    imagery: Imagery
    skipped: tuple[Skipped, ...]
    without_data: int
    problems: tuple[str, ...]
    _encoder: Encoder | None = None

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

    def examples_of(self, numbers: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """Descriptors of tiles to search and to learn with, centred, of unit length, float32 (m, dim): see `vectors_of`.

        Of an archive of codes only, they are descriptors that have the tiles' codes.
        """
        if self.has_descriptors:
            return self.vectors_of(numbers)
        return decode(self.codes[np.asarray(numbers, np.int64)], self.code_model, self._decoder)

    @cached_property
    def _decoder(self) -> NDArray[np.float32]:
        """What tells descriptors from codes, in an archive of codes only: these are never fitted again."""
        return archive_decoder(self)

    def quicklook(self, raster: int) -> Path | None:
        """The small copy of a raster that has no overviews of its own."""
        path = self.find_derived(self.manifest.rasters[raster].quicklook)
        return path if path.is_file() else None

    def _lone_chips(self, count: int = 96) -> NDArray[np.float32]:
        """Uncentred descriptors of some of the archive's own tiles, seen as chips without surroundings."""
        chosen = np.unique(np.linspace(0, len(self) - 1, min(count, len(self))).astype(int))
        chosen = chosen if self.outlines is None else chosen[:0]
        chips: dict[tuple[int, ...], list[NDArray[np.uint8]]] = {}
        for number in chosen:
            try:
                pixels = self.pixels(int(number))
            except RasterUnreadable as error:
                log.warning("%s", error)
            else:
                chips.setdefault(pixels.shape, []).append(pixels)
        found = [np.empty((0, self.manifest.dim), np.float32)]
        for alike in chips.values():
            found += [
                encode_alone(np.stack(alike[start : start + _TOGETHER]), self.encoder)
                for start in range(0, len(alike), _TOGETHER)
            ]
        return np.concatenate(found)

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
        contents.tiles,
        contents.descriptors,
        rasters,
        contents.skipped,
        contents.without_data,
        tuple(problems),
        encoder,
    )
