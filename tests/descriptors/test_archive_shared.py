"""An archive that is moved, shared read-only, of codes only, or opened by many at once."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from small_archives import MeanColour, contents, rows_of, small_imagery
from small_rasters import patchwork, write_raster

from workbench.descriptors.archive import Archive, open_archive
from workbench.descriptors.build import build_archive
from workbench.descriptors.codes.ordered import OrderedCodes
from workbench.errors import ArchiveInvalid, ArchiveMismatch, FileExists
from workbench.imagery.opening import open_imagery
from workbench.jobs import Progress


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("archive")
    there = np.ones((320, 320), bool)
    there[100:230, 60:250] = False
    small_imagery(folder / "images", ("south.tif",))
    write_raster(folder / "images" / "north.tif", patchwork(320, 320, seed=7), mask=there)
    imagery = open_imagery(folder / "images")
    archive = build_archive(imagery, folder / "archive", tile=64, encoder=MeanColour(), progress=Progress())
    _ = archive.codes
    return archive


def reopen(folder: Path) -> Archive:
    return open_archive(folder, encoder=MeanColour())


@pytest.fixture
def read_only(built: Archive, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the archive that this process may read and not change; files of the user's own go beside it."""
    base = Path(tempfile.mkdtemp())
    shutil.copytree(built.folder, base / "archive")
    shutil.rmtree(base / "archive" / "derived")
    shutil.copytree(built.imagery[0].path.parent, base / "images")
    (base / "own").mkdir(mode=0o777)
    (base / "own").chmod(0o777)
    monkeypatch.setenv("WORKBENCH_CACHE", str(base / "own"))
    for path in (base, base / "archive", *(base / "archive").iterdir()):
        path.chmod(0o555 if path.is_dir() else 0o444)
    mine = os.geteuid()
    if mine == 0:
        os.seteuid(65534)  # the superuser may write anywhere; nobody may not
    yield base / "archive"
    if mine == 0:
        os.seteuid(0)
    base.chmod(0o755)
    (base / "archive").chmod(0o755)
    shutil.rmtree(base)


def test_what_is_made_from_a_read_only_archive_goes_to_the_users_own_folder(built: Archive, read_only: Path) -> None:
    before = contents(read_only)
    with pytest.raises(PermissionError):
        (read_only / "new").touch()
    archive = open_archive(read_only, encoder=MeanColour(), imagery=built.imagery)
    assert np.array_equal(archive.codes, built.codes) and np.array_equal(archive.vectors, built.vectors)
    assert contents(read_only) == before
    own = archive.derived
    assert own.is_relative_to(read_only.parent / "own") and (own / "codes-000.npy").is_file()
    written = {path: path.stat().st_mtime_ns for path in own.iterdir()}
    again = open_archive(read_only, encoder=MeanColour(), imagery=built.imagery)
    assert np.array_equal(again.codes, built.codes) and again.derived == own
    assert {path: path.stat().st_mtime_ns for path in own.iterdir()} == written, "nothing is made twice"


def test_codes_of_a_read_only_archive_can_be_ordered(built: Archive, read_only: Path) -> None:
    archive = open_archive(read_only, encoder=MeanColour(), imagery=built.imagery)
    archive.order_codes(np.arange(len(archive), dtype=np.uint32)[::-1].copy())
    assert isinstance(archive.codes, OrderedCodes) and np.array_equal(np.asarray(archive.codes), built.codes)


def test_relocating_a_read_only_archive_holds_for_this_time(read_only: Path, caplog: pytest.LogCaptureFixture) -> None:
    archive = reopen(read_only)
    assert len(archive.problems) == 2, "imagery that may not be read is named like imagery that is gone"
    with caplog.at_level(logging.WARNING):
        archive.relocate(read_only.parent / "images")
    assert "read-only: open it with imagery=" in caplog.text and not archive.problems


def test_moved_imagery_is_found_by_content_and_its_place_is_kept(built: Archive, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(built.folder, tmp_path / "archive"))
    images = Path(shutil.copytree(built.imagery[0].path.parent, tmp_path / "images"))
    archive = build_archive(open_imagery(images), folder, tile=64, encoder=MeanColour(), progress=Progress())
    codes = np.array(archive.codes)
    shutil.move(images, tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "south.tif").rename(tmp_path / "elsewhere" / "renamed.tif")
    lost = reopen(folder)
    assert len(lost.problems) == 2 and "archive.relocate(FOLDER)" in lost.problems[0]
    write_raster(tmp_path / "other" / "other.tif", patchwork(64, 64))
    before = contents(folder)
    with pytest.raises(ArchiveMismatch, match=r"None of the archive's rasters .*north\.tif, south\.tif"):
        lost.relocate(tmp_path / "other")
    assert contents(folder) == before
    lost.relocate(tmp_path / "elsewhere")
    again = reopen(folder)
    assert not lost.problems and not again.problems and again.imagery[1].path.name == "renamed.tif"
    assert rows_of(again).keys() == rows_of(built).keys() and np.array_equal(again.codes, codes)
    assert np.array_equal(again.pixels(100), built.pixels(100))


