"""The dense pass: an encoder run once over a large block, and windows of its feature map pooled to descriptors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.features import rasterize
from rasterio.windows import Window
from shapely.affinity import affine_transform
from shapely.geometry.base import BaseGeometry

from workbench.descriptors.encoders import Encoder
from workbench.errors import RasterUnreadable
from workbench.imagery.rasters import Raster
from workbench.imagery.render import Stretch, display_bands

_PIECE = 32
_AT_ONCE = 2**21
# Holes look mid-grey to the encoder: near the mean of aerial imagery, so that they add little to their surroundings.
_HOLE = 0.45
_SUPERSAMPLE = 8


@dataclass(frozen=True)
class FeatureMap:
    """Features of a part of a raster.

    Attributes:
        cells: float32 (raw, rows, cols).
        valid: share of each cell that has data, float32 (rows, cols).
        row: raster row of the first cell's upper edge.
        col: raster column of the first cell's left edge.
        cell: raster pixels per cell.
        unreadable: windows that could not be read, with the reason.
    """

    cells: NDArray[np.float32]
    valid: NDArray[np.float32]
    row: float
    col: float
    cell: float
    unreadable: tuple[tuple[Window, str], ...] = ()

    def pool_grid(
        self, rows: NDArray[np.int64], cols: NDArray[np.int64], height: float, width: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean features of windows of one size at every combination of first rows and first columns.

        A cell counts by the area of it that lies in the window, by where in the window that is (see `tapered`), and by
        its share of valid pixels.

        Returns:
            means (len(rows), len(cols), raw) and the share of each window that has data (len(rows), len(cols)).
        """
        starts = (rows - self.row) / self.cell, (cols - self.col) / self.cell
        sizes = height / self.cell, width / self.cell
        by_row, by_col = map(tapered, starts, sizes, self.valid.shape)
        cells = np.moveaxis(self.cells, 0, 2)  # as a network lays them out: no copy
        if not (self.valid == 1).all():
            cells = cells * self.valid[..., None]
        in_rows = by_row @ cells.reshape(len(cells), -1)
        sums = by_col @ in_rows.reshape(len(rows), *cells.shape[1:])
        weights = by_row @ self.valid @ by_col.T
        means = sums / np.maximum(weights, 1e-9)[..., None]
        in_row, in_col = map(_overlaps, starts, sizes, self.valid.shape)
        share = in_row @ self.valid @ in_col.T / (sizes[0] * sizes[1])
        return means.astype(np.float32), share.astype(np.float32)

    def pool_shape(self, shape: BaseGeometry) -> NDArray[np.float32]:
        """Mean features (raw,) inside a geometry in the raster's pixel coordinates, tapered as its bounds are."""
        step = self.cell / _SUPERSAMPLE
        local = affine_transform(shape, (1 / step, 0, 0, 1 / step, -self.col / step, -self.row / step))
        rows, cols = self.valid.shape
        shape_out = (rows * _SUPERSAMPLE, cols * _SUPERSAMPLE)
        drawn = rasterize([local], shape_out, dtype="uint8")
        if not drawn.any():  # thinner than a sample
            drawn = rasterize([local], shape_out, all_touched=True, dtype="uint8")
        left, top, right, bottom = local.bounds
        by_row = tapered(np.array([top]), bottom - top, shape_out[0])[0]
        by_col = tapered(np.array([left]), right - left, shape_out[1])[0]
        weighted = drawn * by_row[:, None] * by_col
        weights = weighted.reshape(rows, _SUPERSAMPLE, cols, _SUPERSAMPLE).mean(axis=(1, 3)) * self.valid
        total = weights.sum()
        return (np.tensordot(self.cells, weights, 2) / max(total, 1e-9)).astype(np.float32)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Block:
    """What the encoder is to see: the pixels of some cells and of ``margin`` cells around them.

    Attributes:
        pixels: RGB with holes filled (3, rows, cols): float32 in 0..1, or uint8.
        mask: true in holes, (rows, cols).
        margin: cells of context on each side.
        row: raster row of the upper edge of the first cell without context.
        col: raster column of its left edge.
        cell: raster pixels per cell.
        unreadable: windows that could not be read, with the reason.
        stride: pixels as seen per cell.
    """

    pixels: NDArray[np.float32] | NDArray[np.uint8]
    mask: NDArray[np.bool_]
    margin: int
    row: float
    col: float
    cell: float
    unreadable: tuple[tuple[Window, str], ...]
    stride: int

    @property
    def unit(self) -> NDArray[np.float32]:
        """The pixels in 0..1."""
        return self.pixels / np.float32(255) if self.pixels.dtype == np.uint8 else self.pixels  # type: ignore[return-value]


