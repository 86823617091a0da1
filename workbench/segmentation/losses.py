"""The training loss: cross-entropy and soft IoU in one number, blind to pixels nobody labelled."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from workbench.segmentation.scores import IGNORE


def segmentation_loss(
    logits: Tensor, target: Tensor, *, class_weights: Tensor | None = None, ignore: int = IGNORE
) -> Tensor:
    """Cross-entropy minus the logarithm of the soft IoU.

    Iglovikov and Shvets, "TernausNet" (2018), ``L = H - log J``; as in their released code, J is taken over the sums of a
    whole batch, which also counts an image without the class. For several classes J is the mean over those of 1…n that
    occur in the batch. The background has no part in it: it is nearly always right and would hide a class that is not.

    Args:
        logits: network output, float, shape (batch, classes + 1, rows, cols).
        target: 0 background, 1…classes, ``ignore`` where nobody looked; int64, shape (batch, rows, cols).
        class_weights: factors of the cross-entropy, shape (classes + 1,).
        ignore: target value that counts for nothing.

    Returns:
        The loss, a float32 scalar >= 0; zero (with a zero gradient) when every pixel is ignored.
    """
    logits = logits.float()
    known = target != ignore
    if not known.any():
        return logits.sum() * 0.0
    log_probability = F.log_softmax(logits, dim=1)
    entropy = F.nll_loss(log_probability, target, weight=class_weights, ignore_index=ignore)
    overlap = soft_iou(log_probability.exp(), target, known)
    return entropy - overlap.mean().log() if len(overlap) else entropy


def soft_iou(probability: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Soft IoU of each class 1…n that occurs: ``sum(y p) / sum(y + p - y p)`` over the known pixels.

    One pixel is added above and below the line, so that the logarithm stays finite where nothing is right yet.

    Args:
        probability: softmax output, shape (batch, classes + 1, rows, cols).
        target: class of each pixel, int64, shape (batch, rows, cols); unknown pixels may hold any value.
        known: which pixels count, bool, shape (batch, rows, cols).

    Returns:
        One value in (0, 1] per class that occurs, in order.
    """
    classes = probability[:, 1:].movedim(1, -1)[known]  # (pixels, classes)
    truth = F.one_hot(target[known], probability.shape[1])[:, 1:].to(classes.dtype)
    both = (truth * classes).sum(dim=0)
    either = truth.sum(dim=0) + classes.sum(dim=0) - both
    occurs = truth.sum(dim=0) > 0
    return (both[occurs] + 1) / (either[occurs] + 1)
