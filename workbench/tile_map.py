"""What the tiles of an archive look like on the map: the best of them in colours by rank, and the lines between all."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.archive import Archive
from workbench.descriptors.tiles import raster_slices
from workbench.imagery.mercator import Patch
from workbench.imagery.mosaic import Draw
from workbench.imagery.outlines import Outlines, Style, rgb
from workbench.imagery.paint import Cells, Lattice, bare_lattice, cells_of, coverage, grid_lines, lattices
from workbench.search.ranks import RANKS, rank_levels

MOST_RANKED = 4_000_000
"""Tiles that are all scored and ranked for their colours: that takes a third of a second, after the hits are shown."""
BEST = ((10, RANKS[0][1]), (50, RANKS[2][1]), (None, RANKS[4][1]))
"""How many of the hits, best first, have which colour where there are more tiles than that."""

_GRID_PLACES = 4_000_000
_SPARSE = 64
_SPECK = 5
T = TypeVar("T")


class Once(Generic[T]):
    """A value that is made when it is first asked for, by the thread that asks; others wait for it."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make: Callable[[], T] | None = make
        self._lock = threading.Lock()
        self._value: T

    def __call__(self) -> T:
        """The value."""
        with self._lock:
            if self._make is not None:
                self._value = self._make()
                self._make = None
            return self._value


class TileMap:
    """Draws an archive's tiles into map tiles; nothing is computed before something is drawn.

    Args:
        archive: whose tiles.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._lattices = [Once(lambda each=each: self._laid_out(each)) for each in range(len(archive.imagery))]  # type: ignore[misc]
        self._ruled = [Once(lambda each=each: self._ruled_out(each)) for each in range(len(archive.imagery))]  # type: ignore[misc]

    def ranked(self, scores: Callable[[], NDArray[np.float32]]) -> Draw:
        """What colours the best tiles by `RANKS`.

        Args:
            scores: gives the score of every tile, (n,); those that are not finite have no rank.
        """

        def coloured() -> list[Cells | None]:
            levels = rank_levels(scores())
            parts = (lattice() for lattice in self._lattices)
            return [cells_of(each, levels) if each else None for each in parts]

        cells = Once(coloured)
        colours = np.array([(0, 0, 0, 0), *((*rgb(colour), 255) for _, colour in reversed(RANKS))], np.uint8)

        def draw(position: int, patch: Patch) -> NDArray[np.uint8] | None:
            mine = cells()[position]
            return None if mine is None else mine.paint(self._archive.imagery[position], patch, colours)

        return draw

    def outlined(self, numbers: NDArray[np.int64]) -> Once[Outlines]:
        """Hits, best first, (m,), as filled squares that can be seen from afar, coloured by `BEST`."""
        mappable = [raster.mappable for raster in self._archive.imagery]
        numbers = numbers[np.array(mappable)[self._archive.tiles[numbers]["raster"]]]
        ends = [len(numbers) if count is None else count for count, _ in BEST]
        kinds = len(BEST) - 1 - np.searchsorted(ends, np.arange(len(numbers)), side="right")
        styles = [Style(colour, fill=0.8, width=1.0, speck=_SPECK) for _, colour in reversed(BEST)]
        return Once(lambda: Outlines(self._archive.footprints(numbers, "EPSG:3857"), kinds, styles))

    def lines(self, position: int, patch: Patch) -> NDArray[np.uint8] | None:
        """The lines between the tiles of one raster."""
        ruled = self._ruled[position]()
        return None if ruled is None else grid_lines(self._archive.imagery[position], *ruled, patch)

    def lattices(self, position: int) -> tuple[Lattice, ...]:
        """Where the tiles of one raster lie; empty where it has none."""
        return self._lattices[position]()

    @cached_property
    def _slices(self) -> list[slice]:
        return raster_slices(self._archive.tiles, len(self._archive.imagery))

    def _laid_out(self, position: int) -> tuple[Lattice, ...]:
        archive, mine = self._archive, self._slices[position]
        raster, grid, count = archive.imagery[position], archive.manifest.grid, mine.stop - mine.start
        imported = archive.outlines is not None
        # A few tiles strewn over a continent would take a grid of the whole of it.
        sparse = imported and grid.count(raster) > max(_GRID_PLACES, _SPARSE * count)
        if not count or sparse:
            return ()
        return lattices(grid, raster, archive.tiles, mine, strewn=imported)

    def _ruled_out(self, position: int) -> tuple[Lattice, NDArray[np.bool_]] | None:
        """The smallest tiles of a raster, and where it has any; of very many, it is taken to have them everywhere."""
        archive, mine = self._archive, self._slices[position]
        if archive.outlines is None and mine.stop - mine.start > MOST_RANKED:
            raster, grid = archive.imagery[position], archive.manifest.grid
            return bare_lattice(grid, raster, min(grid.sizes(raster))), np.ones((1, 1), bool)
        parts = self._laid_out(position) if len(archive) > MOST_RANKED else self.lattices(position)
        return (parts[0], coverage(parts[0])) if parts else None
