"""P34: a training that was killed goes on after its last epoch, and ends with the weights it would have had."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_chips import blocks_image

from workbench.__main__ import main
from workbench.errors import FileExists, TrainingRefused
from workbench.labels.chips import Chips
from workbench.segmentation.checkpoints import CHECKPOINT
from workbench.segmentation.loop import Loop
from workbench.segmentation.runs import MODEL, Run
from workbench.segmentation.train import train_unet
from workbench.segmentation.unet import load_model

MakeChips = Callable[..., Chips]
SETTINGS: dict[str, Any] = {"encoder": "small", "epochs": 4, "batch": 2, "crop": 32, "seed": 3}


class Killed(BaseException):
    """Nothing that a program catches."""


@pytest.fixture(autouse=True)
def short_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.segmentation.loop.STEPS_PER_EPOCH", (3, 3))
    monkeypatch.setattr("workbench.segmentation.loop.KEEP_EVERY_S", 0.0)


def train(chips: Chips, out: Path, **given: Any) -> Run:
    return train_unet(chips, out, **(SETTINGS | given))


def killed(chips: Chips, out: Path, epoch: int, monkeypatch: pytest.MonkeyPatch, **given: Any) -> None:
    """Train, and be killed in the middle of an epoch."""
    step = Loop._step

    def dying(loop: Loop, *drawn: Any) -> float:
        if len(loop.rows) == epoch:
            raise Killed
        return step(loop, *drawn)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Loop, "_step", dying)
        train(chips, out, **given)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_model(run / MODEL).network.state_dict()


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_P34_a_resumed_training_ends_with_bit_identical_weights(
    easy_chips: Chips, tmp_path: Path, epoch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(easy_chips, tmp_path / "whole")
    killed(easy_chips, tmp_path / "killed", epoch, monkeypatch)
    resumed = train(easy_chips, tmp_path / "killed", resume=True)
    one, two = weights(whole.folder), weights(resumed.folder)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert [row.val_loss for row in resumed.history] == [row.val_loss for row in whole.history]
    assert len(json.loads((resumed.folder / "history.json").read_text())["epochs"]) == 4


def test_checkpoints_of_quick_epochs_are_not_all_kept_and_any_leads_to_the_same_weights(
    easy_chips: Chips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(easy_chips, tmp_path / "whole")
    monkeypatch.setattr("workbench.segmentation.loop.KEEP_EVERY_S", 1e6)
    killed(easy_chips, tmp_path / "killed", 3, monkeypatch)
    with pytest.raises(FileExists, match="stopped after epoch 1 of"):
        train(easy_chips, tmp_path / "killed")
    one, two = weights(whole.folder), weights(train(easy_chips, tmp_path / "killed", resume=True).folder)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_an_encoder_that_was_still_frozen_goes_on_too(
    easy_chips: Chips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"encoder": "aerial", "epochs": 10}
    killed(easy_chips, tmp_path / "run", 1, monkeypatch, **given)
    assert len(train(easy_chips, tmp_path / "run", resume=True, **given).history) == 10


def test_an_interrupted_training_names_itself_and_is_not_replaced_unasked(
    easy_chips: Chips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(easy_chips, tmp_path / "run", 2, monkeypatch)
    with pytest.raises(FileExists, match=r"run holds a training that stopped after epoch 2 of at most 4.*resume=True"):
        train(easy_chips, tmp_path / "run")
    with pytest.raises(TrainingRefused, match=r"other crops: \[2, 32, 3\] and not \[1, 32, 3\]"):
        train(easy_chips, tmp_path / "run", resume=True, batch=1)
    assert len(train(easy_chips, tmp_path / "run", overwrite=True, epochs=1).history) == 1


def test_nothing_is_left_to_go_on_with_when_a_training_has_ended(easy_chips: Chips, tmp_path: Path) -> None:
    run = train(easy_chips, tmp_path / "run", resume=True, epochs=1)
    assert not (run.folder / CHECKPOINT).exists()
    with pytest.raises(FileExists, match="holds a trained model"):
        train(easy_chips, tmp_path / "run", resume=True, epochs=1)


@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
def test_a_damaged_checkpoint_is_named(
    easy_chips: Chips, tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(easy_chips, tmp_path / "run", 1, monkeypatch)
    path = tmp_path / "run" / CHECKPOINT
    data = path.read_bytes()
    path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "text": b"x" * 100}[damage])
    with pytest.raises(TrainingRefused, match=r"checkpoint\.safetensors cannot be gone on from"):
        train(easy_chips, tmp_path / "run", resume=True)


_TRAIN = """
import sys
from workbench.segmentation import loop
from workbench.segmentation.train import train_unet
loop.STEPS_PER_EPOCH, loop.KEEP_EVERY_S = (3, 3), 0.0
train_unet(sys.argv[1], sys.argv[2], encoder="small", epochs=40, batch=2, crop=32, seed=3)
"""


@pytest.mark.slow
def test_P34_kill_9_at_any_time_leaves_a_loadable_checkpoint(easy_chips: Chips, tmp_path: Path) -> None:
    for moment in range(4):
        out = tmp_path / f"run{moment}"
        process = subprocess.Popen(
            [sys.executable, "-c", _TRAIN, str(easy_chips.folder), str(out)], stderr=subprocess.DEVNULL
        )
        try:
            while not (out / CHECKPOINT).exists() and process.poll() is None:
                pass
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.13 * moment)
        finally:
            process.kill()
            process.wait()
        load_model(out / MODEL)
        with pytest.raises(FileExists, match="stopped after epoch"):
            train(easy_chips, out, epochs=40)


def test_class_weights_are_by_name_and_checked(easy_chips: Chips, tmp_path: Path) -> None:
    name = easy_chips.classes[0].name
    plain, weighted = (
        train(easy_chips, tmp_path / str(given), epochs=1, class_weights=given) for given in (None, {name: 9.0})
    )
    assert plain.history[0].train_loss != weighted.history[0].train_loss
    with pytest.raises(TrainingRefused, match="'roofs' is no class here"):
        train(easy_chips, tmp_path / "other", class_weights={"roofs": 2.0})


def test_a_training_starts_from_a_model_of_the_same_classes(
    easy_chips: Chips, make_chips: MakeChips, tmp_path: Path
) -> None:
    first = train(easy_chips, tmp_path / "first", epochs=1)
    again = train(easy_chips, tmp_path / "again", epochs=1, start=first.model, learning_rate=1e-9)
    fresh = train(easy_chips, tmp_path / "fresh", epochs=1, learning_rate=1e-9)
    one, two, other = (weights(run.folder)["head.weight"] for run in (first, again, fresh))
    assert torch.allclose(one, two, atol=1e-4) and not torch.allclose(one, other, atol=1e-4)
    image, mask = blocks_image(0)
    two_classes = make_chips([(image, mask, "train"), (image, mask, "validation")], "two", classes=2)
    with pytest.raises(TrainingRefused, match="Start from a model of the same classes"):
        train(two_classes, tmp_path / "other", start=first.model)


def test_the_terminal_resumes_a_training_and_starts_from_a_model(
    easy_chips: Chips, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, other = tmp_path / "run", tmp_path / "other"
    given = {"encoder": "small", "epochs": 2}
    killed(easy_chips, out, 1, monkeypatch, **given, batch=8, crop=256, seed=0)
    asked = ["train", str(easy_chips.folder), str(out), "--encoder", "small", "--epochs", "2"]
    assert main(asked) == 2 and "stopped after epoch 1 of at most 2" in capsys.readouterr().err
    assert main([*asked, "--resume"]) == 0 and "of 2: validation IoU" in capsys.readouterr().out
    started = ["train", str(easy_chips.folder), str(other), "--epochs", "1", "--start", str(out / MODEL)]
    assert main(started) == 0
    assert load_model(other / MODEL).card.encoder == "small"
