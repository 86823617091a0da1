"""Scores agree with torchmetrics, and are NaN where there is nothing to score."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torchmetrics.functional.classification import multiclass_jaccard_index

from workbench.errors import ShapeMismatch
from workbench.segmentation.scores import confusion, scores

masks = arrays(np.uint8, (6, 7), elements=st.sampled_from([0, 1, 2, 255]))
predictions = arrays(np.uint8, (6, 7), elements=st.sampled_from([0, 1, 2]))


@given(predictions, masks)
def test_iou_equals_torchmetrics(mask, truth):
    result = scores(confusion(mask, truth, 2))
    if not (truth != 255).any():
        assert np.isnan(result.accuracy)
        return
    reference = multiclass_jaccard_index(
        torch.from_numpy(mask.astype(np.int64)),
        torch.from_numpy(truth.astype(np.int64)),
        3,
        average="none",
        ignore_index=255,
    )
    assert np.allclose(np.nan_to_num(result.iou), reference.numpy(), atol=1e-6)
    assert result.accuracy == pytest.approx((mask == truth)[truth != 255].mean())


def test_precision_and_recall_are_of_the_class():
    result = scores(confusion(np.array([1, 1, 1, 0], np.uint8), np.array([1, 0, 255, 1], np.uint8), 1))
    assert result.precision[1] == 0.5 and result.recall[1] == 0.5 and result.iou[1] == pytest.approx(1 / 3)


def test_pixels_without_prediction_are_left_out():
    assert confusion(np.array([255, 1], np.uint8), np.array([1, 1], np.uint8), 1).sum() == 1


def test_an_absent_class_has_no_iou():
    result = scores(confusion(np.array([0, 1], np.uint8), np.array([0, 1], np.uint8), 2))
    assert np.isnan(result.iou[2]) and result.mean_iou == 1.0


def test_an_unknown_class_and_a_wrong_shape_are_refused():
    with pytest.raises(ShapeMismatch, match="class 7"):
        confusion(np.array([7], np.uint8), np.array([1], np.uint8), 2)
    with pytest.raises(ShapeMismatch):
        confusion(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8), 1)
