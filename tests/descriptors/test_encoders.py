"""Encoders: weights from files that may be wrong or hostile, networks of the right shape, a texture that may be turned."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from small_archives import MeanColour
from small_rasters import patchwork

from workbench.descriptors.encoders import Encoder, load_encoder
from workbench.descriptors.networks import IMAGENET, TORCHVISION, cached_weights
from workbench.descriptors.orientations import back, turn
from workbench.descriptors.texture import TextureEncoder
from workbench.descriptors.weights import read_state_dict
from workbench.errors import QueryInvalid, WeightsUnavailable


def random_state(name: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return torchvision.models.get_model(name, weights=None).state_dict()


@pytest.fixture(scope="module")
def squeezenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "squeezenet.pth"
    torch.save(random_state("squeezenet1_1"), path)
    return path


def test_weights_are_the_same_from_either_format(squeezenet: Path, tmp_path: Path) -> None:
    save_file(read_state_dict(squeezenet), tmp_path / "w.safetensors")
    one, two = load_encoder("squeezenet1_1", squeezenet), load_encoder("squeezenet1_1", tmp_path / "w.safetensors")
    assert one.weights_hash == two.weights_hash and len(one.weights_hash) == 32
    pixels = (patchwork(64, 96) / 255).astype(np.float32)
    assert np.array_equal(one.features(pixels), two.features(pixels))


def test_half_precision_weights_become_single(squeezenet: Path, tmp_path: Path) -> None:
    torch.save({key: value.half() for key, value in read_state_dict(squeezenet).items()}, tmp_path / "half.pth")
    state = read_state_dict(tmp_path / "half.pth")
    assert {value.dtype for value in state.values()} == {torch.float32}
    pixels = (patchwork(64, 64) / 255).astype(np.float32)
    half, whole = load_encoder("squeezenet1_1", tmp_path / "half.pth"), load_encoder("squeezenet1_1", squeezenet)
    assert half.weights_hash != whole.weights_hash
    assert np.corrcoef(half.features(pixels).ravel(), whole.features(pixels).ravel())[0, 1] > 0.99


def test_weights_that_do_not_fit_are_refused_in_words(squeezenet: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="do not fit mobilenet_v2"):
        load_encoder("mobilenet_v2", squeezenet)
    with pytest.raises(WeightsUnavailable, match="no weights at"):
        load_encoder("mobilenet_v2", tmp_path / "none.pth")
    with pytest.raises(WeightsUnavailable, match=r"no encoder 'vgg'.*texture"):
        load_encoder("vgg")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"epoch": 3}, tmp_path / "run.pth")
    for name in ("list.pth", "run.pth"):
        with pytest.raises(WeightsUnavailable, match="no state dict"):
            read_state_dict(tmp_path / name)
    whole = squeezenet.read_bytes()
    for content in (b"", b"<html>", whole[: len(whole) // 2]):
        for name in ("bad.pth", "bad.safetensors"):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(WeightsUnavailable, match=name):
                read_state_dict(tmp_path / name)


class Bomb:
    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self._mark),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors", ".ckpt"])
@pytest.mark.parametrize("how", ["pickle", "torch", "old torch"])
def test_P35_a_pickle_bomb_runs_nothing(tmp_path: Path, suffix: str, how: str) -> None:
    mark = tmp_path / "ran"
    path = tmp_path / f"weights{suffix}"
    if how == "pickle":
        path.write_bytes(pickle.dumps({"weight": Bomb(mark)}))
    else:
        torch.save({"weight": Bomb(mark)}, path, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises(WeightsUnavailable, match="nothing was run from it"):
        load_encoder("squeezenet1_1", path)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Bomb(mark)))
    assert mark.exists()  # the bomb would have gone off


def test_without_network_and_cache_the_words_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def no_network(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("socket.getaddrinfo", no_network)
    for name in TORCHVISION:
        assert cached_weights(name) is None
    with pytest.raises(WeightsUnavailable, match=r"cannot be downloaded.*weights=PATH.*resnet18-.*'aerial'"):
        load_encoder("resnet18")
    assert cached_weights("texture") is None


def test_weights_in_the_cache_are_found(squeezenet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    cache = tmp_path / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    cache.parent.mkdir()
    cache.write_bytes(squeezenet.read_bytes())
    assert cached_weights("squeezenet1_1") == cache
    assert load_encoder("squeezenet1_1").weights_hash == load_encoder("squeezenet1_1", squeezenet).weights_hash


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCHVISION)
def test_every_network_gives_a_map_of_its_stride(tmp_path: Path, name: str) -> None:
    path = tmp_path / "w.safetensors"
    save_file(random_state(name), path)
    encoder = load_encoder(name, path)
    assert isinstance(encoder, Encoder) and encoder.margin % encoder.stride == 0
    cells = encoder.features((patchwork(128, 192) / 255).astype(np.float32))
    assert cells.shape == (encoder.dim, 128 // encoder.stride, 192 // encoder.stride)
    assert cells.dtype == np.float32 and np.isfinite(cells).all()
    assert encoder.finish(cells.mean(axis=(1, 2))[None]).shape == (1, encoder.dim)


@pytest.mark.parametrize("count", [4, 8])
def test_averaged_over_orientations_a_turned_scene_has_the_same_descriptor(squeezenet: Path, count: int) -> None:
    encoder = load_encoder("squeezenet1_1", squeezenet, orientations=count)
    scene = (patchwork(96, 96, patch=13) / 255).astype(np.float32)
    turns = range(count)
    plain, *turned = (encoder.features(np.ascontiguousarray(turn(scene, number))).mean(axis=(1, 2)) for number in turns)
    alone = load_encoder("squeezenet1_1", squeezenet)
    far = np.linalg.norm(alone.features(np.ascontiguousarray(turn(scene, 1))).mean(axis=(1, 2)) - plain)
    assert max(np.linalg.norm(each - plain) for each in turned) < 1e-3 * far
    assert encoder.preprocessing["mean_of_orientations"] == count


def test_turning_back_undoes_turning() -> None:
    picture = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    turned = [turn(picture, number) for number in range(8)]
    assert all(np.array_equal(back(each, number), picture) for number, each in enumerate(turned))
    assert len({(each.shape, each.tobytes()) for each in map(np.ascontiguousarray, turned)}) == 8


def test_other_numbers_of_orientations_are_refused() -> None:
    with pytest.raises(QueryInvalid, match="Choose 1, 4 or 8"):
        load_encoder("texture", orientations=3)


@pytest.fixture(scope="module")
def plain_timm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("timm") / "net.safetensors"
    save_file(timm.create_model("resnet10t").state_dict(), path)
    return path


@pytest.mark.slow
def test_a_network_of_timm_by_name_with_a_measured_margin(plain_timm: Path) -> None:
    encoder = load_encoder("timm/resnet10t", plain_timm)
    assert encoder.name == "timm/resnet10t" and (encoder.dim, encoder.stride) == (512, 32)
    assert 64 <= encoder.margin <= 256
    cells = encoder.features((patchwork(128, 96) / 255).astype(np.float32))
    assert cells.shape == (512, 4, 3)


@pytest.mark.slow
def test_networks_of_timm_that_see_the_whole_block_or_do_not_exist_are_refused(
    plain_timm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file(timm.create_model("vit_tiny_patch16_224").state_dict(), tmp_path / "vit.safetensors")
    with pytest.raises(WeightsUnavailable, match=r"no network 'resnet10x'.*resnet"):
        load_encoder("timm/resnet10x", plain_timm)
    with pytest.raises(WeightsUnavailable, match="do not fit timm/resnet18"):
        load_encoder("timm/resnet18", plain_timm)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsUnavailable, match=r"cannot be downloaded.*weights=PATH"):
        load_encoder("timm/resnet10t.c3_in1k")
    with pytest.raises(WeightsUnavailable, match="cannot see blocks of any size"):
        load_encoder("timm/vit_tiny_patch16_224", tmp_path / "vit.safetensors")


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_folded_and_fused_a_network_gives_the_features_of_the_plain_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.descriptors.networks.has_bfloat16", lambda device: False)
    drawn = torch.Generator().manual_seed(1)
    state = random_state(name)
    for key, value in state.items():  # as after a training: statistics that are not 0 and 1
        if key.endswith("running_mean"):
            value.normal_(0, 0.2, generator=drawn)
        elif key.endswith("running_var"):
            value.uniform_(0.3, 2, generator=drawn)
    save_file(state, tmp_path / "w.safetensors")
    pixels = (patchwork(96, 96) / 255).astype(np.float32)
    found = load_encoder(name, tmp_path / "w.safetensors").features(pixels)
    model = torchvision.models.get_model(name, weights=None).eval()
    model.load_state_dict(state)
    body = model.features if name == "mobilenet_v2" else torch.nn.Sequential(*list(model.children())[:-2])
    mean, std = (torch.tensor(values)[:, None, None] for values in IMAGENET)
    with torch.inference_mode():
        plain = body(((torch.from_numpy(pixels) - mean) / std)[None])[0].numpy()
    assert plain.std() > 0 and np.abs(found - plain).max() < 1e-3 * plain.std() + 1e-5


def test_an_encoder_of_ones_own_needs_no_base_class() -> None:
    assert isinstance(MeanColour(), Encoder) and isinstance(TextureEncoder(), Encoder)
    assert isinstance(load_encoder("texture"), TextureEncoder)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v2", "squeezenet1_1"])
def test_real_weights_see_what_is_on_a_photograph(shared_data: Path, name: str) -> None:
    (path,) = (shared_data / "weights").glob(f"{name}-*.pth")
    model = torchvision.models.get_model(name, weights=None)
    model.load_state_dict(read_state_dict(path))
    model.eval()
    folder = shared_data / "weights" / "sanity_images"
    labels = (folder / "imagenet_labels.txt").read_text().splitlines()
    labels = labels[1:] if labels[0].strip().lower() == "background" else labels
    image = Image.open(folder / "parrot.jpg").convert("RGB").resize((224, 224))
    pixels = torch.from_numpy(np.asarray(image) / np.float32(255)).permute(2, 0, 1)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.inference_mode():
        top = int(model(((pixels - mean[:, None, None]) / std[:, None, None])[None]).argmax())
    assert "macaw" in labels[top].lower() or "parrot" in labels[top].lower(), labels[top]


def descriptor(pixels: np.ndarray) -> np.ndarray:
    encoder = TextureEncoder()
    cells = encoder.features(pixels.astype(np.float32))
    return encoder.finish(cells.mean(axis=(1, 2))[None])[0]


def test_texture_is_the_same_for_a_turned_or_mirrored_scene() -> None:
    one, other = ((patchwork(128, 128, seed=seed, patch=24) / 255) for seed in (0, 1))
    plain = descriptor(one)
    far = np.linalg.norm(plain - descriptor(other))
    for turned in (np.rot90(one, 1, (1, 2)), np.rot90(one, 2, (1, 2)), one[:, ::-1]):
        assert np.linalg.norm(plain - descriptor(turned.copy())) < 0.05 * far
    across = np.arange(128)
    stripes = 0.5 + 0.4 * np.sin(across * 0.7)[None, :, None] * np.ones((3, 1, 128))
    slanted = 0.5 + 0.4 * np.sin((across[:, None] + across) * 0.7 / np.sqrt(2))[None] * np.ones((3, 1, 1))
    straight = descriptor(stripes)
    assert np.linalg.norm(straight - descriptor(slanted)) < 0.5 * np.linalg.norm(straight - plain)


@pytest.mark.parametrize("level", [0.0, 0.45, 1.0])
def test_texture_is_finite_where_nothing_is_to_be_seen(level: float) -> None:
    found = descriptor(np.full((3, 64, 64), level))
    assert np.isfinite(found).all() and found.any()
