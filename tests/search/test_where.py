"""A filter allows exactly the tiles that looking at each one allows, across rasters of three CRSs and one of none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from shapely.geometry import LineString, MultiPoint, Point, Polygon, box
from shapely.geometry.base import BaseGeometry
from small_archives import MeanColour
from small_rasters import patchwork, write_raster

from workbench.descriptors.archive import Archive
from workbench.descriptors.build import build_archive
from workbench.descriptors.embeddings.importing import import_embeddings
from workbench.descriptors.tiles import GridTiles
from workbench.errors import QueryInvalid
from workbench.imagery.rasters import transformer
from workbench.jobs import Progress
from workbench.search import areas
from workbench.search.areas import tiles_in_area
from workbench.search.index import Index
from workbench.search.where import Where

CRSS = ("EPSG:4326", "EPSG:32632", "EPSG:3857", "EPSG:3035", "EPSG:3413", None)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """A metre grid of 2019, an unplaced raster, a turned coarse one in Web Mercator of a day in 2021, degrees of 2020."""
    folder: Path = tmp_path_factory.mktemp("where")
    turned = Affine(1800, 400, 900_000, 400, -1800, 7_900_000)  # so coarse that straight edges of others bend in it
    degrees = Affine(1e-5, 0, 10.19, 0, -6e-6, 56.135)
    write_raster(folder / "i" / "metres_2019.tif", patchwork(256, 320, seed=1))
    write_raster(folder / "i" / "nowhere.tif", patchwork(128, 192, seed=3), crs=None, transform=Affine.identity())
    write_raster(folder / "i" / "turned_20210603.tif", patchwork(256, 256), crs="EPSG:3857", transform=turned)
    write_raster(folder / "i" / "x_2020.tif", patchwork(192, 256, seed=2), crs="EPSG:4326", transform=degrees)
    return build_archive(
        folder / "i", folder / "a", tile=(32, 64, 128), stride=16, encoder=MeanColour(), progress=Progress()
    )


_CENTRES: dict[tuple[Path, str | None], list[Point | None]] = {}


def fine_cells(patch: pytest.MonkeyPatch, few: int) -> None:
    """Let cells decide most, few as the tiles are here."""
    patch.setattr(areas, "_FEW", few)
    patch.setattr(areas, "_TILES_A_CELL", 0.05)


def looked_at(archive: Archive, area: BaseGeometry, crs: str | None) -> list[int]:
    """Tiles inside an area by bringing the centre of each, alone, to the area's CRS."""
    key = archive.folder, crs
    if key not in _CENTRES:
        _CENTRES[key] = [centre_of(archive, number, crs) for number in range(len(archive))]
    return [number for number, centre in enumerate(_CENTRES[key]) if centre is not None and area.contains(centre)]


def centre_of(archive: Archive, number: int, crs: str | None) -> Point | None:
    tile = archive.tile(number)
    raster = archive.imagery[tile.raster]
    centre = Point(tile.col + tile.size / 2, tile.row + tile.size / 2)
    if crs is None:
        return centre
    return None if raster.crs is None else raster.from_pixels(centre, crs)


def on_grid(archive: Archive) -> Archive:
    """The same archive with its tiles computed, as those of a large one are."""
    return replace(archive, tiles=GridTiles(archive.manifest))


@st.composite
def outlines(draw: st.DrawFn) -> list[tuple[int, float, float]]:
    """Corners as (raster, share of its columns, share of its rows), some of them outside."""
    share = st.floats(-0.6, 1.6, allow_nan=False)
    return draw(st.lists(st.tuples(st.sampled_from((0, 0, 0, 2, 3)), share, share), min_size=3, max_size=7))


def polygon(archive: Archive, corners: list[tuple[int, float, float]], crs: str | None) -> BaseGeometry:
    points = []
    for position, right, down in corners:
        raster = archive.imagery[position]
        point = Point(right * raster.width, down * raster.height)
        points.append(point if crs is None else raster.from_pixels(point, crs))
    return MultiPoint(points).convex_hull.buffer(0)


@given(outlines(), st.sampled_from(CRSS), st.sampled_from((0, 4096)), st.booleans())
@settings(deadline=None, max_examples=80)
def test_an_area_holds_the_tiles_whose_centre_it_holds(
    places: Archive, corners: list[tuple[int, float, float]], crs: str | None, few: int, as_grid: bool
) -> None:
    area = polygon(places, corners, crs)
    if area.is_empty:
        return
    with pytest.MonkeyPatch.context() as patch:
        fine_cells(patch, few)
        found = tiles_in_area(on_grid(places) if as_grid else places, area, crs)
    assert found.tolist() == looked_at(places, area, crs)


