"""Object scores: each figure is worked out by hand, or by a matching that looks at every pair."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from scipy.optimize import linear_sum_assignment
from shapely import MultiPolygon, Point, Polygon, affinity, box

from workbench.errors import ShapeMismatch
from workbench.segmentation.objects import count_vertices, match_objects, score_objects, tangent_error


def shapes(*given: Polygon) -> np.ndarray:
    return np.array(given, object)


def test_the_truth_has_perfect_scores() -> None:
    truth = shapes(box(0, 0, 10, 20), Polygon([(30, 0), (50, 0), (40, 15)]))
    scores = score_objects(truth, truth)
    assert (scores.iou, scores.precision, scores.recall, scores.f1, scores.matched_iou) == (1, 1, 1, 1, 1)
    assert scores.angle_error == pytest.approx(0, abs=1e-4) and scores.vertices == scores.true_vertices == 3.5


def test_figures_are_those_worked_out_by_hand() -> None:
    truth = shapes(box(0, 0, 10, 10), box(20, 0, 30, 10), box(40, 0, 50, 10))
    found = shapes(box(0, 0, 10, 8), box(20, 0, 24, 10))  # IoU 0.8, and 0.4: no match
    scores = score_objects(found, truth)
    assert (scores.precision, scores.recall, scores.f1) == (1 / 2, 1 / 3, 2 / 5)
    assert scores.iou == pytest.approx(120 / 300) and scores.matched_iou == pytest.approx(0.8)
    assert (scores.found, scores.true) == (2, 3)
    assert score_objects(found, truth, least_iou=0.4).f1 == 4 / 5


def test_each_object_is_matched_once_and_the_better_pair_first() -> None:
    truth = shapes(box(0, 0, 10, 10))
    found = shapes(box(0, 0, 10, 7), box(0, 0, 10, 9), box(0, 0, 10, 8))
    one, other, iou = match_objects(found, truth)
    assert one.tolist() == [1] and other.tolist() == [0] and iou.tolist() == pytest.approx([0.9])


@pytest.mark.parametrize("seed", range(5))
def test_above_one_half_no_matching_is_better_than_the_greedy_one(seed: int) -> None:
    random = np.random.default_rng(seed)
    cells = [(20 * row, 20 * col) for row in range(6) for col in range(6)]
    truth = shapes(*(box(x, y, x + 12, y + 12) for x, y in cells))
    moved = [affinity.translate(shape, *random.uniform(-6, 6, 2)) for shape in truth[random.permutation(36)[:30]]]
    found = shapes(*moved)
    both = shapely.area(shapely.intersection(found[:, None], truth))
    iou = both / (shapely.area(found)[:, None] + shapely.area(truth) - both)
    best = linear_sum_assignment(-(iou * (iou > 0.5)))
    assert len(match_objects(found, truth)[0]) == (iou[best] > 0.5).sum()


@pytest.mark.parametrize("degrees", [0, 3, 10, 20])
def test_a_turned_outline_is_off_by_its_angle(degrees: float) -> None:
    truth = box(0, 0, 40, 20)
    error = tangent_error(affinity.rotate(truth, degrees), truth, 0.3)
    assert error == pytest.approx(degrees, abs=0.6)


def test_stairs_and_round_corners_have_a_large_angle_error() -> None:
    truth = box(0, 0, 40, 20)
    assert tangent_error(truth.buffer(-2).buffer(2), truth, 0.3) > 20
    stairs = Polygon([(0, 0), (40, 0), (40, 20), (20, 20), (18, 21), (16, 20), (0, 20)])
    assert tangent_error(stairs, truth, 0.3) == pytest.approx(math.degrees(math.atan2(1, 2)), abs=0.1)


def test_vertices_are_counted_once_each_with_those_of_holes() -> None:
    ring = box(0, 0, 10, 10).difference(box(4, 4, 6, 6))
    assert count_vertices(shapes(box(0, 0, 1, 1), ring, MultiPolygon([ring, box(20, 0, 21, 1)]))).tolist() == [4, 8, 12]


def test_nothing_found_and_nothing_there() -> None:
    nothing, one = np.array([], object), shapes(box(0, 0, 1, 1))
    scores = score_objects(nothing, one)
    assert (scores.iou, scores.recall, scores.f1) == (0, 0, 0) and math.isnan(scores.precision)
    assert math.isnan(score_objects(nothing, nothing).f1) and score_objects(one, nothing).precision == 0


@pytest.mark.parametrize("wrong", [Point(0, 0), Polygon([(0, 0), (1, 1), (0, 1), (1, 0)]), Polygon(), None])
def test_what_is_no_polygon_is_refused(wrong: object) -> None:
    with pytest.raises(ShapeMismatch, match="1 of 2 found objects"):
        score_objects(np.array([wrong, box(0, 0, 1, 1)], object), shapes(box(0, 0, 1, 1)))
    with pytest.raises(ShapeMismatch, match="least_iou=2"):
        score_objects(shapes(), shapes(), least_iou=2)
