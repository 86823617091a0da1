"""What the labels say about each pixel of a raster: its class, background, or that nobody looked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from workbench.errors import RasterRefused
from workbench.imagery.rasters import Imagery, Raster
from workbench.labels.events import PlaceKey
from workbench.labels.store import Label, LabelClass, LabelStore

IGNORE = 255


class _Layer:
    """Geometries in pixel coordinates that can be burned into any window."""

    def __init__(self, geometries: Sequence[BaseGeometry]) -> None:
        self.geometries = geometries
        self._tree = shapely.STRtree(geometries)

    def inside(self, window: Window) -> NDArray[np.bool_]:
        """The pixels whose centre lies in one of the geometries."""
        return _burned(self._found(window), window)

    def each(self, window: Window) -> Iterator[NDArray[np.bool_]]:
        """The same for each geometry by itself, of those that touch the window."""
        for geometry in self._found(window):
            yield _burned([geometry], window)

    def _found(self, window: Window) -> list[BaseGeometry]:
        col, row = int(window.col_off), int(window.row_off)
        found = self._tree.query(shapely.box(col, row, col + int(window.width), row + int(window.height)))
        return [self.geometries[number] for number in np.sort(found)]


@dataclass(frozen=True)
class KnownGround:
    """The labels of one raster.

    Attributes:
        raster: where they are.
        positive: by number of the class, its outlines.
        tiles: by number of the class, the whole tiles in which it was seen and that hold no outline of it.
        negative: for each class that has any label at all, where it was not seen.
        complete: where everything of every class is outlined.
    """

    raster: Raster
    positive: dict[int, _Layer]
    tiles: dict[int, _Layer]
    negative: tuple[_Layer, ...]
    complete: _Layer

    def burn(self, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """The mask of a window, and which of its pixels lie in a complete area, both (rows, cols).

        255 where nobody looked; 0 in complete areas and where every class was marked as not there; the number of the
        class where it was seen, the higher one where two were, outlines over whole tiles. A pixel belongs to a geometry
        that holds its centre.
        """
        complete = self.complete.inside(window)
        background = complete.copy()
        if self.negative:
            background |= np.logical_and.reduce([layer.inside(window) for layer in self.negative])
        mask = np.where(background, 0, IGNORE).astype(np.uint8)
        for layers in (self.tiles, self.positive):
            for number, layer in sorted(layers.items()):
                mask[layer.inside(window)] = number
        return mask, complete

    def objects(self, window: Window) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """The outlines and tiles seen in a window: class number, and the pixels of it that each holds, (rows, cols)."""
        for number, layer in (*sorted(self.tiles.items()), *sorted(self.positive.items())):
            for burned in layer.each(window):
                yield number, burned

    def windows(self, chip: int, stride: int) -> list[Window]:
        """The windows of a regular grid from the top left corner that labels touch, row by row."""
        layers = [*self.positive.values(), *self.tiles.values(), *self.negative, self.complete]
        places = {
            place for layer in layers for shape in layer.geometries for place in self._around(shape, chip, stride)
        }
        return [Window(col, row, chip, chip) for row, col in sorted(places)]

    def _around(self, geometry: BaseGeometry, chip: int, stride: int) -> Iterator[tuple[int, int]]:
        left, top, right, bottom = geometry.bounds
        for row in _starts(top, bottom, self.raster.height, chip, stride):
            for col in _starts(left, right, self.raster.width, chip, stride):
                yield row, col


def known_ground(
    store: LabelStore, imagery: Imagery, classes: Sequence[LabelClass] | None = None
) -> tuple[list[KnownGround], list[str]]:
    """The labels of some classes (all when None) sorted by raster, and in words those that say less than was meant."""
    classes = store.classes if classes is None else classes
    numbers = {known.name: known.id for known in classes}
    labels, areas = [label for label in store.labels() if label.class_name in numbers], store.complete()
    looked_for = sorted({numbers[label.class_name] for label in labels})
    said: dict[str, dict[tuple[int, int, bool], list[BaseGeometry]]] = defaultdict(lambda: defaultdict(list))
    rasters = {raster.fingerprint: raster for raster in reversed(imagery)}
    lost = 0
    for place, key in [
        *((x.place, (numbers[x.class_name], x.value, x.whole and x.value > 0)) for x in labels),
        *((area, (0, 0, False)) for area in areas),
    ]:
        try:
            geometry = place.in_pixels(rasters[place.raster])
        except (KeyError, RasterRefused):
            lost += 1
        else:
            said[place.raster][key].append(geometry)
    grounds = []
    for fingerprint, shapes in said.items():
        positive = {n: _Layer(found) for (n, value, whole), found in shapes.items() if value == 1 and not whole}
        tiles = {
            n: _Layer(_without_outlines(found, shapes.get((n, 1, False), [])))
            for (n, _, whole), found in shapes.items()
            if whole
        }
        negative = tuple(_Layer(shapes.get((number, -1, False), [])) for number in looked_for)
        complete = _Layer(shapes.get((0, 0, False), []))
        grounds.append(KnownGround(rasters[fingerprint], positive, tiles, negative, complete))
    words = [f"{lost:,} labels or areas lie on rasters that are not in this imagery."] if lost else []
    return grounds, words + _half_said(labels, {known.name for known in classes if known.id in looked_for})


def _without_outlines(tiles: list[BaseGeometry], outlines: list[BaseGeometry]) -> list[BaseGeometry]:
    """The tiles in which nothing of the class is outlined: where it is, the outline is what the mark meant."""
    tile, outline = shapely.STRtree(outlines).query(tiles, predicate="intersects")
    shared = shapely.area(shapely.intersection(np.array(tiles)[tile], np.array(outlines, object)[outline]))
    outlined = set(tile[shared > 0].tolist())
    return [shape for number, shape in enumerate(tiles) if number not in outlined]


def _half_said(labels: Sequence[Label], looked_for: set[str]) -> list[str]:
    """In words, the places that are ruled out for some classes while nobody said whether the others are there."""
    ruled_out: dict[PlaceKey, set[str]] = defaultdict(set)
    seen = {label.place.key for label in labels if label.value > 0}
    for label in labels:
        if label.value < 0:
            ruled_out[label.place.key].add(label.class_name)
    half = [names for key, names in ruled_out.items() if names < looked_for and key not in seen]
    if not half:
        return []
    named, others = sorted(half[0]), sorted(looked_for - half[0])
    return [
        f"{len(half):,} places are marked as not {_quoted(named)}, and nobody said whether {_quoted(others)} is there: outside "
        "areas declared complete they teach nothing. Mark them for all classes, or export with classes= those you train for."
    ]


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names[:3]) + (" ..." if len(names) > 3 else "")


def _burned(shapes: Sequence[BaseGeometry], window: Window) -> NDArray[np.bool_]:
    """The pixels of a window whose centre lies in one of the shapes."""
    size = int(window.height), int(window.width)
    if not shapes:
        return np.zeros(size, bool)
    corner = Affine.translation(int(window.col_off), int(window.row_off))
    return np.asarray(rasterize(shapes, size, transform=corner, dtype=np.uint8), bool)


def _starts(low: float, high: float, size: int, chip: int, stride: int) -> range:
    """First pixels of the windows along one axis that an interval touches."""
    last = max(0, -(-(size - chip) // stride))
    first = max(0, int((low - chip) // stride) + 1)
    return range(first * stride, min(last, int(high // stride)) * stride + 1, stride)
