"""How well outlined objects agree with the true ones: area, objects found, vertices, and the angles of their edges."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import Polygon, STRtree

from workbench.errors import ShapeMismatch

Shapes = NDArray[np.object_]
_MOST_STRETCH = 2.0


@dataclass(frozen=True)
class ObjectScores:
    """Agreement of outlines with true ones. NaN where there is nothing to divide by.

    Attributes:
        iou: area of both over area of either, of all objects together.
        precision: share of the found objects that are matched.
        recall: share of the true objects that are matched.
        f1: 2 TP / (found + true).
        matched_iou: mean IoU of the matched pairs.
        vertices: mean vertices per found object, holes' included.
        true_vertices: the same of the true objects.
        angle_error: degrees, mean over the matched pairs of the largest angle between an outline and the true one; see
            `tangent_error`.
        found: how many objects were found.
        true: how many there are.
    """

    iou: float
    precision: float
    recall: float
    f1: float
    matched_iou: float
    vertices: float
    true_vertices: float
    angle_error: float
    found: int
    true: int


def score_objects(found: Shapes, truth: Shapes, *, least_iou: float = 0.5, step: float = 0.3) -> ObjectScores:
    """Compare outlines with true ones.

    Pairs are matched greedily, the highest IoU first, each object once. Above IoU 0.5, and where objects of one side do not
    overlap, no other matching is possible (Kirillov et al. 2019, Panoptic Segmentation, CVPR), so none is better.

    Args:
        found: polygons, (n,), in a CRS that is true to angles, or in pixels.
        truth: polygons in the same coordinates, (m,).
        least_iou: of a match, above 0 and at most 1.
        step: distance of the points where angles are compared, in the coordinates' unit; about two pixels.

    Raises:
        ShapeMismatch: ``least_iou`` or ``step`` is out of range, or something is no valid polygon.
    """
    if not (0 < least_iou <= 1 and step > 0):
        raise ShapeMismatch(f"least_iou={least_iou}, step={step}: give an IoU of 0 to 1 and a distance above 0.")
    found, truth = _polygons(found, "found"), _polygons(truth, "true")
    one, other, iou = match_objects(found, truth, least_iou)
    errors = [tangent_error(*pair, step) for pair in zip(found[one], truth[other], strict=True)]
    known = [error for error in errors if math.isfinite(error)]
    matched, total = len(one), len(found) + len(truth)
    return ObjectScores(
        iou=_area_iou(found, truth),
        precision=_ratio(matched, len(found)),
        recall=_ratio(matched, len(truth)),
        f1=_ratio(2 * matched, total),
        matched_iou=_ratio(float(iou.sum()), matched),
        vertices=_ratio(int(count_vertices(found).sum()), len(found)),
        true_vertices=_ratio(int(count_vertices(truth).sum()), len(truth)),
        angle_error=_ratio(sum(known), len(known)),
        found=len(found),
        true=len(truth),
    )


def match_objects(
    found: Shapes, truth: Shapes, least_iou: float = 0.5
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Pair objects greedily by IoU.

    Returns:
        Positions in ``found`` and in ``truth``, and the IoU of each pair, from the highest; all of one length.
    """
    other, one = STRtree(found).query(truth, predicate="intersects")
    both = shapely.area(shapely.intersection(found[one], truth[other]))
    iou = both / np.maximum(shapely.area(found[one]) + shapely.area(truth[other]) - both, np.finfo(float).tiny)
    used: tuple[set[int], set[int]] = set(), set()
    kept = []
    for pair in np.lexsort((other, one, -iou)).tolist():
        here, there = int(one[pair]), int(other[pair])
        if iou[pair] >= least_iou and here not in used[0] and there not in used[1]:
            used[0].add(here)
            used[1].add(there)
            kept.append(pair)
    return one[kept], other[kept], iou[kept]


def tangent_error(found: Polygon, truth: Polygon, step: float) -> float:
    """The largest angle between an outline and the true one, in degrees, 0 to 90 (max tangent angle error).

    Points along the outline, its vertices among them, are projected to the nearest point of the true outline; each piece
    between two points is compared with its projection. Pieces that the projection stretches or shrinks more than twice
    are at a corner and left out (Girard, Smirnov, Solomon and Tarabalka 2021, Polygonal Building Segmentation by Frame
    Field Learning, CVPR).

    Returns:
        NaN when every piece was left out.
    """
    lines = truth.boundary
    largest = math.nan
    for ring in _rings(found):
        points = shapely.points(shapely.get_coordinates(shapely.segmentize(ring, step)))
        nearest = shapely.get_point(shapely.shortest_line(points, lines), 1)
        pieces, shadows = (np.diff(shapely.get_coordinates(line), axis=0) for line in (points, nearest))
        lengths, shadow = np.hypot(*pieces.T), np.hypot(*shadows.T)
        kept = (lengths > 0) & (shadow > lengths / _MOST_STRETCH) & (shadow < lengths * _MOST_STRETCH)
        cosines = np.abs((pieces * shadows).sum(axis=1)[kept]) / (lengths * shadow)[kept]
        if kept.any():
            largest = float(np.fmax(largest, np.degrees(np.arccos(min(1.0, cosines.min())))))
    return largest


def count_vertices(shapes: Shapes) -> NDArray[np.int64]:
    """Vertices of each polygon, holes' included; a ring's closing point is not counted again."""
    rings = [sum(1 for _ in _rings(shape)) for shape in shapes]
    return shapely.get_num_coordinates(shapes).astype(np.int64) - np.array(rings, np.int64)


def _rings(shape: Any) -> Iterator[shapely.LinearRing]:
    for part in shapely.get_parts(shape):
        yield from (part.exterior, *part.interiors)


def _area_iou(found: Shapes, truth: Shapes) -> float:
    one, other = shapely.union_all(found), shapely.union_all(truth)
    both = shapely.intersection(one, other).area
    return _ratio(both, one.area + other.area - both)


def _polygons(shapes: Shapes, name: str) -> Shapes:
    """The shapes as an array of valid polygons with an area."""
    given = np.asarray(shapes, object).reshape(-1)
    areal = np.isin(shapely.get_type_id(given), (3, 6)) & shapely.is_valid(given) & (shapely.area(given) > 0)
    if not areal.all():
        raise ShapeMismatch(
            f"{(~areal).sum()} of {len(given)} {name} objects are no valid polygons. Mend them with shapely.make_valid."
        )
    return given


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else math.nan
