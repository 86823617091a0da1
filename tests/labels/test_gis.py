"""Polygons of any CRS land on the right pixels, a wrong file changes nothing, and exports can be read by others."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from xml.etree import ElementTree as Xml

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from shapely.geometry import LineString, Point, Polygon, box

from workbench.errors import FileExists, LabelInvalid
from workbench.imagery.opening import open_imagery
from workbench.imagery.rasters import Imagery
from workbench.labels.gis import export_gis, import_vectors
from workbench.labels.store import LabelStore, Place

UTM = "EPSG:32632"
X, Y = 500_000.0, 6_200_000.0


def write_raster(path: Path, x: float = X, y: float = Y, crs: str | None = UTM, size: int = 200) -> None:
    profile = {"driver": "GTiff", "width": size, "height": size, "count": 1, "dtype": "uint8"}
    if crs is not None:
        profile |= {"crs": crs, "transform": Affine(0.5, 0, x, 0, -0.5, y)}
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(np.full((1, size, size), 7, np.uint8))


@pytest.fixture
def imagery(tmp_path: Path) -> Imagery:
    """Two rasters of 100 x 100 m, side by side."""
    folder = tmp_path / "imagery"
    folder.mkdir()
    write_raster(folder / "west.tif")
    write_raster(folder / "east.tif", X + 100)
    return open_imagery(folder)


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    return LabelStore(tmp_path / "labels")


def polygons(*shapes: object, crs: str | None = UTM, **columns: object) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(columns, geometry=list(shapes), crs=crs)


def square(x: float, y: float, side: float = 10) -> Polygon:
    """A square that far right of and below the corner of the western raster."""
    return box(X + x, Y - y - side, X + x + side, Y - y)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:25832", UTM, "EPSG:3035"])
@pytest.mark.parametrize("name", ["roofs.gpkg", "roofs.geojson", "roofs.shp", "roofs.parquet"])
def test_polygons_of_any_crs_land_on_the_right_pixels(
    tmp_path: Path, imagery: Imagery, store: LabelStore, crs: str, name: str
) -> None:
    frame = polygons(square(20, 30)).to_crs("EPSG:4326" if name.endswith("json") else crs)
    frame.to_parquet(tmp_path / name) if name.endswith("parquet") else frame.to_file(tmp_path / name)
    report = import_vectors(tmp_path / name, imagery, store, class_name="roof")
    (label,) = store.labels()
    raster = imagery.by_fingerprint(label.place.raster)
    assert raster.name == "west.tif" and report.rasters == {"west.tif": 1} and report.labelled == {"roof": 1}
    assert label.place.crs == raster.crs
    pixels = label.place.in_pixels(raster)
    assert pixels.symmetric_difference(box(40, 60, 60, 80)).area < 1


def test_each_polygon_goes_to_the_raster_that_holds_most_of_it(imagery: Imagery, store: LabelStore) -> None:
    frame = polygons(square(93, 10), square(97, 30), square(-500, 0), square(-4, 50), kind=["a", "b", "b", "a"])
    report = import_vectors(frame, imagery, store, class_column="kind")
    assert report.rasters == {"west.tif": 2, "east.tif": 1} and report.outside == 1
    assert report.labelled == {"a": 2, "b": 1}
    assert "outside the imagery" in report.words
    assert store.undo() is not None and store.labels() == () and store.undo() is None


def test_negatives_and_crossing_outlines_are_imported(imagery: Imagery, store: LabelStore) -> None:
    bow = Polygon([(X + 10, Y - 10), (X + 20, Y - 20), (X + 20, Y - 10), (X + 10, Y - 20)])
    report = import_vectors(polygons(bow), imagery, store, class_name="roof", value=-1)
    assert report.repaired == 1 and store.labels()[0].value == -1
    assert store.labels()[0].place.geometry.area == pytest.approx(50)


def test_heights_are_dropped(imagery: Imagery, store: LabelStore) -> None:
    tilted = Polygon([(X + 10, Y - 10, 3), (X + 20, Y - 10, 4), (X + 20, Y - 20, 5)])
    import_vectors(polygons(tilted), imagery, store, class_name="roof")
    assert not store.labels()[0].place.geometry.has_z


@pytest.mark.parametrize(
    ("frame", "arguments", "words"),
    [
        (polygons(Point(X, Y)), {"class_name": "a"}, "1 Point"),
        (polygons(square(1, 1), LineString([(X, Y), (X + 1, Y)])), {"class_name": "a"}, "1 LineString"),
        (polygons(), {"class_name": "a"}, "no features"),
        (polygons(square(1, 1), None, Polygon()), {"class_name": "a"}, "2 of 3 rows have no geometry"),
        (polygons(square(1, 1), crs=None), {"class_name": "a"}, "crs="),
        (polygons(square(1, 1)), {"class_name": "a", "crs": "EPSG:99999999"}, "no coordinate system"),
        (polygons(square(1, 1), kind=["x"]), {}, "kind"),
        (polygons(square(1, 1), kind=["x"]), {"class_name": "a", "class_column": "kind"}, "either"),
        (polygons(square(1, 1), kind=["x"]), {"class_column": "type"}, "kind"),
        (polygons(square(1, 1), square(5, 5), kind=["x", None]), {"class_column": "kind"}, "row 2"),
        (polygons(square(1, 1), square(5, 5), kind=["x", "a\0b"]), {"class_column": "kind"}, "control"),
        (polygons(square(1, 1)), {"class_name": "a", "value": 3}, "label value"),
        (polygons(square(5000, 5000)), {"class_name": "a"}, "does not touch"),
        (polygons(square(1, 1), crs="EPSG:4326"), {"class_name": "a"}, "does not touch"),
        (polygons(Polygon([(X, Y), (X + 1, Y), (X + 2, Y)])), {"class_name": "a"}, "without area"),
    ],
)
def test_P13_a_table_that_cannot_be_used_changes_nothing(
    imagery: Imagery, store: LabelStore, frame: gpd.GeoDataFrame, arguments: dict[str, object], words: str
) -> None:
    with pytest.raises(LabelInvalid, match=words):
        import_vectors(frame, imagery, store, **arguments)  # type: ignore[arg-type]
    assert store.labels() == store.classes == () and not store.folder.exists()


@pytest.mark.parametrize("name", ["a.gpkg", "a.geojson", "a.shp", "a.parquet"])
@pytest.mark.parametrize("content", [b"", b"\x00\xff" * 500, b"<OGRVRTDataSource/>", b'{"type": "Feat', b"PAR1" * 9])
def test_P13_a_file_that_is_no_vector_file_changes_nothing(
    tmp_path: Path, imagery: Imagery, store: LabelStore, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LabelInvalid, match=name):
        import_vectors(tmp_path / name, imagery, store, class_name="a")
    assert not store.folder.exists()


@pytest.mark.parametrize("name", ["a.gpkg", "a.geojson", "a.shp", "a.parquet"])
def test_P13_a_truncated_file_changes_nothing(tmp_path: Path, imagery: Imagery, store: LabelStore, name: str) -> None:
    frame = polygons(*(square(n % 9 * 10, n // 9 * 10, 5) for n in range(81))).to_crs("EPSG:4326")
    path = tmp_path / name
    frame.to_parquet(path) if name.endswith("parquet") else frame.to_file(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(LabelInvalid, match=name):
        import_vectors(path, imagery, store, class_name="a")
    assert not store.folder.exists()


def test_an_unknown_format_and_a_missing_file_are_named(tmp_path: Path, imagery: Imagery, store: LabelStore) -> None:
    for name in ("roofs.docx", "missing.gpkg", "/vsicurl/http://127.0.0.1:1/a.geojson"):
        with pytest.raises(LabelInvalid, match=Path(name).name):
            import_vectors(name if name.startswith("/") else tmp_path / name, imagery, store, class_name="a")


def test_a_file_with_several_layers_asks_which(tmp_path: Path, imagery: Imagery, store: LabelStore) -> None:
    path = tmp_path / "many.gpkg"
    polygons(square(1, 1)).to_file(path, layer="roofs")
    polygons(square(5, 5), square(20, 20)).to_file(path, layer="roads")
    with pytest.raises(LabelInvalid, match="roads"):
        import_vectors(path, imagery, store, class_name="a")
    assert import_vectors(path, imagery, store, class_name="a", layer="roads").labelled == {"a": 2}


def test_a_file_that_says_the_wrong_crs_can_be_told_the_right_one(imagery: Imagery, store: LabelStore) -> None:
    import_vectors(polygons(square(1, 1), crs="EPSG:4326"), imagery, store, class_name="a", crs=UTM)
    assert len(store.labels()) == 1


def test_imagery_without_a_crs_takes_no_polygons(tmp_path: Path, store: LabelStore) -> None:
    write_raster(tmp_path / "plain.tif", crs=None)
    with pytest.raises(LabelInvalid, match="in pixels"):
        import_vectors(polygons(square(1, 1)), open_imagery(tmp_path / "plain.tif"), store, class_name="a")


@pytest.fixture
def labelled(imagery: Imagery, store: LabelStore) -> LabelStore:
    west, east = imagery.by_fingerprint(imagery[1].fingerprint), imagery[0]
    store.add(
        [Place(west.fingerprint, square(10, 10), UTM), Place(east.fingerprint, square(150, 10), UTM)], "<b>roof</b>"
    )
    store.add([Place(west.fingerprint, square(40, 40), UTM)], "road & path", -1)
    store.add([Place("elsewhere", box(0, 0, 5, 5), None)], "road & path")
    store.declare_complete([Place(west.fingerprint, square(0, 0, 60), UTM)])
    return store


@pytest.mark.parametrize("name", ["out.gpkg", "out.geojson", "out.parquet"])
def test_what_is_written_is_read_back_the_same(
    tmp_path: Path, imagery: Imagery, labelled: LabelStore, name: str
) -> None:
    path = export_gis(labelled, tmp_path / name)
    layer = {"layer": "labels"} if name.endswith("gpkg") else {}
    frame = gpd.read_parquet(path) if name.endswith("parquet") else gpd.read_file(path, **layer)
    assert list(frame["class"]) == ["<b>roof</b>", "<b>roof</b>", "road & path"]
    assert list(frame["value"]) == [1, 1, -1]
    assert frame.crs == (UTM if name != "out.geojson" else "EPSG:4326")
    again = LabelStore(tmp_path / "again")
    import_vectors(path, imagery, again, class_column="class")
    for one, two in zip(labelled.labels(), again.labels(), strict=False):
        assert one.place.geometry.symmetric_difference(two.place.geometry).area < 0.3  # of 100; GeoJSON keeps 1 cm


def test_a_geopackage_holds_complete_areas_classes_and_their_style(tmp_path: Path, labelled: LabelStore) -> None:
    path = export_gis(labelled, tmp_path / "out.gpkg")
    assert gpd.read_file(path, layer="complete").geometry.area.sum() == pytest.approx(3600)
    with sqlite3.connect(path) as database:
        assert database.execute("select number, name, colour from classes").fetchall() == [
            (known.id, known.name, known.colour) for known in labelled.classes
        ]
        layer, qml = database.execute("select f_table_name, styleQML from layer_styles").fetchone()
    assert layer == "labels"
    assert [item.get("value") for item in Xml.fromstring(qml).iter("category")] == ["<b>roof</b>", "road & path"]


def test_geojson_follows_rfc_7946(tmp_path: Path, labelled: LabelStore) -> None:
    value = json.loads(export_gis(labelled, tmp_path / "out.geojson").read_text())
    assert "crs" not in value
    for feature in value["features"]:
        ring = Polygon(feature["geometry"]["coordinates"][0])
        assert ring.exterior.is_ccw and -180 <= ring.bounds[0] <= 180


def test_an_export_is_not_overwritten_unless_told(tmp_path: Path, labelled: LabelStore) -> None:
    path = export_gis(labelled, tmp_path / "out.gpkg")
    before = path.read_bytes()
    with pytest.raises(FileExists):
        export_gis(labelled, path)
    assert path.read_bytes() == before
    labelled.undo()
    export_gis(labelled, path, overwrite=True)
    assert "complete" not in list(gpd.list_layers(path)["name"])
    assert sorted(file.name for file in tmp_path.iterdir() if file.is_file()) == ["out.gpkg"]


def test_an_empty_store_and_another_suffix_are_refused(tmp_path: Path, store: LabelStore) -> None:
    for name, words in (("out.gpkg", "no label"), ("out.kml", "gpkg")):
        with pytest.raises(LabelInvalid, match=words):
            export_gis(store, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_labels_of_several_zones_are_written_in_lon_lat(tmp_path: Path, store: LabelStore) -> None:
    store.add([Place("a", square(1, 1), UTM), Place("b", square(1, 1), "EPSG:32633")], "roof")
    frame = gpd.read_file(export_gis(store, tmp_path / "out.gpkg"), layer="labels")
    assert frame.crs == "EPSG:4326"
    assert frame.geometry.bounds["minx"].round().tolist() == [9, 15]
