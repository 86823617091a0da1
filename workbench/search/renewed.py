"""Only new hits: a ranking of later imagery without the tiles over ground that already was a hit on an earlier date."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import shapely
from numpy.typing import NDArray

from workbench.descriptors.archive import Archive
from workbench.errors import QueryInvalid
from workbench.imagery.dates import days_of
from workbench.search.index import Hits
from workbench.search.index import Where as Allowed
from workbench.search.overlaps import SAME_OBJECT, apart
from workbench.search.where import Where

Since = str | tuple[Archive, Hits]
"""A date, or an earlier archive and what was a hit there."""
Search = Callable[[int, Allowed | None], Hits]
_TIMES = 4
_RARE = 0.05
_ROUNDING = 1e-6


def rank_new(
    archive: Archive, search: Search, k: int, where: Allowed | None, since: Since, *, one_per_object: bool = False
) -> Hits:
    """The best ``k`` tiles over ground that was no hit before.

    Given a date, tiles of the archive's rasters from then on are ranked, and so are the earlier ones. Ground was a hit
    where an earlier tile of it is among the best ``k`` (or 5 % of all, if that is less), or is not four times as far down
    as the tile is now. Ranks are compared and no scores, since another light shifts all scores of a date; as shares, where
    there are more tiles of one date. Where ``where`` is given it holds for both dates.

    Args:
        archive: that is searched.
        search: gives the best so many of the tiles that are allowed.
        k: number of hits.
        where: tiles that may be hits.
        since: ``2021``, ``2021-06`` or ``2021-06-03``: imagery that may be from that day or later is new; or an earlier
            archive, of any imagery on earth, and its hits.
        one_per_object: leave out tiles that show the same ground as a better hit.

    Returns:
        at most ``k`` hits; fewer where what is left is no news.

    Raises:
        QueryInvalid: ``k`` is negative, ``since`` is no date, or no raster is from then on.
        RasterRefused: an earlier hit has no place on earth.
    """
    if k < 0:
        raise QueryInvalid(f"k is {k}; expected 0 or more hits.")
    if isinstance(since, tuple):
        old, found = since
        ground = old.footprints(found.numbers, "EPSG:4326")
        return _more_until(archive, search, k, where, lambda hits: ~held(archive, hits.numbers, ground), one_per_object)
    before, after = (_within(archive, where, rasters) for rasters in _dated(archive, since))
    ratio = len(before) / max(1, len(after))
    least = min(k, int(_RARE * len(after)))

    def is_new(hits: Hits) -> NDArray[np.bool_]:
        reach = np.ceil(ratio * np.maximum(_TIMES * np.arange(1, len(hits) + 1), least)).astype(np.int64)
        earlier = search(int(reach[-1]), before) if len(hits) else Hits()
        ground = archive.footprints(earlier.numbers, "EPSG:4326")
        return first_over(archive, hits.numbers, ground) >= reach

    return _more_until(archive, search, k, after, is_new, one_per_object)


def held(archive: Archive, numbers: NDArray[np.int64], ground: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Which tiles show ground that some outlines (lon, lat) hold, bool (m,); see `first_over`."""
    return first_over(archive, numbers, ground) < len(ground)


def first_over(
    archive: Archive, numbers: NDArray[np.int64], ground: NDArray[np.object_], share: float = SAME_OBJECT
) -> NDArray[np.int64]:
    """Which outline is the first that shows the same ground as each tile, by the rule of `overlaps.apart`.

    Args:
        archive: of the tiles.
        numbers: of tiles, (m,).
        ground: polygons in lon, lat, (n,).
        share: of the smaller of tile and outline that both have in common.

    Returns:
        places in ``ground``, int64 (m,); n where there is none.
    """
    first = np.full(len(numbers), len(ground), np.int64)
    tiles = np.asarray(archive.tiles[numbers])
    bounds = archive.imagery.bounds_in("EPSG:4326")
    for position in np.unique(tiles["raster"]).tolist():
        raster, mine = archive.imagery[position], np.flatnonzero(tiles["raster"] == position)
        if not raster.mappable:
            continue
        near = np.flatnonzero(shapely.intersects(shapely.box(*bounds[position]), ground))
        shapes = np.array([raster.to_pixels(ground[place], "EPSG:4326") for place in near], object)
        col, row, size = (tiles[name][mine].astype(float) for name in ("col", "row", "size"))
        boxes = shapely.box(col, row, col + size, row + size)
        tile, outline = shapely.STRtree(shapes).query(boxes, predicate="intersects")
        shared = shapely.area(shapely.intersection(boxes[tile], shapes[outline]))
        smaller = np.minimum(shapely.area(boxes[tile]), shapely.area(shapes[outline]))
        same = shared >= (share - _ROUNDING) * smaller
        np.minimum.at(first, mine[tile[same]], near[outline[same]])
    return first


def _more_until(
    archive: Archive,
    search: Search,
    k: int,
    where: Allowed | None,
    is_new: Callable[[Hits], NDArray[np.bool_]],
    one_per_object: bool,
) -> Hits:
    """The first ``k`` hits that are new; more are searched for until there are enough."""
    count = _TIMES * k
    while True:
        hits = search(count, where)
        places = np.flatnonzero(is_new(hits))
        if one_per_object:
            places = places[apart(archive, hits.numbers[places])]
        if len(places) >= k or len(hits) < count:
            kept = (replace(hits[place], rank=rank) for rank, place in enumerate(places[:k].tolist(), 1))
            return Hits(tuple(kept), hits.scored_by)
        count *= _TIMES


def _dated(archive: Archive, since: str) -> tuple[list[int], list[int]]:
    """Positions of the rasters that are surely from before a date, and of those that may be from then on."""
    first = days_of(since)[0]
    dates = {position: raster.date for position, raster in enumerate(archive.imagery) if raster.date}
    before = [position for position, date in dates.items() if days_of(date)[1] < first]
    after = [position for position in dates if position not in before]
    if not after:
        known = ", ".join(sorted(set(dates.values()))[:9]) or "no dates at all"
        raise QueryInvalid(
            f"No raster is from {since} or later: there are {known}. Say when one was taken with archive.set_dates."
        )
    return before, after


def _within(archive: Archive, where: Allowed | None, rasters: list[int]) -> NDArray[np.int64]:
    """Numbers of the tiles of some rasters that are allowed, rising."""
    chosen = Where(rasters=rasters).numbers(archive) if rasters else np.empty(0, np.int64)
    numbers = np.arange(len(archive)) if chosen is None else chosen
    if where is None:
        return numbers
    if isinstance(where, np.ndarray):
        allowed = np.flatnonzero(where) if where.dtype == bool else where
    else:
        asked = where.numbers(archive)
        allowed = numbers if asked is None else asked
    return np.intersect1d(numbers, allowed)
