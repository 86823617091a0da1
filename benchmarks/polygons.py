"""What polygons cost against their mask, and what regular ones save: IoU, objects, vertices and angles by true footprints.

    python benchmarks/polygons.py --raster ortho.tif --truth buildings.geojson --json polygons.json
    python benchmarks/polygons.py --probability roofs.tif --truth buildings.geojson --rows 6400:7680

With ``--raster``, the footprints are drawn on its grid and made what a network makes of them: blurred, so that corners are
round and narrow gaps close, with wavy walls and some objects missing, from a seed. With ``--probability``, the map of a real
network is outlined. Only the box around the footprints counts, and of it only ``--rows``, those that the network did not
learn from. ``iou_mask`` is that of the polygons, drawn again, with the
thresholded pixels without the parts and holes under ``--least`` pixels, which are left out on purpose; ``cost`` is what it
lacks to 1.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize
from rasterio.windows import Window
from scipy.ndimage import gaussian_filter
from skimage.morphology import remove_small_holes, remove_small_objects

from workbench.imagery.opening import open_imagery
from workbench.imagery.rasters import Raster
from workbench.labels.vectors import read_polygons
from workbench.segmentation.objects import score_objects
from workbench.segmentation.polygons import polygonize


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    args = parse(arguments)
    grid = open_imagery(args.probability or args.raster)[0]
    truth = in_pixels(grid, read_polygons(args.truth)[1])
    if args.rows:
        middle = shapely.get_y(shapely.centroid(truth))
        truth = truth[(middle >= args.rows[0]) & (middle < args.rows[1])]
    area = around(truth, grid, args.rows)
    with tempfile.TemporaryDirectory() as work:
        path = args.probability or made_probability(grid, truth, area, args, Path(work) / "probability.tif")
        rows = [measured(path, truth, area, args, regular) for regular in (False, True)]
    plain, regular = rows
    bars = {
        "cost_at_most_0.005": plain["cost"] <= 0.005,
        "half_the_vertices": regular["vertices"] <= plain["vertices"] / 2,
        "f1_no_worse": regular["f1"] >= plain["f1"],
    }
    for row in rows:
        print(
            "  ".join(
                f"{key} {value:.4f}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
            )
        )
    print("  ".join(f"{key} {'yes' if value else 'no'}" for key, value in bars.items()))
    if args.json:
        args.json.write_text(json.dumps({"rows": rows, "bars": bars}, indent=1))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    grid = parser.add_mutually_exclusive_group(required=True)
    grid.add_argument("--raster", type=Path, help="whose grid to draw the footprints on")
    grid.add_argument("--probability", type=Path, help="map of a network, one class")
    parser.add_argument("--truth", type=Path, required=True, help="footprints, any CRS")
    parser.add_argument(
        "--rows", type=lambda text: tuple(map(int, text.split(":"))), metavar="A:B", help="only these [all]"
    )
    parser.add_argument("--blur", type=float, default=2.0, help="pixels (standard deviation) [2]")
    parser.add_argument("--noise", type=float, default=0.1, help="standard deviation of the waves in probability [0.1]")
    parser.add_argument("--waves", type=float, default=2.5, help="their size in pixels (standard deviation) [2.5]")
    parser.add_argument("--missing", type=float, default=0.05, help="share of the objects left out [0.05]")
    parser.add_argument("--least", type=int, default=25, help="smaller parts and holes are left out, pixels [25]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


def in_pixels(grid: Raster, frame: gpd.GeoDataFrame) -> NDArray[np.object_]:
    """Footprints in pixels with right angles kept, valid polygons only."""
    placed = frame.geometry.to_crs(grid.crs).to_numpy()
    shapes = shapely.make_valid(np.array([grid.to_pixels(shape) for shape in placed], object))
    return shapes[np.isin(shapely.get_type_id(shapes), (3, 6)) & (shapely.area(shapes) > 0)]


def around(truth: NDArray[np.object_], grid: Raster, rows: tuple[int, int] | None) -> Window:
    """The box around the footprints, within the raster and the rows."""
    first, last = rows or (0, grid.height)
    left, top, right, bottom = shapely.total_bounds(truth)
    left, top = max(0, int(left) - 16), max(first, int(top) - 16)
    return Window(left, top, min(grid.width, int(right) + 16) - left, min(last, int(bottom) + 16) - top)


def made_probability(
    grid: Raster, truth: NDArray[np.object_], area: Window, args: argparse.Namespace, path: Path
) -> Path:
    """A probability raster like a network's, on the grid's part that the footprints are in, padded to the whole grid."""
    random = np.random.default_rng(args.seed)
    seen = truth[random.random(len(truth)) >= args.missing]
    shape = int(area.height), int(area.width)
    shift = rasterio.Affine.translation(area.col_off, area.row_off)
    drawn = gaussian_filter(rasterize(seen, shape, transform=shift).astype(np.float32), args.blur)
    wavy = gaussian_filter(random.normal(size=shape).astype(np.float32), args.waves)
    values = np.clip(drawn + args.noise * wavy / wavy.std(), 0, 1)
    profile = {"driver": "GTiff", "width": grid.width, "height": grid.height, "count": 1, "dtype": "uint8"}
    with rasterio.open(
        path, "w", **profile, crs=grid.crs, transform=grid.transform, nodata=255, tiled=True, compress="deflate"
    ) as file:
        file.write(np.rint(values * 254).astype(np.uint8), 1, window=area)
    return path


def measured(
    path: Path, truth: NDArray[np.object_], area: Window, args: argparse.Namespace, regular: bool
) -> dict[str, float]:
    """Figures of plain or regular outlines."""
    raster = open_imagery(path)[0]
    width_m, height_m = raster.pixel_size_m
    begun = time.perf_counter()
    frame = polygonize(path, min_area_m2=args.least * width_m * height_m, regular=regular, region=area)
    seconds = time.perf_counter() - begun
    found = np.array([raster.to_pixels(shape) for shape in frame.geometry], object)
    mask = shown(raster, area, args.least)
    shift = rasterio.Affine.translation(area.col_off, area.row_off)
    again = rasterize(found, mask.shape, transform=shift).astype(bool)
    iou = float((again & mask).sum() / (again | mask).sum())
    scores = asdict(score_objects(found, truth, step=2.0))
    return {"regular": regular, "iou_mask": iou, "cost": 1 - iou, **scores, "seconds": round(seconds, 1)}


def shown(raster: Raster, area: Window, least: int) -> NDArray[np.bool_]:
    """The pixels that polygons stand for."""
    values = raster.read(area)[0]
    mask = (np.ma.getdata(values) >= 127) & ~np.ma.getmaskarray(values)
    mask = remove_small_objects(mask, max_size=least - 1, connectivity=1)
    return np.asarray(remove_small_holes(mask, max_size=least - 1, connectivity=1))


if __name__ == "__main__":
    main()
