"""Rows in several parts read like one array, and only what is asked for is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.descriptors.rows import Rows

LENGTHS = st.lists(st.integers(0, 30), min_size=0, max_size=5)


def parts_of(lengths: list[int]) -> tuple[list[np.ndarray], np.ndarray]:
    whole = np.random.default_rng(0).normal(size=(sum(lengths), 3)).astype(np.float16)
    ends = np.cumsum(lengths)
    return [whole[end - length : end] for length, end in zip(lengths, ends, strict=True)], whole


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.integers(0, 99), st.slices(120))
def test_rows_read_like_the_array_they_stand_for(lengths: list[int], seed: int, span: slice) -> None:
    parts, whole = parts_of(lengths)
    rows = Rows(parts, 3)
    assert (len(rows), rows.shape, rows.dtype) == (len(whole), whole.shape, whole.dtype)
    assert np.array_equal(np.asarray(rows), whole) and np.array_equal(rows[span], whole[span])
    assert np.asarray(rows, np.float32).dtype == np.float32
    assert np.array_equal(list(rows), list(whole))
    assert rows[[]].shape == (0, 3)
    if len(whole):
        numbers = np.random.default_rng(seed).integers(-len(whole), len(whole), 40)
        assert np.array_equal(rows[numbers], whole[numbers])
        assert np.array_equal(rows[int(numbers[0])], whole[int(numbers[0])])
        assert np.array_equal(rows[whole[:, 0] > 0], whole[whole[:, 0] > 0])
    chunks = list(rows.chunks(7))
    assert [start for start, _ in chunks] == list(np.cumsum([0, *(len(part) for _, part in chunks)])[:-1])
    assert np.array_equal(np.concatenate([np.empty((0, 3)), *(part for _, part in chunks)]), whole)
    assert all(len(part) <= 7 and (part.base is not None) for _, part in chunks)


@pytest.mark.parametrize("outside", [5, -6, [0, 5]])
def test_a_row_that_is_not_there_is_refused(outside: int | list[int]) -> None:
    with pytest.raises(IndexError):
        _ = Rows(parts_of([2, 3])[0], 3)[outside]


def test_a_gather_from_files_reads_only_those_rows(tmp_path: Path) -> None:
    import psutil

    rows, dim = 200_000, 512  # 205 MB, sparse on disk
    for number in range(2):
        array = np.lib.format.open_memmap(tmp_path / f"{number}.npy", "w+", np.float16, (rows // 2, dim))
        array[10] = number + 1
        del array
    read = Rows([np.load(tmp_path / f"{number}.npy", mmap_mode="r") for number in range(2)], dim)
    before = psutil.Process().memory_info().rss
    assert read[[10, rows // 2 + 10]][:, 0].tolist() == [1, 2]
    assert read[np.arange(0, rows, 1000)].shape == (200, dim)
    assert psutil.Process().memory_info().rss - before < 20e6
