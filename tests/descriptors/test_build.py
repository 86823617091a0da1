"""Building an archive: what is indexed, what is left out, and that it goes on where it stopped."""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from affine import Affine
from safetensors.torch import save_file
from small_archives import MeanColour, contents, rows_of, small_imagery
from small_rasters import patchwork, write_raster

from workbench.descriptors import manifest as manifests
from workbench.descriptors.archive import open_archive
from workbench.descriptors.build import build_archive
from workbench.descriptors.centring import MUCH_DRIFT
from workbench.descriptors.dense import tapered
from workbench.descriptors.encoders import load_encoder
from workbench.errors import (
    ArchiveInvalid,
    ArchiveMismatch,
    Cancelled,
    DiskFull,
    QueryInvalid,
    RasterUnreadable,
    WeightsUnavailable,
)
from workbench.imagery.opening import open_imagery
from workbench.imagery.rasters import Imagery
from workbench.jobs import Progress


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "BLOCK", 128)
    monkeypatch.setattr(manifests, "BLOCKS_PER_BATCH", 2)


@pytest.fixture
def imagery(tmp_path: Path) -> Imagery:
    return small_imagery(tmp_path / "images")


def build(imagery: Imagery, folder: Path, progress: Progress | None = None, **options: object):  # type: ignore[no-untyped-def]
    chosen = {"encoder": MeanColour(), "tile": 64, **options}
    return build_archive(imagery, folder, progress=progress or Progress(), **chosen)


def test_every_window_of_the_grid_is_a_tile_with_its_own_descriptor(imagery: Imagery, tmp_path: Path) -> None:
    archive = build(imagery, tmp_path / "a")
    assert archive.complete and len(archive) == 2 * 9 * 9 and not archive.skipped and not archive.problems
    windows = {(0, row, col, 64) for row in range(0, 257, 32) for col in range(0, 257, 32)}
    assert {tile.item() for tile in archive.tiles} == windows | {(1, *window[1:]) for window in windows}
    for tile, raw in zip(archive.tiles, archive.raw, strict=True):
        window = archive.imagery[tile["raster"]].read()[
            :, tile["row"] : tile["row"] + 64, tile["col"] : tile["col"] + 64
        ]
        assert np.allclose(raw[:3], window.mean(axis=(1, 2)) / 255, atol=2e-3)
    assert rows_of(open_archive(tmp_path / "a", encoder=MeanColour())) == rows_of(archive)


class StopAfter(Progress):
    """Cancels itself after so many batches."""

    def __init__(self, batches: int) -> None:
        super().__init__()
        self._left = batches

    def advance(self, count: int = 1) -> None:
        self._left -= 1
        if self._left <= 0:
            self.cancel()
        super().advance(count)


def test_P02_cancel_stops_within_a_batch_and_resuming_gives_the_same_bytes(imagery: Imagery, tmp_path: Path) -> None:
    whole = build(imagery, tmp_path / "whole")
    expected = contents(tmp_path / "whole")
    batches = len(list(whole.manifest.batches()))
    assert batches > 6
    for stop in range(1, batches):
        folder = tmp_path / f"stopped {stop}"
        with pytest.raises(Cancelled, match="Run the same call again to go on"):
            build(imagery, folder, StopAfter(stop))
        assert len(list(folder.glob("batch-*"))) == stop
        part = open_archive(folder, encoder=MeanColour())
        assert not part.complete and f"{batches - stop} of {batches} batches to go" in part.problems[0]
        assert rows_of(part).items() <= rows_of(whole).items()
        shutil.rmtree(folder / "derived", ignore_errors=True)  # searching a part fits its own centring
        again = Progress()
        build(imagery, folder, again)
        assert contents(folder) == expected
        shutil.rmtree(folder)


class Made(Progress):
    """Counts the tiles that are encoded."""

    tiles = 0

    def advance(self, count: int = 1) -> None:
        self.tiles += count
        super().advance(count)


def test_a_finished_archive_is_not_built_again(imagery: Imagery, tmp_path: Path) -> None:
    build(imagery, tmp_path / "a")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").glob("*.npy")}
    build(imagery, tmp_path / "a")
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "a").glob("*.npy")}


