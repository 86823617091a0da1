"""Making the encoder: the same crops and answers for the same seed, interrupted or not, and a student that learns them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from small_rasters import patchwork, write_raster

from workbench.descriptors.aerial import ARCHITECTURE, AerialNetwork
from workbench.descriptors.distillation.crops import write_crops
from workbench.descriptors.distillation.teachers import (
    Teacher,
    lite_state,
    load_teacher,
    starting_weights,
    targets,
    turned,
    write_features,
)
from workbench.descriptors.distillation.train import Recipe, distance, train
from workbench.descriptors.networks import IMAGENET
from workbench.descriptors.orientations import turn
from workbench.errors import WeightsUnavailable
from workbench.imagery.opening import open_imagery
from workbench.imagery.rasters import Imagery
from workbench.jobs import Progress

SIDE = 64


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory) -> list[Imagery]:
    folder = tmp_path_factory.mktemp("imagery")
    holes = patchwork(256, 256, seed=1)
    holes[:, :, :200] = 0
    write_raster(folder / "holes.tif", holes, nodata=0)
    write_raster(folder / "whole.tif", patchwork(512, 512, seed=2))
    return [open_imagery(folder / "holes.tif"), open_imagery(folder / "whole.tif")]


@pytest.fixture(scope="module")
def crops(groups: list[Imagery], tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    path = tmp_path_factory.mktemp("crops") / "crops.npy"
    write_crops(groups, path, 40, SIDE, 0, Progress())
    return np.load(path)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "lite.safetensors"
    save_file(timm.create_model(ARCHITECTURE).state_dict(), path)
    return path


def test_crops_are_the_same_for_a_seed_and_hold_data(groups: list[Imagery], crops: np.ndarray, tmp_path: Path) -> None:
    for seed in (0, 1):
        write_crops(groups, tmp_path / f"{seed}.npy", 40, SIDE, seed, Progress())
    assert np.array_equal(np.load(tmp_path / "0.npy"), crops) and not np.array_equal(np.load(tmp_path / "1.npy"), crops)
    assert crops.shape == (40, SIDE, SIDE, 3) and crops.dtype == np.uint8
    assert (crops.reshape(40, -1).std(axis=1) > 1).all()
    before = (tmp_path / "0.npy").stat().st_mtime_ns
    write_crops(groups, tmp_path / "0.npy", 40, SIDE, 0, Progress())
    assert (tmp_path / "0.npy").stat().st_mtime_ns == before


def test_teachers_go_on_where_they_stopped(crops: np.ndarray, weights: Path, tmp_path: Path) -> None:
    teacher = load_teacher(ARCHITECTURE, weights)
    many = np.concatenate([crops, crops, crops])
    write_features(many, teacher, tmp_path / "whole.npy", 2, 0, Progress())
    monkey = Teacher(_Stops(teacher.body, 3), teacher.normalisation, 1.0)
    with pytest.raises(KeyboardInterrupt):
        write_features(many, monkey, tmp_path / "part.npy", 2, 0, Progress())
    write_features(many, teacher, tmp_path / "part.npy", 2, 0, Progress())
    assert np.array_equal(np.load(tmp_path / "whole.npy"), np.load(tmp_path / "part.npy"))


class _Stops(torch.nn.Module):
    """A network that is interrupted after some calls."""

    def __init__(self, body: torch.nn.Module, calls: int) -> None:
        super().__init__()
        self.body, self.left = body, calls

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return self.body(pixels)  # type: ignore[no-any-return]


def test_answers_keep_the_teachers_likeness() -> None:
    drawn = np.random.default_rng(0)
    one, two = (drawn.gamma(1.0, 1.0, (600, dim)).astype(np.float16) for dim in (300, 400))
    wanted = targets([one, two], [1.0, 0.5])
    assert wanted.shape == (600, 512) and wanted.dtype == np.float32
    assert np.abs(wanted.mean(axis=0)).max() < 1e-3 and (wanted**2).sum(axis=1).mean() == pytest.approx(1, abs=1e-4)
    parts = []
    for found, weight in ((one, 1.0), (two, 0.5)):
        root = np.sqrt(found.astype(np.float32))
        root -= root.mean(axis=0)
        parts.append(root * weight / np.sqrt((root**2).sum(axis=1).mean()))
    whole = np.concatenate(parts, axis=1)
    assert np.corrcoef((whole @ whole.T).ravel(), (wanted @ wanted.T).ravel())[0, 1] > 0.99


def test_orientations_are_those_of_the_encoders() -> None:
    picture = np.arange(48, dtype=np.float32).reshape(3, 4, 4)
    assert all(
        np.array_equal(turned(torch.from_numpy(picture), number).numpy(), turn(picture, number)) for number in range(8)
    )


@pytest.mark.slow
def test_a_student_learns_and_an_interrupted_one_learns_the_same(
    crops: np.ndarray, weights: Path, tmp_path: Path
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    start = starting_weights(weights)
    drawn = np.random.default_rng(0)
    answers = drawn.normal(size=(40, 512)).astype(np.float32) / np.sqrt(512)
    whole = train(crops, answers, start, Recipe(epochs=2, batch=8), tmp_path / "whole", Progress())
    with pytest.raises(KeyboardInterrupt):
        train(crops, answers, start, Recipe(epochs=2, batch=8), tmp_path / "part", _after(48))
    assert (tmp_path / "part").is_file()
    resumed = train(crops, answers, start, Recipe(epochs=2, batch=8), tmp_path / "part", Progress())
    torch.set_num_threads(threads)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    untaught = AerialNetwork()
    untaught.body.load_state_dict(start)
    untaught.eval()
    pixels = (torch.from_numpy(crops[:8]).float() / 255 - 0.5).permute(0, 3, 1, 2) / 0.5
    with torch.inference_mode():
        losses = [float(distance(net(pixels), torch.from_numpy(answers[:8]))) for net in (untaught, whole)]
    assert losses[1] < losses[0]


def _after(crops: int) -> Progress:
    """A progress that interrupts once so many crops were seen."""

    def change(progress: Progress) -> None:
        if progress.what == "teaching" and progress.done >= crops:
            raise KeyboardInterrupt

    return Progress(change)


def test_other_files_are_refused(weights: Path, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsUnavailable, match="not those of the network"):
        load_teacher(ARCHITECTURE, tmp_path / "other.safetensors")
    with pytest.raises(WeightsUnavailable, match=r"no network 'vgg16'.*resnet18"):
        load_teacher("vgg16", weights)
    assert load_teacher(ARCHITECTURE, weights).normalisation != IMAGENET


def test_published_weights_are_taken_in_the_order_of_the_layers() -> None:
    network = timm.create_model(ARCHITECTURE)
    own = network.state_dict()
    published = {f"_layer.{number}": value for number, value in enumerate(own.values())}
    assert all(torch.equal(value, own[name]) for name, value in lite_state(network, published).items())
