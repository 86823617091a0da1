"""How much of a class map is right: the map of the bundled scene against its truth, by marks per class.

    python benchmarks/class_map.py --scene DIR --marks 5 10 20 40 --json class_map.json

Land use in four classes: water, forest, field, and built (at least a quarter house, panel, tank, vehicle or road); all else
is none of them. Marks are tiles drawn by the seed of which at least three fifths (of built: a quarter) are the class; nothing
is marked as none of them. The map is written as a session writes it, and each of its pixels is compared with what most of
the ground under it is; ground outside the flight is left out.

`rows`: by method, marks per class and tiles; each the mean over seeds: `overall`: share of pixels that are right;
`on_classes`: of the ground that is of a class, the share that is right; `forced`: the same when the map may not answer
none; `none_found`: of the ground that is none of them, the share that the map calls so.
`workbench` is `workbench.search.classes.learn_classes`; `one_vs_rest`: a refined scorer per class with a sigmoid of its own
(Platt 1999) fitted to scores from five folds; `means`: cosine to the mean of a class's marks.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from retrieval import as_text
from scene_tiles import shares
from scipy.optimize import minimize

from workbench.descriptors.archive import Archive
from workbench.descriptors.build import build_archive
from workbench.descriptors.encoders import load_encoder
from workbench.files import write_json
from workbench.imagery.opening import open_imagery
from workbench.imagery.synthetic import IGNORE, Scene, paint_scene
from workbench.jobs import Progress
from workbench.search.classes import Classes, learn_classes
from workbench.search.refine import refine
from workbench.search.refinement.pool import Pool, pool_of_vectors
from workbench.segmentation.class_map import map_classes

Row = dict[str, object]
Floats = NDArray[np.float32]
Learn = Callable[[dict[str, Floats], Archive, int], Classes]
GROUPS = {"water": (7,), "forest": (8,), "field": (9,), "built": (1, 3, 4, 5, 6)}
LEAST = {"built": 0.25}
_PURE = 0.6
_FOLDS = 5
_SHARP = 8.0
_FINENESS = 3


def main(arguments: Sequence[str] | None = None) -> None:
    given = parsed(arguments)
    scene = paint_scene(given.scene, size=given.size, seed=given.seed)
    rows: list[Row] = []
    for tile in given.tiles:
        encoder = load_encoder(given.encoder)
        folder = given.scene / f"class-map-{given.encoder}-{given.size}-{given.seed}-{tile}"
        archive = build_archive(scene.imagery, folder, tile=tile, encoder=encoder)
        covered = groups_of(shares(archive, scene.mask, list(range(1, 10))))
        for count in given.marks:
            for name in given.methods:
                found = [measured(scene, archive, covered, METHODS[name], count, seed) for seed in range(given.seeds)]
                means = {key: round(float(np.mean([one[key] for one in found])), _FINENESS) for key in found[0]}
                rows.append({"method": name, "tile": tile, "marks": count, **means})
    print(as_text(rows))
    if given.json:
        write_json(
            given.json, {"rows": rows, "scene": {"size": given.size, "seed": given.seed}, "encoder": given.encoder}
        )


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scene", type=Path, required=True, help="folder for the scene and its archives")
    parser.add_argument("--size", type=int, default=3072)
    parser.add_argument("--seed", type=int, default=0, help="of the scene")
    parser.add_argument("--encoder", default="aerial")
    parser.add_argument("--tiles", type=int, nargs="+", default=[64, 128], help="sides of tiles, half overlapping")
    parser.add_argument("--marks", type=int, nargs="+", default=[5, 10, 20, 40], help="per class")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--seeds", type=int, default=3, help="how many draws of marks")
    parser.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


def groups_of(values: NDArray[np.floating]) -> NDArray[np.floating]:  # type: ignore[type-arg]
    """Shares of the scene's classes 1 to 9, (9, ...), added up to those of `GROUPS`, (4, ...)."""
    return np.stack([values[[number - 1 for number in group]].sum(axis=0) for group in GROUPS.values()])


