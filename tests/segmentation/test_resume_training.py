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
from workbench.errors import Busy, FileExists, TrainingRefused
from workbench.labels.chips import Chips
from workbench.segmentation.interrupted import CHECKPOINT, interrupted_runs
from workbench.segmentation.loop import Loop
from workbench.segmentation.runs import MODEL, Run
from workbench.segmentation.train import resume_training, train_unet
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
    with pytest.raises(TrainingRefused, match=r"other crop: 32 and not 64"):
        train(easy_chips, tmp_path / "run", resume=True, crop=64)
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


def test_a_training_goes_on_by_its_folder_alone_to_the_same_weights(
    easy_chips: Chips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"schedule": "cyclic", "class_weights": {"roof": 2.0}}
    whole = train(easy_chips, tmp_path / "whole", **given)
    killed(easy_chips, tmp_path / "killed", 2, monkeypatch, **given)
    one, two = weights(whole.folder), weights(resume_training(tmp_path / "killed").folder)
    assert all(torch.equal(one[name], two[name]) for name in one)
    with pytest.raises(TrainingRefused, match="holds no training that was interrupted"):
        resume_training(tmp_path / "killed")


def test_where_memory_ran_out_a_smaller_batch_goes_on(
    easy_chips: Chips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(easy_chips, tmp_path / "run", 2, monkeypatch)
    assert [row.epoch for row in resume_training(tmp_path / "run", batch=1).history] == [1, 2, 3, 4]


def test_the_next_start_beside_it_names_an_interrupted_training_and_how_to_go_on(
    easy_chips: Chips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    killed(easy_chips, tmp_path / "runs/first", 2, monkeypatch)
    train(easy_chips, tmp_path / "runs/second", epochs=1)
    said = " ".join(caplog.messages)
    assert "runs/first stopped after epoch 2 of at most 4, best validation IoU" in said
    assert "resume_training(" in said and "smaller batch" in said
    assert [run.folder.name for run in interrupted_runs(tmp_path / "runs")] == ["first"]


def test_one_that_died_before_its_first_epoch_is_named_and_does_not_stand_in_the_way(
    easy_chips: Chips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.segmentation.train.Path.unlink", lambda *_, **__: None)  # as a dead process does
    killed(easy_chips, tmp_path / "runs/early", 0, monkeypatch)
    monkeypatch.undo()
    (run,) = interrupted_runs(tmp_path / "runs")
    assert "runs/early stopped in the first of 4 epochs" in run.words
    assert len(train(easy_chips, tmp_path / "runs/early", epochs=1).history) == 1


def test_a_training_that_runs_is_not_called_interrupted_and_its_folder_is_taken(
    easy_chips: Chips, tmp_path: Path
) -> None:
    seen = []

    def look(_: object) -> None:
        seen.append(interrupted_runs(tmp_path / "runs"))
        with pytest.raises(Busy, match="A training is running in"):
            train(easy_chips, tmp_path / "runs/one", overwrite=True)

    train(easy_chips, tmp_path / "runs/one", epochs=1, on_epoch=look)
    assert seen == [[]]


_KILL_AND_KILL_AGAIN = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from workbench.segmentation import loop, train
from workbench.segmentation.interrupted import CHECKPOINT, read_checkpoint
from workbench.segmentation.unet import load_model

torch.set_num_threads(1)  # a pool of threads does not outlive a fork: children would wait for it for ever
loop.STEPS_PER_EPOCH, loop.KEEP_EVERY_S = (2, 2), 0.0
chips, out = sys.argv[1], Path(sys.argv[2])


def child(folder):
    pid = os.fork()
    if pid:
        return pid
    try:
        train.train_unet(chips, folder, encoder="small", epochs=30, batch=2, crop=32, seed=3, patience=99, resume=True)
    finally:
        os._exit(0)


random.seed(0)
kept = []
for kill in range(20):
    before = kept[-1] if kept else 0
    pid = child(out)
    while True:  # until there is something to lose
        reached = read_checkpoint(out) if (out / CHECKPOINT).exists() else None
        if reached is not None and len(reached.rows) > before:
            break
        assert os.waitpid(pid, os.WNOHANG) == (0, 0), "it ended by itself"
        time.sleep(0.002)
    time.sleep(random.uniform(0, 0.05))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    kept.append(len(read_checkpoint(out).rows))
    load_model(out / "model.safetensors")
assert kept == sorted(kept) and len(kept) == 20, kept
os.waitpid(child(out), 0)
os.waitpid(child(out.with_name("whole")), 0)
print(kept)
"""


@pytest.mark.slow
def test_P34_twenty_kills_leave_a_checkpoint_each_time_and_the_weights_it_would_have_had(
    easy_chips: Chips, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _KILL_AND_KILL_AGAIN, str(easy_chips.folder), str(tmp_path / "killed")],
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not list(tmp_path.glob(f"*/{CHECKPOINT}"))


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
