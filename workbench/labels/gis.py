"""Labels in and out of GIS files: polygons of any CRS become labels, and labels GeoPackage, GeoJSON or GeoParquet."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio

from workbench.errors import LabelInvalid
from workbench.files import atomic_write
from workbench.imagery.rasters import Imagery
from workbench.labels.edits import stamp
from workbench.labels.frames import labels_frame, places_frame
from workbench.labels.placing import assign, mended
from workbench.labels.store import LabelStore, Mark, Place
from workbench.labels.styles import style_table
from workbench.labels.vectors import extent, read_polygons


@dataclass(frozen=True)
class ImportReport:
    """What an import did.

    Attributes:
        labelled: places labelled, by class.
        rasters: places labelled, by raster name.
        outside: polygons that lie on no raster and were left out.
        repaired: polygons that crossed themselves and were mended.
    """

    labelled: dict[str, int]
    rasters: dict[str, int]
    outside: int
    repaired: int

    @property
    def words(self) -> str:
        """One line for people."""
        done = ", ".join(f'{count:,} "{name}"' for name, count in self.labelled.items())
        left = f"; {self.outside:,} outside the imagery were left out" if self.outside else ""
        mended = f"; {self.repaired:,} that crossed themselves were mended" if self.repaired else ""
        return f"{done} imported on {len(self.rasters):,} rasters{left}{mended}"


def import_vectors(
    source: str | Path | gpd.GeoDataFrame,
    imagery: Imagery,
    store: LabelStore,
    *,
    class_name: str | None = None,
    class_column: str | None = None,
    value: int = 1,
    crs: str | None = None,
    layer: str | None = None,
) -> ImportReport:
    """Label every polygon of a file or table, as one event and one undo; all of it is checked before.

    Each polygon goes to the raster that holds most of it, in that raster's CRS.

    Args:
        source: GeoPackage, GeoJSON, Shapefile, GeoParquet, or a GeoDataFrame.
        imagery: the rasters that may be labelled.
        store: where the labels go.
        class_name: one class for all polygons; give this or ``class_column``.
        class_column: the column that names each polygon's class.
        value: +1 or -1.
        crs: of the coordinates, where the file does not say it or says it wrong.
        layer: of a file with several.

    Raises:
        LabelInvalid: not readable, empty, no polygons, no CRS, no class, or nowhere near the imagery; nothing was
            changed.
        LabelNotSaved: it could not be written; nothing was changed.
    """
    name, frame = read_polygons(source, layer, crs)
    classes = _classes(frame, name, class_name, class_column)
    outlines, repaired = mended(frame, name)
    raster_of, shapes = assign(outlines, imagery)
    if (raster_of < 0).all():
        raise LabelInvalid(_nowhere(outlines, imagery, name))
    marks: dict[str, list[Place]] = {}
    for row in np.flatnonzero(raster_of >= 0):
        raster = imagery[raster_of[row]]
        marks.setdefault(classes[row], []).append(Place(raster.fingerprint, shapes[row], raster.crs, raster.date))
    store.add_marks([Mark(known, value, tuple(places)) for known, places in marks.items()])
    return ImportReport(
        {known: len(places) for known, places in marks.items()},
        dict(Counter(imagery[number].name for number in raster_of[raster_of >= 0])),
        int((raster_of < 0).sum()),
        repaired,
    )


def export_gis(store: LabelStore, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write the labels for a GIS: ``.gpkg`` (labels, complete areas, class colours), ``.geojson`` or ``.parquet``.

    Each label has its id and the time of the export, by which `edits.review_edits` knows it again. In the labels' own CRS
    where they share one, else in EPSG:4326; GeoJSON always in EPSG:4326 (RFC 7946).

    Raises:
        LabelInvalid: another suffix, or no label has a place on earth.
        FileExists: the file is there and ``overwrite`` is false.
        DiskFull: there is too little room; nothing new is left.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".gpkg", ".geojson", ".parquet"):
        raise LabelInvalid(
            f"{path.name}: labels are written as .gpkg, .geojson or .parquet. Choose one of these names."
        )
    labels, areas = store.labels(), store.complete()
    systems = {place.crs for place in (*(label.place for label in labels), *areas)} - {None}
    crs = systems.pop() if len(systems) == 1 and suffix != ".geojson" else "EPSG:4326"
    frame, complete = labels_frame(labels, str(crs)), places_frame(areas, str(crs))
    frame["exported"] = stamp(labels)
    if not len(frame) and not (len(complete) and suffix == ".gpkg"):
        raise LabelInvalid(
            "There is no label with a place on earth to write. Label something on georeferenced imagery."
        )
    with atomic_write(path, overwrite=overwrite) as aside:
        if suffix == ".parquet":
            frame.to_parquet(aside)
        elif suffix == ".geojson":
            frame.to_file(aside, driver="GeoJSON", engine="pyogrio", RFC7946="YES")
        else:
            _write_geopackage(aside, frame, complete, store)
    return path


def _write_geopackage(path: Path, frame: gpd.GeoDataFrame, complete: gpd.GeoDataFrame, store: LabelStore) -> None:
    colours = {known.name: known.colour for known in store.classes}
    frame.to_file(path, layer="labels", driver="GPKG", engine="pyogrio", geometry_type="Unknown")
    if len(complete):
        complete.to_file(path, layer="complete", driver="GPKG", engine="pyogrio", geometry_type="Unknown")
    classes = pd.DataFrame([(c.id, c.name, c.colour) for c in store.classes], columns=["number", "name", "colour"])
    for table, name in ((classes, "classes"), (style_table("labels", "class", colours), "layer_styles")):
        pyogrio.write_dataframe(table, path, layer=name, driver="GPKG", append=True)


def _classes(frame: gpd.GeoDataFrame, name: str, class_name: str | None, column: str | None) -> list[str]:
    """The class of each row."""
    columns = [str(known) for known in frame.columns if known != frame.geometry.name]
    if (class_name is None) == (column is None):
        raise LabelInvalid(f"Give either class_name= or class_column= (one of {columns}) for {name}.")
    if column is None:
        return [str(class_name)] * len(frame)
    if column not in columns:
        raise LabelInvalid(f"{name} has no column {column!r}. It has {columns}.")
    missing = np.flatnonzero(frame[column].isna())
    if len(missing):
        raise LabelInvalid(
            f"{name}: {len(missing):,} rows have no {column!r}, the first is row {missing[0] + 1}. "
            "Fill them in, or leave them out."
        )
    return [str(known) for known in frame[column]]


def _nowhere(shapes: gpd.GeoSeries, imagery: Imagery, name: str) -> str:
    places = [raster.footprint(crs="EPSG:4326").bounds for raster in imagery if raster.mappable]
    if not places:
        return "No raster here has a coordinate system, so polygons cannot be placed on it. Label it in pixels."
    ends = np.array(places)
    where = extent((*ends[:, :2].min(axis=0), *ends[:, 2:].max(axis=0)))
    return (
        f"{name} does not touch the imagery. It covers lon/lat {extent(shapes.to_crs('EPSG:4326').total_bounds)}, the "
        f"imagery {where}. Check the file's coordinate system, or pass the right one as crs=."
    )
