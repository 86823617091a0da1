"""Polygons on map tiles are where they are on earth, with open holes, smooth lines, and no seam between tiles."""

from __future__ import annotations

import time

import numpy as np
import pytest
import shapely

from workbench.imagery.mercator import WORLD_M, tile_box
from workbench.imagery.outlines import Outlines, Style, rgb

X, Y, Z = 500, 400, 12
LEFT, BOTTOM, RIGHT, TOP = tile_box(X, Y, Z)
STEP = (RIGHT - LEFT) / 256
SOLID, DASHED, FAINT = Style("#ff0000", 0.4, 2.0), Style("#0000ff", 0.0, 2.0, dashed=True), Style("#00ff00", 0.1, 1.0)


def box(left: float, top: float, right: float, bottom: float) -> shapely.Polygon:
    """A box in the pixels of the tile."""
    return shapely.box(LEFT + left * STEP, TOP - bottom * STEP, LEFT + right * STEP, TOP - top * STEP)


def painted(*shapes: shapely.Geometry, style: Style = SOLID, x: int = X, y: int = Y, size: int = 256) -> np.ndarray:
    outlines = Outlines(np.array(shapes, object), np.zeros(len(shapes), np.int64), [style])
    found = outlines.paint(x, y, Z, size)
    return np.zeros((size, size, 4), np.uint8) if found is None else found


def test_a_polygon_is_filled_and_outlined_where_it_lies() -> None:
    picture = painted(box(50, 80, 120, 200))
    assert tuple(picture[140, 85]) == (255, 0, 0, pytest.approx(0.4 * 255, abs=1))
    assert picture[140, 49:51, 3].max() == 255 and picture[199:201, 85, 3].max() == 255
    alpha = picture[..., 3]
    assert not alpha[:, :48].any() and not alpha[:, 123:].any() and not alpha[:78].any()


def test_a_hole_stays_open_and_overlapping_polygons_are_filled_once() -> None:
    ring = box(20, 20, 120, 120).difference(box(50, 50, 90, 90))
    one_way = shapely.Polygon(ring.exterior.normalize(), [ring.interiors[0].normalize()])
    assert painted(ring)[70, 70, 3] == painted(ring.reverse())[70, 70, 3] == painted(one_way)[70, 70, 3] == 0
    both = painted(box(20, 20, 120, 120), box(60, 60, 200, 200))
    assert both[90, 90, 3] == both[30, 30, 3] == both[190, 190, 3]


def test_lines_are_smooth() -> None:
    circle = shapely.Point(LEFT + 128 * STEP, TOP - 128 * STEP).buffer(80 * STEP, quad_segs=64)
    line = painted(circle, style=Style("#ff0000", 0.0, 1.5))[..., 3]
    assert len(np.unique(line)) > 50


def test_a_dashed_line_has_gaps_and_a_solid_one_has_none() -> None:
    line = painted(box(50, 50, 200, 200), style=DASHED)[50, 60:190, 3] > 0
    assert 0.3 < line.mean() < 0.8 and np.count_nonzero(np.diff(line)) > 15
    assert painted(box(50, 50, 200, 200))[50, 60:190, 3].all()


def test_neighbouring_tiles_fit_together() -> None:
    shape = shapely.Point(RIGHT - 3 * STEP, TOP - 128 * STEP).buffer(60 * STEP)
    both = np.hstack([painted(shape, style=FAINT), painted(shape, style=FAINT, x=X + 1)])
    left, right = both[:, 253 - 60 : 253], both[:, 253 : 253 + 60][:, ::-1]
    assert np.abs(left.astype(int) - right)[..., 3].mean() < 1
    edge = painted(box(-50, -50, 256, 300), x=X + 1)
    assert edge[100, 0, 3] > 0, "half of a line on the edge belongs to the next tile"


def test_small_polygons_do_not_vanish_from_afar() -> None:
    specks = [box(10 * n + 5.2, 30.3, 10 * n + 5.7, 30.8) for n in range(20)]
    assert np.count_nonzero(painted(*specks)[..., 3]) == 20
    large = painted(*specks, style=Style("#ff0000", 0.4, 2.0, speck=3))
    assert np.count_nonzero(large[..., 3]) == 180 and (large[large[..., 3] > 0] == (255, 0, 0, 255)).all()


def test_a_polygon_far_larger_than_the_tile_fills_it() -> None:
    country = box(-40_000, -40_000, 40_000, 40_000).difference(box(100, 100, 150, 150))
    picture = painted(country)
    assert picture[50, 50, 3] == pytest.approx(102, abs=1) and picture[125, 125, 3] == 0


def test_the_styles_that_come_last_are_on_top() -> None:
    shapes = np.array([box(50, 50, 150, 150), box(50, 50, 150, 150)], object)
    for kinds, colour in (([0, 1], (0, 255, 0)), ([1, 1], (0, 255, 0)), ([0, 0], (255, 0, 0))):
        picture = Outlines(shapes, np.array(kinds), [SOLID, Style("#00ff00", 1.0, 2.0)]).paint(X, Y, Z)
        assert picture is not None and tuple(picture[50, 100, :3]) == colour


def test_across_the_antimeridian_a_polygon_is_at_both_ends_and_not_between() -> None:
    step = WORLD_M / 2**Z / 256
    left, right = WORLD_M / 2 - 50 * step, -WORLD_M / 2 + 80 * step
    high, low = TOP - 20 * STEP, TOP - 200 * STEP
    wide = shapely.Polygon([(left, low), (right, low), (right, high), (left, high)])
    east, west, middle = painted(wide, x=2**Z - 1), painted(wide, x=0), painted(wide, x=X)
    assert east[100, 230, 3] and not east[100, 200, 3]
    assert west[100, 60, 3] and not west[100, 90, 3]
    assert not middle[..., 3].any()


def test_what_is_no_polygon_is_left_out() -> None:
    nowhere = shapely.Polygon([(np.inf, 0), (1, 1), (2, 0)])
    shapes = np.array([shapely.Point(LEFT, TOP), shapely.Polygon(), nowhere, None], object)
    assert len(Outlines(shapes, np.zeros(4, np.int64), [SOLID])) == 0
    assert Outlines(np.array([], object), np.array([], np.int64), []).paint(X, Y, Z) is None


def test_lines_are_as_wide_on_screens_with_small_pixels() -> None:
    narrow, wide = painted(box(50, 50, 200, 200)), painted(box(50, 50, 200, 200), size=512)
    assert np.count_nonzero(wide[200, :200, 3] == 255) >= 2 * np.count_nonzero(narrow[100, :100, 3] == 255) - 1
    assert wide[200, 104:396, 3].max() < 255


def test_thousands_of_polygons_are_quick() -> None:
    place = np.random.default_rng(0).uniform(0, 1, (20_000, 2))
    centres = shapely.points(LEFT + place[:, 0] * 256 * STEP, BOTTOM + place[:, 1] * 256 * STEP)
    outlines = Outlines(shapely.buffer(centres, 0.8 * STEP), np.zeros(20_000, np.int64), [SOLID])
    outlines.paint(X, Y, Z)
    started = time.perf_counter()
    assert outlines.paint(X, Y, Z) is not None
    assert time.perf_counter() - started < 0.5
    assert outlines.paint(X + 5, Y, Z) is None


def test_colours_are_read_from_their_digits() -> None:
    assert rgb("#0a80ff") == (10, 128, 255)
