"""Masks as COCO annotations and back: one annotation an outline, and crowd regions where nobody looked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.features import rasterize, shapes
from shapely.geometry import Polygon

from workbench.errors import LabelInvalid

_IGNORE = 255


@dataclass(frozen=True)
class CocoMasks:
    """Masks that are rebuilt from the annotations of COCO files.

    What no annotation covers is background, as everywhere in COCO; what a crowd region covers is 255, whatever its
    category, since not every object in it has an outline; over both the outlines are painted, the class of the higher
    number last.

    Attributes:
        sizes: (rows, cols) by image.
        annotations: (class number, crowd, segmentation) of each annotation by image.
    """

    sizes: Mapping[str, tuple[int, int]]
    annotations: Mapping[str, tuple[tuple[int, bool, Any], ...]]

    def read(self, path: Path, image: str) -> NDArray[np.uint8]:
        """The mask of an image, uint8 (rows, cols); ``path`` is the file that the annotations came from.

        Raises:
            LabelInvalid: a segmentation cannot be used.
        """
        size = self.sizes[image]
        mask = np.zeros(size, np.uint8)
        for number, crowd, segmentation in sorted(
            self.annotations.get(image, ()), key=lambda item: (not item[1], item[0])
        ):
            try:
                mask[segmentation_pixels(segmentation, size)] = _IGNORE if crowd else number
            except (TypeError, ValueError, KeyError, IndexError) as error:
                raise LabelInvalid(
                    f"{path.name}: an annotation of {image[:80]!r} has no usable segmentation ({str(error)[:100]}). "
                    "Expected polygons or run lengths that fit the image. Export the file again."
                ) from error
        return mask


def annotations_of(
    mask: NDArray[np.uint8], objects: Iterable[tuple[int, NDArray[np.bool_]]], numbers: Sequence[int]
) -> list[dict[str, Any]]:
    """The annotations from which `CocoMasks` makes exactly this mask again, without ids.

    Args:
        mask: 0, class numbers, 255, shape (rows, cols).
        objects: class number of each outline, and the pixels inside it, bool (rows, cols).
        numbers: of all classes. Where nobody looked, each has one crowd region (COCO's word for: not every object
            here is outlined), so that other programs neither train nor score there.
    """
    found = []
    for number, inside in objects:
        visible = inside & (mask == number)
        if visible.any():
            found.append(_annotation(number, visible, False))
    unknown = mask == _IGNORE
    if unknown.any():
        found += [_annotation(number, unknown, True) for number in numbers]
    return found


def segmentation_pixels(segmentation: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels of a COCO segmentation: polygons, or run lengths as a list or compressed; bool (rows, cols).

    A pixel belongs to a polygon that holds its centre.

    Raises:
        ValueError: it is neither, or does not fit the size.
    """
    if isinstance(segmentation, dict):
        return _decode(segmentation, size)
    rings = [np.asarray(ring, np.float64) for ring in segmentation]
    if not rings or any(
        ring.ndim != 1 or len(ring) < 6 or len(ring) % 2 or not np.isfinite(ring).all() for ring in rings
    ):
        raise ValueError("a polygon needs three points or more")
    polygons = [Polygon(ring.reshape(-1, 2)) for ring in rings]
    return np.asarray(rasterize(polygons, size, dtype=np.uint8), bool)


def _annotation(number: int, pixels: NDArray[np.bool_], crowd: bool) -> dict[str, Any]:
    rows, cols = (np.flatnonzero(pixels.any(axis=axis)) for axis in (1, 0))
    left, top = int(cols[0]), int(rows[0])
    return {
        "category_id": number,
        "iscrowd": int(crowd),
        "area": int(pixels.sum()),
        "bbox": [left, top, int(cols[-1]) + 1 - left, int(rows[-1]) + 1 - top],
        "segmentation": _encode(pixels) if crowd else _polygons(pixels),
    }


def _polygons(pixels: NDArray[np.bool_]) -> Any:
    """Polygons along the edges of pixels; run lengths where there is a hole, which COCO's polygons cannot have."""
    burned = pixels.astype(np.uint8)
    parts = [
        Polygon(outline["coordinates"][0], outline["coordinates"][1:]) for outline, _ in shapes(burned, mask=pixels)
    ]
    if any(part.interiors for part in parts):
        return _encode(pixels)
    return [[float(value) for point in list(part.exterior.coords)[:-1] for value in point] for part in parts]


def _encode(pixels: NDArray[np.bool_]) -> dict[str, Any]:
    """Run lengths down the columns, of outside and inside in turn, outside first."""
    flat = pixels.ravel(order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *ends, flat.size]).tolist()
    return {"size": list(pixels.shape), "counts": [0, *counts] if flat[0] else counts}


def _decode(segmentation: Mapping[str, Any], size: tuple[int, int]) -> NDArray[np.bool_]:
    counts = segmentation["counts"]
    runs = np.array(_decompressed(counts) if isinstance(counts, str) else counts, np.int64)
    if tuple(segmentation["size"]) != size or (runs < 0).any() or runs.sum() != size[0] * size[1]:
        raise ValueError(f"run lengths of {segmentation['size']} in an image of {list(size)}")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return flat.reshape(size, order="F")


def _decompressed(text: str) -> list[int]:
    """Run lengths from COCO's text form: five bits a character, low bits first; from the fourth on, differences.

    After the COCO API (Lin et al. 2014, maskApi.c, rleFrString).
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError("the text holds characters that are no run lengths")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    return counts
