"""Codes are packed bits that keep neighbours, equal for equal seeds, and refused in words where they cannot be fitted."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from clusters import clusters, precision_at_5, unpacked
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from workbench.descriptors.codes.fitting import KINDS, SUPERVISED, fit_codes
from workbench.descriptors.codes.models import CodeModel, LayeredCodes, hamming_distances, rbf
from workbench.errors import QueryInvalid, ShapeMismatch, TrainingRefused

BITS = 32
SEEN = clusters()
UNSEEN = clusters(seed=1)


@cache
def fitted(kind: str, seed: int = 0) -> CodeModel:
    return fit_codes(kind, SEEN.vectors, bits=BITS, seed=seed, labels=SEEN.labels)


def test_the_kinds_are_those_of_the_field_and_the_default_learns_without_labels() -> None:
    assert KINDS == ("itq", "rotation", "pca", "autoencoder", "klsh", "kslsh", "milan")
    assert set(SUPERVISED) < set(KINDS) and KINDS[0] not in SUPERVISED


@pytest.mark.parametrize("kind", KINDS)
def test_codes_of_unseen_descriptors_find_their_class_where_chance_does_not(kind: str) -> None:
    codes = fitted(kind).encode(UNSEEN.vectors)
    shuffled = np.random.default_rng(0).permutation(codes)
    assert precision_at_5(codes, UNSEEN.labels) > 0.6
    assert precision_at_5(shuffled, UNSEEN.labels) < 0.4  # a quarter, by chance


@pytest.mark.parametrize("kind", SUPERVISED)
def test_labels_make_codes_better_than_the_best_without(kind: str) -> None:
    with_labels = precision_at_5(fitted(kind).encode(UNSEEN.vectors), UNSEEN.labels)
    assert with_labels > precision_at_5(fitted("itq").encode(UNSEEN.vectors), UNSEEN.labels)


@pytest.mark.parametrize("kind", KINDS)
def test_codes_are_packed_and_of_the_length_asked_for(kind: str) -> None:
    model = fitted(kind)
    codes = model.encode(UNSEEN.vectors)
    assert (model.kind, model.bits, model.dim) == (kind, BITS, 16)
    assert (codes.dtype, codes.shape) == (np.uint8, (len(UNSEEN.vectors), BITS // 8))
    shares = unpacked(codes).mean(axis=0)
    assert ((shares > 0) & (shares < 1)).mean() > 0.9, "nearly every bit tells something apart"


@pytest.mark.parametrize("kind", KINDS)
def test_codes_depend_on_nothing_but_arguments_and_seed(kind: str) -> None:
    first = fitted(kind)
    np.random.seed(7)
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    again = fit_codes(kind, SEEN.vectors.copy(), bits=BITS, seed=0, labels=SEEN.labels)
    assert torch.equal(state, torch.random.get_rng_state())
    for name, values in first.tensors().items():
        assert np.array_equal(values, again.tensors()[name]), name


# 16 components and all 120 rows as anchors leave nothing to chance in the other two.
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("pca", "kslsh")])
def test_another_seed_gives_other_codes(kind: str) -> None:
    other = fit_codes(kind, SEEN.vectors, bits=BITS, seed=1, labels=SEEN.labels)
    assert not np.array_equal(fitted(kind).encode(SEEN.vectors), other.encode(SEEN.vectors))


@pytest.mark.parametrize("kind", KINDS)
def test_a_descriptor_alone_has_the_code_it_has_among_others(kind: str) -> None:
    together = fitted(kind).encode(UNSEEN.vectors)
    alone = np.concatenate([fitted(kind).encode(row[None]) for row in UNSEEN.vectors])
    # Sums in another order may turn a bit that is on the threshold to a millionth.
    assert (unpacked(together) != unpacked(alone)).mean() < 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_no_descriptors_have_no_codes(kind: str) -> None:
    assert fitted(kind).encode(np.empty((0, 16), np.float32)).shape == (0, BITS // 8)


def test_bits_are_packed_first_bit_highest() -> None:
    model = LayeredCodes("rotation", (np.eye(8, dtype=np.float32),), (np.zeros(8, np.float32),))
    assert model.encode(np.array([[1, -1, -1, -1, -1, -1, 1, 1]], np.float32)).tolist() == [[0b10000011]]


def test_more_rows_than_fit_at_once_are_encoded_in_order() -> None:
    vectors = np.tile(SEEN.vectors, (150, 1))
    codes = fitted("itq").encode(vectors)
    assert len(codes) == 18_000
    differing = unpacked(codes[: len(SEEN.vectors)]) != unpacked(codes[-len(SEEN.vectors) :])
    assert differing.mean() < 1e-3


@settings(max_examples=30, deadline=None)
@given(
    kind=st.sampled_from(["itq", "rotation", "pca", "klsh"]),
    rows=st.integers(8, 40),
    dim=st.integers(1, 40),
    octets=st.integers(1, 8),
    seed=st.integers(0, 3),
)
def test_any_shape_is_encoded(kind: str, rows: int, dim: int, octets: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
    model = fit_codes(kind, vectors, bits=8 * octets, seed=seed)
    codes = model.encode(vectors[: rows // 2])
    assert (codes.shape, codes.dtype, model.dim) == ((rows // 2, octets), np.uint8, dim)


@settings(max_examples=50, deadline=None)
@given(rows=st.integers(0, 30), octets=st.integers(1, 9), seed=st.integers(0, 9))
def test_distances_are_the_bits_that_differ(rows: int, octets: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes, query = rng.integers(0, 256, (rows, octets), np.uint8), rng.integers(0, 256, octets, np.uint8)
    found = hamming_distances(codes, query)
    assert found.dtype == np.uint16
    assert found.tolist() == (np.unpackbits(codes, axis=1) != np.unpackbits(query)).sum(axis=1).tolist()


def test_distances_reach_over_many_codes_and_all_bits() -> None:
    codes = np.zeros((20_000, 64), np.uint8)
    codes[-1] = 255
    assert hamming_distances(codes, codes[0])[[0, 9_999, -1]].tolist() == [0, 0, 512]


@pytest.mark.parametrize("query", [np.zeros(3, np.uint8), np.zeros((1, 4), np.uint8), np.zeros(4, np.int64)])
def test_codes_that_do_not_compare_are_refused(query: NDArray[np.uint8]) -> None:
    with pytest.raises(ShapeMismatch, match="same model"):
        hamming_distances(np.zeros((5, 4), np.uint8), query)


def test_the_kernel_is_gaussian() -> None:
    found = rbf(SEEN.vectors[:5], SEEN.vectors[5:9], 0.7)
    apart = np.linalg.norm(SEEN.vectors[:5, None] - SEEN.vectors[5:9], axis=2)
    assert np.allclose(found, np.exp(-(apart**2) / (2 * 0.7**2)), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_too_few_rows_are_refused_with_their_number(kind: str) -> None:
    with pytest.raises(TrainingRefused, match=r"0 descriptors.*rotation"):
        fit_codes(kind, np.empty((0, 16), np.float32), bits=8, labels=np.empty(0, np.int64))


@pytest.mark.parametrize("bits", [0, -8, 12, 511, 1 << 20])
def test_bits_that_cannot_be_packed_are_refused(bits: int) -> None:
    with pytest.raises(QueryInvalid, match="multiple of 8"):
        fit_codes("itq", SEEN.vectors, bits=bits)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_with_their_row(value: float) -> None:
    vectors = SEEN.vectors.copy()
    vectors[17, 3] = value
    with pytest.raises(QueryInvalid, match="Descriptor 17 "):
        fit_codes("itq", vectors, bits=8)
    with pytest.raises(QueryInvalid, match="Descriptor 17 "):
        fitted("itq").encode(vectors)


@pytest.mark.parametrize("shape", [(16,), (5, 0), (5, 15), (2, 3, 16)])
def test_descriptors_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeMismatch, match="shape"):
        fitted("itq").encode(np.zeros(shape, np.float32))


def test_unknown_codes_are_refused_with_those_there_are() -> None:
    with pytest.raises(QueryInvalid, match=r"'lsh'.*itq, rotation"):
        fit_codes("lsh", SEEN.vectors)


@pytest.mark.parametrize("kind", SUPERVISED)
@pytest.mark.parametrize(
    ("labels", "error", "words"),
    [
        (None, TrainingRefused, "none were given"),
        (np.full(120, -1), TrainingRefused, r"0 labels of 0 class"),
        (np.where(np.arange(120) < 50, 3, -1), TrainingRefused, r"50 labels of 1 class"),
        (np.where(np.arange(120) < 3, np.arange(120), -1), TrainingRefused, r"3 labels of 3 class"),
        (SEEN.labels[:-1], ShapeMismatch, r"119.*120"),
        (SEEN.labels.astype(float), ShapeMismatch, "float64"),
    ],
)
def test_labels_that_teach_nothing_are_refused(
    kind: str, labels: NDArray[np.int64] | None, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        fit_codes(kind, SEEN.vectors, bits=8, labels=labels)


@pytest.mark.parametrize("kind", SUPERVISED)
def test_rows_without_a_label_are_not_a_class(kind: str) -> None:
    some = np.where(np.arange(120) % 2, SEEN.labels, -1)
    codes = fit_codes(kind, SEEN.vectors, bits=BITS, labels=some).encode(UNSEEN.vectors)
    assert precision_at_5(codes, UNSEEN.labels) > 0.8