def test_adding_a_raster_costs_only_its_tiles(imagery: Imagery, tmp_path: Path) -> None:
    old = build(imagery, tmp_path / "a")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "a").glob("part-*")}
    write_raster(tmp_path / "images" / "east.tif", patchwork(128, 128, seed=9))
    made = Made()
    archive = build(open_imagery(tmp_path / "images"), tmp_path / "a", made)
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "a").glob("part-*")}
    assert before.items() <= after.items() and len(after) == len(before) + 2 and made.tiles == 9
    assert [raster.name for raster in archive.imagery] == ["north.tif", "south.tif", "east.tif"]
    assert rows_of(old).items() <= rows_of(archive).items() and len(archive) == len(old) + 9
    assert archive.manifest.centring == old.manifest.centring
    archive.refit()
    assert open_archive(tmp_path / "a", encoder=MeanColour()).manifest.centring == 1


@pytest.mark.parametrize("layout", [{"tiled": True, "blockxsize": 64, "blockysize": 64}, {"blockysize": 32}])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_P03_an_unreadable_tile_costs_only_itself_and_is_listed(
    tmp_path: Path, layout: dict[str, object], dtype: str
) -> None:
    images = tmp_path / "images"
    small_imagery(images)
    path = write_raster(images / "broken.tif", patchwork(320, 320, seed=5, dtype=dtype), **layout)  # type: ignore[arg-type]
    good = build(open_imagery(images), tmp_path / "good")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    imagery = open_imagery(images)
    broken = next(raster for raster in imagery if raster.name == "broken.tif")
    bad = set()
    for row in range(0, 257, 32):
        for col in range(0, 257, 32):
            try:
                broken.read(manifests_window(row, col))
            except RasterUnreadable:
                bad.add((row, col))
    assert 0 < len(bad) < 81
    progress = Progress()
    archive = build(imagery, tmp_path / "a", progress)
    assert {(s.raster, s.row, s.col, s.size) for s in archive.skipped} == {("broken.tif", *place, 64) for place in bad}
    assert all("broken.tif: rows" in s.reason and "cannot be read" in s.reason for s in archive.skipped)
    assert f"{len(bad)} could not be indexed (broken.tif at row" in progress.notes[-1]
    stored = rows_of(archive)
    assert len(stored) == 3 * 81 - len(bad)
    if dtype == "uint8":
        assert stored.items() <= rows_of(good).items()


def manifests_window(row: int, col: int):  # type: ignore[no-untyped-def]
    from workbench.imagery.grid import Tile

    return Tile(0, row, col, 64).window


def test_P03_a_raster_that_vanishes_costs_only_its_own_tiles(imagery: Imagery, tmp_path: Path) -> None:
    (tmp_path / "images" / "north.tif").unlink()
    with pytest.raises(RasterUnreadable):
        imagery[0].read()
    archive = build(imagery, tmp_path / "a")
    assert len(archive) == 81 and len(archive.skipped) == 81 and {s.raster for s in archive.skipped} == {"north.tif"}


def test_P21_tiles_over_half_without_data_are_not_indexed(tmp_path: Path) -> None:
    there = np.ones((256, 256), bool)
    there[:, :80] = False
    path = write_raster(tmp_path / "a.tif", patchwork(256, 256), mask=there)
    progress = Progress()
    archive = build(open_imagery(path), tmp_path / "a", progress, stride=16)
    # Tiles from columns 0, 16 and 32 have no data or a quarter; the one from 48 has exactly half, and stays.
    assert sorted({int(tile["col"]) for tile in archive.tiles}) == list(range(48, 193, 16))
    assert archive.without_data == 3 * 13 and "39 left out for being over half no-data" in progress.notes[-1]
    half = archive.raw[archive.tiles["col"] == 48]
    pixels = patchwork(256, 256)[:, :64, 80:112].reshape(3, 4, 16, 2, 16).mean(axis=(2, 4)) / 255
    counts = tapered(np.zeros(1), 4, 4)[0]
    seen = np.average(np.average(pixels, axis=1, weights=counts), axis=1, weights=counts[2:])
    assert np.allclose(half[0][:3], seen, atol=2e-3)  # holes do not count


