"""Rasters opened safely and read by masked windows: one file, or single-band files stacked by name."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyproj
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window
from shapely.affinity import affine_transform
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry
from shapely.ops import transform as transform_geometry

from workbench.errors import RasterRefused, RasterUnreadable
from workbench.imagery.handles import content_fingerprint, dataset_of
from workbench.imagery.reading import read_inside
from workbench.imagery.windows import overlap, target

log = logging.getLogger(__name__)
_PROJ_ERRORS = (pyproj.exceptions.ProjError, ValueError)


@dataclass(frozen=True)
class Band:
    """One band of a raster: where its pixels are."""

    path: Path
    number: int
    name: str


@dataclass(frozen=True)
class Raster:
    """One georeferenced image, known by its header; pixels are read by `read`.

    Attributes:
        name: unique in its `Imagery`.
        bands: colour bands in reading order; alpha is a mask, never a band.
        width: columns.
        height: rows.
        dtype: numpy name of the pixel type.
        transform: from pixel (col, row) to the CRS's (x, y).
        crs: ``EPSG:...`` or WKT; None when the raster is not placed on earth: geometry is then in pixels.
        nodata: from the file, or declared by the user.
        fingerprint: name of the content, unchanged when the file moves.
        date: ISO date of the imagery, or its year alone, if the file's header or name says so.
        user_nodata: ``nodata`` was declared by the user, so GDAL does not know it.
        colours: what the file says each band is (red, green, blue, grey ...).
        alpha: number of an alpha band that GDAL does not take for the mask (it does so for 8 and 16 bits, 2 or 4 bands).
    """

    name: str
    bands: tuple[Band, ...]
    width: int
    height: int
    dtype: str
    transform: Affine
    crs: str | None
    nodata: float | None
    fingerprint: str
    date: str | None = None
    user_nodata: bool = False
    colours: tuple[str, ...] = ()
    has_overviews: bool = False
    has_mask: bool = False
    is_vrt: bool = False
    alpha: int | None = None

    @property
    def path(self) -> Path:
        """The file of the first band."""
        return self.bands[0].path

    @property
    def has_pixels(self) -> bool:
        """Whether there is anything to read: what stands for the raster of imported descriptors is only a place."""
        return bool(self.bands)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files of all bands, each once."""
        return tuple(dict.fromkeys(band.path for band in self.bands))

    @property
    def window(self) -> Window:
        """The whole raster."""
        return Window(0, 0, self.width, self.height)

    def read(
        self,
        window: Window | None = None,
        *,
        size: tuple[int, int] | None = None,
        bands: Sequence[int] | None = None,
    ) -> np.ma.MaskedArray[Any, Any]:
        """Read a window, also one that reaches beyond the raster (masked there).

        Args:
            window: pixels; the whole raster when None.
            size: (rows, cols) to resample to: averaged when smaller, bilinear when larger.
            bands: positions in ``self.bands``; all when None.

        Returns:
            Array (bands, rows, cols) in the raster's dtype, its mask true where there is no data.

        Raises:
            RasterUnreadable: the pixels cannot be read.
        """
        if not self.has_pixels:
            raise self.no_pixels()
        window = self.window if window is None else window
        chosen = [self.bands[position] for position in (range(len(self.bands)) if bands is None else bands)]
        rows, cols = size or (round(window.height), round(window.width))
        part = overlap(window, self.width, self.height)
        if part == window:
            data, mask = read_inside(self, window, (rows, cols), chosen)
            return np.ma.MaskedArray(data, np.broadcast_to(mask, data.shape).copy())
        data = np.zeros((len(chosen), rows, cols), self.dtype)
        mask = np.ones((rows, cols), bool)
        if part is not None:
            row, col, height, width = target(part, window, rows, cols)
            inner_data, inner_mask = read_inside(self, part, (height, width), chosen)
            data[:, row : row + height, col : col + width] = inner_data
            mask[row : row + height, col : col + width] = inner_mask
        return np.ma.MaskedArray(data, np.broadcast_to(mask, data.shape).copy())

    def to_pixels(self, geometry: BaseGeometry, crs: str | None = None) -> BaseGeometry:
        """Bring a geometry to pixel (col, row) coordinates.

        Args:
            geometry: in ``crs``.
            crs: of the geometry; the raster's own when None.

        Raises:
            RasterRefused: the raster has no CRS, or one that cannot be related to ``crs``.
        """
        if crs is not None and crs != self.crs:
            geometry = transform_geometry(transformer(crs, self._need_crs()).transform, geometry)
        if self.crs is None:
            return geometry
        inverse = ~self.transform
        return affine_transform(geometry, (inverse.a, inverse.b, inverse.d, inverse.e, inverse.c, inverse.f))

    def from_pixels(self, geometry: BaseGeometry, crs: str | None = None) -> BaseGeometry:
        """Bring a geometry from pixel coordinates to ``crs``, or to the raster's own CRS (pixels when it has none)."""
        if self.crs is None and crs is None:
            return geometry
        own = self._need_crs()
        t = self.transform
        placed = affine_transform(geometry, (t.a, t.b, t.d, t.e, t.c, t.f))
        return placed if crs in (None, own) else transform_geometry(transformer(own, str(crs)).transform, placed)

    def footprint(self, window: Window | None = None, crs: str | None = None) -> BaseGeometry:
        """Outline of a window on the ground (in pixels for a raster without CRS)."""
        window = self.window if window is None else window
        col, row, width, height = window.col_off, window.row_off, window.width, window.height
        corners = [(col, row), (col + width, row), (col + width, row + height), (col, row + height)]
        return self.from_pixels(Polygon(corners), crs)

    @property
    def pixel_size_m(self) -> tuple[float, float]:
        """Metres on the ground covered by one pixel at the raster's centre, along columns and along rows.

        Geodesic on WGS 84, so that Web Mercator's stretch is taken out. (1, 1) for a raster without CRS.
        """
        return _pixel_size_m(self)

    @property
    def mappable(self) -> bool:
        """Whether the raster can be placed on a map of the earth."""
        try:
            return self.crs is not None and math.isfinite(
                sum(transformer(self.crs, "EPSG:4326").transform(*self._centre))
            )
        except _PROJ_ERRORS:
            return False

    @property
    def block(self) -> tuple[int, int]:
        """Rows and columns of the pieces the first file is stored in: what one damaged spot costs."""
        rows, cols = dataset_of(self.path, allow_vrt=self.is_vrt).block_shapes[self.bands[0].number - 1]
        return int(rows), int(cols)

    def no_pixels(self) -> RasterUnreadable:
        """What is said where there is nothing to read."""
        return RasterUnreadable(
            f"{self.name} came without imagery, so there are no pixels to show. Attach imagery of the place with "
            "archive.attach(FOLDER)."
        )

    def unchanged(self) -> bool:
        """Whether the files still have the content this raster was opened with (a quick check; see `files.sha256`)."""
        there = all(path.is_file() for path in self.paths)
        return not self.has_pixels or (there and content_fingerprint(self.paths) == self.fingerprint)

    @property
    def _centre(self) -> tuple[float, float]:
        t, col, row = self.transform, self.width / 2, self.height / 2
        return t.a * col + t.b * row + t.c, t.d * col + t.e * row + t.f

    def _need_crs(self) -> str:
        if self.crs is None:
            raise RasterRefused(
                f"{self.name} has no coordinate system, so a place on earth cannot be found in it. "
                "Query it by tile or in pixels, or give it one with `rio edit-info --crs`."
            )
        return self.crs


