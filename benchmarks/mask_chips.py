"""Chips of rasters with truth masks, cut for benchmarks: with a validation part, and with masks that are worn on purpose."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy import ndimage

from workbench.files import write_json
from workbench.imagery.opening import open_imagery
from workbench.imagery.rasters import Raster
from workbench.imagery.render import fit_stretch
from workbench.labels.splits import split_blocks
from workbench.segmentation.scores import IGNORE

CHIP, GAP, VALIDATION = 512, 32, 0.1
COLOURS = ("#e6550d", "#3182bd", "#31a354", "#756bb1", "#636363", "#d6b616")
Palette = dict[str, str] | None


def pairs_of(rasters: Path, masks: Path) -> list[Pair]:
    """One pair of files, or those of two folders whose names are alike but for their endings."""
    if not rasters.is_dir():
        return [Pair(rasters, masks)]
    by_name = {path.stem: path for path in masks.iterdir()}
    return [Pair(path, by_name[path.stem]) for path in sorted(rasters.iterdir()) if path.stem in by_name]


@dataclass
class Pair:
    """A raster, its mask, and the rows that count; all when None."""

    raster: Path
    mask: Path
    rows: tuple[int, int] | None = None

    def open(self, palette: Palette) -> tuple[Raster, NDArray[np.uint8]]:
        """The raster and its truth (rows, cols), 255 outside of the rows and where nobody looked."""
        raster, mask = open_imagery(self.raster)[0], open_imagery(self.mask)[0]
        pixels = mask.read()
        if palette is None:
            truth = np.ma.filled(pixels, IGNORE)[0].astype(np.uint8)
        else:
            truth = np.full(pixels.shape[1:], IGNORE, np.uint8)
            for number, colour in enumerate(palette.values(), start=1):
                truth[
                    (np.ma.getdata(pixels)[:3] == np.frombuffer(bytes.fromhex(colour), np.uint8)[:, None, None]).all(0)
                ] = number
        if truth.shape != (raster.height, raster.width):
            raise SystemExit(
                f"{self.mask.name} has {truth.shape} pixels and {self.raster.name} {(raster.height, raster.width)}."
            )
        first, last = self.rows or (0, raster.height)
        truth[:first], truth[last:] = IGNORE, IGNORE
        return raster, truth


@dataclass(frozen=True)
class Wear:
    """What is wrong with masks: each connected part of a class lies ``shift_m`` off in a direction of its own, or is gone.

    Attributes:
        shift_m: in metres, or in pixels where a raster has no place on earth.
        drop: share of the parts that is left out.
        seed: of directions and choices.
    """

    shift_m: float
    drop: float
    seed: int

    def shift_px(self, raster: Raster) -> float:
        """The shift in pixels of a raster."""
        return self.shift_m / (raster.pixel_size_m[0] if raster.crs else 1)

    def worn(self, raster: Raster, truth: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A worn copy of a mask; where nobody looked stays, and so does what lay under a part: background."""
        chance = np.random.default_rng(self.seed)
        found = np.where(truth == IGNORE, IGNORE, 0).astype(np.uint8)
        for number in np.unique(truth[(truth != 0) & (truth != IGNORE)]):
            parts, count = ndimage.label(truth == number)
            for part, place in enumerate(ndimage.find_objects(parts, count), start=1):
                angle, gone = chance.uniform(0, math.tau), chance.random() < self.drop
                if gone:
                    continue
                rows, cols = np.nonzero(parts[place] == part)
                rows += place[0].start + round(self.shift_px(raster) * math.sin(angle))
                cols += place[1].start + round(self.shift_px(raster) * math.cos(angle))
                inside = (rows >= 0) & (cols >= 0) & (rows < truth.shape[0]) & (cols < truth.shape[1])
                found[rows[inside], cols[inside]] = number
        found[truth == IGNORE] = IGNORE
        return found


