"""Blending: windows add up to the whole, wherever the area begins."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.windows import Window

from workbench.errors import ShapeMismatch
from workbench.jobs import Progress
from workbench.segmentation.blend import Reader, Windows, blend


def reader(image: NDArray[np.float32], known: NDArray[np.bool_] | None = None) -> Reader:
    """Reads windows of an array, zero and unknown outside."""
    bands, rows, cols = image.shape
    known = np.ones((rows, cols), bool) if known is None else known

    def read(window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        pixels = np.zeros((bands, window.height, window.width), np.float32)
        seen = np.zeros((window.height, window.width), bool)
        top, left = max(0, window.row_off), max(0, window.col_off)
        bottom, right = min(rows, window.row_off + window.height), min(cols, window.col_off + window.width)
        if bottom > top and right > left:
            place = np.s_[
                ..., top - window.row_off : bottom - window.row_off, left - window.col_off : right - window.col_off
            ]
            pixels[place], seen[place] = image[:, top:bottom, left:right], known[top:bottom, left:right]
        return pixels, seen

    return read


def assembled(read: Reader, network, classes: int, area: Window, windows: Windows):
    """All strips of `blend` in one array, each pixel written exactly once."""
    values = np.full((classes, area.height, area.width), np.nan, np.float32)
    for window, strip, _ in blend(read, network, classes, area, windows, Progress()):
        rows = np.s_[:, window.row_off - area.row_off : window.row_off - area.row_off + window.height]
        assert (window.col_off, window.width) == (area.col_off, area.width)
        assert np.isnan(values[rows]).all()
        values[rows] = strip
    assert not np.isnan(values).any()
    return values


@settings(max_examples=60, deadline=None)
@given(
    quarters=st.integers(0, 4),
    inner=st.integers(1, 20),
    area=st.tuples(st.integers(-5, 40), st.integers(-5, 40), st.integers(1, 70), st.integers(1, 70)),
)
def test_windows_add_up_to_the_image(quarters: int, inner: int, area: tuple[int, int, int, int]):
    windows = Windows(8 * quarters + inner, 4 * quarters)
    image = np.random.default_rng(0).normal(size=(2, 110, 110)).astype(np.float32)
    col, row, width, height = (area[0] + 5, area[1] + 5, area[2], area[3])
    found = assembled(reader(image), lambda x: x, 2, Window(col, row, width, height), windows)
    expected = image[:, row : row + height, col : col + width]
    assert np.allclose(found[:, : expected.shape[1], : expected.shape[2]], expected, atol=1e-5)


def test_P36_a_linear_model_over_windows_equals_one_over_the_whole():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 5, padding=2, bias=False), torch.nn.Conv2d(4, 2, 7, padding=3))
    image = np.random.default_rng(1).normal(size=(3, 150, 170)).astype(np.float32)

    def network(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return model(torch.from_numpy(pixels)).numpy()

    found = assembled(reader(image), network, 2, Window(0, 0, 170, 150), Windows(64, 32))
    whole = network(image[None])[0]
    away = np.s_[:, 8:-8, 8:-8]
    assert np.abs(found[away] - whole[away]).max() < 1e-5
    # A window's own edge would show without the margin: this is what the test is about.
    sharp = assembled(reader(image), network, 2, Window(0, 0, 170, 150), Windows(64, 0))
    assert np.abs(sharp[away] - whole[away]).max() > 1e-2


def test_a_region_has_the_same_values_as_the_whole():
    random = np.random.default_rng(2)
    image, kernel = (
        random.normal(size=(1, 200, 200)).astype(np.float32),
        random.normal(size=(64, 64)).astype(np.float32),
    )

    def network(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        return pixels * kernel  # depends on the place in the window, as a deep network does

    windows = Windows(64, 16)
    whole = assembled(reader(image), network, 1, Window(0, 0, 200, 200), windows)
    part = assembled(reader(image), network, 1, Window(37, 91, 80, 60), windows)
    assert np.array_equal(part, whole[:, 91:151, 37:117])


def test_P21_windows_without_data_are_not_computed_and_unknown_pixels_get_nothing():
    image, known = np.ones((1, 256, 256), np.float32), np.zeros((256, 256), bool)
    known[10:30, 10:30] = True
    seen = []

    def network(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        seen.append(len(pixels))
        return pixels

    progress = Progress()
    windows = Windows(64, 16)
    progress.begin("test", windows.count(Window(0, 0, 256, 256)), "windows")
    strips = list(blend(reader(image, known), network, 1, Window(0, 0, 256, 256), windows, progress))
    values = np.concatenate([strip for _, strip, _ in strips], axis=1)[0]
    assert np.allclose(values[known], 1) and (values[~known] == 0).all()
    assert sum(seen) == 1 and progress.done == progress.total


@pytest.mark.parametrize(("size", "overlap"), [(64, 30), (64, 36), (0, 0), (64, -4)])
def test_windows_that_cannot_be_blended_are_refused(size: int, overlap: int):
    with pytest.raises(ShapeMismatch, match="overlap"):
        Windows(size, overlap)
