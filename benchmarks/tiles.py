"""How long a map tile takes and how large it is, at every zoom: drawn for the first time, and from memory."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from workbench.descriptors.archive import open_archive
from workbench.imagery.mercator import TILE, WORLD_M, native_zoom, placement
from workbench.imagery.mosaic import Mosaic
from workbench.imagery.opening import open_imagery
from workbench.imagery.pictures import Pictures
from workbench.imagery.rasters import Raster
from workbench.imagery.render import fit_stretch
from workbench.imagery.xyz import encode_tile
from workbench.layers import GRID, HEAT, IMAGERY, NAMES, PREDICTION, Layers

_SCREEN = 1024
_AROUND = 3
Painter = Callable[[int, int, int], bytes | None]


def zooms(rasters: Sequence[Raster]) -> range:
    """From three below the zoom at which all of it fills a screen to three above that of the finest pixels."""
    left, bottom, right, top = extent(rasters)
    whole = np.log2(WORLD_M / TILE * _SCREEN / max(right - left, top - bottom))
    native = max(native_zoom(raster) for raster in rasters)
    return range(max(0, int(whole) - _AROUND), min(30, native + _AROUND) + 1)


def extent(rasters: Sequence[Raster]) -> tuple[float, float, float, float]:
    """Left, bottom, right, top of all rasters in Web Mercator metres."""
    boxes = np.array([box for raster in rasters for box in placement(raster).boxes])
    return (*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0))


def tiles_at(rasters: Sequence[Raster], z: int, count: int) -> list[tuple[int, int]]:
    """At most ``count`` tiles over the rasters, in an order without neighbours."""
    drawn = np.random.default_rng(z)
    boxes = [box for raster in rasters for box in placement(raster).boxes]
    found: dict[tuple[int, int], None] = {}
    for _ in range(10 * count):
        left, bottom, right, top = boxes[drawn.integers(len(boxes))]
        x, y = drawn.uniform((left, bottom), (right, top)) / WORLD_M
        found[int((x + 0.5) * 2**z), int((0.5 - y) * 2**z)] = None
    return list(found)[:count]


def measure(paint: Painter, rasters: Sequence[Raster], count: int) -> list[dict[str, float]]:
    """Milliseconds and bytes of a tile by zoom: the first time it is asked for, and the second."""
    rows = []
    for z in zooms(rasters):
        first, again, sizes = [], [], []
        for x, y in tiles_at(rasters, z, count):
            for waits in (first, again):
                started = time.perf_counter()
                tile = paint(x, y, z)
                waits.append((time.perf_counter() - started) * 1000)
            sizes.append(len(tile or b""))
        rows.append(
            {
                "zoom": z,
                "tiles": len(first),
                "cold_median_ms": round(float(np.median(first)), 2),
                "cold_p95_ms": round(float(np.percentile(first, 95)), 2),
                "cached_median_ms": round(float(np.median(again)), 3),
                "cached_p95_ms": round(float(np.percentile(again, 95)), 3),
                "median_bytes": int(np.median(sizes)),
                "p95_bytes": int(np.percentile(sizes, 95)),
            }
        )
    return rows


def of_archive(folder: Path, prediction: list[Path], count: int) -> dict[str, list[dict[str, float]]]:
    """Every layer that an archive has by itself, heat for a query in its middle, and a prediction if there is one."""
    archive = open_archive(folder)
    # A session does so before the first look; what it imports and opens is no tile's time.
    Layers(archive).warm_up()
    layers = Layers(archive)
    layers.set_scores(archive.vectors @ archive.vectors[len(archive) // 2])
    layers.set_prediction(prediction, {})
    mapped = [raster for raster in archive.imagery if raster.mappable]
    numbers = [IMAGERY, HEAT, *([PREDICTION] if prediction else []), GRID]
    return {
        NAMES[number]: measure(lambda x, y, z, number=number: layers.tile(number, x, y, z), mapped, count)
        for number in numbers
    }


def of_imagery(source: str, count: int) -> dict[str, list[dict[str, float]]]:
    """Imagery alone, as it is without an archive: no small copies, and nothing kept."""
    rasters = [raster for raster in open_imagery(source) if raster.mappable]
    mosaic = Mosaic(rasters)
    pictures = Pictures(rasters, [fit_stretch(raster) for raster in rasters], [None] * len(rasters))

    def paint(x: int, y: int, z: int) -> bytes | None:
        picture, _ = mosaic.paint(x, y, z, pictures.draw)
        return None if picture is None else encode_tile(picture)

    return {NAMES[IMAGERY]: measure(paint, rasters, count)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--archive", type=Path)
    given.add_argument("--imagery")
    parser.add_argument("--prediction", type=Path, nargs="*", default=[])
    parser.add_argument("--tiles", type=int, default=40, help="most tiles a zoom")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.archive:
        found = of_archive(options.archive, options.prediction, options.tiles)
    else:
        found = of_imagery(options.imagery, options.tiles)
    slowest = {name: max(row["cold_median_ms"] for row in rows) for name, rows in found.items()}
    text = json.dumps({"slowest_zoom_cold_median_ms": slowest, "layers": found}, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
