"""Masks that are not quite right: outlines are moved to their objects, missing objects are left in peace, the rest stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from workbench.segmentation.imperfect import mended
from workbench.segmentation.scores import IGNORE


def logits(truth: np.ndarray, sure: float = 3.0) -> torch.Tensor:
    """What a network that knows the truth roughly says."""
    generator = torch.Generator().manual_seed(0)
    classes = torch.nn.functional.one_hot(torch.from_numpy(truth), 3).permute(2, 0, 1)[None]
    return 2 * sure * (classes.float() - 0.5) + torch.randn(1, 3, *truth.shape, generator=generator)


def squares(*places: tuple[int, int, int]) -> np.ndarray:
    mask = np.zeros((128, 128), np.int64)
    for row, col, number in places:
        mask[row : row + 24, col : col + 24] = number
    return mask


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    known = one != IGNORE
    return float(((one == other) & (other > 0) & known).sum() / (((one > 0) | (other > 0)) & known).sum())


def test_each_outline_is_moved_to_its_object() -> None:
    truth = squares((10, 10, 1), (10, 70, 1), (70, 10, 2), (70, 70, 2))
    beside = squares((16, 10, 1), (10, 64, 1), (66, 14, 2), (70, 76, 2))
    found = mended(torch.from_numpy(beside)[None], logits(truth), 8)[0].numpy()
    assert overlap(beside, truth) < 0.65 and overlap(found, truth) > 0.9


def test_outlines_are_not_moved_farther_than_told() -> None:
    truth, beside = squares((10, 10, 1)), squares((30, 10, 1))
    found = mended(torch.from_numpy(beside)[None], logits(truth), 4)[0].numpy()
    rows = np.flatnonzero((found == 1).any(axis=1))
    assert (rows[0], rows[-1]) == (26, 49)


def test_a_missing_object_counts_for_nothing_and_ground_stays_ground() -> None:
    truth = squares((10, 10, 1), (10, 70, 1))
    found = mended(torch.from_numpy(squares((10, 10, 1)))[None], logits(truth), 4)[0].numpy()
    assert (found[12:32, 72:92] == IGNORE).mean() > 0.95
    assert (found[60:] == 0).all() and overlap(found, truth) > 0.95


def test_exact_masks_and_an_unsure_network_change_nothing() -> None:
    truth = squares((10, 10, 1), (104, 100, 1))  # the second one at the edge
    for told in (logits(truth), torch.zeros(1, 2, 128, 128)):
        assert np.array_equal(mended(torch.from_numpy(truth)[None], told, 6)[0].numpy(), truth)


@pytest.mark.parametrize("value", [0, IGNORE])
def test_masks_of_one_value_stay(value: int) -> None:
    masks = torch.full((2, 32, 32), value)
    assert torch.equal(mended(masks, torch.zeros(2, 2, 32, 32), 3), masks)


def test_where_nobody_looked_stays_unknown() -> None:
    truth = squares((10, 10, 1))
    masks = squares((14, 10, 1))
    masks[:, 20:] = IGNORE
    found = mended(torch.from_numpy(masks)[None], logits(truth), 8)[0].numpy()
    assert (found[:, 20:] == IGNORE).all()
