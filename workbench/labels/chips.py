"""Opening a chips folder: an export of ours by its manifest, or images and masks that somebody else made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from workbench.errors import LabelInvalid
from workbench.imagery.render import Stretch
from workbench.labels.chip_records import MANIFEST, SPLITS, Chip, Chips, Split, chip_file, document_file
from workbench.labels.coco import CocoMasks
from workbench.labels.coco_files import read_coco
from workbench.labels.fold import LabelClass
from workbench.labels.foreign import count_pixels, open_foreign
from workbench.labels.sides import Sides

__all__ = ["SPLITS", "Chip", "Chips", "Split", "chip_file", "open_chips"]

FORMAT, VERSION = "workbench-chips", 1


def open_chips(
    folder: str | Path,
    *,
    classes: Mapping[str, str | int] | str | Path | None = None,
    splits: Mapping[str, Sequence[str]] | None = None,
    validation: float = 0.2,
    test: float = 0.0,
    seed: int = 0,
) -> Chips:
    """Open a folder of chips: of `export_chips` in any layout, or images and masks that somebody else made.

    Of an export, everything that its manifest says is checked; COCO annotations are read again, so that corrections made
    in other programs count. A folder without manifest is read as COCO when it holds JSON files with images,
    annotations and categories, else as pairs: a folder ``images`` beside a folder ``masks`` (any depth; other usual names
    are known as well), or masks beside the images with ``_mask`` after the stem; the same stem makes a pair, of the same
    size. Masks hold numbers (0 background, 255 ignore; 255 is a class where it is the only value besides 0), or
    colours that ``classes`` or a JSON file in the folder names.

    Sides of the split: as ``splits`` says; else as sub-folders, JSON names or lists such as ``train.txt`` say; else whole
    folders of pairs at random where there are several (parts of one picture belong together), else single pairs.

    Args:
        folder: of the chips.
        classes: for folders made elsewhere: colour ``#rrggbb`` or number in the masks by name ("background" is 0;
            "unlabelled", "ignore" or "void" 255), or a JSON file of them; when None, a JSON file in the folder.
        splits: for folders made elsewhere: side -> patterns of image paths (``{"test": ["Tile 7/*", "Tile 8/*"]}``).
        validation: for folders made elsewhere: share held back to choose the epoch by, where nothing says which.
        test: the same for the test.
        seed: of the choice.

    Raises:
        LabelInvalid: it is no such folder, or something in it does not fit; the message names it.
        RasterUnreadable: an image or mask of a folder made elsewhere is damaged.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        return open_foreign(folder, classes, Sides(splits or {}, validation, test, seed))
    if classes is not None or splits is not None:
        raise LabelInvalid(
            f"{folder} has a manifest that says its classes and sides. Leave classes= and splits= out, or export the "
            "chips again as you want them."
        )
    value = read_manifest(folder)
    try:
        chips = _from_json(folder, value)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LabelInvalid(
            f"{folder / 'manifest.json'} is damaged ({type(error).__name__}: {error}). Export the chips again."
        ) from error
    gone = [name for chip in chips.records for name in (chip.image, chip.mask) if not (folder / name).is_file()]
    if gone:
        raise LabelInvalid(
            f"{folder}: {len(gone)} of {2 * len(chips)} files that the manifest names are missing, such as {gone[0]}. "
            "Copy the whole folder, or export the chips again."
        )
    return chips if chips.layout != "coco" else _with_annotations(chips)


def _with_annotations(chips: Chips) -> Chips:
    """COCO chips with the masks that their annotations make now."""
    found = read_coco(chips.folder, chips.documents[1:])
    known = {item.id for item in chips.classes}
    masks = CocoMasks(
        {chip.image: (chip.window[3], chip.window[2]) for chip in chips.records}, found.annotations(known)
    )
    records = tuple(
        replace(chip, pixels=count_pixels(masks.read(chips.folder / chip.mask, chip.image))) for chip in chips.records
    )
    return replace(chips, masks=masks, records=records)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a chips folder, as far as that it is one.

    Raises:
        LabelInvalid: there is none, or not one that this version reads.
    """
    path = folder / "manifest.json"
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise LabelInvalid(
            f"{folder} is no chips folder: it has no manifest.json. Make one with export_chips; an export that was "
            "interrupted leaves none."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise LabelInvalid(f"{path} cannot be read ({error}). Export the chips again.") from error
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise LabelInvalid(f"{path} is not the manifest of a chips folder. Give the folder that export_chips made.")
    if value.get("version") != VERSION:
        raise LabelInvalid(
            f"{path} has version {value.get('version')!r} and this workbench reads {VERSION}. Update it, or export "
            "again."
        )
    return value


def _from_json(folder: Path, value: dict[str, Any]) -> Chips:
    classes = tuple(LabelClass(int(c["id"]), str(c["name"]), str(c["colour"])) for c in value["classes"])
    numbers = {known.id for known in classes}
    if len(numbers) != len(classes) or not numbers <= set(range(1, 255)):
        raise ValueError("class numbers must be different and from 1 to 254")
    layout = str(value.get("layout", "geotiff"))
    if layout not in ("geotiff", "coco", "folder"):
        raise ValueError(f"layout {layout[:40]!r} is unknown")
    records = tuple(_chip(folder, chip, numbers | {0, 255}, layout) for chip in value["chips"])
    pixel = value.get("pixel_size_m")
    stretch = {str(k): Stretch(tuple(s["low"]), tuple(s["high"])) for k, s in value["stretch"].items()}
    missing = {chip.raster for chip in records} - set(stretch)
    if missing:
        raise ValueError(f"no stretch for raster {sorted(missing)[0]}")
    return Chips(
        folder,
        classes,
        records,
        stretch,
        float(value["block_m"]),
        float(value["buffer_m"]),
        int(value["seed"]),
        tuple(map(str, value.get("absent", ()))),
        tuple(map(str, value.get("warnings", ()))),
        layout,
        documents=(MANIFEST, *({chip.mask: None for chip in records} if layout == "coco" else ())),
        pixel_m=None if pixel is None else (float(pixel[0]), float(pixel[1])),
    )


def _chip(folder: Path, value: dict[str, Any], numbers: set[int], layout: str) -> Chip:
    pixels = {int(number): int(count) for number, count in value["pixels"].items()}
    if value["split"] not in SPLITS or not set(pixels) <= numbers:
        raise ValueError(f"{value['image']}: split {value['split']!r} or mask values {sorted(pixels)} are unknown")
    col, row, width, height = (int(number) for number in value["window"])
    chip_file(folder, value["image"])
    (document_file if layout == "coco" else chip_file)(folder, value["mask"])
    return Chip(
        value["image"],
        value["mask"],
        str(value["raster"]),
        str(value["raster_name"]),
        (col, row, width, height),
        cast(Split, value["split"]),
        bool(value["complete"]),
        pixels,
    )
