"""Outlines of buildings made regular, all together: right angles where they fit, and neighbours that do not overlap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import LinearRing, Polygon, STRtree
from shapely.geometry.base import BaseGeometry

from workbench.segmentation.right_angles import Fit, fit_walls

_LEAST_IOU = 0.9
_DETAILS = (3.0, 1.5)
"""Pixels that a part of a wall must stand out to be kept: first few walls, then more where the outline needs them."""
_BORDER = 0.1
"""Share of an outline's length that two objects have in common when they stand wall to wall."""


def regularise(
    masks: Sequence[Polygon], plain: Sequence[BaseGeometry], chosen: Sequence[bool], least: float, aspect: float = 1.0
) -> list[BaseGeometry]:
    """Bring the outlines of buildings to right angles.

    An object keeps its plain outline where the regular one's IoU with its mask is under 0.9. Of objects that stand wall to
    wall, the smaller one takes over the direction and the lines of the larger one, so that a wall they share stays shared;
    where outlines still overlap, the larger object keeps its shape and the other one is cut along it.

    Args:
        masks: the objects by their pixels' edges, in pixels; they do not overlap.
        plain: their outlines otherwise.
        chosen: which of them are buildings; the others are at most cut.
        least: smaller pieces, in pixels, that a cut leaves are dropped.
        aspect: a pixel's width divided by its height on the ground.

    Returns:
        The outlines, valid, as many as were given.
    """
    square = shapely.transform(np.array(masks, object), lambda points: points * (aspect, 1))
    shapes = shapely.transform(np.array(plain, object), lambda points: points * (aspect, 1))
    areas = shapely.area(square)
    beside = _beside(square)
    fits = dict[int, Fit]()
    order = sorted(np.flatnonzero(chosen).tolist(), key=lambda number: -areas[number])
    for number in order:
        fit = _fitted(square[number], [fits[other] for other in beside[number] if other in fits])
        if fit is not None:
            fits[number] = fit
            shapes[number] = fit.shape
    _cut(shapes, list(fits), least * aspect)
    return list(shapely.transform(shapes, lambda points: points / (aspect, 1)))


def midline(shape: Polygon) -> Polygon:
    """A polygon of pixel edges led through the edges' middles, where the line lies that the stairs stand for."""
    return Polygon(_middles(shape.exterior), [_middles(hole) for hole in shape.interiors])


def _middles(ring: LinearRing) -> NDArray[np.float64]:
    corners = np.asarray(shapely.segmentize(ring, 1.0).coords)
    return (corners[:-1] + corners[1:]) / 2


def _fitted(mask: Polygon, neighbours: Sequence[Fit]) -> Fit | None:
    """The first regular shape that is true to the mask; like the neighbours' if it can be."""
    outline = midline(mask)
    for detail in _DETAILS:
        for beside in (*neighbours, None):
            fit = fit_walls(outline, detail, beside)
            if fit.shape.is_valid and _iou(fit.shape, mask) >= _LEAST_IOU:
                return fit
    return None


def _beside(masks: NDArray[np.object_]) -> list[list[int]]:
    """For each object those it shares a border with, the largest first."""
    areas = shapely.area(masks)
    found: list[list[int]] = [[] for _ in masks]
    one, other = STRtree(masks).query(masks, predicate="touches")
    shared = shapely.length(shapely.intersection(masks[one], masks[other]))
    close = shared >= _BORDER * shapely.length(masks[one])
    for here, there in zip(one[close].tolist(), other[close].tolist(), strict=True):
        found[here].append(there)
    return [sorted(near, key=lambda number: -areas[number]) for near in found]


def _cut(shapes: NDArray[np.object_], regular: Sequence[int], least: float) -> None:
    """Cut, in place, what overlaps a regular shape: the smaller of two regular ones, or a plain one.

    Where the cut would take more than a tenth, the regular shape is cut instead.
    """
    rank = {number: place for place, number in enumerate(regular)}
    last = len(shapes)
    one, other = STRtree(shapes).query(shapes[list(regular)], predicate="intersects")
    pairs = {(regular[here], there) for here, there in zip(one.tolist(), other.tolist(), strict=True)}
    for kept, cut in sorted(pairs, key=lambda pair: (rank[pair[0]], rank.get(pair[1], last), pair[1])):
        if rank[kept] < rank.get(cut, last):
            shared = shapely.intersection(shapes[kept], shapes[cut]).area
            if shared > (1 - _LEAST_IOU) * shapes[cut].area:
                shapes[kept] = _without(shapes[kept], shapes[cut], least)
            elif shared > 0:
                shapes[cut] = _without(shapes[cut], shapes[kept], least)


def _without(shape: BaseGeometry, other: BaseGeometry, least: float) -> BaseGeometry:
    """What the other one leaves of a shape: the pieces that are large enough, and the largest in any case."""
    parts = [part for part in shapely.get_parts(shapely.difference(shape, other)) if isinstance(part, Polygon)]
    parts.sort(key=lambda part: -part.area)
    return shapely.union_all(parts[:1] + [part for part in parts[1:] if part.area >= least])


def _iou(one: BaseGeometry, other: BaseGeometry) -> float:
    both = shapely.intersection(one, other).area
    return float(both / (one.area + other.area - both))