def test_an_archive_of_codes_is_the_same_archive_without_descriptors(built: Archive, tmp_path: Path) -> None:
    coded = built.codes_only(tmp_path / "codes")
    for archive in (coded, reopen(tmp_path / "codes")):
        assert not archive.has_descriptors and built.has_descriptors and len(archive) == len(built)
        assert np.array_equal(archive.codes, built.codes) and np.array_equal(archive.tiles, built.tiles)
        assert archive.without_data == built.without_data > 0 and archive.complete and not archive.problems
        assert np.array_equal(archive.centring.mean, built.centring.mean)
        assert np.array_equal(archive.code_model.encode(built.vectors[:5]), built.codes[:5])
        assert archive.footprint(3, "EPSG:4326").equals(built.footprint(3, "EPSG:4326"))
        for asked in ("raw", "vectors", "drift", "refit()", "vectors_of([1])"):
            with pytest.raises(ArchiveInvalid, match="holds codes only, and descriptors were asked for"):
                eval(f"archive.{asked}", {"archive": archive})
    with pytest.raises(FileExists, match="holds an archive"):
        built.codes_only(tmp_path / "codes")
    with pytest.raises(ArchiveMismatch, match="holds codes only, and nothing can be added"):
        build_archive(built.imagery, tmp_path / "codes", tile=64, encoder=MeanColour(), progress=Progress())


def test_a_large_archive_of_codes_computes_its_tiles(
    built: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.descriptors.contents._IN_MEMORY", 10)
    large = reopen(built.folder).codes_only(tmp_path / "codes")
    assert (tmp_path / "codes" / "tiles.npy").stat().st_size < 200, "a bit for each window"
    assert not isinstance(large.tiles, np.ndarray) and np.array_equal(np.asarray(large.tiles), built.tiles)


def test_P04_a_damaged_archive_of_codes_names_the_part(built: Archive, tmp_path: Path) -> None:
    built.codes_only(tmp_path / "codes")
    parts = [path for path in sorted((tmp_path / "codes").glob("*.*")) if not path.stem.startswith("decoder")]
    assert len(parts) == 7
    for path in parts:
        data = path.read_bytes()
        for cut in (0, 1, len(data) // 2):
            path.write_bytes(data[:cut])
            with pytest.raises(ArchiveInvalid, match=path.stem):
                archive = reopen(tmp_path / "codes")
                _ = archive.codes, archive.code_model, archive.centring
        path.write_bytes(data)


@pytest.mark.parametrize("codes_only", [False, True])
def test_codes_are_the_same_by_number_in_whatever_order_they_lie(
    built: Archive, tmp_path: Path, codes_only: bool
) -> None:
    shutil.copytree(built.folder, tmp_path / "archive")
    archive = reopen(tmp_path / "archive")
    if codes_only:
        archive = archive.codes_only(tmp_path / "codes")
    before = sum(path.stat().st_size for path in archive.folder.rglob("codes-*"))
    order = np.random.default_rng(0).permutation(len(archive)).astype(np.uint32)
    archive.order_codes(order)
    for each in (archive, reopen(archive.folder)):
        codes = each.codes
        assert isinstance(codes, OrderedCodes) and np.array_equal(codes.rows, built.codes[order])
        assert np.array_equal(codes.order, order) and np.array_equal(np.asarray(codes), built.codes)
        assert np.array_equal(codes[[5, 2]], built.codes[[5, 2]]) and codes.shape == built.codes.shape
    after = sum(path.stat().st_size for path in archive.folder.rglob("codes-*"))
    assert after - before < 8 * len(archive) + 1000, "the codes are kept once"


def test_adding_a_raster_encodes_only_its_tiles_in_whatever_order_the_codes_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imagery = small_imagery(tmp_path / "images", ("north.tif", "south.tif", "west.tif"))
    options = {"tile": 64, "encoder": MeanColour(), "progress": Progress()}
    first = build_archive(imagery.without("west.tif"), tmp_path / "archive", **options)
    codes = np.array(first.codes)
    first.order_codes(np.random.default_rng(0).permutation(len(first)).astype(np.uint32))
    encoded: list[int] = []
    model = type(first.code_model)
    plain = model.encode
    monkeypatch.setattr(model, "encode", lambda self, rows: (encoded.append(len(rows)), plain(self, rows))[1])
    both = build_archive(imagery, first.folder, **options)
    assert np.array_equal(both.codes[: len(codes)], codes) and sum(encoded) == len(both) - len(codes) == 81
    monkeypatch.undo()
    assert np.array_equal(both.codes, both.code_model.encode(both.vectors)) and isinstance(both.codes, np.memmap)


_CHILD = """
import sys
from small_archives import MeanColour
from workbench.descriptors.archive import open_archive
print(int(open_archive(sys.argv[1], encoder=MeanColour()).codes[:].sum()))
"""


def test_two_processes_open_one_new_archive_at_once(built: Archive, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(built.folder, tmp_path / "archive"))
    shutil.rmtree(folder / "derived")
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-c", _CHILD, str(folder)]
    children = [subprocess.Popen(command, env=here, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [child.communicate(timeout=120)[0].strip() for child in children]
    assert said == [str(int(np.asarray(built.codes).sum()))] * 2
    assert np.array_equal(reopen(folder).codes, built.codes)
