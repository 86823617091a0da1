"""Each recipe does what its paper says: losses fall, rotations are rotations, labels pull bits together."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from clusters import clusters, unpacked

from workbench.descriptors.codes import kernels
from workbench.descriptors.codes.autoencoder import fit_autoencoder
from workbench.descriptors.codes.kernels import fit_klsh, fit_kslsh
from workbench.descriptors.codes.layers import new_layers, through
from workbench.descriptors.codes.linear import (
    fit_itq,
    fit_pca,
    fit_rotation,
    principal_components,
    random_rotation,
    turned_to_signs,
)
from workbench.descriptors.codes.milan import fit_milan, triplet_loss
from workbench.descriptors.codes.models import rbf

SEEN = clusters(count=400)


@pytest.mark.parametrize(("dim", "bits"), [(16, 16), (16, 8), (16, 40), (1, 8), (40, 8)])
def test_a_random_rotation_keeps_right_angles(dim: int, bits: int) -> None:
    rotation = random_rotation(dim, bits, seed=3)
    product = rotation.T @ rotation if dim >= bits else rotation @ rotation.T
    assert rotation.shape == (dim, bits) and np.allclose(product, np.eye(min(dim, bits)), atol=1e-6)


@pytest.mark.parametrize("bits", [16, 8, 40])
def test_iterative_quantisation_loses_less_with_every_step(bits: int) -> None:
    mean, components = principal_components(SEEN.vectors, bits)
    projected = np.matmul(SEEN.vectors - mean, components)
    rotation, losses = turned_to_signs(projected, bits, seed=0, iterations=20)
    assert np.allclose(rotation @ rotation.T, np.eye(len(rotation)), atol=1e-5)
    assert all(later <= before * (1 + 1e-6) for before, later in itertools.pairwise(losses))
    assert losses[-1] < 0.95 * losses[0] and len(losses) == 21


def test_principal_components_are_the_directions_of_most_variance() -> None:
    stretched = SEEN.vectors * np.linspace(1, 4, 16, dtype=np.float32)
    mean, components = principal_components(stretched, 5)
    variances = ((stretched - mean) @ components).var(axis=0)
    expected = np.linalg.eigvalsh(np.cov(stretched.T, bias=True))[::-1][:5]
    assert np.allclose(variances, expected, rtol=1e-4)


def test_directions_without_variance_make_no_bits_of_rounding_errors() -> None:
    flat = np.zeros((50, 12), np.float32)
    flat[:, :3] = clusters(count=50, dim=3).vectors
    for fit in (fit_itq, fit_pca):
        model = fit(flat, 8, 0)
        moved = flat + np.random.default_rng(0).normal(0, 1e-6, flat.shape).astype(np.float32)
        assert (unpacked(model.encode(flat)) != unpacked(model.encode(moved))).mean() < 0.01


def test_pca_codes_are_signs_of_the_components_and_random_planes_beyond_them() -> None:
    mean, components = principal_components(SEEN.vectors, 16)
    assert components.shape == (16, 16)
    bits = unpacked(fit_pca(SEEN.vectors, 24, 0).encode(SEEN.vectors))
    assert ((np.matmul(SEEN.vectors - mean, components) > 0) == bits[:, :16]).mean() > 0.999
    assert 0.2 < bits[:, 16:].mean() < 0.8


def test_differing_bits_of_a_random_rotation_measure_the_angle() -> None:
    bits = unpacked(fit_rotation(SEEN.vectors, 4096, 0).encode(SEEN.vectors[:40]))
    mean = SEEN.vectors.mean(axis=0)
    rows = SEEN.vectors[:40] - mean
    cosines = np.clip(rows @ rows.T / np.outer(*2 * [np.linalg.norm(rows, axis=1)]), -1, 1)
    differing = (bits[:, None] != bits).mean(axis=2)
    assert np.abs(differing - np.arccos(cosines) / np.pi).max() < 0.05  # Charikar 2002


def test_random_planes_of_the_kernel_halve_the_rows_and_keep_neighbours() -> None:
    bits = unpacked(fit_klsh(SEEN.vectors, 256, 0).encode(SEEN.vectors))
    assert 0.4 < bits.mean() < 0.6
    differing = (bits[:100, None] != bits[:100]).mean(axis=2)
    cosines = SEEN.vectors[:100] @ SEEN.vectors[:100].T
    assert np.corrcoef(differing.ravel(), cosines.ravel())[0, 1] < -0.9


def test_supervised_kernel_bits_agree_within_classes_and_differ_between() -> None:
    unseen = clusters(count=100, seed=1)
    bits = unpacked(fit_kslsh(SEEN.vectors, 32, 0, SEEN.labels).encode(unseen.vectors))
    differing = (bits[:, None] != bits).mean(axis=2)
    same = unseen.labels[:, None] == unseen.labels
    assert differing[same].mean() < 0.15 and differing[~same].mean() > 0.4


def test_supervised_bits_are_those_of_the_whole_matrix_of_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Greedy spectral relaxation as Liu et al. 2012 write it, with every pair of rows in memory."""
    from scipy.linalg import eigh

    monkeypatch.setattr(kernels, "_improved", lambda white, left, start: start)
    seen = clusters(count=60, dim=5, classes=5, spread=1.2)
    model = fit_kslsh(seen.vectors, 16, 0, seen.labels, anchors=12)
    likeness = rbf(seen.vectors, model.anchors, float(model.bandwidth[0])).astype(np.float64)
    likeness -= likeness.mean(axis=0)
    left = 16 * np.where(seen.labels[:, None] == seen.labels, 1.0, -1.0)
    for found in (unpacked(model.encode(seen.vectors)) * 2 - 1).T:
        top = eigh(likeness.T @ left @ likeness, likeness.T @ likeness)[1][:, -1]
        expected = np.where(likeness @ top > 0, 1, -1)
        assert abs(expected @ found) == 60, "equal but for the sign of the whole bit"
        left -= np.outer(expected, expected)


