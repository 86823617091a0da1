"""What a Parquet file of embeddings holds: which column is the embedding, which its place, id and date, and who made it.

Layouts as they are published: Earth Index (Earth Genome, v1: ``id``, ``embedding`` list<float>, tile polygons or, later, their
middles as points; ``emb`` metadata), Clay (v0: ``source_url``, ``date``, ``embeddings`` list<float>, polygons; later
``embeddings`` and ``geometry`` with the date of the file in its metadata), Major TOM (Czerkawski, Kluczek & Bojanowski 2024,
arXiv:2412.05600: ``unique_id``, ``embedding``, ``timestamp``, ``product_id``, ``grid_cell``, ``geometry`` in lon and lat,
``utm_footprint``, ``utm_crs``, ``pixel_bbox``). The first two are described in the survey of geospatial embeddings by Cloud
Native Geo (github.com/cloudnativegeo/geo-embeddings-survey), the third on the data sets' pages at huggingface.co/Major-TOM.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyproj

from workbench.errors import EmbeddingsInvalid

LONLAT = "EPSG:4326"
OWN = "workbench"
"""Key of the metadata that `export_embeddings` writes."""
ENCODINGS = ("WKB", "point", "polygon", "multipolygon")
_NAMES = ("embedding", "embeddings", "vector", "vectors")
_NO_EMBEDDING = ("bbox", "bounds", "transform", "shape", "covering", "code")
_IDS = ("id", "unique_id")
_DATES = ("datetime", "date", "timestamp")
_ZONE = "utm_crs"


@dataclass(frozen=True)
class Layout:
    """Columns of a file, and what its metadata say.

    Attributes:
        embedding: column of the embeddings.
        geometry: column of the places.
        encoding: of the geometry, one of `ENCODINGS`.
        crs: of the geometry, ``EPSG:...`` or WKT; `LONLAT` for longitude and latitude.
        identity: column that names a row, each once.
        date: column that says when.
        zone: column that names the CRS in which each tile is a square.
        about: encoder, weights_hash, preprocessing, standardise and scale, as far as the file says them.
    """

    embedding: str
    geometry: str
    encoding: str
    crs: str
    identity: str | None
    date: str | None
    zone: str | None
    about: dict[str, Any]

    @property
    def place_columns(self) -> list[str]:
        """The columns that say where a row is, and which."""
        return [name for name in (self.geometry, self.zone, self.identity, self.date) if name is not None]


def find_layout(schema: pa.Schema, name: str, column: str | None, crs: str | None) -> Layout:
    """Find the columns of a file.

    Args:
        schema: of the file, with its metadata.
        name: of the file, for messages.
        column: of the embeddings; found by name, or else by type, when None.
        crs: of the geometry, where the file does not say it or says it wrong.

    Raises:
        EmbeddingsInvalid: there is no such column, several may be it, or the CRS is unknown; the message names the columns.
    """
    geo = _json(schema, "geo", name)
    geometry, about = _geometry_column(schema, geo, name)
    encoding = str(about.get("encoding", "WKB"))
    if encoding not in ENCODINGS:
        raise EmbeddingsInvalid(
            f"{name}: the geometry is encoded as {encoding[:40]!r}; expected one of {', '.join(ENCODINGS)}. Write the file "
            "again with WKB geometry."
        )
    plain = {field.name for field in schema if not pa.types.is_nested(field.type)}
    return Layout(
        embedding=_embedding_column(schema, name, column),
        geometry=geometry,
        encoding=encoding,
        crs=_crs(crs, about, bool(geo), name),
        identity=next((each for each in _IDS if each in plain), None),
        date=next((each for each in _DATES if each in plain), None),
        zone=_ZONE if _ZONE in plain else None,
        about=_about(schema, name),
    )


def is_numbers(kind: pa.DataType) -> bool:
    """Whether a column of this type may hold embeddings: lists of numbers, of any length, also one list inside another."""
    kind = _storage(kind)
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    if not any(of(kind) for of in lists):
        return False
    inner = _storage(kind.value_type)
    return pa.types.is_floating(inner) or pa.types.is_integer(inner) or is_numbers(inner)


def _storage(kind: pa.DataType) -> pa.DataType:
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _embedding_column(schema: pa.Schema, name: str, column: str | None) -> str:
    may_be = [field.name for field in schema if is_numbers(field.type)]
    if column is not None:
        if column in may_be:
            return column
        kind = f"holds {schema.field(column).type}" if column in schema.names else "is not there"
        raise EmbeddingsInvalid(
            f"{name}: the column {column[:60]!r} {kind}; expected lists of numbers. Columns that have them: {_listed(may_be)}."
        )
    named = [each for each in may_be if each.lower() in _NAMES]
    left = [each for each in may_be if not any(part in each.lower() for part in _NO_EMBEDDING)]
    chosen = named or left
    if len(chosen) != 1:
        found = (
            f"several columns may hold the embeddings: {_listed(chosen)}" if chosen else "no column holds embeddings"
        )
        other = "" if chosen else f" Columns: {_listed(schema.names)}."
        raise EmbeddingsInvalid(
            f"{name}: {found}; expected one of lists of numbers. Say which with column=NAME.{other}"
        )
    return chosen[0]


def _geometry_column(schema: pa.Schema, geo: dict[str, Any], name: str) -> tuple[str, dict[str, Any]]:
    columns = geo.get("columns")
    columns = columns if isinstance(columns, dict) else {}
    primary = geo.get("primary_column")
    if isinstance(primary, str) and primary in schema.names:
        about = columns.get(primary)
        return primary, about if isinstance(about, dict) else {}
    for field in schema:
        extension = (field.metadata or {}).get(b"ARROW:extension:name", b"")
        if field.name in ("geometry", "geom", "wkb") or extension == b"geoarrow.wkb":
            return field.name, {}
    raise EmbeddingsInvalid(
        f"{name}: no column says where the embeddings are; expected GeoParquet with a geometry column. Columns: "
        f"{_listed(schema.names)}. Write it with geopandas.to_parquet."
    )


def _crs(given: str | None, about: dict[str, Any], is_geoparquet: bool, name: str) -> str:
    """The CRS of the geometry; by the standard it is longitude and latitude where the metadata name none."""
    if given is None and (not is_geoparquet or ("crs" in about and about["crs"] is None)):
        said = "says that its coordinate system is unknown" if is_geoparquet else "is no GeoParquet: it names no CRS"
        raise EmbeddingsInvalid(
            f"{name} {said}. Say which it is, for instance crs='EPSG:4326' for longitude and latitude."
        )
    said = given if given is not None else about.get("crs", "OGC:CRS84")
    try:
        crs = pyproj.CRS.from_user_input(said)
    except (pyproj.exceptions.CRSError, TypeError, ValueError) as error:
        raise EmbeddingsInvalid(
            f"{name}: {str(said)[:60]!r} is no coordinate system that is known here. Give one with crs='EPSG:...'."
        ) from error
    if crs.is_geographic and crs.datum is not None and "World Geodetic System 1984" in crs.datum.name:
        return LONLAT
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else str(crs.to_wkt())


def _about(schema: pa.Schema, name: str) -> dict[str, Any]:
    """What the metadata say of the encoder: our own, or the ``emb`` metadata of Earth Index."""
    own = _json(schema, OWN, name)
    if own:
        known = ("encoder", "weights_hash", "preprocessing", "standardise", "scale")
        return {key: own[key] for key in known if key in own}
    model = _json(schema, "emb", name).get("model")
    if isinstance(model, dict) and isinstance(model.get("id"), str):
        version = model.get("version")
        return {"encoder": model["id"] + (f" {version}" if isinstance(version, str) else "")}
    return {}


def _json(schema: pa.Schema, key: str, name: str) -> dict[str, Any]:
    text = (schema.metadata or {}).get(key.encode())
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        raise EmbeddingsInvalid(f"{name}: its {key!r} metadata are no JSON ({error}). Write the file again.") from error
    return value if isinstance(value, dict) else {}


def _listed(names: list[str]) -> str:
    return ", ".join(names[:12]) + (" ..." if len(names) > 12 else "") if names else "none"
