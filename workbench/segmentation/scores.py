"""How well a mask agrees with the truth: confusion matrix, IoU, accuracy, precision and recall per class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workbench.errors import ShapeMismatch

IGNORE = 255


@dataclass(frozen=True)
class Scores:
    """Agreement of a mask with the truth; entry 0 of each array is the background, NaN where a class is absent.

    Attributes:
        iou: intersection over union, TP / (TP + FP + FN), shape (classes + 1,).
        precision: TP / (TP + FP), shape (classes + 1,).
        recall: TP / (TP + FN), shape (classes + 1,).
        accuracy: share of the labelled pixels with the right class.
    """

    iou: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    accuracy: float

    @property
    def mean_iou(self) -> float:
        """Mean IoU over the classes 1…n that occur, NaN when none does."""
        present = self.iou[1:][np.isfinite(self.iou[1:])]
        return float(present.mean()) if present.size else float("nan")


def confusion(
    mask: NDArray[np.uint8], truth: NDArray[np.uint8], classes: int, ignore: int = IGNORE
) -> NDArray[np.int64]:
    """Count the pixels of each pair of true and predicted class.

    Args:
        mask: predicted class, 0 background, 1…classes; any shape. ``ignore`` where nothing was predicted.
        truth: true class, the same shape; ``ignore`` where nobody looked.
        classes: how many classes there are, without the background.
        ignore: value left out of the counts, in either array.

    Returns:
        Pixel counts, shape (classes + 1, classes + 1): a row per true class, a column per predicted one.
        Matrices of several images may be added.

    Raises:
        ShapeMismatch: the shapes differ, or a value is neither a class nor ``ignore``.
    """
    if mask.shape != truth.shape:
        raise ShapeMismatch(f"The mask has shape {mask.shape} and the truth {truth.shape}. Cut both by one window.")
    known = (mask != ignore) & (truth != ignore)
    found, true = mask[known].astype(np.int64), truth[known].astype(np.int64)
    largest = max(found.max(initial=0), true.max(initial=0))
    if largest > classes:
        raise ShapeMismatch(f"A pixel has class {largest}, and there are classes 0 to {classes}. Check the class list.")
    counts = np.bincount(true * (classes + 1) + found, minlength=(classes + 1) ** 2)
    return counts.reshape(classes + 1, classes + 1)


def scores(matrix: NDArray[np.int64]) -> Scores:
    """Turn a `confusion` matrix into IoU, precision, recall and accuracy."""
    right = np.diag(matrix).astype(np.float64)
    true, found = matrix.sum(axis=1), matrix.sum(axis=0)
    total = matrix.sum()
    return Scores(
        iou=_ratio(right, true + found - right),
        precision=_ratio(right, found),
        recall=_ratio(right, true),
        accuracy=float(right.sum() / total) if total else float("nan"),
    )


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
