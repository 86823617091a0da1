"""Paints a scene as another flight saw it: other light, a shift of a few pixels, some things changed, and the truth."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.features import rasterize
from rasterio.windows import Window
from shapely.affinity import affine_transform

from workbench.files import atomic_write, require_space
from workbench.imagery.scene.build import build
from workbench.imagery.scene.camera import flown_area, photograph
from workbench.imagery.scene.light import SECOND, Light
from workbench.imagery.scene.revise import Change, revise
from workbench.imagery.synthetic import CLASSES, CRS, IGNORE, ORIGIN, Scene, add_overviews, profile_of, windows_of
from workbench.jobs import Progress, shown_progress


@dataclass(frozen=True)
class SecondDate:
    """The files of a second flight over a scene.

    Attributes:
        imagery: ``scene_later.tif``, on the grid of ``scene.tif``.
        mask: ``scene_changes.tif``, uint8: 1 where a thing came or went, 0 elsewhere, `synthetic.IGNORE` where not both
            flights saw the ground.
        changes: ``scene_changes.gpkg``, the things' footprints with columns ``class`` and ``kind`` (gone or new).
    """

    imagery: Path
    mask: Path
    changes: Path


def paint_second_date(
    scene: Scene,
    *,
    changes: int = 40,
    shift: tuple[int, int] = (2, -1),
    light: Light = SECOND,
    seed: int = 0,
    progress: Progress | None = None,
) -> SecondDate:
    """Paint a scene again as it looks later, beside its files.

    Args:
        scene: that was painted.
        changes: how many buildings, boats, tanks and panels come or go.
        shift: rows and columns by which the second raster is out of place, as real ones are.
        light: of the second flight.
        seed: another seed changes other things.
        progress: counts painted blocks.

    Raises:
        DiskFull: there is no room.
        Cancelled: the user stopped it; no file has changed.
    """
    folder = scene.imagery.parent
    require_space(folder, 3 * scene.size**2, "painting the scene")
    later = SecondDate(folder / "scene_later.tif", folder / "scene_changes.tif", folder / "scene_changes.gpkg")
    plan = build(scene.size, scene.seed)
    changed = revise(plan, changes, np.random.default_rng([scene.seed, seed, 5]))
    flown = flown_area(scene.size, scene.seed)
    outlines = [_on_ground(change.outline) for change in changed]
    profile = profile_of(scene.size)
    with ExitStack() as stack, shown_progress(progress) as shown:
        imagery, mask, table = (
            stack.enter_context(atomic_write(path)) for path in (later.imagery, later.mask, later.changes)
        )
        windows = windows_of(scene.size)
        shown.begin("painting the second date", len(windows), "blocks")
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(imagery, "w", count=3, photometric="RGB", **profile) as pixels,
            rasterio.open(mask, "w", count=1, nodata=IGNORE, **profile) as truth,
        ):
            drawn = _drawn(outlines, scene.size, profile["transform"])
            for window in windows:
                rows, cols = window.toslices()
                moved = Window(window.col_off + shift[1], window.row_off + shift[0], window.width, window.height)
                rgb, _, valid = photograph(plan, moved, flown, light)
                pixels.write(rgb, window=window)
                pixels.write_mask(valid, window=window)
                truth.write(np.where(valid, drawn[rows, cols], IGNORE)[None], window=window)
                shown.advance()
        add_overviews(imagery, scene.size, Resampling.average)
        _table(changed, outlines).to_file(table, layer="changes", driver="GPKG")
    return later


def _on_ground(outline: shapely.Geometry) -> shapely.Geometry:
    return affine_transform(outline, [1, 0, 0, -1, *ORIGIN])


def _drawn(outlines: list[shapely.Geometry], size: int, transform: object) -> NDArray[np.uint8]:
    if not outlines:
        return np.zeros((size, size), np.uint8)
    return rasterize(outlines, (size, size), transform=transform, dtype="uint8")  # type: ignore[no-any-return]


def _table(changed: list[Change], outlines: list[shapely.Geometry]) -> gpd.GeoDataFrame:
    columns = {"class": [CLASSES[change.klass] for change in changed], "kind": [change.kind for change in changed]}
    return gpd.GeoDataFrame(columns, geometry=outlines, crs=CRS)
