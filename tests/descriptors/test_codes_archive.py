"""An archive's codes are fitted once, come back, follow its tiles, and can be deleted and made again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from clusters import unpacked
from small_archives import MeanColour, contents, small_imagery

from workbench.descriptors.archive import Archive, open_archive
from workbench.descriptors.build import build_archive
from workbench.errors import ArchiveInvalid, QueryInvalid
from workbench.jobs import Progress

MODEL, CODES, RECORD = (f"derived/codes-000.{suffix}" for suffix in ("safetensors", "npy", "json"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("archive")
    archive = build_archive(
        small_imagery(folder / "images"), folder / "archive", tile=64, encoder=MeanColour(), progress=Progress()
    )
    _ = archive.codes
    return archive


@pytest.fixture
def folder(built: Archive, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built.folder, tmp_path / "archive"))


def reopen(folder: Path) -> Archive:
    return open_archive(folder, encoder=MeanColour())


def test_an_archive_has_512_bits_a_tile_by_iterative_quantisation(built: Archive) -> None:
    assert (built.code_model.kind, built.code_model.bits, built.code_model.dim) == ("itq", 512, 6)
    assert (built.codes.shape, built.codes.dtype) == ((len(built), 64), np.uint8)
    assert np.array_equal(built.codes, built.code_model.encode(built.vectors))


def test_codes_come_back_from_disk_as_they_were(built: Archive, folder: Path) -> None:
    before = contents(folder)
    archive = reopen(folder)
    assert isinstance(archive.codes, np.memmap) and np.array_equal(archive.codes, built.codes)
    assert contents(folder) == before, "nothing was fitted or written again"


@pytest.mark.parametrize("gone", [[MODEL], [CODES], [RECORD], [MODEL, CODES, RECORD]])
def test_deleted_files_are_made_again_as_they_were(built: Archive, folder: Path, gone: list[str]) -> None:
    before = contents(folder)
    for name in gone:
        (folder / name).unlink()
    assert np.array_equal(reopen(folder).codes, built.codes)
    assert contents(folder) == before


def test_refit_changes_derived_files_only(built: Archive, folder: Path) -> None:
    before = contents(folder)
    archive = reopen(folder)
    assert archive.codes.shape == (len(built), 64)
    archive.refit(code_kind="rotation", code_bits=128)
    assert archive.codes.shape == (len(built), 16) and archive.code_model.kind == "rotation"
    after = contents(folder)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {
        "manifest.json",
        *(f"derived/codes-001.{suffix}" for suffix in ("safetensors", "npy", "json")),
    } | {"derived/centring-001.npy"}
    again = reopen(folder)
    assert again.code_model.kind == "rotation" and np.array_equal(again.codes, archive.codes)
    again.refit()
    assert (again.code_model.kind, again.code_model.bits) == ("rotation", 128)


@pytest.mark.parametrize(
    ("kind", "bits", "words"), [("kslsh", None, "labels"), ("lsh", None, "itq"), (None, 100, "multiple of 8")]
)
def test_refit_to_codes_there_are_not_changes_nothing(
    folder: Path, kind: str | None, bits: int | None, words: str
) -> None:
    before = contents(folder)
    archive = reopen(folder)
    with pytest.raises(QueryInvalid, match=words):
        archive.refit(code_kind=kind, code_bits=bits)
    assert contents(folder) == before and archive.manifest == reopen(folder).manifest


@pytest.mark.parametrize("name", [MODEL, CODES])
@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_P04_truncated_codes_are_named(folder: Path, name: str, cut: int) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:cut])
    with pytest.raises(ArchiveInvalid, match=name):
        _ = reopen(folder).codes


def test_P04_every_flipped_byte_of_the_codes_is_found(built: Archive, folder: Path) -> None:
    data = bytearray((folder / CODES).read_bytes())
    for place in [3, 9, *np.random.default_rng(0).integers(128, len(data), 20)]:
        data[place] ^= 0x10
        (folder / CODES).write_bytes(data)
        with pytest.raises(ArchiveInvalid, match=CODES):
            _ = reopen(folder).codes
        data[place] ^= 0x10


def test_P04_a_damaged_record_costs_encoding_again_only(built: Archive, folder: Path) -> None:
    for junk in (b"", b"[]", b"\xff", b'{"source": 3}'):
        (folder / RECORD).write_bytes(junk)
        assert np.array_equal(reopen(folder).codes, built.codes)
        assert json.loads((folder / RECORD).read_bytes())["tiles"] == len(built)


def test_P04_the_model_of_another_archive_is_named(folder: Path) -> None:
    reopen(folder).refit(code_bits=64)
    shutil.copy(folder / MODEL, folder / "derived/codes-001.safetensors")
    with pytest.raises(ArchiveInvalid, match=r"codes-001.*512.*64.*Delete it"):
        _ = reopen(folder).codes


def test_new_tiles_are_encoded_by_the_model_that_was_fitted(tmp_path: Path) -> None:
    imagery = small_imagery(tmp_path / "images")
    first = build_archive(
        imagery.without("south.tif"), tmp_path / "archive", tile=64, encoder=MeanColour(), progress=Progress()
    )
    codes, model = np.array(first.codes), (first.folder / MODEL).read_bytes()
    both = build_archive(imagery, first.folder, tile=64, encoder=MeanColour(), progress=Progress())
    assert len(both) > len(first) == len(codes)
    assert np.array_equal(both.codes[: len(codes)], codes)
    assert np.array_equal(both.codes, both.code_model.encode(both.vectors))
    assert (both.folder / MODEL).read_bytes() == model, "frozen until refit"


def test_tiles_whose_pixels_changed_get_new_codes(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    first = build_archive(
        small_imagery(folder), tmp_path / "archive", tile=64, encoder=MeanColour(), progress=Progress()
    )
    codes = np.array(first.codes)
    from small_rasters import patchwork, write_raster

    write_raster(folder / "south.tif", patchwork(320, 320, seed=9), tiled=True, blockxsize=64, blockysize=64)
    again = build_archive(folder, first.folder, tile=64, encoder=MeanColour(), progress=Progress())
    assert len(again) == len(codes) and not np.array_equal(again.codes, codes)
    assert np.array_equal(again.codes, again.code_model.encode(again.vectors))


def test_an_archive_of_one_tile_has_a_code(tmp_path: Path) -> None:
    imagery = small_imagery(tmp_path / "images", ("only.tif",), size=64)
    archive = build_archive(imagery, tmp_path / "archive", tile=64, encoder=MeanColour(), progress=Progress())
    assert len(archive) == 1 and archive.codes.shape == (1, 64) and archive.code_model.kind == "rotation"
    assert np.array_equal(reopen(archive.folder).codes, archive.codes)


def test_P41_an_archive_whose_tiles_were_described_in_another_way_is_refused(folder: Path) -> None:
    values = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(values | {"version": 2}))
    with pytest.raises(ArchiveInvalid, match=r"of version 2, whose tiles were described in another way"):
        reopen(folder)


def test_neighbours_by_codes_are_neighbours_by_descriptors(built: Archive) -> None:
    bits = unpacked(np.asarray(built.codes)) * 2 - 1
    agreement = bits @ bits.T
    cosines = built.vectors @ built.vectors.T
    assert np.corrcoef(agreement.ravel(), cosines.ravel())[0, 1] > 0.9
