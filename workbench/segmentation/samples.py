"""Chips in memory, and the random, balanced, augmented crops a network trains on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workbench.errors import TrainingRefused
from workbench.imagery.opening import open_imagery
from workbench.imagery.rasters import Raster
from workbench.labels.chips import Chip, Chips, Split
from workbench.labels.fold import LabelClass
from workbench.segmentation.augment import recoloured, turned
from workbench.segmentation.scores import IGNORE
from workbench.segmentation.unet import Normalisation, highest_id

_POSITIONS = 4096
_MIN_PIXELS = 64
_ZOOM = 1.4
_ASKEW = 0.5
_FROM_A_CLASS = 0.5


@dataclass(frozen=True)
class Sample:
    """One chip ready for the network.

    Attributes:
        name: of its image file.
        image: normalised pixels, float16 (bands, rows, cols), 0 where there is no data.
        mask: uint8 (rows, cols): 0, 1…n, or `IGNORE` where nobody looked or there is no data.
    """

    name: str
    image: NDArray[np.float16]
    mask: NDArray[np.uint8]

    def counts(self, classes: int) -> NDArray[np.int64]:
        """Labelled pixels per class, shape (classes + 1,)."""
        return np.bincount(self.mask[self.mask != IGNORE], minlength=classes + 1)


@dataclass(frozen=True)
class Batch:
    """Crops stacked for one step: images float32 (batch, bands, crop, crop), masks int64 (batch, crop, crop)."""

    images: Tensor
    masks: Tensor
    names: tuple[str, ...]


class Crops:
    """An endless, seeded source of training crops.

    Half of the crops are drawn evenly over the labelled area; the others start from a class, each as likely as the
    next, and hold a pixel of it, so that rare classes are seen in every batch. Each crop is turned and mirrored
    into one of the eight orientations, half of them by any angle, zoomed by up to 1.4 either way, and recoloured.
    """

    def __init__(self, samples: Sequence[Sample], classes: int, crop: int, seed: int) -> None:
        self._samples, self.crop, self._seed = samples, crop, seed
        self._random = np.random.default_rng(seed)
        counts = np.stack([sample.counts(classes) for sample in samples])  # (samples, classes + 1)
        self.labelled = int(counts.sum())
        self._by_area = counts.sum(axis=1) / self.labelled
        self._classes = 1 + np.flatnonzero(counts[:, 1:].sum(axis=0))
        self._by_class = {int(c): counts[:, c] / counts[:, c].sum() for c in self._classes}
        self._places: dict[tuple[int, int], NDArray[np.int64]] = {}

    @property
    def state(self) -> dict[str, Any]:
        """Where the source is: set it, and the same crops follow."""
        return dict(self._random.bit_generator.state)

    @state.setter
    def state(self, value: Mapping[str, Any]) -> None:
        self._random.bit_generator.state = dict(value)

    def batch(self, size: int) -> Batch:
        """Draw ``size`` crops."""
        drawn = [self._draw() for _ in range(size)]
        images = torch.stack([image for image, _, _ in drawn]).contiguous(memory_format=torch.channels_last)
        return Batch(images, torch.stack([mask for _, mask, _ in drawn]), tuple(name for _, _, name in drawn))

    def _draw(self) -> tuple[Tensor, Tensor, str]:
        sample, point = self._pick()
        zoom = _ZOOM ** self._random.uniform(-1, 1)
        angle = self._random.uniform(-math.pi / 4, math.pi / 4) if self._random.random() < _ASKEW else 0.0
        side = math.ceil(self.crop * zoom * (math.cos(angle) + abs(math.sin(angle))))
        if side > min(sample.mask.shape):  # too small a chip to turn: corners without data would be the most of it
            angle, side = 0.0, math.ceil(self.crop * zoom)
        row, col = self._corner(sample, point, side)
        image = torch.from_numpy(_cut(sample.image, row, col, side, 0).astype(np.float32))
        mask = torch.from_numpy(_cut(sample.mask[None], row, col, side, IGNORE)[0])
        image, mask = turned(image, mask, self.crop, zoom, angle, IGNORE)
        image = recoloured(image, self._random)
        turns, mirror = int(self._random.integers(4)), bool(self._random.integers(2))
        return _turn(image, turns, mirror), _turn(mask.long(), turns, mirror), sample.name

    def _pick(self) -> tuple[Sample, tuple[int, int] | None]:
        """Choose a chip, and a pixel of it that the crop is to hold, or None for any."""
        if self._random.random() >= _FROM_A_CLASS:
            return self._samples[int(self._random.choice(len(self._samples), p=self._by_area))], None
        wanted = int(self._random.choice(self._classes))
        number = int(self._random.choice(len(self._samples), p=self._by_class[wanted]))
        position = int(self._random.choice(self._positions(number, wanted)))
        row, col = divmod(position, self._samples[number].mask.shape[1])
        return self._samples[number], (row, col)

    def _corner(self, sample: Sample, point: tuple[int, int] | None, side: int) -> tuple[int, int]:
        """The upper left corner of a square that holds a pixel and, where the chip is large enough, lies in the chip."""
        last = [max(0, length - side) for length in sample.mask.shape]
        if point is None:
            row, col = (int(self._random.integers(length + 1)) for length in last)
        else:
            row, col = (
                min(max(0, place - int(self._random.integers(side))), most)
                for place, most in zip(point, last, strict=True)
            )
        return row, col

    def _positions(self, number: int, wanted: int) -> NDArray[np.int64]:
        """Flat positions of up to a few thousand pixels of a class in a chip, found once."""
        if (number, wanted) not in self._places:
            found = np.flatnonzero(self._samples[number].mask == wanted)
            if found.size > _POSITIONS:  # with a generator of its own: one that goes on draws the same
                chance = np.random.default_rng([self._seed, number, wanted])
                found = chance.choice(found, _POSITIONS, replace=False)
            self._places[number, wanted] = found
        return self._places[number, wanted]


def load_samples(chips: Chips, split: Split, normalisation: Normalisation) -> list[Sample]:
    """Read the chips of a split into memory: two bytes a pixel and band.

    Raises:
        RasterUnreadable: an image or mask is missing or damaged.
    """
    return [_load(chips, chip, normalisation) for chip in chips.of(split)]


def fit_normalisation(chips: Chips) -> Normalisation:
    """Mean and standard deviation of each band over the valid pixels of the training chips, after the stretch.

    Of all chips where none is for training; the trainer refuses those in words that count them.
    """
    count, total, squares = 0, np.zeros(0), np.zeros(0)
    for chip in chips.of("train") or chips.records:
        pixels = _raster(chips, chip.image).read()
        valid = ~np.ma.getmaskarray(pixels)[0]
        unit = chips.stretch[chip.raster].to_unit(pixels)[:, valid].astype(np.float64)  # (bands, valid pixels)
        count += unit.shape[1]
        total = unit.sum(axis=1) + (total if total.size else 0)
        squares = (unit**2).sum(axis=1) + (squares if squares.size else 0)
    mean = total / max(1, count)
    std = np.sqrt(np.maximum(squares / max(1, count) - mean**2, 0))
    return Normalisation(tuple(mean.tolist()), tuple(np.maximum(std, 1e-2).tolist()))


def require_enough(training: Sequence[Sample], validation: Sequence[Sample], classes: Sequence[LabelClass]) -> None:
    """Check that there is something to learn and something to measure it by.

    Raises:
        TrainingRefused: with the labelled pixels per class on both sides.
    """
    names = {0: "background"} | {item.id: item.name for item in classes}
    highest = highest_id(classes)
    counts = [
        sum((sample.counts(highest) for sample in samples), np.zeros(highest + 1, np.int64))
        for samples in (training, validation)
    ]
    if (counts[0] >= _MIN_PIXELS).sum() >= 2 and counts[1][1:].sum() > 0:
        return
    found = "; ".join(
        f"{len(samples)} {split} chips: " + ", ".join(f"{name} {count[number]:,}" for number, name in names.items())
        for split, samples, count in zip(("training", "validation"), (training, validation), counts, strict=True)
    )
    raise TrainingRefused(
        f"There is too little to train from. Labelled pixels in {found}. Expected {_MIN_PIXELS} pixels of two classes or "
        "more in training (background counts: declare chips complete), and some of a class in validation. Label more "
        "places, apart from each other, and export again."
    )


def _load(chips: Chips, chip: Chip, normalisation: Normalisation) -> Sample:
    pixels = _raster(chips, chip.image).read()
    mask = chips.read_mask(chip)
    mask[np.ma.getmaskarray(pixels)[0]] = IGNORE
    image = normalisation.apply(pixels, chips.stretch[chip.raster])
    return Sample(str(chip.image), image.astype(np.float16), mask)


def _raster(chips: Chips, name: str) -> Raster:
    return open_imagery(chips.folder / name)[0]


def _cut(array: NDArray[Any], row: int, col: int, side: int, fill: int) -> NDArray[Any]:
    """A square of (bands, rows, cols), filled up at the lower right where the array is smaller."""
    part = array[:, row : row + side, col : col + side]
    missing = [(0, 0), (0, side - part.shape[1]), (0, side - part.shape[2])]
    return np.pad(part, missing, constant_values=fill) if part.shape[1:] != (side, side) else part.copy()


def _turn(array: Tensor, turns: int, mirror: bool) -> Tensor:
    turned = torch.rot90(array, turns, (-2, -1))
    return turned.flip(-1) if mirror else turned