def test_the_smooth_sign_makes_supervised_bits_agree_with_the_labels_more(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = clusters(count=200, dim=8, classes=7, spread=1.5)
    similar = np.where(seen.labels[:, None] == seen.labels, 1.0, -1.0)

    def loss() -> float:
        bits = unpacked(fit_kslsh(seen.vectors, 16, 0, seen.labels, anchors=40).encode(seen.vectors)) * 2.0 - 1
        return float(((bits @ bits.T / 16 - similar) ** 2).mean())

    smooth = loss()
    monkeypatch.setattr(kernels, "_improved", lambda white, left, start: start)
    assert smooth < 0.95 * loss()


def test_anchors_are_drawn_by_seed() -> None:
    first, again, other = (fit_kslsh(SEEN.vectors, 8, seed, SEEN.labels, anchors=50) for seed in (0, 0, 1))
    assert np.array_equal(first.anchors, again.anchors) and not np.array_equal(first.anchors, other.anchors)
    assert all((SEEN.vectors == anchor).all(axis=1).any() for anchor in first.anchors)


def test_few_rows_are_anchors_enough() -> None:
    few = clusters(count=9)
    assert fit_klsh(few.vectors, 64, 0).anchors.shape == (9, 16)
    assert fit_kslsh(few.vectors, 64, 0, few.labels).encode(few.vectors).shape == (9, 8)


def test_the_autoencoder_gives_descriptors_back_better_than_untrained() -> None:
    def explained(steps: int) -> float:
        """Share of variance that the best linear decoder of the bits gives back, on rows it was not fitted to."""
        model = fit_autoencoder(SEEN.vectors, 32, 0, steps=steps)
        bits = np.column_stack([unpacked(model.encode(SEEN.vectors)) * 2 - 1, np.ones(400)])
        decoder = np.linalg.lstsq(bits[:300], SEEN.vectors[:300], rcond=None)[0]
        rest = SEEN.vectors[300:]
        return 1 - float(((bits[300:] @ decoder - rest) ** 2).sum() / ((rest - rest.mean(axis=0)) ** 2).sum())

    assert explained(steps=200) > explained(steps=1) + 0.02


def test_the_triplet_loss_is_the_mean_over_triplets_that_violate_the_margin() -> None:
    generator = torch.Generator().manual_seed(0)
    embedded = torch.nn.functional.normalize(torch.randn(9, 5, generator=generator))
    classes = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 3])
    found = []
    for a, p, n in itertools.product(range(9), repeat=3):
        if a != p and classes[a] == classes[p] != classes[n]:
            nearer, farther = ((embedded[a] - embedded[other]).square().sum() for other in (p, n))
            found.append(max(0.0, float(nearer - farther + 0.2)))
    expected = np.mean([value for value in found if value > 0])
    assert float(triplet_loss(embedded, classes)) == pytest.approx(expected, rel=1e-5)


def test_a_batch_without_a_pair_has_no_loss_and_a_gradient() -> None:
    embedded = torch.eye(4, requires_grad=True)
    loss = triplet_loss(embedded, torch.arange(4))
    loss.backward()
    assert float(loss.detach()) == 0 and embedded.grad is not None


def test_milan_sets_about_half_of_the_bits_of_a_code() -> None:
    model = fit_milan(SEEN.vectors, 32, 0, SEEN.labels, steps=200)
    assert [layer.shape for layer in model.weights] == [(16, 1024), (1024, 512), (512, 32)]
    shares = unpacked(model.encode(SEEN.vectors)).mean(axis=1)
    assert 0.3 < shares.mean() < 0.7 and shares.min() > 0.1 and shares.max() < 0.9


def test_trained_layers_encode_as_they_were_trained() -> None:
    from workbench.descriptors.codes.layers import layered_codes

    layers = new_layers((16, 20, 8), torch.Generator().manual_seed(1))
    with torch.no_grad():
        layers[0][1].normal_()
    model = layered_codes("autoencoder", layers, input_scale=3.0)
    outputs = through(layers, torch.from_numpy(SEEN.vectors) * 3).detach().numpy()
    assert ((outputs > 0) == unpacked(model.encode(SEEN.vectors))).mean() > 0.999
