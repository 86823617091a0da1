"""The first layers of a network in pieces: the same features as of the whole block, to the last bit."""

from __future__ import annotations

import pytest
import torch
import torchvision

from workbench.descriptors.aerial import AerialBody
from workbench.descriptors.pieces import in_pieces


@pytest.mark.parametrize("shape", [(1024, 1344), (904, 640), (64, 1600)])
def test_pieces_give_what_the_whole_block_gives(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    pixels = torch.randn(1, 3, *shape).contiguous(memory_format=torch.channels_last)
    body = AerialBody().eval()
    mobilenet = torchvision.models.mobilenet_v2().features[:7].eval()
    resnet = torchvision.models.resnet18().eval()
    first = torch.nn.Sequential(resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool, resnet.layer1)
    with torch.inference_mode():
        for layers, stride, halo in ((body._fine, 8, 40), (mobilenet, 8, 32), (first, 4, 32)):
            whole = layers(pixels)
            assert torch.allclose(in_pieces(layers, pixels, stride=stride, halo=halo), whole, atol=1e-5), halo


def test_too_small_a_halo_shows_at_the_seams() -> None:
    torch.manual_seed(0)
    pixels = torch.randn(1, 3, 64, 1600)
    body = AerialBody().eval()
    with torch.inference_mode():
        seams = in_pieces(body._fine, pixels, stride=8, halo=16) - body._fine(pixels)
    assert float(seams.abs().max()) > 1e-3
