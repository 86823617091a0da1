"""An archive whose parts disagree refuses to open and names the part; a hit never carries another tile's score."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_archives import MeanColour, contents, rows_of, small_imagery

from workbench.descriptors import manifest as manifests
from workbench.descriptors.archive import Archive, open_archive
from workbench.descriptors.build import build_archive
from workbench.errors import ArchiveInvalid, QueryInvalid
from workbench.jobs import Progress


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("archive")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifests, "BLOCK", 128)
        patch.setattr(manifests, "BLOCKS_PER_BATCH", 3)
        patch.setattr(
            "workbench.descriptors.build.compact", lambda *_: None
        )  # as builds left it once; see test_compaction
        return build_archive(
            small_imagery(folder / "images"), folder / "archive", tile=64, encoder=MeanColour(), progress=Progress()
        )


@pytest.fixture
def folder(built: Archive, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built.folder, tmp_path / "archive"))


def reopen(folder: Path) -> Archive:
    return open_archive(folder, encoder=MeanColour())


PARTS = ["batch-00000-0000000.json", "tiles-00000-0000003.npy", "descriptors-00001-0000000.npy"]


def test_an_archive_opens_as_it_was_built(built: Archive, folder: Path) -> None:
    archive = reopen(folder)
    assert rows_of(archive) == rows_of(built) and archive.complete and archive.check(deep=True) == ()
    assert set(PARTS) <= set(contents(folder))
    assert np.array_equal(archive.vectors, built.vectors)
    assert np.allclose(np.linalg.norm(archive.vectors, axis=1), 1, atol=1e-5)
    tile = archive.tile(5)
    assert archive.footprint(5).bounds == archive.imagery[tile.raster].footprint(tile.window).bounds


@pytest.mark.parametrize("name", PARTS)
def test_P04_a_missing_part_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ArchiveInvalid, match="1 of 6 batches are gone" if name.endswith("json") else name):
        reopen(folder)


@pytest.mark.parametrize("name", [*PARTS, "manifest.json", "derived/centring-000.npy"])
@pytest.mark.parametrize("cut", [0, 1, 0.5, -1])
def test_P04_a_truncated_part_is_named(folder: Path, name: str, cut: float) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: int(len(data) * cut) if isinstance(cut, float) else cut])
    if name.endswith("json") and cut == -1:
        reopen(folder)  # only the last line end is gone
        return
    with pytest.raises(ArchiveInvalid, match=name):
        _ = reopen(folder).vectors


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("other", ["00000-0000006", "00001-0000003"])
def test_P04_a_duplicated_part_is_named(folder: Path, name: str, other: str) -> None:
    kind = name.split("-")[0]
    shutil.copy(folder / name, folder / f"{kind}-{other}{Path(name).suffix}")
    with pytest.raises(ArchiveInvalid, match=f"{kind}-{other}"):
        reopen(folder)


@pytest.mark.parametrize("kind", ["batch", "tiles", "descriptors"])
def test_P04_swapped_parts_are_named(folder: Path, kind: str) -> None:
    suffix = ".json" if kind == "batch" else ".npy"
    one, two = (folder / f"{kind}-{stem}{suffix}" for stem in ("00000-0000000", "00001-0000000"))
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    with pytest.raises(ArchiveInvalid, match=one.name):
        reopen(folder)


def test_P04_batches_swapped_whole_never_give_another_tiles_score(folder: Path) -> None:
    for kind, suffix in (("batch", ".json"), ("tiles", ".npy"), ("descriptors", ".npy")):
        one, two = (folder / f"{kind}-{stem}{suffix}" for stem in ("00000-0000000", "00001-0000000"))
        first, second = one.read_bytes(), two.read_bytes()
        one.write_bytes(second)
        two.write_bytes(first)
    with pytest.raises(ArchiveInvalid, match="describes batch 00001-0000000, not 00000-0000000"):
        reopen(folder)


@pytest.mark.parametrize("name", PARTS[1:])
def test_P04_every_flipped_byte_is_found(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    for place in np.random.default_rng(0).integers(0, len(data), 20):
        data[place] ^= 0x10
        (folder / name).write_bytes(data)
        with pytest.raises(ArchiveInvalid, match=name):
            reopen(folder)
        data[place] ^= 0x10


def test_P04_a_damaged_centring_is_named(folder: Path) -> None:
    path = folder / "derived" / "centring-000.npy"
    data = bytearray(path.read_bytes())
    for place in range(0, 128, 5):
        data[place] ^= 0x10
        path.write_bytes(data)
        try:
            assert reopen(folder).vectors.shape[1] == 6  # a space of the padding
        except ArchiveInvalid as error:
            assert "centring-000.npy" in str(error)
        data[place] ^= 0x10


def test_P04_building_again_mends_an_archive(built: Archive, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "BLOCK", 128)
    monkeypatch.setattr(manifests, "BLOCKS_PER_BATCH", 3)
    (folder / PARTS[0]).unlink()
    (folder / "batch-00001-0000003.json").write_text("{")
    build_archive(built.imagery, folder, tile=64, encoder=MeanColour(), progress=Progress())
    assert rows_of(reopen(folder)) == rows_of(built) and not list(folder.glob("batch-*"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "something else"}, "something else"),
        ({"version": 5}, "version 5.*Update"),
        ({"version": "x"}, "damaged|version"),
        ({"dim": 5}, "is not the file that was committed"),
        ({"rasters": []}, "holds no tiles"),
        ({"grid": {}}, "damaged"),
        ({"grid": {"tile": [0], "stride": 0.5, "resolution_m": None}}, "damaged|grid"),
        ({"surprise": 1}, "damaged"),
        ({"rasters": [{"name": 1}]}, "damaged"),
    ],
)
def test_P41_a_manifest_that_does_not_fit_is_refused_in_words(
    folder: Path, changes: dict[str, object], words: str
) -> None:
    values = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**values, **changes}))
    with pytest.raises(ArchiveInvalid, match=words):
        reopen(folder)


@pytest.mark.parametrize("content", [b"[]", b"null", b"\xff\xfe", b"", b'"text"', b"{}"])
def test_P04_a_manifest_of_junk_is_refused(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(ArchiveInvalid, match=r"manifest\.json"):
        reopen(folder)


def test_a_folder_that_is_no_archive_says_so(tmp_path: Path) -> None:
    with pytest.raises(ArchiveInvalid, match=r"no manifest\.json"):
        open_archive(tmp_path)


def test_centring_is_fitted_again_when_it_is_gone(built: Archive, folder: Path) -> None:
    (folder / "derived" / "centring-000.npy").unlink()
    assert np.array_equal(reopen(folder).vectors, built.vectors)
    assert (folder / "derived" / "centring-000.npy").is_file()


def test_any_outline_is_described_as_the_tile_it_equals(built: Archive) -> None:
    from shapely.geometry import box

    tile = built.tile(40)
    outline = box(tile.col, tile.row, tile.col + 64, tile.row + 64)
    assert built.describe(tile.raster, outline) @ built.vectors[40] > 0.999


def test_a_chip_alone_is_described_as_the_tile_it_shows(built: Archive) -> None:
    for number in (0, 50, 120):
        assert built.describe_image(built.pixels(number)) @ built.vectors[number] > 0.99


def test_a_raster_keeps_the_date_of_its_file_or_the_one_a_user_gave(tmp_path: Path) -> None:
    imagery = small_imagery(tmp_path / "i", ("north_2019.tif", "south.tif"))
    archive = build_archive(imagery, tmp_path / "a", tile=64, encoder=MeanColour(), progress=Progress())
    assert [raster.date for raster in archive.imagery] == ["2019", None]
    with pytest.raises(QueryInvalid, match=r"no raster 'west.tif'.*north_2019.tif, south.tif"):
        archive.set_dates({"west.tif": "2020"})
    with pytest.raises(QueryInvalid, match="is no date"):
        archive.set_dates({"south.tif": "spring"})
    archive.set_dates({"south.tif": "2021-06"})
    assert [raster.date for raster in archive.imagery] == ["2019", "2021-06"]
    build_archive(imagery, tmp_path / "a", tile=64, encoder=MeanColour(), progress=Progress())
    assert [raster.date for raster in open_archive(tmp_path / "a").imagery] == ["2019", "2021-06"]


def test_P41_an_archive_of_before_dates_takes_them_from_its_files(tmp_path: Path) -> None:
    imagery = small_imagery(tmp_path / "i", ("north_2019.tif", "south.tif"))
    build_archive(imagery, tmp_path / "a", tile=64, encoder=MeanColour(), progress=Progress())
    path = tmp_path / "a" / "manifest.json"
    values = json.loads(path.read_bytes())
    for entry in values["rasters"]:
        del entry["date"]
    path.write_text(json.dumps(values))
    assert [raster.date for raster in open_archive(tmp_path / "a").imagery] == ["2019", None]
