"""Training: it learns, it refuses what it cannot learn from, and whatever happens the best model so far is there."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from small_chips import blocks_image
from torch import nn

from workbench.errors import Cancelled, FileExists, TrainingFailed, TrainingRefused
from workbench.jobs import Progress
from workbench.labels.chips import Chips
from workbench.segmentation.runs import EpochRow
from workbench.segmentation.samples import Crops, Normalisation, fit_normalisation, load_samples
from workbench.segmentation.train import Run, train_unet
from workbench.segmentation.unet import build_unet, load_model

MakeChips = Callable[..., Chips]


@pytest.fixture(autouse=True)
def short_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("workbench.segmentation.loop.STEPS_PER_EPOCH", (3, 3))


def train(chips: Chips, out: Path, **given) -> Run:
    return train_unet(
        chips, out, **({"encoder": "mobilenet_v2", "epochs": 2, "batch": 2, "crop": 32, "seed": 0} | given)
    )


@pytest.mark.slow
def test_a_network_learns_what_is_easy(easy_chips: Chips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("workbench.segmentation.loop.STEPS_PER_EPOCH", (10, 10))
    run = train(easy_chips, tmp_path / "run", epochs=6, batch=4, crop=64)
    assert run.best.mean_iou > 0.8
    assert run.best.mean_iou == max(row.mean_iou for row in run.history)
    history = json.loads((run.folder / "history.json").read_text())
    assert history["best_epoch"] == run.best_epoch and len(history["epochs"]) == len(run.history)
    assert (run.folder / "curve.png").stat().st_size > 10_000
    assert sorted(path.name for path in run.folder.iterdir()) == [
        "curve.png",
        "examples.png",
        "history.json",
        "model.safetensors",
        "report.md",
    ]


def test_equal_seeds_give_equal_weights_and_the_model_says_what_it_is(easy_chips: Chips, tmp_path: Path):
    first, second = train(easy_chips, tmp_path / "a"), train(easy_chips.folder, tmp_path / "b")
    one, two = load_model(first.model), load_model(second.model)
    assert all(torch.equal(a, b) for a, b in zip(one.network.parameters(), two.network.parameters(), strict=True))
    assert [row.val_loss for row in first.history] == [row.val_loss for row in second.history]
    assert one.card.classes == easy_chips.classes and one.card.bands == 3
    assert one.card.pixel_size_m == pytest.approx((0.5, 0.5), rel=1e-2)
    assert one.card.stretches == easy_chips.stretch


def test_a_cyclic_rate_trains_to_other_weights(easy_chips: Chips, tmp_path: Path):
    one, several = (train(easy_chips, tmp_path / shape, schedule=shape) for shape in ("one-cycle", "cyclic"))
    assert one.best.val_loss != several.best.val_loss


def test_the_time_budget_ends_training(easy_chips: Chips, tmp_path: Path):
    started = time.monotonic()
    run = train(easy_chips, tmp_path / "run", epochs=100_000, minutes=0.05)
    assert time.monotonic() - started < 30 and run.model.is_file()


def test_early_stop_waits_as_many_epochs_as_told(easy_chips: Chips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("workbench.segmentation.loop.PATIENT", 0.0)
    run = train(easy_chips, tmp_path / "run", epochs=40, patience=1, learning_rate=1e-9)
    assert len(run.history) == run.best_epoch + 1 < 40


def test_a_cancelled_training_keeps_the_best_model(easy_chips: Chips, tmp_path: Path):
    progress, rows = Progress(), []

    def after(row) -> None:
        rows.append(row)
        progress.cancel()

    with pytest.raises(Cancelled, match="of epoch 1, is in"):
        train(easy_chips, tmp_path / "run", progress=progress, on_epoch=after)
    assert len(rows) == 1 and (tmp_path / "run/curve.png").is_file()
    load_model(tmp_path / "run/model.safetensors")


def test_a_finished_run_is_not_replaced_unasked(easy_chips: Chips, tmp_path: Path):
    run = train(easy_chips, tmp_path / "run", epochs=1)
    before = run.model.read_bytes()
    with pytest.raises(FileExists, match="overwrite=True"):
        train(easy_chips, tmp_path / "run", epochs=1, seed=1)
    assert run.model.read_bytes() == before
    train(easy_chips, tmp_path / "run", epochs=1, seed=1, overwrite=True)
    assert run.model.read_bytes() != before


@pytest.fixture
def memory_for_two() -> Iterator[None]:
    """A device whose memory ends at a third crop."""

    def measure(_module: nn.Module, inputs: tuple[object, ...]) -> None:
        if any(isinstance(item, torch.Tensor) and item.ndim == 4 and item.shape[0] > 2 for item in inputs):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    hook = nn.modules.module.register_module_forward_pre_hook(measure)
    yield
    hook.remove()


@pytest.mark.usefixtures("memory_for_two")
def test_P30_out_of_memory_names_batch_and_crop_and_a_smaller_batch_then_works(easy_chips: Chips, tmp_path: Path):
    with pytest.raises(TrainingFailed, match=r"batch=4 and crop=32. Try batch=2") as caught:
        train(easy_chips, tmp_path / "run", batch=4)
    assert caught.value.__context__ is None, "a traceback would keep the tensors alive"
    assert train(easy_chips, tmp_path / "run", batch=2, epochs=1).model.is_file()


def test_P31_training_stops_at_the_first_loss_that_is_no_number(easy_chips: Chips, tmp_path: Path):
    with pytest.raises(TrainingFailed, match=r"images/chip\d.tif|validation chips") as caught:
        train(easy_chips, tmp_path / "run", learning_rate=1e18, epochs=50)
    assert "learning rate below 1e+18" in str(caught.value)
    kept = tmp_path / "run/model.safetensors"
    assert not kept.exists() or all(p.isfinite().all() for p in load_model(kept).network.parameters())


def test_P31_a_later_failure_keeps_the_good_checkpoint(easy_chips: Chips, tmp_path: Path):
    hooks = []

    def poison(_row) -> None:
        def spoil(_module: nn.Module, _inputs: object, output: object) -> object:
            return output * float("nan") if isinstance(output, torch.Tensor) else output

        hooks.append(nn.modules.module.register_module_forward_hook(spoil))

    try:
        with pytest.raises(TrainingFailed, match=r"in epoch 2 on the chips images/.*of epoch 1, is in"):
            train(easy_chips, tmp_path / "run", epochs=3, on_epoch=poison)
    finally:
        for hook in hooks:
            hook.remove()
    load_model(tmp_path / "run/model.safetensors")


def test_P31_infinite_pixels_are_no_data_and_do_no_harm(make_chips: MakeChips, tmp_path: Path):
    triples = []
    for seed in range(4):
        image, mask = blocks_image(seed)
        image = image.astype(np.float32)
        image[:, 3, 5], image[0, 7, 7] = np.inf, np.nan
        triples.append((image, mask, "train" if seed < 3 else "validation"))
    chips = make_chips(triples)
    sample = load_samples(chips, "train", fit_normalisation(chips))[0]
    assert sample.mask[3, 5] == sample.mask[7, 7] == 255 and np.isfinite(sample.image).all()
    assert np.isfinite(train(chips, tmp_path / "run", epochs=1).history[0].val_loss)


def background_only(seed: int) -> tuple[np.ndarray, np.ndarray]:
    image, mask = blocks_image(seed)
    return image, np.zeros_like(mask)


@pytest.mark.parametrize(
    ("triples", "found"),
    [
        ([], r"0 training chips: background 0, roof 0; 0 validation chips"),
        ([(*blocks_image(0), "train")], r"1 training chips.*0 validation chips"),
        ([(*background_only(0), "train"), (*blocks_image(1), "validation")], r"background 4,096, roof 0; 1 valid"),
        ([(*blocks_image(0), "train"), (*background_only(1), "validation")], r"background 4,096, roof 0\."),
    ],
)
def test_P32_training_refuses_one_class_or_too_little_with_the_counts(
    make_chips: MakeChips, tmp_path: Path, triples: list, found: str
):
    with pytest.raises(TrainingRefused, match=found):
        train(make_chips(triples), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_P32_a_class_alone_is_refused_and_two_without_background_are_not(make_chips: MakeChips, tmp_path: Path):
    image, mask = blocks_image(0)
    alone = np.where(mask == 1, 1, 255).astype(np.uint8)
    both = np.where(mask == 1, 1, 2).astype(np.uint8)
    with pytest.raises(TrainingRefused, match="of two classes"):
        train(make_chips([(image, alone, "train"), (image, alone, "validation")], "alone"), tmp_path / "run")
    chips = make_chips([(image, both, "train"), (image, both, "validation")], "both", classes=2)
    assert train(chips, tmp_path / "run", epochs=1).history[0].iou.keys() == {"roof", "pool"}


@pytest.mark.parametrize("given", [{"crop": 100}, {"batch": 0}, {"epochs": 0}, {"schedule": "two-cycle"}])
def test_settings_that_make_no_training_are_refused(easy_chips: Chips, tmp_path: Path, given: dict[str, object]):
    with pytest.raises(TrainingRefused):
        train(easy_chips, tmp_path / "run", **given)


def test_rare_classes_are_in_half_of_the_crops(make_chips: MakeChips):
    image, mask = blocks_image(0, size=256)
    mask[:] = 0
    mask[200:204, 31:35] = 1
    chips = make_chips([(image, mask, "train")])
    crops = Crops(load_samples(chips, "train", fit_normalisation(chips)), 1, 32, seed=0)
    batch = crops.batch(200)
    shown = (batch.masks == 1).flatten(1).any(dim=1).float().mean()
    assert 0.4 < shown < 0.65, "half by class, and a few by chance; 3 % without balance"
    assert batch.images.shape == (200, 3, 32, 32) and batch.masks.dtype == torch.int64


def test_crops_keep_image_and_mask_together(make_chips: MakeChips):
    blocks = np.random.default_rng(0).integers(0, 2, (12, 10)).astype(np.uint8)
    mask = np.kron(blocks, np.ones((8, 8), np.uint8))  # wider than the blur that crops may get
    chips = make_chips([(np.stack([mask * 200 + 20] * 3), mask, "train")])
    crops = Crops(load_samples(chips, "train", Normalisation((0.4,) * 3, (0.2,) * 3)), 1, 32, seed=0)
    batch = crops.batch(64)
    for image, target in zip(batch.images, batch.masks, strict=True):
        bright = image.mean(dim=0)
        assert bright[target == 1].mean() > bright[target == 0].mean() + 1.5


def test_chips_smaller_than_a_crop_are_filled_with_ignore(make_chips: MakeChips):
    chips = make_chips([(*blocks_image(0, size=32), "train")])  # also smaller than a crop that is zoomed in
    crops = Crops(load_samples(chips, "train", fit_normalisation(chips)), 1, 64, seed=0)
    masks = crops.batch(8).masks
    assert masks.shape == (8, 64, 64) and (masks == 255).flatten(1).any(dim=1).all() and (masks != 255).any()


def test_the_normalisation_is_of_the_valid_training_pixels(make_chips: MakeChips):
    image, mask = blocks_image(0)
    far = np.full_like(image, 255)
    result = fit_normalisation(make_chips([(image, mask, "train"), (far, mask, "validation")]))
    unit = image / 255
    assert result.mean == pytest.approx(unit.mean(axis=(1, 2)), rel=1e-5)
    assert result.std == pytest.approx(unit.std(axis=(1, 2)), rel=1e-4)


def test_random_weights_are_said_in_the_log(easy_chips: Chips, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO):
        train(easy_chips, tmp_path / "run", epochs=1)
    assert "training starts from random weights" in caplog.text


def test_class_numbers_may_have_gaps(make_chips: MakeChips, tmp_path: Path):
    triples = [(image, mask * 2, split) for (image, mask), split in ((blocks_image(n), "train") for n in range(2))]
    chips = make_chips([*triples, (*triples[0][:2], "validation")], classes=2)
    chips = dataclasses.replace(chips, classes=chips.classes[1:])
    run = train(chips, tmp_path / "run", epochs=1)
    assert load_model(run.model).card.highest == 2 and run.history[0].iou.keys() == {"pool"}


def test_an_encoder_that_knows_something_is_left_alone_at_first(easy_chips: Chips, tmp_path: Path) -> None:
    known = build_unet("aerial", 3, 1).encoder.state_dict()
    seen: list[bool] = []

    def look(row: EpochRow) -> None:
        now = load_model(tmp_path / "long" / "model.safetensors").network.encoder.state_dict()
        seen.append(row.epoch == 1 and all(torch.equal(known[name], value) for name, value in now.items()))

    train(easy_chips, tmp_path / "long", encoder="aerial", epochs=5, on_epoch=look)
    assert seen[0]
    short = train(easy_chips, tmp_path / "short", encoder="aerial", epochs=1)
    learned = load_model(short.model).network.encoder.state_dict()
    assert not torch.equal(known["model.conv_stem.weight"], learned["model.conv_stem.weight"])


def test_masks_that_are_not_quite_right_train_too_and_a_tolerance_below_nothing_is_refused(
    easy_chips: Chips, tmp_path: Path
):
    run = train(easy_chips, tmp_path / "run", epochs=4, tolerance_px=3)
    assert run.model.is_file() and all(math.isfinite(row.train_loss) for row in run.history)
    with pytest.raises(TrainingRefused, match="tolerance_px=-1"):
        train(easy_chips, tmp_path / "other", tolerance_px=-1)
