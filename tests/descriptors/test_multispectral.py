"""Multispectral and 16-bit imagery: bands chosen by name, one file each; the choice and the stretch are recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_archives import MeanColour
from small_rasters import patchwork, write_raster

from workbench.descriptors.archive import open_archive
from workbench.descriptors.build import build_archive
from workbench.errors import WorkbenchError
from workbench.imagery.opening import open_imagery
from workbench.jobs import Progress
from workbench.search.index import Index

BANDS = ("B08", "B04", "B03", "B02")


@pytest.fixture
def product(tmp_path: Path) -> Path:
    """A folder with one uint16 file a band."""
    folder = tmp_path / "product"
    folder.mkdir()
    scene = patchwork(256, 256, dtype="uint16", seed=3) * 20
    for number, name in enumerate(BANDS):
        write_raster(folder / f"T32_{name}_10m.tif", np.roll(scene[number % 3], 40 * number, axis=1)[None])
    return folder


def test_bands_and_stretch_are_recorded_and_come_back(product: Path, tmp_path: Path) -> None:
    imagery = open_imagery(product, bands=["B08", "B04", "B03"])
    built = build_archive(imagery, tmp_path / "a", tile=64, encoder=MeanColour(), progress=Progress())
    archive = open_archive(tmp_path / "a", encoder=MeanColour())
    (entry,) = archive.manifest.rasters
    assert [name for _, _, name in entry.bands] == ["B08", "B04", "B03"] and archive.problems == ()
    assert entry.stretch == built.stretch(0) and len(entry.stretch.low) == 3 and max(entry.stretch.high) > 255
    assert np.array_equal(archive.pixels(5), built.pixels(5)) and archive.pixels(5).std() > 10
    assert [hit.number for hit in Index(archive).search(archive.vectors[5], 1)] == [5]


def test_other_bands_are_another_archive(product: Path, tmp_path: Path) -> None:
    for number, bands in enumerate((["B08", "B04", "B03"], ["B04", "B03", "B02"])):
        build_archive(
            open_imagery(product, bands=bands),
            tmp_path / str(number),
            tile=64,
            encoder=MeanColour(),
            progress=Progress(),
        )
    one, two = (open_archive(tmp_path / name, encoder=MeanColour()) for name in "01")
    assert not np.allclose(one.raw, two.raw)
    with pytest.raises(WorkbenchError, match="B04"):
        build_archive(
            open_imagery(product, bands=["B04", "B03", "B02"]),
            tmp_path / "0",
            tile=64,
            encoder=MeanColour(),
            progress=Progress(),
        )


@pytest.mark.slow
def test_a_sentinel_2_product_is_built_and_searched(shared_data: Path, tmp_path: Path) -> None:
    imagery = open_imagery(shared_data / "sentinel2_jp2", bands=["B8A_60m", "B04_60m", "B03_60m"])
    archive = build_archive(imagery, tmp_path / "a", tile=128, stride=128, encoder=MeanColour(), progress=Progress())
    assert len(archive) > 100 and archive.imagery[0].dtype == "uint16" and archive.imagery[0].crs == "EPSG:32629"
    hits = Index(archive).search(archive.vectors[20], 5)
    assert hits[0].number == 20 and hits[0].score == pytest.approx(1)
    assert 20 < archive.pixels(20).mean() < 235
