"""An archive's manifest: which imagery, grid and encoder its descriptors come from; written once, checked on every use."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from workbench.descriptors.encoders import ORIENTATIONS, Encoder
from workbench.descriptors.imported import Imported
from workbench.errors import ArchiveInvalid, ArchiveMismatch, QueryInvalid
from workbench.files import sha256, write_json
from workbench.imagery.dates import days_of
from workbench.imagery.grid import TileGrid
from workbench.imagery.rasters import Raster
from workbench.imagery.render import Stretch, fit_stretch

FORMAT = "workbench-archive"
VERSION = 4
_OLDEST = 3
BLOCK = 2048
BLOCKS_PER_BATCH = 4


@dataclass(frozen=True)
class RasterEntry:
    """One raster of an archive, as it was when it was indexed.

    Attributes:
        name: in the imagery.
        paths: its files, absolute.
        bands: position in ``paths``, number and name of each band.
        fingerprint: of the raster.
        sha256: of each file; empty for remote ones.
        states: size in bytes and mtime in ns of each file.
        width: columns.
        height: rows.
        scale: raster pixels per pixel the encoder saw.
        stretch: of all bands.
        nodata: value that means no data.
        user_nodata: the user said so, not the file.
        date: when it was taken, ISO and as exact as known; None where nobody said, and in archives of before dates.
        imported: what stands for it, when its descriptors were imported and it has no pixels.
    """

    name: str
    paths: tuple[str, ...]
    bands: tuple[tuple[int, int, str], ...]
    fingerprint: str
    sha256: tuple[str, ...]
    states: tuple[tuple[int, int], ...]
    width: int
    height: int
    scale: float
    stretch: Stretch
    nodata: float | None
    user_nodata: bool
    date: str | None = None
    imported: Imported | None = None

    @property
    def content(self) -> str:
        """Names the exact content; a batch is committed for one content."""
        return "-".join((self.fingerprint, *(digest[:16] for digest in self.sha256)))

    @property
    def quicklook(self) -> str:
        """Name of its small copy among the derived files."""
        return f"quicklook-{self.fingerprint[:16]}.tif"


@dataclass(frozen=True)
class Batch:
    """A run of blocks of one raster: the unit of commit. Blocks are numbered row by row."""

    raster: int
    first: int
    last: int

    @property
    def stem(self) -> str:
        """Common part of the batch's file names; a raster that grows moves no batch of another."""
        return f"{self.raster:05d}-{self.first:07d}"


