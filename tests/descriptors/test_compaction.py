"""Batch files become parts of many tiles: deterministic, stopped anywhere, and no more is copied than has to be."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from small_archives import MeanColour, contents, rows_of, small_imagery
from small_rasters import patchwork, write_raster

from workbench.descriptors import compaction
from workbench.descriptors import manifest as manifests
from workbench.descriptors.archive import Archive, open_archive
from workbench.descriptors.build import build_archive
from workbench.descriptors.parts import read_parts
from workbench.errors import ArchiveInvalid, Cancelled
from workbench.imagery.opening import open_imagery
from workbench.imagery.rasters import Imagery
from workbench.jobs import Progress

LIMIT = 40


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "BLOCK", 128)
    monkeypatch.setattr(manifests, "BLOCKS_PER_BATCH", 2)
    monkeypatch.setattr(compaction, "PART_TILES", LIMIT)


@pytest.fixture
def imagery(tmp_path: Path) -> Imagery:
    """Two rasters of 81 windows; a hole in one leaves some of its windows without a tile."""
    small_imagery(tmp_path / "images", ("south.tif",))
    there = np.ones((320, 320), bool)
    there[100:230, 60:250] = False
    tiles = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    write_raster(tmp_path / "images" / "north.tif", patchwork(320, 320, seed=7), mask=there, **tiles)
    return open_imagery(tmp_path / "images")


def build(imagery: Imagery, folder: Path) -> Archive:
    return build_archive(imagery, folder, tile=64, encoder=MeanColour(), progress=Progress())


def reopen(folder: Path) -> Archive:
    return open_archive(folder, encoder=MeanColour())


def uncompacted(imagery: Imagery, folder: Path) -> Archive:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workbench.descriptors.build.compact", lambda *_: None)
        return build(imagery, folder)


def files_of(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("part-*")}


def test_parts_hold_what_the_batches_held(imagery: Imagery, tmp_path: Path) -> None:
    loose, merged = uncompacted(imagery, tmp_path / "loose"), build(imagery, tmp_path / "merged")
    assert loose.without_data == merged.without_data > 0 and len(loose) == len(merged)
    assert rows_of(loose) == rows_of(merged) == rows_of(reopen(tmp_path / "merged"))
    assert np.array_equal(np.asarray(loose.tiles), np.asarray(merged.tiles))
    assert not [path for kind in ("batch", "tiles", "descriptors") for path in merged.folder.glob(f"{kind}-*")]
    parts = read_parts(merged.folder)
    assert [part.tiles <= LIMIT for part in parts] == [True] * len(parts) and 3 < len(parts) < 12
    assert sum(part.held_crc is None for part in parts) > 0, "where every window is a tile there is no file of bits"


def test_an_archive_of_an_earlier_version_is_merged_when_it_is_built_on(imagery: Imagery, tmp_path: Path) -> None:
    uncompacted(imagery, tmp_path / "a")
    build(imagery, tmp_path / "a")
    build(imagery, tmp_path / "whole")
    assert contents(tmp_path / "a") == contents(tmp_path / "whole")


class _Stop(BaseException):
    """Ends a merge at one file operation, as a power cut would."""


@pytest.mark.parametrize("operation", ["replace", "fsync", "unlink"])
def test_P01_a_merge_stopped_at_each_file_operation_goes_on_to_the_same_files(
    imagery: Imagery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    uncompacted(imagery, tmp_path / "loose")
    whole = build(imagery, tmp_path / "whole")
    expected, rows = contents(tmp_path / "whole"), rows_of(whole)
    owner: object = Path if operation in ("replace", "unlink") else __import__("os")
    original = getattr(owner, operation)
    for stop in range(200):
        calls = 0

        def counted(*args: object, stop: int = stop, **named: object) -> object:
            nonlocal calls
            calls += 1
            if calls > stop:
                raise _Stop
            return original(*args, **named)

        folder = Path(shutil.copytree(tmp_path / "loose", tmp_path / "stopped"))
        manifest = whole.manifest
        with monkeypatch.context() as patch:
            patch.setattr(owner, operation, counted)
            try:
                compaction.compact(folder, manifest, Progress())
            except _Stop:
                pass
            else:
                break
        assert rows_of(reopen(folder)) == rows
        compaction.compact(folder, manifest, Progress())
        found = {name: data for name, data in contents(folder).items() if name.startswith("part-")}
        assert found == {name: data for name, data in expected.items() if name.startswith("part-")}, stop
        assert not list(folder.glob("batch-*"))
        shutil.rmtree(folder)
    assert stop > 8


def test_P02_a_cancelled_merge_goes_on(imagery: Imagery, tmp_path: Path) -> None:
    whole = build(imagery, tmp_path / "whole")
    uncompacted(imagery, tmp_path / "a")
    progress = Progress()
    progress.cancel()
    with pytest.raises(Cancelled):
        compaction.compact(tmp_path / "a", whole.manifest, progress)
    assert rows_of(reopen(tmp_path / "a")) == rows_of(whole)


def test_adding_rasters_writes_only_theirs(imagery: Imagery, tmp_path: Path) -> None:
    old = build(imagery, tmp_path / "a")
    before = files_of(old.folder)
    write_raster(tmp_path / "images" / "west.tif", patchwork(160, 160, seed=3))
    archive = build(open_imagery(tmp_path / "images"), tmp_path / "a")
    assert before.items() <= files_of(archive.folder).items()
    assert rows_of(old).items() <= rows_of(archive).items() and len(archive) == len(old) + 16


def test_P05_a_changed_raster_leaves_parts_of_others_and_copies_what_it_shared(
    imagery: Imagery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "PART_TILES", 100)
    old = build(imagery, tmp_path / "a")
    assert len(read_parts(old.folder)) == 2, "one part holds tiles of both"
    shared, alone = read_parts(old.folder)
    assert [{each.batch.raster for each in part.batches} for part in (shared, alone)] == [{0, 1}, {1}]
    before = files_of(old.folder)
    kept = {key: value for key, value in rows_of(old).items() if key[0] == "south.tif"}
    write_raster(tmp_path / "images" / "north.tif", patchwork(256, 320, seed=12))
    archive = build(open_imagery(tmp_path / "images"), tmp_path / "a")
    assert rows_of(archive) == rows_of(build(open_imagery(tmp_path / "images"), tmp_path / "fresh"))
    assert kept.items() <= rows_of(archive).items()
    after = files_of(archive.folder)
    assert {name for name, _ in before.items() & after.items()} == {name for name in before if alone.name in name}
    assert sum(part.tiles for part in read_parts(archive.folder)) == len(archive), "nothing is kept twice"


@pytest.fixture
def damaged(imagery: Imagery, tmp_path: Path) -> Iterator[Path]:
    build(imagery, tmp_path / "archive")
    yield tmp_path / "archive"


def part_files(folder: Path) -> list[Path]:
    with_bits = next(part.name for part in read_parts(folder) if part.held_crc is not None)
    return sorted(folder.glob(f"{with_bits}*"))


def test_P04_a_damaged_part_is_named(damaged: Path, tmp_path: Path) -> None:
    paths = part_files(damaged)
    assert [path.name.split(".", 1)[1] for path in paths] == ["descriptors.npy", "json", "tiles.npy"]
    for path in paths:
        data = path.read_bytes()
        for cut in (0, 1, len(data) // 2):
            path.write_bytes(data[:cut])
            with pytest.raises(ArchiveInvalid, match=path.stem):
                reopen(damaged)
        if path.suffix == ".npy":
            for place in np.random.default_rng(0).integers(0, len(data), 20):
                flipped = bytearray(data)
                flipped[place] ^= 0x10
                path.write_bytes(flipped)
                with pytest.raises(ArchiveInvalid, match=path.name):
                    reopen(damaged)
        path.unlink()
        with pytest.raises(ArchiveInvalid, match=r"batches are gone" if path.suffix == ".json" else path.name):
            reopen(damaged)
        path.write_bytes(data)


def test_P04_a_change_in_the_middle_of_a_large_part_is_found_by_the_deep_check(
    imagery: Imagery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.files._END", 64)
    folder = build(imagery, tmp_path / "archive").folder
    path = max(folder.glob("part-*.descriptors.npy"), key=lambda path: path.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    archive = reopen(folder)
    assert archive.check() == ()
    assert [said for said in archive.check(deep=True) if f"{path.name} holds other descriptors" in said]


def test_P04_swapped_parts_are_named(damaged: Path) -> None:
    one, two = (part.name for part in read_parts(damaged)[:2])
    for suffix in (".json", ".descriptors.npy"):
        paths = damaged / f"{one}{suffix}", damaged / f"{two}{suffix}"
        first, second = (path.read_bytes() for path in paths)
        paths[0].write_bytes(second)
        paths[1].write_bytes(first)
        with pytest.raises(ArchiveInvalid, match=one):
            reopen(damaged)
        paths[0].write_bytes(first)
        paths[1].write_bytes(second)


def test_P04_building_again_mends_a_part_that_was_deleted(imagery: Imagery, damaged: Path) -> None:
    expected = contents(damaged)
    for path in part_files(damaged):
        path.unlink()
    build(imagery, damaged)
    assert contents(damaged) == expected


def test_a_large_archive_computes_its_tiles(imagery: Imagery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = build(imagery, tmp_path / "a")
    monkeypatch.setattr("workbench.descriptors.contents._IN_MEMORY", 10)
    large = reopen(tmp_path / "a")
    assert not isinstance(large.tiles, np.ndarray) and np.array_equal(np.asarray(large.tiles), np.asarray(small.tiles))
    assert rows_of(large) == rows_of(small) and repr(large) == repr(small) and large.tile(30) == small.tile(30)
    assert np.array_equal(large.codes, small.codes)
    for edges in ((0, 0, 150, 200), (40, 40, 300, 170)):
        assert np.array_equal(large.tiles_within(0, *edges), small.tiles_within(0, *edges))
