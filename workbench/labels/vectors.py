"""Reading polygons from GIS files strictly: what cannot be used is refused in words, before anything is changed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import pyproj
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError

from workbench.errors import LabelInvalid

_STARTS = {
    ".gpkg": b"SQLite format 3\0",
    ".shp": b"\0\0'\n",
    ".parquet": b"PAR1",
    ".geoparquet": b"PAR1",
    ".geojson": b"{",
    ".json": b"{",
}
_POLYGONS = ("Polygon", "MultiPolygon")


def read_polygons(
    source: str | Path | gpd.GeoDataFrame, layer: str | None = None, crs: str | None = None
) -> tuple[str, gpd.GeoDataFrame]:
    """Read polygons of a known coordinate system.

    Args:
        source: GeoPackage, GeoJSON, Shapefile, GeoParquet, or a GeoDataFrame.
        layer: of a file with several.
        crs: of the coordinates, where the file does not say it or says it wrong.

    Returns:
        What to call the source in messages, and its features.

    Raises:
        LabelInvalid: not readable, empty, not all polygons, or of no known CRS.
    """
    if isinstance(source, gpd.GeoDataFrame):
        name, frame = "The table", source
    else:
        name, frame = Path(source).name, _read(Path(source), layer)
    return name, _with_crs(_only_polygons(frame, name), name, crs)


def extent(bounds: tuple[float, ...] | NDArray[np.float64]) -> str:
    """Bounds (min x, min y, max x, max y) for people."""
    left, bottom, right, top = (float(value) for value in bounds)
    return f"x {left:.6g} to {right:.6g}, y {bottom:.6g} to {top:.6g}"


def _read(path: Path, layer: str | None) -> gpd.GeoDataFrame:
    """Read a vector file of one of the known formats, by its content and not its name alone."""
    start = _STARTS.get(path.suffix.lower())
    if start is None or not path.is_file():
        what = "there is no such file" if start is not None else "its format is not known here"
        raise LabelInvalid(f"{path.name}: {what}. Give a GeoPackage, GeoJSON, Shapefile or GeoParquet file.")
    try:
        with path.open("rb") as file:
            head = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
        if not head.startswith(start.lstrip()):
            raise LabelInvalid(
                f"{path.name} is no {path.suffix[1:]} file, whatever its name says. Save it again as one."
            )
        if start == b"PAR1":
            return gpd.read_parquet(path)
        return gpd.read_file(path, engine="pyogrio", layer=_layer(path, layer), on_invalid="ignore")
    except (OSError, ValueError, DataSourceError, DataLayerError) as error:
        if isinstance(error, LabelInvalid):
            raise
        raise LabelInvalid(
            f"{path.name} cannot be read ({str(error)[:200]}). Save it again, or copy it again."
        ) from error


def _layer(path: Path, layer: str | None) -> str:
    """The layer to read: the one asked for, the only one with geometry, or ours."""
    layers = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
    if layer is None and (len(layers) == 1 or "labels" in layers):
        return layers[0] if len(layers) == 1 else "labels"
    if layer in layers:
        return layer
    raise LabelInvalid(f"{path.name} has the layers {layers}. Say which one with layer=.")


def _only_polygons(frame: gpd.GeoDataFrame, name: str) -> gpd.GeoDataFrame:
    if not isinstance(frame, gpd.GeoDataFrame) or not len(frame):
        raise LabelInvalid(f"{name} has no features. Give a file with at least one polygon.")
    empty = int((frame.geometry.isna() | frame.geometry.is_empty).sum())
    if empty:
        # A Shapefile that was cut off reads like this too.
        raise LabelInvalid(
            f"{name}: {empty:,} of {len(frame):,} rows have no geometry. Copy it again, or take them out."
        )
    others = Counter(kind for kind in frame.geom_type if kind not in _POLYGONS)
    if others:
        found = ", ".join(f"{count:,} {kind}" for kind, count in others.items())
        raise LabelInvalid(f"{name} holds {found}, and labels are polygons. Buffer points and lines first.")
    return frame


def _with_crs(frame: gpd.GeoDataFrame, name: str, crs: str | None) -> gpd.GeoDataFrame:
    if crs is None and frame.crs is not None:
        return frame
    if crs is None:
        raise LabelInvalid(
            f"{name} does not say its coordinate system. Say it, for example crs='EPSG:25832'; "
            f"its coordinates run from {extent(frame.total_bounds)}."
        )
    try:
        return frame.set_crs(crs, allow_override=True)
    except pyproj.exceptions.CRSError as error:
        raise LabelInvalid(f"{crs[:60]!r} is no coordinate system. Give one such as 'EPSG:25832'.") from error
