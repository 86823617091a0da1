"""The verbs in a terminal: python -m workbench build, import, search, export, import-edits, train, predict, polygons, demo ..."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; 0 when it went well, 2 with one clear message when it did not, 130 when it was interrupted."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        options.run(options)
    except WorkbenchError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("Stopped. What was finished is kept; run the same command again to go on.\n")
        return 130
    return 0


def _build(options: argparse.Namespace) -> None:
    from workbench.descriptors.build import build_archive
    from workbench.imagery.opening import open_imagery

    imagery = open_imagery(
        options.imagery,
        bands=options.bands,
        nodata=options.nodata,
        allow_vrt=options.allow_vrt,
        allow_remote=options.allow_remote,
    )
    build_archive(
        imagery,
        options.archive,
        tile=tuple(options.tile) if options.tile else 256,
        stride=options.stride,
        tile_m=options.tile_m,
        encoder=options.encoder,
        weights=options.weights,
        orientations=options.orientations,
    )


def _import(options: argparse.Namespace) -> None:
    from workbench.descriptors.embeddings.importing import import_embeddings

    import_embeddings(
        options.embeddings,
        options.archive,
        column=options.column,
        crs=options.crs,
        encoder=options.encoder,
        tile_m=options.tile_m,
        scale=options.scale,
        on_bad="skip" if options.skip_bad else "raise",
    )


def _search(options: argparse.Namespace) -> None:
    from workbench.session import Session

    session = Session(options.archive, options.labels)
    if options.new_since and not options.scorer:
        raise WorkbenchError("Only a saved scorer lists what is new. Give --scorer NAME with --new-since.")
    if options.refine:
        hits = session.refine(options.refine, k=options.k, method=options.method, small_tiles=options.small_tiles)
    elif options.scorer:
        hits = session.rank_by(options.scorer, k=options.k, new_since=options.new_since)
    else:
        lon, lat = options.at or (None, None)
        hits = session.search(tile=options.tile, lon=lon, lat=lat, image=options.image, k=options.k)
    _say("rank\ttile\tscore\tlon\tlat\traster")
    for hit in hits:
        raster = session.archive.imagery[hit.tile.raster]
        centre = session.archive.footprint(hit.number, "EPSG:4326" if raster.mappable else None).centroid
        _say(f"{hit.rank}\t{hit.number}\t{hit.score:.4f}\t{centre.x:.6f}\t{centre.y:.6f}\t{raster.name}")
    if options.save_scorer:
        _say(f"saved {session.save_scorer(options.save_scorer)}")
    if options.label:
        _say(session.label(hits, options.label))


def _class_map(options: argparse.Namespace) -> None:
    from workbench.session import Session

    session = Session(options.archive, options.labels)
    session.class_map(options.out, options.classes, overwrite=options.overwrite).result()
    _say(session.status)


def _export(options: argparse.Namespace) -> None:
    from workbench.labels.chips import SPLITS
    from workbench.session import Session

    session = Session(options.archive, options.labels)
    if options.gis:
        _say(f"wrote {session.export_labels(options.gis, overwrite=options.overwrite)}")
    if options.chips:
        chips = session.export_chips(
            options.chips,
            chip=options.size,
            layout=options.layout,
            classes=options.classes,
            overwrite=options.overwrite,
        )
        counts = ", ".join(f"{len(chips.of(side))} {side}" for side in SPLITS)
        _say(f"wrote chips to {options.chips}: {counts}")
        for warning in chips.warnings:
            _say(f"note: {warning}")
    if options.embeddings:
        from workbench.descriptors.embeddings.exporting import export_embeddings

        _say(f"wrote {export_embeddings(session.archive, options.embeddings, overwrite=options.overwrite)}")


def _import_edits(options: argparse.Namespace) -> None:
    from workbench.session import Session

    session = Session(options.archive, options.labels)
    edits = session.review_edits(options.edited, crs=options.crs)
    _say(edits.words)
    for kind, table in (("changed", edits.changed), ("added", edits.added), ("removed", edits.removed)):
        ids = table["id"] if "id" in table else ["new"] * len(table)
        places = table.geometry.representative_point().to_crs("EPSG:4326")
        for label_id, name, value, at in zip(ids, table["class"], table["value"], places, strict=True):
            _say(f"{kind}\t{label_id}\t{name}\t{value:+d}\t{at.x:.6f}\t{at.y:.6f}")
    if options.apply:
        _say(edits.apply(removed=not options.keep_removed, foreign=options.add_foreign))


def _train(options: argparse.Namespace) -> None:
    from workbench.segmentation.train import train_unet

    run = train_unet(
        options.chips,
        options.out,
        encoder=options.encoder,
        weights=options.weights,
        start=options.start,
        epochs=options.epochs,
        minutes=options.minutes,
        schedule=options.schedule,
        resume=options.resume,
        overwrite=options.overwrite,
    )
    best = run.history[run.best_epoch - 1]
    _say(f"epoch {run.best_epoch} of {len(run.history)}: validation IoU {best.mean_iou:.3f}; model in {run.model}")


def _predict(options: argparse.Namespace) -> None:
    from workbench.imagery.opening import open_imagery
    from workbench.segmentation.polygons import polygonize, save_polygons, together
    from workbench.segmentation.predict import predict, target_paths

    imagery = open_imagery(options.imagery, nodata=options.nodata)
    if options.out is None:
        stem = Path(options.imagery).resolve().stem
        options.out = Path(f"{stem}-probability.tif" if len(imagery) == 1 else f"{stem}-probability")
    path = predict(imagery, options.model, options.out, orientations=options.orientations, overwrite=options.overwrite)
    _say(f"wrote {path}")
    if options.polygons:
        given = {"threshold": options.threshold, "regular": _classes(options.regular)}
        found = together([polygonize(each, **given) for each in target_paths(imagery, path, overwrite=True)])
        save_polygons(found, options.polygons, overwrite=options.overwrite)
        _say(f"wrote {options.polygons}")


def _polygons(options: argparse.Namespace) -> None:
    from workbench.segmentation.polygons import polygonize, save_polygons

    found = polygonize(
        options.probability,
        threshold=options.threshold,
        min_area_m2=options.min_area,
        simplify_m=options.simplify,
        regular=_classes(options.regular),
    )
    _say(f"wrote {len(found)} polygons to {save_polygons(found, options.out, overwrite=options.overwrite)}")


def _classes(names: list[str] | None) -> bool | list[str]:
    """What ``--regular`` means: not given, of all classes, or of those named."""
    return names or names is not None


def _demo(options: argparse.Namespace) -> None:
    from workbench.demo.played import Plan
    from workbench.demo.run import find_weights, parse_rows, play_loop
    from workbench.demo.scene import scene_plan

    if options.imagery is None:
        play_loop(scene_plan(options.out, options.size, options.minutes or 7.5))
        return
    if options.truth is None:
        raise WorkbenchError(
            "The demo plays the analyst by the truth: give --truth MASK with 0, class numbers and 255."
        )
    encoder = options.encoder or "aerial"
    known = None if encoder == "aerial" else find_weights(encoder, [options.imagery])
    play_loop(
        Plan(
            imagery=options.imagery,
            truth=options.truth,
            classes=options.classes.split(","),
            out=options.out,
            train_rows=parse_rows(options.train_rows) if options.train_rows else None,
            test_rows=parse_rows(options.test_rows) if options.test_rows else None,
            nodata=options.nodata,
            tile=options.tile,
            stride=options.stride,
            least=options.least,
            encoder=encoder,
            weights=options.weights or known,
            minutes=options.minutes or 12.0,
            epochs=options.epochs,
        )
    )


def _lab(options: argparse.Namespace) -> None:
    from workbench.demo.lab import open_lab, prepare

    prepare(options.out)
    open_lab(options.notebook, browser=not options.no_browser)


def _scene(options: argparse.Namespace) -> None:
    from workbench.imagery.synthetic import paint_scene

    _say(f"wrote {paint_scene(options.out, size=options.size, seed=options.seed).imagery}")


def _catalog(options: argparse.Namespace) -> None:
    from workbench.imagery.catalog import catalog, fetch

    if options.name:
        _say(f"ready in {fetch(options.name, options.out or Path('data') / options.name)}")
        return
    for name, found in catalog().items():
        _say(f"{name}\t{found.title}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m workbench", description="Find things in aerial and satellite imagery."
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    build = verbs.add_parser("build", help="index imagery; run again to go on or to add rasters")
    build.add_argument("imagery", help="file, folder, or data catalog entry")
    build.add_argument("archive", type=Path)
    build.add_argument("--tile", type=int, nargs="+", help="tile size(s) in pixels [256]")
    build.add_argument("--stride", type=int, help="pixels between tiles [half a tile]")
    build.add_argument("--tile-m", type=float, help="tile size in metres instead")
    build.add_argument("--encoder", help="aerial, texture, mobilenet_v2, resnet18, timm/NAME ... [aerial]")
    build.add_argument("--orientations", type=int, choices=(1, 4, 8), help="average each descriptor over so many [1]")
    build.add_argument("--weights", type=Path, help="file of the encoder's weights")
    build.add_argument("--bands", nargs="+", help="bands by name or number, as red green blue")
    build.add_argument("--nodata", type=float, help="value that means no data, where the file does not say")
    build.add_argument("--allow-vrt", action="store_true")
    build.add_argument("--allow-remote", action="store_true")
    build.set_defaults(run=_build)

    others = verbs.add_parser("import", help="make an archive of others' embeddings (GeoParquet)")
    others.add_argument("embeddings", type=Path, help="a file, or a folder of files")
    others.add_argument("archive", type=Path)
    others.add_argument("--column", help="of the embeddings [found by name or type]")
    others.add_argument("--crs", help="of the geometry, where the file does not say it")
    others.add_argument("--encoder", help="name of what made the embeddings [what the file says]")
    others.add_argument("--tile-m", type=float, help="side in metres of the tiles around points")
    others.add_argument("--scale", type=float, help="multiplies the stored numbers")
    others.add_argument("--skip-bad", action="store_true", help="leave out rows that cannot be used")
    others.set_defaults(run=_import)

    search = verbs.add_parser("search", help="print the tiles most like an example, or best by the labels")
    search.add_argument("archive", type=Path)
    search.add_argument("--labels", type=Path, default=Path("labels"))
    example = search.add_mutually_exclusive_group(required=True)
    example.add_argument("--at", type=float, nargs=2, metavar=("LON", "LAT"))
    example.add_argument("--tile", type=int)
    example.add_argument("--image", type=Path)
    example.add_argument("--refine", metavar="CLASS", help="rank by the labels of a class")
    example.add_argument("--scorer", metavar="NAME", help="rank by a scorer that was saved, by name or file")
    search.add_argument(
        "--method", default="auto", help="with --refine: nearest, rocchio, logistic or spread [by the marks]"
    )
    search.add_argument("--small-tiles", action="store_true", help="the best smaller tile inside a tile speaks for it")
    search.add_argument("--new-since", metavar="DATE", help="with --scorer: only hits that were none before")
    search.add_argument("--save-scorer", metavar="NAME", help="save what ranked the hits beside the labels")
    search.add_argument("-k", type=int, default=20)
    search.add_argument("--label", metavar="CLASS", help="label all hits as this class")
    search.set_defaults(run=_search)

    mapped = verbs.add_parser("class-map", help="map all labelled classes over an archive by its descriptors alone")
    mapped.add_argument("archive", type=Path)
    mapped.add_argument("out", type=Path, help="GeoTIFF; a folder for several rasters")
    mapped.add_argument("--labels", type=Path, default=Path("labels"))
    mapped.add_argument("--classes", nargs="+", help="two or more [all that are labelled]")
    mapped.add_argument("--overwrite", action="store_true")
    mapped.set_defaults(run=_class_map)

    export = verbs.add_parser("export", help="write labels for a GIS, chips and masks for training, or embeddings")
    export.add_argument("archive", type=Path)
    export.add_argument("--labels", type=Path, default=Path("labels"))
    export.add_argument("--gis", type=Path, help="labels.gpkg, .geojson or .parquet")
    export.add_argument("--chips", type=Path, help="a new folder")
    export.add_argument("--layout", default="geotiff", choices=("geotiff", "coco", "folder"), help="of chips [geotiff]")
    export.add_argument("--classes", nargs="+", help="only chips of these [all]")
    export.add_argument("--embeddings", type=Path, help="all descriptors as GeoParquet")
    export.add_argument("--size", type=int, default=512, help="chip size in pixels [512]")
    export.add_argument("--overwrite", action="store_true")
    export.set_defaults(run=_export)

    _add_network_verbs(verbs)
    _add_demo_verbs(verbs)
    return parser


def _add_network_verbs(verbs: Any) -> None:
    """Train a U-Net, map with it, outline the map."""
    edits = verbs.add_parser("import-edits", help="show what somebody changed in exported labels, and apply it")
    edits.add_argument("archive", type=Path)
    edits.add_argument("edited", type=Path, help="the file of export --gis, edited in a GIS")
    edits.add_argument("--labels", type=Path, default=Path("labels"))
    edits.add_argument("--crs", help="of the coordinates, where the file does not say it")
    edits.add_argument("--apply", action="store_true", help="make the labels so [only show what would change]")
    edits.add_argument("--keep-removed", action="store_true", help="do not take back labels missing in the file")
    edits.add_argument("--add-foreign", action="store_true", help="also add outlines of unknown ids")
    edits.set_defaults(run=_import_edits)

    train = verbs.add_parser("train", help="train a U-Net on chips")
    train.add_argument("chips", type=Path)
    train.add_argument("out", type=Path)
    train.add_argument(
        "--encoder", default="aerial", help="aerial, small, classic, mobilenet_v2, resnet18 ... [aerial]"
    )
    train.add_argument("--weights", type=Path)
    train.add_argument("--epochs", type=int, default=20)
    train.add_argument("--minutes", type=float)
    train.add_argument("--schedule", default="one-cycle", choices=("one-cycle", "cyclic"), help="of the learning rate")
    train.add_argument("--start", type=Path, help="a model to go on from, instead of an encoder")
    train.add_argument("--resume", action="store_true", help="go on with a training that was killed")
    train.add_argument("--overwrite", action="store_true")
    train.set_defaults(run=_train)

    predict = verbs.add_parser("predict", help="map imagery with a trained U-Net")
    predict.add_argument("model", type=Path)
    predict.add_argument("imagery", help="file or folder")
    predict.add_argument(
        "out", type=Path, nargs="?", help="a COG, or a folder for several [here, named after the imagery]"
    )
    predict.add_argument("--polygons", type=Path, help="also outline: .gpkg, .geojson or .parquet")
    predict.add_argument("--threshold", type=float, default=0.5)
    predict.add_argument("--orientations", type=int, default=1, choices=(1, 4, 8), help="mean over turned views [1]")
    _add_regular(predict)
    predict.add_argument("--nodata", type=float)
    predict.add_argument("--overwrite", action="store_true")
    predict.set_defaults(run=_predict)

    polygons = verbs.add_parser("polygons", help="outline a probability map for a GIS")
    polygons.add_argument("probability", type=Path, help="GeoTIFF of predict")
    polygons.add_argument("out", type=Path, help=".gpkg, .geojson or .parquet")
    polygons.add_argument("--threshold", type=float, default=0.5)
    polygons.add_argument("--min-area", type=float, help="smaller ones are left out, m2 [25 pixels]")
    polygons.add_argument("--simplify", type=float, help="how far an outline may move, metres [0.4 pixels]")
    _add_regular(polygons)
    polygons.add_argument("--overwrite", action="store_true")
    polygons.set_defaults(run=_polygons)


def _add_regular(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--regular", nargs="*", metavar="CLASS", help="right angles for buildings: of these classes, or of all"
    )


def _add_demo_verbs(verbs: Any) -> None:
    """The verbs that need no imagery of the user's own."""
    demo = verbs.add_parser(
        "demo", help="play the whole loop and write a report; on the bundled scene when no imagery is given"
    )
    demo.add_argument("--imagery", type=Path)
    demo.add_argument("--truth", type=Path, help="mask on the same grid: 0, 1..n, 255 where nobody looked")
    demo.add_argument("--classes", default="building", help="names of 1..n, comma-separated [building, class 2, ...]")
    demo.add_argument("--train-rows", metavar="A:B", help="rows that may be traced [first 65 %% of the known rows]")
    demo.add_argument("--test-rows", metavar="C:D", help="rows for the last figures only [last 30 %%]")
    demo.add_argument("--out", type=Path, default=Path("demo"))
    demo.add_argument("--nodata", type=float, help="value that means no data, where the file does not say")
    demo.add_argument("--tile", type=int, default=256)
    demo.add_argument("--stride", type=int, default=128)
    demo.add_argument("--least", type=float, default=0.1, help="share of a tile that makes it positive [0.1]")
    demo.add_argument("--encoder", help="of the search [aerial]")
    demo.add_argument(
        "--weights", type=Path, help="of that encoder [torch hub cache, or a folder weights/ near the imagery]"
    )
    demo.add_argument("--minutes", type=float, help="most time for training [12; 7.5 for the bundled scene]")
    demo.add_argument("--epochs", type=int, default=20)
    demo.add_argument("--size", type=int, default=8192, help="of the bundled scene, pixels [8192]")
    demo.set_defaults(run=_demo)

    lab = verbs.add_parser("lab", help="open JupyterLab on the first notebook, its scene and archive ready")
    lab.add_argument("notebook", type=Path, nargs="?", default=Path("notebooks/01_find_things.ipynb"))
    lab.add_argument(
        "--out", type=Path, default=Path("demo/find"), help="where the notebook keeps its work [demo/find]"
    )
    lab.add_argument("--no-browser", action="store_true", help="only print the address")
    lab.set_defaults(run=_lab)

    scene = verbs.add_parser("scene", help="paint the bundled scene")
    scene.add_argument("out", type=Path)
    scene.add_argument("--size", type=int, default=8192)
    scene.add_argument("--seed", type=int, default=0)
    scene.set_defaults(run=_scene)

    catalog = verbs.add_parser("catalog", help="list known data sets, or get one")
    catalog.add_argument("name", nargs="?")
    catalog.add_argument("--out", type=Path)
    catalog.set_defaults(run=_catalog)


if __name__ == "__main__":
    sys.exit(main())
