"""Which tiles to outline: those that say most about the rest, per effort, and nothing that is known."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_archives import MeanColour, small_imagery

from workbench.descriptors.build import build_archive
from workbench.errors import QueryInvalid, ShapeMismatch
from workbench.jobs import Progress
from workbench.search.coverage import STRANGERS, most_telling, side_by_side

NONE = np.empty(0, np.int64)


def clumps(sizes: tuple[int, ...], seed: int = 0, dim: int = 12) -> np.ndarray:
    """Unit vectors in tight clumps of some sizes, strangers to each other."""
    chance = np.random.default_rng(seed)
    vectors = np.repeat(np.eye(dim)[: len(sizes)], sizes, axis=0) + chance.normal(0, 0.02, (sum(sizes), dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_large_kinds_come_first_and_each_kind_once() -> None:
    vectors = clumps((5, 30, 12))
    chosen = most_telling(np.ones(47), 3, vectors_of=vectors.__getitem__, done=NONE)
    assert [int(np.searchsorted([5, 35, 47], number, side="right")) for number in chosen] == [1, 2, 0]


def test_what_is_outlined_already_speaks_for_its_kind() -> None:
    vectors = clumps((5, 30, 12))
    chosen = most_telling(np.ones(47), 2, vectors_of=vectors.__getitem__, done=np.array([20]))
    assert 35 <= chosen[0] < 47 and chosen[1] < 5


def test_worth_and_effort_outweigh_numbers() -> None:
    vectors = clumps((5, 30, 12))
    worth = np.repeat([10.0, 1.0, 0.0], (5, 30, 12))
    first = most_telling(worth, 1, vectors_of=vectors.__getitem__, done=NONE)
    assert first[0] < 5
    effort = np.repeat([20.0, 1.0, 1.0], (5, 30, 12))
    assert 5 <= most_telling(worth, 1, vectors_of=vectors.__getitem__, done=NONE, effort=effort)[0] < 35
    assert not np.isin(most_telling(worth, 47, vectors_of=vectors.__getitem__, done=NONE), np.arange(35, 47)).any()


@given(st.lists(st.floats(0, 5) | st.just(float("nan")), min_size=1, max_size=9), st.integers(1, 3), st.integers(0, 5))
def test_the_choice_is_nearly_as_good_as_the_best_there_is(values: list[float], count: int, seed: int) -> None:
    worth = np.array(values)
    vectors = np.random.default_rng(seed).normal(size=(len(worth), 3))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    alike = np.clip((vectors @ vectors.T - STRANGERS) / (1 - STRANGERS), 0, 1) ** 2
    known = np.nan_to_num(worth)

    def told(numbers: tuple[int, ...]) -> float:
        return float(known @ alike[:, list(numbers)].max(axis=1, initial=0))

    chosen = most_telling(worth, count, vectors_of=vectors.__getitem__, done=NONE)
    offered = np.flatnonzero(known > 0)
    assert len(chosen) == min(count, len(offered)) and np.isin(chosen, offered).all()
    best = max((told(each) for each in combinations(offered.tolist(), len(chosen))), default=0)
    assert told(tuple(chosen.tolist())) >= (1 - 1 / np.e) * best - 1e-4


def test_sizes_that_do_not_fit_and_negative_counts_are_refused() -> None:
    vectors = clumps((5,))
    with pytest.raises(QueryInvalid, match="0 or more"):
        most_telling(np.ones(5), -1, vectors_of=vectors.__getitem__, done=NONE)
    with pytest.raises(ShapeMismatch, match="effort"):
        most_telling(np.ones(5), 1, vectors_of=vectors.__getitem__, done=NONE, effort=np.ones(4))
    assert not len(most_telling(np.zeros(5), 3, vectors_of=vectors.__getitem__, done=NONE))


@pytest.mark.parametrize(("tile", "stride"), [((64,), 32), ((64, 128), 32), ((96,), 48)])
def test_tiles_side_by_side_cover_the_raster_and_overlap_at_its_edges_only(
    tmp_path: Path, tile: tuple[int, ...], stride: int
) -> None:
    imagery = small_imagery(tmp_path / "i", names=("north.tif",), size=330)
    archive = build_archive(
        imagery, tmp_path / "a", tile=tile, stride=stride, encoder=MeanColour(), progress=Progress()
    )
    board = side_by_side(archive)
    row, col, size = (archive.tiles[name].astype(int) for name in ("row", "col", "size"))
    for side in tile:
        seen = np.zeros((330, 330), int)
        for number in np.flatnonzero(board & (size == side)).tolist():
            seen[row[number] : row[number] + side, col[number] : col[number] + side] += 1
        whole = 330 // side * side
        reached = (archive.tiles["row"][size == side].astype(int) + side).max()
        assert (seen[:reached, :reached] >= 1).all() and (seen[: whole - side, : whole - side] == 1).all()
