"""Archives of codes without descriptors: a sixteenth of the size, searched by their codes; tiles cost a bit each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.batches import BAD_ARRAY, Skipped
from workbench.descriptors.centring import Centring, centring_name, save_centring
from workbench.descriptors.codes.decoding import decoder_name, save_decoder
from workbench.descriptors.codes.models import CodeModel
from workbench.descriptors.codes.packed import codes_name, write_codes
from workbench.descriptors.codes.saved import save_codes
from workbench.descriptors.contents import Contents, rows_or_grid
from workbench.descriptors.imported import outlines_path
from workbench.descriptors.manifest import Manifest, write_manifest
from workbench.descriptors.tiles import GridTiles, Tiles
from workbench.errors import ArchiveInvalid, FileExists
from workbench.files import atomic_write, ends_crc, require_space, write_json
from workbench.imagery.grid import TILE_DTYPE

_TILES, _RECORD = "tiles.npy", "tiles.json"


def write_codes_only(
    folder: Path,
    manifest: Manifest,
    tiles: Tiles,
    codes: Iterable[NDArray[np.uint8]],
    centring: Centring,
    model: CodeModel,
    *,
    decoder: NDArray[np.float32] | None = None,
    without_data: int = 0,
    skipped: tuple[Skipped, ...] = (),
) -> None:
    """Write an archive that has codes and no descriptors; the manifest goes last, so a stopped run leaves no archive.

    Args:
        folder: of the archive, made if it is not there.
        manifest: of the archive that it is made from; the imagery stays where it is.
        tiles: which there are, n of them.
        codes: their packed codes in order, uint8 (m, bits // 8) at a time.
        centring: what is taken off a descriptor before it is encoded.
        model: what encodes it.
        decoder: from codes back to descriptors, (bits + 1, dim), for scorers; it is guessed from the model when None.
        without_data: tiles that were left out for having no data.
        skipped: tiles that could not be indexed.

    Raises:
        FileExists: the folder holds an archive.
        DiskFull: there is no room.
    """
    if (folder / "manifest.json").exists():
        raise FileExists(f"{folder} holds an archive. Choose a folder that does not.")
    width = model.bits // 8
    require_space(folder, len(tiles) * (width + 1) + 1_000_000, "The archive of codes")
    folder.mkdir(parents=True, exist_ok=True)
    manifest = replace(manifest, complete=True, codes_only=True, code_kind=model.kind, code_bits=model.bits)
    stored = _stored_tiles(tiles)
    if stored is not None:
        with atomic_write(folder / _TILES) as aside, aside.open("wb") as file:
            np.save(file, stored, allow_pickle=False)
    about = {"tiles": len(tiles), "crc": None if stored is None else ends_crc(folder / _TILES)}
    left_out = {"without_data": without_data, "skipped": [asdict(each) for each in skipped]}
    write_json(folder / _RECORD, {**about, **left_out})
    save_centring(folder / centring_name(manifest.centring), centring)
    save_codes(model, folder / codes_name(manifest.centring, "safetensors"))
    if decoder is not None:
        save_decoder(decoder, folder / decoder_name(manifest.centring))
    made_of = {"kind": model.kind, "bits": model.bits, "tiles": len(tiles)}
    write_codes(folder, manifest.centring, codes, (len(tiles), width), made_of)
    write_manifest(folder, manifest)


def copy_outlines(source: Path, target: Path, manifest: Manifest) -> None:
    """Give an archive of codes the outlines of the imported tiles that it is made from."""
    target.mkdir(parents=True, exist_ok=True)
    for position, entry in enumerate(manifest.rasters):
        if entry.imported is not None:
            with atomic_write(outlines_path(target, position)) as aside:
                shutil.copyfile(outlines_path(source, position), aside)


def read_codes_only(folder: Path, manifest: Manifest) -> Contents:
    """Which tiles an archive of codes has, and what was left out of it.

    Raises:
        ArchiveInvalid: a file is missing or damaged; the message names it.
    """
    path, mend = folder / _RECORD, "Restore it from a copy, or make the archive anew with codes_only()."
    try:
        values = json.loads(path.read_bytes())
        count, crc, without_data = values["tiles"], values["crc"], values["without_data"]
        skipped = tuple(Skipped(**item) for item in values["skipped"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArchiveInvalid(f"{path} is missing or damaged ({error}). {mend}") from error
    path = folder / _TILES
    try:
        if crc is not None and ends_crc(path) != crc:
            raise ArchiveInvalid(f"{path} is not the file that was written. {mend}")
        stored = None if crc is None else np.load(path, mmap_mode="r", allow_pickle=False)
        wanted = None if stored is None or stored.dtype == TILE_DTYPE else np.asarray(stored)
        tiles = stored if stored is not None and wanted is None else rows_or_grid(GridTiles(manifest, wanted))
    except BAD_ARRAY as error:
        raise ArchiveInvalid(f"{path} is missing or damaged ({error}). {mend}") from error
    if len(tiles) != count:
        raise ArchiveInvalid(f"{folder} holds {len(tiles):,} tiles; expected {count:,}. {mend}")
    return Contents(tiles, None, skipped, without_data, 0, 0)


def _stored_tiles(tiles: Tiles) -> NDArray[np.generic] | None:
    """What is kept of tiles: nothing where every slot of the grid holds one, else their bits, or rows off the grid."""
    if isinstance(tiles, GridTiles):
        return None if tiles.held is None else tiles.held.packed
    return np.asarray(tiles)
