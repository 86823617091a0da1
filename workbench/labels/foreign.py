"""Folders of images and masks that somebody else made, read as chips: COCO, or pairs of files with the same stem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from workbench.errors import LabelInvalid, PathRefused, RasterRefused
from workbench.files import inside
from workbench.imagery.guard import SUFFIXES
from workbench.imagery.opening import open_imagery
from workbench.imagery.rasters import Raster
from workbench.imagery.render import Stretch, fit_stretch
from workbench.labels.chip_records import Chip, Chips, Split
from workbench.labels.coco import CocoMasks
from workbench.labels.coco_files import CocoImage, is_coco, read_coco
from workbench.labels.fold import MAX_CLASSES, LabelClass, default_colour
from workbench.labels.foreign_classes import ClassTable, find_table, mask_classes
from workbench.labels.mask_files import MaskPictures
from workbench.labels.sides import Sides, choose_sides, side_in

_KEY = "folder"
_STRETCHED = 20
_IMAGES = ("images", "image", "imgs", "img", "jpegimages", "rgb")
_MASKS = ("masks", "mask", "labels", "label", "annotations", "gt", "segmentationclass", "targets")
_ENDS = ("_mask", "-mask", "_label", "-label", "_gt")


@dataclass(frozen=True)
class Pair:
    """An image, what says its mask, and what they have in common: paths in the folder."""

    image: str
    mask: str
    group: str
    told: Split | None


def open_foreign(folder: Path, classes: Mapping[str, str | int] | str | Path | None, asked: Sides) -> Chips:
    """Open a folder without a manifest; arguments and errors as in `chips.open_chips`."""
    if not folder.is_dir():
        raise LabelInvalid(f"{folder} is no folder of chips: there is no such folder. Make one with export_chips.")
    documents = [_name(folder, path) for path in sorted(folder.rglob("*.json")) if is_coco(path)]
    return _open_coco(folder, documents, asked) if documents else _open_pairs(folder, classes, asked)


def count_pixels(mask: NDArray[np.uint8]) -> dict[int, int]:
    """How many pixels have each value."""
    values, counts = np.unique(mask, return_counts=True)
    return {int(value): int(count) for value, count in zip(values, counts, strict=True)}


def _open_pairs(folder: Path, classes: Mapping[str, str | int] | str | Path | None, asked: Sides) -> Chips:
    pairs, warnings = _find_pairs(folder)
    images = _headers(folder, [pair.image for pair in pairs])
    table: ClassTable | None = find_table(folder, classes)
    found, masks, doubts = mask_classes(folder, [pair.mask for pair in pairs], table)
    counts = []
    for pair, raster in zip(pairs, images, strict=True):
        mask = masks.read(folder / pair.mask, pair.image)
        _require_size(pair.image, raster, pair.mask, mask.shape)
        counts.append(count_pixels(mask))
    documents = tuple(pair.mask for pair in pairs)
    return _chips(folder, found, pairs, images, counts, asked, masks, documents, [*warnings, *doubts])


def _open_coco(folder: Path, documents: Sequence[str], asked: Sides) -> Chips:
    coco = read_coco(folder, documents)
    if not coco.images:
        raise LabelInvalid(f"{folder}: the COCO files {', '.join(documents[:3])} name no image. Export them again.")
    where = {(image.document, image.file_name): _locate(folder, image) for image in coco.images}
    twice = [name for name, count in Counter(where.values()).items() if count > 1]
    if twice:
        raise LabelInvalid(f"{folder}: {twice[0]} is in two COCO files. Leave only one of them in the folder.")
    used = {category for items in coco.found.values() for category, _, _ in items}
    # Some programs put a category 0 before the others that stands for all of them.
    kept = {number: told for number, told in sorted(coco.categories.items()) if number or number in used}
    same = all(1 <= number <= MAX_CLASSES for number in kept)
    numbers = {category: category if same else place for place, category in enumerate(kept, 1)}
    if len(kept) > MAX_CLASSES or not kept:
        raise LabelInvalid(
            f"{folder} has {len(kept)} categories; a mask can hold 1 to {MAX_CLASSES}. Join some of them."
        )
    classes = tuple(
        LabelClass(numbers[category], name, colour if _is_colour(colour) else default_colour(numbers[category]))
        for category, (name, colour) in kept.items()
    )
    masks = CocoMasks(
        {where[image.document, image.file_name]: image.size for image in coco.images},
        coco.annotations(numbers, where),
    )
    pairs = [
        Pair(path, document, PurePosixPath(path).parent.as_posix(), side_in(document))
        for (document, _), path in where.items()
    ]
    images = _headers(folder, [pair.image for pair in pairs])
    counts = []
    for pair, raster in zip(pairs, images, strict=True):
        _require_size(pair.image, raster, pair.mask, masks.sizes[pair.image])
        counts.append(count_pixels(masks.read(folder / pair.mask, pair.image)))
    return _chips(folder, classes, pairs, images, counts, asked, masks, tuple(documents), [])


def _chips(
    folder: Path,
    classes: tuple[LabelClass, ...],
    pairs: Sequence[Pair],
    images: Sequence[Raster],
    counts: Sequence[dict[int, int]],
    asked: Sides,
    masks: MaskPictures | CocoMasks,
    documents: tuple[str, ...],
    warnings: list[str],
) -> Chips:
    sides = choose_sides([p.image for p in pairs], [p.group for p in pairs], [p.told for p in pairs], asked)
    records = tuple(
        Chip(p.image, p.mask, _KEY, p.image, (0, 0, raster.width, raster.height), side, 255 not in pixels, pixels)
        for p, raster, pixels, side in zip(pairs, images, counts, sides, strict=True)
    )
    seen = {number for pixels in counts for number in pixels}
    absent = tuple(known.name for known in classes if known.id not in seen)
    stretch = {_KEY: _stretch(images)}
    layout = "coco" if isinstance(masks, CocoMasks) else "folder"
    return Chips(
        folder, classes, records, stretch, 0.0, 0.0, asked.seed, absent, tuple(warnings), layout, masks, documents
    )


def _find_pairs(folder: Path) -> tuple[list[Pair], list[str]]:
    """Images and masks by what their paths have in common."""
    images: dict[tuple[str, ...], str] = {}
    masks: dict[tuple[str, ...], str] = {}
    for path in sorted(folder.rglob("*")):
        name = _name(folder, path)
        if (
            path.suffix.lower() not in SUFFIXES
            or not path.is_file()
            or any(p.startswith(".") for p in Path(name).parts)
        ):
            continue
        kind, key = _key(name)
        known = masks if kind == "mask" else images
        if key in known:
            raise LabelInvalid(f"{folder}: {known[key]} and {name} would be one chip. Give one of them another name.")
        known[key] = name
    both = sorted(images.keys() & masks.keys())
    if not both:
        raise LabelInvalid(
            f"{folder} is no chips folder: it has no manifest.json, which an interrupted export lacks, no COCO file and no "
            f"pairs ({len(images)} images and {len(masks)} masks with no stem in common). Make one with export_chips, or "
            "put images/NAME.jpg beside masks/NAME.png."
        )
    lone = len(images) + len(masks) - 2 * len(both)
    warnings = [f"{lone} images or masks have no partner and were left out."] if lone else []
    lists = _listed(folder)
    pairs = []
    for key in both:
        told = lists.get(PurePosixPath(images[key]).stem) if lists else side_in("/".join(key[:-1]))
        pairs.append(Pair(images[key], masks[key], "/".join(key[:-1]), told))
    return pairs, warnings


def _key(name: str) -> tuple[str, tuple[str, ...]]:
    """Whether a file is an image or a mask, and its path without what says so."""
    path = PurePosixPath(name)
    folders, stem = list(path.parent.parts), path.stem
    for place, part in enumerate(folders):
        for kind, words in (("mask", _MASKS), ("image", _IMAGES)):
            if part.lower() in words:
                return kind, (*folders[:place], *folders[place + 1 :], stem)
    for end in _ENDS:
        if stem.lower().endswith(end):
            return "mask", (*folders, stem[: -len(end)])
    return "image", (*folders, stem)


def _listed(folder: Path) -> dict[str, Split]:
    """Sides by stem from train.txt, val.txt, test.txt and the like."""
    sides: dict[str, Split] = {}
    for path in sorted(folder.rglob("*.txt")):
        side = side_in(path.stem)
        if side is None:
            continue
        try:
            stems = path.read_text(encoding="utf-8").split("\n")
        except (OSError, ValueError) as error:
            raise LabelInvalid(
                f"{path} cannot be read as a list of chips ({error}). Expected a name a line."
            ) from error
        sides |= {PurePosixPath(line.strip()).stem: side for line in stems if line.strip()}
    return sides


def _headers(folder: Path, names: Sequence[str]) -> list[Raster]:
    """The images by their headers, all of the same bands."""
    rasters = []
    for name in names:
        try:
            rasters.append(open_imagery(folder / name)[0])
        except RasterRefused as error:
            raise LabelInvalid(f"{folder / name} is no usable image: {error}") from error
        first, last = rasters[0], rasters[-1]
        if (len(last.bands), last.dtype) != (len(first.bands), first.dtype):
            raise LabelInvalid(
                f"{name} has {len(last.bands)} bands of {last.dtype} and {names[0]} {len(first.bands)} of {first.dtype}. "
                "A network needs the same of all: convert one kind, or move it to a folder of its own."
            )
    return rasters


def _require_size(image: str, raster: Raster, mask: str, size: tuple[int, ...]) -> None:
    if (raster.height, raster.width) != tuple(size):
        raise LabelInvalid(
            f"{image} has {raster.width} x {raster.height} pixels and its mask in {mask} {size[1]} x {size[0]}. They must "
            "be of one size: find the right mask, or leave both out."
        )


def _stretch(images: Sequence[Raster]) -> Stretch:
    """One stretch for all images: the widest of some of them."""
    step = max(1, len(images) // _STRETCHED)
    fits = [fit_stretch(raster) for raster in images[::step]]
    lows, highs = np.array([fit.low for fit in fits]).min(axis=0), np.array([fit.high for fit in fits]).max(axis=0)
    return Stretch(tuple(lows.tolist()), tuple(highs.tolist()))


def _locate(folder: Path, image: CocoImage) -> str:
    """The path in the folder of an image that a COCO file names."""
    beside = PurePosixPath(image.document).parent
    side = PurePosixPath(image.document).stem
    for place in (beside, PurePosixPath(), beside / "images", PurePosixPath("images"), PurePosixPath("images") / side):
        try:
            path = inside(folder, (place / image.file_name).as_posix())
        except PathRefused as error:
            raise LabelInvalid(f"{image.document}: {error}") from error
        if path.is_file():
            return (place / image.file_name).as_posix()
    raise LabelInvalid(
        f"{image.document} names {image.file_name[:200]!r}, which is neither beside it nor in images/. Copy the images to there."
    )


def _name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def _is_colour(text: str) -> bool:
    return len(text) == 7 and text[0] == "#" and all(letter in "0123456789abcdefABCDEF" for letter in text[1:])
