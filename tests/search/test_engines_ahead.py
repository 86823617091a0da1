"""Reading ahead changes nothing but when a file is read."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from workbench.search.engines.ahead import read_ahead


@pytest.fixture
def rows(tmp_path: Path) -> np.ndarray:
    path = tmp_path / "rows.npy"
    np.save(path, np.arange(1 << 20, dtype=np.uint64).reshape(-1, 8))
    return np.load(path, mmap_mode="r", allow_pickle=False)


def test_a_mapped_file_reads_the_same_afterwards(rows: np.ndarray) -> None:
    starts = np.array([0, 10, 5_000, 100_000])
    for part in (rows, rows.view(np.uint8), rows[1_000:]):
        before = np.array(part[:50])
        read_ahead(part, starts, starts + 20)
        assert np.array_equal(part[:50], before)
    read_ahead(rows, starts[:0], starts[:0])


def in_memory(rows: np.ndarray, row: int) -> bool:
    """Whether the page of a mapped row is in memory (mincore, which does not read it)."""
    page = (rows.ctypes.data + row * rows.strides[0]) // mmap.PAGESIZE * mmap.PAGESIZE
    told = ctypes.c_ubyte()
    failed = ctypes.CDLL(None).mincore(ctypes.c_void_p(page), ctypes.c_size_t(1), ctypes.byref(told))
    return not failed and bool(told.value & 1)


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux what is in memory")
def test_the_parts_that_are_asked_for_come_into_memory_and_others_do_not(rows: np.ndarray, tmp_path: Path) -> None:
    with (tmp_path / "rows.npy").open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if in_memory(rows, 120_000):
        pytest.skip("this file system keeps files in memory")
    read_ahead(rows, np.array([100, 120_000]), np.array([200, 120_100]))
    until = time.monotonic() + 5
    while not (in_memory(rows, 100) and in_memory(rows, 120_000)) and time.monotonic() < until:
        time.sleep(0.01)
    assert in_memory(rows, 100) and in_memory(rows, 120_000) and not in_memory(rows, 60_000)


def test_arrays_in_memory_are_left_alone() -> None:
    read_ahead(np.zeros((10, 8), np.uint64), np.array([0]), np.array([10]))
