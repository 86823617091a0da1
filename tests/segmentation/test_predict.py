"""Prediction files: the source's grid, honest no-data, complete or absent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window
from small_chips import GRID, write_raster

from workbench.errors import Cancelled, FileExists, RasterRefused, RasterUnreadable, ShapeMismatch
from workbench.imagery.opening import open_imagery
from workbench.jobs import Progress
from workbench.labels.fold import LabelClass
from workbench.segmentation.blend import Windows
from workbench.segmentation.predict import DType, Orientations, predict, turned, write_probability
from workbench.segmentation.unet import Model, ModelCard, Normalisation, build_unet, save_model

CLASSES = (LabelClass(1, "roof", "#e6550d"), LabelClass(2, "pool", "#3182bd"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    card = ModelCard("resnet18", CLASSES, 3, (0.5, 0.5), Normalisation((0.4,) * 3, (0.2,) * 3))
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(Model(build_unet("resnet18", 3, 2), card), path)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "source.tif", noise(80, 90))


def noise(rows: int, cols: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(1, 255, (3, rows, cols)).astype(np.uint8)


def copy_bands(path: Path, out: Path, dtype: DType = "uint8", area: Window | None = None, progress=None) -> None:
    """Predict with a network that gives back the first two bands of its input as probabilities."""
    raster = open_imagery(path)[0]

    def read(window: Window):
        pixels = raster.read(window)
        return pixels.filled(0).astype(np.float32) / 255, ~np.ma.getmaskarray(pixels)[0]

    def network(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        return pixels[:, :2]

    given = (out, area or raster.window, Windows(64, 16), dtype, progress or Progress())
    write_probability(raster, read, network, ["roof", "pool"], *given)


def stop_at(windows: int) -> Progress:
    """A progress that the user cancels after so many windows."""

    def watch(progress: Progress) -> None:
        if progress.done >= windows:
            progress.cancel()

    return Progress(watch)


def stop_in_second() -> Progress:
    """A progress that the user cancels in the second stage."""
    stages: list[str] = []

    def watch(progress: Progress) -> None:
        if progress.what not in stages:
            stages.append(progress.what)
        if len(stages) == 2 and progress.done:
            progress.cancel()

    return Progress(watch)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:3857", Affine(0.149, 0, 9519391.0656, 0, -0.149, 3203475.8554)),
        ("EPSG:32632", Affine(0.4, 0.1, 5e5, 0.1, -0.4, 6.2e6)),
        (None, Affine.identity()),
    ],
)
def test_P36_a_prediction_has_the_exact_grid_of_its_source(tmp_path: Path, crs: str | None, transform: Affine):
    path = write_raster(tmp_path / "in.tif", noise(70, 100), transform, crs=crs)
    copy_bands(path, tmp_path / "out.tif")
    with rasterio.open(path) as before, rasterio.open(tmp_path / "out.tif") as after:
        assert (after.crs, after.transform, after.shape) == (before.crs, before.transform, before.shape)
        assert after.descriptions == ("roof", "pool") and after.compression.name == "deflate"
        assert np.abs(after.read() / 254 - before.read([1, 2]) / 255).max() <= 0.5 / 254 + 1e-6


def test_P21_pixels_without_data_have_no_prediction(tmp_path: Path):
    pixels = noise(150, 210)
    pixels[:, :40, 100:] = 0
    source = write_raster(tmp_path / "holes.tif", pixels, nodata=0)
    copy_bands(source, tmp_path / "a.tif")
    copy_bands(source, tmp_path / "b.tif", "float32")
    with rasterio.open(tmp_path / "a.tif") as coarse, rasterio.open(tmp_path / "b.tif") as fine:
        assert coarse.nodata == 255 and np.isnan(fine.nodata)
        assert coarse.scales == pytest.approx((1 / 254, 1 / 254))
        steps, values = coarse.read(), fine.read()
    hole = np.zeros(steps.shape, bool)
    hole[:, :40, 100:] = True
    assert ((steps == 255) == hole).all() and (np.isnan(values) == hole).all()


def test_P36_an_interrupted_prediction_leaves_no_file_and_the_same_call_goes_on(tmp_path: Path, source: Path):
    out = tmp_path / "new" / "out.tif"
    with pytest.raises(Cancelled):
        copy_bands(source, out, progress=stop_at(7))
    assert [path.suffix for path in out.parent.iterdir()] == [".parts"], "nothing that looks like a map"
    seen: list[int] = []
    copy_bands(source, out, progress=Progress(lambda progress: seen.append(progress.done)))
    assert seen[0] > 0 and list(out.parent.iterdir()) == [out]
    whole = out.read_bytes()
    with pytest.raises(Cancelled):
        copy_bands(source, out, progress=stop_at(7))
    assert out.read_bytes() == whole, "what was there stays until the new one is complete"
    copy_bands(source, tmp_path / "straight.tif")
    with rasterio.open(out) as resumed, rasterio.open(tmp_path / "straight.tif") as straight:
        assert np.array_equal(resumed.read(), straight.read())


def test_P36_a_killed_prediction_goes_on_to_the_very_map_it_would_have_made(tmp_path: Path, model: Path):
    source = write_raster(tmp_path / "source.tif", noise(300, 120))
    program = (
        "import os, sys; from workbench.jobs import Progress; from workbench.segmentation.predict import predict\n"
        "die = lambda progress: progress.done >= 9 and os._exit(9)\n"
        "predict(*sys.argv[1:4], window_px=64, overlap=16, progress=Progress(die))"
    )
    out = tmp_path / "maps" / "out.tif"
    killed = subprocess.run([sys.executable, "-c", program, source, model, out], check=False)
    assert killed.returncode == 9 and not out.exists()
    (folder,) = out.parent.iterdir()
    done = {path: path.stat().st_mtime_ns for path in folder.glob("*.z")}
    assert done
    counts: list[int] = []
    with pytest.raises(Cancelled):
        predict(source, model, out, window_px=64, overlap=16, progress=stop_at(1))
    assert {path: path.stat().st_mtime_ns for path in done} == done
    predict(source, model, out, window_px=64, overlap=16, progress=Progress(lambda each: counts.append(each.done)))
    predict(source, model, tmp_path / "straight.tif", window_px=64, overlap=16)
    with rasterio.open(out) as resumed, rasterio.open(tmp_path / "straight.tif") as straight:
        assert np.array_equal(resumed.read(), straight.read())
    assert counts[0] > 0 and list(out.parent.iterdir()) == [out]


def test_a_damaged_part_is_named_and_made_again(tmp_path: Path, source: Path):
    out = tmp_path / "new" / "out.tif"
    with pytest.raises(Cancelled):
        copy_bands(source, out, progress=stop_at(7))
    part = next(out.parent.glob(".out.*.parts/*.z"))
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(RasterUnreadable, match="is damaged"):
        copy_bands(source, out)
    copy_bands(source, out)
    assert list(out.parent.iterdir()) == [out]


def test_a_folder_goes_on_with_the_rasters_that_are_left_and_other_settings_begin_anew(tmp_path: Path, model: Path):
    for name in ("a.tif", "b.tif"):
        write_raster(tmp_path / "in" / name, noise(64, 64))
    given = {"window_px": 64, "overlap": 16}
    with pytest.raises(Cancelled):
        predict(tmp_path / "in", model, tmp_path / "out", progress=stop_in_second(), **given)
    first = (tmp_path / "out" / "a.tif").stat().st_mtime_ns
    assert not (tmp_path / "out" / "b.tif").exists()
    predict(tmp_path / "in", model, tmp_path / "out", **given)
    assert (tmp_path / "out" / "a.tif").stat().st_mtime_ns == first and (tmp_path / "out" / "b.tif").is_file()
    with pytest.raises(FileExists, match="overwrite=True"):
        predict(tmp_path / "in", model, tmp_path / "out", orientations=4, **given)


def test_a_prediction_is_a_cloud_optimised_geotiff(tmp_path: Path):
    copy_bands(write_raster(tmp_path / "wide.tif", noise(600, 1100)), tmp_path / "out.tif")
    with rasterio.open(tmp_path / "out.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG" and file.block_shapes[0] == (512, 512)
        assert file.overviews(1) and file.descriptions == ("roof", "pool")


def test_large_predictions_have_overviews_and_split_into_panels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("workbench.segmentation.predict._PANEL", 512)
    pixels = noise(70, 1100)
    copy_bands(write_raster(tmp_path / "wide.tif", pixels), tmp_path / "out.tif", "float32")
    with rasterio.open(tmp_path / "out.tif") as panels:
        assert np.allclose(panels.read(), pixels[:2] / 255, atol=1e-6)
        assert panels.overviews(1)[0] == 2


def test_a_trained_model_gives_probabilities_that_do_not_depend_on_the_region(
    tmp_path: Path, model: Path, source: Path
):
    given = {"window_px": 64, "overlap": 16, "dtype": "float32"}
    predict(source, model, tmp_path / "all.tif", **given)
    predict(source, model, tmp_path / "part.tif", region=Window(50, 30, 60, 40), **given)
    with rasterio.open(tmp_path / "all.tif") as all_pixels, rasterio.open(tmp_path / "part.tif") as part_pixels:
        whole, part = all_pixels.read(), part_pixels.read()
    assert whole.min() >= 0 and whole.sum(axis=0).max() <= 1 + 1e-5 and whole.std() > 0
    inside = np.s_[:, 30:70, 50:90]
    # Which windows share a batch changes the last bits of a bfloat16 network.
    assert np.allclose(part[inside], whole[inside], atol=2e-2)
    assert np.isfinite(part).sum() == 2 * 40 * 40


def test_several_rasters_become_a_folder_with_a_file_each(tmp_path: Path, model: Path):
    for name in ("a/same.tif", "b/same.tif", "other.tif"):
        write_raster(tmp_path / "in" / name, noise(32, 32))
    folder = predict(tmp_path / "in", model, tmp_path / "out", window_px=64, overlap=16)
    assert sorted(path.name for path in folder.iterdir()) == ["other.tif", "same-2.tif", "same.tif"]


def test_P39_neither_the_imagery_nor_a_finished_file_is_replaced_unasked(tmp_path: Path, model: Path, source: Path):
    before = source.read_bytes()
    with pytest.raises(FileExists):
        predict(source, model, source, overwrite=True)
    (tmp_path / "out.tif").write_bytes(b"mine")
    with pytest.raises(FileExists, match="overwrite=True"):
        predict(source, model, tmp_path / "out.tif")
    assert source.read_bytes() == before and (tmp_path / "out.tif").read_bytes() == b"mine"


def test_imagery_and_windows_that_do_not_fit_the_model_are_named(tmp_path: Path, model: Path, source: Path):
    grey = write_raster(tmp_path / "grey.tif", np.zeros((1, 64, 64), np.uint8))
    with pytest.raises(RasterRefused, match=r"grey.tif has 1 bands.*trained on 3"):
        predict(grey, model, tmp_path / "out.tif")
    with pytest.raises(ShapeMismatch, match="multiple of 32"):
        predict(source, model, tmp_path / "out.tif", window_px=100, overlap=16)
    with pytest.raises(ShapeMismatch, match=r"outside source.tif"):
        predict(source, model, tmp_path / "out.tif", region=Window(900, 0, 10, 10))


def test_imagery_of_another_resolution_is_predicted_with_a_warning(
    tmp_path: Path, model: Path, caplog: pytest.LogCaptureFixture
):
    coarse = write_raster(tmp_path / "coarse.tif", noise(32, 32), GRID @ Affine.scale(4))
    predict(coarse, model, tmp_path / "out.tif", window_px=64, overlap=16)
    assert "coarse.tif: a pixel is 4 times as large" in caplog.text


@pytest.mark.parametrize("orientations", [4, 8])
def test_a_mean_over_orientations_turns_with_the_ground(orientations: Orientations) -> None:
    chance = np.random.default_rng(0)
    slope = chance.random((16, 16), np.float32)

    def lopsided(windows: np.ndarray) -> np.ndarray:
        return windows[:, :1] * slope

    mean = turned(lopsided, orientations)
    windows = chance.random((2, 3, 16, 16), np.float32)
    for quarter in range(4):
        view = np.rot90(windows, quarter, (-2, -1))
        assert mean(view) == pytest.approx(np.rot90(mean(windows), quarter, (-2, -1)), abs=1e-5)
    mirrors = np.allclose(mean(windows[..., ::-1]), mean(windows)[..., ::-1], atol=1e-5)
    assert mirrors is (orientations == 8)
    assert np.abs(mean(windows) - lopsided(windows)).max() > 0.1


def test_orientations_other_than_1_4_and_8_are_refused() -> None:
    with pytest.raises(ShapeMismatch, match="orientations=3"):
        turned(lambda windows: windows, 3)  # type: ignore[arg-type]


@pytest.mark.slow
def test_P27_memory_does_not_grow_with_the_raster(tmp_path: Path, model: Path) -> None:
    huge = tmp_path / "huge.tif"
    profile = {"driver": "GTiff", "width": 100_000, "height": 100_000, "count": 3, "dtype": "uint8", "SPARSE_OK": True}
    with rasterio.open(huge, "w", tiled=True, compress="deflate", crs="EPSG:32632", transform=GRID, **profile) as file:
        file.write(noise(2048, 2048), window=Window(0, 0, 2048, 2048))
    program = (
        "import sys; from workbench.errors import Cancelled; from workbench.jobs import Progress\n"
        "from workbench.segmentation.predict import predict\n"
        "stop = Progress(lambda progress: progress.done >= 25 and progress.cancel())\n"
        "try: predict(*sys.argv[1:4], progress=stop)\n"
        # Not ru_maxrss, which a process inherits from the one that started it.
        "except Cancelled: print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    )
    out = tmp_path / "out" / "out.tif"
    peak = subprocess.run([sys.executable, "-c", program, huge, model, out], check=True, capture_output=True).stdout
    assert int(peak) * 1024 < 2e9, f"{int(peak) / 1e6:.2f} GB after two rows of windows"
    assert list(out.parent.glob(".out.*.parts/*.z")), "a strip over the width of a panel is on disk"
