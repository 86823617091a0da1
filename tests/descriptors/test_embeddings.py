"""Embeddings of others become an archive like any other, bad rows are named, and what is exported is read back alike."""

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
from embedding_files import DIM, clay, earth_index, lonlat, major_tom, plain, squares, vectors
from small_archives import MeanColour, contents, small_imagery

import workbench as wb
from workbench.__main__ import main
from workbench.descriptors.archive import Archive, open_archive
from workbench.errors import (
    ArchiveInvalid,
    ArchiveMismatch,
    Cancelled,
    EmbeddingsInvalid,
    FileExists,
    QueryInvalid,
    RasterRefused,
    WeightsUnavailable,
)
from workbench.jobs import Progress
from workbench.search.where import Where

PLACES = lonlat(squares())
NUMBERS = vectors(len(PLACES))


def imported(path: Path, folder: Path, **asked: Any) -> Archive:
    return wb.import_embeddings(path, folder, progress=Progress(), **asked)


def listed(numbers: np.ndarray[Any, Any], kind: pa.DataType | None = None) -> pa.Array:
    return pa.array(numbers.tolist(), pa.list_(kind or pa.float32()))


def rows_by_place(archive: Archive) -> dict[tuple[float, ...], bytes]:
    """Descriptors by the middle of their tiles, to a millionth of a degree."""
    middles = shapely.get_coordinates(shapely.centroid(archive.footprints(np.arange(len(archive)), "EPSG:4326")))
    return {
        tuple(np.round(middle, 6).tolist()): raw.tobytes() for middle, raw in zip(middles, archive.raw, strict=True)
    }


def test_earth_index_tiles_keep_their_numbers_outlines_and_encoder(tmp_path: Path) -> None:
    archive = imported(earth_index(tmp_path / "33MNT.parquet", PLACES, NUMBERS), tmp_path / "archive")
    assert np.array_equal(np.asarray(archive.raw), NUMBERS.astype(np.float16))
    assert archive.manifest.encoder == "dinov2_vits14_softcon 2.0.0" and archive.complete and archive.problems == ()
    for number in (0, 7, 29):
        found = archive.footprint(number, "EPSG:4326")
        assert found.symmetric_difference(PLACES[number]).area < 1e-9 * PLACES[number].area
    assert [raster.name for raster in archive.imagery] == ["33MNT.parquet"]


def test_a_regular_grid_of_tiles_lies_on_a_grid_of_pixels(tmp_path: Path) -> None:
    archive = imported(earth_index(tmp_path / "33MNT.parquet", PLACES, NUMBERS), tmp_path / "archive")
    assert archive.manifest.grid.tile == (256.0,) and archive.manifest.grid.stride == 1.0
    assert archive.tile(8).row == 256 and archive.tile(8).col == 512 and archive.tile(8).size == 256
    window = archive.imagery[0].footprint(archive.tile(8).window)
    assert window.symmetric_difference(archive.footprint(8)).area < 0.02 * window.area


@pytest.mark.parametrize("fixed", [False, True])
def test_clay_embeddings_are_found_whatever_their_list_type(tmp_path: Path, fixed: bool) -> None:
    path = clay(tmp_path / "03WVN_v001.parquet", PLACES, NUMBERS, fixed=fixed)
    archive = imported(path, tmp_path / "archive", encoder="clay-v1")
    assert np.array_equal(np.asarray(archive.raw), NUMBERS.astype(np.float16)) and archive.manifest.encoder == "clay-v1"
    assert archive.imagery[0].date == "2022-06-10"


def test_major_tom_squares_are_kept_in_the_zone_that_their_file_names(tmp_path: Path) -> None:
    zones = {
        "EPSG:32701": squares(2, 3, side=2240, step=2000.7, east=480_037.36, north=814_306.71),
        "EPSG:32632": squares(2, 3, side=2240, step=2000.7, north=5_000_000),
    }
    archive = imported(major_tom(tmp_path / "part_00001.parquet", zones, vectors(12)), tmp_path / "archive")
    assert [raster.crs for raster in archive.imagery] == list(zones) and archive.imagery[0].date == "2023"
    for number, square in enumerate(shape for shapes in zones.values() for shape in shapes):
        assert archive.footprint(number).symmetric_difference(square).area < 1  # of 5 million square metres
    assert np.array_equal(np.asarray(archive.raw), vectors(12).astype(np.float16))


