"""What a data catalog entry is, and reading one from YAML: every field checked, nothing executed."""

from __future__ import annotations

import json
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path

import yaml

from workbench.errors import CatalogError
from workbench.imagery.download import Remote

_MAX_BYTES = 100_000


@dataclass(frozen=True)
class Labels:
    """What a data set says about its pixels: ``kind`` in words (mask, class per image, ...) and its class names."""

    kind: str
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Paint:
    """The bundled scene, painted on this machine: edge length in pixels and seed."""

    size: int
    seed: int


@dataclass(frozen=True)
class Http:
    """Files at fixed addresses; zip and tar packages are unpacked."""

    files: tuple[Remote, ...]


@dataclass(frozen=True)
class Stac:
    """Assets found by a STAC API's item search.

    ``api`` is the address of the search itself; ``assets`` are names or patterns (``*_0.1_2056.tif``); ``bbox`` is
    west, south, east, north in degrees; ``dates`` an ISO interval (``2023-06-01/2023-06-30``); ``query`` goes to the
    API's query extension as it is.
    """

    api: str
    collections: tuple[str, ...]
    assets: tuple[str, ...]
    bbox: tuple[float, ...]
    dates: str | None = None
    limit: int = 1
    query: dict[str, object] | None = None


@dataclass(frozen=True)
class Manual:
    """Steps for a person: an account, a form or a choice stands in between."""

    steps: tuple[str, ...]


How = Paint | Http | Stac | Manual


@dataclass(frozen=True)
class Entry:
    """One data set of the catalog.

    Attributes:
        name: unique; also the name of its file.
        title: one line.
        description: what is on the pictures, how many, of what size.
        source: address of its homepage.
        licence: SPDX identifier, or words where there is none.
        resolution_m: ground size of a pixel in metres; two numbers are the smallest and the largest; None where
            nobody says.
        bands: their names, in order.
        dtype: numpy name of the pixel type.
        nodata: the value that means "no data", or None where there is none (see ``notes``).
        crs: of the rasters; None where they are not georeferenced.
        size_mb: approximate size of the download in megabytes; None where it depends on the area.
        labels: what comes with the pixels.
        how: how to get it.
        attribution: the text its licence asks for.
        imagery: file or folder of the pictures, relative to the folder it is fetched into; by default all of it.
        notes: traps.
    """

    name: str
    title: str
    description: str
    source: str
    licence: str
    resolution_m: tuple[float, ...] | None
    bands: tuple[str, ...]
    dtype: str
    nodata: float | None
    crs: str | None
    size_mb: float | None
    labels: Labels
    how: How
    attribution: str | None = None
    imagery: str | None = None
    notes: tuple[str, ...] = ()


_METHODS: Mapping[object, type] = {"paint": Paint, "http": Http, "stac": Stac, "manual": Manual}


def read_entry(file: Path) -> Entry:
    """Read and check one catalog file.

    Raises:
        CatalogError: naming the file, the field, what was found and what was expected.
    """
    try:
        data = file.read_bytes()
        if len(data) > _MAX_BYTES:
            raise CatalogError(f"{file} has {len(data):,} bytes; a catalog entry is one small file.")
        content = yaml.load(data, Loader=_Loader)  # noqa: S506 - a SafeLoader that also refuses repeated keys
    except OSError as error:
        raise CatalogError(f"{file} cannot be read ({error.strerror}).") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CatalogError(f"{file} is not plain YAML: {reason}. Compare it with the other entries.") from error
    entry = typing.cast(Entry, _record(Entry, content, file, ""))
    _check(entry, file)
    return entry


def is_bbox(bbox: Sequence[float]) -> bool:
    """Whether four numbers are west, south, east, north in degrees."""
    if len(bbox) != 4:
        return False
    west, south, east, north = bbox
    return -180 <= west < east <= 180 and -90 <= south < north <= 90


def is_interval(dates: str) -> bool:
    """Whether text is an ISO day, or two with a slash between (``..`` is an open end)."""
    moment = r"(\d{4}-\d{2}-\d{2}(T\S+)?|\.\.)"
    return re.fullmatch(rf"{moment}(/{moment})?", dates) is not None


