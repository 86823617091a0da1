"""Labels as a table of the GIS world."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from geopandas import GeoDataFrame, GeoSeries
from numpy.typing import NDArray

from workbench.labels.events import Place
from workbench.labels.fold import Label


def labels_frame(labels: Sequence[Label], crs: str) -> GeoDataFrame:
    """Labels in one CRS, with columns id, class, value, raster, date, when, by, geometry.

    Labels in pixels of a raster without CRS have no place on earth; they are left out and counted in
    ``frame.attrs["left_out"]``.
    """
    placed = [label for label in labels if label.place.crs is not None]
    rows = [(x.id, x.class_name, x.value, x.place.raster, x.place.date, x.when, x.by) for x in placed]
    columns = ["id", "class", "value", "raster", "date", "when", "by"]
    frame = GeoDataFrame(rows, columns=columns, geometry=_reproject([label.place for label in placed], crs), crs=crs)
    frame.attrs["left_out"] = len(labels) - len(placed)
    return frame


def places_frame(places: Sequence[Place], crs: str) -> GeoDataFrame:
    """Places in one CRS, with columns raster, date, geometry; those in pixels are left out and counted as above."""
    placed = [place for place in places if place.crs is not None]
    rows = [(place.raster, place.date) for place in placed]
    frame = GeoDataFrame(rows, columns=["raster", "date"], geometry=_reproject(placed, crs), crs=crs)
    frame.attrs["left_out"] = len(places) - len(placed)
    return frame


def _reproject(places: Sequence[Place], crs: str) -> NDArray[np.object_]:
    """The places' geometries in one CRS, in their order."""
    geometry = np.array([place.geometry for place in places], dtype=object)
    sources = np.array([place.crs or "" for place in places], dtype=object)
    for source in set(sources):
        rows = sources == source
        geometry[rows] = GeoSeries(geometry[rows], crs=source).to_crs(crs).to_numpy()
    return geometry
