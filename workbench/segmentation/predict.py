"""A network's map of whole rasters: probability GeoTIFFs on exactly the imagery's grid."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.windows import Window

from workbench.descriptors.folding import folded
from workbench.errors import DiskFull, FileExists, RasterRefused, ShapeMismatch
from workbench.files import atomic_write, format_bytes, slug
from workbench.imagery.opening import open_imagery
from workbench.imagery.rasters import Imagery, Raster
from workbench.imagery.render import fit_stretch
from workbench.jobs import Progress, shown_progress
from workbench.segmentation.blend import Network, Reader, Windows, blend
from workbench.segmentation.devices import best_device
from workbench.segmentation.unet import STRIDE, Model, load_model

log = logging.getLogger(__name__)
DType = Literal["uint8", "float32"]
Orientations = Literal[1, 4, 8]
STEPS = 254
"""A uint8 file holds probability * 254 and tells GDAL the scale 1 / 254, so that QGIS shows 0 to 1."""
NODATA = 255
"""Value of a uint8 pixel without prediction; float32 files hold NaN there."""

_TILE = 512
_PANEL = 16 * _TILE
_OVERVIEWS = (2, 4, 8, 16, 32)


def predict(
    imagery: Imagery | Raster | str | Path,
    model: str | Path,
    out: str | Path,
    *,
    window_px: int = 512,
    overlap: int = 128,
    region: Window | None = None,
    orientations: Orientations = 1,
    dtype: DType = "uint8",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Run a model over imagery and write the probability of each class.

    Memory is bounded whatever the raster's size, and a file appears under its name only when it is complete.

    Args:
        imagery: with the model's number of bands.
        model: file of `train_unet`.
        out: the GeoTIFF to write; for several rasters, the folder for one GeoTIFF each.
        window_px: side of the windows that the network sees, a multiple of 32.
        overlap: pixels shared by neighbouring windows, see `Windows`.
        region: the only pixels to predict, of a single raster; the others are no-data.
        orientations: mean over so many turned and mirrored views of each window, which takes so many times as long: 4 for
            the quarter turns, 8 for their mirror images too.
        dtype: ``uint8``, in steps of 1 / `STEPS`, no-data `NODATA`; or ``float32``, no-data NaN.
        overwrite: replace files that are there.
        progress: counts windows.

    Returns:
        ``out``. Bands 1…n are the classes, described by their names; what they leave to 1 is background. The CRS, the
        transform and the size are the raster's, and so are the pixels without data.

    Raises:
        WeightsUnavailable: the model cannot be read.
        RasterRefused: a raster has another number of bands than the model.
        RasterUnreadable: pixels cannot be read; nothing is written.
        FileExists: a file is there already and ``overwrite`` is false.
        DiskFull: the file cannot be written; nothing new is left.
    """
    rasters = _rasters(imagery)
    loaded = load_model(model)
    windows = Windows(window_px, overlap)
    _check(rasters, loaded, window_px, region)
    targets = target_paths(rasters, Path(out), overwrite)
    names = [item.name for item in loaded.card.classes]
    network = turned(_network(loaded), orientations)
    with shown_progress(progress) as shown:
        for raster, target in zip(rasters, targets, strict=True):
            area = raster.window if region is None else _clipped(region, raster)
            reader = _reader(raster, loaded)
            write_probability(raster, reader, network, names, target, area, windows, dtype, shown)
    return Path(out)


def write_probability(
    raster: Raster,
    read: Reader,
    network: Network,
    names: Sequence[str],
    path: Path,
    area: Window,
    windows: Windows,
    dtype: DType,
    progress: Progress,
) -> None:
    """Write what a network says about an area of a raster as a GeoTIFF on the raster's grid, a band per name.

    Raises:
        DiskFull: the file cannot be written; nothing new is left.
    """
    panels = _panels(area)
    progress.begin(f"predicting {raster.name}", sum(windows.count(panel) for panel in panels), "windows")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as aside:
        try:
            with rasterio.open(aside, "w", **_profile(raster, len(names), dtype)) as dataset:
                dataset.descriptions = tuple(names)
                if dtype == "uint8":
                    dataset.scales = (1 / STEPS,) * len(names)
                for panel in panels:
                    for window, values, known in blend(read, network, len(names), panel, windows, progress):
                        dataset.write(_encode(values, known, dtype), window=window)
            factors = [factor for factor in _OVERVIEWS if max(raster.width, raster.height) >= _TILE * factor]
            with rasterio.open(aside, "r+") as dataset:
                dataset.build_overviews(factors, Resampling.average)
        except RasterioError as error:
            free = shutil.disk_usage(path.parent).free
            needed = raster.width * raster.height * len(names) * np.dtype(dtype).itemsize
            raise DiskFull(
                f"{path} could not be written ({error}). It needs at most {format_bytes(needed)} and "
                f"{format_bytes(free)} are free. Make room, or choose another disk."
            ) from error


def target_paths(rasters: Sequence[Raster], out: Path, overwrite: bool, ending: str = "") -> list[Path]:
    """Where to write one GeoTIFF for each raster: ``out``, or for several rasters files in that folder.

    Args:
        rasters: that are not to be overwritten.
        out: file or folder.
        overwrite: files there may be replaced.
        ending: added to the names, before the suffix.

    Raises:
        FileExists: a file is there already and ``overwrite`` is false, or it is one of the rasters.
    """
    if len(rasters) == 1:
        targets = [out.with_name(f"{out.stem}{ending}{out.suffix}")]
    else:
        stems: list[str] = []
        for raster in rasters:
            stem = slug(Path(raster.name).stem)
            stems.append(stem if stem not in stems else f"{stem}-{len(stems) + 1}")
        targets = [out / f"{stem}{ending}.tif" for stem in stems]
    sources = {path.resolve() for raster in rasters for path in raster.paths}
    taken = [
        target
        for target in targets
        if target.is_dir() or target.resolve() in sources or (target.exists() and not overwrite)
    ]
    if taken:
        raise FileExists(f"{taken[0]} exists already. Choose another name, or pass overwrite=True to replace a file.")
    return targets


