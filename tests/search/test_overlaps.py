"""One object gives one hit: a hit that shows the ground of a better one is left out, at any tile size, in any raster."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import box
from small_archives import MeanColour
from small_rasters import HALF_METRE, patchwork, write_raster

from workbench.descriptors.archive import Archive
from workbench.descriptors.build import build_archive
from workbench.errors import QueryInvalid
from workbench.jobs import Progress
from workbench.search.index import Index
from workbench.search.overlaps import apart, windows_overlap
from workbench.search.where import Where


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """The same ground in two rasters, of half a metre and of degrees, one elsewhere, and one of no place."""
    folder: Path = tmp_path_factory.mktemp("overlaps")
    write_raster(folder / "i" / "a.tif", patchwork(192, 192, seed=1))
    write_raster(folder / "i" / "b.tif", patchwork(192, 192), transform=HALF_METRE @ Affine.translation(64, 32))
    write_raster(folder / "i" / "c.tif", patchwork(128, 128, seed=2), transform=HALF_METRE @ Affine.translation(999, 0))
    write_raster(folder / "i" / "d.tif", patchwork(128, 128, seed=3), crs=None, transform=Affine.identity())
    degrees = Affine(8e-6, 0, 10.1896, 0, -4.5e-6, 56.1366)
    write_raster(folder / "i" / "e.tif", patchwork(192, 192, seed=4), crs="EPSG:4326", transform=degrees)
    return build_archive(
        folder / "i", folder / "a", tile=(32, 64), stride=16, encoder=MeanColour(), progress=Progress()
    )


def shared(archive: Archive, first: int, second: int) -> float:
    """Share of the smaller of two tiles that they have in common on the ground, or in the pixels of one raster."""
    a, b = archive.tile(first), archive.tile(second)
    raster = archive.imagery[b.raster]
    if a.raster != b.raster and None in (raster.crs, archive.imagery[a.raster].crs):
        return 0.0
    here = archive.footprint(first, raster.crs)
    there = archive.footprint(second)
    return float(here.intersection(there).area / min(here.area, there.area))


def at(archive: Archive, raster: int, row: int, col: int, size: int) -> int:
    return [row.item() for row in archive.tiles].index((raster, row, col, size))


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=25), st.sampled_from((0.1, 0.25, 0.5, 1.0)))
@settings(deadline=None, max_examples=40)
def test_those_taken_share_little_and_each_left_out_shares_ground_with_a_better_one(
    twice: Archive, drawn: list[int], share: float
) -> None:
    numbers = list(dict.fromkeys(number % len(twice) for number in drawn))
    taken = apart(twice, numbers, share).tolist()
    assert taken[0] == 0
    for place, number in enumerate(numbers):
        most = max((shared(twice, numbers[other], number) for other in taken if other < place), default=0.0)
        assert most < share + 1e-4 if place in taken else most > share - 1e-4


def test_four_tiles_that_meet_at_an_object_give_one_hit_and_a_small_one_inside_a_large_one_none(twice: Archive) -> None:
    four = [at(twice, 0, row, col, 32) for row in (32, 48) for col in (32, 48)]
    assert apart(twice, four).tolist() == [0]
    large, small = at(twice, 0, 0, 0, 64), at(twice, 0, 16, 16, 32)
    assert apart(twice, [large, small, at(twice, 0, 64, 64, 32)]).tolist() == [0, 2]
    assert apart(twice, [small, large]).tolist() == [0]
    assert apart(twice, []).tolist() == []


def test_the_same_ground_in_another_raster_is_the_same_object(twice: Archive) -> None:
    here, again = at(twice, 0, 64, 96, 32), at(twice, 1, 32, 32, 32)
    elsewhere, nowhere = at(twice, 2, 32, 32, 32), at(twice, 3, 64, 96, 32)
    assert apart(twice, [here, again, elsewhere, nowhere]).tolist() == [0, 2, 3]


def test_a_share_that_says_nothing_is_refused(twice: Archive) -> None:
    for share in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(QueryInvalid, match="says nothing"):
            apart(twice, [0], share)


def test_windows_overlap_when_they_have_pixels_in_common(twice: Archive) -> None:
    chance = np.random.default_rng(0)
    first, second = (twice.tiles[chance.integers(0, len(twice), 400)] for _ in range(2))
    for a, b, found in zip(first, second, windows_overlap(first, second), strict=True):
        rows = range(max(a["row"], b["row"]), min(a["row"] + a["size"], b["row"] + b["size"]))
        cols = range(max(a["col"], b["col"]), min(a["col"] + a["size"], b["col"] + b["size"]))
        assert found == (a["raster"] == b["raster"] and len(rows) > 0 and len(cols) > 0)


def test_a_search_for_one_hit_per_object_gives_as_many_as_there_are(twice: Archive) -> None:
    index = Index(twice)
    query = twice.vectors[at(twice, 0, 16, 16, 32)]
    whole = index.search(query, len(twice))
    best = [whole[place].number for place in apart(twice, whole.numbers)]
    for k in (0, 1, 5, len(best), len(twice)):
        hits = index.search(query, k, one_per_object=True)
        assert hits.numbers.tolist() == best[:k] and [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    scores = {hit.number: hit.score for hit in whole}
    assert all(hit.score == pytest.approx(scores[hit.number], abs=1e-6) for hit in index.one_per_object(whole))


def test_a_filter_and_one_hit_per_object_go_together(twice: Archive) -> None:
    index, query = Index(twice), twice.vectors[0]
    where = Where(sizes=32, rasters=["a.tif", "b.tif"]) & Where(box(0, 0, 100, 100), None)
    allowed = index.search(query, len(twice), where)
    assert {hit.tile.size for hit in allowed} == {32} and {hit.tile.raster for hit in allowed} == {0, 1}
    hits = index.search(query, len(twice), where, one_per_object=True)
    assert hits.numbers.tolist() == index.one_per_object(allowed).numbers.tolist() and 0 < len(hits) < len(allowed)
