"""The figures on class maps and on saved scorers: what they count as right, on scenes small enough to be quick."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from workbench.imagery.synthetic import IGNORE, paint_scene
from workbench.jobs import Progress

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def _scripts_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in ("class_map", "retrieval", "scene_tiles", "scorers", "simulated"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.slow
def test_a_map_from_few_marks_is_better_than_chance_and_truth_is_what_most_of_the_ground_is(tmp_path: Path) -> None:
    import class_map

    out = tmp_path / "class_map.json"
    few = ["--size", "1024", "--tiles", "64", "--marks", "4", "--seeds", "1", "--methods", "means", "workbench"]
    class_map.main(["--scene", str(tmp_path), *few, "--json", str(out)])
    rows = json.loads(out.read_text())["rows"]
    assert [(row["method"], row["tile"], row["marks"]) for row in rows] == [("means", 64, 4), ("workbench", 64, 4)]
    assert all(0 <= row[name] <= 1 for row in rows for name in ("overall", "on_classes", "forced", "none_found"))
    assert rows[1]["forced"] > 0.6 and rows[1]["forced"] >= rows[1]["on_classes"]
    assert rows[0]["none_found"] == 0 or rows[0]["on_classes"] <= rows[0]["forced"]
    scene = paint_scene(tmp_path, size=1024, progress=Progress())
    truth = class_map.truth_of(scene, (32, 32))
    assert set(np.unique(truth)) <= {0, 1, 2, 3, 4, IGNORE} and (truth == 1).any() and (truth == 4).any()


def test_sigmoids_are_even_where_scores_say_nothing_and_steep_where_they_tell_apart() -> None:
    import class_map

    scores = np.array([-2.0, -1, -1, 1, 2, 2])
    slope, shift = class_map.sigmoid(scores, scores > 0)
    chances = 1 / (1 + np.exp(-(slope * scores + shift)))
    assert slope > 0.3 and (chances > 0.5).tolist() == (scores > 0).tolist()
    slope, _ = class_map.sigmoid(np.tile(scores, 2), np.repeat([True, False], 6))
    assert slope == pytest.approx(0, abs=1e-3)
