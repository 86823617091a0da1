"""What may be opened as a raster: drivers, signatures, sidecar files, VRT sources and remote addresses; opens nothing itself."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from xml.etree import ElementTree

from workbench.errors import RasterRefused, RasterUnreadable
from workbench.files import format_bytes

SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".jp2", ".j2k")
_SIGNATURES = {
    b"II*\0": "GTiff",
    b"MM\0*": "GTiff",
    b"II+\0": "GTiff",
    b"MM\0+": "GTiff",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"\0\0\0\x0cjP  ": "JP2OpenJPEG",
    b"\xff\x4f\xff\x51": "JP2OpenJPEG",
}
_VRT_BYTES = 64_000_000
_VRT_SOURCES = {"SimpleSource", "ComplexSource"}
_VRT_FORBIDDEN = {"PixelFunctionType", "PixelFunctionCode", "OpenOptions", "GDALWarpOptions", "SourceDataset", "Raster"}


def is_remote(source: str) -> bool:
    """Whether a source names something that is not a plain local path (a URL or a GDAL virtual file system)."""
    return bool(re.match(r"[A-Za-z][A-Za-z0-9+.\-]+://", source)) or source.startswith("/vsi")


def remote_name(source: str, *, allow_remote: bool) -> str:
    """The name GDAL reads an http(s) address by.

    Raises:
        RasterRefused: remote reading was not allowed, or the address is not http(s).
    """
    if not allow_remote:
        raise RasterRefused(
            f"{source[:200]} is not a file on this machine. Download it first, or pass allow_remote=True to read it "
            "over the network."
        )
    if not source.startswith(("https://", "http://")):
        raise RasterRefused(f"{source[:200]} is not an http(s) address. Give a local path or an http(s) address.")
    return f"/vsicurl/{source}"


def check_local(path: Path, *, allow_vrt: bool) -> str:
    """The only GDAL driver that may open a local file; refuse one that is no allowed image or leads GDAL to other files.

    A VRT is XML that can name any file of the machine, under any suffix, so the first bytes decide, not the name.
    Overviews and masks beside a raster (``.ovr``, ``.msk``) are opened by GDAL with any driver, so they must be TIFF.

    Raises:
        RasterUnreadable: no such file, or an empty one.
        RasterRefused: not an allowed format; a VRT without ``allow_vrt`` or with a source outside its folder.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise RasterUnreadable(f"{path} {what}; expected a raster file. Check the path.")
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise RasterUnreadable(f"{path.name} is empty (0 bytes). Copy it again.")
    if b"<VRTDataset" in head:
        if not allow_vrt:
            raise RasterRefused(
                f"{path.name} is a VRT: a text file that points at other rasters. Open those, or, if you trust it, "
                "pass allow_vrt=True; every source must then lie under the VRT's folder."
            )
        _check_vrt(path)
        return "VRT"
    driver = _driver(head)
    if driver is None:
        raise RasterRefused(
            f"{path.name} is not a GeoTIFF, PNG, JPEG or JPEG 2000: it starts with {_describe(head)} "
            f"({format_bytes(path.stat().st_size)}). Convert it with GDAL, or download it again."
        )
    _check_sidecars(path)
    return driver


def _driver(head: bytes) -> str | None:
    return next((driver for signature, driver in _SIGNATURES.items() if head.startswith(signature)), None)


def _describe(head: bytes) -> str:
    text = head.lstrip()[:24].lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page, perhaps a saved error message"
    return repr(head[:12])


def _check_sidecars(path: Path) -> None:
    # GDAL looks for them in any letter case.
    beside = _names_in(path.parent, path.parent.stat().st_mtime_ns)
    for suffix in (".ovr", ".msk", ".msk.ovr"):
        for sidecar in beside.get(f"{path.name}{suffix}".lower(), ()):
            with sidecar.open("rb") as file:
                if _driver(file.read(4)) != "GTiff":
                    raise RasterRefused(
                        f"{sidecar.name}, which GDAL reads together with {path.name}, is not a TIFF. Remove it."
                    )
    for described in beside.get(f"{path.name}.aux.xml".lower(), ()):
        if b"OVERVIEW_FILE" in described.read_bytes()[:_VRT_BYTES]:
            raise RasterRefused(
                f"{described.name} sends GDAL to another file for overviews. Remove it, or build overviews."
            )


@lru_cache(maxsize=32)
def _names_in(folder: Path, changed: int) -> dict[str, tuple[Path, ...]]:
    """The files of a folder by their names in small letters; ``changed`` is the folder's mtime, so that news are seen."""
    found: dict[str, tuple[Path, ...]] = {}
    for path in folder.iterdir():
        if path.is_file():
            found[path.name.lower()] = (*found.get(path.name.lower(), ()), path)
    return found


def _check_vrt(path: Path) -> None:
    data = path.read_bytes()
    if len(data) > _VRT_BYTES or b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise RasterRefused(
            f"{path.name} is not a plain VRT (too large, or with XML entities). Build it with gdalbuildvrt."
        )
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise RasterUnreadable(f"{path.name} is a damaged VRT ({error}). Build it again with gdalbuildvrt.") from error
    folder = path.parent.resolve()
    for element in root.iter():
        derived = element.get("subClass") not in (None, "VRTRasterBand")
        odd_source = element.tag.endswith("Source") and element.tag not in _VRT_SOURCES
        if element.tag in _VRT_FORBIDDEN or derived or odd_source:
            raise RasterRefused(
                f"{path.name} uses <{element.tag}>; only plain mosaics are opened. Convert it to a GeoTIFF."
            )
        if element.tag == "SourceFilename":
            _check_vrt_source(path, folder, element)


def _check_vrt_source(path: Path, folder: Path, element: ElementTree.Element) -> None:
    name = (element.text or "").strip()
    source = folder / name if element.get("relativeToVRT") == "1" else Path(name)
    plain = name and not is_remote(name) and not re.match(r"[A-Za-z0-9_]{2,}:", name) and "<" not in name
    if not plain or not source.resolve().is_relative_to(folder):
        raise RasterRefused(
            f"{path.name} points at {name[:200]!r}, which is not under {folder}. Only its own folder is read."
        )
    if source.suffix.lower() == ".vrt":
        raise RasterRefused(
            f"{path.name} points at another VRT, {name[:200]!r}. Build one VRT from the rasters themselves."
        )
    check_local(source.resolve(), allow_vrt=False)
