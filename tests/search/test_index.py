"""The index gives exactly what sorting all scores gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.descriptors.archive import Archive
from workbench.descriptors.rows import Rows
from workbench.errors import QueryInvalid, ShapeMismatch
from workbench.search.index import Hits, Index, Scorer


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=60), st.integers(0, 80), st.data())
@settings(deadline=None)
def test_top_k_is_the_sorted_whole_ties_in_the_archives_order(
    archive: Archive, values: list[int], k: int, data
) -> None:  # type: ignore[no-untyped-def]
    values = values[: len(archive)]
    scores = np.array(values, np.float32)
    where = data.draw(st.none() | st.lists(st.booleans(), min_size=len(values), max_size=len(values)))
    mask = None if where is None else np.array(where)
    hits = Index(archive).top(scores, k, mask)
    allowed = [number for number in range(len(values)) if where is None or where[number]]
    expected = sorted(allowed, key=lambda number: (-values[number], number))[:k]
    assert hits.numbers.tolist() == expected
    assert [hit.score for hit in hits] == [values[number] for number in expected]
    assert [hit.rank for hit in hits] == list(range(1, len(expected) + 1))
    assert all(hit.tile == archive.tile(hit.number) for hit in hits)


def test_scores_are_exact_cosines_and_a_tile_finds_itself_first(archive: Archive) -> None:
    index = Index(archive)
    for number in range(0, len(archive), 7):
        hits = index.search(archive.vectors[number], k=5)
        assert hits[0].number == number and hits[0].score == pytest.approx(1, abs=1e-5)
        expected = archive.vectors[hits.numbers].astype(float) @ archive.vectors[number].astype(float)
        assert [hit.score for hit in hits] == pytest.approx(expected.tolist(), abs=1e-5)


def test_a_linear_scorer_ranks_by_its_weights_and_bias(archive: Archive) -> None:
    scorer = Scorer(np.eye(6, dtype=np.float32)[2], bias=0.5)
    scores = Index(archive).scores(scorer)
    assert scores == pytest.approx(archive.vectors[:, 2] + 0.5, abs=1e-6)
    assert Index(archive).search(scorer, 3).numbers[0] == np.argmax(scores)


def test_P06_search_returns_min_k_n_hits(archive: Archive) -> None:
    index, query, n = Index(archive), archive.vectors[0], len(archive)
    for k, expected in ((0, 0), (1, 1), (n, n), (n + 10, n)):
        hits = index.search(query, k)
        assert len(hits) == expected and np.isfinite([hit.score for hit in hits]).all()
    assert len(index.search(query, 5, np.zeros(n, bool))) == 0
    one = replace(archive, tiles=archive.tiles[:1], descriptors=Rows([archive.raw[:1]], archive.manifest.dim))
    one.__dict__["vectors"] = archive.vectors[:1]
    assert [hit.number for hit in Index(one).search(query, 5)] == [0]


def test_a_query_that_makes_no_sense_is_refused(archive: Archive) -> None:
    index = Index(archive)
    for bad in (np.zeros(6), np.full(6, np.nan), np.full(6, np.inf)):
        with pytest.raises(QueryInvalid, match="zero or not finite"):
            index.search(bad.astype(np.float32))
    with pytest.raises(QueryInvalid, match="k is -1"):
        index.search(archive.vectors[0], -1)
    with pytest.raises(ShapeMismatch, match=r"shape \(5,\)"):
        index.search(np.ones(5, np.float32))
    with pytest.raises(ShapeMismatch, match="where has shape"):
        index.search(archive.vectors[0], 5, np.ones(3, bool))


def test_a_slice_of_hits_is_hits(archive: Archive) -> None:
    hits = Index(archive).search(archive.vectors[0], 10)
    assert isinstance(hits[2:5], Hits) and [hit.rank for hit in hits[2:5]] == [3, 4, 5] and hits[0] in hits
