"""Opening imagery: a file, a folder, bands stacked by name, or a data catalog entry; every header is checked, no pixel read."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp

from workbench.errors import RasterRefused, RasterUnreadable
from workbench.imagery import guard
from workbench.imagery.dates import find_date
from workbench.imagery.handles import content_fingerprint, dataset_of
from workbench.imagery.rasters import Band, Imagery, Raster

log = logging.getLogger(__name__)
_LARGEST_IMAGE = 64_000_000


def open_imagery(
    source: str | Path | Sequence[str | Path],
    *,
    bands: Sequence[str | int] | None = None,
    nodata: float | None = None,
    allow_vrt: bool = False,
    allow_remote: bool = False,
) -> Imagery:
    """Open a raster, a folder of rasters (searched through), several of either, or a data catalog entry.

    Only GeoTIFF, PNG, JPEG and JPEG 2000 are read; only headers are read here.

    Args:
        source: path, list of paths, name of a data catalog entry, or (with ``allow_remote``) an http(s) address.
        bands: which bands, in order, by number (from 1) or by name. In a folder of single-band files, the name is
            looked for in the file names (``["B04", "B03", "B02"]``) and the files are stacked; of several
            resolutions the finest is taken.
        nodata: value that means "no data" in all bands, for files that do not say so.
        allow_vrt: open plain VRT mosaics whose sources lie under the VRT's own folder.
        allow_remote: read http(s) addresses.

    Raises:
        RasterUnreadable: nothing there, or nothing readable.
        RasterRefused: a format or a no-data value that cannot be used.
    """
    problems: list[str] = []
    if isinstance(source, str | Path):
        found, single = _find(str(source), allow_vrt, allow_remote), not Path(source).is_dir()
    else:
        found, single = [file for item in source for file in _find(str(item), allow_vrt, allow_remote)], False
    rasters: list[Raster] = []
    for name, files in _stacks(found, bands):
        try:
            rasters.append(_open_raster(name, files, bands, nodata, allow_vrt))
        except (RasterUnreadable, RasterRefused) as error:
            if single:
                raise
            problems.append(str(error))
            log.warning("left out: %s", error)
    if not rasters:
        reasons = " ".join(problems[:3]) or f"looked for {', '.join(guard.SUFFIXES)}."
        raise RasterUnreadable(f"{source} holds no raster that can be opened: {reasons}")
    return Imagery(tuple(_unique(rasters)), tuple(problems))


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """Read a photograph or chip as RGB, for a query by example.

    Returns:
        uint8 array (3, rows, cols); other dtypes are stretched from 2 to 98 percent.

    Raises:
        RasterUnreadable: not a readable image.
        RasterRefused: not an allowed format.
    """
    from workbench.imagery.render import display_bands, fit_stretch

    raster = open_imagery(Path(path).expanduser())[0]
    if raster.width * raster.height > _LARGEST_IMAGE:
        raise RasterRefused(
            f"{raster.name} has {raster.width:,} x {raster.height:,} pixels; an example may have "
            f"{_LARGEST_IMAGE / 1e6:.0f} million. Cut out what you look for."
        )
    return fit_stretch(raster).apply(raster.read())[list(display_bands(raster))]


def _find(source: str, allow_vrt: bool, allow_remote: bool) -> list[tuple[str, Path | str]]:
    if guard.is_remote(source):
        return [(source.rsplit("/", 1)[-1], guard.remote_name(source, allow_remote=allow_remote))]
    path = Path(source)
    if not path.exists() and re.fullmatch(r"[a-z0-9][a-z0-9_\-]*", source):
        from workbench.imagery.catalog import resolve

        path = resolve(source)
    if not path.is_dir():
        return [(path.name, path)]
    suffixes = (*guard.SUFFIXES, ".vrt") if allow_vrt else guard.SUFFIXES
    files = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in suffixes and file.is_file()]
    shown = [file for file in files if not any(part.startswith(".") for part in file.relative_to(path).parts)]
    if not shown:
        raise RasterUnreadable(f"{path} holds no raster: looked for {', '.join(suffixes)}. Check the folder.")
    return [(file.relative_to(path).as_posix(), file) for file in shown]


def _stacks(
    found: list[tuple[str, Path | str]], bands: Sequence[str | int] | None
) -> list[tuple[str, list[Path | str]]]:
    """Group files into rasters: each file alone, or files whose names differ only by the band name."""
    alone: list[tuple[str, list[Path | str]]] = [(name, [path]) for name, path in found]
    if not bands or len(found) < 2 or not all(isinstance(band, str) for band in bands):
        return alone
    groups: dict[str, dict[str, Path | str]] = {}
    names: dict[str, str] = {}
    for name, path in found:
        for band in bands:
            token = rf"(?<![A-Za-z0-9]){re.escape(str(band))}(?![A-Za-z0-9])"
            if re.search(token, Path(name).stem):
                place = re.sub(token, "*", str(path))  # the whole path: two folders may hold the same names
                groups.setdefault(place, {})[str(band)] = path
                names[place] = re.sub(token, "*", name)
    whole = {
        place: [group[str(band)] for band in bands] for place, group in groups.items() if len(group) == len(set(bands))
    }
    finest: dict[str, tuple[float, str]] = {}
    for place, paths in whole.items():
        scene = re.sub(r"(?<![A-Za-z0-9])R?\d+m(?![A-Za-z0-9])", "", place)
        finest[scene] = min(finest.get(scene, (math.inf, place)), (_pixel(paths[0]), place))
    return [(names[place], whole[place]) for _, place in finest.values()] or alone


def _pixel(path: Path | str) -> float:
    """Size of a file's pixels in its own units, to choose the finest; a file that cannot be opened is refused later."""
    try:
        return float(abs(dataset_of(Path(path)).transform.a))
    except (RasterUnreadable, RasterRefused):
        return math.inf


