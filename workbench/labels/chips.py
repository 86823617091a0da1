"""The chips folder: images and masks for training, and the manifest that says what they are."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from workbench.errors import LabelInvalid
from workbench.files import inside
from workbench.imagery.render import Stretch
from workbench.labels.fold import LabelClass

FORMAT, VERSION = "workbench-chips", 1
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_FILE = re.compile(r"(images|masks)/[A-Za-z0-9_-]{1,200}\.tif")


@dataclass(frozen=True)
class Chip:
    """One image with its mask.

    Attributes:
        image: path in the folder of a GeoTIFF in the raster's own dtype and bands, with an internal mask where there
            is no data.
        mask: path in the folder of a GeoTIFF, uint8: 0 background, 1..n classes, 255 ignore.
        raster: fingerprint of the raster it was cut from.
        raster_name: its name then.
        window: (col, row, width, height) in the raster's pixels.
        split: ``train``, ``validation`` or ``test``.
        complete: everything of every class is outlined in it.
        pixels: how many pixels have each value of the mask.
    """

    image: str
    mask: str
    raster: str
    raster_name: str
    window: tuple[int, int, int, int]
    split: Split
    complete: bool
    pixels: dict[int, int]


@dataclass(frozen=True)
class Chips:
    """A folder of chips as its manifest describes it.

    Attributes:
        folder: where it is.
        classes: all classes, by number.
        records: the chips, in the order of the manifest.
        stretch: by raster fingerprint, from its pixel values to 0..1.
        block_m: side of a block of the split, in metres.
        buffer_m: least distance between chips of different sides of the split, in metres.
        seed: of the split.
        absent: names of classes that no pixel has.
        warnings: what the user should know before training, in words.
    """

    folder: Path
    classes: tuple[LabelClass, ...]
    records: tuple[Chip, ...]
    stretch: dict[str, Stretch]
    block_m: float
    buffer_m: float
    seed: int
    absent: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def of(self, split: Split) -> tuple[Chip, ...]:
        """The chips of one side of the split."""
        return tuple(chip for chip in self.records if chip.split == split)

    def pixels(self, split: Split | None = None) -> dict[int, int]:
        """How many pixels have each value, over one side of the split or all."""
        total: Counter[int] = Counter()
        for chip in self.records if split is None else self.of(split):
            total.update(chip.pixels)
        return dict(sorted(total.items()))

    def absent_from(self, split: Split) -> tuple[str, ...]:
        """Names of the classes that no pixel of one side of the split has."""
        seen = self.pixels(split)
        return tuple(known.name for known in self.classes if not seen.get(known.id))

    def __len__(self) -> int:
        return len(self.records)


def open_chips(folder: str | Path) -> Chips:
    """Open a chips folder; everything its manifest says is checked, no pixel is read.

    Raises:
        LabelInvalid: it has no usable manifest, or a chip is missing.
    """
    folder = Path(folder)
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
    return chips


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


def chip_file(folder: Path, name: object) -> Path:
    """The path of a chip's file; only names that an export can have given.

    Raises:
        PathRefused: it leads out of the folder through a link.
        ValueError: no such name.
    """
    if not isinstance(name, str) or not _FILE.fullmatch(name):
        raise ValueError(f"{str(name)[:80]!r} cannot be a chip's file")
    return inside(folder, name)


def _from_json(folder: Path, value: dict[str, Any]) -> Chips:
    classes = tuple(LabelClass(int(c["id"]), str(c["name"]), str(c["colour"])) for c in value["classes"])
    numbers = {known.id for known in classes}
    if len(numbers) != len(classes) or not numbers <= set(range(1, 255)):
        raise ValueError("class numbers must be different and from 1 to 254")
    records = tuple(_chip(folder, chip, numbers | {0, 255}) for chip in value["chips"])
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
    )


def _chip(folder: Path, value: dict[str, Any], numbers: set[int]) -> Chip:
    pixels = {int(number): int(count) for number, count in value["pixels"].items()}
    if value["split"] not in SPLITS or not set(pixels) <= numbers:
        raise ValueError(f"{value['image']}: split {value['split']!r} or mask values {sorted(pixels)} are unknown")
    col, row, width, height = (int(number) for number in value["window"])
    for kind in ("image", "mask"):
        chip_file(folder, value[kind])
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
