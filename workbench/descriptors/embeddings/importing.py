"""Embeddings of others into an archive like any other: two passes over each file, one for places and one for numbers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from workbench.descriptors.archive import Archive, open_archive
from workbench.descriptors.batches import Skipped, remove_unfinished
from workbench.descriptors.embeddings.groups import TILE
from workbench.descriptors.embeddings.reading import Scale, Source, open_sources, read_vectors
from workbench.descriptors.embeddings.repeats import Companions, Twins
from workbench.descriptors.embeddings.survey import (
    Survey,
    homes_of,
    identities,
    survey,
    tiles_of,
)
from workbench.descriptors.embeddings.writing import FileWriter
from workbench.descriptors.manifest import Manifest, read_manifest, write_manifest
from workbench.errors import ArchiveMismatch, EmbeddingsInvalid, QueryInvalid
from workbench.files import require_space
from workbench.imagery.grid import TileGrid
from workbench.jobs import Progress, shown_progress

log = logging.getLogger(__name__)
OnBad = Literal["raise", "skip"]
UNNAMED = "unnamed encoder"
_LISTED = 1000
_SHOWN = 5
_OUTLINE_BYTES = 72 + 16


@dataclass(frozen=True)
class _Wanted:
    """What the caller asked for."""

    tile_m: float | None
    scale: Scale | None
    skip: bool


def import_embeddings(
    path: str | Path,
    folder: str | Path,
    *,
    column: str | None = None,
    crs: str | None = None,
    encoder: str | None = None,
    tile_m: float | None = None,
    scale: Scale | None = None,
    on_bad: OnBad = "raise",
    progress: Progress | None = None,
) -> Archive:
    """Read embeddings from GeoParquet into an archive; run it again to go on after an interrupt or to add files.

    Each row becomes a tile with the outline it came with. Files are read by runs of a few thousand rows, twice: first
    places, names and dates, then numbers, which are kept in half precision. See `layout` for the layouts that are known.

    Args:
        path: a GeoParquet file, or a folder of them.
        folder: of the archive; made if it is not there.
        column: of the embeddings; found by its name (embedding, embeddings, vector) or type when None.
        crs: of the geometry, where a file does not say it or says it wrong.
        encoder: name of what made the embeddings; what the files say, when None.
        tile_m: side in metres of the square around each point, for files with points instead of polygons.
        scale: multiplies the stored numbers, as integers need: one number, one a dimension, or the name of a column. Not
            needed where it is one for all, since only directions count.
        on_bad: what to do about a row that cannot be used: ``raise`` stops at the first, ``skip`` leaves them out and
            lists them in ``archive.skipped``.
        progress: shown as a bar when None.

    Returns:
        the archive, opened. Tiles can be searched for by tile and by place on earth, labelled and exported; to search by
        images and drawn shapes, open it with ``encoder=``; to see tiles, ``archive.attach`` imagery.

    Raises:
        EmbeddingsInvalid: a file cannot be read, its columns are not clear, or a row cannot be used; the message names the
            file and the row.
        ArchiveMismatch: the folder holds an archive of another encoder, or one built from imagery.
        DiskFull: the disk is too small; nothing was started.
        Cancelled: stopped by the user; every finished file is kept.
    """
    folder = Path(folder)
    _check_asked(tile_m, on_bad)
    sources = open_sources(path, column, crs)
    manifest = _start(folder, sources, encoder)
    wanted = _Wanted(tile_m, scale, on_bad == "skip")
    with shown_progress(progress) as shown:
        manifest = _import_files(folder, manifest, sources, wanted, shown)
        if not manifest.rasters:
            raise EmbeddingsInvalid(f"{path} holds no row that can be used. Look at the first with on_bad='raise'.")
        _remove_leftovers(folder, manifest)
        manifest = replace(manifest, complete=True)
        write_manifest(folder, manifest)
        archive = open_archive(folder)
        archive.centring  # noqa: B018 - fitted now, while the user expects to wait
        shown.say(_summary(archive))
    return archive


def _import_files(
    folder: Path, manifest: Manifest, sources: Sequence[Source], wanted: _Wanted, progress: Progress
) -> Manifest:
    """The manifest with the tiles of all files; those that are in it already are left as they are."""
    done = {entry.imported.source for entry in manifest.rasters if entry.imported is not None}
    before = sum(source.rows for source in sources if source.fingerprint in done)
    progress.begin("importing", sum(source.rows for source in sources), "rows", done=before)
    if all(source.fingerprint in done for source in sources):
        return manifest
    elsewhere: list[NDArray[np.uint64]] = []
    for source in sources:
        if source.fingerprint in done:
            elsewhere.append(identities(source))
            continue
        found = survey(source, wanted.tile_m)
        if found.bad is not None and not wanted.skip:
            raise EmbeddingsInvalid(_bad_text(source, *found.bad))
        manifest = _import_file(folder, manifest, source, found, elsewhere, wanted, progress)
        done.add(source.fingerprint)
        elsewhere.append(found.keys if source.layout.identity else found.keys[:0])
    return manifest


def _check_asked(tile_m: float | None, on_bad: str) -> None:
    if tile_m is not None and not 0 < tile_m < 1e6:
        raise QueryInvalid(f"tile_m is {tile_m}; expected the side of a tile in metres, more than 0.")
    if on_bad not in ("raise", "skip"):
        raise QueryInvalid(f"on_bad is {on_bad!r}; expected 'raise' or 'skip'.")


def _start(folder: Path, sources: Sequence[Source], encoder: str | None) -> Manifest:
    """The manifest to go on with: the folder's own, or one of what the files say."""
    said: dict[str, Any] = {}
    for source in sources:
        about = source.layout.about
        said = said or about
        if encoder is None and about.get("encoder", UNNAMED) != said.get("encoder", UNNAMED):
            raise ArchiveMismatch(
                f"{source.name} was made by {about.get('encoder', UNNAMED)}, {sources[0].name} by "
                f"{said.get('encoder', UNNAMED)}. Import them into archives of their own, or say who made all with encoder=."
            )
    same = encoder in (None, said.get("encoder"))
    asked = Manifest(
        encoder=encoder or str(said.get("encoder", UNNAMED)),
        weights_hash=str(said.get("weights_hash", "")) if same else "",
        weights_path=None,
        dim=0,
        standardise=bool(said.get("standardise", False)),
        preprocessing=dict(said.get("preprocessing") or {}) if same else {},
        grid=TileGrid((float(TILE),), 1.0),
        block=1,
        blocks_per_batch=1,
        rasters=(),
    )
    if not (folder / "manifest.json").is_file():
        return asked
    manifest = read_manifest(folder)
    if any(entry.imported is None for entry in manifest.rasters):
        raise ArchiveMismatch(f"{folder} holds an archive that was built from imagery. Import into another folder.")
    if encoder is None and "encoder" not in said:
        return manifest
    if (manifest.encoder, manifest.weights_hash) != (asked.encoder, asked.weights_hash):
        raise ArchiveMismatch(
            f"{folder} holds embeddings by {manifest.encoder}, and these are by {asked.encoder}. Import them into another "
            "folder, or give the same encoder=."
        )
    return manifest


