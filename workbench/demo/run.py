"""The loop on one raster with its truth: build, search and mark, outline, train, predict, polygons, figures and report."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from rasterio.features import shapes
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from workbench.demo.analyst import IGNORE, Search, find_targets, play_often, read_rows, shares
from workbench.demo.played import Plan, Played, classify
from workbench.demo.report import write_report
from workbench.descriptors.archive import Archive
from workbench.descriptors.build import build_archive
from workbench.errors import QueryInvalid, RasterRefused
from workbench.files import slug, write_json
from workbench.imagery.opening import open_imagery
from workbench.imagery.rasters import Raster
from workbench.jobs import Progress, shown_progress
from workbench.segmentation.polygons import polygonize, save_polygons
from workbench.segmentation.predict import predict
from workbench.segmentation.scores import Scores, confusion, scores
from workbench.segmentation.train import train_unet
from workbench.session import Session

log = logging.getLogger(__name__)
_TRAIN_SHARE, _GAP_SHARE = 0.65, 0.05
_STRIP = 1024
_TIMES = 20


def play_loop(plan: Plan, progress: Progress | None = None) -> Played:
    """Play the whole loop and leave ``figures.json`` and ``report.md`` in the plan's folder."""
    raster = open_imagery(plan.imagery, nodata=plan.nodata)[0]
    truth = open_imagery(plan.truth)[0]
    if (truth.width, truth.height) != (raster.width, raster.height):
        raise RasterRefused(
            f"{truth.name} is {truth.width} x {truth.height} pixels and {raster.name} {raster.width} x {raster.height}. "
            "The truth must lie on the imagery's own grid."
        )
    plan = replace(plan, classes=_all_names(plan.classes, truth))
    plan.out.mkdir(parents=True, exist_ok=True)
    with shown_progress(progress) as shown:
        seconds: dict[str, float] = {}
        with _timed(seconds, "build"):
            archive = _build(plan, shown)
        played = Played(plan, archive, truth, *_rows(plan, truth), labels=_fresh(plan.out, "labels"), seconds=seconds)
        with _timed(seconds, "search"):
            _search(played, shown)
        with _timed(seconds, "labels"):
            _outline(played)
        _train(played, shown)
        with _timed(seconds, "polygons"):
            played.polygons = polygonize(_need(played.probability))
            save_polygons(played.polygons, plan.out / "polygons.gpkg", overwrite=True)
        with _timed(seconds, "scores"):
            played.scores = _test(played)
        with _timed(seconds, "report"):
            write_report(played, plan.out)
        write_json(plan.out / "figures.json", figures(played))
        shown.say(f"Report: {plan.out / 'report.md'}")
    return played


def figures(played: Played) -> dict[str, Any]:
    """What was measured: search precision per round, scores on the test rows, seconds per stage."""
    result = _need(played.scores)
    names = played.unet_classes
    return {
        "precision_at_20": {searches[0].target.name: _search_figures(searches) for searches in played.searches},
        "iou": {name: _round(result.iou[number]) for number, name in enumerate(names, 1)},
        "precision": {name: _round(result.precision[number]) for number, name in enumerate(names, 1)},
        "recall": {name: _round(result.recall[number]) for number, name in enumerate(names, 1)},
        "accuracy": _round(result.accuracy),
        "polygons": len(_need(played.polygons)),
        "seconds": {stage: round(value, 1) for stage, value in played.seconds.items()},
        "epochs": len(_need(played.run).history),
        "best_epoch": _need(played.run).best_epoch,
        "train_rows": list(played.train_rows),
        "test_rows": list(played.test_rows),
        "tiles": len(played.archive),
        "encoder": played.archive.manifest.encoder,
    }


def _search_figures(searches: list[Search]) -> dict[str, Any]:
    whole = np.array([[step.precision for step in search.rounds] for search in searches])
    fresh = np.array([[step.precision_unmarked for step in search.rounds] for search in searches])
    target = searches[0].target
    return {
        "base_rate": round(target.base_rate, 4),
        "positive_tiles": int(target.positive.sum()),
        "tiles_judged": int(target.known.sum()),
        "rule": target.rule,
        "sessions": len(searches),
        "rounds": [_round(value) for value in whole.mean(axis=0)],
        "rounds_worst_session": [_round(value) for value in whole.min(axis=0)],
        "rounds_among_unmarked": [_round(value) for value in fresh.mean(axis=0)],
    }


def _build(plan: Plan, progress: Progress) -> Archive:
    return build_archive(
        open_imagery(plan.imagery, nodata=plan.nodata),
        plan.out / "archive",
        tile=plan.tile,
        stride=plan.stride,
        encoder=plan.encoder,
        weights=plan.weights,
        progress=progress,
    )


def _search(played: Played, progress: Progress) -> None:
    plan = played.plan
    share = shares(played.archive, played.truth, len(plan.classes))
    found = find_targets(share, plan.classes, plan.least, plan.open_name)
    targets = [target for target in found if plan.searched is None or target.name in plan.searched]
    progress.begin("searching", len(targets), "classes")
    for target in targets:
        played.searches.append(play_often(played.archive, played.labels / slug(target.name), target, _TIMES))
        progress.advance()


