"""Train a U-Net on rasters with truth masks, and measure it on others, or on other rows, that it never saw.

    python benchmarks/segmentation.py --train ortho.tif mask.tif --train-rows 3584:6144 \\
        --test ortho.tif mask.tif --test-rows 6400:7680 --test other.tif other_mask.tif --minutes 15 --json segmentation.json

A mask has 0 for the background, 1..n for classes and 255 where nobody looked; with --palette FILE, a JSON object of colours by
class name ({"road": "6EC1E4", ...}), masks are pictures in these colours, each class is one, and what has another colour is
where nobody looked. A pair may be two folders, of images and of masks of the same names. The validation chips, which choose the
checkpoint, are blocks inside the training rows, or of ten rasters and more whole ones; what is tested chooses nothing. A row a
test raster: `iou` (by class), `mean_iou`, `accuracy`, `object_f1` (outlines against the mask's own, at IoU 0.5, of each class)
and `megapixels_per_s` of prediction; `together` is measured over the pixels of all of them; `seconds_train` once.

Little data: --chips 20 trains on so many chips; --encoder tu-efficientnet_lite0 is the network of `aerial` with random weights.
Masks that are not quite right: --shift-m 1 --drop 0.2 trains, each for --minutes, on the masks as they are (`exact`), on masks
of which each connected part lies 1 m off in a direction of its own or, one in five, is missing (`plain`), on the same with
`tolerance_px` (`tolerant`), and, with --exact-chips N, goes on from there with N chips as they are (`two_steps`); all are
measured against masks as they are, and `lost` is the IoU that each has less than `exact`.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from mask_chips import Pair, Palette, Wear, pairs_of, write_chips
from numpy.typing import NDArray
from rasterio.features import shapes
from rasterio.windows import Window
from shapely.geometry import shape

from workbench.files import write_json
from workbench.imagery.opening import open_imagery
from workbench.segmentation.objects import match_objects
from workbench.segmentation.predict import predict
from workbench.segmentation.runs import Run
from workbench.segmentation.scores import IGNORE, confusion, scores
from workbench.segmentation.train import train_unet
from workbench.segmentation.unet import AERIAL

LEAST_PIXELS = 25  # of an object that is found, as `polygonize` has it


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
            pairs = [*pairs, *pairs_of(*map(Path, values))]
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
    parser.add_argument("--shift-m", type=float, default=0.0, help="masks lie so far off")
    parser.add_argument("--drop", type=float, default=0.0, help="share of the objects that masks leave out")
    parser.add_argument("--exact-chips", type=int, help="go on from worn masks with so many chips as they are")
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
    if not given.shift_m and not given.drop:
        return measured(trained(given, out / "chips", out / "run"), given, palette, out)
    wear = Wear(given.shift_m, given.drop, given.seed)
    write_chips(given.train, palette, out / "worn", given.seed, given.chips, wear)
    raster = open_imagery(given.train[0].raster)[0]
    tolerance = {"tolerance_px": max(2, math.ceil(wear.shift_px(raster)))}
    runs: dict[str, Run] = {
        "exact": trained(given, out / "chips", out / "exact"),
        "plain": trained(given, out / "worn", out / "plain"),
        "tolerant": trained(given, out / "worn", out / "tolerant", **tolerance),
    }
    if given.exact_chips:
        write_chips(given.train, palette, out / "few", given.seed, given.exact_chips)
        runs["two_steps"] = trained(given, out / "few", out / "two_steps", start=runs["tolerant"].model)
    figures = {name: measured(run, given, palette, out) for name, run in runs.items()}
    exact = _ious(figures["exact"])
    lost = {name: [round(e - f, 4) for e, f in zip(exact, _ious(of), strict=True)] for name, of in figures.items()}
    return {"shift_m": given.shift_m, "drop": given.drop, "lost": lost, **figures}


def _ious(figures: dict[str, Any]) -> list[float]:
    return [row["mean_iou"] for row in figures["rows"]]


def trained(given: argparse.Namespace, chips: Path, out: Path, **settings: Any) -> Run:
    return train_unet(
        chips,
        out,
        encoder=given.encoder,
        weights=given.weights,
        epochs=given.epochs,
        minutes=given.minutes,
        seed=given.seed,
        overwrite=True,
        **settings,
    )


def measured(run: Run, given: argparse.Namespace, palette: Palette, out: Path) -> dict[str, object]:
    """Figures of a training."""
    names = [item.name for item in run.classes]
    matrices, rows = zip(
        *(tested(pair, palette, run.model, names, out / f"probability-{n}.tif") for n, pair in enumerate(given.test)),
        strict=True,
    )
    return {
        "encoder": given.encoder,
        "weights": given.weights.name if given.weights else None,
        "seconds_train": round(sum(row.seconds for row in run.history), 1),
        "epochs": len(run.history),
        "best_epoch": run.best_epoch,
        "validation_iou": round(run.best.mean_iou, 4),
        "together": figures_of(sum(matrices), names),
        "rows": rows,
    }


def figures_of(matrix: NDArray[np.int64], names: Sequence[str]) -> dict[str, object]:
    result = scores(matrix)
    return {
        "iou": {name: round(float(value), 4) for name, value in zip(names, result.iou[1:], strict=True)},
        "mean_iou": round(result.mean_iou, 4),
        "accuracy": round(result.accuracy, 4),
    }


def tested(
    pair: Pair, palette: Palette, model: Path, names: Sequence[str], path: Path
) -> tuple[NDArray[np.int64], dict[str, object]]:
    """Confusion and figures of one raster."""
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
    matrix = confusion(found, truth, len(names))
    found[truth == IGNORE] = IGNORE
    return matrix, {
        "raster": raster.name,
        **figures_of(matrix, names),
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


if __name__ == "__main__":
    main()
