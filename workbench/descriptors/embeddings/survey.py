"""A first look over a file of embeddings, at places and names only: its CRSs, the size of its tiles, and what is there twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from affine import Affine
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from workbench.descriptors.embeddings.geometry import Tiles, decode, place, sides
from workbench.descriptors.embeddings.reading import Source
from workbench.imagery.dates import find_date

TILE = 256
"""Pixels on a side of a typical tile, so that rounding to them moves it by a five-hundredth of itself at most."""
_ALIKE = 0.05
_STEP = 16
_SAMPLE = 20_000
_COMPACT_DEGREES = 9.0


@dataclass
class Group:
    """The tiles of a file that share a CRS.

    Attributes:
        crs: theirs.
        bounds: least x and y, greatest x and y.
        sides: width and height of some, and
        middles: the middle of some.
    """

    crs: str
    count: int = 0
    bounds: NDArray[np.float64] = field(default_factory=lambda: np.array([np.inf, np.inf, -np.inf, -np.inf]))
    sides: list[NDArray[np.float64]] = field(default_factory=list)
    middles: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, corners: NDArray[np.float64]) -> None:
        """Count tiles (n, 4, 2) in."""
        room = max(0, _SAMPLE - self.count)
        self.count += len(corners)
        self.bounds[:2] = np.minimum(self.bounds[:2], corners.min(axis=(0, 1)))
        self.bounds[2:] = np.maximum(self.bounds[2:], corners.max(axis=(0, 1)))
        if room:
            self.sides.append(sides(corners[:room]))
            self.middles.append(corners[:room].mean(axis=1))

    @cached_property
    def tile(self) -> NDArray[np.float64]:
        """Width and height of a typical tile, in units of the CRS."""
        return np.asarray(np.median(np.concatenate(self.sides), axis=0))

    @cached_property
    def apart(self) -> float:
        """How far neighbours are typically apart, in pixels of which a tile has `TILE`; at most so many."""
        places = np.concatenate(self.middles) / self.tile * TILE
        places = places[np.unique(np.round(places), axis=0, return_index=True)[1]]
        if len(places) < 2:
            return float(TILE)
        return float(np.clip(np.median(cKDTree(places).query(places, 2, p=np.inf)[0][:, 1]), _STEP, TILE))

    @property
    def stride(self) -> float:
        """As `apart`, in whole pixels as a fraction of a tile."""
        return round(self.apart) / TILE

    @cached_property
    def pixel(self) -> NDArray[np.float64]:
        """Width and height of a pixel: a typical tile has about `TILE`, and neighbours are a whole number of them apart."""
        return self.tile / TILE * (self.apart / round(self.apart))

    @property
    def transform(self) -> Affine:
        """From pixel (col, row) to the CRS."""
        return Affine(self.pixel[0], 0, self.bounds[0], 0, -self.pixel[1], self.bounds[3])

    def windows(self, corners: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Row, column and size in pixels of tiles (n, 4, 2): the nearest square windows."""
        ratio = np.sqrt(sides(corners).prod(axis=1) / self.tile.prod())
        stepped = np.maximum(_STEP, np.round(TILE * ratio / _STEP).astype(np.int64) * _STEP)
        size = np.where(np.abs(ratio - 1) <= _ALIKE, TILE, stepped)
        width, height = self.pixel
        middle = corners.mean(axis=1)
        cols = np.rint((middle[:, 0] - self.bounds[0]) / width - size / 2).astype(np.int64)
        rows = np.rint((self.bounds[3] - middle[:, 1]) / height - size / 2).astype(np.int64)
        return np.maximum(rows, 0), np.maximum(cols, 0), size


@dataclass(frozen=True)
class Survey:
    """What a first look found.

    Attributes:
        groups: by CRS, in the order in which they first came.
        forced: the CRS of all tiles, when one is near enough to all; else each has its own.
        date: when all were taken, as exact as it is the same for all; None when it is not known.
        keys: of all rows, sorted; see `keys_of`.
        twice: those of them that several rows have, sorted.
        bad: the first row without a usable place, and why.
    """

    groups: dict[str, Group]
    forced: str | None
    date: str | None
    keys: NDArray[np.uint64]
    twice: NDArray[np.uint64]
    bad: tuple[int, str] | None


def survey(source: Source, tile_m: float | None) -> Survey:
    """Look over the places, names and dates of a file; ``tile_m`` is the side of the tiles around points."""
    found = _look(source, tile_m, None)
    if len(found.groups) > 1 and source.layout.zone is None and _is_compact(found.groups):
        # One grid is better than two that meet at the border of a UTM zone.
        largest = max(found.groups.values(), key=lambda group: group.count)
        found = _look(source, tile_m, largest.crs)
    return found


