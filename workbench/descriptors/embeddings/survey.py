"""A first look over a file of embeddings, at places and names only: its CRSs, the size of its tiles, and what is there twice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from workbench.descriptors.embeddings.geometry import Tiles, decode, place
from workbench.descriptors.embeddings.groups import Group
from workbench.descriptors.embeddings.reading import Source
from workbench.imagery.dates import find_date

_COMPACT_DEGREES = 9.0
_MOST_DATES = 500
_AND = " on "


@dataclass(frozen=True)
class Survey:
    """What a first look found.

    Attributes:
        groups: by the home of their tiles, see `homes_of`, in the order in which they first came.
        forced: the CRS of all tiles, when one is near enough to all; else each has its own.
        dated: tiles of different dates have different homes, since places are there at several.
        date: when all were taken, as exact as it is the same for all; None when it is not known.
        keys: of all rows, sorted; see `keys_of`.
        twice: those of them that several rows have, sorted.
        shared: keys of places that several rows have, sorted; see `places_of`.
        bad: the first row without a usable place, and why.
    """

    groups: dict[str, Group]
    forced: str | None
    dated: bool
    date: str | None
    keys: NDArray[np.uint64]
    twice: NDArray[np.uint64]
    shared: NDArray[np.uint64]
    bad: tuple[int, str] | None


def survey(source: Source, tile_m: float | None) -> Survey:
    """Look over the places, names and dates of a file; ``tile_m`` is the side of the tiles around points."""
    found = _look(source, tile_m, None, False)
    forced = None
    if len(found.groups) > 1 and source.layout.zone is None and _is_compact(found.groups):
        # One grid is better than two that meet at the border of a UTM zone.
        forced = max(found.groups.values(), key=lambda group: group.count).crs
    dated = len(found.shared) > 0 and source.layout.date is not None
    if forced is not None or dated:
        by_date = _look(source, tile_m, forced, dated)
        found = by_date if len(by_date.groups) <= _MOST_DATES else _look(source, tile_m, forced, False)
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


def homes_of(source: Source, batch: pa.RecordBatch, crs: NDArray[np.object_], dated: bool) -> NDArray[np.object_]:
    """What each row of a batch shares a raster by, (n,): its CRS, and its day where rows of one place have several."""
    if not dated or source.layout.date is None:
        return crs
    days = [_day(value) or "" for value in batch.column(source.layout.date).to_pylist()]
    return np.array([f"{own}{_AND}{day}" for own, day in zip(crs, days, strict=True)], object)


def places_of(source: Source, batch: pa.RecordBatch) -> NDArray[np.uint64]:
    """What tells places apart: 64 bits of a hash of the geometry (n,)."""
    return _hashes(batch.column(source.layout.geometry))


def _look(source: Source, tile_m: float | None, forced: str | None, dated: bool) -> Survey:
    groups: dict[str, Group] = {}
    keys: list[NDArray[np.uint64]] = [np.empty(0, np.uint64)]
    places: list[NDArray[np.uint64]] = [np.empty(0, np.uint64)]
    ends: list[str] = []
    bad: tuple[int, str] | None = None
    for first, batch in source.batches(source.layout.place_columns):
        tiles = tiles_of(source, batch, tile_m, forced)
        good = tiles.reasons == ""
        homes = homes_of(source, batch, tiles.crs, dated)
        for home in dict.fromkeys(homes[good]):
            crs, _, day = home.partition(_AND)
            groups.setdefault(home, Group(crs, day or None)).add(tiles.corners[good & (homes == home)])
        if bad is None and not good.all():
            bad = first + int(np.argmin(good)), str(tiles.reasons[np.argmin(good)])
        keys.append(keys_of(source, batch))
        places.append(places_of(source, batch))
        ends += _ends(source, batch)
    ordered = np.sort(np.concatenate(keys))
    shared = _repeated(np.sort(np.concatenate(places)))
    date = _common(ends) or _said(source)
    return Survey(groups, forced, dated, date, ordered, _repeated(ordered), shared, bad)


def _repeated(ordered: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return np.unique(ordered[1:][ordered[1:] == ordered[:-1]])


def _is_compact(groups: dict[str, Group]) -> bool:
    """Whether all groups are UTM zones next to one another, and their middles so near that one zone serves them all."""
    from workbench.imagery.rasters import transformer

    if not all(group.crs.startswith(("EPSG:326", "EPSG:327")) for group in groups.values()):
        return False
    lons = [
        transformer(group.crs, "EPSG:4326").transform(x, (group.bounds[1] + group.bounds[3]) / 2)[0]
        for group in groups.values()
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
    found = [_day(ends[side]) for side in ("min", "max")]
    return [date for date in found if date is not None]


def _day(value: object) -> str | None:
    """The ISO day of a date, a time or a text that begins with one."""
    return find_date("", {"ACQUISITIONDATETIME": str(value)})


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