def turned(network: Network, orientations: Orientations) -> Network:
    """The mean of what a network says about a window in each of its orientations, all turned back."""
    if orientations not in (1, 4, 8):
        raise ShapeMismatch(f"orientations={orientations}: there are 1, 4 or 8. Choose one of them.")
    if orientations == 1:
        return network
    turns = [(quarter, mirrored) for mirrored in range(orientations // 4) for quarter in range(4)]

    def run(windows: NDArray[np.float32]) -> NDArray[np.float32]:
        total: NDArray[np.float32] | None = None
        for quarter, mirrored in turns:
            view = np.rot90(windows[..., ::-1] if mirrored else windows, quarter, (-2, -1))
            back = np.rot90(network(np.ascontiguousarray(view)), -quarter, (-2, -1))
            back = back[..., ::-1] if mirrored else back
            total = back.copy() if total is None else total + back
        assert total is not None
        return total / np.float32(len(turns))

    return run


def _network(model: Model) -> Network:
    """The model as a function of arrays: probabilities of the classes, without the background."""
    device = best_device()
    dtype = torch.bfloat16 if device.bfloat16 else torch.float32
    # Without autocast, which would turn all weights anew for every window.
    network = folded(model.network).to(device.name, dtype)
    numbers = [item.id for item in model.card.classes]

    def run(windows: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            pixels = torch.from_numpy(windows).to(device.name, dtype).contiguous(memory_format=torch.channels_last)
            logits = network(pixels)
            probability: NDArray[np.float32] = torch.softmax(logits.float(), dim=1)[:, numbers].cpu().numpy()
        return probability

    return run


def _reader(raster: Raster, model: Model) -> Reader:
    """The raster as network input, stretched as its chips were, or afresh when it has none."""
    stretch = model.card.stretches.get(raster.fingerprint) or fit_stretch(raster)

    def read(window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        pixels = raster.read(window)
        return model.card.normalisation.apply(pixels, stretch), ~np.ma.getmaskarray(pixels)[0]

    return read


def _encode(values: NDArray[np.float32], known: NDArray[np.bool_], dtype: DType) -> NDArray[Any]:
    if dtype == "float32":
        return np.where(known, values, np.float32(np.nan))
    steps = np.rint(np.clip(values, 0, 1) * STEPS).astype(np.uint8)
    return np.where(known, steps, np.uint8(NODATA))


def _profile(raster: Raster, bands: int, dtype: DType) -> dict[str, Any]:
    place = {} if raster.transform.is_identity else {"transform": raster.transform}
    return place | {
        "driver": "GTiff",
        "crs": raster.crs,
        "width": raster.width,
        "height": raster.height,
        "count": bands,
        "dtype": dtype,
        "nodata": NODATA if dtype == "uint8" else float("nan"),
        "tiled": True,
        "blockxsize": _TILE,
        "blockysize": _TILE,
        "compress": "deflate",
        "predictor": 2 if dtype == "uint8" else 3,
        "photometric": "MINISBLACK",
        "interleave": "band",
        "BIGTIFF": "IF_SAFER",
    }


def _clipped(region: Window, raster: Raster) -> Window:
    left, top = max(0, round(region.col_off)), max(0, round(region.row_off))
    right = min(raster.width, round(region.col_off + region.width))
    bottom = min(raster.height, round(region.row_off + region.height))
    if right <= left or bottom <= top:
        raise ShapeMismatch(f"{region} lies outside {raster.name}, which has {raster.width} x {raster.height} pixels.")
    return Window(left, top, right - left, bottom - top)


def _panels(area: Window) -> list[Window]:
    """An area in columns of tiles narrow enough that memory does not grow with its width."""
    right = area.col_off + area.width
    edges = [area.col_off, *range((area.col_off // _PANEL + 1) * _PANEL, right, _PANEL), right]
    return [Window(a, area.row_off, b - a, area.height) for a, b in pairwise(edges)]


def _rasters(imagery: Imagery | Raster | str | Path) -> Sequence[Raster]:
    if isinstance(imagery, Raster):
        return [imagery]
    return imagery if isinstance(imagery, Imagery) else open_imagery(imagery)


def _check(rasters: Sequence[Raster], model: Model, window_px: int, region: Window | None) -> None:
    if window_px % STRIDE:
        raise ShapeMismatch(f"window_px={window_px} does not fit the network. Choose a multiple of {STRIDE}.")
    if region is not None and len(rasters) > 1:
        raise ShapeMismatch(
            f"A region is in the pixels of one raster, and there are {len(rasters)}. Predict one of them."
        )
    for raster in rasters:
        if len(raster.bands) != model.card.bands:
            raise RasterRefused(
                f"{raster.name} has {len(raster.bands)} bands, and the model was trained on {model.card.bands}. "
                "Open it with bands=[...], in the order of the training imagery."
            )
        ratio = raster.pixel_size_m[0] / model.card.pixel_size_m[0]
        if not 0.67 < ratio < 1.5:
            log.warning("%s: a pixel is %.2g times as large on the ground as the model has learned", raster.name, ratio)