def test_tiles_that_cross_a_zone_stay_one_grid_when_the_file_is_compact(tmp_path: Path) -> None:
    shapes = lonlat(squares(2, 8, side=20_000, east=740_000, north=5_000_000), "EPSG:32632")  # lon 12 is at 736 km
    archive = imported(plain(tmp_path / "a.parquet", shapes, listed(vectors(16))), tmp_path / "archive")
    assert len(archive.imagery) == 1


def test_projected_geometry_stays_in_its_own_crs(tmp_path: Path) -> None:
    shapes = squares(east=600_000, north=5_000_000)
    archive = imported(clay(tmp_path / "a.parquet", shapes, NUMBERS, crs="EPSG:32632"), tmp_path / "archive")
    assert archive.imagery[0].crs == "EPSG:32632"
    assert archive.footprint(4).equals(shapes[4])


def test_outlines_across_the_antimeridian_and_beyond_84_degrees_are_whole(tmp_path: Path) -> None:
    across = shapely.Polygon([(179.999, 10), (-179.999, 10), (-179.999, 10.002), (179.999, 10.002)])
    north = shapely.box(20, 86, 20.1, 86.01)
    archive = imported(plain(tmp_path / "a.parquet", [across, north], listed(vectors(2))), tmp_path / "archive")
    assert {raster.crs for raster in archive.imagery} == {"EPSG:32660", "EPSG:5041"} or len(archive.imagery) == 2
    sizes = [archive.footprint(number).area for number in range(2)]
    assert all(40_000 < area < 1_000_000 for area in sizes)


def test_points_need_a_tile_size_and_become_squares_of_it(tmp_path: Path) -> None:
    points = [shape.centroid for shape in PLACES]
    path = plain(tmp_path / "points.parquet", points, listed(NUMBERS))
    with pytest.raises(EmbeddingsInvalid, match=r"row 0 of 30.*is a point.*tile_m=METRES"):
        imported(path, tmp_path / "none")
    archive = imported(path, tmp_path / "archive", tile_m=320)
    assert archive.footprint(3).area == pytest.approx(320**2)
    assert archive.footprint(3, "EPSG:4326").centroid.distance(points[3]) < 1e-7


@pytest.mark.parametrize("kind", ["point", "polygon", "multipolygon"])
def test_native_geometry_is_read_as_wkb_is(tmp_path: Path, kind: str) -> None:
    shapes = np.array(PLACES if kind != "point" else [shape.centroid for shape in PLACES])
    shapes = np.array([shapely.MultiPolygon([shape]) for shape in shapes]) if kind == "multipolygon" else shapes
    points, *rest = shapely.to_ragged_array(shapes)[1:]
    column = pa.StructArray.from_arrays([pa.array(points[:, 0]), pa.array(points[:, 1])], ["x", "y"])
    for offsets in rest[0] if rest and rest[0] is not None else ():
        column = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), column)
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": {"encoding": kind}}}
    table = pa.table({"geometry": column, "embedding": listed(NUMBERS)})
    pq.write_table(table.replace_schema_metadata({"geo": json.dumps(geo)}), tmp_path / "a.parquet")
    archive = imported(tmp_path / "a.parquet", tmp_path / "archive", tile_m=320)
    assert archive.footprint(3, "EPSG:4326").centroid.distance(PLACES[3].centroid) < 1e-7


LISTS = {
    "float64": lambda: listed(NUMBERS, pa.float64()),
    "float16": lambda: listed(NUMBERS.astype(np.float16), pa.float16()),
    "large": lambda: pa.array(NUMBERS.tolist(), pa.large_list(pa.float32())),
    "one row inside": lambda: pa.array([[row] for row in NUMBERS.tolist()], pa.list_(pa.list_(pa.float32()))),
    "tensor": lambda: pa.FixedShapeTensorArray.from_numpy_ndarray(NUMBERS.reshape(30, 3, 4).copy()),
}