def encode_window(raster: Raster, window: Window, scale: float, encoder: Encoder, stretch: Stretch) -> FeatureMap:
    """Features of a window and of nothing else, seen in ``encoder.margin`` pixels of context.

    Cells lie on one grid that starts at the raster's corner, so that a cell is the same whichever window it is part of.

    Args:
        raster: to read.
        window: raster pixels that the cells must cover.
        scale: raster pixels per pixel the encoder sees.
        encoder: to run.
        stretch: of all the raster's bands.

    Returns:
        the feature map of the smallest run of whole cells that covers ``window``.
    """
    return encode_block(read_block(raster, window, scale, encoder, stretch), encoder)


def read_block(raster: Raster, window: Window, scale: float, encoder: Encoder, stretch: Stretch) -> Block:
    """The first half of `encode_window`: read, without running the encoder."""
    cell = encoder.stride * scale
    margin = math.ceil(encoder.margin / encoder.stride)
    top, left = math.floor(window.row_off / cell), math.floor(window.col_off / cell)
    bottom = math.ceil((window.row_off + window.height) / cell - 1e-9)
    right = math.ceil((window.col_off + window.width) / cell - 1e-9)
    rows, cols = bottom - top + 2 * margin, right - left + 2 * margin
    seen = Window((left - margin) * cell, (top - margin) * cell, cols * cell, rows * cell)
    kind = np.uint8 if _takes_bytes(encoder) else np.float32
    pixels, mask, unreadable = _read(raster, seen, (rows * encoder.stride, cols * encoder.stride), stretch, kind)
    return Block(pixels, mask, margin, top * cell, left * cell, cell, unreadable, encoder.stride)


def encode_block(block: Block, encoder: Encoder) -> FeatureMap:
    """The second half of `encode_window`: run the encoder, and leave out the context."""
    return map_of(block, encoder.features(block.pixels if _takes_bytes(encoder) else block.unit))  # type: ignore[arg-type]


def map_of(block: Block, features: NDArray[np.float32]) -> FeatureMap:
    """The features (raw, rows, cols) of a whole block, of any stride that divides the encoder's, without the context's."""
    stride = block.mask.shape[0] // features.shape[1]
    rows, cols = features.shape[1:]
    context = block.margin * block.stride // stride
    inner = slice(context, rows - context), slice(context, cols - context)
    cells = features[:, *inner]
    valid = np.ones(cells.shape[1:], np.float32)
    if block.mask.any():
        holes = block.mask.reshape(rows, stride, cols, stride).mean(axis=(1, 3), dtype=np.float32)
        valid -= holes[inner]
    return FeatureMap(cells, valid, block.row, block.col, block.cell * stride / block.stride, block.unreadable)


