"""The small U-Net keeps the pixel grid, needs no weights and refuses those it cannot use."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from workbench.errors import WeightsUnavailable
from workbench.segmentation.unet import build_unet


@pytest.mark.parametrize(("bands", "classes", "rows", "cols"), [(3, 1, 64, 96), (5, 4, 32, 32)])
def test_there_is_a_logit_for_every_pixel(bands: int, classes: int, rows: int, cols: int) -> None:
    logits = build_unet("small", bands, classes)(torch.rand(2, bands, rows, cols))
    assert logits.shape == (2, classes + 1, rows, cols)


def test_an_output_pixel_depends_on_the_input_under_it_and_around() -> None:
    network = build_unet("small", 3, 1).eval()
    image = torch.rand(1, 3, 128, 128, requires_grad=True)
    network(image)[0, 1, 70, 41].backward()
    assert image.grad is not None
    strength = image.grad[0].abs().sum(dim=0)
    row, col = divmod(int(strength.argmax()), 128)
    assert abs(row - 70) <= 8 and abs(col - 41) <= 8
    assert strength[10, 41] > 0


def test_weights_for_it_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="random weights"):
        build_unet("small", 3, 1, tmp_path / "imagenet.pth")