def test_an_archive_without_any_tile_is_refused_in_words(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", patchwork(64, 64), mask=np.zeros((64, 64), bool))
    with pytest.raises(ArchiveInvalid, match="holds no tiles"):
        build(open_imagery(path), tmp_path / "a")


class Odd(MeanColour):
    """Gives an unusable descriptor wherever red is above a half."""

    def __init__(self, value: float) -> None:
        self.value = value

    def finish(self, pooled: np.ndarray) -> np.ndarray:
        return np.where(pooled[:, :1] > 0.5, np.float32(self.value), pooled)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0, 1e30])
def test_P06_no_unusable_descriptor_is_stored(imagery: Imagery, tmp_path: Path, value: float) -> None:
    archive = build(imagery, tmp_path / "a", encoder=Odd(value))
    assert 0 < len(archive) < 162 and len(archive) + len(archive.skipped) == 162
    assert (
        np.isfinite(archive.raw).all()
        and np.asarray(archive.raw).any(axis=1).all()
        and np.isfinite(archive.vectors).all()
    )
    assert {s.reason for s in archive.skipped} == {"the encoder gave no usable descriptor (zero or not finite)"}


def test_another_encoder_grid_or_imagery_is_refused_in_words(imagery: Imagery, tmp_path: Path) -> None:
    build(imagery, tmp_path / "a")
    other = MeanColour()
    other.weights_hash = "other"
    for changes, words in (
        ({"encoder": other}, "made with weights_hash none, and other was asked for"),
        ({"encoder": "texture"}, "made with encoder mean colour"),
        ({"tile": 96}, "made with grid"),
        ({"stride": 64}, "made with grid"),
        ({"tile_m": 32.0}, "made with grid"),
    ):
        with pytest.raises(ArchiveMismatch, match=words):
            build(imagery, tmp_path / "a", **changes)
    with pytest.raises(ArchiveMismatch, match=r"also holds south\.tif, which was not given"):
        build(imagery.without("south.tif"), tmp_path / "a")
    with pytest.raises(ArchiveMismatch, match="not by mean colour"):
        open_archive(tmp_path / "a", encoder=other)
    with pytest.raises(WeightsUnavailable, match="no encoder 'mean colour'"):
        _ = open_archive(tmp_path / "a").encoder
    assert len(build(imagery, tmp_path / "a")) == 162


