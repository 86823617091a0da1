"""The scan over stored halves gives the cosines that centred descriptors give; weighted bits give their sums."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_codes import made_codes

from workbench.descriptors.centring import Centring
from workbench.descriptors.codes.ordered import OrderedCodes
from workbench.descriptors.rows import Rows
from workbench.errors import ShapeMismatch
from workbench.search.engines.bits import bit_scorer, bit_scores
from workbench.search.engines.coded import Coded
from workbench.search.engines.exact import linear_scores


@given(st.integers(0, 300), st.integers(1, 70), st.integers(0, 1000), st.floats(-2, 2, width=32))
@settings(deadline=None, max_examples=40)
def test_scores_are_those_of_the_centred_descriptors(count: int, dim: int, seed: int, bias: float) -> None:
    random = np.random.default_rng(seed)
    raw = (3 + random.normal(size=(count, dim))).astype(np.float16)
    raw[: count // 9] = 0
    centring = Centring(*(random.normal(1, 0.1, (3, dim)).astype(np.float32)))
    weights = random.normal(size=dim).astype(np.float32)
    parts = Rows([raw[:7], raw[7:8], raw[8:]], dim).chunks(100)
    found = linear_scores(parts, count, centring.mean, centring.scale, weights, bias)
    expected = centring.apply(raw).astype(np.float64) @ weights + bias
    assert found.dtype == np.float32 and found == pytest.approx(expected, abs=2e-5)


def test_every_half_is_read_as_what_it_is() -> None:
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)]
    raw = np.stack([halves, np.ones_like(halves)], axis=1)
    found = linear_scores(
        [(0, raw)], len(raw), np.zeros(2, np.float32), np.ones(2, np.float32), np.eye(2, dtype=np.float32)[0]
    )
    values = halves.astype(np.float64)
    assert found == pytest.approx(values / np.sqrt(values**2 + 1), abs=1e-6)


@pytest.mark.parametrize("bits", [64, 72, 512])
@pytest.mark.parametrize("count", [0, 1, 3000, 50_000])
def test_weighted_bits_add_up(bits: int, count: int) -> None:
    codes = made_codes("clustered", count, bits)
    weights = np.random.default_rng(0).normal(size=bits).astype(np.float32)
    expected = np.unpackbits(codes, axis=1).astype(np.float64) @ weights + 0.5
    found = bit_scores(codes, bit_scorer(weights, 0.5))
    assert np.abs(found - expected).max(initial=0) < 0.002 * bits**0.5
    order = np.random.default_rng(0).permutation(count).astype(np.uint32)
    ordered = OrderedCodes(codes[order], order, np.argsort(order).astype(np.uint32))
    assert (Coded(ordered).linear(bit_scorer(weights, 0.5)) == found).all()


@pytest.mark.parametrize("weights", [np.zeros(64), np.ones(64), -np.ones(64), np.r_[np.zeros(63), 1e-30]])
def test_weights_of_one_sign_or_none_are_fine(weights: np.ndarray) -> None:  # type: ignore[type-arg]
    codes = made_codes("uniform", 200, 64)
    found = bit_scores(codes, bit_scorer(weights.astype(np.float32)))
    assert found == pytest.approx(np.unpackbits(codes, axis=1) @ weights, rel=1e-3, abs=1e-6)


def test_the_best_by_weighted_bits_are_exact_among_few_many_and_all() -> None:
    codes = made_codes("duplicates", 60_000)
    scorer = bit_scorer(np.random.default_rng(1).normal(size=512).astype(np.float32))
    scores = bit_scores(codes, scorer)
    for numbers in (None, np.arange(0, 60_000, 100), np.arange(0, 60_000, 2)):
        allowed = np.arange(60_000) if numbers is None else numbers
        best, values = Coded(codes).highest(scorer, 150, numbers)
        assert best.tolist() == allowed[np.argsort(-scores[allowed], kind="stable")][:150].tolist()
        assert (values == scores[best]).all()


def test_weights_for_other_codes_are_refused() -> None:
    with pytest.raises(ShapeMismatch, match="weights of 64 bits"):
        bit_scores(made_codes("uniform", 10, 512), bit_scorer(np.ones(64, np.float32)))
