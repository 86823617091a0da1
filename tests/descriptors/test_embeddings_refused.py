"""Rows and files of embeddings that cannot be used are named, and never make half an archive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from embedding_files import (
    DIM,
    clay,
    imported,
    listed,
    lonlat,
    plain,
    squares,
    vectors,
)
from small_archives import MeanColour, small_imagery

import workbench as wb
from workbench.descriptors.archive import open_archive
from workbench.errors import (
    ArchiveInvalid,
    ArchiveMismatch,
    EmbeddingsInvalid,
    QueryInvalid,
)
from workbench.jobs import Progress

PLACES = lonlat(squares())
NUMBERS = vectors(len(PLACES))


def spoiled(kind: str) -> tuple[list[Any], list[Any]]:
    """Places and embeddings of which row 7 cannot be used."""
    places, numbers = list(PLACES), NUMBERS.tolist()
    if kind in ("nan", "inf", "huge"):
        numbers[7][3] = {"nan": np.nan, "inf": np.inf, "huge": 1e6}[kind]
    changed = {
        "zero": [0.0] * DIM,
        "tiny": [1e-9] * DIM,
        "none": None,
        "hole": [None] + [1.0] * (DIM - 1),
        "short": [1.0] * (DIM - 1),
    }
    moved = {
        "no place": None,
        "empty": shapely.Polygon(),
        "line": shapely.LineString([(15, 0), (15.1, 0)]),
        "bow tie": shapely.Polygon([(15, 0), (15.1, 0.1), (15.1, 0), (15, 0.1)]),
        "outside": shapely.box(15, 95, 15.1, 95.1),
        "metres": shapely.box(500_000, 0, 500_320, 320),
        "speck": shapely.box(15, 0, 15 + 1e-8, 1e-8),
    }
    if kind in changed:
        numbers[7] = changed[kind]
    if kind in moved:
        places[7] = moved[kind]
    return places, numbers


BAD_ROWS = {
    "nan": "not finite",
    "inf": "not finite",
    "huge": "too large",
    "zero": "all zero",
    "tiny": "too small",
    "none": "no embedding",
    "hole": "not finite",
    "short": "has 11 numbers, others here have 12",
    "no place": "missing",
    "empty": "empty",
    "line": "no polygon",
    "bow tie": "crosses itself",
    "outside": "outside the world",
    "metres": "outside the world",
    "speck": "m by",
}


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_a_row_that_cannot_be_used_is_named_and_left_out_only_when_asked(tmp_path: Path, kind: str) -> None:
    places, numbers = spoiled(kind)
    path = plain(tmp_path / "a.parquet", places, pa.array(numbers, pa.list_(pa.float32())))
    with pytest.raises(EmbeddingsInvalid, match=rf"a\.parquet: row 7 of 30.*{BAD_ROWS[kind]}.*on_bad='skip'"):
        imported(path, tmp_path / "archive")
    archive = imported(path, tmp_path / "archive", on_bad="skip")
    kept = np.delete(np.arange(30), 7)
    assert np.array_equal(np.asarray(archive.raw), NUMBERS[kept].astype(np.float16))
    assert [(skip.raster, skip.row) for skip in archive.skipped] == [("a.parquet", 7)]
    assert BAD_ROWS[kind] in archive.skipped[0].reason and archive.vectors.shape == (29, DIM)


def test_rows_that_are_there_twice_are_named(tmp_path: Path) -> None:
    names = pa.array([f"tile {row % 29}" for row in range(30)])
    path = plain(tmp_path / "a.parquet", PLACES, listed(NUMBERS), id=names)
    with pytest.raises(EmbeddingsInvalid, match=r"row 29 of 30.*the id of row 0"):
        imported(path, tmp_path / "archive")
    assert len(imported(path, tmp_path / "archive", on_bad="skip")) == 29


def test_one_place_at_two_dates_is_not_there_twice_but_equal_rows_are(tmp_path: Path) -> None:
    places = [*PLACES[:2], PLACES[0], PLACES[1]]
    numbers = NUMBERS[[0, 1, 2, 1]]
    with pytest.raises(EmbeddingsInvalid, match=r"row 3 of 4.*the place and the embedding of row 1"):
        imported(plain(tmp_path / "a.parquet", places, listed(numbers)), tmp_path / "archive")
    dates = pa.array(["2020-01-01", "2020-01-01", "2021-01-01", "2021-01-01"])
    path = plain(tmp_path / "b.parquet", places, listed(numbers), date=dates)
    archive = imported(path, tmp_path / "dated")
    assert [raster.date for raster in archive.imagery] == ["2020-01-01", "2021-01-01"]
    assert archive.tiles["raster"].tolist() == [0, 0, 1, 1] and archive.footprint(2).equals(archive.footprint(0))
    assert np.array_equal(np.asarray(archive.raw), numbers.astype(np.float16))


def test_tiles_at_one_place_can_be_told_apart(tmp_path: Path) -> None:
    path = plain(tmp_path / "a.parquet", [PLACES[0], *PLACES[:3], PLACES[0]], listed(NUMBERS[:5]))
    session = wb.Session(imported(path, tmp_path / "archive"), tmp_path / "labels")
    windows = [tuple(tile) for tile in session.archive.tiles[["row", "col"]].tolist()]
    assert len(set(windows)) == 5 and session.archive.footprint(4).equals(session.archive.footprint(0))
    session.label([1], "mine")
    hits = session.refine("mine", k=1)
    assert hits.numbers.tolist() == [1] and hits[0].score == pytest.approx(1, abs=1e-3)


def test_a_file_that_is_there_in_two_copies_is_named(tmp_path: Path) -> None:
    names = pa.array([f"tile {row}" for row in range(30)])
    plain(tmp_path / "a.parquet", PLACES, listed(NUMBERS), id=names)
    plain(tmp_path / "b.parquet", PLACES, listed(NUMBERS), id=names, more=pa.array(range(30)))
    with pytest.raises(EmbeddingsInvalid, match=r"b\.parquet: row 0 of 30.*another file"):
        imported(tmp_path, tmp_path / "archive")
    assert len(imported(tmp_path, tmp_path / "archive", on_bad="skip")) == 30


def hostile(kind: str, path: Path) -> Path:
    """A file that is not what it should be."""
    good = plain(path.with_name("good.parquet"), PLACES, listed(NUMBERS))
    if kind == "csv":
        path.write_text("id,embedding\n1,0.5\n")
    elif kind == "empty file":
        path.write_bytes(b"")
    elif kind == "cut":
        path.write_bytes(good.read_bytes()[:-100])
    elif kind == "hole":
        data = bytearray(good.read_bytes())
        data[4 : len(data) // 2] = bytes(len(data) // 2 - 4)
        path.write_bytes(data)
    elif kind == "no geometry":
        pq.write_table(pa.table({"embedding": listed(NUMBERS)}), path)
    elif kind == "no embedding":
        plain(path, PLACES, pa.array(["text"] * 30))
    elif kind == "two embeddings":
        table = pq.read_table(good)
        both = table.rename_columns(["geometry", "patch_0"]).append_column("patch_1", listed(NUMBERS))
        pq.write_table(both.replace_schema_metadata(table.schema.metadata), path)
    elif kind == "json":
        pq.write_table(pq.read_table(good).replace_schema_metadata({"geo": "{"}), path)
    elif kind == "no crs":
        plain(path, PLACES, listed(NUMBERS), {"encoding": "WKB", "crs": None})
    elif kind == "odd crs":
        plain(path, PLACES, listed(NUMBERS), {"encoding": "WKB", "crs": {"type": "nonsense"}})
    elif kind == "no geoparquet":
        pq.write_table(pq.read_table(good).replace_schema_metadata({}), path)
    elif kind == "encoding":
        plain(path, PLACES, listed(NUMBERS), {"encoding": "WKT"})
    elif kind == "no rows":
        plain(path, [], listed(NUMBERS[:0]))
    good.unlink()
    return path


HOSTILE = {
    "csv": "no whole Parquet",
    "empty file": "no whole Parquet",
    "cut": "no whole Parquet",
    "hole": "cannot be read",
    "no geometry": "no column says where.*Columns: embedding",
    "no embedding": "no column holds embeddings.*Columns: geometry, embedding",
    "two embeddings": "patch_0, patch_1.*column=NAME",
    "json": "no JSON",
    "no crs": "coordinate system is unknown.*crs=",
    "odd crs": "no coordinate system that is known",
    "no geoparquet": "no GeoParquet.*crs=",
    "encoding": "'WKT'.*WKB",
    "no rows": "no row that can be used",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_file_that_is_something_else_is_refused_in_words_and_leaves_no_archive(tmp_path: Path, kind: str) -> None:
    with pytest.raises(EmbeddingsInvalid, match=HOSTILE[kind]) as caught:
        imported(hostile(kind, tmp_path / "odd.parquet"), tmp_path / "archive", on_bad="skip")
    assert "odd.parquet" in str(caught.value)
    with pytest.raises(ArchiveInvalid, match="not an archive"):
        open_archive(tmp_path / "archive")


def test_column_and_crs_are_what_the_user_says(tmp_path: Path) -> None:
    path = hostile("two embeddings", tmp_path / "a.parquet")
    assert len(imported(path, tmp_path / "one", column="patch_1")) == 30
    with pytest.raises(EmbeddingsInvalid, match=r"'patch_2' is not there.*patch_0, patch_1"):
        imported(path, tmp_path / "other", column="patch_2")
    assert len(imported(hostile("no crs", tmp_path / "b.parquet"), tmp_path / "said", crs="EPSG:4326")) == 30


@pytest.mark.parametrize("asked", [{"tile_m": 0}, {"tile_m": np.nan}, {"on_bad": "ignore"}])
def test_arguments_that_make_no_sense_are_refused(tmp_path: Path, asked: dict[str, Any]) -> None:
    with pytest.raises(QueryInvalid):
        imported(clay(tmp_path / "a.parquet", PLACES, NUMBERS), tmp_path / "archive", **asked)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(EmbeddingsInvalid, match="is not there"):
        imported(tmp_path / "nothing.parquet", tmp_path / "archive")
    (tmp_path / "none").mkdir()
    with pytest.raises(EmbeddingsInvalid, match="holds no Parquet file"):
        imported(tmp_path / "none", tmp_path / "archive")


def test_embeddings_of_two_encoders_never_mix(tmp_path: Path) -> None:
    first, second = (clay(tmp_path / f"{name}.parquet", PLACES, NUMBERS) for name in "ab")
    archive = imported(first, tmp_path / "archive", encoder="clay-v1")
    with pytest.raises(ArchiveMismatch, match=r"clay-v1.*clay-v2"):
        imported(second, archive.folder, encoder="clay-v2")
    plain(tmp_path / "short.parquet", PLACES, listed(NUMBERS[:, :6]))
    with pytest.raises(EmbeddingsInvalid, match="has 6 numbers, others here have 12"):
        imported(tmp_path / "short.parquet", archive.folder)
    built = wb.build_archive(
        small_imagery(tmp_path / "images"), tmp_path / "built", tile=64, encoder=MeanColour(), progress=Progress()
    )
    with pytest.raises(ArchiveMismatch, match="built from imagery"):
        imported(first, built.folder)
    with pytest.raises(ArchiveMismatch):
        wb.build_archive(tmp_path / "images", archive.folder, encoder=MeanColour(), progress=Progress())