def _import_file(
    folder: Path,
    manifest: Manifest,
    source: Source,
    found: Survey,
    elsewhere: Sequence[NDArray[np.uint64]],
    wanted: _Wanted,
    progress: Progress,
) -> Manifest:
    """The manifest with the tiles of one more file, which is written when all of them are on disk."""
    folder.mkdir(parents=True, exist_ok=True)
    skipped: list[Skipped] = []
    twins, companions = Twins(source, found.twice, elsewhere), Companions(source, found.shared)
    dim = manifest.dim
    with ExitStack() as stack:
        writer = FileWriter(folder, source, found, [entry.name for entry in manifest.rasters], stack)
        for first, batch in source.batches([*source.layout.place_columns, *_columns(source, wanted.scale)]):
            tiles = tiles_of(source, batch, wanted.tile_m, found.forced)
            scale = _scale_of(source, batch, wanted.scale)
            vectors, wrong = read_vectors(batch.column(source.layout.embedding), dim or None, scale)
            if not dim and vectors.shape[1]:
                dim = vectors.shape[1]
                require_space(folder, source.rows * (2 * dim + _OUTLINE_BYTES), "The archive")
            reasons = np.where(tiles.reasons != "", tiles.reasons, wrong)
            twins.mark(batch, first, vectors, reasons)
            bad = np.flatnonzero(reasons != "")
            if len(bad) and not wanted.skip:
                raise EmbeddingsInvalid(_bad_text(source, first + int(bad[0]), reasons[bad[0]]))
            for each in bad[: max(0, _LISTED - len(skipped))]:
                skipped.append(Skipped(source.name, first + int(each), 0, 0, f"row {first + each:,}: {reasons[each]}"))
            good = np.flatnonzero(reasons == "")
            homes = homes_of(source, batch, tiles.crs, found.dated)
            shifts = companions.before(batch, homes)
            writer.add(first + good, homes[good], tiles.corners[good], vectors[good], shifts[good])
            writer.left_out += len(bad)
            progress.advance(len(batch))
        writer.finish(skipped, dim)
    entries = writer.entries()
    if not entries:
        log.warning(
            "%s holds no row that can be used: %s", source.name, skipped[0].reason if skipped else "it is empty"
        )
        return manifest
    sizes = sorted({float(size) for size in writer.sizes} | {size for size in manifest.grid.tile} - {float(TILE)})
    strides = [group.stride for group in found.groups.values()]
    stride = min(strides) if not manifest.rasters else min(manifest.grid.stride, *strides)
    grid = TileGrid((float(TILE), *(size for size in sizes if size != TILE)), stride)
    manifest = replace(manifest, dim=dim, grid=grid, rasters=(*manifest.rasters, *entries), complete=False)
    write_manifest(folder, manifest)
    return manifest


