"""Codes from hyperplanes: iterative quantisation, random rotation and the signs of principal components."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.codes.models import LayeredCodes

ITERATIONS = 50
_LEAST_VARIANCE = 1e-6


def fit_itq(vectors: NDArray[np.float32], bits: int, seed: int) -> LayeredCodes:
    """Iterative quantisation: principal components, turned so that signs lose least (Gong & Lazebnik 2011).

    Where descriptors have fewer components than bits, those are turned into ``bits`` dimensions, as if padded with
    zeros: each bit is then one of more hyperplanes than dimensions, a tight frame (Jégou, Furon & Fuchs 2012).

    Args:
        vectors: descriptors, float32 (n, dim).
        bits: length of a code.
        seed: of the rotation to start from.
    """
    mean, components = principal_components(vectors, bits)
    rotation, _ = turned_to_signs(np.matmul(vectors - mean, components), bits, seed)
    return _hyperplanes("itq", components @ rotation, mean)


def fit_rotation(vectors: NDArray[np.float32], bits: int, seed: int) -> LayeredCodes:
    """Signs in a randomly turned space, or on random hyperplanes at right angles (Charikar 2002; Ji et al. 2012).

    More bits than dimensions are a random tight frame.
    """
    mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    return _hyperplanes("rotation", random_rotation(vectors.shape[1], bits, seed), mean)


def fit_pca(vectors: NDArray[np.float32], bits: int, seed: int) -> LayeredCodes:
    """Signs of the principal components (Wang, Kumar & Chang 2010, "PCA hashing").

    Bits beyond the number of components are signs on random hyperplanes of the same space.
    """
    mean, components = principal_components(vectors, bits)
    spare = bits - components.shape[1]
    planes = [components]
    if spare:
        planes.append(components @ random_rotation(components.shape[1], spare, seed))
    return _hyperplanes("pca", np.concatenate(planes, axis=1), mean)


def turned_to_signs(
    projected: NDArray[np.float32], bits: int, seed: int, iterations: int = ITERATIONS
) -> tuple[NDArray[np.float32], list[float]]:
    """The rotation R that brings rows v nearest to their signs: alternately b = sign(v R), and the best R for these b.

    The second is the orthogonal Procrustes problem, solved by a singular value decomposition (Gong & Lazebnik 2011,
    section 2.2); neither step can raise the loss.

    Args:
        projected: centred rows, float32 (n, k), with k at most ``bits``.
        bits: columns of the rotation.
        seed: of the rotation to start from.
        iterations: how often both steps are done.

    Returns:
        the rotation, float32 (k, bits) with orthonormal rows, and the loss ||sign(v R) - v R||^2, a mean over rows,
        before each step and at the end.
    """
    # Rows of unit variance: the solution does not depend on it, and the loss can be compared between archives.
    projected = projected / np.float32(max(float(projected.std()), 1e-12))
    rotation = random_rotation(projected.shape[1], bits, seed)
    losses = []
    for step in range(iterations + 1):
        turned = projected @ rotation
        signs = np.where(turned > 0, np.float32(1), np.float32(-1))
        losses.append(float(((signs - turned) ** 2).sum(dtype=np.float64)) / len(turned))
        if step < iterations:
            left, _, right = np.linalg.svd(projected.T @ signs, full_matrices=False)
            rotation = left @ right
    return rotation, losses


def random_rotation(dim: int, bits: int, seed: int) -> NDArray[np.float32]:
    """A uniformly random matrix (dim, bits) with orthonormal columns, or rows where there are more columns.

    QR of a Gaussian matrix with the signs of R's diagonal taken out (Mezzadri 2007).
    """
    gaussian = np.random.default_rng(seed).standard_normal((max(dim, bits), min(dim, bits)))
    orthonormal, triangular = np.linalg.qr(gaussian)
    orthonormal *= np.sign(np.diagonal(triangular))
    return np.ascontiguousarray(orthonormal if dim >= bits else orthonormal.T, np.float32)


def principal_components(vectors: NDArray[np.float32], most: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean (dim,) and at most ``most`` directions (dim, k) of largest variance, those without any left out."""
    mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = vectors - mean
    variances, directions = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    order = np.argsort(-variances, kind="stable")[:most]
    kept = order[variances[order] > _LEAST_VARIANCE * max(variances.max(), 1e-12)]
    return mean, directions[:, kept if len(kept) else order[:1]].astype(np.float32)


def _hyperplanes(kind: str, normals: NDArray[np.float32], mean: NDArray[np.float32]) -> LayeredCodes:
    """One layer that tells on which side of planes through the mean a descriptor lies."""
    return LayeredCodes(kind, (np.ascontiguousarray(normals),), (-(mean @ normals),))
