"""U-Nets on encoders and the small one keep the pixel grid, start from what they can, and refuse weights they cannot use."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from small_chips import write_raster

from workbench.descriptors.aerial import WEIGHTS
from workbench.descriptors.build import build_archive
from workbench.descriptors.folding import folded, fused
from workbench.descriptors.weights import read_state_dict
from workbench.errors import WeightsUnavailable
from workbench.segmentation.unet import build_unet, encoder_of


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


@pytest.mark.parametrize("encoder", ["aerial", "small", "resnet18", "classic"])
def test_folded_and_fused_for_prediction_it_says_the_same(encoder: str) -> None:
    torch.manual_seed(0)
    network = build_unet(encoder, 3, 2)
    with torch.no_grad():
        network.train()(torch.rand(4, 3, 64, 64))  # statistics that are not those of a new network
        network.eval()
        images = torch.rand(2, 3, 96, 64)
        before = network(images)
        quick = fused(folded(copy.deepcopy(network)))
        assert torch.allclose(quick(images), before, atol=1e-3 * float(before.abs().max()))
    clipped = [each for each in network.modules() if isinstance(each, torch.nn.ReLU | torch.nn.ReLU6)]
    left = [each for each in quick.modules() if isinstance(each, torch.nn.ReLU | torch.nn.ReLU6)]
    assert len(left) < len(clipped) or encoder == "classic"


def test_weights_for_it_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="random weights"):
        build_unet("small", 3, 1, tmp_path / "imagenet.pth")


def test_a_u_net_starts_from_the_encoder_that_archives_are_searched_with() -> None:
    network = build_unet("aerial", 3, 2)
    known = read_state_dict(WEIGHTS)
    own = network.encoder.state_dict()
    assert len(own) > 200 and all(torch.equal(value, known[f"body.{name[6:]}"]) for name, value in own.items())
    assert network(torch.rand(1, 3, 64, 96)).shape == (1, 3, 64, 96)


@pytest.mark.parametrize("name", ["efficientnet-b0", "mit_b0", "densenet121", "tu-regnetx_002", "tu-convnext_atto"])
def test_any_encoder_of_segmentation_models_pytorch_carries_a_u_net(name: str) -> None:
    network = build_unet(name, 4, 2).eval()
    with torch.inference_mode():
        assert network(torch.rand(1, 4, 64, 96)).shape == (1, 3, 64, 96)


@pytest.mark.parametrize("name", ["resnet19", "tu-nonsense", "tu-vit_tiny_patch16_224", "timm/nonsense"])
def test_an_encoder_that_is_none_is_named_with_those_there_are(name: str) -> None:
    with pytest.raises(WeightsUnavailable, match=f"no encoder named '{name}'.*Choose one of aerial, small, classic"):
        build_unet(name, 3, 1)


@pytest.mark.parametrize("name", ["resnet10t", "convnext_atto"])
def test_an_archive_of_a_timm_network_gives_it_to_the_u_net_with_its_weights(tmp_path: Path, name: str) -> None:
    whole = timm.create_model(name, num_classes=1000)
    save_file(whole.state_dict(), tmp_path / "own.safetensors")
    network = build_unet(f"timm/{name}", 3, 1, tmp_path / "own.safetensors")
    known = {key.replace(".", "_"): tensor for key, tensor in whole.state_dict().items()}
    own = network.encoder.state_dict()
    assert network.pretrained and len(own) > 20
    assert all(torch.equal(value, known[key.removeprefix("model.").replace(".", "_")]) for key, value in own.items())


def test_a_u_net_starts_from_the_encoder_of_the_archive_or_else_from_the_shipped_one(
    tmp_path: Path, shared_data: Path
) -> None:
    weights = shared_data / "weights/mobilenet_v2-imagenet-tf2ptq-fp16.pth"
    write_raster(tmp_path / "town.tif", np.random.default_rng(0).integers(0, 255, (3, 128, 128), dtype=np.uint8))
    found = {}
    for name, file in (("mobilenet_v2", weights), ("texture", None)):
        archive = build_archive(tmp_path / "town.tif", tmp_path / name, tile=64, encoder=name, weights=file)
        found[name] = encoder_of(archive)
    assert found == {"mobilenet_v2": ("mobilenet_v2", weights), "texture": ("aerial", None)}


def test_other_bands_keep_the_response_of_the_search_encoder() -> None:
    three, four = (build_unet("aerial", bands, 1).encoder.model.conv_stem for bands in (3, 4))
    grey = torch.ones(1, 4, 32, 32)
    with torch.inference_mode():
        before, after = three(grey[:, :3]), four(grey)
    assert four.weight.shape[1] == 4 and after.shape == before.shape
    assert after.norm().item() == pytest.approx(before.norm().item(), rel=0.5)


def test_the_decoder_is_light() -> None:
    network = build_unet("aerial", 3, 1)
    encoder = sum(parameter.numel() for parameter in network.encoder.parameters())
    assert sum(parameter.numel() for parameter in network.parameters()) < 1.5 * encoder
