"""Embeddings of others become an archive like any other, whatever their layout, also after an interruption."""

from __future__ import annotations

import json
import subprocess
import sys
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
    earth_index,
    imported,
    listed,
    lonlat,
    major_tom,
    plain,
    squares,
    vectors,
)
from small_archives import contents

import workbench as wb
from workbench.errors import (
    Cancelled,
    EmbeddingsInvalid,
)
from workbench.jobs import Progress

PLACES = lonlat(squares())
NUMBERS = vectors(len(PLACES))


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
