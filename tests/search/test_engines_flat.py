"""The scan over all codes finds exactly what sorting all distances finds, ties by number, in any order on disk."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_codes import KINDS, by_brute_force, made_codes

from workbench.descriptors.codes.ordered import OrderedCodes
from workbench.errors import ShapeMismatch
from workbench.search.engines.best import highest
from workbench.search.engines.coded import Coded
from workbench.search.engines.flat import flat_distances, flat_search


def listed(found: tuple[np.ndarray, np.ndarray]) -> tuple[list[int], list[int]]:  # type: ignore[type-arg]
    return found[0].tolist(), found[1].tolist()


def shuffled(codes: np.ndarray, seed: int = 0) -> OrderedCodes:  # type: ignore[type-arg]
    order = np.random.default_rng(seed).permutation(len(codes)).astype(np.uint32)
    return OrderedCodes(codes[order], order, np.argsort(order).astype(np.uint32))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [0, 1, 2, 1000, 120_000])
def test_the_nearest_codes_are_those_of_brute_force(kind: str, count: int) -> None:
    codes = made_codes(kind, count)
    query = codes[count // 2] if count else np.zeros(64, np.uint8)
    ordered = Coded(shuffled(codes))
    for k in (0, 1, 100, 2000):
        expected = by_brute_force(codes, query, k)
        assert listed(flat_search(codes, query, k)) == expected
        assert listed(ordered.nearest(query, k)) == expected


@given(st.integers(1, 12), st.integers(0, 40), st.integers(0, 50), st.data())
@settings(deadline=None, max_examples=60)
def test_any_length_of_code_any_k_any_filter(bytes_: int, count: int, k: int, data) -> None:  # type: ignore[no-untyped-def]
    codes = np.array(data.draw(st.lists(st.binary(min_size=bytes_, max_size=bytes_), min_size=count, max_size=count)))
    codes = np.frombuffer(b"".join(bytes(code).ljust(bytes_, b"\0") for code in codes), np.uint8).reshape(count, bytes_)
    codes = codes & 3  # many ties
    query = np.frombuffer(data.draw(st.binary(min_size=bytes_, max_size=bytes_)), np.uint8)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)), bool)
    numbers = data.draw(st.sampled_from([None, np.flatnonzero(mask), np.flatnonzero(mask)[:2]]))
    expected = by_brute_force(codes, query, k, numbers)
    assert listed(Coded(codes).nearest(query, k, numbers)) == expected
    assert listed(Coded(shuffled(codes)).nearest(query, k, numbers)) == expected


@pytest.mark.parametrize("share", [0.001, 0.01, 0.2, 1.0])
def test_a_filtered_search_is_exact_however_many_tiles_it_allows(share: float) -> None:
    codes = made_codes("duplicates", 100_000)
    numbers = np.flatnonzero(np.random.default_rng(0).random(len(codes)) < share)
    expected = by_brute_force(codes, codes[7], 300, numbers)
    assert listed(Coded(codes).nearest(codes[7], 300, numbers)) == expected
    assert listed(Coded(shuffled(codes)).nearest(codes[7], 300, numbers)) == expected


def test_distances_are_counted_in_bits_and_by_number() -> None:
    codes = made_codes("clustered", 5000, bits=520)
    expected = np.unpackbits(codes ^ codes[3], axis=1).sum(axis=1)
    assert (flat_distances(codes, codes[3]) == expected).all()
    assert (Coded(shuffled(codes)).distances(codes[3]) == expected).all()


def test_codes_of_another_length_are_refused() -> None:
    with pytest.raises(ShapeMismatch, match="cannot be compared"):
        flat_search(made_codes("uniform", 10), np.zeros(32, np.uint8), 5)


@given(
    st.lists(st.floats(width=32, allow_nan=False) | st.sampled_from([0.0, -0.0, 1.0]), max_size=50), st.integers(0, 60)
)
@settings(deadline=None)
def test_the_highest_scores_are_those_of_a_stable_sort(values: list[float], k: int) -> None:
    scores = np.array(values, np.float32)
    assert highest(scores, k).tolist() == np.argsort(-scores, kind="stable")[:k].tolist()


def test_what_is_no_number_comes_last_and_two_threads_agree() -> None:
    assert highest(np.array([np.nan, 1, -np.inf, np.inf], np.float32), 4).tolist() == [3, 1, 0, 2]
    scores = np.random.default_rng(0).integers(-4, 4, 300_000).astype(np.float32)
    assert highest(scores, 5000).tolist() == np.argsort(-scores, kind="stable")[:5000].tolist()