def _open_raster(
    name: str, files: list[Path | str], wanted: Sequence[str | int] | None, nodata: float | None, allow_vrt: bool
) -> Raster:
    paths = [Path(file) for file in files]
    datasets = [dataset_of(path, allow_vrt=allow_vrt) for path in paths]
    first = datasets[0]
    for path, dataset in zip(paths, datasets, strict=True):
        _check_header(path.name, dataset)
        if (dataset.width, dataset.height, dataset.transform) != (first.width, first.height, first.transform):
            raise RasterRefused(
                f"{path.name} is not on the same grid as {paths[0].name}. Resample one to the other first."
            )
    if len(files) > 1:
        bands = tuple(Band(path, 1, str(band)) for path, band in zip(paths, wanted or (), strict=True))
    else:
        bands = _choose_bands(paths[0], first, wanted)
    dtypes = {
        dataset.dtypes[band.number - 1] for dataset in datasets for band in bands if band.path == Path(dataset.name)
    }
    dtype = str(np.result_type(*dtypes))
    flags = {flag.name for dataset in datasets for flag in dataset.mask_flag_enums[0]}
    alpha = _alpha_bands(first)
    return Raster(
        name=name,
        bands=bands,
        width=first.width,
        height=first.height,
        dtype=dtype,
        transform=first.transform,
        crs=_crs_name(first),
        nodata=_nodata(name, first, dtype, nodata),
        fingerprint=content_fingerprint(tuple(paths)),
        date=find_date(name, first.tags()),
        user_nodata=nodata is not None,
        colours=tuple(_colours(first)[band.number - 1].name for band in bands),
        has_overviews=bool(first.overviews(1)),
        has_mask=flags != {"all_valid"},
        alpha=min(alpha) if alpha and "alpha" not in flags else None,
        is_vrt=first.driver == "VRT",
    )


