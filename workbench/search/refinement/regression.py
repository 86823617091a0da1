"""Weighted logistic regression in terms of products of samples: as quick in a thousand dimensions as in ten."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

_STEPS = 12
_CLOSE = 1e-3


@dataclass(frozen=True)
class Fit:
    """A fitted regression: score of x = sum over samples of share * product(sample, x) + bias.

    Attributes:
        shares: float64 (n,).
        bias: added to every score.
        left_out: what the scores of the first samples would be had each not been used, float64 (m,).
    """

    shares: NDArray[np.float64]
    bias: float
    left_out: NDArray[np.float64]


def fit_logistic(
    products: NDArray[np.float32], wanted: NDArray[np.bool_], weights: NDArray[np.float64], left_out: int = 0
) -> Fit:
    """Minimise sum of weight * log(1 + exp(-y f)) + |f|^2 / 2 by Newton's method.

    With f = products @ shares + bias, each step solves a weighted least-squares problem whose matrix is
    products + diag(1 / curvature) (Rasmussen & Williams 2006, eq. 3.18). That matrix also gives every sample's score without
    itself in closed form (their eq. 5.12, for the least-squares problem of the last step).

    Args:
        products: of all samples, positive semi-definite (n, n).
        wanted: whether each is positive, (n,); both kinds must be there.
        weights: of each, above 0, (n,).
        left_out: of how many samples, from the first on, the score without themselves is wanted.
    """
    count = len(wanted)
    matrix = np.asarray(products, np.float64)
    signs = np.where(wanted, 1.0, -1.0)
    shares, bias = np.zeros(count), 0.0
    ones = np.ones(count)
    for _ in range(_STEPS):
        score = matrix @ shares + bias
        chance = 1 / (1 + np.exp(np.clip(signs * score, -30, 30)))  # of being wrong
        curvature = np.maximum(weights * chance * (1 - chance), 1e-10)
        target = score + weights * signs * chance / curvature
        factor = cho_factor(matrix + np.diag(1 / curvature), lower=True, overwrite_a=True, check_finite=False)
        solved = cho_solve(factor, np.stack([target, ones], axis=1), check_finite=False)
        bias = float(solved[:, 0].sum() / solved[:, 1].sum())
        new = solved[:, 0] - bias * solved[:, 1]
        moved = np.abs(new - shares).max()
        shares = new
        if moved <= _CLOSE * np.abs(shares).max():
            break
    inverse = cho_solve(factor, np.eye(count, left_out), check_finite=False)
    return Fit(shares, bias, target[:left_out] - shares[:left_out] / np.diag(inverse))
