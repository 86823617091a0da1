"""An archive's descriptors as GeoParquet 1.1: outlines in longitude and latitude, written by row groups, read back alike.

The standard is github.com/opengeospatial/geoparquet, version 1.1: geometry as WKB, and a ``bbox`` column that covers it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray

from workbench.descriptors.archive import Archive
from workbench.descriptors.embeddings.layout import LONLAT, OWN
from workbench.errors import QueryInvalid
from workbench.files import atomic_write, require_space
from workbench.jobs import Progress, shown_progress

DType = Literal["float16", "float32", "int8"]
_VERSION = 1
_ROWS = 8192
_CHUNK = 16_384
_PLACE_BYTES = 160
_LEVELS = 127
_SIDES = ("xmin", "ymin", "xmax", "ymax")


def export_embeddings(
    archive: Archive,
    path: str | Path,
    *,
    dtype: DType = "float16",
    codes: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write an archive's descriptors as GeoParquet, for GIS, for others, and for `import_embeddings`.

    Columns: ``tile`` (number in the archive), ``geometry`` (outline in longitude and latitude, WKB), ``bbox``, ``raster``
    (name), ``row``, ``col``, ``size`` (window in the raster's pixels), ``date``, ``embedding`` (as pooled, not centred) and,
    if asked for, ``code``. The metadata name encoder, weights and preprocessing, and for int8 the scale of each dimension.

    Args:
        archive: to write.
        path: of the file; ``.parquet`` is added when it has no suffix.
        dtype: ``float16`` as the archive keeps them, ``float32`` the same numbers for readers that know no half precision,
            or ``int8``, half the size and rounded to the 127th part of each dimension's greatest value.
        codes: also write the packed codes.
        overwrite: replace a file that is there.
        progress: shown as a bar when None.

    Returns:
        the file.

    Raises:
        RasterRefused: a raster has no coordinate system, so that its tiles are nowhere.
        ArchiveInvalid: the archive holds codes only.
        QueryInvalid: there is no such dtype.
        FileExists: the file is there, and ``overwrite`` is false.
        DiskFull: there is too little room; nothing was started.
    """
    path = Path(path)
    path = path if path.suffix else path.with_suffix(".parquet")
    if dtype not in ("float16", "float32", "int8"):
        raise QueryInvalid(f"There is no dtype {dtype!r} to write. Choose float16, float32 or int8.")
    size = {"float16": 2, "float32": 4, "int8": 1}[dtype]
    path.parent.mkdir(parents=True, exist_ok=True)
    require_space(path.parent, len(archive) * (archive.manifest.dim * size + _PLACE_BYTES), path.name)
    with shown_progress(progress) as shown, atomic_write(path, overwrite=overwrite) as aside:
        scale = _scale(archive) if dtype == "int8" else None
        schema = _schema(archive, dtype, codes, scale)
        shown.begin("exporting", len(archive), "tiles")
        with pq.ParquetWriter(aside, schema, compression="zstd", use_dictionary=["raster", "date"]) as writer:
            for start in range(0, len(archive), _ROWS):
                numbers = np.arange(start, min(start + _ROWS, len(archive)))
                writer.write_table(_table(archive, numbers, schema, dtype, codes, scale))
                shown.advance(len(numbers))
    return path


def _table(
    archive: Archive,
    numbers: NDArray[np.int64],
    schema: pa.Schema,
    dtype: DType,
    codes: bool,
    scale: NDArray[np.float32] | None,
) -> pa.Table:
    tiles = archive.tiles[numbers]
    outlines = archive.footprints(numbers, LONLAT)
    bounds = shapely.bounds(outlines)
    raw = np.asarray(archive.raw[int(numbers[0]) : int(numbers[-1]) + 1])
    values = raw.astype(dtype) if scale is None else np.rint(raw / scale).astype(np.int8)
    positions = tiles["raster"].astype(np.int64)
    names = np.array([raster.name for raster in archive.imagery], object)
    dates = np.array([raster.date for raster in archive.imagery], object)
    boxes = pa.StructArray.from_arrays([pa.array(bounds[:, side]) for side in range(4)], list(_SIDES))
    columns: list[Any] = [
        pa.array(numbers),
        pa.array(shapely.to_wkb(outlines).tolist(), pa.binary()),
        boxes,
        pa.array(names[positions].tolist(), pa.string()),
        *(pa.array(tiles[name].astype(np.uint32)) for name in ("row", "col", "size")),
        pa.array(dates[positions].tolist(), pa.string()),
        pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1]),
    ]
    if codes:
        packed = np.ascontiguousarray(archive.codes[int(numbers[0]) : int(numbers[-1]) + 1])
        columns.append(pa.array([code.tobytes() for code in packed], pa.binary(packed.shape[1])))
    return pa.Table.from_arrays(columns, schema=schema)


def _schema(archive: Archive, dtype: DType, codes: bool, scale: NDArray[np.float32] | None) -> pa.Schema:
    manifest = archive.manifest
    number = {"float16": pa.float16(), "float32": pa.float32(), "int8": pa.int8()}[dtype]
    box = pa.struct([(side, pa.float64()) for side in _SIDES])
    fields = [
        ("tile", pa.int64()),
        ("geometry", pa.binary()),
        ("bbox", box),
        ("raster", pa.string()),
        *((name, pa.uint32()) for name in ("row", "col", "size")),
        ("date", pa.string()),
        ("embedding", pa.list_(number, manifest.dim)),
        *([("code", pa.binary(manifest.code_bits // 8))] if codes else []),
    ]
    geo = {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {
            "geometry": {
                "encoding": "WKB",
                "geometry_types": ["Polygon"],
                "covering": {"bbox": {side: ["bbox", side] for side in _SIDES}},
            }
        },
    }
    own = {
        "version": _VERSION,
        "encoder": manifest.encoder,
        "weights_hash": manifest.weights_hash,
        "preprocessing": manifest.preprocessing,
        "standardise": manifest.standardise,
        "dim": manifest.dim,
        **({} if scale is None else {"scale": scale.tolist()}),
        **({"code_kind": archive.code_model.kind, "code_bits": manifest.code_bits} if codes else {}),
    }
    return pa.schema(fields, {"geo": json.dumps(geo), OWN: json.dumps(own)})


def _scale(archive: Archive) -> NDArray[np.float32]:
    """What one level of int8 is worth in each dimension, so that the greatest of its values still fits, (dim,)."""
    greatest = np.zeros(archive.manifest.dim, np.float32)
    for start in range(0, len(archive), _CHUNK):
        greatest = np.maximum(greatest, np.abs(archive.raw[start : start + _CHUNK]).max(axis=0))
    return np.asarray(np.maximum(greatest, 1e-7) / _LEVELS, np.float32)
