"""What a chips folder holds: images and masks for training, whoever made them; opened by `chips.open_chips`."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from workbench.files import inside, sha256
from workbench.imagery.opening import open_imagery
from workbench.imagery.render import Stretch
from workbench.labels.coco import CocoMasks
from workbench.labels.fold import LabelClass
from workbench.labels.mask_files import MaskPictures

MANIFEST = "manifest.json"
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_FILE = re.compile(r"(images|masks)/[A-Za-z0-9_-]{1,200}\.(tif|png)")
_DOCUMENT = re.compile(r"(annotations/)?(train|validation|test)\.(json|txt)|classes\.json")


@dataclass(frozen=True)
class Chip:
    """One image with its mask.

    Attributes:
        image: path in the folder, in the raster's own dtype and bands, with a mask or alpha where there is no data.
        mask: path in the folder of what says the class of each pixel; read it by `Chips.read_mask`.
        raster: fingerprint of the raster it was cut from, or what its folder's stretch is kept by.
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
    """A folder of chips.

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
        layout: ``geotiff``, ``coco`` or ``folder``.
        masks: how the mask files are read.
        documents: files in the folder that say what the chips are.
        pixel_m: ground size of a pixel in metres, (x, y), where the images do not say it themselves.
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
    layout: str = "geotiff"
    masks: MaskPictures | CocoMasks = field(default_factory=MaskPictures)
    documents: tuple[str, ...] = (MANIFEST,)
    pixel_m: tuple[float, float] | None = None

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

    def read_mask(self, chip: Chip) -> NDArray[np.uint8]:
        """The mask of a chip, whatever the layout: uint8 (rows, cols), 0 background, 1..n classes, 255 ignore.

        Raises:
            RasterUnreadable: its file is missing or damaged.
            LabelInvalid: an annotation cannot be used.
        """
        return self.masks.read(self.folder / chip.mask, chip.image)

    @property
    def pixel_size_m(self) -> tuple[float, float]:
        """Metres on the ground covered by a pixel of the first chip, (x, y); (1, 1) where nobody knows."""
        return self.pixel_m or open_imagery(self.folder / self.records[0].image)[0].pixel_size_m

    @property
    def digest(self) -> str:
        """64 hexadecimal digits that are others when the chips are others."""
        if self.documents == (MANIFEST,):
            return sha256(self.folder / MANIFEST)
        said = [repr((self.classes, self.records)), *(sha256(self.folder / name) for name in self.documents)]
        return hashlib.sha256("\n".join(said).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.records)


def chip_file(folder: Path, name: object) -> Path:
    """The path of a chip's file; only names that an export can have given.

    Raises:
        PathRefused: it leads out of the folder through a link.
        ValueError: no such name.
    """
    if not isinstance(name, str) or not _FILE.fullmatch(name):
        raise ValueError(f"{str(name)[:80]!r} cannot be a chip's file")
    return inside(folder, name)


def document_file(folder: Path, name: object) -> Path:
    """The path of a file that describes chips; only names that an export can have given; raises as `chip_file`."""
    if not isinstance(name, str) or not _DOCUMENT.fullmatch(name):
        raise ValueError(f"{str(name)[:80]!r} cannot be a description of chips")
    return inside(folder, name)
