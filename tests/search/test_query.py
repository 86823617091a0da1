"""Which tile lies at a place, and what an outline or a file looks like."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shapely.geometry import LineString, Point, Polygon, box

from workbench.descriptors.archive import Archive
from workbench.descriptors.tiles import GridTiles
from workbench.errors import QueryInvalid, RasterRefused, RasterUnreadable
from workbench.search.areas import tiles_in_area
from workbench.search.query import describe_file, describe_shape, extent_text, raster_under, tile_at


@pytest.mark.parametrize("computed", [False, True])
def test_the_centre_of_a_tile_is_in_that_tile(archive: Archive, computed: bool) -> None:
    archive = replace(archive, tiles=GridTiles(archive.manifest)) if computed else archive
    for number in range(0, len(archive), 5):
        tile = archive.tile(number)
        col, row = tile.col + tile.size / 2, tile.row + tile.size / 2
        assert tile_at(archive, col, row, None, size=tile.size, raster=tile.raster) == number
        if archive.imagery[tile.raster].mappable:
            centre = archive.imagery[tile.raster].from_pixels(Point(col, row), "EPSG:4326")
            assert tile_at(archive, centre.x, centre.y, size=tile.size) == number


def test_the_nearest_centre_is_taken_among_the_tiles_that_hold_a_place(archive: Archive) -> None:
    number = tile_at(archive, 70, 40, None, raster=0, size=64)
    assert archive.tile(number).window.flatten() == (32, 0, 64, 64)


def test_a_place_outside_says_what_the_imagery_covers(archive: Archive) -> None:
    with pytest.raises(QueryInvalid, match=r"No tile at 0, 0 \(EPSG:4326\): the imagery covers lon 8\.0000 to"):
        tile_at(archive, 0, 0)
    with pytest.raises(QueryInvalid, match=r"No tile at 9999, 1 \(pixels\)"):
        tile_at(archive, 9999, 1, None, raster=0)
    with pytest.raises(QueryInvalid):
        tile_at(archive, float("nan"), float("inf"))
    assert extent_text(archive).startswith("lon 8.0000 to 1")


def test_the_raster_that_holds_most_of_a_shape_is_taken(archive: Archive) -> None:
    west = archive.imagery[2]
    position, pixels = raster_under(archive, west.from_pixels(box(200, 200, 300, 300)), "EPSG:4326")
    assert position == 2 and pixels.bounds == pytest.approx((200, 200, 256, 256), abs=1e-3)
    assert raster_under(archive, box(1, 2, 30, 40), None)[0] == 0
    bow = raster_under(archive, Polygon([(0, 0), (50, 50), (50, 0), (0, 50)]), None)[1]
    assert bow.is_valid and bow.area == pytest.approx(1250)


@pytest.mark.parametrize(
    "shape", [Point(8.001, 54.999), LineString([(8, 55), (8.001, 54.999)]), Polygon(), box(0, 0, 1, 1)]
)
def test_a_shape_that_holds_nothing_is_refused(archive: Archive, shape: object) -> None:
    with pytest.raises(QueryInvalid):
        describe_shape(archive, shape)  # type: ignore[arg-type]


def test_an_outline_equal_to_a_tile_looks_like_it(archive: Archive) -> None:
    for number in range(0, len(archive), 9):
        if archive.imagery[archive.tile(number).raster].mappable:
            found = describe_shape(archive, archive.footprint(number, "EPSG:4326"))
            assert found @ archive.vectors[number] > 0.995


def test_a_chip_in_a_file_looks_like_its_tile(archive: Archive, tmp_path: Path) -> None:
    Image.fromarray(archive.pixels(11).transpose(1, 2, 0)).save(tmp_path / "chip.png")
    assert np.argmax(archive.vectors @ describe_file(archive, tmp_path / "chip.png")) == 11
    (tmp_path / "page.png").write_text("<html>")
    with pytest.raises(RasterRefused, match=r"page\.png"):
        describe_file(archive, tmp_path / "page.png")
    with pytest.raises(RasterUnreadable):
        describe_file(archive, tmp_path / "none.png")


def test_tiles_inside_an_area_have_their_centre_there(archive: Archive) -> None:
    area = archive.imagery[2].from_pixels(box(0, 0, 100, 100), "EPSG:4326")
    found = archive.tiles[tiles_in_area(archive, area, "EPSG:4326")]
    centres = {(int(t["col"]) + int(t["size"]) // 2, int(t["row"]) + int(t["size"]) // 2) for t in found}
    assert set(found["raster"]) == {2} and centres == {(c, r) for c in (32, 64, 96) for r in (32, 64, 96)}
