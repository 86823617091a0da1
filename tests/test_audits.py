"""Audits on disk: what is read is what was written, and what nobody of us wrote is left alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from workbench.audits import (
    FORMAT,
    VERSION,
    Draws,
    audit_path,
    read_draws,
    read_estimates,
    write_draws,
    write_estimates,
)
from workbench.search.stopping import Estimate, Interval

TILES = 40


def some_draws() -> Draws:
    chance = np.random.default_rng(0)
    drawn = chance.permutation(TILES)[:20].astype(np.int64)
    even = np.full(TILES, 0.25, np.float32)
    return Draws.of(TILES).followed_by(drawn[:10], even).followed_by(drawn[10:], 2 * even)


def some_estimate(labels: int = 10) -> Estimate:
    one = Interval(0.1, 0.2, 0.3)
    return Estimate(labels, 5, 0.25, 7, one, one, Interval(4.0, 5.0, 9.0), None)


def test_a_draw_counts_when_all_of_it_is_labelled() -> None:
    draws = some_draws()
    marks = {int(number): 1 for number in draws.numbers} | {int(number): -1 for number in draws.last[1:]}
    half = draws.audit(marks)
    assert half.numbers.tolist() == draws.numbers.tolist() and half.said.all() and (half.expected == 0.25).all()
    assert draws.left(marks).tolist() == [draws.last[0]]
    whole = draws.audit(marks | {int(draws.last[0]): 1})
    assert len(whole.numbers) == 20 and whole.said.sum() == 11 and (whole.expected == 0.75).all()


def test_draws_and_estimates_are_read_as_they_were_written(tmp_path: Path) -> None:
    path, draws = audit_path(tmp_path, "<b>../roof", "a" * 32, "me"), some_draws()
    assert path.parent == tmp_path / "audits"
    assert read_draws(path, TILES) is None and read_estimates(path) == []
    write_draws(path, draws)
    again = read_draws(path, TILES)
    assert again is not None
    for name in ("numbers", "expected", "last", "chances"):
        assert np.array_equal(getattr(again, name), getattr(draws, name))
    told = [some_estimate(10), replace(some_estimate(20), area=Interval(1.0, 2.0, 3.0))]
    write_estimates(path, told)
    assert read_estimates(path) == told


def test_each_class_archive_and_person_has_an_audit_of_its_own(tmp_path: Path) -> None:
    given = [("roof", "a", "me"), ("roof!", "a", "me"), ("roof", "b", "me"), ("roof", "a", "you")]
    assert len({audit_path(tmp_path, *each) for each in given}) == len(given)


@pytest.mark.parametrize(
    "spoilt",
    [
        {"expected": np.zeros(TILES - 1, np.float32)},
        {"expected": np.full(TILES, np.nan, np.float32)},
        {"chances": np.full(TILES, -1, np.float32)},
        {"chances": np.zeros(TILES, np.float64)},
        {"numbers": np.array([TILES], np.int64)},
        {"numbers": np.array([-1], np.int64)},
        {"numbers": np.array([3, 3], np.int64)},
        {"numbers": np.array([[3]], np.int64)},
        {"more": np.zeros(1, np.float32)},
    ],
)
def test_a_hostile_file_begins_another_audit_and_is_logged(
    tmp_path: Path, spoilt: dict[str, np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    draws = some_draws()
    tensors = {name: getattr(draws, name) for name in ("numbers", "expected", "last", "chances")} | spoilt
    path = tmp_path / "a.safetensors"
    path.write_bytes(save(tensors, {FORMAT: json.dumps({"version": VERSION})}))
    assert read_draws(path, TILES) is None and "another begins" in caplog.text


def test_a_damaged_file_or_one_of_another_version_begins_another_audit(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_draws(path, some_draws())
    data = path.read_bytes()
    for spoilt in (b"", b"junk", data[: len(data) // 2], data.replace(b'version\\": 1', b'version\\": 9')):
        path.write_bytes(spoilt)
        assert read_draws(path, TILES) is None
    for spoilt in (b"", b"[]", b'{"version":1,"rows":[{}]}', b'{"version":1,"rows":[3]}', b'{"version":2,"rows":[]}'):
        path.with_suffix(".json").write_bytes(spoilt)
        assert read_estimates(path) == []
    write_estimates(path, [some_estimate()])
    rows = json.loads(path.with_suffix(".json").read_text())
    for name, value in (("labels", 2.5), ("precision_low", None), ("count_high", "many"), ("threshold", True)):
        changed = {"version": VERSION, "rows": [rows["rows"][0] | {name: value}]}
        path.with_suffix(".json").write_text(json.dumps(changed))
        assert read_estimates(path) == [], name
