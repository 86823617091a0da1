"""Paints the bundled scene: an invented coast from the air with its truth, for lessons and smoke tests, not for benchmarks."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.windows import Window
from shapely.affinity import affine_transform

from workbench.files import atomic_write, require_space
from workbench.imagery.scene.build import build
from workbench.imagery.scene.camera import flown_area, photograph
from workbench.imagery.scene.canvas import PIXEL_M
from workbench.imagery.scene.plan import Plan, Truth
from workbench.jobs import Progress, cpu_threads, shown_progress

CLASSES: dict[int, str] = {
    1: "house",
    2: "boat",
    3: "tank",
    4: "panel",
    5: "vehicle",
    6: "road",
    7: "water",
    8: "forest",
    9: "field",
}
"""Values of the mask; 0 is everything else and `IGNORE` what was not flown. A panel on a roof is a panel."""

IGNORE = 255
"""Value of the mask in the no-data border."""

CRS = "EPSG:32632"
ORIGIN = (574_000.0, 6_222_000.0)
"""Easting and northing of the upper left corner, metres."""

_TAG = "WORKBENCH_SCENE"
_EDITION = 1  # goes up when other pixels are painted
_BLOCK = 1024
_PROFILE = {
    "driver": "GTiff",
    "dtype": "uint8",
    "crs": CRS,
    "tiled": True,
    "blockxsize": 512,
    "blockysize": 512,
    "compress": "deflate",
    "zlevel": 4,
    "predictor": 2,
}
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Scene:
    """The files of a painted scene.

    Attributes:
        imagery: ``scene.tif``, RGB uint8 at 0.2 m with overviews; an internal mask flags the no-data border.
        mask: ``scene_mask.tif``, uint8 on the same grid: see `CLASSES`; `IGNORE` in the border, declared as no-data.
        objects: ``scene_objects.gpkg``, footprints of classes 1 to 5 with columns ``class`` and ``variant``.
        classes: the mask's values and their names.
        seed: what it was painted from.
        size: rows and columns.
    """

    imagery: Path
    mask: Path
    objects: Path
    classes: dict[int, str]
    seed: int
    size: int


def paint_scene(folder: str | Path, *, size: int = 8192, seed: int = 0, progress: Progress | None = None) -> Scene:
    """Paint a coast with villages, fields, forest, marinas, tank farms and solar parks, and write it with its truth.

    The same seed and size give the same pixels, so a scene that is there already is kept. The three files appear
    together, when all are complete.

    Args:
        folder: where the files go; made if it is not there, other scenes in it are replaced.
        size: rows and columns, at least 1024; 8192 is 1.6 km, about 120 MB and a minute on two cores.
        seed: another seed is another coast.
        progress: counts painted blocks.

    Raises:
        ValueError: ``size`` is under 1024.
        DiskFull: the folder's disk is too small.
        Cancelled: the user stopped it; no file has changed.
    """
    if size < 1024:
        raise ValueError(f"A scene of {size} pixels has no room for every class. Ask for 1024 or more.")
    folder = Path(folder)
    require_space(folder, 3 * size * size, "painting the scene")
    folder.mkdir(parents=True, exist_ok=True)
    scene = Scene(
        folder / "scene.tif", folder / "scene_mask.tif", folder / "scene_objects.gpkg", dict(CLASSES), seed, size
    )
    if _is_there(scene):
        return scene
    plan = build(size, seed)
    with ExitStack() as stack, shown_progress(progress) as shown:
        imagery, mask, objects = (
            stack.enter_context(atomic_write(path)) for path in (scene.imagery, scene.mask, scene.objects)
        )
        _write_rasters(imagery, mask, plan, scene, shown)
        _footprints(plan.truth, flown_area(size, seed)).to_file(objects, layer="objects", driver="GPKG")
    return scene


def _is_there(scene: Scene) -> bool:
    """Whether exactly this scene was painted here before."""
    if not (scene.imagery.is_file() and scene.mask.is_file() and scene.objects.is_file()):
        return False
    try:
        with rasterio.open(scene.imagery) as there:
            return bool(there.tags().get(_TAG) == _edition(scene))
    except RasterioError:
        return False


def _edition(scene: Scene) -> str:
    return f"edition {_EDITION}, seed {scene.seed}, size {scene.size}"


def profile_of(size: int) -> dict[str, object]:
    """How a raster of a scene is written, as keywords of rasterio; bands and no-data are left open."""
    transform = Affine(PIXEL_M, 0, ORIGIN[0], 0, -PIXEL_M, ORIGIN[1])
    return {**_PROFILE, "width": size, "height": size, "transform": transform, "num_threads": cpu_threads()}


def _write_rasters(imagery: Path, mask: Path, plan: Plan, scene: Scene, progress: Progress) -> None:
    windows = windows_of(scene.size)
    flown = flown_area(scene.size, scene.seed)
    profile = profile_of(scene.size)
    progress.begin("painting the scene", len(windows), "blocks")
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(imagery, "w", count=3, photometric="RGB", **profile) as pixels,
        rasterio.open(mask, "w", count=1, nodata=IGNORE, **profile) as classes,
    ):
        pixels.update_tags(**{_TAG: _edition(scene)})
        for window, rgb, truth, valid in _painted(plan, windows, flown):
            pixels.write(rgb, window=window)
            pixels.write_mask(valid, window=window)
            classes.write(np.where(valid, truth, IGNORE)[None], window=window)
            progress.advance()
    add_overviews(imagery, scene.size, Resampling.average)
    add_overviews(mask, scene.size, Resampling.nearest)


def windows_of(size: int) -> list[Window]:
    """The blocks in which a scene is painted."""
    starts = range(0, size, _BLOCK)
    return [Window(col, row, min(_BLOCK, size - col), min(_BLOCK, size - row)) for row in starts for col in starts]


def _painted(
    plan: Plan, windows: list[Window], flown: NDArray[np.float64]
) -> Iterator[tuple[Window, Bytes, Bytes, NDArray[np.bool_]]]:
    """Every window with its pixels, classes and validity, in order; painted in a few threads, never far ahead."""
    threads = cpu_threads()
    with ThreadPoolExecutor(threads) as pool:
        try:
            ahead = [pool.submit(photograph, plan, window, flown) for window in windows[: threads + 1]]
            for index, window in enumerate(windows):
                photo = ahead.pop(0).result()
                if index + threads + 1 < len(windows):
                    ahead.append(pool.submit(photograph, plan, windows[index + threads + 1], flown))
                yield window, *photo
        finally:
            pool.shutdown(cancel_futures=True)


def add_overviews(path: Path, size: int, how: Resampling) -> None:
    """Add overviews to a raster of a scene, down to 128 pixels."""
    factors = [2**k for k in range(1, 12) if size // 2**k >= 128]
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True, GDAL_NUM_THREADS=str(cpu_threads()), GDAL_TIFF_OVR_BLOCKSIZE="512"),
        rasterio.open(path, "r+") as raster,
    ):
        raster.build_overviews(factors, how)


def _footprints(truth: list[Truth], flown: NDArray[np.float64]) -> gpd.GeoDataFrame:
    """The objects' outlines in the scene's CRS, cut at the edge of what was flown."""
    area = shapely.Polygon(flown * PIXEL_M)
    rows = [(CLASSES[thing.klass], thing.variant, thing.outline().intersection(area)) for thing in truth]
    rows = [row for row in rows if not row[2].is_empty]
    names, variants, outlines = zip(*rows, strict=True)
    placed = [affine_transform(outline, [1, 0, 0, -1, *ORIGIN]) for outline in outlines]
    return gpd.GeoDataFrame({"class": names, "variant": variants}, geometry=placed, crs=CRS)
