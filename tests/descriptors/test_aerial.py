"""The shipped encoder: small, there without a network, the same wherever a block's edges fall and however a tile lies."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rasterio.windows import Window
from safetensors.torch import save_file
from small_rasters import patchwork, write_raster

from workbench.descriptors.aerial import DIM, WEIGHTS, AerialNetwork, card_of, load_aerial, save_aerial
from workbench.descriptors.dense import encode_window
from workbench.descriptors.encoders import Encoder, load_encoder
from workbench.descriptors.folding import folded
from workbench.descriptors.networks import NetworkEncoder
from workbench.errors import WeightsUnavailable
from workbench.imagery.opening import open_imagery
from workbench.imagery.render import fit_stretch

MOST_BYTES = 10_000_000


@pytest.fixture(scope="module")
def aerial() -> NetworkEncoder:
    return load_aerial()


def test_it_is_the_default_small_and_comes_with_the_package(aerial: NetworkEncoder) -> None:
    default = load_encoder()
    assert isinstance(aerial, Encoder) and (default.name, default.weights_hash) == ("aerial", aerial.weights_hash)
    assert WEIGHTS.stat().st_size <= MOST_BYTES and aerial.dim == DIM <= 512 and aerial.stride == 32
    card = card_of()
    assert card["crops"] and card["teachers"] and not any("ucmerced" in str(part).lower() for part in card["imagery"])


def test_its_body_fits_a_u_net(aerial: NetworkEncoder) -> None:
    import segmentation_models_pytorch as smp

    from workbench.descriptors.weights import read_state_dict

    unet = smp.Unet("tu-efficientnet_lite0", encoder_weights=None)
    body = {
        name.removeprefix("body."): value
        for name, value in read_state_dict(WEIGHTS).items()
        if name.startswith("body.")
    }
    own = {name.removeprefix("model."): value for name, value in unet.encoder.state_dict().items()}
    assert own.keys() <= body.keys() and all(own[name].shape == body[name].shape for name in own)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsUnavailable, match=r"do not fit aerial: .*name the encoder the file belongs to"):
        load_encoder("aerial", tmp_path / "other.safetensors")


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = AerialNetwork()
    save_aerial(network, tmp_path / "one.safetensors", {"crops": 3})
    one = load_aerial(tmp_path / "one.safetensors")
    again = AerialNetwork()
    again.load_state_dict(
        {
            name: value.half().float() if value.is_floating_point() else value
            for name, value in network.state_dict().items()
        }
    )
    save_aerial(again, tmp_path / "two.safetensors", {"crops": 3})
    assert one.weights_hash == load_aerial(tmp_path / "two.safetensors").weights_hash
    assert card_of(tmp_path / "one.safetensors") == {"crops": 3}


def test_folding_changes_the_time_and_not_the_features() -> None:
    torch.manual_seed(0)
    network = AerialNetwork().eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    pixels = torch.rand(1, 3, 96, 96)
    with torch.inference_mode():
        before = network.body(pixels)
        after = folded(network.body)(pixels)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.body.modules())
    assert torch.allclose(before, after, atol=1e-4 * float(before.abs().max())) and before.std() > 0


@pytest.mark.slow
def test_a_tile_is_the_same_wherever_the_blocks_edges_fall(aerial: NetworkEncoder, tmp_path: Path) -> None:
    raster = open_imagery(write_raster(tmp_path / "scene.tif", patchwork(1024, 1024, seed=1, patch=40)))[0]
    stretch = fit_stretch(raster)
    tile = np.array([384]), np.array([416])
    found = []
    for top, left in product((384, 256, 320), (416, 160, 288)):
        features = encode_window(raster, Window(left, top, 416 + 256 - left, 384 + 256 - top), 1.0, aerial, stretch)
        found.append(aerial.finish(features.pool_grid(*tile, 256, 256)[0].reshape(1, -1))[0])
    other = encode_window(raster, Window(0, 0, 256, 256), 1.0, aerial, stretch)
    mean = (found[0] + aerial.finish(other.cells.mean(axis=(1, 2))[None])[0]) / 2
    assert max(distance(each - mean, found[0] - mean) for each in found[1:]) < 1e-3


def distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return 1 - float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
