"""Many processes and threads on one archive: no hang, and every one of them gets the same answer."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
from small_archives import MeanColour, small_imagery

from workbench.descriptors.archive import open_archive
from workbench.descriptors.build import build_archive
from workbench.jobs import Progress
from workbench.search.index import Index

_AT_ONCE = 4
_PATIENCE_S = 60.0
QUERIES = (3, 50, 161)


def _search(folder: Path) -> list[list[int]]:
    """What a worker finds: it opens the archive, searches by descriptors, and looks into the codes."""
    archive = open_archive(folder, encoder=MeanColour())
    index = Index(archive)
    found = [index.search(archive.vectors_of([number])[0], 10).numbers.tolist() for number in QUERIES]
    return [*found, archive.codes[list(QUERIES)].sum(axis=1).tolist()]


def _archive(folder: Path) -> Path:
    imagery = small_imagery(folder / "images")
    archive = build_archive(imagery, folder / "archive", tile=64, encoder=MeanColour(), progress=Progress())
    _ = archive.codes
    return archive.folder


@pytest.mark.slow
def test_many_spawned_workers_search_one_archive_without_a_hang(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    folder = _archive(tmp_path)
    expected = _search(folder)  # the parent's own threads are running when workers start
    workers = 2 * request.config.getoption("--fault-runs", 15)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(_AT_ONCE, spawn, max_tasks_per_child=1) as pool:
        waiting = [pool.submit(_search, folder) for _ in range(workers)]
        for each in waiting:
            assert each.result(timeout=_PATIENCE_S * _AT_ONCE) == expected


def test_many_threads_open_and_search_one_archive(tmp_path: Path) -> None:
    folder = _archive(tmp_path)
    expected = _search(folder)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(_search, [folder] * 24, timeout=_PATIENCE_S)) == [expected] * 24