@dataclass(frozen=True)
class Manifest:
    """What must be equal for two runs to give the same archive, and where the pixels are."""

    encoder: str
    weights_hash: str
    weights_path: str | None
    dim: int
    standardise: bool
    preprocessing: dict[str, Any]
    grid: TileGrid
    block: int
    blocks_per_batch: int
    rasters: tuple[RasterEntry, ...]
    complete: bool = False
    centring: int = 0
    code_kind: str = "itq"
    code_bits: int = 512
    codes_only: bool = False
    even: bool = False

    @property
    def orientations(self) -> int:
        """How many orientations the features are the mean of."""
        return int(self.preprocessing.get(ORIENTATIONS, 1))

    def batches(self) -> Iterator[Batch]:
        """Every batch of the finished archive, in order."""
        for position, raster in enumerate(self.rasters):
            if raster.imported is not None:
                yield from (Batch(position, first, first + 1) for first in range(raster.imported.batches))
                continue
            rows, cols = self.block_of(position)
            blocks = len(range(0, raster.height, rows)) * len(range(0, raster.width, cols))
            for first in range(0, blocks, self.blocks_per_batch):
                yield Batch(position, first, min(blocks, first + self.blocks_per_batch))

    def block_of(self, raster: int) -> tuple[int, int]:
        """Rows and columns of a raster's blocks, at most ``block`` pixels as the encoder sees them.

        Where blocks are ``even``, a raster is cut into like parts, so that none at its end is little more than context.
        """
        entry = self.rasters[raster]
        most = max(1, round(self.block * entry.scale))
        if not self.even:
            return most, most
        rows, cols = (-(-length // -(-length // most)) for length in (entry.height, entry.width))
        return rows, cols

    def check_same(self, other: Manifest) -> None:
        """Raise unless ``other`` would add tiles of the same kind.

        Raises:
            ArchiveMismatch: naming the first thing that differs, what is here and what was asked for.
        """
        for field in ("encoder", "weights_hash", "preprocessing", "grid"):
            mine, asked = getattr(self, field), getattr(other, field)
            if mine != asked:
                raise ArchiveMismatch(
                    f"This archive was made with {field} {mine}, and {asked} was asked for. "
                    "Use the same, or build into another folder."
                )


def describe_raster(raster: Raster, grid: TileGrid, stretch: Stretch) -> RasterEntry:
    """The entry of a raster as it is now."""
    return RasterEntry(
        name=raster.name,
        paths=absolute_paths(raster),
        bands=_bands(raster),
        fingerprint=raster.fingerprint,
        sha256=tuple(sha256(path) if path.is_file() else "" for path in raster.paths),
        states=_states(raster),
        width=raster.width,
        height=raster.height,
        scale=grid.scale(raster),
        stretch=stretch,
        nodata=raster.nodata,
        user_nodata=raster.user_nodata,
        date=raster.date,
    )


def renew_entry(entry: RasterEntry, raster: Raster, grid: TileGrid) -> RasterEntry:
    """The entry of a raster that is indexed already: where it is now, and described afresh when its content changed.

    Raises:
        ArchiveMismatch: other bands of the same file were indexed.
    """
    _check_bands(entry, raster)
    if raster.fingerprint == entry.fingerprint:
        if _states(raster) == entry.states:
            return replace(entry, name=raster.name, paths=absolute_paths(raster), date=entry.date or raster.date)
        again = describe_raster(raster, grid, entry.stretch)
        return replace(again, date=entry.date or raster.date)
    return describe_raster(raster, grid, fit_stretch(raster))


def _check_bands(entry: RasterEntry, raster: Raster) -> None:
    """Raise unless a raster has the bands that were indexed of it; a file that changed may have others."""
    indexed, given = ([(number, name) for _, number, name in bands] for bands in (entry.bands, _bands(raster)))
    then = dict(zip(entry.paths, entry.states, strict=True))
    now = dict(zip(absolute_paths(raster), _states(raster), strict=True))
    same = then.keys() & now.keys()
    if indexed == given or not same or any(then[path] != now[path] for path in same):
        return
    before, asked = (", ".join(name or str(number) for number, name in bands) for bands in (indexed, given))
    raise ArchiveMismatch(
        f"Of {entry.name} the bands {before} were indexed, and {asked} were given. Open it with the same bands, or build "
        "into another folder."
    )


def with_dates(manifest: Manifest, dates: Mapping[str, str]) -> Manifest:
    """The manifest with the dates that a user gives for rasters, by name: ``2019``, ``2019-06`` or ``2019-06-03``.

    Raises:
        QueryInvalid: something is no date, or there is no raster of a name.
    """
    names = [entry.name for entry in manifest.rasters]
    for name, date in dates.items():
        days_of(date)
        if name not in names:
            raise QueryInvalid(f"There is no raster {name[:80]!r} here. There are {', '.join(names[:9])}.")
    rasters = tuple(replace(entry, date=dates.get(entry.name, entry.date)) for entry in manifest.rasters)
    return replace(manifest, rasters=rasters)


def new_manifest(encoder: Encoder, weights: Path | None, grid: TileGrid, rasters: tuple[RasterEntry, ...]) -> Manifest:
    """The manifest of an archive about to be built."""
    block = getattr(encoder, "largest_block", BLOCK)
    return Manifest(
        encoder=encoder.name,
        weights_hash=encoder.weights_hash,
        weights_path=None if weights is None else str(Path(weights).resolve()),
        dim=encoder.dim,
        standardise=encoder.standardise,
        preprocessing=json.loads(json.dumps(encoder.preprocessing)),
        grid=grid,
        block=block,
        blocks_per_batch=1 if block > BLOCK else BLOCKS_PER_BATCH,
        rasters=rasters,
        even=True,
    )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` atomically."""
    write_json(folder / "manifest.json", {"format": FORMAT, "version": VERSION, **asdict(manifest)})


def read_manifest(folder: Path) -> Manifest:
    """Read ``manifest.json``.

    Raises:
        ArchiveInvalid: there is none, it is damaged, or it is of a newer version.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise ArchiveInvalid(f"{folder} is not an archive: it has no manifest.json. Make one with build_archive().")
    try:
        values = json.loads(path.read_bytes())
        form, version = values.pop("format"), values.pop("version")
        if form != FORMAT or version > VERSION:
            raise ArchiveInvalid(
                f"{path} is {form} version {version}; this program reads {FORMAT} up to {VERSION}. Update it."
            )
        if version < _OLDEST:
            raise ArchiveInvalid(
                f"{path} is of version {version}, whose tiles were described in another way than queries are now. Build the "
                "archive anew."
            )
        grid = TileGrid(tuple(values["grid"]["tile"]), values["grid"]["stride"], values["grid"]["resolution_m"])
        rasters = tuple(_raster_entry(entry) for entry in values["rasters"])
        return Manifest(**{**values, "grid": grid, "rasters": rasters})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArchiveInvalid(
            f"{path} is damaged ({error}). Restore it from a copy, or build the archive anew."
        ) from error


def absolute_paths(raster: Raster) -> tuple[str, ...]:
    """A raster's files as a manifest names them."""
    return tuple(str(path) if str(path).startswith("/vsi") else str(path.resolve()) for path in raster.paths)


def _bands(raster: Raster) -> tuple[tuple[int, int, str], ...]:
    return tuple((raster.paths.index(band.path), band.number, band.name) for band in raster.bands)


def _states(raster: Raster) -> tuple[tuple[int, int], ...]:
    return tuple((path.stat().st_size, path.stat().st_mtime_ns) if path.exists() else (0, 0) for path in raster.paths)


def _raster_entry(values: dict[str, Any]) -> RasterEntry:
    stretch = Stretch(tuple(values["stretch"]["low"]), tuple(values["stretch"]["high"]))
    bands = tuple((int(place), int(number), str(name)) for place, number, name in values["bands"])
    states = tuple((int(size), int(mtime)) for size, mtime in values["states"])
    known = values.get("imported")
    imported = None if known is None else Imported(**{**known, "transform": tuple(known["transform"])})
    return RasterEntry(
        **{
            **values,
            "paths": tuple(values["paths"]),
            "bands": bands,
            "sha256": tuple(values["sha256"]),
            "states": states,
            "stretch": stretch,
            "imported": imported,
        }
    )