def test_edges_that_are_straight_in_another_crs_are_bent_in_pixels(
    places: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    fine_cells(monkeypatch, 0)
    chance = np.random.default_rng(0)
    for crs in ("EPSG:3035", "EPSG:3413", "EPSG:4326") * 20:
        area = polygon(places, [(2, *chance.uniform(-0.6, 1.6, 2)) for _ in range(4)], crs)
        expected = looked_at(places, area, crs)
        assert tiles_in_area(places, area, crs).tolist() == expected
        assert tiles_in_area(on_grid(places), area, crs).tolist() == expected


@pytest.mark.parametrize("few", [0, 4096])
def test_an_area_far_larger_than_the_imagery_holds_all_that_has_a_place(
    places: Archive, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fine_cells(monkeypatch, few)
    placed = np.flatnonzero(places.tiles["raster"] != 1).tolist()
    assert tiles_in_area(places, box(-180, -90, 180, 90)).tolist() == placed
    assert tiles_in_area(places, box(-2e7, -2e7, 2e7, 2e7), "EPSG:3857").tolist() == placed
    assert tiles_in_area(places, box(-10, -10, 1e4, 1e4), None).tolist() == list(range(len(places)))
    hole = box(-180, -90, 180, 90).difference(box(10.2, 50, 11, 60))
    assert tiles_in_area(places, hole).tolist() == looked_at(places, hole, "EPSG:4326")


def test_an_outline_that_crosses_itself_holds_what_is_in_its_loops(places: Archive) -> None:
    bow = Polygon([(0, 0), (200, 200), (200, 0), (0, 200)])
    loops = Polygon([(0, 0), (100, 100), (0, 200)]).union(Polygon([(200, 0), (100, 100), (200, 200)]))
    assert tiles_in_area(places, bow, None).tolist() == looked_at(places, loops, None)


def test_an_area_across_the_antimeridian_holds_its_tiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fine_cells(monkeypatch, 0)
    fiji = Affine(10, 0, 810_000, 0, -10, 8_000_000)
    write_raster(tmp_path / "i" / "fiji.tif", patchwork(256, 1600), crs="EPSG:32760", transform=fiji)
    archive = build_archive(tmp_path / "i", tmp_path / "a", tile=64, encoder=MeanColour(), progress=Progress())
    both = box(179.96, -20, 180, -10).union(box(-180, -20, -179.96, -10))
    found = tiles_in_area(archive, both)
    assert found.tolist() == looked_at(archive, both, "EPSG:4326") and 0 < len(found) < len(archive)


@pytest.mark.parametrize("few", [0, 4096])
def test_imported_tiles_have_their_centre_where_their_outline_has_it(
    tmp_path: Path, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fine_cells(monkeypatch, few)
    chance = np.random.default_rng(0)
    corners = chance.uniform(0, 20_000, (150, 2))
    shapes = [
        box(x, y, x + width, y + height)
        for (x, y), width, height in zip(corners + 500_000, *chance.uniform(200, 400, (2, 150)), strict=True)
    ]
    numbers = chance.normal(size=(150, 8)).astype(np.float32)
    frame = gpd.GeoDataFrame({"embedding": list(numbers)}, geometry=shapes, crs="EPSG:32633")
    frame.to_parquet(tmp_path / "tiles.parquet")
    archive = import_embeddings(tmp_path / "tiles.parquet", tmp_path / "a", progress=Progress())
    middles = shapely.centroid(archive.footprints(np.arange(len(archive))))
    for _ in range(25):
        area = MultiPoint(chance.uniform(498_000, 522_000, (5, 2))).convex_hull
        expected = np.flatnonzero(shapely.contains(area, middles)).tolist()
        assert tiles_in_area(archive, area, "EPSG:32633").tolist() == expected
        fine = shapely.transform(
            shapely.segmentize(area, 50), transformer("EPSG:32633", "EPSG:4326").transform, interleaved=False
        )
        assert tiles_in_area(archive, fine).tolist() == expected


def test_the_centre_of_a_tile_that_is_half_data_lies_on_the_edge_of_its_raster(tmp_path: Path) -> None:
    write_raster(tmp_path / "i" / "chip.tif", patchwork(64, 128))
    archive = build_archive(tmp_path / "i", tmp_path / "a", tile=128, encoder=MeanColour(), progress=Progress())
    around = archive.imagery[0].from_pixels(box(60, 60, 70, 70), "EPSG:4326")
    assert len(archive) == 1 and tiles_in_area(archive, around).tolist() == [0]
    assert tiles_in_area(archive, box(60, 60, 70, 70), None).tolist() == [0]


def by_hand(archive: Archive, rasters: set[int], sizes: set[int], labelled: set[int]) -> NDArray[np.bool_]:
    return np.array(
        [
            tile["raster"] in rasters and tile["size"] in sizes and number not in labelled
            for number, tile in enumerate(archive.tiles)
        ]
    )


@given(st.data())
@settings(deadline=None, max_examples=40)
def test_everything_asked_for_has_to_hold(places: Archive, data: st.DataObject) -> None:
    rasters = data.draw(st.none() | st.sets(st.integers(0, 3), min_size=1))
    sizes = data.draw(st.none() | st.sets(st.sampled_from((32, 64, 128)), min_size=1))
    labelled = data.draw(st.none() | st.sets(st.integers(0, len(places) - 1)))
    in_pixels = data.draw(st.none() | st.just(box(20, 10, 170, 140)))
    named = None if rasters is None else [places.imagery[each].name if each % 2 else each for each in rasters]
    where = Where(in_pixels, None, named, None if sizes is None else sorted(sizes), unlabelled=labelled)
    expected = by_hand(places, rasters or {0, 1, 2, 3}, sizes or {32, 64, 128}, labelled or set())
    if in_pixels is not None:
        expected &= np.isin(np.arange(len(places)), looked_at(places, in_pixels, None))
    parts = Where(in_pixels, None) & Where(rasters=named) & (Where(sizes=where.sizes) & Where(unlabelled=labelled))
    for asked in (where, parts):
        found = asked.numbers(places)
        assert (range(len(places)) if found is None else found.tolist()) == (
            range(len(places)) if found is None else np.flatnonzero(expected).tolist()
        )
        assert found is not None or expected.all()


@pytest.mark.parametrize(
    ("dates", "rasters"),
    [
        ("2019", {0}),
        ("2021", {2}),
        ("2021-06-03", {2}),
        ("2019-05", {0}),
        (("2020", None), {2, 3}),
        ((None, "2019-12-31"), {0}),
        ((None, None), {0, 2, 3}),
        (("2019-12-31", "2020-01-01"), {0, 3}),
    ],
)
def test_a_raster_counts_when_it_may_be_from_the_days_asked_for(
    places: Archive, dates: str | tuple[str | None, str | None], rasters: set[int]
) -> None:
    where = Where(dates=dates)
    numbers = where.numbers(places)
    assert numbers is not None and set(places.tiles["raster"][numbers]) == rasters
    assert numbers.tolist() == np.flatnonzero(by_hand(places, rasters, {32, 64, 128}, set())).tolist()
    assert where.notes(places) == ("nowhere.tif left out for want of a date; give it with archive.set_dates.",)


def test_leaving_out_a_few_of_very_many_gives_the_same_hits(places: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    index, query = Index(places), places.vectors[3]
    out = index.search(query, 9).numbers[::2]
    filters = [Where(unlabelled=out), Where(unlabelled=[3]) & Where(unlabelled=out), Where(), Where(unlabelled=[10**9])]
    assert filters[1].without().tolist() == sorted({3, *out.tolist()})  # type: ignore[union-attr]
    assert Where(sizes=32, unlabelled=out).without() is None and (Where(sizes=32) & filters[0]).without() is None
    asked = [(where, k, once) for where in filters for k in (0, 5, len(places)) for once in (False, True)]
    plain = [index.search(query, k, where, one_per_object=once) for where, k, once in asked]
    monkeypatch.setattr("workbench.search.index._VERY_MANY", 0)
    for (where, k, once), expected in zip(asked, plain, strict=True):
        assert index.search(query, k, where, one_per_object=once) == expected


def test_no_filter_allows_all_and_says_nothing(places: Archive) -> None:
    assert Where().numbers(places) is None and Where(unlabelled=[]).numbers(places) is None
    assert Where().notes(places) == ()
    assert Where(area=box(0, 0, 90, 90)).notes(places) == ("nowhere.tif left out for want of a place on earth.",)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (Where(rasters="north.tif"), r"no raster 'north.tif' here. There are metres_2019.tif, nowhere.tif, turned"),
        (Where(rasters=[0, 4]), "no raster '4' here"),
        (Where(sizes=[32, 48]), "no tiles of 48 px here. There are tiles of 32, 64, 128 px"),
        (
            Where(dates="2018"),
            r"No raster is from 2018-01-01 to 2018-12-31: .*metres_2019.tif \(2019\), nowhere.tif \(no",
        ),
        (Where(dates="last year"), "'last year' is no date"),
        (Where(dates=("2021", "2019")), "2021 comes after 2019"),
        (Where(area=box(100, 0, 101, 1)), "touches no imagery: that covers lon .*EPSG:4326"),
        (Where(area=box(0, 0, 1, 1), rasters="nowhere.tif"), "touches no imagery"),
        (Where(area=LineString([(10, 56), (11, 57)])), "LineString holds no tiles"),
        (Where(area=Polygon()), "Polygon holds no tiles"),
        (Where(area=box(0, 0, 1, 1), crs="EPSG:999999"), "'EPSG:999999' is no coordinate system"),
        (Where(sizes=32) & Where(rasters="north.tif"), "no raster 'north.tif'"),
    ],
)
def test_what_is_not_there_is_said_in_words(places: Archive, where: Where, said: str) -> None:
    with pytest.raises(QueryInvalid, match=said):
        where.numbers(places)
