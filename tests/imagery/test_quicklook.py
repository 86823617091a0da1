"""The small copy lies where the raster lies, keeps its holes and has overviews."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window
from small_rasters import patchwork, write_raster

from workbench.errors import Cancelled
from workbench.imagery.opening import open_imagery
from workbench.imagery.quicklook import write_quicklook
from workbench.imagery.render import fit_stretch
from workbench.jobs import Progress


def test_a_quicklook_is_a_quarter_of_the_raster_with_its_holes(tmp_path: Path) -> None:
    there = np.ones((2101, 2203), bool)
    there[:400, :800] = False
    pixels = patchwork(2101, 2203, dtype="uint16") * 10
    raster = open_imagery(write_raster(tmp_path / "a.tif", pixels, mask=there))[0]
    stretch = fit_stretch(raster)
    path = write_quicklook(raster, stretch, tmp_path / "quick.tif", Progress())
    with rasterio.open(path) as quick:
        assert (quick.height, quick.width) == (526, 551) and quick.overviews(1)[:3] == [2, 4, 8]
        assert quick.crs.to_epsg() == 32632
        assert quick.transform @ (10, 10) == raster.transform @ (40, 40)
        mask = quick.dataset_mask()
        shown = quick.read()
    assert not mask[:100, :200].any() and mask[101:].all() and mask[:, 201:].all()
    expected = stretch.apply(raster.read(Window(0, 0, 2048, 2048), size=(512, 512))).astype(int)
    assert np.abs(shown[:, 110:512, :512].astype(int) - expected[:, 110:]).max() <= 1
    quick = open_imagery(path)[0]
    assert quick.has_overviews and quick.footprint().contains(raster.footprint())


def test_a_cancelled_quicklook_leaves_nothing(tmp_path: Path) -> None:
    raster = open_imagery(write_raster(tmp_path / "a.tif", patchwork(256, 256)))[0]
    progress = Progress()
    progress.cancel()
    (tmp_path / "q").mkdir()
    with pytest.raises(Cancelled):
        write_quicklook(raster, fit_stretch(raster), tmp_path / "q" / "quick.tif", progress)
    assert list((tmp_path / "q").iterdir()) == []
