"""How well changed tiles are found: average precision on two dates and a truth mask, beside plain descriptor difference.

    python benchmarks/change.py --before a.tif --after b.tif --truth mask.tif --tile 128 --json change.json
    python benchmarks/change.py --pairs DIR     (DIR/A, DIR/B and DIR/label hold files of the same names)
    python benchmarks/change.py --scene DIR     (paints a scene and a second date of it)

`plain` is the cosine of centred descriptors, at zoom 1 and without alignment; `plain_zoomed` the same at the zoom of
`workbench`. Of one pair, `marked` and `marked_any` are judged on one half of the ground (every other square of four by four
tiles) by marks on the other: the first twenty tiles there by any change are marked, and `marked` ranks changes like those that
had changed; `marked_any` is any change on the same tiles.

A tile changed when at least ``--least`` of it did. Tiles that changed less than that, but somewhat, count as unchanged.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from functools import reduce
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.archive import Archive
from workbench.descriptors.build import build_archive
from workbench.imagery.opening import open_imagery
from workbench.imagery.rasters import Imagery
from workbench.imagery.second_date import paint_second_date
from workbench.imagery.synthetic import paint_scene
from workbench.search.change import Changes, Like, compare_dates
from workbench.search.dates.pairs import Pairs
from workbench.search.metrics import average_precision, precision_at, rank

Row = dict[str, object]
_MARKS = 20
_FORMS = (".tif", ".tiff", ".png", ".jpg", ".jp2")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    args = parse(arguments)
    with tempfile.TemporaryDirectory() as work:
        triples = find_triples(args)
        rows = [row for zoom in args.zoom for row in measured(triples, args, zoom, Path(work) / f"{zoom:g}")]
    for row in rows:
        print(
            "  ".join(
                f"{key} {value:.4f}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
            )
        )
    if args.json:
        args.json.write_text(json.dumps({"rows": rows}, indent=1))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--after", type=Path)
    parser.add_argument(
        "--truth", type=Path, help="mask on the grid of --after: changed where over 0, 255 of 0 to 254: unknown"
    )
    parser.add_argument("--pairs", type=Path)
    parser.add_argument("--scene", type=Path, help="folder for the synthetic scene")
    parser.add_argument("--scene-size", type=int, default=3072)
    parser.add_argument("--changes", type=int, default=24, help="things that change in the scene")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tile", type=int, default=64)
    parser.add_argument("--stride", type=int)
    parser.add_argument("--zoom", type=float, nargs="+", default=[1.0])
    parser.add_argument("--least", type=float, nargs="+", default=[0.05])
    parser.add_argument("--encoder", default="aerial")
    parser.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


def find_triples(args: argparse.Namespace) -> list[tuple[Path, Path, Path]]:
    """Before, after and truth of each pair."""
    if args.pairs is not None:
        names = sorted(path.name for path in (args.pairs / "A").iterdir() if path.suffix.lower() in _FORMS)
        triples = [(args.pairs / "A" / name, args.pairs / "B" / name, args.pairs / "label" / name) for name in names]
        return [triple for triple in triples if all(path.is_file() for path in triple)]
    if args.scene is not None:
        scene = paint_scene(args.scene, size=args.scene_size, seed=args.seed)
        later = paint_second_date(scene, changes=args.changes, seed=args.seed)
        return [(scene.imagery, later.imagery, later.mask)]
    if not (args.before and args.after and args.truth):
        raise SystemExit("Give --before, --after and --truth, or --pairs, or --scene.")
    return [(args.before, args.after, args.truth)]


def measured(triples: list[tuple[Path, Path, Path]], args: argparse.Namespace, zoom: float, work: Path) -> list[Row]:
    """Rows of all methods; every pair is ranked by itself, and all pairs' tiles together make one ranking."""
    parts: dict[str, list[NDArray[np.float32]]] = {"plain": [], "plain_zoomed": [], "workbench": []}
    shares: list[NDArray[np.float64]] = []
    seconds = 0.0
    for number, (first, second, truth) in enumerate(triples):
        before, after = (
            build_archive(
                only(path), work / f"{number}{name}", tile=args.tile, stride=args.stride, encoder=args.encoder
            )
            for path, name in ((first, "a"), (second, "b"))
        )
        share = changed_share(after, truth)
        begun = time.perf_counter()
        changes = compare_dates(after, before, zoom=zoom)
        seconds += time.perf_counter() - begun
        plain = compare_dates(after, before, zoom=1.0, align=False).pairs
        zoomed = plain if zoom == 1 else compare_dates(after, before, zoom=zoom, align=False).pairs
        scored = {"workbench": (changes.pairs, changes.scores)}
        scored |= {name: (pairs, apart(pairs)) for name, pairs in (("plain", plain), ("plain_zoomed", zoomed))}
        both = reduce(np.intersect1d, [pairs.numbers for pairs, _ in scored.values()])
        both = both[np.isfinite(share[both])]
        for name, (pairs, scores) in scored.items():
            parts[name].append(scores[np.searchsorted(pairs.numbers, both)])
        shares.append(share[both])
    rows = [
        {"method": name, "zoom": zoom, "least": least, **figures(scores, shares, least), "seconds": round(seconds, 1)}
        for least in args.least
        for name, scores in parts.items()
    ]
    if len(triples) == 1:
        for least in args.least:
            rows += [{"zoom": zoom, "least": least, **row} for row in marked(changes, share, least)]
    return rows