def _outline(played: Played) -> None:
    """Trace the truth of the training rows, as an analyst would draw or import outlines, and declare them complete."""
    session = Session(played.archive, played.labels / "outlines")
    outlines, known = _trace(played.truth, played.train_rows)
    names = dict(enumerate(played.plan.classes, 1))
    rows = [(names[value], geometry) for value, geometry in outlines if names.get(value) in played.unet_classes]
    for name in played.unet_classes:
        session.store.define_class(name)
    raster = played.archive.imagery[0]
    frame = gpd.GeoDataFrame(
        {"class": [name for name, _ in rows]},
        geometry=[raster.from_pixels(geometry) for _, geometry in rows],
        crs=raster.crs,
    )
    session.import_labels(frame, class_column="class")
    for area in known:
        session.declare_complete(raster.from_pixels(area), raster.crs)
    session.export_labels(played.plan.out / "labels.gpkg", overwrite=True)
    played.session = session


def _trace(truth: Raster, rows: tuple[int, int]) -> tuple[list[tuple[int, BaseGeometry]], list[BaseGeometry]]:
    """Outlines of each object, and of the known ground, in pixels."""
    mask = read_rows(truth, *rows)
    lift = (1.0, 0.0, 0.0, 0.0, 1.0, float(rows[0]))
    from affine import Affine

    objects = [
        (int(value), shape(outline))
        for outline, value in shapes(mask, mask=(mask != IGNORE) & (mask != 0), transform=Affine(*lift))
    ]
    known = (mask != IGNORE).astype(np.uint8)
    areas = [shape(outline) for outline, value in shapes(known, mask=known > 0, transform=Affine(*lift)) if value]
    return objects, [area for area in areas if area.area > 1024 and shapely.is_valid(area)]


def _train(played: Played, progress: Progress) -> None:
    plan, session = played.plan, _need(played.session)
    with _timed(played.seconds, "chips"):
        played.chips = session.export_chips(_fresh(plan.out, "chips"), chip=plan.chip, test=0.0, progress=progress)
    with _timed(played.seconds, "training"):
        played.run = train_unet(
            played.chips,
            plan.out / "unet",
            epochs=plan.epochs,
            minutes=plan.minutes,
            overwrite=True,
            progress=progress,
        )
    with _timed(played.seconds, "prediction"):
        played.probability = predict(
            played.archive.imagery, played.run.model, plan.out / "probability.tif", overwrite=True, progress=progress
        )


def _test(played: Played) -> Scores:
    """Compare the prediction with the truth on the test rows, at the threshold of one half."""
    wanted = {played.plan.classes.index(name) + 1: number for number, name in enumerate(played.unet_classes, 1)}
    lookup = np.zeros(256, np.uint8)
    lookup[IGNORE] = IGNORE
    for value, number in wanted.items():
        lookup[value] = number
    probability = open_imagery(_need(played.probability))[0]
    matrix = np.zeros((len(wanted) + 1, len(wanted) + 1), np.int64)
    for top in range(*played.test_rows, _STRIP):
        bottom = min(top + _STRIP, played.test_rows[1])
        truth = lookup[read_rows(played.truth, top, bottom)]
        matrix += confusion(classify(probability, top, bottom), truth, len(wanted))
    return scores(matrix)


def _all_names(names: list[str], truth: Raster) -> list[str]:
    """A name for every class of the mask: those given, then ``class 2`` and so on."""
    highest = 0
    for top in range(0, truth.height, _STRIP):
        rows = read_rows(truth, top, min(truth.height, top + _STRIP))
        highest = max(highest, int(rows[rows != IGNORE].max(initial=0)))
    if highest == 0:
        raise RasterRefused(
            f"{truth.name} shows no class at all. Give a mask with 0, class numbers from 1, and 255 for unknown."
        )
    return names + [f"class {number}" for number in range(len(names) + 1, highest + 1)]


def _rows(plan: Plan, truth: Raster) -> tuple[tuple[int, int], tuple[int, int]]:
    """Training and test rows: as given, else the first 65 % and the last 30 % of the rows that are known."""
    if plan.train_rows and plan.test_rows:
        return plan.train_rows, plan.test_rows
    known = [
        top
        for top in range(0, truth.height, 128)
        if (read_rows(truth, top, min(truth.height, top + 128)) != IGNORE).any()
    ]
    first, last = known[0], min(truth.height, known[-1] + 128)
    length = last - first
    train = plan.train_rows or (first, first + int(length * _TRAIN_SHARE))
    test = plan.test_rows or (first + int(length * (_TRAIN_SHARE + _GAP_SHARE)), last)
    return train, test


def _fresh(out: Path, name: str) -> Path:
    """A folder that is not there yet: what an earlier run left is not mixed in, and not deleted."""
    candidates: Iterator[Path] = (out / (f"{name}-{number}" if number else name) for number in range(1000))
    return next(path for path in candidates if not path.exists())


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - started


def _need(value: Any) -> Any:
    assert value is not None
    return value


def _round(value: float) -> float | None:
    return None if not np.isfinite(value) else round(float(value), 4)


def parse_rows(text: str) -> tuple[int, int]:
    """``A:B`` as a pair of rows, A < B.

    Raises:
        QueryInvalid: it is anything else.
    """
    first, _, last = text.partition(":")
    if not (first.isdigit() and last.isdigit() and int(first) < int(last)):
        raise QueryInvalid(f"{text!r} is no range of rows; expected A:B with A < B, as in 3584:6144.")
    return int(first), int(last)


def find_weights(encoder: str, near: Sequence[Path]) -> Path | None:
    """ImageNet weights of a network: in the torch hub cache, or in a folder ``weights/`` beside or above the given paths."""
    from workbench.descriptors.networks import cached_weights

    cached = cached_weights(encoder)
    if cached is not None:
        return cached
    for path in near:
        for folder in list(path.resolve().parents)[:3]:
            for suffix in ("safetensors", "pth"):
                found = sorted((folder / "weights").glob(f"{encoder}*.{suffix}"))
                if found:
                    return found[0]
    return None