def identities(source: Source) -> NDArray[np.uint64]:
    """Keys of the rows of a file, sorted; none when it has no column of identities."""
    if source.layout.identity is None:
        return np.empty(0, np.uint64)
    found = [keys_of(source, batch) for _, batch in source.batches([source.layout.identity])]
    return np.sort(np.concatenate([np.empty(0, np.uint64), *found]))


def tiles_of(source: Source, batch: pa.RecordBatch, tile_m: float | None, forced: str | None) -> Tiles:
    """The tiles of a batch of a file."""
    layout = source.layout
    zones = None if layout.zone is None else np.array(batch.column(layout.zone).to_pylist(), object)
    return place(decode(batch.column(layout.geometry), layout.encoding), layout.crs, zones, tile_m, forced)


def keys_of(source: Source, batch: pa.RecordBatch) -> NDArray[np.uint64]:
    """What tells rows apart: their identity, or else place and date; 64 bits of a hash (n,)."""
    layout = source.layout
    if layout.identity is not None:
        return _hashes(batch.column(layout.identity))
    keys = _hashes(batch.column(layout.geometry))
    return keys if layout.date is None else keys * np.uint64(31) + _hashes(batch.column(layout.date))


def _look(source: Source, tile_m: float | None, forced: str | None) -> Survey:
    groups: dict[str, Group] = {}
    keys: list[NDArray[np.uint64]] = [np.empty(0, np.uint64)]
    ends: list[str] = []
    bad: tuple[int, str] | None = None
    for first, batch in source.batches(source.layout.place_columns):
        tiles = tiles_of(source, batch, tile_m, forced)
        good = tiles.reasons == ""
        for crs in dict.fromkeys(tiles.crs[good]):
            groups.setdefault(crs, Group(crs)).add(tiles.corners[good & (tiles.crs == crs)])
        if bad is None and not good.all():
            bad = first + int(np.argmin(good)), str(tiles.reasons[np.argmin(good)])
        keys.append(keys_of(source, batch))
        ends += _ends(source, batch)
    ordered = np.sort(np.concatenate(keys))
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    return Survey(groups, forced, _common(ends) or _said(source), ordered, twice, bad)


def _is_compact(groups: dict[str, Group]) -> bool:
    """Whether all groups are UTM zones next to one another, and their middles so near that one zone serves them all."""
    from workbench.imagery.rasters import transformer

    if not all(crs.startswith(("EPSG:326", "EPSG:327")) for crs in groups):
        return False
    lons = [
        transformer(crs, "EPSG:4326").transform(x, (group.bounds[1] + group.bounds[3]) / 2)[0]
        for crs, group in groups.items()
        for x in group.bounds[[0, 2]]
    ]
    turned = (np.array(lons) - lons[0] + 180) % 360
    return bool(np.ptp(turned) <= _COMPACT_DEGREES)


def _hashes(column: pa.Array) -> NDArray[np.uint64]:
    column = column.storage if isinstance(column, pa.ExtensionArray) else column
    if pa.types.is_nested(column.type):
        # Native geometry has no bytes of its own: its text is as good a name.
        values = np.array([str(value) for value in column.to_pylist()], object)
    elif pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        values = np.array([(value or b"").hex() for value in column.to_pylist()], object)
    else:
        values = np.array([str(value) for value in column.to_pylist()], object)
    return np.asarray(pd.util.hash_array(values, categorize=False), np.uint64)


def _ends(source: Source, batch: pa.RecordBatch) -> list[str]:
    """The first and last date of a batch, ISO."""
    if source.layout.date is None:
        return []
    try:
        ends = pc.min_max(batch.column(source.layout.date)).as_py()
    except pa.ArrowNotImplementedError:
        return []
    found = [find_date("", {"ACQUISITIONDATETIME": str(ends[side])}) for side in ("min", "max")]
    return [date for date in found if date is not None]


def _common(dates: list[str]) -> str | None:
    """The day, month or year that dates have in common."""
    if not dates:
        return None
    first, last = min(dates), max(dates)
    return next((first[:length] for length in (10, 7, 4) if first[:length] == last[:length]), None)


def _said(source: Source) -> str | None:
    """The date in the metadata or the name of a file, when it has no column of dates."""
    if source.layout.date is not None:
        return None
    stamp = source.metadata.get(b"date", b"").decode(errors="replace")
    return find_date(source.name, {"ACQUISITIONDATETIME": stamp})
