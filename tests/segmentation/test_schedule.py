"""The learning rate: one cycle or several, in the shapes of the literature, over epochs or by the clock."""

from __future__ import annotations

import time

import numpy as np
import pytest

from workbench.segmentation.schedule import SHAPES, WARM_UP, Schedule, Shape


def rates(shape: Shape, epochs: int, steps: int = 100) -> np.ndarray:
    schedule = Schedule(epochs, None, 0.01, time.monotonic(), shape)
    return np.array([schedule.learning_rate(epochs * step / steps) for step in range(steps + 1)])


@pytest.mark.parametrize("shape", SHAPES)
def test_it_begins_low_reaches_the_top_and_ends_low(shape: Shape) -> None:
    found = rates(shape, 20, 400)
    assert found[0] == pytest.approx(0.0004) and found.max() == pytest.approx(0.01, rel=1e-3) and found[-1] < 0.0005


def test_one_cycle_rises_once_and_falls_once() -> None:
    found = rates("one-cycle", 20)
    assert found.argmax() == 100 * WARM_UP
    assert (np.diff(found[:21]) > 0).all() and (np.diff(found[20:]) < 0).all()


@pytest.mark.parametrize(("epochs", "cycles"), [(3, 1), (8, 1), (20, 2), (40, 5)])
def test_a_cyclic_rate_is_made_of_whole_triangles_of_about_eight_epochs(epochs: int, cycles: int) -> None:
    found = rates("cyclic", epochs, 40 * cycles)
    tops = np.flatnonzero(np.isclose(found, 0.01))
    assert tops.tolist() == [20 + 40 * cycle for cycle in range(cycles)]
    slopes = np.abs(np.diff(found))
    assert np.allclose(slopes, slopes[0]), "straight lines, all equally steep"


@pytest.mark.parametrize("shape", SHAPES)
def test_the_clock_moves_the_rate_on_as_epochs_do(shape: Shape) -> None:
    by_time = Schedule(1000, 1.0, 0.01, time.monotonic() - 60, shape)
    assert by_time.done(1) >= 1 and by_time.learning_rate(1) < 0.0005
