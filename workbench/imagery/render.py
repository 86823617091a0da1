"""Pixels made visible: stretch, thumbnails and XYZ map tiles for any dtype and band count."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from rasterio.windows import Window

from workbench.errors import RasterUnreadable
from workbench.imagery.rasters import Raster

log = logging.getLogger(__name__)
_SAMPLE = 1024
# Of WebP's methods, 0 is three times as quick as 4 and 5 % larger.
_ENCODER: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 85},
    "WEBP": {"quality": 80, "method": 0},
    "PNG": {"compress_level": 1},
}
_LOWER_QUALITIES = (75, 60, 45, 30, 15)


@dataclass(frozen=True)
class Stretch:
    """The linear map from pixel values to 0..1 that was used, one pair a band, so that it can be recorded and repeated."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    def to_unit(self, pixels: np.ma.MaskedArray[Any, Any]) -> NDArray[np.float32]:
        """Stretch (bands, rows, cols) to float32 0..1; masked pixels become 0."""
        data = np.ma.getdata(pixels)
        exact = np.promote_types(data.dtype, np.float32)  # float64 where float32 would round the pixels away
        low, high = (np.array(ends, exact)[:, None, None] for ends in (self.low, self.high))
        with np.errstate(over="ignore"):  # masked pixels may hold anything
            # In place: strips of a prediction have 100 MB, and each copy as much.
            unit = data.astype(exact)
            unit -= low
            unit /= np.maximum(high - low, 1e-12)
            unit = unit.astype(np.float32, copy=False)
        np.clip(unit, 0, 1, out=unit)
        mask = np.ma.getmask(pixels)
        if mask is not np.ma.nomask:
            unit[mask] = 0
        return unit  # type: ignore[no-any-return]

    def apply(self, pixels: np.ma.MaskedArray[Any, Any]) -> NDArray[np.uint8]:
        """Stretch (bands, rows, cols) to uint8; masked pixels become 0."""
        if np.ma.getdata(pixels).dtype == np.uint8 and set(self.low) == {0.0} and set(self.high) == {255.0}:
            return np.ma.filled(pixels, 0)  # type: ignore[no-any-return]
        return (self.to_unit(pixels) * 255 + 0.5).astype(np.uint8)

    def of(self, bands: tuple[int, ...]) -> Stretch:
        """The stretch of some of the bands."""
        return Stretch(tuple(self.low[band] for band in bands), tuple(self.high[band] for band in bands))


def fit_stretch(raster: Raster) -> Stretch:
    """The stretch of a raster: 0..255 for uint8, else the 2nd to 98th percentile of each band's valid pixels.

    Read from a decimated copy of at most 1024 x 1024 pixels. Where 2 and 98 percent coincide, the full range is used,
    so that a preview is never constant where the data are not.
    """
    if raster.dtype == "uint8":
        return Stretch((0.0,) * len(raster.bands), (255.0,) * len(raster.bands))
    return percentile_stretch(sample(raster))


def percentile_stretch(pixels: np.ma.MaskedArray[Any, Any], low: float = 2, high: float = 98) -> Stretch:
    """The stretch between two percentiles of each band's valid pixels, (bands, rows, cols); where they meet, the full range."""
    lows, highs = [], []
    for band in pixels:
        values = band.compressed().astype(np.float64)
        ends = np.percentile(values, (low, high)) if values.size else np.array([0.0, 1.0])
        if ends[0] == ends[1] and values.size:
            ends = np.array([values.min(), values.max()])
        lows.append(float(ends[0]))
        highs.append(float(ends[1]) if ends[1] > ends[0] else float(ends[0]) + 1.0)
    return Stretch(tuple(lows), tuple(highs))


