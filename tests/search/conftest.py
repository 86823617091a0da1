"""A small archive of two places on earth and one without, shared by the search tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from affine import Affine
from small_archives import MeanColour
from small_rasters import patchwork, write_raster

from workbench.descriptors.archive import Archive
from workbench.descriptors.build import build_archive
from workbench.jobs import Progress


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder: Path = tmp_path_factory.mktemp("search")
    write_raster(folder / "i" / "east.tif", patchwork(256, 320, seed=1))
    west = Affine(1e-5, 0, 8.0, 0, -1e-5, 55.0)
    write_raster(folder / "i" / "nowhere.tif", patchwork(128, 128, seed=3), crs=None, transform=Affine.identity())
    write_raster(folder / "i" / "west.tif", patchwork(256, 256, seed=2), crs="EPSG:4326", transform=west)
    return build_archive(
        folder / "i", folder / "a", tile=(64, 128), stride=32, encoder=MeanColour(), progress=Progress()
    )
