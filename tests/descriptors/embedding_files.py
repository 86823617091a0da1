"""Small GeoParquet files of embeddings, laid out as others publish them; see `workbench.descriptors.embeddings.layout`."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj
import shapely
from numpy.typing import NDArray
from shapely.ops import transform

import workbench as wb
from workbench.descriptors.archive import Archive
from workbench.jobs import Progress

DIM = 12
TILE_M = 320.0


def vectors(count: int, dim: int = DIM, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


def squares(
    rows: int = 5,
    cols: int = 6,
    *,
    side: float = TILE_M,
    step: float | None = None,
    east: float = 500_000,
    north: float = 0,
) -> list[Any]:
    """Squares of a grid in a projected CRS, row by row from the top left."""
    step = step or side
    return [
        shapely.box(east + col * step, north - row * step - side, east + col * step + side, north - row * step)
        for row in range(rows)
        for col in range(cols)
    ]


def lonlat(shapes: list[Any], crs: str = "EPSG:32633") -> list[Any]:
    move = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform
    return [transform(move, shape) for shape in shapes]


def earth_index(path: Path, shapes: list[Any], numbers: NDArray[Any], **parquet: Any) -> Path:
    """Earth Index: geometry, id, embedding list<float>, and ``emb`` metadata."""
    frame = gpd.GeoDataFrame(
        {"id": [f"tile-{row}" for row in range(len(shapes))], "embedding": list(numbers)},
        geometry=shapes,
        crs="EPSG:4326",
    )
    frame.to_parquet(path, index=False)
    table = pq.read_table(path)
    emb = {"version": "0.0.1", "model": {"id": "dinov2_vits14_softcon", "version": "2.0.0"}}
    pq.write_table(
        table.replace_schema_metadata({**table.schema.metadata, b"emb": json.dumps(emb).encode()}), path, **parquet
    )
    return path


def clay(path: Path, shapes: list[Any], numbers: NDArray[Any], *, fixed: bool = False, crs: str = "OGC:CRS84") -> Path:
    """Clay: index, source_url, date, embeddings, geometry, and here item ids and a bounding box as well."""
    frame = gpd.GeoDataFrame(
        {
            "index": np.arange(len(shapes)),
            "item_id": ["m_4007315_nw_18"] * len(shapes),
            "source_url": ["s3://tiles/claytile.tif"] * len(shapes),
            "date": [datetime.date(2022, 6, 10)] * len(shapes),
            "embeddings": list(numbers),
        },
        geometry=shapes,
        crs=crs,
    )
    frame.to_parquet(path, index=False, write_covering_bbox=True)
    if fixed:
        table = pq.read_table(path)
        place = table.schema.get_field_index("embeddings")
        column = pa.FixedSizeListArray.from_arrays(pa.array(numbers.ravel()), numbers.shape[1])
        pq.write_table(table.set_column(place, "embeddings", column), path)
    return path


def major_tom(path: Path, zones: dict[str, list[Any]], numbers: NDArray[Any]) -> Path:
    """Major TOM: squares in several UTM zones, geometry in lon and lat, and their own CRS by name; half precision."""
    rows = [(zone, square) for zone, squares_ in zones.items() for square in squares_]
    outlines = [lonlat([square], zone)[0] for zone, square in rows]
    count = len(rows)
    frame = gpd.GeoDataFrame(
        {
            "unique_id": [f"{row:064x}" for row in range(count)],
            "embedding": list(numbers.astype(np.float16)),
            "timestamp": ["20230119T161811", "20230305T161811"] * (count // 2) + ["20230711T161811"] * (count % 2),
            "product_id": ["S2A_MSIL1C"] * count,
            "grid_cell": ["922D_249L"] * count,
            "grid_row_u": np.full(count, -922, np.int16),
            "grid_col_r": np.full(count, -249, np.int16),
            "centre_lat": np.array([outline.centroid.y for outline in outlines], np.float32),
            "centre_lon": np.array([outline.centroid.x for outline in outlines], np.float32),
            "utm_footprint": [square.wkt for _, square in rows],
            "utm_crs": [zone for zone, _ in rows],
            "pixel_bbox": [[0, 0, 224, 224]] * count,
        },
        geometry=outlines,
        crs="EPSG:4326",
    )
    frame.to_parquet(path, index=False)
    return path


def plain(path: Path, shapes: list[Any], column: pa.Array, geo: dict[str, Any] | None = None, **more: pa.Array) -> Path:
    """The least: geometry as WKB and one column of embeddings of any Arrow type."""
    about = {"encoding": "WKB", "geometry_types": []} if geo is None else geo
    metadata = {"geo": json.dumps({"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": about}})}
    geometry = pa.array([None if shape is None else shapely.to_wkb(shape) for shape in shapes], pa.binary())
    table = pa.table({"geometry": geometry, "embedding": column, **more})
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return path


def imported(path: Path, folder: Path, **asked: Any) -> Archive:
    return wb.import_embeddings(path, folder, progress=Progress(), **asked)


def listed(numbers: np.ndarray[Any, Any], kind: pa.DataType | None = None) -> pa.Array:
    return pa.array(numbers.tolist(), pa.list_(kind or pa.float32()))


def rows_by_place(archive: Archive) -> dict[tuple[float, ...], bytes]:
    """Descriptors by the middle of their tiles, to a millionth of a degree."""
    middles = shapely.get_coordinates(shapely.centroid(archive.footprints(np.arange(len(archive)), "EPSG:4326")))
    return {
        tuple(np.round(middle, 6).tolist()): raw.tobytes() for middle, raw in zip(middles, archive.raw, strict=True)
    }
