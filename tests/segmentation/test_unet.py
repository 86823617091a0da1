"""The U-Net's weights: used where they fit, refused in words where they do not, and never a way to run code."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from workbench.errors import WeightsUnavailable
from workbench.imagery.render import Stretch
from workbench.labels.fold import LabelClass
from workbench.segmentation.unet import (
    Model,
    ModelCard,
    Normalisation,
    build_unet,
    load_model,
    read_state_dict,
    save_model,
)

CLASSES = (LabelClass(1, "roof <b>", "#e6550d"), LabelClass(2, "pool", "#3182bd"))


@pytest.fixture(autouse=True)
def empty_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch/hub/checkpoints"


def small_model(bands: int = 3) -> Model:
    torch.manual_seed(0)
    norm = Normalisation((0.5,) * bands, (0.2,) * bands)
    stretches = {"f00d": Stretch((0.0,) * bands, (255.0,) * bands)}
    card = ModelCard("resnet18", CLASSES, bands, (0.25, 0.3), norm, stretches)
    return Model(build_unet("resnet18", bands, len(CLASSES)).eval(), card)


def encoder_file(path: Path, *, half: bool = False) -> dict[str, torch.Tensor]:
    state = build_unet("resnet18", 3, 1).encoder.state_dict()
    state = {name: (value.half() if half else value).contiguous() for name, value in state.items()}
    state |= {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return state


def test_a_saved_model_comes_back_equal(tmp_path: Path):
    model = small_model(bands=4)
    save_model(model, tmp_path / "model.safetensors")
    again = load_model(tmp_path / "model.safetensors")
    assert again.card == model.card
    pixels = torch.randn(1, 4, 64, 64)
    with torch.inference_mode():
        assert torch.equal(again.network(pixels), model.network(pixels))


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_float16_weights_are_loaded_into_a_float32_encoder(tmp_path: Path, name: str):
    torch.manual_seed(1)
    state = encoder_file(tmp_path / name, half=True)
    own = build_unet("resnet18", 3, 2, tmp_path / name).encoder.state_dict()
    assert all(torch.equal(own[key], state[key].to(own[key].dtype)) for key in own)
    assert own["conv1.weight"].dtype == torch.float32


@pytest.mark.parametrize("bands", [1, 2, 4, 8])
def test_weights_spread_over_other_bands_keep_the_response(tmp_path: Path, bands: int):
    three = torch.ones(1, 3, 7, 7) / 3
    kernels = encoder_file(tmp_path / "w.pth")["conv1.weight"]
    torch.save(
        {**torch.load(tmp_path / "w.pth"), "conv1.weight": kernels[:, :1].repeat(1, 3, 1, 1)}, tmp_path / "w.pth"
    )
    spread = build_unet("resnet18", bands, 1, tmp_path / "w.pth").encoder.state_dict()["conv1.weight"]
    before = torch.nn.functional.conv2d(three, kernels[:, :1].repeat(1, 3, 1, 1))
    after = torch.nn.functional.conv2d(torch.ones(1, bands, 7, 7) / 3, spread)
    assert spread.shape[1] == bands and torch.allclose(before, after, atol=1e-5)


def test_the_torch_hub_cache_is_used_and_its_absence_is_said_once(empty_hub: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO):
        build_unet("resnet18", 3, 1)
    assert caplog.text.count("random weights") == 1
    empty_hub.mkdir(parents=True)
    state = encoder_file(empty_hub / "resnet18-f37072fd.pth")
    assert torch.equal(build_unet("resnet18", 3, 1).encoder.state_dict()["conv1.weight"], state["conv1.weight"])


def test_weights_of_another_network_are_refused_by_name(tmp_path: Path):
    encoder_file(tmp_path / "resnet18.pth")
    with pytest.raises(WeightsUnavailable, match=r"resnet18.pth does not fit mobilenet_v2"):
        build_unet("mobilenet_v2", 3, 1, tmp_path / "resnet18.pth")


def test_an_unknown_encoder_and_a_missing_file_are_named(tmp_path: Path):
    with pytest.raises(WeightsUnavailable, match="resnet19"):
        build_unet("resnet19", 3, 1)
    with pytest.raises(WeightsUnavailable, match=r"gone.pth"):
        build_unet("resnet18", 3, 1, tmp_path / "gone.pth")


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".safetensors"])
@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_P35_loading_a_file_never_runs_code_from_it(tmp_path: Path, suffix: str, writer: str):
    fuse, path = tmp_path / "ran", tmp_path / f"bomb{suffix}"
    if writer == "pickle":
        path.write_bytes(pickle.dumps(Bomb(fuse)))
    else:
        torch.save({"features.0.0.weight": Bomb(fuse)}, path)
    for load in (read_state_dict, load_model, lambda file: build_unet("mobilenet_v2", 3, 1, file)):
        with pytest.raises(WeightsUnavailable, match="bomb"):
            load(path)
    assert not fuse.exists()
    pickle.loads(pickle.dumps(Bomb(fuse)))
    assert fuse.exists(), "the bomb itself must work, or this test proves nothing"


def test_a_damaged_a_foreign_and_a_newer_model_file_are_refused(tmp_path: Path):
    whole = tmp_path / "model.safetensors"
    save_model(small_model(), whole)
    data = whole.read_bytes()
    for name, content in {
        "cut": data[: len(data) // 2],
        "empty": b"",
        "newer": data.replace(b'\\"version\\": 2', b'\\"version\\": 9'),
        "older": data.replace(b'\\"version\\": 2', b'\\"version\\": 1'),
    }.items():
        (tmp_path / f"{name}.safetensors").write_bytes(content)
        with pytest.raises(WeightsUnavailable, match=name):
            load_model(tmp_path / f"{name}.safetensors")
    save_file({"a": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(WeightsUnavailable, match="foreign"):
        load_model(tmp_path / "foreign.safetensors")


def test_P21_masked_pixels_are_the_mean_for_the_network():
    pixels = np.ma.MaskedArray(np.full((1, 1, 2), 255, np.uint8), [[[False, True]]])
    values = Normalisation((0.5,), (0.25,)).apply(pixels, Stretch((0.0,), (255.0,)))
    assert values.tolist() == [[[2.0, 0.0]]]


def test_the_real_mobilenet_weights_fit(shared_data: Path):
    path = shared_data / "weights/mobilenet_v2-imagenet-tf2ptq-fp16.pth"
    own = build_unet("mobilenet_v2", 3, 1, path).encoder.state_dict()
    assert torch.equal(own["features.0.0.weight"], read_state_dict(path)["features.0.0.weight"])