@pytest.mark.parametrize("kind", LISTS)
def test_any_list_of_numbers_is_read(tmp_path: Path, kind: str) -> None:
    archive = imported(plain(tmp_path / "a.parquet", PLACES, LISTS[kind]()), tmp_path / "archive")
    assert np.array_equal(np.asarray(archive.raw), NUMBERS.astype(np.float16))


def test_int8_is_scaled_by_a_number_by_dimension_or_by_a_column(tmp_path: Path) -> None:
    small = np.random.default_rng(0).integers(-127, 127, (30, DIM)).astype(np.int8)
    by_row = np.linspace(0.01, 0.02, 30).astype(np.float32)
    path = plain(tmp_path / "a.parquet", PLACES, listed(small, pa.int8()), factor=pa.array(by_row))
    assert np.array_equal(np.asarray(imported(path, tmp_path / "as they are").raw), small.astype(np.float16))
    factors: dict[str, Any] = {"one": 0.5, "each": np.linspace(1, 2, DIM), "factor": by_row[:, None]}
    for name, factor in factors.items():
        archive = imported(path, tmp_path / name, scale="factor" if name == "factor" else factor)
        assert np.allclose(np.asarray(archive.raw), small * factor, rtol=1e-3)


def test_a_folder_becomes_one_archive_and_more_files_are_added(tmp_path: Path) -> None:
    (tmp_path / "files" / "deep").mkdir(parents=True)
    clay(tmp_path / "files" / "b.parquet", PLACES[:10], NUMBERS[:10])
    clay(tmp_path / "files" / "deep" / "a.gpq", PLACES[10:20], NUMBERS[10:20])
    archive = imported(tmp_path / "files", tmp_path / "archive")
    before = contents(archive.folder)
    assert [raster.name for raster in archive.imagery] == ["b.parquet", "deep/a.gpq"] and len(archive) == 20
    clay(tmp_path / "files" / "c.parquet", PLACES[20:], NUMBERS[20:])
    archive = imported(tmp_path / "files", tmp_path / "archive")
    assert np.array_equal(np.asarray(archive.raw), NUMBERS.astype(np.float16))
    assert {
        name: data for name, data in contents(archive.folder).items() if name in before and "manifest" not in name
    } == {name: data for name, data in before.items() if "manifest" not in name}


def test_an_interrupted_import_goes_on_and_gives_the_same_files(tmp_path: Path) -> None:
    for name, part in (("a", slice(0, 15)), ("b", slice(15, 30))):
        clay(tmp_path / f"{name}.parquet", PLACES[part], NUMBERS[part])
    stopped = Progress(lambda now: now.cancel() if now.done > 15 else None)
    with pytest.raises(Cancelled, match="Run the same call again"):
        wb.import_embeddings(tmp_path, tmp_path / "stopped", progress=stopped)
    assert imported(tmp_path, tmp_path / "stopped").complete
    whole = imported(tmp_path, tmp_path / "whole")
    assert contents(tmp_path / "stopped") == contents(whole.folder)


@pytest.mark.slow
def test_P01_a_killed_import_goes_on_and_gives_the_same_files(tmp_path: Path) -> None:
    for number in range(3):
        part = slice(10 * number, 10 * number + 10)
        clay(tmp_path / f"{number}.parquet", PLACES[part], NUMBERS[part])
    whole = contents(imported(tmp_path, tmp_path / "whole").folder)
    program = "import sys; import workbench as wb; from workbench import files; from pathlib import Path\n" + _DIE
    for fatal in range(1, 24, 3):
        folder = tmp_path / f"killed-{fatal}"
        ran = subprocess.run([sys.executable, "-c", program, str(tmp_path), str(folder), str(fatal)], check=False)
        assert ran.returncode == 9
        assert contents(imported(tmp_path, folder).folder) == whole


_DIE = """
import os
from workbench.jobs import Progress
count = 0
sync = files._sync
def dying(path):
    global count
    count += 1
    if count == int(sys.argv[3]):
        os._exit(9)
    sync(path)
files._sync = dying
wb.import_embeddings(sys.argv[1], sys.argv[2], progress=Progress())
"""


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
