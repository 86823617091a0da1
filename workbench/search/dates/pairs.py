"""Descriptors of the same ground on two dates: tiles of one date, and the other date's pixels pooled over them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from workbench.descriptors.archive import Archive
from workbench.descriptors.dense import Block, FeatureMap, read_block
from workbench.errors import QueryInvalid
from workbench.imagery.rasters import Raster
from workbench.imagery.render import Stretch
from workbench.jobs import Progress
from workbench.search.dates.alignment import NONE, Alignment, fit_alignment, sample_windows
from workbench.search.dates.local import Seen, Usual, fit_usual, seen
from workbench.search.dates.view import coarser, overlap_window, view_of

_BLOCK = 1024
_LEAST_DATA = 0.75
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Flights:
    """Two rasters that meet.

    Attributes:
        other: of the other date.
        stretch: of all its bands.
        place: position of the archive's raster.
        scale: pixels of that one per pixel as seen.
        aligned: how the two are made comparable.
        usual: what differs everywhere between them; None where that was not asked for, or there is too little to tell.
    """

    other: Raster
    stretch: Stretch
    place: int
    scale: float
    aligned: Alignment
    usual: Usual | None = None


@dataclass(frozen=True)
class Pairs:
    """Tiles that both dates show, and what they look like on each.

    Attributes:
        numbers: of the tiles in the archive of the later date, rising, (m,).
        before: descriptors as pooled, not centred, float32 (m, dim).
        after: the same of the later date.
        flights: which two rasters a tile was compared on, a place in ``seen``, (m,): light differs from one to the next.
        seen: every two rasters that meet.
        local: how much the ground changed in windows smaller than the tile, see `Usual.changes`, float32 (m, 2); 0 where
            the flights' ``usual`` is not known.
    """

    numbers: Ints
    before: NDArray[np.float32]
    after: NDArray[np.float32]
    flights: Ints
    seen: tuple[Flights, ...]
    local: NDArray[np.float32]


def pool_pairs(
    archive: Archive,
    numbers: Ints,
    others: list[tuple[Raster, Stretch]],
    *,
    zoom: float = 1.0,
    align: bool = True,
    progress: Progress,
) -> Pairs:
    """Describe some tiles on the archive's date and on another one.

    Both dates are seen on one grid, at the coarser of their ground resolutions, so that a cell sees the same ground with the
    same surroundings on both.

    Args:
        archive: of the tiles.
        numbers: of the tiles, rising.
        others: rasters of the other date, each with its stretch.
        zoom: pixels seen per pixel of the archive's grid; more than 1 tells smaller things apart and costs its square.
        align: find out shift and light of each pair of rasters and undo them, and what else differs everywhere.
        progress: counts blocks.

    Raises:
        QueryInvalid: no tile is seen on the other date.
        RasterRefused: rasters cannot be related.
        Cancelled: the user stopped it.
    """
    flights = list(_flights(archive, numbers, others, zoom, align))
    tasks = [(which, each, group) for which, each in enumerate(flights) for group in _blocks(archive, numbers, each)]
    progress.begin("comparing two dates", len(tasks), "blocks")
    dim = archive.manifest.dim
    found, local = np.zeros((2, len(numbers), dim), np.float32), np.zeros((len(numbers), 2), np.float32)
    best, flight = np.zeros(len(numbers)), np.full(len(numbers), -1, np.int64)
    for which, each, group in tasks:
        progress.check()
        before, after, share, changes = _described(archive, each, numbers[group])
        better = (share >= _LEAST_DATA) & (share > best[group] + 1e-6)
        better &= (np.abs(before).sum(axis=1) > 0) & np.isfinite(before).all(axis=1) & np.isfinite(after).all(axis=1)
        rows = group[better]
        found[0, rows], found[1, rows] = before[better], after[better]
        best[rows], flight[rows], local[rows] = share[better], which, changes[better]
        progress.advance()
    kept = np.flatnonzero(flight >= 0)
    if not len(kept):
        raise QueryInvalid("No tile of one date is seen on the other. Check that both dates show the same place.")
    return Pairs(numbers[kept], found[0, kept], found[1, kept], flight[kept], tuple(flights), local[kept])


def picture_before(archive: Archive, pairs: Pairs, number: int, pixels: int = 128) -> NDArray[np.uint8]:
    """What a tile of the later date showed on the earlier one, RGB uint8 (pixels, pixels, 3); white where that has no data.

    Raises:
        QueryInvalid: the tile was not compared.
    """
    row = int(np.searchsorted(pairs.numbers, number))
    if row == len(pairs.numbers) or pairs.numbers[row] != number:
        raise QueryInvalid(f"Tile {number} is not seen on both dates. Choose one of the hits.")
    flights, window = pairs.seen[int(pairs.flights[row])], archive.tile(number).window
    finer = pixels * flights.scale / window.width
    down, right = flights.aligned.shift
    shift = down * finer, right * finer
    place = archive.imagery[flights.place]
    seen, holes = view_of(flights.other, place, window, (pixels, pixels), flights.stretch, shift)
    picture = np.where(holes, 1.0, seen.clip(0, 1)).transpose(1, 2, 0)
    return (255 * picture).round().astype(np.uint8)


def _flights(
    archive: Archive, numbers: Ints, others: list[tuple[Raster, Stretch]], zoom: float, align: bool
) -> Iterator[Flights]:
    """Every two rasters that meet."""
    for place in np.unique(archive.tiles[numbers]["raster"]).tolist():
        raster = archive.imagery[place]
        for other, stretch in others:
            if overlap_window(other, raster) is None:
                continue
            scale = max(archive.manifest.rasters[place].scale, coarser(other, raster)) / zoom
            stretches = stretch, archive.stretch(place)
            if not align:
                yield Flights(other, stretch, place, scale, NONE)
                continue
            flights = Flights(other, stretch, place, scale, fit_alignment(other, raster, scale, stretches))
            yield replace(flights, usual=_usual(archive, flights))


def _blocks(archive: Archive, numbers: Ints, flights: Flights) -> Iterator[Ints]:
    """Positions in ``numbers`` of the tiles of one raster that meet the other, block by block."""
    rows = archive.tiles[numbers]
    both = overlap_window(flights.other, archive.imagery[flights.place])
    if both is None:
        return
    row, col, size = (rows[name].astype(np.int64) for name in ("row", "col", "size"))
    inside = (row < both.row_off + both.height) & (row + size > both.row_off)
    inside &= (col < both.col_off + both.width) & (col + size > both.col_off) & (rows["raster"] == flights.place)
    mine = np.flatnonzero(inside)
    step = max(1, int(_BLOCK * flights.scale))
    keys = np.stack([row[mine] // step, col[mine] // step], axis=1)
    for key in np.unique(keys, axis=0):
        yield mine[(keys == key).all(axis=1)]


def _usual(archive: Archive, flights: Flights) -> Usual | None:
    """What differs everywhere, by samples."""
    raster = archive.imagery[flights.place]
    windows = sample_windows(flights.other, raster, flights.scale)
    sampled = (_both_dates(archive, flights, window) for window in windows)
    return fit_usual([both for both in sampled if both[0].deep.valid.mean() > 0.5], archive.encoder)


def _both_dates(archive: Archive, flights: Flights, window: Window) -> tuple[Seen, Seen]:
    """A window as the encoder sees it on the other date and on the tiles' own."""
    raster, encoder = archive.imagery[flights.place], archive.encoder
    block = read_block(raster, window, flights.scale, encoder, archive.stretch(flights.place))
    return seen(_other_date(archive, flights, block), encoder), seen(block, encoder)