def _check_header(name: str, dataset: Any) -> None:
    if dataset.count == 0 or not dataset.width or not dataset.height:
        raise RasterUnreadable(f"{name} holds no pixels. Copy it again.")
    if dataset.tags(ns="OVERVIEWS").get("OVERVIEW_FILE"):
        raise RasterRefused(f"{name} sends GDAL to another file for its overviews. Copy it with `rio convert` first.")
    if dataset.dtypes[0].startswith("complex"):
        raise RasterRefused(f"{name} has complex pixels (radar). Convert them to intensity first.")
    if _colours(dataset)[0] == ColorInterp.palette:
        raise RasterRefused(f"{name} has a colour palette. Expand it with `gdal_translate -expand rgb` first.")
    if dataset.gcps[0] and dataset.transform.is_identity:
        raise RasterRefused(
            f"{name} is placed by {len(dataset.gcps[0])} ground control points, not by a grid. Warp it with `gdalwarp` first."
        )


def _choose_bands(path: Path, dataset: Any, wanted: Sequence[str | int] | None) -> tuple[Band, ...]:
    alpha = _alpha_bands(dataset)
    names = {number: dataset.descriptions[number - 1] or f"band {number}" for number in dataset.indexes}
    if wanted is None:
        return tuple(Band(path, number, names[number]) for number in dataset.indexes if number not in alpha)
    numbers = {name.lower(): number for number, name in names.items()}
    numbers |= {colour.name: number for number, colour in enumerate(_colours(dataset), 1) if number not in alpha}
    chosen = []
    for band in wanted:
        number = band if isinstance(band, int) else numbers.get(str(band).lower())
        if number is None or number not in dataset.indexes or number in alpha:
            raise RasterRefused(f"{path.name} has no band {band!r}. It has {dict(sorted(names.items()))}.")
        chosen.append(Band(path, number, names[number]))
    return tuple(chosen)


def _colours(dataset: Any) -> Sequence[ColorInterp]:
    """What each band is; rasterio raises here, once, what a read of another file left behind in this thread."""
    try:
        return tuple(dataset.colorinterp)
    except CPLE_BaseError:
        return tuple(dataset.colorinterp)


def _alpha_bands(dataset: Any) -> set[int]:
    return {number for number, colour in enumerate(_colours(dataset), 1) if colour == ColorInterp.alpha}


def _nodata(name: str, dataset: Any, dtype: str, declared: float | None) -> float | None:
    value = dataset.nodata if declared is None else declared
    if value is None or not np.issubdtype(dtype, np.integer):
        return None if value is None else float(value)
    info = np.iinfo(dtype)
    if math.isfinite(value) and float(value).is_integer() and info.min <= value <= info.max:
        return float(value)
    if declared is not None:
        raise RasterRefused(
            f"{name}: no-data {declared:g} cannot occur in {dtype} pixels. Give a value from {info.min} to {info.max}."
        )
    log.warning("%s declares no-data %g, which %s pixels cannot hold; it is ignored", name, value, dtype)
    return None


def _crs_name(dataset: Any) -> str | None:
    """``EPSG:...`` where there is one, else WKT; None for none and for local engineering systems."""
    if not dataset.crs or dataset.transform.is_identity or not (dataset.crs.is_projected or dataset.crs.is_geographic):
        return None
    authority = dataset.crs.to_authority()
    return ":".join(authority) if authority else str(dataset.crs.to_wkt())


def _unique(rasters: list[Raster]) -> Iterator[Raster]:
    """Number names that occur twice (two folders, one stem); the same file given twice counts once."""
    seen: dict[str, int] = {}
    known: set[tuple[Band, ...]] = set()
    for raster in rasters:
        if raster.bands in known:
            continue
        known.add(raster.bands)
        count = seen[raster.name] = seen.get(raster.name, 0) + 1
        yield raster if count == 1 else replace(raster, name=f"{raster.name} ({count})")
