"""Open files behind rasters: one handle a thread, each let through by `guard`; nothing else opens a raster to read it."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import rasterio
from rasterio.errors import RasterioError, RasterioIOError

from workbench.errors import RasterUnreadable
from workbench.files import fingerprint as file_fingerprint
from workbench.files import format_bytes
from workbench.imagery import guard

READ_ERRORS = (RasterioError, MemoryError)
_OPEN_FILES = 24
_handles = threading.local()


def content_fingerprint(paths: tuple[Path, ...]) -> str:
    """The name of a raster's content, over all its files; of its address when it is remote."""
    if str(paths[0]).startswith("/vsicurl/"):
        return hashlib.blake2b(str(paths).encode(), digest_size=16).hexdigest()
    if len(paths) == 1:
        return file_fingerprint(paths[0])
    parts = "".join(file_fingerprint(path) for path in paths)
    return hashlib.blake2b(parts.encode(), digest_size=16).hexdigest()


def dataset_of(path: Path, *, allow_vrt: bool = False) -> Any:
    """This thread's open handle of a file that `guard` lets through: GDAL handles must not be shared between threads."""
    cache: OrderedDict[object, Any] = _handles.__dict__.setdefault("cache", OrderedDict())
    remote = str(path).startswith("/vsicurl/")
    try:
        state = None if remote else (path.stat().st_size, path.stat().st_mtime_ns)
    except OSError as error:
        raise RasterUnreadable(f"{path} cannot be read ({error.strerror}). Put it back, or leave it out.") from error
    key = (path, state)
    if key not in cache:
        driver = "GTiff" if remote else guard.check_local(path, allow_vrt=allow_vrt)
        try:
            # A Path has lost one slash of the address.
            cache[key] = rasterio.open(str(path).replace(":/", "://", 1) if remote else path, driver=driver)
        except RasterioIOError as error:
            size = "" if remote else f" ({format_bytes(path.stat().st_size)})"
            raise RasterUnreadable(
                f"{path.name}{size} cannot be opened: {reason(error)}. Copy it again, or leave it out."
            ) from error
        while len(cache) > _OPEN_FILES:
            cache.popitem(last=False)[1].close()
    cache.move_to_end(key)
    return cache[key]


def reason(error: Exception) -> str:
    """What GDAL says is wrong, in one line."""
    cause = error.__cause__ or error
    return str(cause).split("\n")[0].strip(" .")[:200]
