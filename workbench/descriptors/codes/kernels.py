"""Codes from likeness to anchors: kernel hashing without labels (KLSH) and with them (KSLSH)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.codes.models import KernelCodes, rbf, squared_distances

ANCHORS = 300
_SUBSET = 30
_LABELLED = 5000
_STEPS = 30
_NO_LABEL = -1


def fit_klsh(vectors: NDArray[np.float32], bits: int, seed: int, anchors: int = ANCHORS) -> KernelCodes:
    """Kernelised locality-sensitive hashing: random hyperplanes in the space of an RBF kernel (Kulis & Grauman 2009).

    A plane's normal is the whitened mean of a few random anchors, w = K^(-1/2) e_S with K the anchors' centred kernel and
    e_S what marks the few; it is nearly Gaussian by the central limit theorem.

    Args:
        vectors: descriptors, float32 (n, dim).
        bits: length of a code.
        seed: of the anchors and of their subsets.
        anchors: how many are drawn.
    """
    rng = np.random.default_rng(seed)
    chosen = _drawn(rng, vectors, anchors)
    bandwidth = _mean_distance(rng, vectors, chosen)
    kernel = rbf(chosen, chosen, bandwidth).astype(np.float64)
    means = kernel.mean(axis=0)
    centred = kernel - means - means[:, None] + means.mean()
    values, vectors_of = np.linalg.eigh(centred)
    useful = values > 1e-8 * values.max()
    whitening = vectors_of[:, useful] / np.sqrt(values[useful]) @ vectors_of[:, useful].T
    few = min(_SUBSET, max(1, len(chosen) // 2))
    subsets = np.stack([np.isin(np.arange(len(chosen)), rng.permutation(len(chosen))[:few]) for _ in range(bits)])
    # The centred kernel does not see a constant, so weights sum to zero: a new row needs only the anchors' means off.
    weights = whitening @ subsets.T
    return _kernel_codes("klsh", chosen, bandwidth, weights, means)


def fit_kslsh(
    vectors: NDArray[np.float32],
    bits: int,
    seed: int,
    labels: NDArray[np.int64],
    anchors: int = ANCHORS,
) -> KernelCodes:
    """Kernel supervised hashing (Demir & Bruzzone 2016, after Liu et al. 2012): bits that agree where labels do.

    Each bit in turn is fitted to what those before it left of the pairwise similarities (+1 same class, -1 other):
    the best direction without the sign (Liu's spectral relaxation), climbed from with a smooth sign (their sigmoid
    smoothing), and the better of both is kept. The matrix of pairs is never formed: it is of low rank.

    Args:
        vectors: descriptors, float32 (n, dim); all may become anchors.
        bits: length of a code.
        seed: of the anchors, and of the labelled rows where there are more than 5,000.
        labels: class of each row, -1 where unknown, int (n,).
        anchors: how many are drawn.
    """
    rng = np.random.default_rng(seed)
    chosen = _drawn(rng, vectors, anchors)
    bandwidth = _mean_distance(rng, vectors, chosen)
    known = np.flatnonzero(labels != _NO_LABEL)
    known = np.sort(rng.permutation(known)[:_LABELLED])
    kernel = rbf(vectors[known], chosen, bandwidth).astype(np.float64)
    means = kernel.mean(axis=0)
    kernel -= means
    # In coordinates where the rows are white, the relaxed problem is an ordinary eigenproblem.
    values, directions = np.linalg.eigh(kernel.T @ kernel / len(known))
    useful = values > 1e-6 * values.max()
    whitening = directions[:, useful] / np.sqrt(values[useful])
    white = kernel @ whitening
    classes = np.unique(labels[known], return_inverse=True)[1]
    weights = whitening @ _supervised_directions(white, np.eye(classes.max() + 1)[classes], bits)
    return _kernel_codes("kslsh", chosen, bandwidth, weights, means)


def _supervised_directions(white: NDArray[np.float64], members: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
    """Directions (k, bits) in the white rows (n, k), for classes given as members (n, classes) of 0 and 1."""
    from scipy.linalg import eigh

    count, width = white.shape
    left = _Residual(members, bits)
    by_class, total = white.T @ members, white.sum(axis=0)
    problem = bits * (2 * by_class @ by_class.T - np.outer(total, total))
    found = np.empty((width, bits))
    for bit in range(bits):
        _, top = eigh(problem, subset_by_index=[width - 1, width - 1])
        start = top[:, 0] / np.linalg.norm(top[:, 0])
        best = max((start, _improved(white, left, start)), key=lambda u: left.agreement(np.sign(white @ u)))
        signs = np.where(white @ best > 0, 1.0, -1.0)
        left.take(signs)
        seen = white.T @ signs
        problem -= np.outer(seen, seen)
        found[:, bit] = best
    return found / np.sqrt(count)


class _Residual:
    """What the bits so far left of the similarities: bits (2 Y Y' - 1) - H H', as a product only."""

    def __init__(self, members: NDArray[np.float64], bits: int) -> None:
        self._members, self._bits = members, bits
        self._codes = np.empty((len(members), 0))

    def take(self, signs: NDArray[np.float64]) -> None:
        self._codes = np.column_stack([self._codes, signs])

    def times(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        similar = 2 * self._members @ (self._members.T @ values) - values.sum()
        return self._bits * similar - self._codes @ (self._codes.T @ values)

    def agreement(self, values: NDArray[np.float64]) -> float:
        return float(values @ self.times(values))


def _improved(white: NDArray[np.float64], left: _Residual, start: NDArray[np.float64]) -> NDArray[np.float64]:
    """Climb from a direction with the sign replaced by tanh(x / 2), Liu's 2 / (1 + exp(-x)) - 1."""
    from scipy.optimize import minimize

    scale = float(len(white)) ** 2

    def loss(direction: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        smooth = np.tanh(white @ direction / 2)
        pull = left.times(smooth)
        return -float(smooth @ pull) / scale, white.T @ (pull * (smooth**2 - 1)) / scale

    return minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _STEPS}).x


def _drawn(rng: np.random.Generator, vectors: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    return vectors[np.sort(rng.permutation(len(vectors))[:count])]


def _mean_distance(rng: np.random.Generator, vectors: NDArray[np.float32], anchors: NDArray[np.float32]) -> float:
    """Mean distance of rows and anchors, for the kernel's bandwidth; Liu's own program takes the root mean square."""
    return max(float(np.sqrt(squared_distances(_drawn(rng, vectors, 2000), anchors)).mean()), 1e-6)


def _kernel_codes(
    kind: str,
    anchors: NDArray[np.float32],
    bandwidth: float,
    weights: NDArray[np.float64],
    means: NDArray[np.float64],
) -> KernelCodes:
    # Of unit length, so that float32 holds them well; a sign does not depend on it.
    weights = weights / np.maximum(np.linalg.norm(weights, axis=0), 1e-12)
    bias = -(means @ weights)
    return KernelCodes(
        kind, anchors, np.array([bandwidth], np.float32), weights.astype(np.float32), bias.astype(np.float32)
    )
