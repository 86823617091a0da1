"""Random square crops of imagery, at random scales, for training an encoder; without any label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from rasterio.windows import Window

from workbench.descriptors.distillation.views import varied
from workbench.errors import RasterUnreadable
from workbench.files import atomic_write
from workbench.imagery.rasters import Imagery, Raster
from workbench.imagery.render import Stretch, display_bands, fit_stretch
from workbench.jobs import Progress

_SCALES = (0.5, 6.0)
_LEAST_DATA = 0.98
_TRIES = 20


def write_crops(groups: Sequence[Imagery], path: Path, count: int, side: int, seed: int, progress: Progress) -> None:
    """Write crops of imagery as one array, uint8 (count, side, side, 3); a file that is there already is kept.

    Each group has a share by the square root of its pixels, so that one large orthophoto does not drown many small
    pictures, and within a group each raster by its pixels. Scales are drawn log-uniformly: from twice the raster's own
    resolution to a sixth of it, or to where the crop would fill the raster.

    Args:
        groups: imagery of one kind each.
        path: of the array, ``.npy``.
        count: of crops.
        side: pixels on a side.
        seed: of all random choices.
        progress: counts crops.
    """
    if path.is_file():
        return
    drawn = np.random.default_rng(seed)
    chosen = _shares(groups, count, drawn)
    path.parent.mkdir(parents=True, exist_ok=True)
    progress.begin("cutting crops", count, "crops")
    with atomic_write(path) as aside:
        crops = open_memmap(aside, mode="w+", dtype=np.uint8, shape=(count, side, side, 3))
        places = drawn.permutation(count)  # neighbours in a raster are read together and stored apart
        done = 0
        for raster, number in chosen:
            for crop in _crops_of(raster, number, side, drawn):
                other = crops[places[drawn.integers(done)]] if done else crop
                crops[places[done]] = varied(crop, other, drawn)
                done += 1
                progress.advance(1)
        for place in range(done, count):  # for rasters that are nothing but holes
            crops[places[place]] = crops[places[drawn.integers(done)]]
        crops.flush()


def _shares(groups: Sequence[Imagery], count: int, drawn: np.random.Generator) -> list[tuple[Raster, int]]:
    rasters = [raster for group in groups for raster in group]
    sizes = [np.array([raster.width * raster.height for raster in group], float) for group in groups]
    shares = np.concatenate([size / np.sqrt(size.sum()) for size in sizes])
    numbers = drawn.multinomial(count, shares / shares.sum())
    return [(raster, int(number)) for raster, number in zip(rasters, numbers, strict=True) if number]


def _crops_of(raster: Raster, count: int, side: int, drawn: np.random.Generator) -> list[NDArray[np.uint8]]:
    stretch = fit_stretch(raster)
    largest = max(_SCALES[0], min(_SCALES[1], min(raster.width, raster.height) / side))
    scales = np.exp(drawn.uniform(np.log(_SCALES[0]), np.log(largest), count * _TRIES))
    places = drawn.uniform(size=(count * _TRIES, 2))
    found: list[NDArray[np.uint8]] = []
    for scale, (down, across) in zip(scales, places, strict=True):
        if len(found) == count:
            break
        length = scale * side
        window = Window(across * (raster.width - length), down * (raster.height - length), length, length)
        crop = _crop(raster, window, side, stretch)
        if crop is not None:
            found.append(crop)
    # A raster that is mostly holes repeats what it has: the shares of the others stay what they are.
    return [found[place % len(found)] for place in range(count)] if found else []


def _crop(raster: Raster, window: Window, side: int, stretch: Stretch) -> NDArray[np.uint8] | None:
    bands = display_bands(raster)
    unique = tuple(dict.fromkeys(bands))
    try:
        pixels = raster.read(window, size=(side, side), bands=unique)
    except RasterUnreadable:
        return None
    if 1 - np.ma.getmaskarray(pixels)[0].mean() < _LEAST_DATA:
        return None
    return stretch.of(unique).apply(pixels)[[unique.index(band) for band in bands]].transpose(1, 2, 0)