def write_chips(
    pairs: Sequence[Pair], palette: Palette, out: Path, seed: int, most: int | None = None, wear: Wear | None = None
) -> None:
    """Cut what is labelled into a chips folder and hold a tenth of it back for validation.

    Whole rasters are held back where there are ten or more, else blocks of a chip each with a gap around them.

    Args:
        pairs: rasters and masks.
        palette: see `Pair.open`.
        out: the folder.
        seed: of the choice of what is held back.
        most: keep so many training chips only, chosen by the seed.
        wear: what happens to the masks.
    """
    for folder in ("images", "masks"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    records, stretches, highest = [], {}, 0
    chance = np.random.default_rng(seed)
    held = set(chance.permutation(len(pairs))[: len(pairs) // 10].tolist())
    for number, pair in enumerate(pairs):
        raster, truth = pair.open(palette)
        stretch = fit_stretch(raster)
        stretches[raster.fingerprint] = {"low": stretch.low, "high": stretch.high}
        highest = max(highest, int(truth[truth != IGNORE].max(initial=0)))
        whole = ("validation" if number in held else "train") if held else None
        truth = truth if wear is None else wear.worn(raster, truth)
        records += list(chips_of(raster, truth, out, f"{number}-", seed + number, whole))
    if most is not None:
        training = [record for record in records if record["split"] == "train"]
        kept = [training[place]["image"] for place in chance.permutation(len(training))[:most]]
        records = [record for record in records if record["split"] != "train" or record["image"] in kept]
    names = list(palette) if palette else [f"class {n}" for n in range(1, highest + 1)]
    manifest = {
        "format": "workbench-chips",
        "version": 1,
        "classes": [{"id": n, "name": name, "colour": COLOURS[n % 6]} for n, name in enumerate(names, start=1)],
        "ignore": IGNORE,
        "block_m": float(CHIP),
        "buffer_m": float(GAP),
        "seed": seed,
        "stretch": stretches,
        "chips": records,
    }
    write_json(out / "manifest.json", manifest)


def chips_of(
    raster: Raster, truth: NDArray[np.uint8], out: Path, prefix: str, seed: int, whole: str | None
) -> Iterator[dict[str, Any]]:
    """Write the chips of one raster and yield their records, all of the side ``whole``; sizes of a split are in pixels."""
    looked = np.argwhere(truth != IGNORE)
    (top, left), (bottom, right) = looked.min(axis=0).tolist(), (looked.max(axis=0) + 1).tolist()
    windows = [
        Window(col, row, min(CHIP, right - col), min(CHIP, bottom - row))
        for row in range(top, bottom, CHIP)
        for col in range(left, right, CHIP)
    ]
    boxes = [(w.col_off, w.row_off, w.col_off + w.width, w.row_off + w.height) for w in windows]
    blocks = split_blocks(boxes, block_m=CHIP, buffer_m=0, validation=VALIDATION, seed=seed)
    split = blocks if whole is None else [whole] * len(windows)
    guarded = np.zeros(truth.shape, bool)
    for window, side in zip(windows, split, strict=True):
        if side == "validation":
            guarded[cut(window, GAP)] = True
    for window, side in zip(windows, split, strict=True):
        mask = truth[cut(window)].copy()
        if side == "train":
            mask[guarded[cut(window)]] = IGNORE
        image = raster.read(window)
        mask[np.ma.getmaskarray(image)[0]] = IGNORE
        if (mask == IGNORE).all():
            continue
        name = f"{prefix}{window.row_off}-{window.col_off}.tif"
        write_tif(out / "images" / name, image.filled(0), raster, window)
        write_tif(out / "masks" / name, mask[None], raster, window)
        values, counts = np.unique(mask, return_counts=True)
        yield {
            "image": f"images/{name}",
            "mask": f"masks/{name}",
            "raster": raster.fingerprint,
            "raster_name": raster.name,
            "window": [window.col_off, window.row_off, window.width, window.height],
            "split": str(side),
            "complete": True,
            "pixels": {str(value): int(count) for value, count in zip(values, counts, strict=True)},
        }


def cut(window: Window, around: int = 0) -> tuple[slice, slice]:
    top, left = max(0, window.row_off - around), max(0, window.col_off - around)
    return slice(top, window.row_off + window.height + around), slice(left, window.col_off + window.width + around)


def write_tif(path: Path, pixels: np.ndarray, raster: Raster, window: Window) -> None:
    bands, height, width = pixels.shape
    place = {} if raster.crs is None else {"crs": raster.crs, "transform": window_transform(raster, window)}
    with rasterio.open(
        path, "w", "GTiff", width, height, bands, dtype=pixels.dtype, compress="deflate", **place
    ) as dataset:
        dataset.write(pixels)


def window_transform(raster: Raster, window: Window) -> rasterio.Affine:
    return raster.transform @ rasterio.Affine.translation(window.col_off, window.row_off)
