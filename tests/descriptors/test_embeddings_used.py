"""An imported archive is used like any other, and what is exported is read back alike."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from embedding_files import (
    clay,
    earth_index,
    imported,
    listed,
    lonlat,
    plain,
    rows_by_place,
    squares,
    vectors,
)
from small_archives import MeanColour, small_imagery

import workbench as wb
from workbench.__main__ import main
from workbench.descriptors.archive import Archive, open_archive
from workbench.errors import (
    ArchiveInvalid,
    ArchiveMismatch,
    FileExists,
    QueryInvalid,
    RasterRefused,
    WeightsUnavailable,
)
from workbench.jobs import Progress
from workbench.search.where import Where

PLACES = lonlat(squares())
NUMBERS = vectors(len(PLACES))


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> wb.Session:
    folder = tmp_path_factory.mktemp("session")
    path = earth_index(folder / "33MNT.parquet", PLACES, NUMBERS)
    return wb.Session(imported(path, folder / "archive"), folder / "labels")


def test_an_imported_archive_is_searched_labelled_refined_and_exported_like_any_other(
    session: wb.Session, tmp_path: Path
) -> None:
    middle = PLACES[7].centroid
    hits = session.search(lon=middle.x, lat=middle.y, k=5)
    cosines = session.archive.vectors @ session.archive.vectors[7]
    assert hits.numbers.tolist() == np.argsort(-cosines, kind="stable")[:5].tolist() and hits[0].number == 7
    session.label(hits[:2], "mine")
    session.label(hits[3:4], "mine", value=-1)
    assert session.refine("mine", k=1)[0].number in hits[:2].numbers
    written = gpd.read_file(session.export_labels(tmp_path / "labels.gpkg"), layer="labels").to_crs("EPSG:4326")
    positive = [shapely.box(*shape.bounds) for shape in written.geometry]
    assert max(shape.intersection(PLACES[7]).area for shape in positive) > 0.98 * PLACES[7].area


def test_an_imported_archive_is_filtered_by_area(session: wb.Session) -> None:
    area = shapely.union_all(np.array(PLACES[:6])).buffer(-1e-4)
    hits = session.search(tile=20, k=30, where=Where(area=area))
    assert sorted(hits.numbers.tolist()) == [0, 1, 2, 3, 4, 5]


def test_the_terminal_imports_searches_and_exports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    clay(Path("clay.parquet"), PLACES, NUMBERS)
    assert main(["import", "clay.parquet", "archive", "--encoder", "clay-v1"]) == 0
    capsys.readouterr()
    assert main(["search", "archive", "--tile", "3", "-k", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split("\t")[1] == "3"
    assert main(["export", "archive", "--embeddings", "out.parquet"]) == 0
    assert pq.read_metadata("out.parquet").num_rows == 30
    assert main(["import", "out.parquet", "again", "--column", "nothing"]) == 2
    assert "nothing" in capsys.readouterr().err


def test_outlines_that_were_drawn_teach_by_the_tiles_they_lie_on(session: wb.Session) -> None:
    session.label(PLACES[20].buffer(1e-4), "drawn")
    assert session.refine("drawn", k=1)[0].number == 20


def test_queries_that_need_the_encoder_say_that_it_is_not_here(session: wb.Session) -> None:
    with pytest.raises(WeightsUnavailable, match=r"imported.*dinov2_vits14_softcon 2.0.0.*Search by a tile"):
        session.search(shape=PLACES[0])


def test_an_encoder_of_the_users_own_describes_images_for_an_imported_archive(tmp_path: Path) -> None:
    path = plain(tmp_path / "a.parquet", PLACES, listed(vectors(30, MeanColour.dim)))
    folder = imported(path, tmp_path / "archive", encoder=MeanColour.name).folder
    archive = open_archive(folder, encoder=MeanColour())
    vector = archive.describe_image(np.full((3, 64, 64), 90, np.uint8))
    assert vector.shape == (MeanColour.dim,) and np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    imported(path, tmp_path / "other", encoder="clay-v1")
    with pytest.raises(ArchiveMismatch, match="clay-v1"):
        open_archive(tmp_path / "other", encoder=MeanColour())


@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_P04_damaged_outlines_are_named(session: wb.Session, tmp_path: Path, damage: str) -> None:
    folder = Path(shutil.copytree(session.archive.folder, tmp_path / "archive"))
    path = folder / "outlines-00000.npy"
    data = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(data[:-72] if damage == "cut" else data[:-8] + bytes(8))
    with pytest.raises(ArchiveInvalid, match="outlines-00000"):
        open_archive(folder)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("built")
    imagery = small_imagery(folder / "images")
    return wb.build_archive(imagery, folder / "archive", tile=(64, 96), encoder=MeanColour(), progress=Progress())


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
def test_what_is_exported_is_read_back_to_the_same_descriptors(built: Archive, tmp_path: Path, dtype: Any) -> None:
    path = wb.export_embeddings(built, tmp_path / "out", dtype=dtype, progress=Progress())
    again = imported(path, tmp_path / "archive")
    raw, back = np.asarray(built.raw, np.float32), np.asarray(again.raw, np.float32)
    assert np.array_equal(raw, back) if dtype != "int8" else np.abs(raw - back).max() <= np.abs(raw).max() / 127
    assert (again.manifest.encoder, again.manifest.weights_hash) == (MeanColour.name, MeanColour.weights_hash)
    assert open_archive(again.folder, encoder=MeanColour()).encoder.name == MeanColour.name
    if dtype == "float16":
        assert rows_by_place(again) == rows_by_place(built)
        twice = wb.export_embeddings(again, tmp_path / "twice.parquet", progress=Progress())
        assert rows_by_place(imported(twice, tmp_path / "twice")) == rows_by_place(built)


def test_an_export_is_geoparquet_that_others_read(built: Archive, tmp_path: Path) -> None:
    path = wb.export_embeddings(built, tmp_path / "out.parquet", codes=True, progress=Progress())
    frame = gpd.read_parquet(path)
    assert frame.crs == "OGC:CRS84" and len(frame) == len(built)
    assert frame.geometry[5].equals_exact(built.footprint(5, "EPSG:4326"), 1e-9)
    assert [frame["raster"][5], frame["row"][5], frame["size"][5]] == [
        built.imagery[built.tile(5).raster].name,
        built.tile(5).row,
        built.tile(5).size,
    ]
    assert np.array_equal(np.frombuffer(b"".join(frame["code"]), np.uint8).reshape(len(built), -1), built.codes)
    west, south, east, north = frame.geometry[5].bounds
    part = gpd.read_parquet(path, bbox=(west, south, east, north))
    assert 0 < len(part) < len(frame) and (part["tile"] == 5).any()
    geo = json.loads(pq.read_schema(path).metadata[b"geo"])
    assert geo["version"] == "1.1.0" and geo["columns"]["geometry"]["covering"]["bbox"]["xmin"] == ["bbox", "xmin"]


def test_an_export_never_overwrites_unasked_and_needs_places(built: Archive, tmp_path: Path) -> None:
    path = wb.export_embeddings(built, tmp_path / "out.parquet", progress=Progress())
    with pytest.raises(FileExists):
        wb.export_embeddings(built, path, progress=Progress())
    wb.export_embeddings(built, path, overwrite=True, progress=Progress())
    with pytest.raises(QueryInvalid, match="float16, float32 or int8"):
        wb.export_embeddings(built, tmp_path / "b.parquet", dtype="float8", progress=Progress())  # type: ignore[arg-type]
    nowhere = small_imagery(tmp_path / "images", ("a.tif",))
    unplaced = wb.build_archive(
        wb.open_imagery(_without_crs(tmp_path / "images" / "a.tif")),
        tmp_path / "unplaced",
        tile=64,
        encoder=MeanColour(),
        progress=Progress(),
    )
    assert len(nowhere) == 1
    with pytest.raises(RasterRefused, match="no coordinate system"):
        wb.export_embeddings(unplaced, tmp_path / "c.parquet", progress=Progress())
    assert not (tmp_path / "c.parquet").exists()


def _without_crs(path: Path) -> Path:
    from small_rasters import patchwork, write_raster

    return write_raster(path.with_name("nowhere.tif"), patchwork(128, 128), crs=None)


_MEASURE = """
import resource, sys
import workbench as wb
from workbench.jobs import Progress

