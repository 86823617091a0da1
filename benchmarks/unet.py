"""Train a U-Net on some rows of a raster with a truth mask, and measure it on other rows it never saw.

    python benchmarks/unet.py --imagery ortho.tif --truth mask.tif --train-rows 3584:6144 --test-rows 6400:7680 \
        --weights mobilenet_v2.pth --minutes 15 --json unet.json

The validation chips, which choose the checkpoint, are blocks inside the training rows; the test rows choose nothing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

from workbench.files import write_json
from workbench.imagery.opening import open_imagery
from workbench.imagery.rasters import Raster
from workbench.imagery.render import fit_stretch
from workbench.labels.splits import split_blocks
from workbench.segmentation.predict import predict
from workbench.segmentation.scores import IGNORE, confusion, scores
from workbench.segmentation.train import train_unet

CHIP = 512
COLOURS = ("#e6550d", "#3182bd", "#31a354", "#756bb1", "#636363", "#d6b616")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--imagery", required=True, type=Path)
    parser.add_argument("--truth", required=True, type=Path, help="uint8 raster: 0, 1…n, 255 where nobody looked")
    parser.add_argument("--train-rows", required=True, type=rows, metavar="A:B")
    parser.add_argument("--test-rows", required=True, type=rows, metavar="C:D")
    parser.add_argument("--encoder", default="mobilenet_v2")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder that keeps chips, run and prediction")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        figures = measure(given, given.out or Path(scratch))
    print(json.dumps(figures, indent=1))
    if given.json:
        write_json(given.json, figures)


def measure(given: argparse.Namespace, out: Path) -> dict[str, object]:
    raster, truth = open_imagery(given.imagery)[0], open_imagery(given.truth)[0]
    chips = write_chips(raster, truth, given.train_rows, out / "chips", given.seed)
    started = time.monotonic()
    run = train_unet(
        chips,
        out / "run",
        encoder=given.encoder,
        weights=given.weights,
        epochs=given.epochs,
        minutes=given.minutes,
        seed=given.seed,
        overwrite=True,
    )
    trained = time.monotonic()
    first, last = given.test_rows
    test = Window(0, first, raster.width, last - first)
    path = predict(raster, run.model, out / "probability.tif", region=test, overwrite=True)
    done = time.monotonic()
    probability = open_imagery(path)[0].read(test)
    found = np.concatenate([254 - probability.sum(axis=0, dtype=np.int32)[None], probability.data]).argmax(axis=0)
    true = np.ma.getdata(truth.read(test))[0].astype(np.uint8)
    found = np.where(np.ma.getmaskarray(probability)[0], IGNORE, found).astype(np.uint8)
    result = scores(confusion(found, true, len(run.classes)))
    return {
        "imagery": given.imagery.name,
        "encoder": given.encoder,
        "weights": given.weights.name if given.weights else None,
        "train_rows": given.train_rows,
        "test_rows": given.test_rows,
        "iou": {item.name: float(result.iou[item.id]) for item in run.classes},
        "precision": {item.name: float(result.precision[item.id]) for item in run.classes},
        "recall": {item.name: float(result.recall[item.id]) for item in run.classes},
        "accuracy": result.accuracy,
        "epochs": len(run.history),
        "best_epoch": run.best_epoch,
        "validation_iou": run.best.mean_iou,
        "seconds": {"training": trained - started, "prediction": done - trained},
        "test_megapixels": test.width * test.height / 1e6,
    }


def write_chips(raster: Raster, truth: Raster, span: tuple[int, int], out: Path, seed: int) -> Path:
    """Cut the labelled part of some rows into a chips folder, a fifth of it held back in blocks with a gap."""
    pixels = np.ma.getdata(truth.read())[0]
    pixels[: span[0]], pixels[span[1] :] = IGNORE, IGNORE
    looked = np.argwhere(pixels != IGNORE)
    (top, left), (bottom, right) = looked.min(axis=0).tolist(), (looked.max(axis=0) + 1).tolist()
    windows = [
        Window(col, row, min(CHIP, right - col), min(CHIP, bottom - row))
        for row in range(top, bottom, CHIP)
        for col in range(left, right, CHIP)
    ]
    x, y = raster.pixel_size_m
    boxes = [(w.col_off * x, w.row_off * y, (w.col_off + w.width) * x, (w.row_off + w.height) * y) for w in windows]
    split = split_blocks(boxes, block_m=CHIP * x, buffer_m=0, seed=seed)
    gap = CHIP // 4
    guarded = np.zeros(pixels.shape, bool)
    for window, side in zip(windows, split, strict=True):
        if side == "validation":
            guarded[cut(window, gap)] = True
    for folder in ("images", "masks"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    records = []
    for window, side in zip(windows, split, strict=True):
        mask = pixels[cut(window)].astype(np.uint8)
        if side == "train":
            mask[guarded[cut(window)]] = IGNORE
        if (mask == IGNORE).all():
            continue
        name = f"{window.row_off}-{window.col_off}.tif"
        image = raster.read(window)
        mask[np.ma.getmaskarray(image)[0]] = IGNORE
        write_tif(out / "images" / name, image.filled(0), raster, window)
        write_tif(out / "masks" / name, mask[None], raster, window)
        values, counts = np.unique(mask, return_counts=True)
        records.append(
            {
                "image": f"images/{name}",
                "mask": f"masks/{name}",
                "raster": raster.fingerprint,
                "raster_name": raster.name,
                "window": [window.col_off, window.row_off, window.width, window.height],
                "split": str(side),
                "complete": True,
                "pixels": {str(value): int(count) for value, count in zip(values, counts, strict=True)},
            }
        )
    known = int(pixels[pixels != IGNORE].max())
    stretch = fit_stretch(raster)
    write_json(
        out / "manifest.json",
        {
            "format": "workbench-chips",
            "version": 1,
            "classes": [{"id": n, "name": f"class {n}", "colour": COLOURS[n % 6]} for n in range(1, known + 1)],
            "ignore": IGNORE,
            "block_m": CHIP * x,
            "buffer_m": gap * x,
            "seed": seed,
            "stretch": {raster.fingerprint: {"low": stretch.low, "high": stretch.high}},
            "chips": records,
        },
    )
    return out


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
    return raster.transform * rasterio.Affine.translation(window.col_off, window.row_off)


def rows(text: str) -> tuple[int, int]:
    first, last = text.split(":")
    return int(first), int(last)


if __name__ == "__main__":
    main()
