"""Training crops: turned and zoomed with their masks, recoloured without moving anything, and drawn from where they should be."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.segmentation.augment import recoloured, turned
from workbench.segmentation.samples import Crops, Sample
from workbench.segmentation.scores import IGNORE


def test_a_cut_that_is_neither_turned_nor_zoomed_changes_nothing() -> None:
    image, mask = torch.randn(3, 64, 64), torch.randint(0, 3, (64, 64), dtype=torch.uint8)
    pixels, found = turned(image, mask, 64, 1.0, 0.0, IGNORE)
    assert torch.equal(found, mask) and torch.allclose(pixels, image, atol=1e-4)


@given(zoom=st.floats(0.7, 1.4), angle=st.floats(-math.pi, math.pi))
@settings(max_examples=40, deadline=None)
def test_image_and_mask_are_turned_and_zoomed_alike(zoom: float, angle: float) -> None:
    mask = torch.zeros(200, 200, dtype=torch.uint8)
    mask[60:110, 90:160] = 1
    pixels, found = turned(mask[None].float(), mask, 96, zoom, angle, IGNORE)
    known = found != IGNORE
    assert ((pixels[0] > 0.5) == (found == 1))[known].float().mean() > 0.98
    if (found == 1).any() and not (found[0] == 1).any() and not (found[:, 0] == 1).any():
        assert (found == 1).sum() <= 1.1 * 50 * 70 / zoom**2


def test_what_lies_outside_of_the_square_counts_for_nothing() -> None:
    pixels, found = turned(torch.ones(2, 32, 32), torch.ones(32, 32, dtype=torch.uint8), 32, 2.0, 0.0, IGNORE)
    assert (found[:7] == IGNORE).all() and (pixels[:, :7] == 0).all()
    assert (found[10:22, 10:22] == 1).all()


@pytest.mark.parametrize("bands", [1, 3, 4])
def test_colours_change_but_not_what_is_where(bands: int) -> None:
    random = np.random.default_rng(0)
    image = torch.zeros(bands, 64, 64)
    image[:, 20:40, 20:40] = 1.5
    images = [recoloured(image, random) for _ in range(30)]
    assert all(each.shape == image.shape and torch.isfinite(each).all() for each in images)
    assert all(each[:, 22:38, 22:38].mean() > each[:, :15].mean() for each in images)
    assert np.std([float(each.mean()) for each in images]) > 0.1


@pytest.mark.parametrize("side", [32, 64, 300])
def test_crops_hold_labelled_pixels_of_chips_smaller_and_larger_than_they(side: int) -> None:
    mask = np.zeros((side, side), np.uint8)
    mask[side // 2 :, side // 2 :] = 1
    image = np.stack([mask, 1 - mask]).astype(np.float16)
    crops = Crops([Sample("one.tif", image, mask)], 1, 64, seed=0)
    batch = crops.batch(16)
    assert batch.images.shape == (16, 2, 64, 64) and set(batch.masks.unique().tolist()) <= {0, 1, IGNORE}
    assert (batch.masks != IGNORE).flatten(1).any(dim=1).all()
    assert side < 300 or (batch.masks != IGNORE).all()
    state = crops.state
    first = crops.batch(4).images
    crops.state = state
    assert torch.equal(crops.batch(4).images, first)
