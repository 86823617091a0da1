"""Where a map and the labels say different things: areas of disagreement, largest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import shapes
from rasterio.windows import Window
from scipy.ndimage import binary_opening
from shapely import Polygon

from workbench.imagery.probabilities import STEPS
from workbench.imagery.rasters import Imagery, Raster
from workbench.labels.masks import IGNORE, KnownGround
from workbench.segmentation.review import Objects

_BLOCK = 1024
_RIM = 7
_LEAST = 64
_SEEN = (
    ("no \u2192 yes", "The labels say no, the map says yes"),
    ("yes \u2192 no", "The labels say yes, the map says no"),
)


def differences(
    grounds: Sequence[KnownGround],
    imagery: Imagery,
    maps: Sequence[Raster | None],
    number: int,
    class_name: str,
    *,
    threshold: float = 0.5,
    most: int = 200,
) -> Objects:
    """Areas where labels say that a class is there and its map says it is not, or the other way round.

    Only pixels that somebody looked at count. Edges of objects are never exact: what an opening by 7 pixels takes away, the
    rims of objects that were found, is no error. The map is looked at in blocks of 1,024 pixels, whose edges cut areas.

    Args:
        grounds: the labels, of `labels.masks.known_ground`.
        imagery: that was mapped.
        maps: the probability raster of each raster of the imagery, None where there is none.
        number: of the class in masks.
        class_name: of the class: a band's name.
        threshold: from which on the map says that the class is there.
        most: at most so many areas.

    Returns:
        The areas, largest on the ground first, with their mean probability.

    Raises:
        RasterUnreadable: a map cannot be read.
    """
    known = {raster.fingerprint: position for position, raster in enumerate(imagery)}
    found: list[tuple[float, int, Polygon, float, tuple[str, str]]] = []
    for ground in grounds:
        position = known[ground.raster.fingerprint]
        on = maps[position]
        names = [] if on is None else [band.name for band in on.bands]
        if on is None or class_name not in names:
            continue
        width_m, height_m = ground.raster.pixel_size_m
        for shape, pixels, probability, seen in _differing(ground, on, names.index(class_name), number, threshold):
            found.append((pixels * width_m * height_m, position, shape, probability, _SEEN[seen]))
    found.sort(key=lambda one: -one[0])
    found = found[:most]
    outlines = np.empty(len(found), object)
    outlines[:] = [shape for _, _, shape, _, _ in found]
    return Objects(
        class_name,
        np.array([position for _, position, *_ in found], np.int64),
        outlines,
        np.array([probability for *_, probability, _ in found], np.float64),
        tuple(
            (f"{words} \u00b7 {area:,.3g} m\u00b2", f"{says}: {area:,.3g} m\u00b2") for area, *_, (words, says) in found
        ),
    )


def _differing(
    ground: KnownGround, on: Raster, band: int, number: int, threshold: float
) -> Iterator[tuple[Polygon, int, float, int]]:
    """Areas of one raster: outline in pixels, pixels, mean probability, and which of `_SEEN` it is."""
    for window in ground.windows(_BLOCK, _BLOCK):
        col, row = int(window.col_off), int(window.row_off)
        block = Window(col, row, min(_BLOCK, on.width - col), min(_BLOCK, on.height - row))
        mask, _ = ground.burn(block)
        values = on.read(block, bands=[band])[0]
        looked = (mask != IGNORE) & ~np.ma.getmaskarray(values)
        sure = np.ma.getdata(values).astype(np.float32) / np.float32(STEPS if on.dtype == "uint8" else 1)
        there, shown = mask == number, sure >= threshold
        for seen, wrong in enumerate((looked & shown & ~there, looked & there & ~shown)):
            yield from _areas(wrong, sure, Affine.translation(col, row), seen)


def _areas(
    wrong: NDArray[np.bool_], sure: NDArray[np.float32], place: Affine, seen: int
) -> Iterator[tuple[Polygon, int, float, int]]:
    thick = binary_opening(wrong, np.ones((_RIM, _RIM), bool))
    if not thick.any():
        return
    for outline, _ in shapes(thick.astype(np.uint8), mask=thick, connectivity=4, transform=place):
        shape = Polygon(outline["coordinates"][0], outline["coordinates"][1:])
        if shape.area < _LEAST:
            continue
        left, top, right, bottom = (round(edge) for edge in shape.bounds)
        cut = np.s_[top - round(place.f) : bottom - round(place.f), left - round(place.c) : right - round(place.c)]
        inside = wrong[cut]
        yield shape, round(shape.area), float(sure[cut][inside].mean()), seen