_LISTED = 5


@dataclass(frozen=True, repr=False)
class Imagery(Sequence[Raster]):
    """An ordered set of rasters that belong together; reading headers only, it opens in an instant.

    Attributes:
        rasters: in the order of their names.
        problems: files that were found but left out, and why.
    """

    rasters: tuple[Raster, ...]
    problems: tuple[str, ...] = field(default=(), compare=False)

    @overload
    def __getitem__(self, item: int) -> Raster: ...
    @overload
    def __getitem__(self, item: slice) -> Sequence[Raster]: ...
    def __getitem__(self, item: int | slice) -> Raster | Sequence[Raster]:
        return self.rasters[item]

    def __len__(self) -> int:
        return len(self.rasters)

    def __repr__(self) -> str:
        """How many rasters, and the first few: name, size, bands, ground resolution, CRS."""
        lines = [f"{len(self)} raster{'s' if len(self) != 1 else ''}"]
        for raster in self.rasters[:_LISTED]:
            ground = (
                f"{max(raster.pixel_size_m):.3g} m a pixel, {raster.crs}" if raster.mappable else "no place on earth"
            )
            lines.append(
                f"  {raster.name}: {raster.width:,} x {raster.height:,}, {len(raster.bands)} x {raster.dtype}, {ground}"
            )
        more = len(self) - _LISTED
        return "\n".join((*lines, *([f"  and {more:,} more"] if more > 0 else []), *self.problems[:_LISTED]))

    def __iter__(self) -> Iterator[Raster]:
        return iter(self.rasters)

    def without(self, *names: str) -> Imagery:
        """The same imagery without the rasters of these names."""
        unknown = set(names) - {raster.name for raster in self}
        if unknown:
            raise RasterUnreadable(
                f"There is no raster named {sorted(unknown)}. Names: {[raster.name for raster in self]}."
            )
        return replace(self, rasters=tuple(raster for raster in self if raster.name not in names))

    def by_fingerprint(self, fingerprint: str) -> Raster:
        """The raster with this content.

        Raises:
            RasterUnreadable: none has it.
        """
        for raster in self:
            if raster.fingerprint == fingerprint:
                return raster
        raise RasterUnreadable(
            f"No raster here has the fingerprint {fingerprint}. Open the imagery it was made from as well."
        )

    def bounds_in(self, crs: str) -> NDArray[np.float64]:
        """Left, bottom, right and top of every raster in a CRS, (n, 4), worked out once.

        NaN for a raster without CRS. From minus to plus infinity where no box can be told: across the antimeridian, or far
        from where the CRS is meant for.
        """
        if crs not in self._bounds:
            self._bounds[crs] = np.array([_bounds_in(raster, crs) for raster in self], float).reshape(-1, 4)
        return self._bounds[crs]

    @cached_property
    def _bounds(self) -> dict[str, NDArray[np.float64]]:
        return {}

    def check(self, *, deep: bool = False, block: int = 1024) -> tuple[str, ...]:
        """Everything wrong with the files, in words; opening proves nothing, so ``deep`` reads every block."""
        problems = list(self.problems)
        for raster in self:
            if not raster.unchanged():
                problems.append(f"{raster.name}: the file is missing or has changed since it was opened.")
            for window in blocks(raster, block) if deep else ():
                try:
                    raster.read(window)
                except RasterUnreadable as error:
                    problems.append(str(error))
        return tuple(problems)


