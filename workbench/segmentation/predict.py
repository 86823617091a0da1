"""A network's map of whole rasters: probability COGs on exactly the imagery's grid, begun, interrupted and gone on with."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window

from workbench.descriptors.folding import folded, fused
from workbench.errors import DiskFull, FileExists, RasterRefused, RasterUnreadable, ShapeMismatch
from workbench.files import sha256, slug
from workbench.imagery.cogs import CogProfile, new_cog
from workbench.imagery.opening import open_imagery
from workbench.imagery.rasters import Imagery, Raster
from workbench.imagery.render import fit_stretch
from workbench.jobs import Progress, shown_progress
from workbench.segmentation.blend import Network, Reader, Windows, blend
from workbench.segmentation.devices import best_device
from workbench.segmentation.parts import Parts
from workbench.segmentation.unet import STRIDE, Model, load_model

log = logging.getLogger(__name__)
DType = Literal["uint8", "float32"]
Values = NDArray[np.float32]
Known = NDArray[np.bool_]
Orientations = Literal[1, 4, 8]
STEPS = 254
"""A uint8 file holds probability * 254 and tells GDAL the scale 1 / 254, so that QGIS shows 0 to 1."""
NODATA = 255
"""Value of a uint8 pixel without prediction; float32 files hold NaN there."""

_PANEL = 8192
_WINDOWS_PX = (1024, 512)
_TAG = "WORKBENCH_PREDICTION"
_VERSION = 1


def predict(
    imagery: Imagery | Raster | str | Path,
    model: str | Path,
    out: str | Path,
    *,
    window_px: int | None = None,
    overlap: int = 128,
    region: Window | None = None,
    orientations: Orientations = 1,
    dtype: DType = "uint8",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Run a model over imagery and write the probability of each class.

    Memory is bounded whatever the raster's size, and a file appears under its name only when it is complete. One that was
    cancelled or killed goes on where it stopped when the same call is made again: its strips wait in a hidden folder beside the
    file. Files that the same call has finished already are not made again.

    Args:
        imagery: with the model's number of bands.
        model: file of `train_unet`.
        out: the COG to write; for several rasters, the folder for one COG each.
        window_px: side of the windows that the network sees, a multiple of 32; when None 1024, of which less lies in
            overlaps, and 512 for rasters that are smaller.
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
        Cancelled: the user stopped it; the same call goes on.
    """
    rasters = _rasters(imagery)
    loaded = load_model(model)
    _check(rasters, loaded, window_px or STRIDE, region)
    areas = [raster.window if region is None else _clipped(region, raster) for raster in rasters]
    windows = [Windows(window_px or _window_for(area), overlap) for area in areas]
    weights = sha256(model)
    keys = [
        _key(raster, area, weights, each, orientations, dtype)
        for raster, area, each in zip(rasters, areas, windows, strict=True)
    ]
    targets = target_paths(rasters, Path(out), overwrite, done=lambda place, path: _made_by(path) == keys[place])
    names = [item.name for item in loaded.card.classes]
    network = turned(_network(loaded), orientations)
    with shown_progress(progress) as shown:
        for raster, target, area, each, key in zip(rasters, targets, areas, windows, keys, strict=True):
            if _made_by(target) != key:
                reader = _reader(raster, loaded)
                write_probability(raster, reader, network, names, target, area, each, dtype, shown, key)
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
    key: str = "",
) -> None:
    """Write what a network says about an area of a raster as a COG on the raster's grid, a band per name.

    Strips that an earlier call with the same key has left are used; what is left of this one when it ends early is used by
    the next.

    Args:
        raster: to predict.
        read: gives its pixels as network input.
        network: from windows to probabilities.
        names: of the bands.
        path: of the COG.
        area: whole pixels; others are no-data.
        windows: that the network sees.
        dtype: of the file.
        progress: counts windows.
        key: names all that the values depend on.

    Raises:
        DiskFull: the file cannot be written; nothing new is left.
        Cancelled: the user stopped it; what is done is kept beside the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    panels = _panels(area)
    parts = Parts(path, key or "unnamed", len(names), dtype)
    left = [part for panel in panels if (part := parts.left(panel)) is not None]
    total = sum(windows.count(panel) for panel in panels)
    done = total - sum(windows.count(part) for part in left)
    progress.begin(f"predicting {raster.name}", total, "windows", max(0, done))
    try:
        for panel in left:
            _write_strips(parts, blend(read, network, len(names), panel, windows, progress), dtype)
    except (DiskFull, RasterUnreadable):
        parts.clear()
        raise
    try:
        with new_cog(path, _profile(raster, names, dtype, key), overwrite=True) as dataset:
            for window, values in parts.read():
                dataset.write(values, window=window)
    except DiskFull:
        parts.clear()
        raise
    parts.clear()


def _write_strips(parts: Parts, strips: Iterator[tuple[Window, Values, Known]], dtype: DType) -> None:
    """Bring strips to disk, each while the next one is computed."""
    with ThreadPoolExecutor(1, "writing") as writer:
        writing: Future[None] | None = None
        for window, values, known in strips:
            if writing is not None:
                writing.result()
            writing = writer.submit(parts.add, window, _encode(values, known, dtype))
        if writing is not None:
            writing.result()


def target_paths(
    rasters: Sequence[Raster],
    out: Path,
    overwrite: bool,
    ending: str = "",
    done: Callable[[int, Path], bool] = lambda place, path: False,
) -> list[Path]:
    """Where to write one GeoTIFF for each raster: ``out``, or for several rasters files in that folder.

    Args:
        rasters: that are not to be overwritten.
        out: file or folder.
        overwrite: files there may be replaced.
        ending: added to the names, before the suffix.
        done: whether a file is there since the same work was done before, by the raster's place and the path.

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
        for place, target in enumerate(targets)
        if target.is_dir()
        or target.resolve() in sources
        or (target.exists() and not overwrite and not done(place, target))
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
    network = folded(model.network)
    network = (fused(network) if device.name == "cpu" else network).to(device.name, dtype)
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


def _profile(raster: Raster, names: Sequence[str], dtype: DType, key: str) -> CogProfile:
    return CogProfile(
        raster.width,
        raster.height,
        raster.transform,
        raster.crs,
        NODATA if dtype == "uint8" else float("nan"),
        tuple(names),
        dtype,
        scale=1 / STEPS if dtype == "uint8" else 1.0,
        tags={_TAG: key},
        smooth=True,
    )


def _key(raster: Raster, area: Window, weights: str, windows: Windows, orientations: Orientations, dtype: DType) -> str:
    """A name for everything that a file's values depend on."""
    place = area.col_off, area.row_off, area.width, area.height
    bands = [(band.path.name, band.number, band.name) for band in raster.bands]
    parts = [_VERSION, weights, raster.fingerprint, bands, str(raster.nodata), place, windows.size, windows.overlap]
    return hashlib.blake2b(json.dumps([*parts, orientations, dtype]).encode(), digest_size=16).hexdigest()


def _made_by(path: Path) -> str | None:
    """The key of the call that made a file; None where there is none, or it is none of ours."""
    if not path.is_file():
        return None
    try:
        with rasterio.open(path, driver="GTiff") as dataset:
            return dataset.tags().get(_TAG)  # type: ignore[no-any-return]
    except RasterioError:
        return None


def _window_for(area: Window) -> int:
    large, small = _WINDOWS_PX
    return large if max(area.width, area.height) > large else small


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
