"""Labels on the map: positives filled, negatives dashed, the class at work above the others."""

from __future__ import annotations

import time

import numpy as np
import pyproj
import pytest
import shapely

from workbench.imagery.mercator import WORLD_M, tile_box
from workbench.labels import shapes
from workbench.labels.events import Place
from workbench.labels.fold import Label, LabelClass
from workbench.labels.shapes import LabelShapes

X, Y, Z = 500, 400, 14
LEFT, _, RIGHT, TOP = tile_box(X, Y, Z)
STEP = (RIGHT - LEFT) / 256
CLASSES = (LabelClass(1, "roof", "#ff0000"), LabelClass(2, "tree", "#0000ff"))


def label(number: int, class_name: str = "roof", value: int = 1, place: tuple[int, int] = (100, 100)) -> Label:
    col, row = place
    outline = shapely.box(LEFT + col * STEP, TOP - (row + 50) * STEP, LEFT + (col + 50) * STEP, TOP - row * STEP)
    return Label(f"s/{number}/1", Place("f", outline, "EPSG:3857"), class_name, value, "now", "me")


def painted(*labels: Label, active: str = "roof") -> np.ndarray:
    found = LabelShapes().outlines(labels, CLASSES, active)[0].paint(X, Y, Z)
    assert found is not None
    return found


def test_positives_are_filled_and_negatives_dashed() -> None:
    picture = painted(label(1, place=(20, 20)), label(2, value=-1, place=(150, 150)))
    assert 60 < picture[45, 45, 3] < 120 and tuple(picture[45, 45, :3]) == (255, 0, 0)
    assert picture[175, 175, 3] < 20
    dashes = picture[150, 155:195, 3] > 128
    assert 0.2 < dashes.mean() < 0.8


def test_the_class_at_work_is_stronger_and_on_top() -> None:
    roof, tree = label(1, place=(20, 20)), label(2, "tree", place=(20, 20))
    for active, colour in (("roof", (255, 0, 0)), ("tree", (0, 0, 255))):
        for order in ((roof, tree), (tree, roof)):
            assert tuple(painted(*order, active=active)[20, 45, :3]) == colour
    apart = painted(label(1, place=(20, 20)), label(2, "tree", place=(150, 150)))
    assert apart[45, 45, 3] > apart[175, 175, 3] > 0
    alike = painted(label(1, place=(20, 20)), label(2, "tree", place=(150, 150)), active="")
    assert alike[45, 45, 3] == alike[175, 175, 3] > 60


def test_labels_without_a_place_on_earth_are_left_out() -> None:
    pixels = Label("s/1/1", Place("f", shapely.box(0, 0, 9, 9), None), "roof", 1, "now", "me")
    outlines, legend = LabelShapes().outlines([pixels], CLASSES, "roof")
    assert len(outlines) == 0 and legend == ()


def test_the_legend_says_what_is_there() -> None:
    legend = LabelShapes().outlines([label(1), label(2, value=-1), label(3, "tree", -1)], CLASSES, "roof")[1]
    assert legend == (("#ff0000", "roof"), ("#ff0000", "not roof (dashed)"), ("#0000ff", "not tree (dashed)"))


def test_a_label_is_brought_to_the_map_once(monkeypatch: pytest.MonkeyPatch) -> None:
    known = LabelShapes()
    asked = []
    real = shapes.labels_frame
    monkeypatch.setattr(shapes, "labels_frame", lambda labels, crs: asked.append(len(labels)) or real(labels, crs))
    labels = [label(number, place=(number % 200, number // 200)) for number in range(3000)]
    known.outlines(labels, CLASSES, "roof")
    started = time.perf_counter()
    outlines, _ = known.outlines([*labels[1:], label(3000)], CLASSES, "roof")
    assert time.perf_counter() - started < 0.5
    assert asked == [3000, 1] and len(outlines) == 3000


def test_labels_of_any_system_are_where_they_are_on_earth() -> None:
    utm = Place("f", shapely.box(574_000, 6_222_000, 574_050, 6_222_050), "EPSG:32632")
    outlines, _ = LabelShapes().outlines([Label("s/1/1", utm, "roof", 1, "now", "me")], CLASSES, "roof")
    x, y = pyproj.Transformer.from_crs("EPSG:32632", "EPSG:3857", always_xy=True).transform(574_025, 6_222_025)
    across, down = (x / WORLD_M + 0.5) * 2**Z, (0.5 - y / WORLD_M) * 2**Z
    tile = outlines.paint(int(across), int(down), Z)
    assert tile is not None and tile[int(down % 1 * 256), int(across % 1 * 256), 3]
