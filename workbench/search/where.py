"""Which tiles may be hits: by area, raster, tile size and date, and not the labelled ones; never fewer than there are."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from workbench.descriptors.archive import Archive
from workbench.descriptors.tiles import tile_sizes
from workbench.errors import QueryInvalid
from workbench.imagery.dates import days_of
from workbench.search.areas import checked_area, tiles_in_area, touched_rasters
from workbench.search.query import extent_text

_NAMED = 9
Days = tuple[datetime.date, datetime.date]


@dataclass(frozen=True, eq=False)
class Where:
    """What a hit has to be; everything that is given has to hold. Two are joined by ``&``.

    Attributes:
        area: polygons; a tile is inside when its centre is.
        crs: of the area; None: pixels of each raster.
        rasters: names, or positions in the archive's imagery; one or several.
        sizes: of tiles, in pixels; one or several.
        dates: a year, month or day (``2019``, ``2019-06``, ``2019-06-03``), or the first and the last, of which one may
            be None. A raster counts when the days that its own date may mean overlap with these; one without date never.
        unlabelled: numbers of the tiles that are labelled already; they are left out.
    """

    area: BaseGeometry | None = None
    crs: str | None = "EPSG:4326"
    rasters: str | int | Sequence[str | int] | None = None
    sizes: int | Sequence[int] | None = None
    dates: str | tuple[str | None, str | None] | None = None
    unlabelled: Collection[int] | NDArray[np.integer[Any]] | None = None
    others: tuple[Where, ...] = ()

    def __and__(self, other: Where) -> Where:
        """Tiles that both allow."""
        return replace(self, others=(*self.others, other))

    def numbers(self, archive: Archive) -> NDArray[np.int64] | None:
        """The tiles that may be hits, int64 (m,), rising; None: all.

        Raises:
            QueryInvalid: it names a raster, tile size or date that is not there, or an area without imagery.
        """
        allowed = self._placed(archive)
        for other in self.others:
            more = other.numbers(archive)
            allowed = more if allowed is None else allowed if more is None else _both(allowed, more)
        if self.unlabelled is None or not len(self.unlabelled):
            return allowed
        return _without(np.arange(len(archive)) if allowed is None else allowed, self.unlabelled)

    def without(self) -> NDArray[np.int64] | None:
        """Numbers of the tiles that may not be hits, rising, where all that is asked is to leave some out; None otherwise."""
        asked = (self.area, self.rasters, self.sizes, self.dates)
        others = [other.without() for other in self.others]
        if any(each is not None for each in asked) or any(each is None for each in others):
            return None
        mine = [] if self.unlabelled is None else [np.fromiter(self.unlabelled, np.int64, len(self.unlabelled))]
        return np.unique(np.concatenate([np.empty(0, np.int64), *mine, *(each for each in others if each is not None)]))

    def notes(self, archive: Archive) -> tuple[str, ...]:
        """What leaves rasters out though nobody asked for it, in words: they have no date, or no place on earth."""
        found = [note for other in self.others for note in other.notes(archive)]
        chosen = self._chosen(archive)
        undated = [archive.imagery[each].name for each in chosen if archive.imagery[each].date is None]
        if self.dates is not None and undated:
            found.append(f"{_listed(undated)} left out for want of a date; give it with archive.set_dates.")
        unplaced = [archive.imagery[each].name for each in chosen if archive.imagery[each].crs is None]
        if self.area is not None and self.crs is not None and unplaced:
            found.append(f"{_listed(unplaced)} left out for want of a place on earth.")
        return tuple(dict.fromkeys(found))

    def _placed(self, archive: Archive) -> NDArray[np.int64] | None:
        """The tiles that area, rasters, sizes and dates allow; None: all."""
        sizes = self._sizes(archive)
        chosen = self._dated(archive, self._chosen(archive))
        if self.area is not None:
            area = checked_area(self.area, self.crs)
            if not touched_rasters(archive, area, self.crs)[chosen].any():
                raise QueryInvalid(
                    f"The area touches no imagery: that covers {extent_text(archive)}. Check the area's coordinate system, "
                    f"{self.crs or 'pixels'}."
                )
            numbers = tiles_in_area(archive, area, self.crs, chosen)
        elif len(chosen) < len(archive.imagery):
            whole = [archive.tiles_within(each, -np.inf, -np.inf, np.inf, np.inf) for each in chosen]
            numbers = np.sort(np.concatenate([np.empty(0, np.int64), *whole]), kind="stable")
        elif sizes is None:
            return None
        else:
            return np.flatnonzero(np.isin(archive.tiles["size"], sizes))
        return numbers if sizes is None else numbers[np.isin(archive.tiles[numbers]["size"], sizes)]

    def _chosen(self, archive: Archive) -> list[int]:
        """Positions of the rasters that are named, all where none is."""
        if self.rasters is None:
            return list(range(len(archive.imagery)))
        names = {raster.name: position for position, raster in enumerate(archive.imagery)}
        asked = [self.rasters] if isinstance(self.rasters, str | int) else self.rasters
        found = set()
        for each in asked:
            position = names.get(each) if isinstance(each, str) else int(each)
            if position is None or not 0 <= position < len(names):
                raise QueryInvalid(f"There is no raster {str(each)[:80]!r} here. There are {_listed(list(names))}.")
            found.add(position)
        return sorted(found)

    def _sizes(self, archive: Archive) -> list[int] | None:
        if self.sizes is None:
            return None
        asked = sorted({int(size) for size in np.atleast_1d(self.sizes)})
        there = list(tile_sizes(archive.tiles))
        wrong = [size for size in asked if size not in there]
        if wrong:
            raise QueryInvalid(f"There are no tiles of {wrong[0]} px here. There are tiles of {_listed(there)} px.")
        return None if asked == there else asked

    def _dated(self, archive: Archive, chosen: list[int]) -> list[int]:
        """Of some rasters those that may be from the days asked for."""
        if self.dates is None:
            return chosen
        first, last = _span(self.dates)
        dates = {position: archive.imagery[position].date for position in chosen}
        spans = {position: days_of(date) for position, date in dates.items() if date is not None}
        found = [position for position, days in spans.items() if days[0] <= last and days[1] >= first]
        if not found:
            known = [f"{archive.imagery[each].name} ({date or 'no date'})" for each, date in dates.items()]
            raise QueryInvalid(
                f"No raster is from {first} to {last}: there are {_listed(known)}. Say when one was taken with "
                "archive.set_dates."
            )
        return found


def _span(dates: str | tuple[str | None, str | None]) -> Days:
    first, last = (dates, dates) if isinstance(dates, str) else dates
    earliest = datetime.date.min if first is None else days_of(first)[0]
    latest = datetime.date.max if last is None else days_of(last)[1]
    if earliest > latest:
        raise QueryInvalid(f"{first} comes after {last}. Give the first date first.")
    return earliest, latest


def _both(some: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers in both of two rising lists."""
    few, many = sorted((some, others), key=len)
    if not len(few):
        return few
    place = np.searchsorted(many, few).clip(max=len(many) - 1)
    return few[many[place] == few]


def _without(allowed: NDArray[np.int64], taken: Collection[int] | NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """A rising list of numbers without some."""
    numbers = np.unique(np.fromiter(taken, np.int64, len(taken)))
    place = np.searchsorted(allowed, numbers)
    there = place[place < len(allowed)]
    return np.delete(allowed, there[allowed[there] == numbers[: len(there)]])


def _listed(things: Sequence[object]) -> str:
    shown = ", ".join(str(thing) for thing in things[:_NAMED])
    more = len(things) - _NAMED
    return f"{shown} and {more:,} more" if more > 0 else shown
