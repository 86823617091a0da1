"""What can be shown on the map: a fixed list of layers, asked for by number, painted as XYZ tiles; knows no widget."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from geopandas import GeoDataFrame
from numpy.typing import NDArray

from workbench.descriptors.archive import Archive
from workbench.errors import QueryInvalid, RasterRefused, RasterUnreadable, ShapeMismatch
from workbench.imagery.mercator import MAX_ZOOM, TILE, is_tile, native_zoom
from workbench.imagery.mosaic import Draw, Mosaic
from workbench.imagery.opening import open_imagery
from workbench.imagery.outlines import Outlines, Style, load_canvas
from workbench.imagery.pictures import STRETCHES, Pictures
from workbench.imagery.probabilities import Probabilities
from workbench.imagery.rasters import Raster
from workbench.imagery.render import Stretch
from workbench.imagery.tile_cache import TileCache
from workbench.imagery.xyz import encode_tile
from workbench.labels.fold import Label, LabelClass, default_colour
from workbench.labels.shapes import LabelShapes
from workbench.search.ranks import RANKS
from workbench.tile_map import BEST, TileMap

log = logging.getLogger(__name__)

IMAGERY, HEAT, PREDICTION, POLYGONS, LABELS, GRID = range(6)
"""The only things that can be asked for, from the lowest to the one on top."""

NAMES = ("Imagery", "Best matches", "Prediction", "Polygons", "Labels", "Tile grid")
CACHE_BYTES = 64_000_000

_BEYOND = 3
_ALL_HITS = "all hits; other tiles are too many to colour"
_MOST_PIXELS = 1024
_MOST_PROBLEMS = 100
Legend = tuple[tuple[str, str], ...]
Painted = tuple[NDArray[np.uint8] | None, Mapping[int, RasterUnreadable]]
Paint = Callable[[int, int, int, int], Painted]


@dataclass(frozen=True)
class LayerInfo:
    """A layer as a map needs to know it.

    Attributes:
        number: to ask for its tiles by.
        name: in words.
        version: goes up with every change of what it shows.
        available: whether there is anything to show.
        max_native_zoom: tiles of higher zooms show nothing that enlarging does not.
    """

    number: int
    name: str
    version: int
    available: bool
    max_native_zoom: int


@dataclass(frozen=True)
class _Layer:
    """What a layer shows now; replaced as a whole, so that a tile never mixes two states."""

    version: int = 0
    paint: Paint | None = None
    legend: Legend = ()


class Layers:
    """Everything that an archive's map can show.

    Tiles may be asked for, and what is shown changed, from any thread: a change is prepared first and then put in place
    under a lock that is held for an instant.

    Args:
        archive: whose imagery and grid they are.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._mosaic = Mosaic(archive.imagery)
        self._map = TileMap(archive)
        self._seen = _seen_of(archive)
        self._ground = Mosaic(self._seen.imagery)
        self._labels = LabelShapes()
        self._lock = threading.Lock()
        self._tiles = TileCache(CACHE_BYTES)
        self._problems: dict[object, str] = {}
        self._layers = [_Layer() for _ in NAMES]
        if self._native is not None:
            self.set_stretch(STRETCHES[0])
            self._put(GRID, self._over(self._map.lines))

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be shown so far, in words, besides the archive's own problems.

        A raster is named once, for the first part of it that failed.
        """
        with self._lock:
            return tuple(self._problems.values())

    def infos(self) -> tuple[LayerInfo, ...]:
        """All layers, in the order of their numbers."""
        native = self._native or 0
        # Lines and cells are drawn afresh at each zoom; pixels only get larger.
        zooms = [native if number in (IMAGERY, PREDICTION) else min(MAX_ZOOM, native + _BEYOND) for number in range(6)]
        with self._lock:
            return tuple(
                LayerInfo(number, NAMES[number], layer.version, layer.paint is not None, zooms[number])
                for number, layer in enumerate(self._layers)
            )

    def tile(self, number: int, x: int, y: int, z: int, size: int = TILE) -> bytes | None:
        """One tile of a layer, as JPEG or WebP.

        Args:
            number: of the layer.
            x: column of the tile in the XYZ scheme, 0 ... 2**z - 1.
            y: row of the tile.
            z: zoom.
            size: pixels on a side; more than 256 for screens with small pixels.

        Returns:
            the picture, or None where there is nothing.

        Raises:
            QueryInvalid: there is no such layer or tile.
            RasterUnreadable: nothing but pixels that cannot be read.
        """
        _check(number, x, y, z, size)
        with self._lock:
            layer = self._layers[number]
            key = (number, layer.version, z, x, y, size)
            known, tile = self._tiles.get(key)
        if known or layer.paint is None:
            return tile
        picture, errors = layer.paint(x, y, z, size)
        for position, error in errors.items():
            if number == PREDICTION or not self._is_known_to_fail(number, position):
                self._report((number, position), str(error))
        if errors and picture is None:
            raise next(iter(errors.values()))
        tile = None if picture is None else encode_tile(picture, flat=number != IMAGERY)
        if not errors:
            with self._lock:
                self._tiles.put(key, tile)
        return tile

    def warm_up(self) -> None:
        """Draw the view of everything, which opens every raster once, and load what draws lines; for a thread of its own."""
        for x, y, z in self._mosaic.tiles_of_all():
            try:
                self.tile(IMAGERY, x, y, z)
            except RasterUnreadable as error:
                log.info("Not warmed up: %s", error)
        load_canvas()

    def set_stretch(self, name: str) -> None:
        """Show the imagery another way, one of `STRETCHES`.

        Raises:
            QueryInvalid: no such stretch.
        """
        pictures = Pictures(self._seen.imagery, self._seen.stretches, self._seen.quicklooks, name)
        if any(raster.mappable for raster in self._seen.imagery):
            self._put(IMAGERY, lambda x, y, z, size: self._ground.paint(x, y, z, pictures.draw, size))

    def set_scores(self, scores: NDArray[np.float32] | Callable[[], NDArray[np.float32]] | None) -> None:
        """Colour the best tiles by their rank; None: no tile.

        Args:
            scores: of all tiles of the archive, (n,), or what gives them, which is asked when something is first drawn;
                those that are not finite have no rank.

        Raises:
            ShapeMismatch: not one score a tile.
        """
        if scores is None or self._native is None:
            self._put(HEAT, None)
            return
        if isinstance(scores, np.ndarray) and scores.shape != (len(self._archive),):
            raise ShapeMismatch(
                f"Got scores of shape {scores.shape} for {len(self._archive):,} tiles. Give one score a tile."
            )
        draw = self._map.ranked((lambda: scores) if isinstance(scores, np.ndarray) else scores)
        legend = tuple((colour, f"best {share * 100:g} %") for share, colour in RANKS)
        self._put(HEAT, self._over(draw), legend)

    def set_hits(self, numbers: NDArray[np.int64]) -> None:
        """Colour hits only, where there are too many tiles to rank them all (`tile_map.MOST_RANKED`).

        Args:
            numbers: of the hits, best first.
        """
        if self._native is None or not len(numbers):
            self._put(HEAT, None)
            return
        outlines = self._map.outlined(numbers)
        words = [f"best {count}" for count, _ in BEST if count is not None and count < len(numbers)]
        legend = tuple((colour, said) for said, (_, colour) in zip([*words, _ALL_HITS], BEST, strict=False))
        self._put(HEAT, lambda x, y, z, size: (outlines().paint(x, y, z, size), {}), legend)

    def set_prediction(self, rasters: Sequence[Path], colours: Mapping[str, str], threshold: float = 0.5) -> None:
        """Show the most probable class of each place in its colour, the stronger the surer.

        A raster that cannot be opened is left out and named in `problems`.

        Args:
            rasters: files of `segmentation.predict`; none to show nothing.
            colours: ``#rrggbb`` by class; a class without one gets that of its number.
            threshold: where no class is at least this probable, nothing is shown.
        """
        opened: list[Raster] = []
        for path in rasters:
            try:
                opened += [raster for raster in open_imagery(path) if raster.mappable]
            except (RasterUnreadable, RasterRefused) as error:
                self._report(path, str(error))
        if not opened:
            self._put(PREDICTION, None)
            return
        names = list(dict.fromkeys(band.name for raster in opened for band in raster.bands))
        chosen = {name: colours.get(name, default_colour(place)) for place, name in enumerate(names, 1)}
        mosaic, drawn = Mosaic(opened), Probabilities(opened, chosen, threshold)
        words = tuple((chosen[name], f"{name}, {threshold:.0%} or more") for name in names)
        self._put(PREDICTION, lambda x, y, z, size: mosaic.paint(x, y, z, drawn.draw, size), words)

    def set_polygons(self, frame: GeoDataFrame | None, colours: Mapping[str, str]) -> None:
        """Show polygons of `segmentation.polygonize`.

        Args:
            frame: with the column ``class`` and a CRS; None, empty or without CRS: nothing.
            colours: ``#rrggbb`` by class; a class without one gets that of its number.
        """
        if frame is None or not len(frame) or frame.crs is None:
            self._put(POLYGONS, None)
            return
        classes, kinds = np.unique(frame["class"].to_numpy().astype(str), return_inverse=True)
        chosen = [colours.get(name, default_colour(place)) for place, name in enumerate(classes.tolist(), 1)]
        styles = [Style(colour, fill=0.15, width=1.5) for colour in chosen]
        outlines = Outlines(frame.geometry.to_crs("EPSG:3857").to_numpy(), kinds, styles)
        self._put(POLYGONS, _drawn(outlines), tuple(zip(chosen, classes.tolist(), strict=True)))

    def set_labels(self, labels: Sequence[Label], classes: Sequence[LabelClass], active: str) -> None:
        """Show labels: positives filled, negatives with a dashed outline, those of other classes thinner.

        Args:
            labels: to show; those in rasters without CRS have no place on the map.
            classes: with their colours.
            active: the class that is being labelled; all are drawn alike when it is none of them.
        """
        outlines, legend = self._labels.outlines(labels, classes, active)
        self._put(LABELS, _drawn(outlines) if len(outlines) else None, legend)

    def legend(self, shown: Sequence[int] | None = None) -> list[tuple[str, list[tuple[str, str]]]]:
        """What the colours mean: (layer, [(colour, words), ...]) for each layer that needs saying.

        Args:
            shown: only these layers; all when None.
        """
        with self._lock:
            layers = tuple(self._layers)
        return [
            (NAMES[number], list(layer.legend))
            for number, layer in enumerate(layers)
            if layer.legend and (shown is None or number in shown)
        ]

    @cached_property
    def _native(self) -> int | None:
        """The zoom of the finest raster; None when none has a place on the map."""
        rasters = (*self._archive.imagery, *self._seen.imagery)
        return max((native_zoom(raster) for raster in dict.fromkeys(rasters) if raster.mappable), default=None)

    def _over(self, draw: Draw) -> Paint:
        return lambda x, y, z, size: self._mosaic.paint(x, y, z, draw, size)

    def _put(self, number: int, paint: Paint | None, legend: Legend = ()) -> None:
        with self._lock:
            before = self._layers[number]
            self._layers[number] = replace(before, version=before.version + 1, paint=paint, legend=legend)
            self._tiles.forget(number)

    def _is_known_to_fail(self, number: int, position: int) -> bool:
        name = (self._seen.imagery if number == IMAGERY else self._archive.imagery)[position].name
        return any(name in problem for problem in self._archive.problems)

    def _report(self, what: object, problem: str) -> None:
        with self._lock:
            if what in self._problems or len(self._problems) >= _MOST_PROBLEMS:
                return
            self._problems[what] = problem
        log.warning("%s", problem)


@dataclass(frozen=True)
class _Seen:
    """Rasters whose pixels the map shows, their stretches, and their small copies."""

    imagery: Sequence[Raster]
    stretches: Sequence[Stretch]
    quicklooks: Sequence[Path | None]


def _seen_of(archive: Archive) -> _Seen:
    """An archive's own imagery, or what is attached to imported descriptors."""
    if archive.outlines is None:
        numbers = range(len(archive.imagery))
        return _Seen(
            archive.imagery, [archive.stretch(number) for number in numbers], [archive.quicklook(n) for n in numbers]
        )
    if archive.attached is None:
        return _Seen((), (), ())
    rasters = archive.attached.imagery
    return _Seen(rasters, archive.attached.stretches, [None] * len(rasters))


def _drawn(outlines: Outlines) -> Paint:
    return lambda x, y, z, size: (outlines.paint(x, y, z, size), {})


def _check(number: int, x: int, y: int, z: int, size: int) -> None:
    """Raise `QueryInvalid` unless the numbers name a tile of a layer; requests may come from anywhere."""
    asked = (number, x, y, z, size)
    if any(type(value) is not int for value in asked):
        kinds = ", ".join(type(value).__name__ for value in asked)
        raise QueryInvalid(f"A map tile is named by five whole numbers, not by ({kinds}).")
    if not 0 <= number < len(NAMES):
        raise QueryInvalid(f"There is no layer {_short(number)}. Layers go from 0 to {len(NAMES) - 1}.")
    if not (is_tile(x, y, z) and 1 <= size <= _MOST_PIXELS):
        raise QueryInvalid(
            f"There is no map tile {_short(z)}/{_short(x)}/{_short(y)} of {_short(size)} pixels. Zooms go from 0 to "
            f"{MAX_ZOOM}, columns and rows to 2**zoom - 1, sizes to {_MOST_PIXELS}."
        )


def _short(value: int) -> str:
    return str(value) if abs(value) < 10**12 else "(a huge number)"
