"""The benchmark of search is what it says: made tiles lie as far apart as real ones, and figures are those of known answers."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray
from small_archives import MeanColour, small_imagery

from workbench.descriptors.archive import Archive, open_archive
from workbench.descriptors.build import build_archive
from workbench.search.index import Index

if TYPE_CHECKING:
    from search_jobs import Job

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
MODULES = ("made_tiles", "made_archives", "search", "search_jobs", "search_plain", "search_table")


class Textures(MeanColour):
    """Mean colours seen through many random waves: an encoder with enough dimensions to have neighbours at all distances."""

    name = "waves"
    dim = 64
    standardise = True

    def finish(self, pooled: NDArray[np.float32]) -> NDArray[np.float32]:
        draw = np.random.default_rng(0)
        return np.cos(pooled @ draw.normal(0, 6, (6, self.dim)) + draw.uniform(0, 6, self.dim)).astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
def _scripts_are_found() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        for name in MODULES:
            patch.delitem(sys.modules, name, raising=False)
        yield


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("real")
    return build_archive(small_imagery(folder / "i", size=640), folder / "a", tile=64, stride=16, encoder=Textures())


def true_distances(codes: NDArray[np.uint8], queries: NDArray[np.uint8]) -> NDArray[np.int64]:
    return np.sort(np.bitwise_count(codes ^ queries[:, None]).sum(axis=2, dtype=np.int64), axis=1)


@pytest.mark.parametrize("count", [4000, 20_000])
def test_held_out_tiles_are_as_far_from_made_ones_as_real_ones_from_each_other(real: Archive, count: int) -> None:
    from made_tiles import RANKS, made_codes, means_at, packed, patterns, real_distances, tuned

    codes = np.asarray(real.codes)
    wanted, spread = real_distances(codes)
    own = [np.delete(np.bitwise_count(codes ^ code).sum(axis=1, dtype=np.int64), row) for row, code in enumerate(codes)]
    assert wanted == pytest.approx(means_at(np.sort(np.array(own), axis=1)), rel=0.05)
    _, pattern = patterns(real)
    recipe = tuned(pattern, count, wanted, spread, seed=1)
    made = np.concatenate(list(made_codes(pattern, recipe, count)))
    found = means_at(true_distances(made, packed(pattern.held_out(recipe, count, 200))))
    assert made.shape == (count, 64)
    assert all(found[rank] == pytest.approx(wanted[rank], rel=0.1) for rank in RANKS), (wanted, found)


def test_made_tiles_depend_on_the_seed_and_their_place_only(real: Archive) -> None:
    from made_tiles import CHUNK, Recipe, made_codes, packed, patterns

    _, pattern = patterns(real)
    recipe = Recipe((1.0, 0.3, 0.3, 0.3, 0.3), 0.3, seed=3)
    few, many = (np.concatenate(list(made_codes(pattern, recipe, count))) for count in (CHUNK, 2 * CHUNK + 5))
    np.testing.assert_array_equal(many[:CHUNK], few)
    assert len(many) == 2 * CHUNK + 5
    assert len(np.unique(many, axis=0)) == len(many)
    assert true_distances(many, packed(pattern.held_out(recipe, len(many), 50)))[:, 0].min() > 0


def test_a_made_tile_without_noise_lies_between_two_real_ones(real: Archive) -> None:
    from made_tiles import CHUNK, GROUPS, Recipe, patterns

    vectors, _ = patterns(real)
    between = vectors.chunk(Recipe((0.0,) * 5, 0.0), 0, np.arange(0, CHUNK, GROUPS[0]))
    spans = np.linalg.norm(vectors.rows[:, None] - vectors.rows, axis=2)
    for tile in between:
        off = np.linalg.norm(tile - vectors.rows, axis=1)
        assert (
            np.abs(off[:, None] + off - spans) < 1e-4
        ).any()  # the way by the tile is no longer than the straight one


def job(real: Archive, folder: Path, count: int, *, described: bool) -> Job:
    from made_archives import coded_archive, described_archive
    from made_tiles import Recipe, patterns
    from search_jobs import Job

    vectors, codes = patterns(real)
    recipe = Recipe((1.0, 0.4, 0.4, 0.4, 0.6), 0.3)
    make, pattern = (described_archive, vectors) if described else (coded_archive, codes)
    archive = make(folder / "made", real, pattern, recipe, count)
    asked = vectors.held_out(recipe, count, 12)
    np.save(folder / "queries.npy", asked / np.linalg.norm(asked, axis=1, keepdims=True))
    return Job(archive, folder / "queries.npy", folder / "true.npy", 0)


def test_every_hit_of_an_exact_engine_and_fewer_of_a_worse_one_are_near_enough(real: Archive, tmp_path: Path) -> None:
    from search_jobs import plain, recall_of, searched

    given = job(real, tmp_path, 3000, described=False)
    found = plain(given)
    assert [row["k"] for row in found["engines"]] == [10, 100, 1000]
    archive = open_archive(given.folder)
    asked, true = given.asked(), np.load(given.true)
    codes = archive.code_model.encode(asked)
    np.testing.assert_array_equal(true, true_distances(np.asarray(archive.codes), codes)[:, :1000])
    _, hits = searched(Index(archive, "flat"), asked, 100)
    assert recall_of(archive, asked, hits, true, 100) == 1
    assert recall_of(archive, asked, hits, true - 1, 100) < 0.99  # were the true ones nearer, some would be too far
    assert recall_of(archive, asked, [numbers[:50] for numbers in hits], true, 100) == 0.5


def test_made_descriptors_make_an_archive_with_the_codes_of_the_real_one(real: Archive, tmp_path: Path) -> None:
    given = job(real, tmp_path, 2000, described=True)
    archive = open_archive(given.folder)
    assert len(archive) == 2000
    np.testing.assert_allclose(archive.centring.mean, real.centring.mean)
    np.testing.assert_array_equal(archive.code_model.tensors()["weights.0"], real.code_model.tensors()["weights.0"])
    assert np.linalg.norm(archive.vectors_of(np.arange(9)), axis=1) == pytest.approx(1, abs=1e-3)


def test_a_bar_is_met_by_its_figure_alone() -> None:
    from search_table import as_text, bars

    rows = [
        {"engine": name, "exact": True, "k": 100, "median_ms": ms, "p95_ms": 4.0, "recall": recall}
        for name, ms, recall in (("faiss flat, plain", 100.0, 1.0), ("flat", 90.0, 1.0), ("inverted", 1.5, 0.98))
    ]
    distances = {"real": {1: 100.0, 10: 120.0}, "made": {1: 109.0, 10: 140.0}}
    found = {
        "tiles": 1000,
        "bits": 512,
        "engines": rows,
        "neighbour_distances": distances,
        "small": [],
        "from": {"tiles": 9},
    }
    found |= {
        "scored": {"tiles": 10, "median_ms": 1, "round_median_ms": 151, "exact": True, "private_mb": 1600.0},
        "filtered": [],
        "linear": {},
    }
    found |= dict.fromkeys(("read_ms", "build_s", "open_s", "first_search_s", "private_mb", "disk_gb"), 3.0)
    found |= {"engine_text": "inverted"}
    found["bars"] = bars(found)
    missed = [row["bar"] for row in found["bars"] if not row["met"]]
    assert missed == [
        "made over real distance to neighbour 10, less 1",
        "inverted, k = 100: recall",
        "opening, s",
        "first search, s",
        "10 tiles, a round of refinement with its fit: median ms",
        "10 tiles: private memory, GB",
    ]
    assert as_text(found).count("MISSED") == 6


@pytest.mark.slow
def test_search_is_measured_end_to_end(real: Archive, tmp_path: Path) -> None:
    import search

    out, few = tmp_path / "search.json", ["--queries", "10", "--small", "--scored", "1000"]
    given = ["--tiles", "2e4", "--from", str(real.folder), "--cache", str(tmp_path / "cache"), "--json", str(out)]
    search.main([*given, *few])
    found = json.loads(out.read_text())
    ways = [(row["engine"], row["k"], row["exact"]) for row in found["engines"]]
    names = (("faiss flat, plain", True), ("flat", True), ("inverted", False))
    assert ways == [(name, k, exact) for name, exact in names for k in (10, 100, 1000)]
    assert all(0 < row["median_ms"] <= row["p95_ms"] and row["recall"] > 0.95 for row in found["engines"])
    assert all(row["recall"] == 1 for row in found["engines"] if row["exact"])
    assert all(row["exact"] for row in found["filtered"])
    assert min(found["read_ms"], found["build_s"], found["open_s"], found["private_mb"]) > 0
    assert {*found["neighbour_distances"]["real"]} == {"1", "10", "100"}
    assert found["scored"]["exact"]
    search.main([*given, *few, "--resume"])
    assert json.loads(out.read_text())["engines"] == found["engines"]


@pytest.mark.slow
def test_a_small_archive_is_held_against_all_that_it_is_said_to_be(real: Archive, tmp_path: Path) -> None:
    from search_jobs import small

    found = small(job(real, tmp_path, 600, described=True), True)
    assert [row["recall"] for row in found["engines"]] == [1, 1]
    assert found["pynndescent"]["recall"] > 0.8
    assert found["dictionary_ms"] > found["matrix_vector_ms"] > 0
