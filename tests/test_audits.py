"""Audits on disk: what is read is what was written, and what nobody of us wrote is left alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from workbench.audits import (
    ESTIMATES,
    FORMAT,
    VERSION,
    Draw,
    Draws,
    add_estimate,
    audit_folder,
    read_draws,
    read_estimates,
    write_draw,
)
from workbench.errors import FileExists
from workbench.search.stopping import Estimate, Interval

TILES = 40
_PERMUTED = np.random.default_rng(0).permutation(TILES).astype(np.int64)
_EVEN = np.full(TILES, 0.25, np.float32)
FIRST, SECOND = Draw(_PERMUTED[:10], _EVEN), Draw(_PERMUTED[10:20], 2 * _EVEN)


def some_draws() -> Draws:
    return Draws.of(TILES).followed_by(FIRST).followed_by(SECOND)


def kept(folder: Path) -> Path:
    """A folder in which both draws are."""
    write_draw(folder, 1, FIRST)
    write_draw(folder, 2, SECOND)
    return folder


def same(one: Draws, other: Draws) -> bool:
    pairs = [(one.numbers, other.numbers), (one.expected, other.expected)]
    pairs += [(one.last.numbers, other.last.numbers), (one.last.chances, other.last.chances)]
    return one.place == other.place and all(np.array_equal(*pair) for pair in pairs)


def some_estimate(labels: int = 10) -> Estimate:
    one = Interval(0.1, 0.2, 0.3)
    return Estimate(labels, 5, 0.25, 7, one, one, Interval(4.0, 5.0, 9.0), None)


def test_a_draw_counts_when_all_of_it_is_labelled() -> None:
    draws = some_draws()
    marks = {int(number): 1 for number in draws.numbers} | {int(number): -1 for number in draws.last.numbers[1:]}
    half = draws.audit(marks)
    assert half.numbers.tolist() == draws.numbers.tolist() and half.said.all() and (half.expected == 0.25).all()
    assert draws.left(marks).tolist() == [draws.last.numbers[0]]
    whole = draws.audit(marks | {int(draws.last.numbers[0]): 1})
    assert len(whole.numbers) == 20 and whole.said.sum() == 11 and (whole.expected == 0.75).all()


def test_draws_and_estimates_are_read_as_they_were_written(tmp_path: Path) -> None:
    folder = audit_folder(tmp_path, "<b>../roof", "a" * 32, "me")
    assert folder.parent == tmp_path / "audits"
    assert same(read_draws(folder, TILES), Draws.of(TILES)) and read_estimates(folder) == []
    kept(folder)
    assert same(read_draws(folder, TILES), some_draws())
    told = [some_estimate(10), replace(some_estimate(20), area=Interval(1.0, 2.0, 3.0))]
    for each in told:
        add_estimate(folder, each)
    assert read_estimates(folder) == told
    add_estimate(folder, some_estimate(15))  # five labels were taken back
    assert read_estimates(folder) == [told[0], some_estimate(15)]


def test_a_draw_is_never_written_over_and_what_was_drawn_meanwhile_is_read(tmp_path: Path) -> None:
    write_draw(tmp_path, 1, FIRST)
    mine = read_draws(tmp_path, TILES)
    write_draw(tmp_path, mine.place, SECOND)
    with pytest.raises(FileExists):
        write_draw(tmp_path, mine.place, Draw(_PERMUTED[20:30], _EVEN))
    assert same(read_draws(tmp_path, TILES, mine), some_draws())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0001.safetensors", "0002.safetensors"]


def test_each_class_archive_and_person_has_an_audit_of_its_own(tmp_path: Path) -> None:
    given = [("roof", "a", "me"), ("roof!", "a", "me"), ("roof", "b", "me"), ("roof", "a", "you")]
    assert len({audit_folder(tmp_path, *each) for each in given}) == len(given)


@pytest.mark.parametrize(
    "spoilt",
    [
        {"chances": np.zeros(TILES - 1, np.float32)},
        {"chances": np.full(TILES, np.nan, np.float32)},
        {"chances": np.full(TILES, -1, np.float32)},
        {"chances": np.zeros(TILES, np.float64)},
        {"numbers": np.array([TILES], np.int64)},
        {"numbers": np.array([-1], np.int64)},
        {"numbers": np.array([3, 3], np.int64)},
        {"numbers": _PERMUTED[:1]},
        {"numbers": np.array([[3]], np.int64)},
        {"more": np.zeros(1, np.float32)},
    ],
)
def test_a_hostile_draw_is_left_out_and_logged(
    tmp_path: Path, spoilt: dict[str, np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    tensors = {"numbers": SECOND.numbers, "chances": SECOND.chances} | spoilt
    write_draw(tmp_path, 1, FIRST)
    (tmp_path / "0002.safetensors").write_bytes(save(tensors, {FORMAT: json.dumps({"version": VERSION})}))
    assert same(read_draws(tmp_path, TILES), replace(Draws.of(TILES).followed_by(FIRST), place=3))
    assert "cannot be used" in caplog.text


def test_a_damaged_draw_or_one_of_another_version_is_left_out(tmp_path: Path) -> None:
    path = kept(tmp_path) / "0001.safetensors"
    data = path.read_bytes()
    for spoilt in (b"", b"junk", data[: len(data) // 2], data.replace(b'version\\": 2', b'version\\": 9')):
        path.write_bytes(spoilt)
        assert same(read_draws(tmp_path, TILES), replace(Draws.of(TILES), place=2).followed_by(SECOND))


def test_a_line_that_is_no_estimate_is_left_out(tmp_path: Path) -> None:
    add_estimate(tmp_path, some_estimate())
    path = tmp_path / ESTIMATES
    row = json.loads(path.read_text())
    spoilt = [row | {name: value} for name, value in (("labels", 2.5), ("precision_low", None), ("threshold", True))]
    spoilt += [row | {"version": 1}, row | {"count_high": "many"}, {"version": VERSION}, 3, []]
    for line in (*map(json.dumps, spoilt), "", "{", "\xff"):
        with path.open("a", encoding="latin-1") as log:
            log.write(line + "\n")
    add_estimate(tmp_path, some_estimate(30))
    assert read_estimates(tmp_path) == [some_estimate(), some_estimate(30)]
