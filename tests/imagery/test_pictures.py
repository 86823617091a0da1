"""Imagery on the map: the stretch asked for, at every zoom, from the raster, its small copy or the picture kept in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from small_map import tile_of
from small_rasters import patchwork, write_raster

from workbench.errors import QueryInvalid
from workbench.imagery.mercator import native_zoom, patch_of, placement
from workbench.imagery.opening import open_imagery
from workbench.imagery.pictures import STRETCHES, Pictures
from workbench.imagery.quicklook import write_quicklook
from workbench.imagery.rasters import Raster
from workbench.imagery.render import Stretch, fit_stretch
from workbench.jobs import Progress


def shown(pictures: Pictures, raster: Raster, z: int) -> NDArray[np.uint8]:
    """What is shown of the middle of a raster, as pixels (n, 4)."""
    x, y, *_ = tile_of(raster, raster.width / 2, raster.height / 2, z)
    patch = patch_of(raster, placement(raster), x, y, z)
    assert patch is not None
    part = pictures.draw(0, patch)
    assert part is not None
    return part[part[..., 3] > 0]


@pytest.fixture(scope="module")
def dull(tmp_path_factory: pytest.TempPathFactory) -> tuple[Raster, Stretch, Path]:
    """A raster of 100 ... 140 with some dark and bright pixels, and its small copy."""
    folder = tmp_path_factory.mktemp("dull")
    data = np.tile(np.linspace(100, 140, 1500).astype(np.uint8), (3, 1500, 1))
    data[:, :60, :60], data[:, -60:, -60:] = 10, 240
    raster = open_imagery(write_raster(folder / "dull.tif", data, tiled=True))[0]
    stretch = fit_stretch(raster)
    return raster, stretch, write_quicklook(raster, stretch, folder / "quick.tif", Progress())


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize("steps", [0, -3, -6])
def test_each_stretch_shows_its_own_range_at_every_zoom(
    dull: tuple[Raster, Stretch, Path], copy: bool, steps: int
) -> None:
    raster, stretch, quick = dull
    z = native_zoom(raster) + steps
    spread = {}
    for name in STRETCHES:
        pictures = Pictures([raster], [stretch], [quick if copy else None], name)
        pixels = shown(pictures, raster, z)[:, :3]
        spread[name] = np.subtract(*np.percentile(pixels, (90, 10)))
        if name == "as searched":
            assert 100 <= np.median(pixels) <= 140
    assert spread["2-98 %"] > 4 * spread["as searched"]
    assert spread["as searched"] <= spread["full range"] < 1.5 * spread["as searched"]


def test_an_unknown_stretch_is_refused_with_those_there_are(dull: tuple[Raster, Stretch, Path]) -> None:
    with pytest.raises(QueryInvalid, match="as searched, 2-98 %, full range"):
        Pictures([dull[0]], [dull[1]], [None], "bright")


@pytest.mark.parametrize("copy", [False, True])
def test_only_the_bands_on_screen_are_stretched_anew(tmp_path: Path, copy: bool) -> None:
    data = np.concatenate([patchwork(600, 600) // 4 + 60, np.zeros((2, 600, 600), np.uint8)])
    raster = open_imagery(write_raster(tmp_path / "a.tif", data, photometric="RGB"))[0]
    quick = write_quicklook(raster, fit_stretch(raster), tmp_path / "q.tif", Progress()) if copy else None
    pixels = shown(Pictures([raster], [fit_stretch(raster)], [quick], "full range"), raster, native_zoom(raster))
    assert pixels[:, :3].min() < 30 and pixels[:, :3].max() > 225


def test_from_afar_a_raster_is_drawn_from_memory(dull: tuple[Raster, Stretch, Path], tmp_path: Path) -> None:
    raster = open_imagery(write_raster(tmp_path / "a.tif", dull[0].read().filled(0)))[0]
    pictures = Pictures([raster], [fit_stretch(raster)], [None])
    before = shown(pictures, raster, native_zoom(raster) - 5)
    (tmp_path / "a.tif").unlink()
    assert (shown(pictures, raster, native_zoom(raster) - 5) == before).all()
    for steps in (6, 7, 8, 9):
        pixels = shown(pictures, raster, native_zoom(raster) - steps)
        assert 100 <= np.median(pixels[:, :3]) <= 140 and (pixels[:, 3] == 255).all()


def test_what_is_mostly_hole_is_one_from_afar(tmp_path: Path) -> None:
    blocks = np.zeros((64, 64), np.uint8)
    blocks[::2, ::2] = 120
    data = np.broadcast_to(np.kron(blocks, np.ones((32, 32), np.uint8)), (3, 2048, 2048))
    raster = open_imagery(write_raster(tmp_path / "a.tif", data, nodata=0))[0]
    pictures = Pictures([raster], [fit_stretch(raster)], [None])
    for steps, seen in ((4, True), (7, False)):
        z = native_zoom(raster) - steps
        x, y, *_ = tile_of(raster, 1024, 1024, z)
        patch = patch_of(raster, placement(raster), x, y, z)
        assert patch is not None
        assert (pictures.draw(0, patch) is not None) == seen


def test_holes_stay_holes_from_afar(tmp_path: Path) -> None:
    data = np.full((3, 2048, 2048), 120, np.uint8)
    data[:, :, 1024:] = 0
    raster = open_imagery(write_raster(tmp_path / "a.tif", data, nodata=0))[0]
    pictures = Pictures([raster], [fit_stretch(raster)], [None])
    for steps in (4, 5, 6, 7):
        z = native_zoom(raster) - steps
        x, y, *_ = tile_of(raster, 1024, 1024, z)
        patch = patch_of(raster, placement(raster), x, y, z)
        assert patch is not None
        part = pictures.draw(0, patch)
        assert part is not None
        left = (patch.cols > 0) & (patch.cols < 1024 - 2 * patch.scale) & (patch.rows > 0) & (patch.rows < 2048)
        right = (patch.cols > 1024 + 2 * patch.scale) & (patch.cols < 2048)
        assert part[left][:, 3].all() and (part[left][:, :3] == 120).all()
        assert not part[right][:, 3].any()