def sample(raster: Raster, pixels: int = _SAMPLE) -> np.ma.MaskedArray[Any, Any]:
    """A picture of a raster of at most ``pixels`` x ``pixels``.

    Where there are no overviews, reading it whole could take minutes, so strips spread over its height are read instead.
    """
    size = (min(pixels, raster.height), min(pixels, raster.width))
    try:
        if raster.has_overviews or raster.width * raster.height <= 16 * _SAMPLE**2:
            return raster.read(size=size)
        rows = max(1, 16 * _SAMPLE**2 // raster.width // 8)
        strips = [
            raster.read(Window(0, top, raster.width, rows), size=(max(1, size[0] // 8), size[1]))
            for top in _spread(raster.height, rows)
        ]
        return np.ma.concatenate(strips, axis=1)  # type: ignore[no-any-return,no-untyped-call]
    except RasterUnreadable as error:
        log.warning("%s", error)
        return _sample_readable(raster)


def _sample_readable(raster: Raster) -> np.ma.MaskedArray[Any, Any]:
    """What can be read of 64 small windows all over a damaged raster, side by side."""
    rows, cols = min(raster.height, 128), min(raster.width, 128)
    found = [np.ma.masked_all((len(raster.bands), rows, 1), raster.dtype)]
    for top, left in product(_spread(raster.height, rows), _spread(raster.width, cols)):
        try:
            found.append(raster.read(Window(left, top, cols, rows)))
        except RasterUnreadable:
            continue
    return np.ma.concatenate(found, axis=2)  # type: ignore[no-any-return,no-untyped-call]


def _spread(length: int, part: int) -> list[int]:
    return [int(start) for start in np.unique(np.linspace(0, length - part, 8).astype(int))]


def display_bands(raster: Raster) -> tuple[int, int, int]:
    """Which bands are shown as red, green and blue: as the file says, else the first three, else the first thrice."""
    if {"red", "green", "blue"} <= set(raster.colours):
        red, green, blue = (raster.colours.index(colour) for colour in ("red", "green", "blue"))
        return red, green, blue
    return (0, 1, 2) if len(raster.bands) >= 3 else (0, 0, 0)


def render(raster: Raster, window: Window, size: tuple[int, int], stretch: Stretch) -> NDArray[np.uint8]:
    """A window as RGBA.

    Args:
        raster: to read from.
        window: pixels; parts outside the raster are transparent.
        size: (rows, cols) of the picture.
        stretch: of all bands of the raster.

    Returns:
        uint8 array (rows, cols, 4), alpha 0 where there is no data.
    """
    bands = display_bands(raster)
    unique = tuple(dict.fromkeys(bands))
    pixels = raster.read(window, size=size, bands=unique)
    shown = stretch.of(unique).apply(pixels)[[unique.index(band) for band in bands]]
    alpha = np.where(np.ma.getmaskarray(pixels)[0], 0, 255).astype(np.uint8)
    return np.concatenate([shown, alpha[None]]).transpose(1, 2, 0)


def thumbnail(
    raster: Raster, window: Window, stretch: Stretch, pixels: int = 128, most_bytes: int | None = None
) -> bytes:
    """A window as a JPEG of at most ``pixels`` on its longer side, no-data in white.

    Noise takes many bytes: the quality of a picture is lowered until it has at most ``most_bytes``.
    """
    scale = pixels / max(window.height, window.width)
    size = (max(1, round(window.height * scale)), max(1, round(window.width * scale)))
    picture = flatten(render(raster, window, size, stretch))
    data = encode(picture, "JPEG")
    for quality in _LOWER_QUALITIES:
        if most_bytes is None or len(data) <= most_bytes:
            break
        data = encode(picture, "JPEG", quality)
    return data


def blank(words: str, pixels: int = 128) -> bytes:
    """A grey JPEG of ``pixels`` on a side that says why there is no picture."""
    card = Image.new("RGB", (pixels, pixels), (128, 128, 128))
    size = max(8, pixels // 9)
    centre = (pixels / 2, pixels / 2)
    ImageDraw.Draw(card).multiline_text(
        centre, words, (235, 235, 235), font=ImageFont.load_default(size), anchor="mm", align="center"
    )
    return encode(np.asarray(card), "JPEG")


def flatten(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGBA over white, as (rows, cols, 3)."""
    return np.where(rgba[..., 3:] > 0, rgba[..., :3], 255).astype(np.uint8)


def encode(picture: NDArray[np.uint8], form: str, quality: int | None = None) -> bytes:
    """A picture (rows, cols, 3 or 4) as JPEG, PNG or WEBP bytes, at the usual quality when None is given."""
    file = io.BytesIO()
    options = _ENCODER[form] if quality is None else {**_ENCODER[form], "quality": quality}
    Image.fromarray(picture).save(file, form, **options)
    return file.getvalue()
