"""The published figures of segmentation are what they say: measured on rasters whose classes are easy to tell."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from small_rasters import write_raster

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
PALETTE = {"field": "3ca03c", "roof": "be5a50"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "segmentation", raising=False)
    monkeypatch.setattr("workbench.segmentation.loop.STEPS_PER_EPOCH", (20, 20))


def scene(folder: Path, name: str, seed: int, rows: int = 640) -> tuple[Path, Path]:
    """Red roofs on a green field, and which is which."""
    chance = np.random.default_rng(seed)
    truth = np.zeros((rows, 640), np.uint8)
    for _ in range(30):
        row, col = chance.integers(0, (rows - 60, 580))
        truth[row : row + 50, col : col + 40] = 1
    colours = np.array([[60, 160, 60], [190, 90, 80]], np.uint8)
    noise = chance.normal(0, 8, (3, rows, 640))
    pixels = np.clip(colours[truth].transpose(2, 0, 1) + noise, 0, 255).astype(np.uint8)
    return write_raster(folder / f"{name}.tif", pixels), write_raster(folder / f"{name}-truth.tif", truth[None])


def measured(folder: Path, *options: object) -> dict[str, object]:
    import segmentation

    few = ["--encoder", "small", "--epochs", "3", "--json", folder / "figures.json"]
    segmentation.main([str(each) for each in (*options, *few)])
    return json.loads((folder / "figures.json").read_text())


@pytest.mark.slow
def test_easy_classes_are_told_on_other_rows_and_another_raster(tmp_path: Path) -> None:
    first, second = scene(tmp_path, "first", 0, rows=1280), scene(tmp_path, "second", 1)
    train = ["--train", *first, "--train-rows", "0:768"]
    found = measured(tmp_path, *train, "--test", *first, "--test-rows", "800:1280", "--test", *second)
    assert [row["raster"] for row in found["rows"]] == ["first.tif", "second.tif"]
    assert all(row["iou"]["class 1"] > 0.8 and row["accuracy"] > 0.9 for row in found["rows"])
    assert all(row["object_f1"]["class 1"] > 0.3 for row in found["rows"])
    assert all(row["megapixels_per_s"] > 0 for row in found["rows"]) and found["seconds_train"] > 0
    assert found["encoder"] == "small" and 1 <= found["best_epoch"] <= found["epochs"] <= 3


@pytest.mark.slow
def test_masks_may_be_pictures_in_the_colours_of_a_palette(tmp_path: Path) -> None:
    raster, truth = scene(tmp_path, "first", 0)
    import rasterio

    with rasterio.open(truth) as file:
        classes = file.read(1)
    colours = np.array([list(bytes.fromhex(colour)) for colour in PALETTE.values()], np.uint8)
    picture = colours[classes].transpose(2, 0, 1).copy()
    picture[:, :40] = 7  # nobody looked there
    painted = write_raster(tmp_path / "painted.tif", picture)
    (tmp_path / "palette.json").write_text(json.dumps(PALETTE))
    pair = [raster, painted, "--palette", tmp_path / "palette.json"]
    found = measured(tmp_path, "--train", *pair, "--test", raster, painted)
    assert set(found["rows"][0]["iou"]) == set(PALETTE)
    assert found["rows"][0]["mean_iou"] > 0.8


def test_rows_that_belong_to_nothing_and_masks_of_another_size_are_refused(tmp_path: Path) -> None:
    first, second = scene(tmp_path, "first", 0), scene(tmp_path, "second", 1, rows=704)
    with pytest.raises(SystemExit):
        measured(tmp_path, "--train-rows", "0:10", "--train", *first, "--test", *first)
    with pytest.raises(SystemExit, match="second-truth"):
        measured(tmp_path, "--train", first[0], second[1], "--test", *first)


def test_objects_are_counted_once_and_specks_are_none() -> None:
    from segmentation import object_f1

    truth = np.zeros((60, 60), bool)
    truth[5:20, 5:20] = truth[30:50, 30:50] = True
    found = truth.copy()
    found[30:50, 42:50] = False  # IoU 0.6
    found[55:57, 2:4] = True  # a speck
    assert object_f1(found, truth) == 1
    found[30:50, 36:50] = False  # IoU 0.3
    assert object_f1(found, truth) == 0.5
    assert object_f1(truth, np.zeros_like(truth)) == 0 and object_f1(truth & False, truth & False) is None


def test_worn_masks_lie_beside_their_objects_and_leave_some_out(tmp_path: Path) -> None:
    from mask_chips import Wear

    from workbench.imagery.opening import open_imagery

    raster = open_imagery(write_raster(tmp_path / "ground.tif", np.zeros((1, 400, 400), np.uint8)))[0]
    truth = np.zeros((400, 400), np.uint8)
    for row in range(20, 380, 40):
        for col in range(20, 380, 40):
            truth[row : row + 20, col : col + 20] = 1
    truth[:, 300:] = 255
    shift = 4 * (raster.pixel_size_m[0] if raster.crs else 1)
    moved = Wear(shift, 0.0, 0).worn(raster, truth)
    assert ((moved == 255) == (truth == 255)).all()
    both, either = ((moved == 1) & (truth == 1)).sum(), ((moved == 1) | (truth == 1)).sum()
    assert 0.5 < both / either < 0.75
    gone = Wear(0.0, 0.5, 0).worn(raster, truth)
    assert 0.3 < (gone == 1).sum() / (truth == 1).sum() < 0.7 and ((gone == 1) <= (truth == 1)).all()


def test_two_folders_are_pairs_of_files_of_one_name(tmp_path: Path) -> None:
    from mask_chips import pairs_of

    for path in ("images/a.jpg", "images/b.jpg", "images/c.jpg", "masks/b.png", "masks/a.png"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    found = pairs_of(tmp_path / "images", tmp_path / "masks")
    assert [(pair.raster.name, pair.mask.name) for pair in found] == [("a.jpg", "a.png"), ("b.jpg", "b.png")]
    assert len(pairs_of(tmp_path / "images/a.jpg", tmp_path / "masks/a.png")) == 1