def apart(pairs: Pairs) -> NDArray[np.float32]:
    """One less the cosine of both dates' descriptors around their common mean."""
    mean = np.concatenate([pairs.before, pairs.after]).mean(axis=0)
    one, two = pairs.before - mean, pairs.after - mean
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
    return (1 - (one * two).sum(axis=1) / np.maximum(lengths, 1e-9)).astype(np.float32)


def marked(changes: Changes, share: NDArray[np.float64], least: float) -> list[Row]:
    """Any change, and changes like those among twenty marks, on ground without marks; nothing where either shows no change."""
    numbers = changes.pairs.numbers
    tiles = changes.archive.tiles[numbers]
    squares = [(tiles[axis].astype(np.int64) + tiles["size"] // 2) // (4 * tiles["size"]) for axis in ("row", "col")]
    known, here = np.isfinite(share[numbers]), sum(squares) % 2 == 0
    right = share[numbers] >= least if least > 0 else share[numbers] > 0
    first = np.flatnonzero(known & here)
    first = first[np.argsort(-changes.scores[first], kind="stable")][:_MARKS]
    held = known & ~here
    if not (right[first].any() and right[held].any()):
        return []
    like = Like(numbers[first[right[first]]].tolist(), numbers[first[~right[first]]].tolist())
    answers = {"marked_any": changes.scores, "marked": changes.scores_of(like)}
    return [{"method": name, **figures([s[held]], [share[numbers][held]], least)} for name, s in answers.items()]


def figures(scores: list[NDArray[np.float32]], shares: list[NDArray[np.float64]], least: float) -> Row:
    """Average precision over all tiles, its mean over pairs with both kinds of tiles, precision at 20, and the base rate."""
    right = [share >= least if least > 0 else share > 0 for share in shares]
    together = rank(np.concatenate(scores)[None], np.concatenate(right)[None])
    alone = [
        float(average_precision(rank(score[None], changed[None]))[0])
        for score, changed in zip(scores, right, strict=True)
        if 0 < changed.sum() < len(changed)
    ]
    tiles = np.concatenate(right)
    return {
        "tiles": len(tiles),
        "base_rate": float(tiles.mean()),
        "ap": float(average_precision(together)[0]),
        "ap_mean_of_pairs": float(np.mean(alone)) if alone else None,
        "p_at_20": float(precision_at(together, 20)[0]),
    }


def only(path: Path) -> Imagery:
    """One raster."""
    return open_imagery(path)


def changed_share(archive: Archive, truth: Path) -> NDArray[np.float64]:
    """The share of each tile that changed, (n,); NaN where the truth is unknown."""
    mask = open_imagery(truth)[0].read(bands=(0,))[0]
    values = np.ma.getdata(mask)
    both = set(np.unique(values).tolist()) <= {0, 255}
    unknown = np.ma.getmaskarray(mask) | (False if both else values == 255)
    changed = (values > 0) & ~unknown
    found = np.full(len(archive), np.nan)
    for number in range(len(archive)):
        rows, cols = archive.tile(number).window.toslices()
        if unknown[rows, cols].mean() < 0.5:
            found[number] = changed[rows, cols].mean()
    return found


if __name__ == "__main__":
    main()
