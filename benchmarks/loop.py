"""A simulated analyst works some minutes, in the order that the workbench proposes and in random order; the map she gets of it.

    python benchmarks/loop.py --imagery ortho.tif --truth buildings.geojson --minutes 30 --json loop.json
    python benchmarks/loop.py --scene 4096 --class tank --tile 128 --minutes 12 --retrain 3,6,12 --json rare.json

A mark costs her 2 s, an outline 10 s, an accepted proposal 3 s, a proposal turned down 2 s and a chip (a tile) declared
complete 5 s; a proposal enters with its own geometry and is accepted only at an IoU of 0.7 with a true object. She works on
the upper 65 % of the rows that the truth covers (the box around its objects' middles, where --rows and --cols do not say
it); the lowest 30 % are kept aside, choose nothing and only judge. A network learns from scratch at the first of the
minutes of --retrain and goes on from its last weights at the others, each time for --seconds on the clock of the real
machine, the same in both orders, or for --epochs, which are the same whatever else the machine does; its outlines are the
next proposals. `all footprints` learns from all of the training ground at once, for as long as all retrainings of one order
together.

A row a retraining: order, minutes, `iou` and `object_f1` (at IoU 0.5) on the ground kept aside, and her actions. `share` is
the last `iou` of workbench order over that of all footprints, `needs` the minutes in which workbench order reaches the
last IoU of random order (between rows along a straight line), over all minutes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from outlining import SEEN, Analyst, Shapes
from polygons import in_pixels
from rasterio.features import rasterize
from rasterio.windows import Window
from shapely import affinity, box

from workbench.demo.run import parse_rows
from workbench.descriptors.build import build_archive
from workbench.errors import TrainingRefused
from workbench.files import write_json
from workbench.imagery.opening import open_imagery
from workbench.imagery.rasters import Imagery, Raster
from workbench.imagery.synthetic import paint_scene
from workbench.labels.vectors import read_polygons
from workbench.segmentation.objects import score_objects
from workbench.segmentation.polygons import polygonize
from workbench.segmentation.predict import predict
from workbench.segmentation.scores import IGNORE, confusion, scores
from workbench.segmentation.train import train_unet
from workbench.session import Session

TRAIN, TEST = 0.65, 0.3
ORDERS = ("workbench", "random")
_ENDLESS = 100_000


@dataclass(frozen=True)
class Ground:
    """A part of a raster as a file of its own, and the objects in it, in its pixels, cut at its edges."""

    imagery: Imagery
    objects: Shapes

    @property
    def raster(self) -> Raster:
        """The only one."""
        return self.imagery[0]


def main(arguments: Sequence[str] | None = None) -> None:
    given = parsed(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        figures = measure(given, given.out or Path(scratch))
    print(json.dumps(figures, indent=1))
    if given.json:
        write_json(given.json, figures)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--imagery", type=Path, metavar="RASTER")
    source.add_argument(
        "--scene", type=int, metavar="SIZE", help="paint the bundled scene in so many pixels, with its truth"
    )
    parser.add_argument("--truth", type=Path, metavar="VECTOR", help="footprints of all objects, any CRS")
    parser.add_argument("--class", dest="name", help="of the column `class` of the truth; all objects if not given")
    parser.add_argument("--minutes", type=float, required=True, help="that she works")
    parser.add_argument("--retrain", help="after which minutes, A,B,...; thirds of all if not given")
    parser.add_argument("--seconds", type=float, default=80, help="of each retraining [80]")
    parser.add_argument("--tile", type=int, default=256, help="side of a chip in pixels [256]")
    parser.add_argument("--rows", type=parse_rows, metavar="A:B", help="that the truth covers")
    parser.add_argument("--cols", type=parse_rows, metavar="A:B", help="that the truth covers")
    parser.add_argument("--nodata", type=float, help="of the imagery, where its file does not say it")
    parser.add_argument("--encoder", default="aerial", help="of the U-Net [aerial]")
    parser.add_argument(
        "--epochs", type=int, default=_ENDLESS, help="of each retraining, where they end before the seconds"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder that keeps labels, chips, runs and maps")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    if given.imagery and not given.truth:
        parser.error("--imagery needs --truth.")
    thirds = [given.minutes * part / 3 for part in (1, 2, 3)]
    given.retrain = [float(each) for each in given.retrain.split(",")] if given.retrain else thirds
    return given


def measure(given: argparse.Namespace, out: Path) -> dict[str, Any]:
    out.mkdir(parents=True, exist_ok=True)
    training, aside = grounds(given, out)
    archive = build_archive(training.imagery, out / "archive", tile=given.tile, stride=given.tile // 2)
    rows = []
    for order in ORDERS:
        session = Session(archive, out / order / "labels")
        analyst = Analyst(session, training.objects, class_name(given), order, given.seed)
        rows += [
            {"order": order, "minutes": round(minutes, 2)} | measured
            for minutes, measured in played(analyst, aside, given, out / order)
        ]
        session.close()
    whole = from_all(archive, training, aside, given, out / "all")
    last = {order: [row for row in rows if row["order"] == order][-1]["iou"] for order in ORDERS}
    return {
        "imagery": str(given.imagery.name if given.imagery else f"scene of {given.scene} px"),
        "class": class_name(given),
        "objects": {"training ground": len(training.objects), "kept aside": len(aside.objects)},
        "chip": given.tile,
        "seconds_retraining": given.seconds,
        "rows": rows,
        "all_footprints": whole,
        "share": round(last["workbench"] / max(whole["iou"], 1e-9), 3),
        "needs": needed(rows, given.minutes),
    }


def grounds(given: argparse.Namespace, out: Path) -> tuple[Ground, Ground]:
    """The training ground and the ground kept aside, with a gap between."""
    if given.scene:
        scene = paint_scene(out / "scene", size=given.scene)
        given.imagery, given.truth = scene.imagery, scene.objects
    raster = open_imagery(given.imagery, nodata=given.nodata)[0]
    frame = read_polygons(given.truth)[1]
    middles = shapely.get_coordinates(shapely.centroid(in_pixels(raster, frame)))
    low, high = np.floor(middles.min(axis=0)).astype(int), np.ceil(middles.max(axis=0)).astype(int)
    (left, top), (right, bottom) = np.maximum(low, 0).tolist(), np.minimum(high, (raster.width, raster.height)).tolist()
    (top, bottom), (left, right) = given.rows or (top, bottom), given.cols or (left, right)
    objects = in_pixels(raster, frame if given.name is None else frame[frame["class"] == given.name])
    height = bottom - top
    spans = {"training": (top, top + round(TRAIN * height)), "aside": (bottom - round(TEST * height), bottom)}
    made = [
        cut_ground(raster, objects, Window(left, first, right - left, last - first), out / f"{name}.tif")
        for name, (first, last) in spans.items()
    ]
    for ground in made:
        if not len(ground.objects):
            raise SystemExit(f"No object is on the ground of {ground.raster.name}. Give other --rows.")
    return made[0], made[1]


def cut_ground(raster: Raster, objects: Shapes, window: Window, path: Path) -> Ground:
    """Write a window as a raster of its own, where it is not there yet."""
    if not path.is_file():
        pixels = raster.read(window)
        profile = {"driver": "GTiff", "width": window.width, "height": window.height, "count": len(pixels)}
        place = raster.transform @ rasterio.Affine.translation(window.col_off, window.row_off)
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(
                path,
                "w",
                **profile,
                dtype=pixels.dtype,
                crs=raster.crs,
                transform=place,
                tiled=True,
                compress="deflate",
            ) as file,
        ):
            file.write(pixels.filled(0))
            file.write_mask(~np.ma.getmaskarray(pixels)[0])
    edge = box(0, 0, window.width, window.height)
    moved = [affinity.translate(shape, -window.col_off, -window.row_off).intersection(edge) for shape in objects]
    parts = shapely.get_parts(np.array(moved, object))
    return Ground(open_imagery(path), parts[shapely.area(parts) >= SEEN])


def played(analyst: Analyst, aside: Ground, given: argparse.Namespace, out: Path) -> list[tuple[float, dict[str, Any]]]:
    """What the analyst's map is worth after each retraining."""
    rows, model = [], None
    for number, minutes in enumerate(given.retrain):
        analyst.work_until(60 * minutes)
        folder = out / f"run-{number}"
        model = trained(analyst.session, folder, given, model) or model
        if model is not None and number + 1 < len(given.retrain):
            analyst.session.predict(folder / "map.tif", model).result()
        judged = judge(model, aside, folder / "aside.tif", analyst.name)
        rows.append((minutes, judged | {"worked": round(analyst.seconds / 60, 2)} | analyst.counts))
    return rows


