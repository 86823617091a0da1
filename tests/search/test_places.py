"""From outlines to tiles and back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from shapely.geometry import Polygon, box

from workbench.descriptors.archive import Archive
from workbench.descriptors.tiles import GridTiles
from workbench.search.places import Places, tile_outline


@pytest.fixture(params=["rows", "grid"])
def tiled(archive: Archive, request: pytest.FixtureRequest) -> Archive:
    """The archive with its tiles as rows, and computed from the grid as in a large one."""
    return archive if request.param == "rows" else replace(archive, tiles=GridTiles(archive.manifest))


def test_every_tile_is_found_by_its_own_outline(tiled: Archive) -> None:
    archive, places = tiled, Places(tiled)
    for number in range(len(archive)):
        fingerprint, outline, crs = tile_outline(archive, number)
        raster, pixels = places.pixels(fingerprint, outline, crs) or (None, None)
        assert raster == archive.tile(number).raster and pixels is not None
        assert places.tile_of(raster, pixels) == number
        assert np.array_equal(places.descriptor(raster, pixels), archive.vectors[number])


def test_an_outline_that_is_no_tile_is_described_afresh_and_once(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = Places(archive)
    shape = box(10, 20, 90, 70)
    assert places.tile_of(0, shape) is None
    assert places.tile_of(0, box(-8, 0, 56, 64)) is None
    assert places.tile_of(0, Polygon([(0, 0), (64, 0), (64, 64)])) is None  # a tile's bounds, another shape
    assert places.tile_of(0, box(0.3, 0, 64.3, 64)) is None
    found = places.descriptor(0, shape)
    assert found @ archive.describe(0, shape) == pytest.approx(1, abs=1e-5)
    monkeypatch.setattr(Archive, "describe", None)
    assert places.descriptor(0, shape) is found


def test_a_place_in_another_archives_raster_is_nowhere(archive: Archive) -> None:
    assert Places(archive).pixels("unknown", box(0, 0, 1, 1), None) is None


@pytest.mark.parametrize("shape", [box(32, 32, 96, 96), box(40, 30, 100, 100), box(0, 0, 128, 128), box(5, 5, 25, 25)])
def test_tiles_count_as_labelled_at_half_overlap(tiled: Archive, shape: Polygon) -> None:
    archive, found = tiled, set(Places(tiled).overlapping(0, shape).tolist())
    for number in range(len(archive)):
        tile = archive.tile(number)
        outline = box(tile.col, tile.row, tile.col + tile.size, tile.row + tile.size)
        iou = outline.intersection(shape).area / outline.union(shape).area
        assert (number in found) == (tile.raster == 0 and iou >= 0.5), (tile, iou)


def test_an_outline_far_away_overlaps_nothing(archive: Archive) -> None:
    assert len(Places(archive).overlapping(0, box(1000, 1000, 1064, 1064))) == 0
