"""Train a U-Net on rasters with truth masks, and measure it on others, or on other rows, that it never saw.

    python benchmarks/segmentation.py --train ortho.tif mask.tif --train-rows 3584:6144 \\
        --test ortho.tif mask.tif --test-rows 6400:7680 --test other.tif other_mask.tif --minutes 15 --json segmentation.json

A mask has 0 for the background, 1..n for classes and 255 where nobody looked; with --palette FILE, a JSON object of colours by
class name ({"road": "6EC1E4", ...}), masks are pictures in these colours, each class is one, and what has another colour is
where nobody looked. The validation chips, which choose the checkpoint, are blocks inside the training rows; what is tested
chooses nothing. A row a test raster: `iou` (by class), `mean_iou`, `accuracy`, `object_f1` (outlines against the mask's own,
at IoU 0.5, of each class) and `megapixels_per_s` of prediction; `seconds_train` once.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.features import shapes
from rasterio.windows import Window
from shapely.geometry import shape

from workbench.files import write_json
from workbench.imagery.opening import open_imagery
from workbench.imagery.rasters import Raster
from workbench.imagery.render import fit_stretch
from workbench.labels.splits import split_blocks
from workbench.segmentation.objects import match_objects
from workbench.segmentation.predict import predict
from workbench.segmentation.scores import IGNORE, confusion, scores
from workbench.segmentation.train import train_unet
from workbench.segmentation.unet import AERIAL

CHIP = 512
LEAST_PIXELS = 25  # of an object that is found, as `polygonize` has it
COLOURS = ("#e6550d", "#3182bd", "#31a354", "#756bb1", "#636363", "#d6b616")
Palette = dict[str, str] | None


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


class AddPair(argparse.Action):
    """Collect pairs of paths; rows belong to the pair named before them."""

    def __call__(
        self, parser: argparse.ArgumentParser, names: argparse.Namespace, values: Any, option: Any = None
    ) -> None:
        pairs = getattr(names, self.dest) or []
        if str(option).endswith("-rows"):
            if not pairs:
                parser.error(f"{option} comes after the pair it belongs to.")
            first, last = values.split(":")
            pairs[-1].rows = (int(first), int(last))
        else:
            pairs = [*pairs, Pair(*map(Path, values))]
        setattr(names, self.dest, pairs)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("train", "test"):
        parser.add_argument(f"--{name}", required=True, nargs=2, action=AddPair, metavar=("RASTER", "MASK"))
        parser.add_argument(f"--{name}-rows", dest=name, action=AddPair, metavar="A:B", help="of the pair named before")
    parser.add_argument("--palette", type=Path, help="JSON of colours by class name: masks are pictures in these")
    parser.add_argument("--encoder", default=AERIAL)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--chips", type=int, help="train on so many chips only, drawn by the seed")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder that keeps chips, run and predictions")
    parser.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    given = parsed(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        figures = measure(given, given.out or Path(scratch))
    print(json.dumps(figures, indent=1))
    if given.json:
        write_json(given.json, figures)


def measure(given: argparse.Namespace, out: Path) -> dict[str, object]:
    palette = json.loads(given.palette.read_text()) if given.palette else None
    write_chips(given.train, palette, out / "chips", given.seed, given.chips)
    started = time.monotonic()
    run = train_unet(
        out / "chips",
        out / "run",
        encoder=given.encoder,
        weights=given.weights,
        epochs=given.epochs,
        minutes=given.minutes,
        seed=given.seed,
        overwrite=True,
    )
    trained = time.monotonic() - started
    names = [item.name for item in run.classes]
    return {
        "encoder": given.encoder,
        "weights": given.weights.name if given.weights else None,
        "seconds_train": round(trained, 1),
        "epochs": len(run.history),
        "best_epoch": run.best_epoch,
        "validation_iou": round(run.best.mean_iou, 4),
        "rows": [
            tested(pair, palette, run.model, names, out / f"probability-{n}.tif") for n, pair in enumerate(given.test)
        ],
    }


def tested(pair: Pair, palette: Palette, model: Path, names: Sequence[str], path: Path) -> dict[str, object]:
    """Figures of one raster."""
    raster, truth = pair.open(palette)
    first, last = pair.rows or (0, raster.height)
    area = Window(0, first, raster.width, last - first)
    started = time.monotonic()
    predict(raster, model, path, region=area, overwrite=True)
    took = time.monotonic() - started
    probability = open_imagery(path)[0].read(area)
    background = 254 - probability.sum(axis=0, dtype=np.int32)[None]
    if palette is not None:
        background[:] = -1  # there is none
    found = np.concatenate([background, probability.data]).argmax(axis=0)
    found = np.where(np.ma.getmaskarray(probability)[0], IGNORE, found).astype(np.uint8)
    truth = truth[first:last]
    result = scores(confusion(found, truth, len(names)))
    found[truth == IGNORE] = IGNORE
    return {
        "raster": raster.name,
        "iou": {name: round(float(value), 4) for name, value in zip(names, result.iou[1:], strict=True)},
        "mean_iou": round(result.mean_iou, 4),
        "accuracy": round(result.accuracy, 4),
        "object_f1": {name: object_f1(found == n, truth == n) for n, name in enumerate(names, start=1)},
        "megapixels_per_s": round(area.width * area.height / 1e6 / took, 2),
    }


def object_f1(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float | None:
    """2 TP / (found + true) of the connected parts of two masks, matched at IoU 0.5; None where there are none."""
    one, other = (
        np.array([shape(outline) for outline, _ in shapes(mask.astype(np.uint8), mask)], object)
        for mask in (found, truth)
    )
    one = one[shapely.area(one) >= LEAST_PIXELS]
    both = len(match_objects(one, other)[0]) if len(one) and len(other) else 0
    return round(2 * both / (len(one) + len(other)), 4) if len(one) or len(other) else None


def write_chips(pairs: Sequence[Pair], palette: Palette, out: Path, seed: int, most: int | None) -> None:
    """Cut what is labelled into a chips folder, a fifth of it held back in blocks with a gap."""
    for folder in ("images", "masks"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    records, stretches, highest = [], {}, 0
    for number, pair in enumerate(pairs):
        raster, truth = pair.open(palette)
        stretch = fit_stretch(raster)
        stretches[raster.fingerprint] = {"low": stretch.low, "high": stretch.high}
        highest = max(highest, int(truth[truth != IGNORE].max(initial=0)))
        records += list(chips_of(raster, truth, out, f"{number}-", seed + number))
    if most is not None:
        training = [record for record in records if record["split"] == "train"]
        chosen = np.random.default_rng(seed).permutation(len(training))[:most]
        kept = [training[place] for place in chosen]
        records = [record for record in records if record["split"] != "train" or record in kept]
    names = list(palette) if palette else [f"class {n}" for n in range(1, highest + 1)]
    manifest = {
        "format": "workbench-chips",
        "version": 1,
        "classes": [{"id": n, "name": name, "colour": COLOURS[n % 6]} for n, name in enumerate(names, start=1)],
        "ignore": IGNORE,
        "block_m": float(CHIP),
        "buffer_m": float(CHIP // 4),
        "seed": seed,
        "stretch": stretches,
        "chips": records,
    }
    write_json(out / "manifest.json", manifest)


def chips_of(raster: Raster, truth: NDArray[np.uint8], out: Path, prefix: str, seed: int) -> Iterator[dict[str, Any]]:
    """Write the chips of one raster and yield their records; sizes of the split are in pixels."""
    looked = np.argwhere(truth != IGNORE)
    (top, left), (bottom, right) = looked.min(axis=0).tolist(), (looked.max(axis=0) + 1).tolist()
    windows = [
        Window(col, row, min(CHIP, right - col), min(CHIP, bottom - row))
        for row in range(top, bottom, CHIP)
        for col in range(left, right, CHIP)
    ]
    boxes = [(w.col_off, w.row_off, w.col_off + w.width, w.row_off + w.height) for w in windows]
    split = split_blocks(boxes, block_m=CHIP, buffer_m=0, seed=seed)
    guarded = np.zeros(truth.shape, bool)
    for window, side in zip(windows, split, strict=True):
        if side == "validation":
            guarded[cut(window, CHIP // 4)] = True
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


if __name__ == "__main__":
    main()
