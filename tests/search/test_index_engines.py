"""Every engine answers alike: hits are valid and scored exactly, filters are exact, and recall is what was measured."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_archives import KINDS, codes_only, made_archive, made_descriptors

from workbench.descriptors.archive import Archive
from workbench.descriptors.codes.ordered import OrderedCodes
from workbench.errors import ArchiveInvalid, QueryInvalid
from workbench.jobs import Progress
from workbench.search.choice import choose
from workbench.search.engines.inverted import AIM, Measured
from workbench.search.index import Index, Scorer

ENGINES = ("exact", "flat", "inverted")


def opened(archive: Archive, engine: str | None) -> Index:
    index = Index(archive, engine)  # type: ignore[arg-type]
    if engine == "inverted" and len(archive):
        index.build(Progress())
    return index


def a_query(archive: Archive, seed: int = 0) -> np.ndarray:  # type: ignore[type-arg]
    raw = made_descriptors("clustered", 1, seed + 5)
    return archive.centring.apply(raw)[0]


@pytest.fixture(scope="module")
def some(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return made_archive(archive, tmp_path_factory.mktemp("some"), made_descriptors("clustered", 20_000))


def check_hits(made: Archive, index: Index) -> None:
    """Any k, any filter, any scorer: as many hits as there can be, valid, in order."""
    count, query = len(made), a_query(made)
    few = np.arange(count) % 3 == 0
    for k in {0, 1, 10, min(count, 2000), min(count, 2000) + 7}:
        for where, most in ((None, count), (few, int(few.sum())), (np.zeros(count, bool), 0)):
            for asked in (query, Scorer(3 * query, 0.5)):
                hits = index.search(asked, k, where)
                scores = np.array([hit.score for hit in hits])
                assert len(hits) == min(k, most) == len(set(hits.numbers.tolist()))
                assert np.isfinite(scores).all() and (np.diff(scores) <= 0).all()
                assert where is None or where[hits.numbers].all()
                assert all((np.diff(hits.numbers)[np.diff(scores) == 0] > 0).tolist())


def recall_of(made: Archive, index: Index, k: int = 50) -> float:
    """Share of hits that are as good as the true k-th, over twenty tiles as queries; all scores are checked."""
    shares, exact = [], Index(made, "exact")
    for number in range(0, len(made), len(made) // 20):
        query = made.vectors_of([number])[0]
        found, best = index.search(query, k), exact.search(query, k)
        shares.append(np.mean([hit.score >= best[-1].score - 1e-6 for hit in found]))
        true = made.vectors_of(found.numbers) @ query
        assert [hit.score for hit in found] == pytest.approx(true.tolist(), abs=1e-5)
    return float(np.mean(shares))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [0, 1, 1000])
@pytest.mark.parametrize("engine", ENGINES)
def test_P06_every_engine_returns_min_k_n_valid_hits(
    archive: Archive, tmp_path: Path, engine: str, count: int, kind: str
) -> None:
    made = made_archive(archive, tmp_path, made_descriptors(kind, count))
    check_hits(made, opened(made, engine))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", ENGINES)
def test_P07_recall_against_the_exact_search(archive: Archive, tmp_path: Path, engine: str, kind: str) -> None:
    made = made_archive(archive, tmp_path, made_descriptors(kind, 3000))
    assert recall_of(made, opened(made, engine)) >= (1 if engine == "exact" else 0.95)


@pytest.mark.slow
def test_P06_and_P07_hold_for_a_million_tiles(archive: Archive, tmp_path: Path) -> None:
    made = made_archive(archive, tmp_path, made_descriptors("clustered", 1_000_000))
    for engine in ENGINES:
        index = opened(made, engine)
        check_hits(made, index)
        assert recall_of(made, index) >= (1 if engine == "exact" else 0.9), engine


def test_the_exact_engine_ranks_as_sorting_all_cosines_does(some: Archive) -> None:
    index, query = Index(some, "exact"), a_query(some)
    cosines = some.vectors @ query
    assert index.scores(query) == pytest.approx(cosines, abs=1e-5)
    scores = index.scores(query)
    for numbers in (None, np.arange(0, 20_000, 7), np.arange(0, 20_000, 2)):
        allowed = np.arange(20_000) if numbers is None else numbers
        expected = allowed[np.argsort(-scores[allowed], kind="stable")][:300]
        assert index.search(query, 300, numbers).numbers.tolist() == expected.tolist()


@pytest.mark.parametrize("engine", ["flat", "inverted"])
def test_codes_alone_are_searched_exactly_where_they_are_filtered(some: Archive, engine: str) -> None:
    opened(some, engine)
    bare = codes_only(some)
    index, query = Index(bare, engine), a_query(some)  # type: ignore[arg-type]
    code = bare.code_model.encode(query[None])[0]
    agree = 1 - np.unpackbits(np.asarray(bare.codes) ^ code, axis=1).sum(axis=1) / np.float32(256)
    assert index.scores(query) == pytest.approx(agree)
    for numbers in (np.arange(0, 20_000, 50), np.arange(0, 20_000, 2), np.arange(100)):
        hits = index.search(query, 120, numbers)
        assert hits.scored_by == "hamming" and hits[3:7].scored_by == "hamming"
        assert hits.numbers.tolist() == numbers[np.argsort(-agree[numbers], kind="stable")][:120].tolist()
        assert [hit.score for hit in hits] == pytest.approx(agree[hits.numbers].tolist())


def test_a_scorer_over_codes_ranks_much_like_the_one_over_descriptors(some: Archive) -> None:
    weights = a_query(some) * 4
    exact = Index(some, "exact").search(Scorer(weights, 0.5), 1000)
    index = Index(codes_only(some), "flat")
    hits, scores = index.search(Scorer(weights, 0.5), 1000), index.scores(Scorer(weights, 0.5))
    assert exact.scored_by == hits.scored_by == "linear"
    assert scores[hits.numbers] == pytest.approx([hit.score for hit in hits])
    assert np.corrcoef(scores, some.vectors @ weights)[0, 1] > 0.9
    assert len(set(hits.numbers.tolist()) & set(exact.numbers.tolist())) > 600


def test_a_scorer_with_a_shortlist_scores_its_hits_exactly(some: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.search.choice.LINEAR_BYTES", 1000)
    index, weights = Index(some, "flat"), a_query(some) * 4
    hits, best = index.search(Scorer(weights, 0.5), 50), Index(some, "exact").search(Scorer(weights, 0.5), 50)
    assert [hit.score for hit in hits] == pytest.approx((some.vectors[hits.numbers] @ weights + 0.5).tolist(), abs=1e-4)
    assert len(set(hits.numbers.tolist()) & set(best.numbers.tolist())) >= 45


def test_the_index_says_which_engine_answers_and_why(some: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    index = Index(some)
    assert index.engine == "exact" and "all 20,000 descriptors" in index.engine_text
    monkeypatch.setattr("workbench.search.choice.FAST_MS", 0.0)
    assert choose(some, None).name == "flat" and "index.build()" in choose(some, None).text
    better = choose(some, Measured(200, 12, 0.9957, 40, 0.9951, 0.4, 2.0))
    assert better.name == "inverted" and "99.6 %" in better.text and "12 codes" in better.text
    assert choose(some, Measured(200, 12, 0.9957, 40, 0.9951, 3.0, 2.0)).name == "flat"
    assert "no descriptors" in choose(codes_only(some), None).text


def test_lists_are_kept_with_what_was_measured_and_the_codes_once(archive: Archive, tmp_path: Path) -> None:
    made = made_archive(archive, tmp_path, made_descriptors("clustered", 20_000))
    codes, query = np.array(made.codes), a_query(made)
    index = Index(made, "inverted")
    before = index.search(query, 30).numbers.tolist()
    index.build(Progress())
    stored = json.loads((made.derived / "index-000.json").read_text())
    assert stored["measured"]["recall"] >= AIM and stored["tiles"] == 20_000
    assert isinstance(made.codes, OrderedCodes) and (np.asarray(made.codes) == codes).all()
    assert sum(path.stat().st_size for path in made.derived.iterdir()) < codes.nbytes * 1.5 + 10e6
    again = replace(made)
    again.__dict__["centring"] = made.centring
    assert Index(again, "inverted").search(query, 30).numbers.tolist() == index.search(query, 30).numbers.tolist()
    assert len({*before} & {*index.search(query, 30).numbers.tolist()}) >= 29


def test_P04_lists_of_other_codes_are_not_used_and_damaged_ones_are_named(archive: Archive, tmp_path: Path) -> None:
    made = made_archive(archive, tmp_path, made_descriptors("clustered", 5000))
    opened(made, "inverted")
    path = made.derived / "index-000-starts.npy"
    path.write_bytes(path.read_bytes()[:-8] + bytes(8))
    with pytest.raises(ArchiveInvalid, match="index-000-starts"):
        Index(made, "inverted").search(a_query(made), 5)
    path.unlink()
    with pytest.raises(ArchiveInvalid, match="index-000-starts"):
        Index(made, "inverted").search(a_query(made), 5)
    record = made.derived / "index-000.json"
    record.write_text(record.read_text().replace('"source": "', '"source": "0'))
    assert len(Index(made, "inverted").search(a_query(made), 5)) == 5
    record.write_text("{")
    with pytest.raises(ArchiveInvalid, match=r"index-000\.json is damaged"):
        Index(made, "inverted").search(a_query(made), 5)


def test_filters_are_masks_numbers_or_anything_that_gives_numbers(some: Archive) -> None:
    class Every:
        def numbers(self, archive: Archive) -> np.ndarray:  # type: ignore[type-arg]
            return np.arange(0, len(archive), 9)

    index, query = Index(some), a_query(some)
    expected = index.search(query, 20, np.arange(20_000) % 9 == 0).numbers.tolist()
    assert index.search(query, 20, Every()).numbers.tolist() == expected
    assert index.search(query, 20, np.arange(0, 20_000, 9)[::-1]).numbers.tolist() == expected
    assert index.top(index.scores(query), 20, Every()).numbers.tolist() == expected
    for wrong in ([-1], [20_000]):
        with pytest.raises(QueryInvalid, match="counted from 0"):
            index.search(query, 20, np.array(wrong))


def test_warming_leaves_nothing_to_compile(some: Archive) -> None:
    index = Index(some, "flat")
    index.warm()
    from workbench.search.engines import kernels

    before = {name: len(getattr(kernels, name).signatures) for name in ("scan", "cosines", "keep_highest")}
    index.search(a_query(some), 5)
    index.search(Scorer(a_query(some) * 2), 5)
    assert before == {name: len(getattr(kernels, name).signatures) for name in before}


def test_kernels_are_compiled_where_nothing_can_be_kept() -> None:
    code = (
        "import numpy as np\n"
        "from numba.core.caching import CompileResultCacheImpl\n"
        "CompileResultCacheImpl._locator_classes = []\n"
        "from workbench.search.engines.flat import flat_distances\n"
        "print(flat_distances(np.array([[3], [0]], np.uint8), np.array([1], np.uint8)).tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[1, 1]"
