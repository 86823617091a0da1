"""Splits by blocks: no pixel on two sides, nothing within the buffer, classes on all sides where that is possible."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.windows import Window

from workbench.errors import LabelInvalid, ShapeMismatch
from workbench.imagery.rasters import Band, Raster
from workbench.labels.ground import ground_bounds
from workbench.labels.splits import split_blocks


def grid(rows: int, cols: int, size: float = 100.0, stride: float | None = None) -> NDArray[np.float64]:
    row, col = np.mgrid[:rows, :cols].reshape(2, -1) * (stride or size)
    return np.column_stack([col, row, col + size, row + size]).astype(float)


def gap(one: NDArray[np.float64], two: NDArray[np.float64]) -> float:
    apart = np.maximum(one[:2] - two[2:], two[:2] - one[2:])
    return float(np.hypot(*np.maximum(apart, 0)))


def overlap(one: NDArray[np.float64], two: NDArray[np.float64]) -> bool:
    return bool((np.minimum(one[2:], two[2:]) - np.maximum(one[:2], two[:2]) > 0.01).all())


@settings(max_examples=60, deadline=None)
@given(
    places=st.lists(st.tuples(st.integers(0, 900), st.integers(0, 900), st.integers(0, 1)), min_size=1, max_size=40),
    size=st.sampled_from([20.0, 64.0, 150.0]),
    block_m=st.sampled_from([50.0, 128.0, 400.0]),
    buffer_m=st.sampled_from([0.0, 10.0, 77.7, 200.0]),
    test=st.sampled_from([0.0, 0.15, 0.4]),
    seed=st.integers(0, 3),
)
def test_P33_chips_of_two_sides_are_never_within_the_buffer(
    places: list[tuple[int, int, int]], size: float, block_m: float, buffer_m: float, test: float, seed: int
) -> None:
    boxes = np.array([(x, y, x + size, y + size) for x, y, _ in places], float)
    worlds = np.array([world for _, _, world in places])
    split = split_blocks(boxes, block_m=block_m, buffer_m=buffer_m, test=test, seed=seed, worlds=worlds)
    assert set(split) <= {"train", "validation", "test", "buffer"}
    near: dict[str, set[int]] = {"validation": set(), "test": set()}
    for held in np.flatnonzero((split == "validation") | (split == "test")):
        for other in np.flatnonzero((split != split[held]) & (worlds == worlds[held])):
            if gap(boxes[held], boxes[other]) < buffer_m or overlap(boxes[held], boxes[other]):
                near[split[held]].add(int(other))
    assert near["validation"] | near["test"] == set(np.flatnonzero(split == "buffer"))
    cells = [(world, *np.floor((box[:2] + size / 2) / block_m)) for world, box in zip(worlds, boxes, strict=True)]
    blocks = {
        side: {cell for cell, found in zip(cells, split, strict=True) if found == side}
        for side in ("train", "validation", "test")
    }
    assert all(blocks[one].isdisjoint(blocks[two]) for one, two in combinations(blocks, 2))
    assert bool(blocks["validation"]) == (len(set(cells)) > 1)
    assert not blocks["test"] or (test and blocks["train"])


def test_the_share_is_met_and_few_chips_are_lost() -> None:
    split = split_blocks(grid(20, 20), block_m=200, buffer_m=50)
    counts = {side: int((split == side).sum()) for side in ("train", "validation", "buffer")}
    assert 60 <= counts["validation"] <= 100 and counts["train"] >= 270, counts


def test_three_shares_are_met_and_few_chips_are_lost() -> None:
    split = split_blocks(grid(20, 20), block_m=200, buffer_m=50, test=0.15)
    counts = {side: int((split == side).sum()) for side in ("train", "validation", "test", "buffer")}
    assert 60 <= counts["validation"] <= 100 and 45 <= counts["test"] <= 75 and counts["train"] >= 200, counts


def test_a_test_part_needs_three_blocks_and_never_costs_the_others() -> None:
    for boxes, buffer_m in ((grid(1, 2), 0), (grid(1, 3), 150)):
        split = split_blocks(boxes, block_m=100, buffer_m=buffer_m, test=0.3)
        assert "test" not in split and "validation" in split
    assert set(split_blocks(grid(1, 3), block_m=100, buffer_m=0, test=0.3)) == {"train", "validation", "test"}
    assert set(split_blocks(grid(3, 3), block_m=100, buffer_m=0, validation=0, test=0.3)) == {"train", "test"}


def test_the_same_seed_gives_the_same_split() -> None:
    one, two, other = (split_blocks(grid(12, 12), block_m=200, buffer_m=50, seed=seed) for seed in (3, 3, 4))
    assert (one == two).all() and (one != other).any()


def test_a_rare_class_is_on_both_sides() -> None:
    boxes = grid(16, 16)
    presence = np.zeros((256, 2), bool)
    presence[:, 0] = True
    presence[[0, 255], 1] = True
    for seed in range(5):
        split = split_blocks(boxes, block_m=200, buffer_m=50, seed=seed, presence=presence)
        assert {split[0], split[255]} == {"train", "validation"}
    presence[15, 1] = True
    split = split_blocks(boxes, block_m=200, buffer_m=50, test=0.15, presence=presence)
    assert set(split[[0, 15, 255]]) == {"train", "validation", "test"}


def test_chips_that_only_touch_may_differ_when_no_buffer_is_asked_for() -> None:
    split = split_blocks(grid(4, 4), block_m=200, buffer_m=0)
    assert "buffer" not in split and {"train", "validation"} == set(split)


def test_one_block_is_all_training() -> None:
    assert set(split_blocks(grid(2, 2), block_m=1000, buffer_m=10)) == {"train"}
    assert split_blocks(np.empty((0, 4)), block_m=10, buffer_m=1).shape == (0,)


@pytest.mark.parametrize(
    "wrong",
    [{"block_m": 0}, {"buffer_m": -1}, {"validation": 1.0}, {"test": 0.8}, {"test": -0.1}, {"block_m": float("nan")}],
)
def test_sizes_that_make_no_split_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(LabelInvalid):
        split_blocks(grid(2, 2), **({"block_m": 10.0, "buffer_m": 1.0} | wrong))


def test_a_side_gets_its_share_of_each_class_and_not_only_of_the_chips() -> None:
    """A harbour: four chips of a hundred have nine tenths of all boats."""
    boats = np.ones(100)
    boats[[0, 1, 10, 11]] = 225
    for seed in range(5):
        split = split_blocks(grid(10, 10), block_m=10, buffer_m=0, seed=seed, presence=boats[:, None])
        assert 0.1 < boats[split == "validation"].sum() / boats.sum() < 0.35


def test_presence_of_another_length_is_refused() -> None:
    with pytest.raises(ShapeMismatch):
        split_blocks(grid(2, 2), block_m=10, buffer_m=1, presence=np.ones((3, 1)))


def raster(crs: str | None, x: float, y: float, pixel: float, name: str = "r", size: int = 1000) -> Raster:
    placed = Affine(pixel, 0, x, 0, -pixel, y)
    return Raster(name, (Band(None, 1, "1"),), size, size, "uint8", placed, crs, None, f"{name}{crs}{x}")  # type: ignore[arg-type]


def test_the_same_ground_in_two_zones_is_the_same_place() -> None:
    """A raster in UTM 32 and one in UTM 33 over the same field, at 12° east."""
    to = [pyproj.Transformer.from_crs("EPSG:4326", f"EPSG:{code}", always_xy=True) for code in (32632, 32633)]
    corners = [transform.transform(12.0, 55.7) for transform in to]
    rasters = [raster(f"EPSG:{code}", *corner, 0.5) for code, corner in zip((32632, 32633), corners, strict=True)]
    bounds, worlds = ground_bounds(rasters, [Window(0, 0, 100, 100)] * 2)
    assert worlds[0] == worlds[1]
    assert gap(bounds[0], bounds[1]) == 0 and np.abs(bounds[0] - bounds[1]).max() < 5
    assert 50 <= bounds[0, 2] - bounds[0, 0] < 54


@settings(max_examples=25, deadline=None)
@given(
    systems=st.lists(st.sampled_from(["EPSG:32632", "EPSG:32633", "EPSG:3857", "EPSG:4326"]), min_size=2, max_size=3),
    offsets=st.lists(st.tuples(st.integers(-300, 300), st.integers(-300, 300)), min_size=3, max_size=3),
    buffer_m=st.sampled_from([0.0, 20.0, 45.0]),
    seed=st.integers(0, 9),
)
def test_P33_holds_across_coordinate_systems(
    systems: list[str], offsets: list[tuple[int, int]], buffer_m: float, seed: int
) -> None:
    """Overlapping rasters of several systems at 12 degrees east; distances are judged in LAEA Europe, where none of them is."""
    rasters = []
    for number, (crs, (east, north)) in enumerate(zip(systems, offsets, strict=False)):
        x, y = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(12.0, 55.7)
        unit = {"EPSG:3857": 1.77, "EPSG:4326": 1.2e-5}.get(crs, 1.0)
        rasters.append(raster(crs, x + east * unit, y + north * unit, unit, f"r{number}", 300))
    chips = [
        (each, Window(col, row, 60, 60)) for each in rasters for col in range(0, 300, 60) for row in range(0, 300, 60)
    ]
    bounds, worlds = ground_bounds([each for each, _ in chips], [window for _, window in chips], buffer_m)
    split = split_blocks(bounds, block_m=120, buffer_m=buffer_m, test=0.15, seed=seed, worlds=worlds)
    outlines = np.array([each.footprint(window, "EPSG:3035") for each, window in chips], object)
    for one, two in combinations(("train", "validation", "test"), 2):
        first, second = outlines[split == one][:, None], outlines[split == two][None]
        assert (
            buffer_m == 0
            or not first.size
            or not second.size
            or shapely.distance(first, second).min() > 0.98 * buffer_m
        )
        assert shapely.area(shapely.intersection(first, second)).sum() < 0.01 * 60 * 60


def test_web_mercator_is_measured_on_the_ground() -> None:
    x, y = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:3857", always_xy=True).transform(10.0, 60.0)
    bounds, _ = ground_bounds([raster("EPSG:3857", x, y, 1.0)], [Window(0, 0, 200, 200)])
    assert bounds[0, 2] - bounds[0, 0] == pytest.approx(100, rel=0.01)


def test_both_sides_of_the_date_line_are_neighbours() -> None:
    west, east = raster("EPSG:32660", 833_000, 0, 1.0, "a"), raster("EPSG:32601", 166_500, 0, 1.0, "b")
    bounds, worlds = ground_bounds([west, east], [Window(0, 0, 1000, 1000)] * 2, reach_m=2000)
    assert worlds[0] == worlds[1] and gap(bounds[0], bounds[1]) < 1000


def test_far_rasters_and_rasters_without_crs_are_worlds_of_their_own() -> None:
    rasters = [
        raster("EPSG:32632", 500_000, 6_200_000, 0.5, "dk"),
        raster("EPSG:32645", 330_000, 3_050_000, 0.5, "np"),
        raster(None, 0, 0, 1.0, "x"),
        raster(None, 0, 0, 1.0, "y"),
    ]
    bounds, worlds = ground_bounds(rasters, [Window(10, 20, 100, 100)] * 4)
    assert len(set(worlds)) == 4
    # A chip of a raster without CRS counts as large as one of the others.
    assert bounds[2, 2] - bounds[2, 0] == pytest.approx(50, rel=0.01)


def test_rasters_are_linked_through_those_between_them() -> None:
    row = [raster("EPSG:32632", 500_000 + 400 * number, 6_200_000, 0.5, f"r{number}") for number in range(6)]
    _, worlds = ground_bounds(row, [Window(0, 0, 10, 10)] * 6)
    assert len(set(worlds)) == 1
