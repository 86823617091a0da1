"""Polygons: they are the raster's pixels again, valid, measured on the ellipsoid, and files only when complete."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pytest
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize
from rasterio.windows import Window
from scipy.ndimage import gaussian_filter
from small_chips import GRID, write_raster

from workbench.errors import FileExists, PathRefused, ShapeMismatch
from workbench.segmentation.polygons import polygonize, save_polygons

Save = Callable[..., Path]


@pytest.fixture
def probability(tmp_path: Path) -> Save:
    """A function that writes probabilities (bands, rows, cols) the way `predict` does, NaN for no data."""

    def save(values: NDArray[np.floating], transform: Affine = GRID, **profile: object) -> Path:
        steps = np.where(np.isnan(values), 255, np.rint(np.nan_to_num(values) * 254)).astype(np.uint8)
        return write_raster(tmp_path / "probability.tif", steps, transform, nodata=255, **profile)

    return save


def blobs(seed: int, rows: int = 300, cols: int = 280, sigma: float = 6) -> NDArray[np.float64]:
    field = gaussian_filter(np.random.default_rng(seed).normal(size=(rows, cols)), sigma)
    return 0.5 + 0.4 * field / np.abs(field).max()


def iou(frame: gpd.GeoDataFrame, shown: NDArray[np.bool_]) -> float:
    again = np.zeros(shown.shape, bool)
    if len(frame):
        again = rasterize(frame.geometry, shown.shape, transform=GRID).astype(bool)
    return (again & shown).sum() / max(1, (again | shown).sum())


@pytest.mark.parametrize("seed", range(3))
def test_P37_polygons_rasterize_back_to_the_pixels(probability: Save, seed: int):
    values = blobs(seed)
    frame = polygonize(probability(values[None]))
    assert iou(frame, np.rint(values * 254) >= 127) > 0.99
    assert frame.is_valid.all() and (frame.geom_type == "Polygon").all()


@pytest.mark.parametrize("block", [32, 100, 2048])
def test_P37_unsimplified_outlines_are_exact_whatever_the_blocks(
    probability: Save, monkeypatch: pytest.MonkeyPatch, block: int
):
    values = blobs(7, sigma=2)
    shown = np.rint(values * 254) >= 127
    path = probability(values[None])
    whole = polygonize(path, min_area_m2=0, simplify_m=0)
    monkeypatch.setattr("workbench.segmentation.polygons._BLOCK", block)
    frame = polygonize(path, min_area_m2=0, simplify_m=0)
    assert iou(frame, shown) == 1.0
    assert frame.is_valid.all() and len(frame) == len(whole)
    assert np.allclose(sorted(frame["probability"]), sorted(whole["probability"]))
    assert np.allclose(sorted(frame["area_m2"]), sorted(whole["area_m2"]))


@pytest.mark.parametrize(("fill", "count"), [(0.0, 0), (1.0, 1)])
def test_P37_empty_and_full_rasters(probability: Save, fill: float, count: int):
    frame = polygonize(probability(np.full((1, 50, 60), fill)))
    assert len(frame) == count and list(frame.columns) == ["class", "probability", "area_m2", "geometry"]
    assert frame.crs == "EPSG:32632"
    if count:
        assert frame["area_m2"][0] == pytest.approx(50 * 60 * 0.25, rel=2e-3) and frame["probability"][0] == 1


def test_P37_single_pixels_and_holes_are_kept_only_above_the_least_area(probability: Save):
    values = np.zeros((1, 60, 60))
    values[0, 10:40, 10:40] = 0.9
    values[0, 20, 20] = 0.0
    values[0, 50, 50] = 0.8
    path = probability(values)
    everything = polygonize(path, min_area_m2=0, simplify_m=0)
    assert len(everything) == 2 and len(everything.geometry[0].interiors) == 1
    assert everything["area_m2"][1] == pytest.approx(0.25, rel=2e-3)
    large = polygonize(path)
    assert len(large) == 1 and not large.geometry[0].interiors
    assert large["probability"][0] == pytest.approx(229 / 254)


def test_stairs_become_slopes_and_straight_edges_stay(probability: Save):
    values = np.tri(60)[None] * 0.9
    frame = polygonize(probability(values))
    assert len(frame.geometry[0].exterior.coords) <= 8
    assert frame["area_m2"][0] == pytest.approx(60 * 61 / 2 / 4, rel=5e-3)


def test_pixels_that_meet_at_a_corner_are_two_polygons(probability: Save):
    values = np.zeros((1, 40, 40))
    values[0, :20, :20] = values[0, 20:, 20:] = 1
    frame = polygonize(probability(values))
    assert len(frame) == 2 and frame.is_valid.all()


def test_each_pixel_belongs_to_its_most_probable_class(probability: Save):
    values = np.zeros((2, 40, 60))
    values[0, :, :40] = 0.6
    values[1, :, 20:] = 0.39
    values[1, :, 45:] = 0.7
    path = probability(values)
    frame = polygonize(path)
    assert frame["class"].tolist() == ["band 1", "band 2"]
    assert frame["area_m2"].tolist() == pytest.approx([40 * 40 / 4, 40 * 15 / 4], rel=2e-3)
    assert polygonize(path, threshold=0.65)["class"].tolist() == ["band 2"]
    assert polygonize(path, threshold=0.3)["area_m2"].sum() == pytest.approx(40 * 60 / 4, rel=2e-3)


def test_P21_pixels_without_prediction_are_in_no_polygon(probability: Save):
    values = np.ones((1, 40, 40))
    values[0, :, 20:] = np.nan
    assert polygonize(probability(values))["area_m2"].sum() == pytest.approx(40 * 20 / 4, rel=2e-3)


@pytest.mark.parametrize(
    ("crs", "transform", "expected"),
    [
        # Banepa: Web Mercator stretches lengths by 1 / cos(27.6 deg), so areas by its square.
        ("EPSG:3857", Affine(0.15, 0, 9519391, 0, -0.15, 3203475), (0.15 * 100 * np.cos(np.radians(27.63))) ** 2),
        # NSIDC polar stereographic, true at 70 N: at the pole the scale is (1 + sin 70 deg) / 2.
        ("EPSG:3413", Affine(10, 0, -500, 0, -10, 500), (10 * 100 / ((1 + np.sin(np.radians(70))) / 2)) ** 2),
        ("EPSG:4326", Affine(1e-5, 0, 179.9995, 0, -1e-5, 60.0005), 55.8 * 111.41),
    ],
)
def test_P37_areas_are_square_metres_on_the_ground(probability: Save, crs: str, transform: Affine, expected: float):
    frame = polygonize(probability(np.ones((1, 100, 100)), transform, crs=crs))
    assert frame["area_m2"].sum() == pytest.approx(expected, rel=0.01)


def test_a_raster_without_crs_gives_pixels_and_no_area(probability: Save):
    frame = polygonize(probability(np.ones((1, 30, 40)), Affine.identity(), crs=None))
    assert frame.crs is None and np.isnan(frame["area_m2"][0]) and frame.total_bounds.tolist() == [0, 0, 40, 30]


def test_a_region_limits_what_is_outlined(probability: Save):
    frame = polygonize(probability(np.ones((1, 80, 80))), region=Window(10, 20, 30, 40))
    assert frame["area_m2"].sum() == pytest.approx(30 * 40 / 4, rel=2e-3)


@pytest.mark.parametrize("threshold", [0, 1.2, -1])
def test_a_threshold_that_is_no_probability_is_refused(probability: Save, threshold: float):
    with pytest.raises(ShapeMismatch, match="threshold"):
        polygonize(probability(np.ones((1, 8, 8))), threshold=threshold)


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".parquet"])
@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_saved_polygons_come_back(tmp_path: Path, probability: Save, suffix: str, fill: float):
    frame = polygonize(probability(np.full((1, 30, 30), fill)))
    path = save_polygons(frame, tmp_path / f"out/roofs{suffix}")
    again = gpd.read_parquet(path) if suffix == ".parquet" else gpd.read_file(path)
    assert len(again) == len(frame)
    assert again.crs == ("EPSG:4326" if suffix == ".geojson" else frame.crs)
    if fill:
        assert again["class"].tolist() == ["band 1"] and again["area_m2"][0] == pytest.approx(frame["area_m2"][0])
    assert list(path.parent.iterdir()) == [path]


def test_a_geopackage_carries_the_colours(tmp_path: Path, probability: Save):
    frame = polygonize(probability(np.ones((1, 30, 30))))
    path = save_polygons(frame, tmp_path / "roofs.gpkg", colours={"band 1": "#e6550d"})
    style = pyogrio.read_dataframe(path, layer="layer_styles")
    assert style["f_table_name"][0] == "roofs" and "230,85,13" in style["styleQML"][0]


def test_P38_a_file_that_cannot_be_written_leaves_what_was_there(tmp_path: Path, probability: Save):
    frame = polygonize(probability(np.ones((1, 30, 30))))
    with pytest.raises(PathRefused, match=r"\.gpkg, \.geojson, \.parquet"):
        save_polygons(frame, tmp_path / "roofs.shp")
    path = save_polygons(frame, tmp_path / "roofs.gpkg")
    before = path.read_bytes()
    with pytest.raises(FileExists):
        save_polygons(frame, path)
    two = gpd.GeoDataFrame(pd.concat([frame, frame])).assign(bad=[1, "a"])
    with pytest.raises((TypeError, ValueError)):
        save_polygons(two, tmp_path / "roofs.parquet")
    assert path.read_bytes() == before and not (tmp_path / "roofs.parquet").exists()