def from_all(archive: Any, training: Ground, aside: Ground, given: argparse.Namespace, out: Path) -> dict[str, Any]:
    """What a map is worth that learned from every footprint of the training ground."""
    session = Session(archive, out / "labels")
    for shape in training.objects:
        session.label(shape, class_name(given), crs=None)
    session.declare_complete(box(0, 0, training.raster.width, training.raster.height), crs=None)
    model = trained(session, out, given, None, times=len(given.retrain))
    session.close()
    return judge(model, aside, out / "aside.tif", class_name(given))


def trained(session: Session, out: Path, given: argparse.Namespace, start: Path | None, times: int = 1) -> Path | None:
    """A network that has learned from what is labelled so far, for one or several budgets; None while that is too little."""
    side_m = given.tile * max(session.archive.imagery[0].pixel_size_m)
    # Chips are few: none is lost to a gap. Those that only touch share no pixel.
    chips = session.export_chips(out / "chips", chip=given.tile, block_m=side_m, buffer_m=0, test=0)
    try:
        run = train_unet(
            chips,
            out / "unet",
            encoder=given.encoder,
            start=start,
            epochs=given.epochs * times,
            minutes=given.seconds * times / 60,
            patience=_ENDLESS,
            crop=min(256, given.tile // 32 * 32),
            seed=given.seed,
        )
    except TrainingRefused:
        return None
    return run.model


def judge(model: Path | None, aside: Ground, path: Path, name: str) -> dict[str, Any]:
    """IoU of the pixels and F1 of the objects on the ground kept aside; 0 without a map."""
    if model is None:
        return {"iou": 0.0, "object_f1": 0.0}
    raster = open_imagery(predict(aside.imagery, model, path))[0]
    pixels = raster.read()[0]
    truth = rasterize(aside.objects, pixels.shape).astype(np.uint8)
    truth[np.ma.getmaskarray(pixels)] = IGNORE
    found = (np.ma.getdata(pixels) > 127).astype(np.uint8)
    frame = polygonize(path)
    outlines = np.array([raster.to_pixels(shape) for shape in frame.geometry[frame["class"] == name]], object)
    f1 = score_objects(outlines, aside.objects).f1 if len(outlines) else 0.0
    return {"iou": round(float(scores(confusion(found, truth, 1)).iou[1]), 4), "object_f1": round(f1, 4)}


def needed(rows: list[dict[str, Any]], minutes: float) -> float | None:
    """The share of all minutes in which workbench order gets as far as random order does in all; None if it does not."""
    goal = [row["iou"] for row in rows if row["order"] == "random"][-1]
    before = (0.0, 0.0)
    for row in rows:
        if row["order"] != "workbench":
            continue
        now = row["minutes"], row["iou"]
        if now[1] >= goal:
            part = (goal - before[1]) / max(now[1] - before[1], 1e-9)
            return round((before[0] + part * (now[0] - before[0])) / minutes, 3)
        before = now if now[1] >= before[1] else before
    return None


def class_name(given: argparse.Namespace) -> str:
    return given.name or "object"


if __name__ == "__main__":
    main()