def encode_alone(pixels: NDArray[np.uint8], encoder: Encoder) -> NDArray[np.float32]:
    """The descriptor of a chip or photograph seen without its surroundings.

    Args:
        pixels: RGB (3, rows, cols), or chips of one size (n, 3, rows, cols); cut to a multiple of the encoder's stride, or
            padded up to one cell.
        encoder: to run.

    Returns:
        float32 (dim,) or (n, dim); comparable with tiles only after centring by the archive's second mean.
    """
    stride = encoder.stride
    rows, cols = (max(stride, length // stride * stride) for length in pixels.shape[-2:])
    unit = np.full((*pixels.shape[:-2], rows, cols), _HOLE, np.float32)
    part = pixels[..., :rows, :cols]
    unit[..., : part.shape[-2], : part.shape[-1]] = part / np.float32(255)
    together = unit.ndim == 3 or getattr(encoder, "takes_many", False)
    cells = encoder.features(unit) if together else np.stack([encoder.features(chip) for chip in unit])
    by_row, by_col = (tapered(np.zeros(1), length, length)[0] for length in cells.shape[-2:])
    pooled = (np.tensordot(cells, np.outer(by_row, by_col), 2) / (by_row.size * by_col.size)).astype(np.float32)
    found = encoder.finish(pooled.reshape(-1, pooled.shape[-1]))
    return found if unit.ndim == 4 else found[0]


def tapered(starts: NDArray[np.floating], length: float, cells: int) -> NDArray[np.float32]:
    """How much each of ``cells`` unit cells counts in each interval [start, start + length): (intervals, cells).

    Cells at a window's edge saw as much of its neighbours as of the window, and describe it less. So they count less, by
    a parabola (Welch 1967) that is 1.5 in the middle and 0 at the ends:

        w(t) = 6 t (1 - t),    integral from 0 to t:  3 t^2 - 2 t^3,    t = (position - start) / length

    The weights of an interval inside the cells add up to its length. Where tiles overlap by half, a thing at the edge of one is
    in the middle of the next.
    """
    edges = np.clip((np.arange(cells + 1) - starts[:, None]) / length, 0, 1)
    return np.diff(length * edges**2 * (3 - 2 * edges), axis=1).astype(np.float32)


def _overlaps(starts: NDArray[np.floating], length: float, cells: int) -> NDArray[np.float32]:
    """How much of each of ``cells`` unit cells each interval [start, start + length) covers: (intervals, cells)."""
    edges = np.arange(cells)
    ends = np.minimum(starts[:, None] + length, edges[None] + 1)
    return np.clip(ends - np.maximum(starts[:, None], edges[None]), 0, 1).astype(np.float32)


def _takes_bytes(encoder: Encoder) -> bool:
    return getattr(encoder, "takes_bytes", False)


def _read(
    raster: Raster, window: Window, size: tuple[int, int], stretch: Stretch, kind: type[np.uint8] | type[np.float32]
) -> tuple[NDArray[Any], NDArray[np.bool_], tuple[tuple[Window, str], ...]]:
    """RGB with holes filled, 0..1 or 0..255 by its kind, the mask of holes, and what could not be read (holes as well).

    Large windows are read a run of rows at a time, so that no second copy of them is made.
    """
    bands = display_bands(raster)
    unique = tuple(dict.fromkeys(bands))
    order = [unique.index(band) for band in bands]
    stretch = stretch.of(unique)
    pixels, mask = np.empty((3, *size), kind), np.empty(size, bool)
    unreadable: list[tuple[Window, str]] = []
    scale = window.height / size[0]
    for top, bottom in pairwise(_runs(window, scale, size)):
        part = Window(window.col_off, window.row_off + top * scale, window.width, (bottom - top) * scale)
        try:
            found = raster.read(part, size=(bottom - top, size[1]), bands=unique)
        except RasterUnreadable:
            found, lost = _read_in_pieces(raster, part, (bottom - top, size[1]), unique)
            unreadable += lost
        values = stretch.apply(found) if kind is np.uint8 else stretch.to_unit(found)
        holes = np.ma.getmaskarray(found)[0]
        for channel, place in enumerate(order):
            pixels[channel, top:bottom] = values[place]
            if holes.any():
                pixels[channel, top:bottom][holes] = round(_HOLE * 255) if kind is np.uint8 else _HOLE
        mask[top:bottom] = holes
    return pixels, mask, tuple(unreadable)


def _runs(window: Window, scale: float, size: tuple[int, int]) -> list[int]:
    """Where the rows of a window are cut: nowhere if an output pixel is no whole number of pixels, each run then differs."""
    whole = all(value == int(value) for value in (scale, window.row_off, window.col_off, window.width))
    rows = max(_PIECE, int(_AT_ONCE / (window.width * scale))) if whole else size[0]
    return [*range(0, size[0], rows), size[0]]


def _read_in_pieces(
    raster: Raster, window: Window, size: tuple[int, int], bands: Sequence[int]
) -> tuple[np.ma.MaskedArray, tuple[tuple[Window, str], ...]]:  # type: ignore[type-arg]
    """Read what can be read, so that one damaged spot costs only the tiles that hold it.

    Pieces end where the file's own blocks end, and an output pixel that straddles such an edge is a piece of its own.
    """
    whole = np.ma.masked_all((len(bands), *size), raster.dtype)
    try:
        block = raster.block
    except RasterUnreadable as error:
        return whole, ((window, str(error)),)
    scale = window.height / size[0]
    row_cuts = _cuts(window.row_off, scale, size[0], block[0])
    col_cuts = _cuts(window.col_off, scale, size[1], block[1])
    unreadable = []
    for (top, bottom), (left, right) in product(pairwise(row_cuts), pairwise(col_cuts)):
        height, width = bottom - top, right - left
        piece = Window(window.col_off + left * scale, window.row_off + top * scale, width * scale, height * scale)
        try:
            whole[:, top:bottom, left:right] = raster.read(piece, size=(height, width), bands=bands)
        except RasterUnreadable as error:
            unreadable.append((piece, str(error)))
    return whole, tuple(unreadable)


def _cuts(offset: float, scale: float, length: int, block: int) -> list[int]:
    """Where an axis of ``length`` output pixels is cut so that pieces fall on blocks of at least `_PIECE` raster pixels."""
    step = block * math.ceil(_PIECE / block)
    first, last = math.floor(offset / step), math.ceil((offset + length * scale) / step)
    edges = [(number * step - offset) / scale for number in range(first, last + 1)]
    cuts = {0, length, *(math.floor(edge) for edge in edges), *(math.ceil(edge) for edge in edges)}
    return sorted(cut for cut in cuts if 0 <= cut <= length)