def _columns(source: Source, scale: Scale | None) -> list[str]:
    return [source.layout.embedding, *([scale] if isinstance(scale, str) else [])]


def _scale_of(source: Source, batch: pa.RecordBatch, scale: Scale | None) -> NDArray[np.float32] | None:
    """What the numbers of a batch are multiplied by: as asked for, or as the file says."""
    if isinstance(scale, str):
        if scale not in batch.schema.names:
            raise EmbeddingsInvalid(
                f"{source.name} has no column {scale[:60]!r} of scales. Give a number, or its name."
            )
        return np.asarray(batch.column(scale).to_numpy(zero_copy_only=False), np.float32)[:, None]
    said = source.layout.about.get("scale") if scale is None else scale
    return None if said is None else np.asarray(said, np.float32)


def _bad_text(source: Source, row: int, reason: str) -> str:
    return (
        f"{source.name}: row {row:,} of {source.rows:,} cannot be used: {reason}. Mend the file, or leave such rows out with "
        "on_bad='skip'."
    )


def _remove_leftovers(folder: Path, manifest: Manifest) -> None:
    """Delete what a killed run left of files that it had not finished."""
    wanted = {batch.stem for batch in manifest.batches()}
    wanted |= {f"{raster:05d}" for raster in range(len(manifest.rasters))}
    remove_unfinished(folder, ("batch", "tiles", "descriptors", "outlines"), wanted)


def _summary(archive: Archive) -> str:
    text = f"{len(archive):,} tiles of {archive.manifest.dim} numbers by {archive.manifest.encoder} imported"
    left = [f"{skip.raster}, {skip.reason}" for skip in archive.skipped]
    if not left:
        return f"{text}."
    more = f" and {len(left) - _SHOWN:,} more" if len(left) > _SHOWN else ""
    return f"{text}; left out: {'; '.join(left[:_SHOWN])}{more}."
