"""A network's map shows the colour of the most probable class, and nothing below the threshold or without prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from small_map import tile_of
from small_rasters import write_raster

from workbench.imagery.mercator import native_zoom, patch_of, placement
from workbench.imagery.opening import open_imagery
from workbench.imagery.probabilities import STEPS, Probabilities
from workbench.imagery.rasters import Raster

COLOURS = {"roof": "#ff0000", "tree": "#00ff00"}


def at(drawn: Probabilities, raster: Raster, col: float, row: float, z: int) -> list[int]:
    x, y, across, down = tile_of(raster, col, row, z)
    patch = patch_of(raster, placement(raster), x, y, z)
    assert patch is not None
    part = drawn.draw(0, patch)
    return [0, 0, 0, 0] if part is None else part[down - patch.top, across - patch.left].tolist()


def written(path: Path, values: NDArray[np.float64], dtype: str) -> Raster:
    """Probabilities (2, rows, cols), NaN where there are none, as `segmentation.predict` writes them."""
    if dtype == "uint8":
        data = np.where(np.isnan(values), 255, np.rint(np.nan_to_num(values) * STEPS)).astype(np.uint8)
        nodata = 255.0
    else:
        data, nodata = values.astype(np.float32), float("nan")
    return open_imagery(write_raster(path, data, nodata=nodata, names=("roof", "tree"), tiled=True))[0]


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_most_probable_class_shows_and_the_surer_the_stronger(tmp_path: Path, dtype: str) -> None:
    values = np.zeros((2, 600, 600))
    values[0, :200, :200], values[0, :200, 200:400], values[0, :200, 400:] = 0.6, 1.0, 0.4
    values[:, 200:400, :200] = np.array([0.4, 0.55])[:, None, None]
    values[:, 400:] = np.nan
    raster = written(tmp_path / "p.tif", values, dtype)
    drawn = Probabilities([raster], COLOURS, 0.5)
    for z in (native_zoom(raster), native_zoom(raster) + 2, native_zoom(raster) - 1):
        likely, sure, unlikely = (at(drawn, raster, col, 100, z) for col in (100, 300, 500))
        assert likely[:3] == sure[:3] == [255, 0, 0] and 100 < likely[3] < sure[3] == 255
        assert unlikely[3] == 0 and at(drawn, raster, 300, 500, z)[3] == 0
        assert at(drawn, raster, 100, 300, z)[:3] == [0, 255, 0]
    assert at(Probabilities([raster], COLOURS, 0.7), raster, 100, 100, native_zoom(raster))[3] == 0


def test_from_afar_it_is_as_strong_as_what_is_shown_of_it(tmp_path: Path) -> None:
    values = np.full((2, 600, 600), 0.6)
    raster = written(tmp_path / "p.tif", values, "uint8")
    drawn = Probabilities([raster], COLOURS, 0.5)
    near = at(drawn, raster, 300, 300, native_zoom(raster))
    for steps in (3, 4, 5):
        assert np.abs(np.subtract(at(drawn, raster, 300, 300, native_zoom(raster) - steps), near)).max() <= 3


def test_steps_are_those_that_predictions_are_written_in() -> None:
    from workbench.segmentation import predict

    assert STEPS == predict.STEPS
