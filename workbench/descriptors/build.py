"""Building an archive: blocks read, encoded and pooled, committed batch by batch, resumed where it stopped."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window

from workbench.descriptors.archive import Archive, open_archive
from workbench.descriptors.batches import Skipped, write_batch
from workbench.descriptors.centring import MUCH_DRIFT
from workbench.descriptors.compaction import committed_batches, compact
from workbench.descriptors.dense import Block, FeatureMap, encode_block, encode_window, read_block
from workbench.descriptors.derived import FOLDER
from workbench.descriptors.encoders import Encoder, load_encoder
from workbench.descriptors.manifest import (
    Batch,
    Manifest,
    describe_raster,
    new_manifest,
    read_manifest,
    renew_entry,
    write_manifest,
)
from workbench.descriptors.memory import kept_memory
from workbench.errors import ArchiveMismatch, QueryInvalid, RasterUnreadable
from workbench.files import format_bytes, require_space
from workbench.imagery.grid import TILE_DTYPE, TileGrid
from workbench.imagery.opening import open_imagery
from workbench.imagery.quicklook import write_quicklook
from workbench.imagery.rasters import Imagery, Raster
from workbench.imagery.render import fit_stretch
from workbench.jobs import Progress, format_seconds, shown_progress

log = logging.getLogger(__name__)
_LEAST_DATA = 0.5
_PIECE = 512
_CACHE_MB = 64
_SHOWN_SKIPPED = 5
Placed = list[tuple[int, NDArray[np.int64], NDArray[np.int64]]]
"""The tiles that start in a block: per size, first rows and first columns."""
_UNUSABLE = "the encoder gave no usable descriptor (zero or not finite)"


@dataclass(frozen=True)
class Estimate:
    """What building will take, from the encoding of one block."""

    tiles: int
    seconds: float
    bytes: int

    def text(self) -> str:
        """One line for people."""
        return f"About {self.tiles:,} tiles, {format_seconds(self.seconds)}, {format_bytes(self.bytes)} on disk."


def build_archive(
    imagery: Imagery | str | Path,
    folder: str | Path,
    *,
    tile: int | tuple[int, ...] = 256,
    stride: int | None = None,
    tile_m: float | tuple[float, ...] | None = None,
    encoder: Encoder | str | None = None,
    weights: str | Path | None = None,
    orientations: int | None = None,
    progress: Progress | None = None,
) -> Archive:
    """Turn imagery into an archive that can be searched; run it again to go on after an interrupt or to add rasters.

    Args:
        imagery: rasters, or what `open_imagery` takes.
        folder: of the archive; made if it is not there.
        tile: tile size in pixels, or several.
        stride: pixels between neighbouring tiles (of the first size; other sizes in proportion); half a tile when None.
        tile_m: tile size on the ground in metres instead; rasters of several resolutions are then seen at the
            coarsest of them.
        encoder: a name (see `load_encoder`) or an encoder of one's own. When None: that of the archive if there is one,
            else aerial, the one shipped with the program.
        weights: file of the encoder's weights.
        orientations: average each descriptor over 4 or 8 orientations, at 4 or 8 times the cost. When None: as the
            archive if there is one, else 1.
        progress: shown as a bar when None.

    Returns:
        the archive, opened.

    Raises:
        ArchiveMismatch: the folder holds an archive of another encoder, grid or imagery.
        DiskFull: the disk is too small; nothing was started.
        Cancelled: stopped by the user; every finished batch is kept.
    """
    if not isinstance(imagery, Imagery):
        imagery = open_imagery(imagery)
    folder = Path(folder)
    if encoder is None or isinstance(encoder, str):
        encoder, weights = _encoder(folder, encoder, weights, orientations)
    grid = _grid(imagery, tile, stride, tile_m)
    asked = new_manifest(encoder, None if weights is None else Path(weights), grid, ())
    manifest = _joined_manifest(folder, asked, imagery)
    rasters = {raster.fingerprint: raster for raster in imagery}
    ordered = Imagery(tuple(rasters[entry.fingerprint] for entry in manifest.rasters))
    there = committed_batches(folder, manifest)
    todo = [batch for batch in manifest.batches() if batch not in there]
    with shown_progress(progress) as shown:
        if todo:
            estimate = estimate_archive(ordered, manifest, encoder, todo)
            shown.say(estimate.text())
            require_space(folder, estimate.bytes, "The archive")
            folder.mkdir(parents=True, exist_ok=True)
            write_manifest(folder, replace(manifest, complete=False))
            with kept_memory():
                _encode_batches(folder, manifest, ordered, encoder, todo, shown)
        compact(folder, manifest, shown)
        manifest = replace(manifest, complete=True)
        write_manifest(folder, manifest)
        _write_quicklooks(folder, manifest, ordered, shown)
        archive = open_archive(folder, imagery=ordered, encoder=encoder)
        archive.centring  # noqa: B018 - fitted now, while the user expects to wait
        shown.say(_summary(archive))
    return archive


def _encoder(
    folder: Path, name: str | None, weights: str | Path | None, orientations: int | None
) -> tuple[Encoder, str | Path | None]:
    """The encoder that was asked for, or else the archive's own, or else the shipped one; and where its weights are."""
    manifest = read_manifest(folder) if (folder / "manifest.json").is_file() else None
    if name is None and weights is not None and manifest is None:
        raise QueryInvalid(f"{Path(weights).name} was given without a name. Say whose weights they are with encoder=.")
    if name is None and manifest is not None:
        name, weights = manifest.encoder, weights or manifest.weights_path
    if orientations is None:
        orientations = 1 if manifest is None else manifest.orientations
    return load_encoder(name or "aerial", weights, orientations=orientations), weights


