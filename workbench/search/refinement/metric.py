"""A metric in which what varies all over the archive counts less: similarity for regression, fitted without labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

_RIDGE = 3.0


@dataclass(frozen=True)
class Metric:
    """The product x P y with P = (C + s I)^-1, up to a scale, where C is the second moment of an archive's descriptors.

    This is the metric of linear discriminants whose covariance is that of everything there is (Hariharan, Malik & Ramanan
    2012, "Discriminative decorrelation for clustering and classification"), pulled toward the plain dot product by s.

    Attributes:
        sample: unit descriptors of the archive, float32 (n, dim).
        factor: Cholesky factor of (n s I + sample sample^T).
        scale: so that the mean of x P x over the sample is 1.
    """

    sample: NDArray[np.float32]
    factor: tuple[NDArray[np.float32], bool]
    scale: float

    def apply(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """P times each vector, (m, dim) to (m, dim), by the identity of Woodbury (1950)."""
        inner = cho_solve(self.factor, self.sample @ vectors.T, check_finite=False)
        return (vectors - inner.T @ self.sample) * np.float32(self.scale)


def fit_metric(sample: NDArray[np.float32]) -> Metric:
    """The metric of unit descriptors (n, dim); s is three times their mean squared cosine: one part in as many as matter.

    The mean squared cosine of different tiles is one over the number of dimensions that matter (the participation ratio
    of C's eigenvalues), which a whole spectrum needs not be computed for.
    """
    count = len(sample)
    gram = (sample @ sample.T).astype(np.float32)
    off = float((gram**2).sum() - (np.diag(gram) ** 2).sum()) / max(1, count * (count - 1))
    ridge = _RIDGE * max(off, 1e-4)
    inner = gram + np.float32(count * ridge) * np.eye(count, dtype=np.float32)
    factor = cho_factor(inner, lower=True, check_finite=False)
    plain = Metric(sample, factor, 1.0)
    return Metric(sample, factor, 1 / max(float((plain.apply(sample) * sample).sum(axis=1).mean()), 1e-6))