class _Loader(yaml.SafeLoader):
    """Plain data only, and no key twice (YAML would keep the last one in silence)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[typing.Hashable, typing.Any]:
        """Build a mapping, refusing a key that is there already."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]  # type: ignore[no-untyped-call]
        twice = [key for key in keys if keys.count(key) > 1]
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"{twice[0]!r} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _record(kind: type, value: object, file: Path, where: str) -> object:
    """Build a frozen dataclass from a mapping, each field by its type hint; fields with a default may be left out."""
    if not isinstance(value, dict):
        raise _wrong(
            file, where.rstrip(".") or "the whole file", f"is {_called(value)}, and fields with names were expected"
        )
    hints = typing.get_type_hints(kind)
    known = {field.name: field for field in fields(kind)}
    for name in value:
        if name not in known:
            near = ", ".join(known)
            raise _wrong(file, f"{where}{name}", f"is not a field here. There are: {near}")
    for name, field in known.items():
        if name not in value and field.default is MISSING:
            raise _wrong(file, f"{where}{name}", "is missing (write null where there is none)")
    return kind(**{name: _value(hints[name], given, file, f"{where}{name}") for name, given in value.items()})


def _value(hint: object, value: object, file: Path, where: str) -> object:
    """Check one value against a type hint; numbers may be written without a point, lists become tuples."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint == How:
        return _how(value, file)
    if origin is types.UnionType:
        if value is None:
            return None
        return _value(inner[0], value, file, where)
    if origin is tuple:
        items = value if isinstance(value, list) else [value]
        return tuple(_value(inner[0], item, file, f"{where}[{number}]") for number, item in enumerate(items))
    if origin is dict:
        return _plain_mapping(value, file, where)
    if isinstance(hint, type) and hasattr(hint, "__dataclass_fields__"):
        return _record(hint, value, file, f"{where}.")
    if hint is float and type(value) is int:
        value = float(value)
    if type(value) is not hint:
        raise _wrong(file, where, f"is {_called(value)}, and {_NAMES.get(hint, hint)} was expected")
    if isinstance(value, str):
        value = " ".join(value.split())
        if not value:
            raise _wrong(file, where, "is empty")
    return value


def _plain_mapping(value: object, file: Path, where: str) -> object:
    if not isinstance(value, dict):
        raise _wrong(file, where, f"is {_called(value)}, and fields with names were expected")
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise _wrong(file, where, f"cannot be sent as JSON ({error})") from error
    return value


def _how(value: object, file: Path) -> object:
    method = value.get("method") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(method, str) or method not in _METHODS:
        raise _wrong(file, "how.method", f"is {method!r}, and one of {', '.join(map(str, _METHODS))} was expected")
    rest = {name: given for name, given in value.items() if name != "method"}
    return _record(_METHODS[method], rest, file, "how.")


def _check(entry: Entry, file: Path) -> None:
    """What types cannot say."""

    def require(fulfilled: object, field: str, complaint: str) -> None:
        if not fulfilled:
            raise _wrong(file, field, complaint)

    require(entry.name == file.stem, "name", f"is not the name of the file, {file.stem}")
    require(re.fullmatch(r"[a-z0-9][a-z0-9_-]*", entry.name), "name", "is not made of a-z, 0-9, - and _")
    require(entry.source.startswith("https://") or entry.source == "bundled", "source", "is no https address")
    sizes = (1.0,) if entry.resolution_m is None else entry.resolution_m
    require(len(sizes) in (1, 2) and min(sizes) > 0, "resolution_m", "is not one or two sizes in metres")
    require(entry.bands, "bands", "is empty")
    require(re.fullmatch(r"u?int(8|16|32)|float(32|64)", entry.dtype), "dtype", "is no pixel type such as uint8")
    match entry.how:
        case Http(files):
            require(files, "how.files", "is empty")
            for remote in files:
                require(_has_file_name(remote), "how.files.url", "does not end in a file name")
                require(
                    re.fullmatch("[0-9a-f]{64}", remote.sha256 or "0" * 64), "how.files.sha256", "is not 64 hex digits"
                )
        case Stac() as how:
            require(is_bbox(how.bbox), "how.bbox", "is not west, south, east, north in degrees")
            require(how.dates is None or is_interval(how.dates), "how.dates", "is no ISO day or interval of days")
            require(1 <= how.limit <= 100, "how.limit", "is not between 1 and 100")
            require(how.assets and how.collections, "how.assets", "or how.collections is empty")
        case Manual(steps):
            require(steps, "how.steps", "is empty")


def _has_file_name(remote: Remote) -> bool:
    try:
        return bool(remote.file_name)
    except CatalogError:
        return False


def _wrong(file: Path, field: str, complaint: str) -> CatalogError:
    return CatalogError(f"{file}: {field} {complaint}.")


_NAMES: Mapping[object, str] = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def _called(value: object) -> str:
    if value is None:
        return "null"
    return {str: "text", int: "a whole number", float: "a number", dict: "a mapping", list: "a list"}.get(
        type(value), f"a {type(value).__name__}"
    )
