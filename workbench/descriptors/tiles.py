"""Which tiles an archive has and where they lie: as rows in memory or on disk, or computed from the grid for millions."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, overload

import numpy as np
from numpy.typing import DTypeLike, NDArray

from workbench.descriptors.bitmap import Bitmap
from workbench.descriptors.layouts import Layout
from workbench.descriptors.manifest import Manifest
from workbench.imagery.grid import TILE_DTYPE

Ints = NDArray[np.int64]
_CHUNK = 1 << 18


class GridTiles:
    """Tiles that lie on the grid, in a build's own order, read like the structured array (n,) that they stand for.

    A slot is a window that may be a tile; slots are numbered raster by raster (see `Layout`), and a bitmap says which
    hold a tile. Nothing is stored for a tile beyond its bit, and any row is computed in microseconds.

    Attributes:
        held: which slots hold a tile; None when all do.
    """

    dtype = TILE_DTYPE
    ndim = 1

    def __init__(self, manifest: Manifest, held: NDArray[np.uint8] | None = None) -> None:
        """Lay out the slots of a manifest's rasters.

        Args:
            manifest: its grid, blocks and rasters.
            held: which slots hold a tile, a bit each (see `bitmap.pack`); all when None.
        """
        made: dict[tuple[int, int, float], int] = {}
        self._layouts: list[Layout] = []
        kinds = []
        for position, entry in enumerate(manifest.rasters):
            shape = entry.height, entry.width, entry.scale
            if shape not in made:
                made[shape] = len(self._layouts)
                sizes, block = sizes_of(manifest, position), manifest.block_of(position)
                self._layouts.append(Layout(manifest.grid, entry.height, entry.width, sizes, block))
            kinds.append(made[shape])
        self._kinds = np.array(kinds, np.int64)
        slots = np.array([layout.slots for layout in self._layouts], np.int64)
        self._firsts = np.concatenate([[0], np.cumsum(slots[self._kinds], dtype=np.int64)])
        self.held = None if held is None else Bitmap(held, self.slots)
        self.shape = (self.slots if self.held is None else len(self.held),)

    @property
    def slots(self) -> int:
        """How many windows may be tiles."""
        return int(self._firsts[-1])

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(self), _CHUNK):
            yield from self[start : start + _CHUNK]

    @overload
    def __getitem__(self, rows: int | np.integer[Any]) -> np.void: ...
    @overload
    def __getitem__(self, rows: str | slice | Sequence[int] | NDArray[Any]) -> NDArray[Any]: ...
    def __getitem__(self, rows: int | np.integer[Any] | str | slice | Sequence[int] | NDArray[Any]) -> Any:
        """One row, several (by slice, numbers, or a truth value for each), or by name a whole column, uint32 (n,).

        Raises:
            IndexError: there is no such tile.
        """
        if isinstance(rows, str):
            return self._column(rows)
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            chosen = range(start, stop, step)
            return self._rows(self._run(start, stop) if step == 1 else self._slots(np.array(chosen, np.int64)))
        numbers = np.asarray(rows)
        if numbers.dtype == bool:
            if numbers.shape != self.shape:
                raise IndexError(f"{numbers.shape} truth values for {len(self)} tiles")
            numbers = np.flatnonzero(numbers)
        if numbers.ndim == 0:
            return self._rows(self._slots(numbers[None]))[0]
        return self._rows(self._slots(numbers))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        whole = self[:]
        return whole if dtype is None else whole.astype(dtype)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Tile sizes that the grid has, in pixels, ascending."""
        return tuple(sorted({size for layout in self._layouts for size in layout.sizes}))

    def slots_of(self, rows: NDArray[Any]) -> Ints:
        """The slots of structured rows (m,), int64; -1 for a window that is not on the grid."""
        found = np.full(len(rows), -1, np.int64)
        raster = rows["raster"].astype(np.int64)
        for layout, there in self._by_layout(np.where(raster < len(self._kinds), raster, 0)):
            row, col, size = (rows[name][there].astype(np.int64) for name in ("row", "col", "size"))
            slots = layout.slots_of(row, col, size)
            found[there] = np.where(slots < 0, -1, slots + self._firsts[raster[there].clip(max=len(self._kinds) - 1)])
        found[raster >= len(self._kinds)] = -1
        return found

    def numbers_of(self, rows: NDArray[Any]) -> Ints:
        """The numbers of the tiles that structured rows (m,) name, int64; -1 for those that are no tile here."""
        slots = self.slots_of(rows)
        if self.held is None or not len(slots):
            return slots
        there = slots >= 0
        there[there] = self.held.held(slots[there])
        return np.where(there, self.held.rank(np.maximum(slots, 0)), -1)

    def block_slots(self, raster: int, first: int, last: int) -> slice:
        """The slots of the blocks ``first`` to before ``last`` of a raster."""
        layout, start = self._layouts[int(self._kinds[raster])], int(self._firsts[raster])
        return slice(start + layout.first_of(first), start + layout.first_of(last))

    def raster_tiles(self, raster: int) -> slice:
        """The tiles of a raster, by number."""
        ends = self._firsts[raster : raster + 2]
        return slice(*(ends if self.held is None else self.held.rank(ends)).tolist())

    def raster_digest(self, raster: int) -> str:
        """Names which slots of a raster hold a tile: 32 hexadecimal digits."""
        layout, first = self._layouts[int(self._kinds[raster])], int(self._firsts[raster])
        digest = hashlib.blake2b(json.dumps([layout.slots, layout.sizes, layout.block]).encode(), digest_size=16)
        if self.held is not None:
            bits = np.unpackbits(self.held.packed[first // 8 : (first + layout.slots) // 8 + 1], bitorder="little")
            digest.update(np.packbits(bits[first % 8 : first % 8 + layout.slots]).data)
        return digest.hexdigest()

    def within(self, raster: int, left: float, top: float, right: float, bottom: float) -> Ints:
        """See `tiles_within`."""
        found = [np.empty(0, np.int64)]
        if 0 <= raster < len(self._kinds):
            for slots in self._layouts[int(self._kinds[raster])].within(left, top, right, bottom):
                slots += self._firsts[raster]
                found.append(slots if self.held is None else self.held.rank(slots[self.held.held(slots)]))
        return np.concatenate(found)

    def _slots(self, numbers: NDArray[Any]) -> Ints:
        numbers = numbers.astype(np.int64)
        if not len(numbers):
            return numbers
        numbers = np.where(numbers < 0, numbers + len(self), numbers)
        if numbers.min() < 0 or numbers.max() >= len(self):
            raise IndexError(f"tiles {numbers.min()} to {numbers.max()} of {len(self)}")
        return numbers if self.held is None else self.held.select(numbers)

    def _run(self, start: int, stop: int) -> Ints:
        return np.arange(start, stop, dtype=np.int64) if self.held is None else self.held.between(start, stop)

    def _rows(self, slots: Ints) -> NDArray[Any]:
        found = np.empty(len(slots), TILE_DTYPE)
        raster = np.searchsorted(self._firsts, slots, side="right") - 1
        found["raster"] = raster
        for layout, there in self._by_layout(raster):
            windows = layout.windows(slots[there] - self._firsts[raster[there]])
            for name, values in zip(("row", "col", "size"), windows, strict=True):
                found[name][there] = values
        return found

    def _by_layout(self, raster: Ints) -> Iterator[tuple[Layout, NDArray[Any] | slice]]:
        """For each shape of raster among some tiles, which of them lie on such rasters."""
        kinds = self._kinds[raster]
        present = np.unique(kinds).tolist()
        for kind in present:
            yield self._layouts[kind], slice(None) if len(present) == 1 else np.flatnonzero(kinds == kind)

    def _column(self, name: str) -> NDArray[Any]:
        found = np.empty(len(self), TILE_DTYPE[name])
        if name == "raster":
            ends = self._firsts if self.held is None else self.held.rank(self._firsts)
            return np.repeat(np.arange(len(self._kinds), dtype=found.dtype), np.diff(ends))
        if name == "size" and len(self.sizes) == 1:
            found[:] = self.sizes[0]
            return found
        for start in range(0, len(self), _CHUNK):
            found[start : start + _CHUNK] = self[start : start + _CHUNK][name]
        return found


def sizes_of(manifest: Manifest, raster: int) -> tuple[int, ...]:
    """Tile sizes in pixels of a raster, from the manifest alone."""
    grid = manifest.grid
    pixel = 1.0 if grid.resolution_m is None else grid.resolution_m / manifest.rasters[raster].scale
    return tuple(max(1, round(size / pixel)) for size in grid.tile)


Tiles = NDArray[Any] | GridTiles


def tiles_within(tiles: Tiles, raster: int, left: float, top: float, right: float, bottom: float) -> Ints:
    """Tiles whose centre lies in a rectangle of a raster's pixels.

    Args:
        tiles: of an archive.
        raster: position of the raster.
        left: first column.
        top: first row.
        right: end of the columns, itself outside.
        bottom: end of the rows, itself outside.

    Returns:
        their numbers, int64 (m,), ascending.
    """
    if isinstance(tiles, GridTiles):
        return tiles.within(raster, left, top, right, bottom)
    half = tiles["size"] / 2
    col, row = tiles["col"] + half, tiles["row"] + half
    inside = (tiles["raster"] == raster) & (col >= left) & (col < right) & (row >= top) & (row < bottom)
    return np.flatnonzero(inside)


def tile_sizes(tiles: Tiles) -> tuple[int, ...]:
    """Tile sizes in pixels, ascending."""
    return tiles.sizes if isinstance(tiles, GridTiles) else tuple(np.unique(tiles["size"]).tolist())


def tiles_digest(tiles: Tiles) -> str:
    """Names the tiles and their order, given the manifest: 32 hexadecimal digits."""
    if isinstance(tiles, GridTiles):
        digest = hashlib.blake2b(json.dumps([tiles.slots, len(tiles), tiles.sizes]).encode(), digest_size=16)
        if tiles.held is not None:
            digest.update(tiles.held.packed.data)
        return digest.hexdigest()
    return hashlib.blake2b(np.ascontiguousarray(tiles).tobytes(), digest_size=16).hexdigest()


def raster_slices(tiles: Tiles, rasters: int) -> list[slice]:
    """For each raster of an archive, its tiles by number: they follow one another."""
    if isinstance(tiles, GridTiles):
        return [tiles.raster_tiles(raster) for raster in range(rasters)]
    ends = np.searchsorted(tiles["raster"], np.arange(rasters + 1)).tolist()
    return [slice(start, stop) for start, stop in itertools.pairwise(ends)]


def raster_tiles(tiles: Tiles, rasters: int) -> Iterator[tuple[slice, str]]:
    """For each raster of an archive, its tiles by number, and 32 hexadecimal digits that name them and their order."""
    for raster, mine in enumerate(raster_slices(tiles, rasters)):
        if isinstance(tiles, GridTiles):
            yield mine, tiles.raster_digest(raster)
            continue
        windows = [np.ascontiguousarray(tiles[name][mine]) for name in ("row", "col", "size")]
        yield mine, hashlib.blake2b(np.stack(windows).tobytes(), digest_size=16).hexdigest()
