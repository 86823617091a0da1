"""The loss: its value by hand, and numbers rather than NaN where there is little to learn from."""

import math

import pytest
import torch

from workbench.segmentation.losses import segmentation_loss


def test_the_loss_is_cross_entropy_minus_log_soft_iou():
    # Two pixels, two classes, all in the first class's favour: p = (0.8, 0.2) and (0.4, 0.6), truth 0 and 1.
    logits = torch.log(torch.tensor([[0.8, 0.4], [0.2, 0.6]])).reshape(1, 2, 1, 2)
    target = torch.tensor([[[0, 1]]])
    entropy = -(math.log(0.8) + math.log(0.6)) / 2
    overlap = (0.6 + 1) / (1 + 0.2 + 0.6 - 0.6 + 1)
    expected = entropy - math.log(overlap)
    assert float(segmentation_loss(logits, target)) == pytest.approx(expected, rel=1e-5)


def test_a_perfect_prediction_costs_nothing():
    target = torch.randint(0, 3, (2, 8, 8), generator=torch.Generator().manual_seed(0))
    logits = 40 * torch.nn.functional.one_hot(target, 3).permute(0, 3, 1, 2).float()
    assert float(segmentation_loss(logits, target)) == pytest.approx(0, abs=1e-4)


def test_P21_ignored_pixels_change_neither_loss_nor_gradient():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 2, 8, 8, generator=generator, requires_grad=True)
    target = torch.randint(0, 2, (2, 8, 8), generator=generator)
    target[:, :4] = 255
    loss = segmentation_loss(logits, target)
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad[:, :, :4] == 0).all() and (logits.grad[:, :, 4:] != 0).any()
    changed = logits.detach().clone()
    changed[:, :, :4] = 1000.0
    assert float(segmentation_loss(changed, target)) == float(loss.detach())


@pytest.mark.parametrize("value", [0, 255])
def test_P31_batches_of_background_or_of_nothing_known_stay_finite(value: int):
    logits = torch.randn(2, 3, 8, 8, requires_grad=True)
    loss = segmentation_loss(logits, torch.full((2, 8, 8), value))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()
    assert (float(loss.detach()) == 0) == (value == 255)


def test_class_weights_weigh_the_cross_entropy():
    logits = torch.zeros(1, 2, 1, 2)
    logits[0, 1] = 1.0
    target = torch.tensor([[[0, 1]]])
    heavy = segmentation_loss(logits, target, class_weights=torch.tensor([1.0, 9.0]))
    assert float(heavy) < float(segmentation_loss(logits, target))
