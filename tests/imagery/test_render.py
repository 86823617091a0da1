"""Every kind of raster is visible: dtypes, band counts and ways to flag holes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rasterio.windows import Window
from small_rasters import patchwork, write_raster

from workbench.imagery.opening import open_imagery
from workbench.imagery.rasters import Raster
from workbench.imagery.render import Stretch, display_bands, encode, fit_stretch, flatten, render, sample, thumbnail

DTYPES = ["uint8", "uint16", "int16", "float32", "float64"]
RANGES = {
    "uint8": (1, 250),
    "uint16": (200, 4000),
    "int16": (-500, 900),
    "float32": (-0.2, 0.4),
    "float64": (1e9, 1e9 + 9),
}


def a_raster(path: Path, dtype: str, bands: int, hole: str) -> tuple[Raster, np.ndarray]:
    """A patchwork in the dtype's usual range with a hole in its upper left quarter, and where the data are."""
    low, high = RANGES[dtype]
    unit = patchwork(96, 96, bands, dtype="float64") / 250
    there = np.ones((96, 96), bool)
    pixels = (low + unit * (high - low)).astype(dtype)
    if hole != "none":
        there[:48, :48] = False
    if hole != "alpha" and dtype == "uint8" and bands == 4:  # rasterio would make the fourth band alpha
        pixels_kind = {"photometric": "MINISBLACK"}
    else:
        pixels_kind = {}
    if hole == "alpha":
        full = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 255
        pixels = np.concatenate([pixels, np.where(there, full, 0)[None].astype(dtype)])
        return open_imagery(write_raster(path, pixels, alpha=True))[0], there
    if hole == "mask":
        return open_imagery(write_raster(path, pixels, mask=there, **pixels_kind))[0], there
    if hole == "no-data":
        empty = 0 if dtype == "uint8" else -9999 if dtype != "uint16" else 65535
        return open_imagery(
            write_raster(path, np.where(there, pixels, pixels.dtype.type(empty)), nodata=empty, **pixels_kind)
        )[0], there
    if hole == "NaN":
        return open_imagery(write_raster(path, np.where(there, pixels, pixels.dtype.type(np.nan))))[0], there
    return open_imagery(write_raster(path, pixels, **pixels_kind))[0], there


MATRIX = [
    (dtype, bands, hole)
    for dtype in DTYPES
    for bands in (1, 2, 3, 4, 8)
    for hole in ("none", "alpha", "mask", "no-data", "NaN")
    if hole != "NaN" or dtype.startswith("float")
]


@pytest.mark.parametrize(("dtype", "bands", "hole"), MATRIX)
def test_P20_a_preview_shows_what_is_there(tmp_path: Path, dtype: str, bands: int, hole: str) -> None:
    raster, there = a_raster(tmp_path / "a.tif", dtype, bands, hole)
    assert len(raster.bands) == bands and max(display_bands(raster)) < bands
    stretch = fit_stretch(raster)
    assert len(stretch.low) == len(stretch.high) == bands
    picture = render(raster, raster.window, (96, 96), stretch)
    assert np.array_equal(picture[..., 3] > 0, there)
    shown = picture[..., :3][there]
    assert (shown.max(axis=0).astype(int) - shown.min(axis=0) > 100).all() and len(np.unique(shown)) > 20
    assert not picture[..., :3][~there].any()
    # The stretch is all that lies between pixels and picture, so recording it is enough to repeat the picture.
    again = Stretch(stretch.low, stretch.high).apply(raster.read())[list(display_bands(raster))]
    assert np.array_equal(again.transpose(1, 2, 0), picture[..., :3])


def test_P20_a_rare_value_is_not_stretched_away(tmp_path: Path) -> None:
    pixels = np.full((1, 100, 100), 7, np.uint16)
    pixels[0, :5, :10] = 9
    raster = open_imagery(write_raster(tmp_path / "a.tif", pixels))[0]
    shown = render(raster, raster.window, (100, 100), fit_stretch(raster))[..., 0]
    assert set(np.unique(shown)) == {0, 255}


def test_constant_and_empty_rasters_have_a_finite_stretch(tmp_path: Path) -> None:
    constant = open_imagery(write_raster(tmp_path / "a.tif", np.full((1, 20, 20), 7, np.uint16)))[0]
    assert fit_stretch(constant) == Stretch((7.0,), (8.0,))
    empty = open_imagery(write_raster(tmp_path / "b.tif", np.full((1, 20, 20), np.nan, np.float32)))[0]
    assert fit_stretch(empty) == Stretch((0.0,), (1.0,))
    assert not render(empty, empty.window, (20, 20), fit_stretch(empty)).any()


def test_bytes_are_shown_as_they_are(tmp_path: Path) -> None:
    pixels = patchwork(40, 40)
    raster = open_imagery(write_raster(tmp_path / "a.tif", pixels))[0]
    assert np.array_equal(
        render(raster, raster.window, (40, 40), fit_stretch(raster))[..., :3], pixels.transpose(1, 2, 0)
    )


def test_colours_are_shown_as_the_file_names_them(tmp_path: Path) -> None:
    from rasterio.enums import ColorInterp

    pixels = patchwork(40, 40, 4)
    path = write_raster(tmp_path / "a.tif", pixels, photometric="MINISBLACK")
    import rasterio

    with rasterio.open(path, "r+") as file:
        file.colorinterp = [ColorInterp.undefined, ColorInterp.blue, ColorInterp.green, ColorInterp.red]
    assert display_bands(open_imagery(path)[0]) == (3, 2, 1)
    assert display_bands(open_imagery(path, bands=[2, 3])[0]) == (0, 0, 0)


def test_what_lies_beyond_the_raster_is_transparent(tmp_path: Path) -> None:
    raster = open_imagery(write_raster(tmp_path / "a.tif", patchwork(40, 40)))[0]
    picture = render(raster, Window(20, 20, 40, 40), (40, 40), fit_stretch(raster))
    assert (picture[:20, :20, 3] == 255).all() and not picture[20:].any() and not picture[:, 20:].any()
    assert (flatten(picture)[20:] == 255).all()


def test_a_thumbnail_is_a_small_jpeg(tmp_path: Path) -> None:
    raster = open_imagery(write_raster(tmp_path / "a.tif", patchwork(200, 300)))[0]
    image = Image.open(io.BytesIO(thumbnail(raster, Window(0, 0, 300, 150), fit_stretch(raster), 64)))
    assert image.format == "JPEG" and image.size == (64, 32)
    for form in ("PNG", "WEBP"):
        assert Image.open(io.BytesIO(encode(np.zeros((4, 6, 4), np.uint8), form))).size == (6, 4)


def test_P28_a_preview_of_a_large_raster_without_overviews_reads_strips(tmp_path: Path) -> None:
    large = {"tiled": True, "blockxsize": 512, "blockysize": 512, "sparse_ok": True}
    import rasterio

    path = tmp_path / "large.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=20_000, height=20_000, count=1, dtype="uint16", compress="deflate", **large
    ) as file:
        file.write(patchwork(512, 512, 1, dtype="uint16"), window=Window(512, 0, 512, 512))
    raster = open_imagery(path)[0]
    asked: list[int] = []
    read = Raster.read

    def counted(self: Raster, window: Window | None = None, **options: object) -> object:
        asked.append(int((window or self.window).width * (window or self.window).height))
        return read(self, window, **options)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Raster, "read", counted)
        assert sample(raster).shape[2] <= 1024
    assert sum(asked) <= 16 * 1024**2
