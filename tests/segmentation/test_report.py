"""What is left of a training: scores by class on chips that chose nothing, and a report with pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_chips import blocks_image

from workbench.labels.chips import Chips
from workbench.labels.fold import LabelClass
from workbench.segmentation import report
from workbench.segmentation.figures import MISSED, RIGHT, WRONG, Example, agreement, example_sheet, save_figure
from workbench.segmentation.samples import load_samples
from workbench.segmentation.scores import IGNORE, confusion, scores
from workbench.segmentation.train import train_unet
from workbench.segmentation.unet import load_model

MakeChips = Callable[..., Chips]
CLASSES = (LabelClass(1, "roof", "#e6550d"), LabelClass(2, "pool", "#3182bd"))


@pytest.fixture
def chips(make_chips: MakeChips, monkeypatch: pytest.MonkeyPatch) -> Iterator[Chips]:
    monkeypatch.setattr("workbench.segmentation.loop.STEPS_PER_EPOCH", (4, 4))
    triples = [(*blocks_image(seed), ("train", "train", "validation", "validation", "test")[seed]) for seed in range(5)]
    triples[3][1][:20, :20] = IGNORE
    return make_chips(triples)


def test_the_best_network_is_scored_on_the_test_chips_once_and_on_those_only(
    chips: Chips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    load = report.load_samples
    monkeypatch.setattr(report, "load_samples", lambda *given: read.append(given[1]) or load(*given))
    run = train_unet(chips, tmp_path / "run", encoder="small", epochs=2, batch=2, crop=32)
    assert read == ["test"]
    assert run.test is not None and (run.test.chips, run.test.pixels) == (1, 64 * 64)
    assert run.validation.mean_iou == pytest.approx(run.best.mean_iou)
    model = load_model(run.model)
    (sample,) = load_samples(chips, "test", model.card.normalisation)
    found = scores(confusion(report.find(model.network, sample, report.best_device()), sample.mask, 1))
    assert run.test.iou == {"background": pytest.approx(found.iou[0]), "roof": pytest.approx(found.iou[1])}
    assert run.test.recall["roof"] == pytest.approx(found.recall[1]) and run.test.accuracy == found.accuracy
    kept = json.loads((run.folder / "history.json").read_text())
    assert kept["test"]["precision"] == run.test.precision and kept["validation"]["chips"] == 2


def test_a_run_leaves_a_report_whose_pictures_are_there(chips: Chips, tmp_path: Path) -> None:
    run = train_unet(chips, tmp_path / "run", encoder="small", epochs=1, batch=2, crop=32)
    text = run.report.read_text()
    assert "### On the validation chips" in text and "### On the test chips" in text
    assert "| roof | " in text and "random weights of small" in text
    for name in ("curve.png", "examples.png"):
        assert f"({name})" in text and Image.open(run.folder / name).width > 500
    assert {path.name for path in run.folder.iterdir()} == {
        "model.safetensors", "history.json", "report.md", "curve.png", "examples.png"
    }  # fmt: skip


def test_without_test_chips_the_report_says_what_its_figures_are_worth(easy_chips: Chips, tmp_path: Path) -> None:
    run = train_unet(easy_chips, tmp_path / "run", encoder="small", epochs=1, batch=2, crop=32)
    assert run.test is None and json.loads((run.folder / "history.json").read_text())["test"] is None
    assert "There were no test chips" in run.report.read_text() and "### On the test" not in run.report.read_text()


def test_errors_are_told_apart_and_unknown_ground_is_none() -> None:
    truth = np.array([[1, 1, 1, 0, 0, IGNORE]], np.uint8)
    found = np.array([[1, 2, 0, 1, 0, 1]], np.uint8)
    assert agreement(truth, found).tolist() == [[1, 2, 3, 2, 0, 0]]


def test_the_sheet_shows_every_kind_of_pixel_in_its_colour(tmp_path: Path) -> None:
    truth, found = np.zeros((2, 90, 90), np.uint8)
    truth[:30], truth[60:, :30] = 1, IGNORE
    found[15:45] = 1
    grey = np.full((90, 90, 3), 128, np.uint8)
    sheet = example_sheet([Example(("best", "IoU 0.33"), grey, truth, found)] * 2, CLASSES)
    shown = np.asarray(Image.open(save_figure(sheet, tmp_path / "sheet.png")).convert("RGB")).astype(int)
    for colour in (RIGHT, WRONG, MISSED, CLASSES[0].colour):
        tint = 0.45 * 128 + 0.55 * np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)])
        assert (np.abs(shown - tint).max(axis=2) <= 2).sum() > 2000, colour
