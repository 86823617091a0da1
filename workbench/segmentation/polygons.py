"""Polygons from a probability raster: outlines in its CRS with class, mean probability and area, and files for a GIS."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pyproj
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import shapes
from rasterio.windows import Window
from shapely import LinearRing, MultiPolygon, Polygon
from shapely.geometry.base import BaseGeometry
from skimage.measure import label

from workbench.errors import PathRefused, ShapeMismatch
from workbench.files import atomic_write
from workbench.imagery.cogs import read_values
from workbench.imagery.opening import open_imagery
from workbench.imagery.rasters import Raster
from workbench.labels.styles import style_table
from workbench.segmentation.predict import STEPS
from workbench.segmentation.regular import midline, regularise

DRIVERS = {".gpkg": "GPKG", ".geojson": "GeoJSON", ".parquet": "Parquet"}

_BLOCK = 2048
_MIN_PIXELS = 25
_TOLERANCE = 0.4
_GEOD = pyproj.Geod(ellps="WGS84")


def polygonize(
    probability: str | Path,
    *,
    threshold: float = 0.5,
    min_area_m2: float | None = None,
    simplify_m: float | None = None,
    regular: bool | Collection[str] = False,
    region: Window | None = None,
) -> gpd.GeoDataFrame:
    """Outline what a probability raster of `predict` shows.

    A pixel belongs to its most probable class if that probability is at least ``threshold``; pixels of a class that
    share an edge make one polygon. The raster is read in blocks, and what a block's edge cuts is joined again, so only
    the polygons must fit in memory.

    Args:
        probability: GeoTIFF with a band per class.
        threshold: least probability, above 0 and at most 1.
        min_area_m2: smaller polygons and holes are left out, by their pixels and the pixel size at the raster's centre;
            25 pixels when None.
        simplify_m: how far an outline may move (Douglas and Peucker, 1973), after the pixels' stairs were made slopes;
            0.4 pixels when None, which keeps corners; 0 keeps the pixels' own outline.
        regular: bring outlines to right angles, of all classes or of those named: for buildings, see `regularise`.
        region: the only pixels to look at.

    Returns:
        One row per polygon, in the raster's CRS (pixels when it has none): ``class``; ``probability``, the mean over its
        pixels; ``area_m2``, geodesic on WGS 84 (NaN without CRS); ``geometry``, a valid Polygon or MultiPolygon.

    Raises:
        RasterUnreadable: the raster cannot be read.
        ShapeMismatch: the threshold is out of range, or a class to be regular is none of the raster's.
    """
    if not 0 < threshold <= 1:
        raise ShapeMismatch(f"threshold={threshold} is no probability. Give one above 0 and at most 1, such as 0.5.")
    raster = open_imagery(probability)[0]
    names = [band.name for band in raster.bands]
    right = _regular_classes(regular, names)
    width_m, height_m = raster.pixel_size_m
    least = _MIN_PIXELS if min_area_m2 is None else min_area_m2 / (width_m * height_m)
    tolerance = _TOLERANCE if simplify_m is None else simplify_m / math.sqrt(width_m * height_m)
    area = raster.window if region is None else region
    pieces = [piece for block in _blocks(area) for piece in _likely(raster, block, threshold)]
    whole = [piece for piece in _joined(pieces, area) if piece.pixels >= least]
    masks = [_filled(piece.shape, least) for piece in whole]
    outlines = [_outline(mask, tolerance) for mask in masks]
    if right:
        chosen = [names[piece.band] in right for piece in whole]
        outlines = regularise(masks, outlines, chosen, least, width_m / height_m)
    return _frame(raster, whole, outlines, names)


def polygonize_classes(classes: str | Path, probability: str | Path, names: Sequence[str]) -> gpd.GeoDataFrame:
    """Outline the classes of a class map, by its pixels' own edges: neighbours touch and none overlap.

    Args:
        classes: GeoTIFF of `class_map.map_classes`, 0 none of them, 1 and up the classes.
        probability: its GeoTIFF of the class's probability, on the same grid.
        names: of the classes, from 1.

    Returns:
        See `polygonize`; none of them has no polygons. Of imagery without CRS, in pixels of the imagery.

    Raises:
        RasterUnreadable: a raster cannot be read.
    """
    raster = open_imagery(probability)[0]

    def pieces(block: Window) -> Iterator[_Piece]:
        found, sure = read_values(classes, block), raster.read(block)[0]
        band = np.where(np.ma.getmaskarray(sure), 0, found).astype(np.int32)
        return _pieces(band, np.ma.getdata(sure) / STEPS, block)

    whole = _joined([piece for block in _blocks(raster.window) for piece in pieces(block)], raster.window)
    found = _frame(raster, whole, [_outline(piece.shape, 0) for piece in whole], names)
    # Without a CRS, polygons are in pixels: in those of the imagery, which are smaller.
    return found if raster.crs else found.set_geometry(found.affine_transform(raster.transform.to_shapely()))


def together(frames: Sequence[gpd.GeoDataFrame]) -> gpd.GeoDataFrame:
    """Polygons of several rasters in one table: in their CRS, or in longitude and latitude where they differ."""
    systems = {frame.crs for frame in frames}
    alike = frames if len(systems) == 1 else [frame.to_crs("EPSG:4326") for frame in frames if frame.crs]
    return alike[0] if len(alike) == 1 else pd.concat(alike, ignore_index=True)


def _frame(
    raster: Raster, whole: Sequence[_Piece], outlines: Sequence[BaseGeometry], names: Sequence[str]
) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(
        {
            "class": [names[piece.band] for piece in whole],
            "probability": [piece.total / piece.pixels for piece in whole],
            "area_m2": [_area_m2(raster, outline) for outline in outlines],
        },
        geometry=[raster.from_pixels(outline) for outline in outlines],
        crs=raster.crs,
    ).astype({"class": "str", "probability": "float64", "area_m2": "float64"})


def save_polygons(
    frame: gpd.GeoDataFrame, path: str | Path, *, overwrite: bool = False, colours: Mapping[str, str] | None = None
) -> Path:
    """Write polygons as GeoPackage, GeoJSON (in longitude and latitude, as RFC 7946 wants) or GeoParquet, atomically.

    Args:
        frame: of `polygonize`.
        path: the suffix chooses the format: .gpkg, .geojson or .parquet.
        overwrite: replace what is there.
        colours: class name -> ``#rrggbb``; becomes the layer's style in a GeoPackage.

    Raises:
        PathRefused: another suffix.
        FileExists: a file is there already and ``overwrite`` is false.
        DiskFull: the disk is full; nothing new is left.
    """
    path = Path(path)
    if path.suffix.lower() not in DRIVERS:
        raise PathRefused(f"{path.name} names no format for polygons. End it in {', '.join(DRIVERS)}.")
    driver = DRIVERS[path.suffix.lower()]
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, overwrite=overwrite) as aside:
        if driver == "Parquet":
            frame.to_parquet(aside)
            return path
        if driver == "GeoJSON" and frame.crs is not None:
            frame = frame.to_crs("EPSG:4326")
        kind = "MultiPolygon" if (frame.geom_type == "MultiPolygon").any() else "Polygon"
        pyogrio.write_dataframe(
            frame, aside, driver=driver, layer=path.stem, geometry_type=kind, promote_to_multi=kind == "MultiPolygon"
        )
        if driver == "GPKG" and colours:
            styles = style_table(path.stem, "class", dict(colours))
            pyogrio.write_dataframe(styles, aside, driver=driver, layer="layer_styles")
    return path


@dataclass(frozen=True)
class _Piece:
    """Connected pixels of one class: band, outline in pixel coordinates, sum of their probability and their number."""

    band: int
    shape: Polygon
    total: float
    pixels: int


def _likely(raster: Raster, block: Window, threshold: float) -> Iterator[_Piece]:
    """The connected pixels of each class that are likely enough, inside one block."""
    values = raster.read(block)
    full = STEPS if raster.dtype == "uint8" else 1
    top = np.ma.getdata(values).max(axis=0)
    shown = (top >= threshold * full) & ~np.ma.getmaskarray(values)[0]
    band = np.where(shown, np.ma.getdata(values).argmax(axis=0) + 1, 0).astype(np.int32)
    return _pieces(band, top / full, block)


def _pieces(band: NDArray[np.int32], sure: NDArray[np.floating], block: Window) -> Iterator[_Piece]:  # type: ignore[type-arg]
    """The connected pixels of each band (counted from 1; 0: nothing) inside one block, by how sure each pixel is."""
    if not band.any():
        return
    parts = label(band, background=0, connectivity=1).astype(np.int32)
    pixels = np.bincount(parts.ravel())
    totals = np.bincount(parts.ravel(), weights=sure.ravel())
    bands = np.zeros(len(pixels), np.int32)
    bands[parts.ravel()] = band.ravel()
    place = Affine.translation(block.col_off, block.row_off)
    for outline, number in shapes(parts, mask=band > 0, connectivity=4, transform=place):
        part = int(number)
        polygon = Polygon(outline["coordinates"][0], outline["coordinates"][1:])
        yield _Piece(int(bands[part]) - 1, polygon, float(totals[part]), int(pixels[part]))


def _joined(pieces: list[_Piece], area: Window) -> list[_Piece]:
    """Put together what the edges of blocks have cut, and sort from the upper left."""
    done, open_ended = list[_Piece](), list[_Piece]()
    for piece in pieces:
        (open_ended if _meets_seam(piece.shape, area) else done).append(piece)
    for band in sorted({piece.band for piece in open_ended}):
        parts = [piece for piece in open_ended if piece.band == band]
        wholes = shapely.get_parts(shapely.union_all([piece.shape for piece in parts]))
        inside = [shapely.point_on_surface(piece.shape) for piece in parts]
        point, whole = shapely.STRtree(wholes).query(inside, predicate="within")
        totals = np.bincount(whole, weights=[parts[number].total for number in point], minlength=len(wholes))
        pixels = np.bincount(whole, weights=[parts[number].pixels for number in point], minlength=len(wholes))
        done += [
            _Piece(band, *found) for found in zip(wholes, totals.tolist(), pixels.astype(int).tolist(), strict=True)
        ]
    return sorted(done, key=lambda piece: (piece.shape.bounds[1], piece.shape.bounds[0], piece.band))


def _meets_seam(shape: Polygon, area: Window) -> bool:
    left, top, right, bottom = shape.bounds
    ends = (left - area.col_off, right - area.col_off, top - area.row_off, bottom - area.row_off)
    limits = (area.width, area.width, area.height, area.height)
    return any(end % _BLOCK == 0 and 0 < end < limit for end, limit in zip(ends, limits, strict=True))


def _regular_classes(regular: bool | Collection[str], names: Sequence[str]) -> Collection[str]:
    """The classes whose outlines become regular."""
    if isinstance(regular, bool):
        return names if regular else ()
    wanted = [regular] if isinstance(regular, str) else regular
    for name in wanted:
        if name not in names:
            raise ShapeMismatch(f"regular={name!r} is no class of the raster. Name some of {', '.join(names)}.")
    return wanted


def _filled(shape: Polygon, least: float) -> Polygon:
    """A shape without its small holes."""
    return Polygon(shape.exterior, [hole for hole in shape.interiors if Polygon(hole).area >= least])


def _outline(shape: Polygon, tolerance: float) -> BaseGeometry:
    """A valid outline, simplified."""
    plain = shapely.simplify(midline(shape) if tolerance > 0 else shape, tolerance, preserve_topology=True)
    if plain.is_valid:
        return plain
    parts = [part for part in shapely.get_parts(shapely.make_valid(plain)) if isinstance(part, Polygon | MultiPolygon)]
    return shapely.union_all(parts)


def _area_m2(raster: Raster, outline: BaseGeometry) -> float:
    if raster.crs is None:
        return math.nan
    placed = raster.from_pixels(outline, crs="EPSG:4326")
    return float(
        sum(
            _ring_m2(part.exterior) - sum(_ring_m2(hole) for hole in part.interiors)
            for part in shapely.get_parts(placed)
        )
    )


def _ring_m2(ring: LinearRing) -> float:
    lon, lat = np.asarray(ring.coords, np.float64).T[:2]
    return abs(float(_GEOD.polygon_area_perimeter(lon, lat)[0]))


def _blocks(area: Window) -> Iterator[Window]:
    for row in range(0, area.height, _BLOCK):
        for col in range(0, area.width, _BLOCK):
            size = min(_BLOCK, area.width - col), min(_BLOCK, area.height - row)
            yield Window(area.col_off + col, area.row_off + row, *size)