def measured(
    scene: Scene, archive: Archive, covered: NDArray[np.floating], learn: Learn, count: int, seed: int
) -> dict[str, float]:  # type: ignore[type-arg]
    """One draw of marks, its map, and how much of it is right."""
    chance = np.random.default_rng(seed)
    most = covered.argmax(axis=0)
    marks = {}
    for number, name in enumerate(GROUPS):
        tiles = np.flatnonzero((most == number) & (covered[number] >= LEAST.get(name, _PURE)))
        marks[name] = archive.vectors_of(chance.permutation(tiles)[:count])
    with tempfile.TemporaryDirectory() as folder:
        classes = learn(marks, archive, seed)
        path = map_classes(archive, classes, Path(folder) / "map.tif", progress=Progress())[0].classes
        forced = Classes(classes.names, classes.weights, np.r_[np.float32(-1e9), classes.bias[1:]])
        other = map_classes(archive, forced, Path(folder) / "forced.tif", progress=Progress())[0].classes
        said, answered = (read(each) for each in (path, other))
    truth = truth_of(scene, said.shape)
    known = (truth != IGNORE) & (said != IGNORE)
    of_class = known & (truth > 0)
    return {
        "overall": float((said == truth)[known].mean()),
        "on_classes": float((said == truth)[of_class].mean()),
        "forced": float((answered == truth)[of_class].mean()),
        "none_found": float((said == 0)[known & (truth == 0)].mean()),
    }


def truth_of(scene: Scene, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """What most of the ground under each pixel of a map is: 0 none, 1 to 4 the groups, `IGNORE` where not all was flown."""
    painted = np.ma.getdata(open_imagery(scene.mask)[0].read(bands=(0,))[0])
    side = -(-scene.size // shape[0])
    ends = [(0, -(-scene.size // side) * side - scene.size)] * 2
    cells = np.pad(painted, ends, constant_values=IGNORE)
    cells = cells.reshape(shape[0], side, shape[1], side)
    values = groups_of(np.stack([(cells == number).mean(axis=(1, 3)) for number in range(1, 10)]))
    built = values[3] >= LEAST["built"]
    rest = 1 - values.sum(axis=0)
    truth = np.concatenate([(rest + values[3])[None], values[:3]]).argmax(axis=0)
    found = np.where(built, 4, truth).astype(np.uint8)
    return np.where((cells == IGNORE).any(axis=(1, 3)), IGNORE, found).astype(np.uint8)


def read(path: Path) -> NDArray[np.uint8]:
    with rasterio.open(path) as file:
        return np.asarray(file.read(1))


def workbench(marks: dict[str, Floats], archive: Archive, seed: int) -> Classes:
    return learn_classes(marks, np.empty((0, archive.manifest.dim), np.float32), archive, seed=seed)


def one_vs_rest(marks: dict[str, Floats], archive: Archive, seed: int) -> Classes:
    samples = np.concatenate(list(marks.values()))
    kinds = np.repeat(np.arange(len(marks)), [len(each) for each in marks.values()])
    fold = np.concatenate([np.arange(len(each)) % _FOLDS for each in marks.values()])
    pool = pool_of_vectors(archive.vectors, samples.mean(axis=0), seed)
    weights, biases = [np.zeros(samples.shape[1], np.float32)], [0.0]
    for number in range(len(marks)):
        left_out = np.empty(len(samples))
        for part in range(_FOLDS):
            left_out[fold == part] = scored(samples, kinds == number, fold != part, pool)[fold == part]
        slope, shift = sigmoid(left_out, kinds == number)
        scorer = refine(samples[kinds == number], samples[kinds != number], pool)
        weights.append(np.float32(slope) * scorer.weights)
        biases.append(slope * scorer.bias + shift)
    return Classes(tuple(marks), np.array(weights, np.float32), np.array(biases, np.float32))


def scored(samples: Floats, wanted: NDArray[np.bool_], used: NDArray[np.bool_], pool: Pool) -> Floats:
    scorer = refine(samples[wanted & used], samples[~wanted & used], pool)
    return samples @ scorer.weights + np.float32(scorer.bias)


def sigmoid(scores: NDArray[np.float64], wanted: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and shift of Platt's (1999) sigmoid, with his targets; both sides weigh the same."""
    right, wrong = int(wanted.sum()), int((~wanted).sum())
    targets = np.where(wanted, (right + 1) / (right + 2), 1 / (wrong + 2))
    weights = np.where(wanted, 1 / right, 1 / wrong)

    def loss(given: NDArray[np.float64]) -> float:
        odds = given[0] * scores + given[1]
        return float((weights * (np.logaddexp(0, odds) - targets * odds)).sum())

    slope, shift = minimize(loss, [1 / max(float(scores.std()), 1e-6), 0.0]).x
    return float(slope), float(shift)


def means(marks: dict[str, Floats], archive: Archive, seed: int) -> Classes:
    middles = np.array([each.mean(axis=0) for each in marks.values()])
    middles *= _SHARP / np.linalg.norm(middles, axis=1, keepdims=True)
    weights = np.concatenate([np.zeros((1, middles.shape[1])), middles])
    return Classes(tuple(marks), weights.astype(np.float32), np.zeros(len(weights), np.float32))


METHODS: dict[str, Learn] = {"means": means, "one_vs_rest": one_vs_rest, "workbench": workbench}


if __name__ == "__main__":
    main()