def test_P38_a_disk_too_small_is_refused_before_anything_starts(
    imagery: Imagery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(DiskFull, match=r"needs about .* 1 kB are free"):
        build(imagery, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_several_tile_sizes_and_tiles_in_metres(imagery: Imagery, tmp_path: Path) -> None:
    archive = build(imagery, tmp_path / "sizes", tile=(64, 128), stride=64)
    assert sorted(set(archive.tiles["size"].tolist())) == [64, 128] and len(archive) == 2 * (25 + 9)
    write_raster(
        tmp_path / "images" / "coarse.tif",
        patchwork(160, 160, seed=7),
        transform=Affine(1, 0, 574_000, 0, -1, 6_222_000),
    )
    metres = build(open_imagery(tmp_path / "images"), tmp_path / "metres", tile_m=32.0)
    by_name = {metres.imagery[tile["raster"]].name: int(tile["size"]) for tile in metres.tiles}
    assert by_name == {"coarse.tif": 32, "north.tif": 64, "south.tif": 64}
    assert metres.manifest.grid.resolution_m == pytest.approx(1, rel=1e-2)
    unplaced = write_raster(tmp_path / "plain.tif", patchwork(64, 64), crs=None, transform=Affine.identity())
    with pytest.raises(QueryInvalid, match=r"plain\.tif has no coordinate system.*tile= in pixels"):
        build(open_imagery(unplaced), tmp_path / "b", tile_m=10.0)


def test_a_raster_smaller_than_a_tile_is_one_tile(tmp_path: Path) -> None:
    archive = build(open_imagery(write_raster(tmp_path / "a.tif", patchwork(50, 60))), tmp_path / "a")
    assert len(archive) == 1 and archive.tiles[0].item() == (0, 0, 0, 64)


def test_P05_a_changed_raster_is_named_and_only_its_tiles_are_made_again(imagery: Imagery, tmp_path: Path) -> None:
    old = rows_of(build(imagery, tmp_path / "a"))
    for pixels in (patchwork(320, 320, seed=8), patchwork(500, 450, seed=9), patchwork(70, 90, seed=10)):
        write_raster(tmp_path / "images" / "north.tif", pixels)
        changed = open_archive(tmp_path / "a", encoder=MeanColour())
        assert len(changed.problems) == 1 and "north.tif has changed since it was indexed" in changed.problems[0]
        made = Made()
        archive = build(open_imagery(tmp_path / "images"), tmp_path / "a", made)
        assert not archive.problems and made.tiles == np.count_nonzero(archive.tiles["raster"] == 0)
        kept = {key: value for key, value in rows_of(archive).items() if key[0] == "south.tif"}
        assert kept == {key: value for key, value in old.items() if key[0] == "south.tif"}
        alone = build(open_imagery(tmp_path / "images" / "north.tif"), tmp_path / "alone")
        fresh = {key: value for key, value in rows_of(archive).items() if key[0] == "north.tif"}
        assert fresh == rows_of(alone)
        assert not open_archive(tmp_path / "a", encoder=MeanColour()).problems
        shutil.rmtree(tmp_path / "alone")


def test_P05_a_change_that_keeps_size_and_date_is_found_by_the_deep_check(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "images" / "large.tif", patchwork(800, 800), compress="none", blockysize=1)
    imagery = open_imagery(path)
    before = rows_of(build(imagery, tmp_path / "a", stride=64))
    data, state = bytearray(path.read_bytes()), path.stat()
    assert len(data) > 1_500_000
    data[17_000:30_000] = bytes(13_000)  # between two of the fingerprint's pieces
    path.write_bytes(data)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert imagery[0].unchanged()
    archive = open_archive(tmp_path / "a", encoder=MeanColour())
    assert archive.check() == () and "large.tif holds other pixels" in archive.check(deep=True)[0]
    os.utime(path)
    archive = build(open_imagery(path), tmp_path / "a", stride=64)
    assert archive.check(deep=True) == () and rows_of(archive) != before


def test_P05_missing_imagery_is_named_and_found_again_by_its_content(imagery: Imagery, tmp_path: Path) -> None:
    old = build(imagery, tmp_path / "a")
    shutil.move(tmp_path / "images", tmp_path / "moved")
    lost = open_archive(tmp_path / "a", encoder=MeanColour())
    assert len(lost.problems) == 2 and "north.tif is not where it was" in lost.problems[0]
    assert "imagery=FOLDER" in lost.problems[0] and len(lost) == len(old)
    (tmp_path / "moved" / "south.tif").rename(tmp_path / "moved" / "renamed.tif")
    found = open_archive(tmp_path / "a", imagery=tmp_path / "moved", encoder=MeanColour())
    assert not found.problems and rows_of(found).values() != [] and found.imagery[1].path.name == "renamed.tif"
    assert np.array_equal(found.pixels(100), patchwork_window(found, 100))
    build(open_imagery(tmp_path / "moved"), tmp_path / "a")
    assert not open_archive(tmp_path / "a", encoder=MeanColour()).problems


def patchwork_window(archive, number: int) -> np.ndarray:  # type: ignore[no-untyped-def]
    tile = archive.tile(number)
    return patchwork(320, 320, seed=tile.raster)[:, tile.row : tile.row + 64, tile.col : tile.col + 64]


def test_a_stack_and_declared_no_data_are_reopened_as_they_were(tmp_path: Path) -> None:
    for number, band in enumerate(("red", "green", "nir")):
        write_raster(tmp_path / "s" / f"a_{band}.tif", patchwork(128, 128, 1, seed=number, dtype="uint16"))
    imagery = open_imagery(tmp_path / "s", bands=["nir", "red", "green"], nodata=7)
    build(imagery, tmp_path / "a")
    again = open_archive(tmp_path / "a", encoder=MeanColour())
    assert not again.problems and again.imagery[0].bands == imagery[0].bands and again.imagery[0].user_nodata


def test_weights_without_a_name_are_refused(imagery: Imagery, tmp_path: Path) -> None:
    with pytest.raises(QueryInvalid, match=r"w\.pth was given without a name.*encoder="):
        build_archive(imagery, tmp_path / "a", weights=tmp_path / "w.pth", progress=Progress())
    assert not (tmp_path / "a").exists()


def test_drift_is_nothing_at_first_shown_when_much_is_added_and_gone_after_refit(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_raster(folder / "north.tif", patchwork(320, 320, seed=1))
    said: list[str] = []
    archive = build_archive(folder, tmp_path / "archive", tile=64, encoder=MeanColour(), progress=noted(said))
    assert archive.drift < 1e-3 and "refit" not in said[-1]
    dark = (patchwork(640, 640, seed=2) // 4).astype(np.uint8)
    write_raster(folder / "south.tif", dark)
    archive = build_archive(folder, tmp_path / "archive", tile=64, encoder=MeanColour(), progress=noted(said))
    assert archive.drift > MUCH_DRIFT
    assert re.search(r"moved by \d+% of the spread .* archive\.refit\(\)", said[-1]), said[-1]
    archive.refit()
    assert archive.drift < 1e-3


def noted(said: list[str]) -> Progress:
    return Progress(lambda progress: said.extend(progress.notes[-1:]))


def test_blocks_of_a_raster_are_alike_and_none_is_larger_than_allowed(imagery: Imagery, tmp_path: Path) -> None:
    archive = build(imagery, tmp_path / "a")
    assert (archive.manifest.block, archive.manifest.block_of(0)) == (128, (107, 107)), "320 pixels in three parts"
    assert replace(archive.manifest, even=False).block_of(0) == (128, 128)


def test_P41_an_archive_that_an_earlier_version_began_goes_on_in_the_blocks_it_has(
    imagery: Imagery, tmp_path: Path
) -> None:
    started = replace(build(imagery, tmp_path / "even").manifest, even=False, complete=False)
    for folder, batches in (("whole", 1000), ("begun", 3)):
        (tmp_path / folder).mkdir()
        values = {"format": manifests.FORMAT, "version": 3, **asdict(started)}
        del values["even"]
        (tmp_path / folder / "manifest.json").write_text(json.dumps(values))
        with suppress(Cancelled):
            build(imagery, tmp_path / folder, StopAfter(batches))
    assert len(list((tmp_path / "begun").glob("batch-*"))) == 3
    archive = build(imagery, tmp_path / "begun")
    assert not archive.manifest.even and rows_of(archive) == rows_of(open_archive(tmp_path / "whole"))


def test_a_network_gives_the_same_archive_in_small_and_in_large_blocks_and_after_a_stop(
    imagery: Imagery, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    save_file(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "w.safetensors")
    encoder = load_encoder("resnet18", tmp_path / "w.safetensors")
    whole = build(imagery, tmp_path / "whole", encoder=encoder)
    assert len(list(whole.manifest.batches())) == 2
    encoder.largest_block = 128  # type: ignore[attr-defined]
    small = build(imagery, tmp_path / "small", encoder=encoder)
    one, two = (archive.centring.apply(np.asarray(archive.raw)) for archive in (whole, small))
    order = [np.argsort(archive.tiles[:], order=("raster", "row", "col")) for archive in (whole, small)]
    assert ((one[order[0]] * two[order[1]]).sum(axis=1) > 1 - 1e-3).all()
    with pytest.raises(Cancelled):
        build(imagery, tmp_path / "stopped", StopAfter(2), encoder=encoder)
    build(imagery, tmp_path / "stopped", encoder=encoder)
    for path in (tmp_path / "small").glob("part-*"):
        assert (tmp_path / "stopped" / path.name).read_bytes() == path.read_bytes(), path.name