def _described(
    archive: Archive, flights: Flights, numbers: Ints
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Tiles on both dates.

    Returns:
        descriptors on the other date and on their own, each (m, dim), how much of each tile the other date shows, (m,), and
        how much windows in it changed, (m, 2).
    """
    tiles, encoder = archive.tiles[numbers], archive.encoder
    row, col, size = (tiles[name].astype(np.int64) for name in ("row", "col", "size"))
    window = Window(col.min(), row.min(), int((col + size).max() - col.min()), int((row + size).max() - row.min()))
    first, second = _both_dates(archive, flights, window)
    (before, share), (after, _) = (_pooled(each.deep, tiles) for each in (first, second))
    changes = np.zeros((len(tiles), 2), np.float32)
    if flights.usual is not None:
        changes = flights.usual.changes(first, second, encoder, tiles)
    return encoder.finish(before), encoder.finish(after), share, changes


def _other_date(archive: Archive, flights: Flights, block: Block) -> Block:
    """A block of the archive's date as the other date shows it; where that has nothing, as the archive's date does."""
    stride = archive.encoder.stride
    scale = block.cell / stride
    height, width = block.mask.shape
    edge = block.margin * block.cell
    seen = Window(block.col - edge, block.row - edge, width * scale, height * scale)
    place = archive.imagery[flights.place]
    pixels, holes = view_of(flights.other, place, seen, (height, width), flights.stretch, flights.aligned.shift)
    lit = np.where(holes | block.mask, block.unit, flights.aligned.lit(pixels))
    return Block(lit, holes | block.mask, block.margin, block.row, block.col, block.cell, (), stride)


def _pooled(features: FeatureMap, tiles: NDArray[np.void]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean features of tiles (m, raw), and the share of each that has data."""
    means = np.zeros((len(tiles), features.cells.shape[0]), np.float32)
    share = np.zeros(len(tiles), np.float32)
    for size in np.unique(tiles["size"]).tolist():
        mine = np.flatnonzero(tiles["size"] == size)
        rows, by_row = np.unique(tiles["row"][mine].astype(np.int64), return_inverse=True)
        cols, by_col = np.unique(tiles["col"][mine].astype(np.int64), return_inverse=True)
        found, data = features.pool_grid(rows, cols, size, size)
        means[mine], share[mine] = found[by_row, by_col], data[by_row, by_col]
    return means, share
