"""Two dates of one place: what changed comes first, whatever the light, the shift, the resolution or the coordinate system."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from small_archives import MeanColour
from small_rasters import HALF_METRE, patchwork, write_raster

from workbench.descriptors.archive import Archive
from workbench.descriptors.build import build_archive
from workbench.errors import ArchiveMismatch, QueryInvalid
from workbench.jobs import Progress
from workbench.search.change import Changes, Like, compare_dates, search_change

CHANGED = ((64, 128), (256, 320), (640, 832))
FIRST, LATER = "place_2015-06-01.tif", "place_2020-06-01.tif"


def ground() -> NDArray[np.uint8]:
    return patchwork(1024, 1024, seed=3)


def later(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Half as bright, tinted, and with other ground in three places."""
    other = patchwork(1024, 1024, seed=11)
    changed = pixels.copy()
    for row, col in CHANGED:
        changed[:, row : row + 64, col : col + 64] = other[:, row : row + 64, col : col + 64]
    return np.asarray(changed * np.array([0.4, 0.5, 0.55])[:, None, None] + 15, np.uint8)


def built(folder: Path, *dates: tuple[str, NDArray[np.uint8], Affine]) -> Archive:
    for name, pixels, transform in dates:
        write_raster(folder / "i" / name, pixels, transform=transform)
    return build_archive(folder / "i", folder / "a", tile=64, stride=64, encoder=MeanColour(), progress=Progress())


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    dates = (FIRST, ground(), HALF_METRE), (LATER, later(ground()), HALF_METRE)
    return built(tmp_path_factory.mktemp("two"), *dates)


@pytest.fixture(scope="module")
def changes(two: Archive) -> Changes:
    return compare_dates(two, "2015", "2020", progress=Progress())


def places(archive: Archive, numbers: NDArray[np.int64]) -> set[tuple[int, int]]:
    return {(archive.tile(number).row, archive.tile(number).col) for number in numbers.tolist()}


def test_what_changed_comes_before_what_is_only_darker(two: Archive) -> None:
    hits = search_change(two, "2015", "2020", k=3, progress=Progress())
    assert places(two, hits.numbers) == set(CHANGED)
    assert [hit.rank for hit in hits] == [1, 2, 3]
    assert all(two.imagery[hit.tile.raster].name == LATER for hit in hits)


def test_dates_may_be_rasters_by_name_or_two_archives(two: Archive, tmp_path: Path) -> None:
    named = search_change(two, FIRST, LATER, k=3, progress=Progress())
    first = built(tmp_path / "first", (FIRST, ground(), HALF_METRE))
    second = built(tmp_path / "second", (LATER, later(ground()), HALF_METRE))
    apart = search_change(second, first, k=3, progress=Progress())
    assert places(two, named.numbers) == places(second, apart.numbers) == set(CHANGED)


def test_a_raster_out_of_place_is_put_back(tmp_path: Path) -> None:
    moved = np.roll(later(ground()), (5, -3), axis=(1, 2))
    archive = built(tmp_path, (FIRST, ground(), HALF_METRE), (LATER, moved, HALF_METRE))
    found = {}
    for align in (True, False):
        compared = compare_dates(archive, "2015", "2020", align=align, progress=Progress())
        inner = np.flatnonzero(
            [1 <= archive.tile(n).row < 960 and archive.tile(n).col < 960 for n in compared.pairs.numbers]
        )
        order = compared.pairs.numbers[inner[np.argsort(-compared.scores[inner])]][:3]
        found[align] = np.median(compared.scores) / compared.scores[inner].max()
        assert not align or places(archive, order) == set(CHANGED)
    assert found[True] < 0.7 * found[False]


def test_another_resolution_and_another_grid_are_compared_on_the_same_ground(tmp_path: Path) -> None:
    coarse = ground().reshape(3, 512, 2, 512, 2).mean(axis=(2, 4)).astype(np.uint8)
    west = HALF_METRE @ Affine.translation(-64, -32)
    wide = np.pad(coarse, ((0, 0), (16, 0), (32, 0)), mode="reflect")
    archive = built(tmp_path, (FIRST, wide, west @ Affine.scale(2)), (LATER, later(ground()), HALF_METRE))
    hits = search_change(archive, "2015", "2020", k=3, progress=Progress())
    assert places(archive, hits.numbers) == set(CHANGED)


def test_changed_like_the_examples_comes_first(two: Archive, changes: Changes) -> None:
    ranked = changes.rank().numbers
    example, others = int(ranked[0]), [int(number) for number in ranked[1:3]]
    alike = changes.rank(Like(changed=[example], unchanged=others))
    assert alike[0].number == example
    places_of = {hit.number: hit.rank for hit in alike}
    assert all(places_of.get(number, 99) > 1 for number in others)


def test_what_has_become_like_a_descriptor_comes_first(two: Archive, changes: Changes) -> None:
    wanted = int(changes.rank().numbers[1])
    alike = changes.rank(Like(descriptors=two.vectors_of([wanted])), k=5)
    assert wanted in alike.numbers


def test_what_cannot_be_compared_is_refused_in_words(two: Archive, changes: Changes, tmp_path: Path) -> None:
    with pytest.raises(QueryInvalid, match="no example of a change"):
        changes.rank(Like(unchanged=[0]))
    with pytest.raises(QueryInvalid, match="not seen on both dates"):
        changes.rank(Like(changed=[0]))
    with pytest.raises(QueryInvalid, match="k is -1"):
        changes.rank(k=-1)
    far = HALF_METRE @ Affine.translation(90_000, 0)
    elsewhere = built(tmp_path / "far", (FIRST, ground(), far))
    with pytest.raises(QueryInvalid, match="same place"):
        compare_dates(two, elsewhere, progress=Progress())
    other = build_archive(tmp_path / "far" / "i", tmp_path / "t", tile=64, encoder="texture", progress=Progress())
    with pytest.raises(ArchiveMismatch, match="one encoder"):
        compare_dates(two, other, progress=Progress())


def test_a_small_thing_that_came_is_found_where_whole_tiles_are_a_little_brighter_or_darker(tmp_path: Path) -> None:
    came = {(128, 192), (448, 640), (832, 320)}
    fields = np.random.default_rng(5).uniform(0.94, 1.06, (16, 16))
    pixels = (ground() * np.kron(fields, np.ones((64, 64)))).clip(0, 255)
    for row, col in came:
        spot = pixels[:, row + 24 : row + 40, col + 24 : col + 40]
        spot[:] = np.where(spot.mean() > 128, 30, 225)
    later_pixels = pixels.astype(np.uint8)
    archive = built(tmp_path, (FIRST, ground(), HALF_METRE), (LATER, later_pixels, HALF_METRE))
    compared = compare_dates(archive, "2015", "2020", progress=Progress())
    assert places(archive, compared.rank(k=3).numbers) == came
