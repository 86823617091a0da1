"""Cloud-optimised GeoTIFFs, written window by window and moved to their name when they are whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.shutil import copy
from rasterio.windows import Window

from workbench.errors import DiskFull, RasterUnreadable
from workbench.files import atomic_write, existing_parent, format_bytes
from workbench.jobs import cpu_threads

_BLOCK = 512
_CACHE_MB = 256
"""Of blocks that GDAL keeps, of its own accord a twentieth of the machine's memory."""


@dataclass(frozen=True)
class CogProfile:
    """Bands of one type and where they lie.

    Attributes:
        width: columns.
        height: rows.
        transform: from pixels to the CRS's coordinates.
        crs: None for a raster that is not placed on earth.
        nodata: value without data.
        names: of the bands.
        dtype: of their values.
        scale: what a value is to be multiplied by.
        colours: RGBA of values, 0 to 255; a colour table where there are any.
        tags: words that go with the file.
        smooth: whether overviews are means; otherwise they take one of the values.
    """

    width: int
    height: int
    transform: Affine
    crs: str | None
    nodata: float
    names: tuple[str, ...]
    dtype: str = "uint8"
    scale: float = 1.0
    colours: Mapping[int, tuple[int, int, int, int]] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    smooth: bool = False


@contextmanager
def new_cog(path: Path, profile: CogProfile, *, overwrite: bool = False) -> Iterator[Any]:
    """Give a rasterio dataset to write windows to; when the block ends well it becomes a COG at ``path``.

    Pixels that are not written are nodata. When the block raises, nothing new is left.

    Raises:
        FileExists: a file is there and ``overwrite`` is false.
        DiskFull: there is no room.
    """
    place = {} if profile.transform.is_identity else {"transform": profile.transform}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, overwrite=overwrite) as aside:
        plain = aside.with_suffix(f".plain{aside.suffix}")
        try:
            with (
                rasterio.Env(GDAL_CACHEMAX=_CACHE_MB),
                rasterio.open(
                    plain,
                    "w",
                    driver="GTiff",
                    width=profile.width,
                    height=profile.height,
                    count=len(profile.names),
                    dtype=profile.dtype,
                    crs=profile.crs,
                    nodata=profile.nodata,
                    tiled=True,
                    blockxsize=_BLOCK,
                    blockysize=_BLOCK,
                    compress="deflate",
                    zlevel=1,
                    interleave="band",
                    photometric="MINISBLACK",
                    BIGTIFF="IF_SAFER",
                    **place,
                ) as dataset,
            ):
                dataset.descriptions = profile.names
                dataset.scales = (profile.scale,) * len(profile.names)
                dataset.update_tags(**profile.tags)
                if profile.colours:
                    dataset.write_colormap(1, dict(profile.colours))
                yield dataset
            how = "average" if profile.smooth else "nearest"
            options = {"compress": "deflate", "predictor": "YES"} if profile.smooth else {"compress": "deflate"}
            options |= {"overview_resampling": how, "num_threads": str(cpu_threads()), "bigtiff": "IF_SAFER"}
            with rasterio.Env(GDAL_CACHEMAX=_CACHE_MB):
                copy(plain, aside, driver="COG", blocksize=_BLOCK, **options)
        except RasterioError as error:
            free = format_bytes(shutil.disk_usage(existing_parent(path.parent)).free)
            size = np.dtype(profile.dtype).itemsize * len(profile.names)
            needed = format_bytes(2 * profile.width * profile.height * size)
            raise DiskFull(
                f"{path} could not be written ({error}). It needs at most {needed} and {free} are free. Make room, or choose "
                "another disk."
            ) from error
        finally:
            plain.unlink(missing_ok=True)


def read_values(path: str | Path, window: Window) -> NDArray[np.uint8]:
    """A window of a band with a colour table, which imagery may not have: its values, uint8 (rows, cols).

    Raises:
        RasterUnreadable: it is no GeoTIFF of such a band, or it is damaged.
    """
    try:
        with rasterio.open(path, driver="GTiff") as dataset:
            if dataset.dtypes[0] != "uint8":
                raise RasterUnreadable(f"{path} holds {dataset.dtypes[0]}, and classes are uint8. Make the map again.")
            return dataset.read(1, window=window)  # type: ignore[no-any-return]
    except RasterioError as error:
        raise RasterUnreadable(f"{path} cannot be read ({error}). Make the map again.") from error
