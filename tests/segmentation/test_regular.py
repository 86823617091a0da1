"""Regular outlines: right angles, few vertices, true to the mask, and neighbours that share walls and never overlap."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize
from scipy.ndimage import gaussian_filter
from shapely import Polygon, affinity, box
from small_chips import GRID, write_raster

from workbench.errors import ShapeMismatch
from workbench.segmentation.polygons import polygonize, save_polygons
from workbench.segmentation.regular import midline
from workbench.segmentation.right_angles import main_direction

Save = Callable[..., Path]
SIZE = 160
SHAPES = {
    "rectangle": [(0, 0), (60, 0), (60, 40), (0, 40)],
    "L": [(0, 0), (70, 0), (70, 30), (30, 30), (30, 60), (0, 60)],
    "T": [(0, 0), (70, 0), (70, 25), (50, 25), (50, 60), (20, 60), (20, 25), (0, 25)],
    "bevelled": [(0, 0), (60, 0), (60, 35), (40, 55), (0, 55)],
}


@pytest.fixture
def probability(tmp_path: Path) -> Save:
    """A function that writes probabilities (bands, rows, cols) the way `predict` does."""

    def save(values: NDArray[np.floating], transform: Affine = GRID, **profile: object) -> Path:
        return write_raster(tmp_path / "probability.tif", np.rint(values * 254).astype(np.uint8), transform, **profile)

    return save


def blurred(shape: Polygon, noise: float = 0.0, seed: int = 0) -> NDArray[np.float64]:
    """What a network makes of a shape (in pixels): round corners and wavy walls."""
    wavy = gaussian_filter(np.random.default_rng(seed).normal(size=(SIZE, SIZE)), 2.5) / 0.11
    return np.clip(gaussian_filter(rasterize([shape], (SIZE, SIZE)).astype(float), 2) + noise * wavy, 0, 1)


def placed(name: str, degrees: float) -> Polygon:
    turned = affinity.rotate(Polygon(SHAPES[name]), degrees, origin="centroid")
    return affinity.translate(turned, SIZE / 2 - turned.centroid.x, SIZE / 2 - turned.centroid.y)


def in_pixels(frame: gpd.GeoDataFrame) -> list[Polygon]:
    t = ~GRID
    return [affinity.affine_transform(shape, (t.a, t.b, t.d, t.e, t.c, t.f)) for shape in frame.geometry]


def iou(one: Polygon, other: Polygon) -> float:
    return one.intersection(other).area / one.union(other).area


def corner_angles(shape: Polygon) -> NDArray[np.float64]:
    edges = np.diff(np.asarray(shape.exterior.coords), axis=0)
    angles = np.degrees(np.arctan2(edges[:, 1], edges[:, 0]))
    return (angles - np.roll(angles, 1)) % 360


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(("degrees", "noise"), [(0, 0.0), (17, 0.0), (45, 0.05), (71, 0.05)])
def test_buildings_get_their_own_corners_back(probability: Save, name: str, degrees: float, noise: float) -> None:
    truth = placed(name, degrees)
    path = probability(blurred(truth, noise)[None])
    frame, plain = polygonize(path, regular=True, min_area_m2=50), polygonize(path, min_area_m2=50)
    (found,), (rough,) = in_pixels(frame), in_pixels(plain)
    assert len(found.exterior.coords) - 1 == len(SHAPES[name])
    assert np.allclose((corner_angles(found) + 20) % 45, 20, atol=1e-6)
    assert iou(found, truth) > max(0.97, iou(rough, truth) - 0.002)
    assert len(rough.exterior.coords) - 1 >= 2 * len(SHAPES[name])
    assert abs((np.degrees(main_direction(midline(found))) - degrees + 45) % 90 - 45) < 2


def test_a_courtyard_keeps_the_direction_of_its_building(probability: Save) -> None:
    truth = affinity.rotate(box(30, 40, 130, 120).difference(box(60, 65, 100, 95)), 30)
    (found,) = in_pixels(polygonize(probability(blurred(truth)[None]), regular=True))
    assert len(found.interiors) == 1 and shapely.get_num_coordinates(found) == 10
    assert iou(found, truth) > 0.97


@pytest.mark.parametrize("hole", [box(60, 70, 85, 71), box(60, 70, 61, 95)])
def test_a_slit_of_one_pixel_which_is_no_more_than_two_walls_stays_as_it_is(probability: Save, hole: Polygon) -> None:
    mask = rasterize([box(30, 40, 130, 120)], (SIZE, SIZE)) & ~rasterize([hole], (SIZE, SIZE)).astype(bool)
    (found,) = in_pixels(polygonize(probability(mask[None].astype(float)), regular=True))
    assert found.is_valid and len(found.interiors) == 1
    assert iou(Polygon(found.interiors[0]), hole) > 0.8


def test_what_no_right_angles_fit_keeps_its_plain_outline(probability: Save) -> None:
    star = [
        (80 + r * np.cos(a), 80 + r * np.sin(a))
        for a, r in zip(np.linspace(0, 2 * np.pi, 21)[:-1], [70, 22] * 10, strict=True)
    ]
    path = probability(rasterize([Polygon(star)], (SIZE, SIZE))[None].astype(float))
    plain = polygonize(path)
    assert polygonize(path, regular=True).geometry.equals(plain.geometry)


@pytest.mark.parametrize("seed", range(3))
def test_any_mask_gives_valid_outlines_that_do_not_overlap(probability: Save, seed: int) -> None:
    random = np.random.default_rng(seed)
    fields = np.stack([gaussian_filter(random.normal(size=(SIZE, SIZE)), 5) for _ in range(2)])
    path = probability(0.5 + 0.4 * fields / np.abs(fields).max())
    frame = polygonize(path, regular=True)
    plain = polygonize(path)
    assert frame.is_valid.all() and not frame.is_empty.any()
    assert frame["probability"].equals(plain["probability"]) and frame["class"].equals(plain["class"])
    for one, other in combinations(range(len(frame)), 2):
        now, before = (
            shapes.iloc[one].intersection(shapes.iloc[other]).area for shapes in (frame.geometry, plain.geometry)
        )
        assert now <= before + 1e-6


def test_a_wall_that_two_classes_share_stays_shared(probability: Save) -> None:
    left, right = (
        affinity.rotate(shape, 25, origin=(80, 80)) for shape in (box(30, 50, 80, 110), box(80, 60, 125, 110))
    )
    both = np.stack([blurred(left), blurred(right)])
    one, other = in_pixels(polygonize(probability(both), regular=True))
    assert one.intersection(other).area < 1e-6
    assert one.intersection(other.buffer(1e-6)).length > 45
    assert len(one.exterior.coords) - 1 <= 5 and len(other.exterior.coords) - 1 <= 5
    assert iou(one, left) > 0.95 and iou(other, right) > 0.95


def test_only_the_classes_named_become_regular(probability: Save) -> None:
    values = np.zeros((2, SIZE, SIZE))
    values[0] = blurred(affinity.rotate(box(20, 30, 60, 90), 20))
    values[1] = blurred(affinity.rotate(box(100, 30, 140, 90), 20))
    path = probability(values)
    frame = polygonize(path, regular=["band 2"])
    assert shapely.get_num_coordinates(frame.geometry[0]) > 10 and shapely.get_num_coordinates(frame.geometry[1]) == 5
    with pytest.raises(ShapeMismatch, match=r"regular='roof'.*band 1, band 2"):
        polygonize(path, regular=["roof"])


def test_right_angles_are_right_on_the_ground_where_pixels_are_not_square(probability: Save) -> None:
    place = Affine(1e-5, 0, 25, 0, -1e-5, 60)  # at 60 degrees north a degree of longitude is half as long
    truth = affinity.rotate(box(40, 60, 100, 100), 30)
    stretched = affinity.scale(truth, 2, 1, origin=(80, 80))
    frame = polygonize(probability(blurred(stretched)[None], place, crs="EPSG:4326"), regular=True)
    (found,) = frame.to_crs(frame.estimate_utm_crs()).geometry
    assert np.allclose(np.minimum(corner_angles(found), 360 - corner_angles(found)), 90, atol=1)


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".parquet"])
def test_regular_outlines_are_saved_with_class_probability_and_area(
    tmp_path: Path, probability: Save, suffix: str
) -> None:
    truth = placed("L", 30)
    frame = polygonize(probability(blurred(truth)[None]), regular=True)
    assert frame["area_m2"][0] == pytest.approx(truth.area / 4, rel=0.02) and 0.7 < frame["probability"][0] <= 1
    path = save_polygons(frame, tmp_path / f"roofs{suffix}", colours={"band 1": "#e6550d"})
    again = gpd.read_parquet(path) if suffix == ".parquet" else gpd.read_file(path, layer="roofs")
    columns = ["class", "probability", "area_m2"]
    assert again[columns].values.tolist() == [pytest.approx(row) for row in frame[columns].values.tolist()]
    assert shapely.get_num_coordinates(again.geometry[0]) == 7
    if suffix == ".gpkg":
        assert pyogrio.read_dataframe(path, layer="layer_styles")["f_table_name"][0] == "roofs"


def test_no_objects_are_no_outlines(probability: Save) -> None:
    assert not len(polygonize(probability(np.zeros((1, 40, 40))), regular=True))