def measure(progress):
    if progress.what == "importing":
        peak[0] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

peak = [0]
wb.import_embeddings(sys.argv[1], sys.argv[2], progress=Progress(measure))
sys.stdout.write(str(peak[0] / 1000))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    peaks = []
    geometry = pa.array(shapely.to_wkb(np.array(lonlat(squares(64, 64)))).tolist(), pa.binary())
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": {"encoding": "WKB"}}}
    fields = [("geometry", pa.binary()), ("embedding", pa.list_(pa.float32(), 1024)), ("date", pa.string())]
    for groups in (1, 16):
        path = tmp_path / f"{groups}.parquet"
        schema = pa.schema(fields, {"geo": json.dumps(geo)})
        with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
            for group in range(groups):
                numbers = pa.FixedSizeListArray.from_arrays(pa.array(vectors(4096, 1024, group).ravel()), 1024)
                days = pa.array([f"2020-01-{group + 1:02d}"] * 4096)
                writer.write_table(pa.Table.from_arrays([geometry, numbers, days], schema=schema))
        ran = subprocess.run(
            [sys.executable, "-c", _MEASURE, str(path), str(tmp_path / str(groups))],
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(float(ran.stdout))
    assert (tmp_path / "16.parquet").stat().st_size > 260e6
    assert peaks[1] - peaks[0] < 120, peaks