def blocks(raster: Raster, size: int) -> Iterator[Window]:
    """Windows of at most ``size`` x ``size`` pixels that cover a raster once, row by row."""
    for row in range(0, raster.height, size):
        for col in range(0, raster.width, size):
            yield Window(col, row, min(size, raster.width - col), min(size, raster.height - row))


@lru_cache(maxsize=256)
def transformer(source: str, target: str) -> pyproj.Transformer:
    """The cached pyproj transformer between two CRSs, always (x, y) and (lon, lat)."""
    return pyproj.Transformer.from_crs(source, target, always_xy=True)


def _bounds_in(raster: Raster, crs: str) -> tuple[float, float, float, float]:
    if raster.crs is None:
        return math.nan, math.nan, math.nan, math.nan
    own = raster.footprint().bounds
    try:
        left, bottom, right, top = own if crs == raster.crs else transformer(raster.crs, crs).transform_bounds(*own)
    except _PROJ_ERRORS:
        return -math.inf, -math.inf, math.inf, math.inf
    told = all(map(math.isfinite, (left, bottom, right, top))) and left <= right
    return (left, bottom, right, top) if told else (-math.inf, -math.inf, math.inf, math.inf)


@lru_cache(maxsize=4096)
def _pixel_size_m(raster: Raster) -> tuple[float, float]:
    if raster.crs is None:
        return 1.0, 1.0
    x, y = raster._centre
    t = raster.transform
    try:
        to_lonlat = transformer(raster.crs, "EPSG:4326")
        lons, lats = to_lonlat.transform([x, x + t.a, x + t.b], [y, y + t.d, y + t.e])
        geod = pyproj.Geod(ellps="WGS84")
        sizes = geod.inv([lons[0]] * 2, [lats[0]] * 2, lons[1:], lats[1:])[2]
        if all(math.isfinite(size) and size > 0 for size in sizes):
            return float(sizes[0]), float(sizes[1])
    except _PROJ_ERRORS as error:
        log.info("%s: pixel size taken from its own units (%s)", raster.name, error)
    unit = pyproj.CRS(raster.crs).axis_info[0].unit_conversion_factor or 1.0
    return math.hypot(t.a, t.d) * unit, math.hypot(t.b, t.e) * unit
