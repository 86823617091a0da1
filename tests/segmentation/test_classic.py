"""The classic U-Net: the network of the literature by count, which shifts nothing and learns what is easy."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from workbench.errors import WeightsUnavailable
from workbench.labels.chips import Chips
from workbench.segmentation.train import train_unet
from workbench.segmentation.unet import build_unet, load_model


def test_it_is_the_network_of_the_literature_by_count() -> None:
    network = build_unet("classic", bands=3, classes=1)
    layers = list(network.modules())
    large = [each for each in layers if isinstance(each, nn.Conv2d | nn.ConvTranspose2d) and each.kernel_size == (4, 4)]
    norms = [each for each in layers if isinstance(each, nn.BatchNorm2d)]
    trained = sum(parameter.numel() for parameter in network.parameters())
    seen = sum(norm.running_mean.numel() + norm.running_var.numel() for norm in norms)
    assert (len(large), len(norms)) == (22, 18)
    assert (trained + seen, trained) == (3_842_241, 3_839_297)


@pytest.mark.parametrize(("bands", "classes"), [(1, 1), (5, 4)])
def test_it_takes_any_bands_and_classes(bands: int, classes: int) -> None:
    logits = build_unet("classic", bands, classes)(torch.rand(2, bands, 64, 96))
    assert logits.shape == (2, classes + 1, 64, 96)


def test_for_one_class_its_probability_is_the_sigmoid_of_its_logit() -> None:
    logits = build_unet("classic", 3, 1)(torch.rand(1, 3, 32, 32))
    assert torch.allclose(logits.softmax(dim=1)[:, 1], logits[:, 1].sigmoid(), atol=1e-6)


def test_even_kernels_shift_nothing() -> None:
    network = build_unet("classic", 1, 1).eval()
    for layer in network.modules():  # means of what is under a kernel: only geometry is left
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
            nn.init.zeros_(layer.bias)
    image = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        one, other = network(image), network(image.flip(-1)).flip(-1)
        turned = network(image.flip(-2)).flip(-2)
    assert torch.allclose(one, other, atol=1e-6) and torch.allclose(one, turned, atol=1e-6)


def test_weights_for_it_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="classic U-Net starts from random weights"):
        build_unet("classic", 3, 1, tmp_path / "imagenet.pth")


def test_it_trains_and_comes_back_from_its_file(
    easy_chips: Chips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.segmentation.loop.STEPS_PER_EPOCH", (8, 8))
    run = train_unet(easy_chips, tmp_path / "run", encoder="classic", epochs=4, batch=4, crop=32)
    model = load_model(run.model)
    assert model.card.encoder == "classic" and run.best.mean_iou > 0.8