def estimate_archive(imagery: Imagery, manifest: Manifest, encoder: Encoder, todo: list[Batch]) -> Estimate:
    """Tiles, time and disk that the batches of ``todo`` will take, measured on a piece of the middle of the first raster."""
    raster, entry = imagery[todo[0].raster], manifest.rasters[todo[0].raster]
    side = min(round(_PIECE * entry.scale), raster.height, raster.width)
    window = Window((raster.width - side) // 2, (raster.height - side) // 2, side, side)
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        try:
            encode_window(raster, window, entry.scale, encoder, entry.stretch)
        except RasterUnreadable as error:
            log.warning("%s", error)
        seconds.append(time.perf_counter() - started)
    per_pixel = min(seconds) / (side / entry.scale + 2 * encoder.margin) ** 2
    rows, cols = manifest.block_of(todo[0].raster)
    margins = (1 + 2 * encoder.margin * entry.scale / rows) * (1 + 2 * encoder.margin * entry.scale / cols)
    whole = {batch.raster for batch in todo}
    tiles = sum(manifest.grid.count(imagery[position]) for position in whole)
    pixels = sum(imagery[position].width * imagery[position].height for position in whole)
    share = len(todo) / max(1, sum(batch.raster in whole for batch in manifest.batches()))
    size = int(share * (tiles * (manifest.dim * 2 + TILE_DTYPE.itemsize) + pixels / 4)) + 1_000_000
    return Estimate(int(tiles * share), share * per_pixel * margins * pixels / entry.scale**2, size)


def _grid(
    imagery: Imagery, tile: int | tuple[int, ...], stride: int | None, tile_m: float | tuple[float, ...] | None
) -> TileGrid:
    if tile_m is not None:
        sizes_m = tile_m if isinstance(tile_m, tuple) else (tile_m,)
        unplaced = [raster.name for raster in imagery if raster.crs is None]
        if unplaced:
            raise QueryInvalid(
                f"{unplaced[0]} has no coordinate system, so metres mean nothing in it. Give tile= in pixels."
            )
        coarsest = max(float(np.mean(raster.pixel_size_m)) for raster in imagery)
        return TileGrid(tuple(float(size) for size in sizes_m), 0.5, round(coarsest, 6))
    sizes = tile if isinstance(tile, tuple) else (tile,)
    return TileGrid(tuple(float(size) for size in sizes), 0.5 if stride is None else stride / sizes[0])


def _joined_manifest(folder: Path, asked: Manifest, imagery: Imagery) -> Manifest:
    """The manifest to go on with: the folder's own, with rasters that are new to it added at the end."""
    here = (folder / "manifest.json").is_file()
    manifest = read_manifest(folder) if here else asked
    manifest.check_same(asked)
    if manifest.codes_only:
        raise ArchiveMismatch(
            f"{folder} holds codes only, and nothing can be added to it. Add to the archive that it was made from, and "
            "make it anew with codes_only()."
        )
    given = {raster.fingerprint: raster for raster in imagery}
    names = {raster.name: raster for raster in imagery}
    now = [given.get(entry.fingerprint) or names.get(entry.name) for entry in manifest.rasters]
    lost = [entry.name for entry, raster in zip(manifest.rasters, now, strict=True) if raster is None]
    if lost:
        raise ArchiveMismatch(
            f"This archive also holds {', '.join(lost[:3])}, which was not given. "
            "Open all its imagery, or build into another folder."
        )
    entries = [
        renew_entry(entry, raster, manifest.grid)
        for entry, raster in zip(manifest.rasters, now, strict=True)
        if raster is not None
    ]
    known = {entry.fingerprint for entry in entries}
    entries += [
        describe_raster(raster, manifest.grid, fit_stretch(raster))
        for raster in given.values()
        if raster.fingerprint not in known
    ]
    return replace(manifest, rasters=tuple(entries))


def _encode_batches(
    folder: Path, manifest: Manifest, imagery: Imagery, encoder: Encoder, todo: list[Batch], progress: Progress
) -> None:
    total = sum(manifest.grid.count(raster) for raster in imagery)
    waiting = sum(_tiles_in(manifest, imagery[batch.raster], batch) for batch in todo)
    progress.begin("indexing", total, "tiles", done=total - waiting)
    blocks = _read_ahead(manifest, imagery, encoder, todo)
    for batch in todo:
        raster = imagery[batch.raster]
        encoded = [
            _encode_tiles(manifest, raster, encoder, batch, placed, next(blocks))
            for placed in _blocks_of(manifest, raster, batch)
        ]
        tiles = np.concatenate([np.empty(0, TILE_DTYPE), *(each.tiles for each in encoded)])
        none = np.empty((0, manifest.dim), np.float16)
        descriptors = np.concatenate([none, *(each.descriptors for each in encoded)])
        without_data = sum(each.without_data for each in encoded)
        skipped = [skip for each in encoded for skip in each.skipped]
        write_batch(folder, batch, manifest.rasters[batch.raster].content, tiles, descriptors, without_data, skipped)
        progress.advance(len(tiles) + without_data + len(skipped))


def _read_ahead(manifest: Manifest, imagery: Imagery, encoder: Encoder, todo: list[Batch]) -> Iterator[Block]:
    """The blocks of all batches in order; while one is encoded, a thread reads the next."""

    def read(batch: Batch, placed: Placed) -> Block:
        left = min(int(cols[0]) for _, _, cols in placed)
        top = min(int(rows[0]) for _, rows, _ in placed)
        right = max(int(cols[-1]) + size for size, _, cols in placed)
        bottom = max(int(rows[-1]) + size for size, rows, _ in placed)
        entry = manifest.rasters[batch.raster]
        window = Window(left, top, right - left, bottom - top)
        with rasterio.Env(GDAL_CACHEMAX=_CACHE_MB):  # a twentieth of all memory otherwise
            return read_block(imagery[batch.raster], window, entry.scale, encoder, entry.stretch)

    with ThreadPoolExecutor(1, "reading") as reader:
        ahead: Future[Block] | None = None
        for batch in todo:
            for placed in _blocks_of(manifest, imagery[batch.raster], batch):
                previous, ahead = ahead, reader.submit(read, batch, placed)
                if previous is not None:
                    yield previous.result()
        if ahead is not None:
            yield ahead.result()


@dataclass(frozen=True)
class _Encoded:
    """The tiles of one block."""

    tiles: NDArray[Any]
    descriptors: NDArray[np.float16]
    without_data: int
    skipped: list[Skipped]


def _encode_tiles(
    manifest: Manifest, raster: Raster, encoder: Encoder, batch: Batch, placed: Placed, block: Block
) -> _Encoded:
    features = encode_block(block, encoder)
    tiles: list[NDArray[Any]] = []
    found: list[NDArray[np.float32]] = []
    skipped: list[Skipped] = []
    without_data = 0
    for size, rows, cols in placed:
        means, coverage = features.pool_grid(rows, cols, size, size)
        descriptors = encoder.finish(means.reshape(-1, means.shape[-1]))
        rows_of, cols_of = (part.ravel() for part in np.meshgrid(rows, cols, indexing="ij"))
        reasons = _reasons(features, rows_of, cols_of, size, descriptors)
        has_data = coverage.ravel() >= _LEAST_DATA - 1e-6
        named = [place for place, reason in sorted(reasons.items()) if has_data[place] or reason != _UNUSABLE]
        skipped += [
            Skipped(raster.name, int(rows_of[place]), int(cols_of[place]), size, reasons[place]) for place in named
        ]
        keep = has_data.copy()
        keep[list(reasons)] = False
        without_data += int((~has_data).sum()) - sum(not has_data[place] for place in named)
        rows_kept = np.empty(int(keep.sum()), TILE_DTYPE)
        rows_kept["raster"], rows_kept["size"] = batch.raster, size
        rows_kept["row"], rows_kept["col"] = rows_of[keep], cols_of[keep]
        tiles.append(rows_kept)
        found.append(descriptors[keep])
    return _Encoded(np.concatenate(tiles), np.concatenate(found).astype(np.float16), without_data, skipped)


def _reasons(
    features: FeatureMap, rows: NDArray[np.int64], cols: NDArray[np.int64], size: int, descriptors: NDArray[np.float32]
) -> dict[int, str]:
    """Why tiles of a block cannot be indexed, by their place in it."""
    reasons: dict[int, str] = {}
    with np.errstate(over="ignore"):
        stored = descriptors.astype(np.float16)
    for place in np.flatnonzero(~np.isfinite(stored).all(axis=1) | ~stored.any(axis=1)):
        reasons[int(place)] = _UNUSABLE
    for window, reason in features.unreadable:
        touches = (
            (rows < window.row_off + window.height)
            & (rows + size > window.row_off)
            & (cols < window.col_off + window.width)
            & (cols + size > window.col_off)
        )
        reasons |= {int(place): reason for place in np.flatnonzero(touches)}
    return reasons


def _blocks_of(manifest: Manifest, raster: Raster, batch: Batch) -> list[Placed]:
    """For each block of a batch, the tiles that start in it: per size, first rows and first columns."""
    height, width = manifest.block_of(batch.raster)
    across = len(range(0, raster.width, width))
    found = []
    for number in range(batch.first, batch.last):
        top, left = number // across * height, number % across * width
        placed = []
        for size in manifest.grid.sizes(raster):
            rows, cols = manifest.grid.starts(raster.height, size), manifest.grid.starts(raster.width, size)
            rows = rows[(rows >= top) & (rows < top + height)]
            cols = cols[(cols >= left) & (cols < left + width)]
            if len(rows) and len(cols):
                placed.append((size, rows, cols))
        if placed:
            found.append(placed)
    return found


def _tiles_in(manifest: Manifest, raster: Raster, batch: Batch) -> int:
    return sum(len(rows) * len(cols) for block in _blocks_of(manifest, raster, batch) for _, rows, cols in block)


def _write_quicklooks(folder: Path, manifest: Manifest, imagery: Imagery, progress: Progress) -> None:
    derived = folder / FOLDER
    derived.mkdir(exist_ok=True)
    wanted = [
        (raster, entry)
        for raster, entry in zip(imagery, manifest.rasters, strict=True)
        if not raster.has_overviews
        and max(raster.width, raster.height) > 2048
        and not (derived / entry.quicklook).is_file()
    ]
    if wanted:
        progress.begin("quick-look copies", len(wanted), "rasters")
    for raster, entry in wanted:
        try:
            write_quicklook(raster, entry.stretch, derived / entry.quicklook, progress)
        except RasterUnreadable as error:
            progress.say(f"No quick-look copy: {error}")
        progress.advance()


def _summary(archive: Archive) -> str:
    text = f"{len(archive):,} tiles of {len(archive.imagery)} raster(s) indexed with {archive.manifest.encoder}"
    if archive.without_data:
        text += f"; {archive.without_data:,} left out for being over half no-data"
    if archive.skipped:
        first = "; ".join(
            f"{s.raster} at row {s.row}, col {s.col}: {s.reason}" for s in archive.skipped[:_SHOWN_SKIPPED]
        )
        text += f"; {len(archive.skipped):,} could not be indexed ({first})"
    if archive.drift > MUCH_DRIFT:
        text += (
            f". The mean descriptor has moved by {archive.drift:.0%} of the spread since it was fitted: archive.refit() "
            "fits it again"
        )
    return text + "."
