"""Which centring a saved scorer should be used with elsewhere: the one it was learned with, the new archive's, or midway.

    python benchmarks/scorers.py --scenes DIR --json scorers.json

A scorer of each class of the bundled scene is learned from 15 tiles that show it and 25 that do not (at least 5 % of a tile),
and ranks other archives: the same scene and another one, by the light of the first and of a second flight; a hundred tiles
of that; and only its tiles with houses, boats or water: a small archive and one of other contents have another mean also
where the light is the same.

`rows`: mean over classes and draws of the average precision, by archive and centring. `half` is what
`workbench.search.saved.SavedScorer.rank` does.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from retrieval import as_text
from scene_tiles import LEAST, shares

from workbench.descriptors.archive import Archive
from workbench.descriptors.build import build_archive
from workbench.descriptors.centring import Centring, fit_centring
from workbench.descriptors.encoders import load_encoder
from workbench.files import write_json
from workbench.imagery.second_date import paint_second_date
from workbench.imagery.synthetic import CLASSES, paint_scene
from workbench.search.index import Scorer
from workbench.search.metrics import average_precision, rank
from workbench.search.refine import refine
from workbench.search.saved import SavedScorer, name_scorer

Row = dict[str, object]
_POSITIVES, _NEGATIVES = 15, 25
_FEW = 100
_RAREST = 5
_FINENESS = 3


class Elsewhere:
    """Tiles that a scorer has not seen: uncentred descriptors (n, dim), truth (classes, n), and their own centring."""

    def __init__(self, raw: NDArray[np.float32], truth: NDArray[np.bool_], standardise: bool) -> None:
        self.raw, self.truth = raw, truth
        self.centring = fit_centring(raw, standardise=standardise)


def main(arguments: Sequence[str] | None = None) -> None:
    given = parsed(arguments)
    home, others = archives(given)
    found = {place: {name: [] for name in ("learned", "own", "half")} for place in others}
    truth = truth_of(*home)
    for number in range(len(CLASSES)):
        if truth[number].sum() <= 2 * _POSITIVES:
            continue
        for seed in range(given.seeds):
            saved = learned(home[0], truth[number], seed)
            for place, there in others.items():
                if there.truth[number].sum() >= _RAREST:
                    measure(saved, there, there.truth[number], found[place])
    rows = [
        {"archive": place, "tiles": len(others[place].raw)}
        | {name: round(float(np.mean(values)), _FINENESS) for name, values in ways.items()}
        for place, ways in found.items()
    ]
    print(as_text(rows))
    if given.json:
        write_json(given.json, {"rows": rows, "encoder": given.encoder, "tile": given.tile, "size": given.size})


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=Path, required=True, help="folder for two scenes and their archives")
    parser.add_argument("--size", type=int, default=3072)
    parser.add_argument("--tile", type=int, default=128)
    parser.add_argument("--encoder", default="aerial")
    parser.add_argument("--seeds", type=int, default=4, help="draws of marks")
    parser.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


def archives(given: argparse.Namespace) -> tuple[tuple[Archive, Path], dict[str, Elsewhere]]:
    """The archive to learn in with its mask, and those to rank."""
    built = {}
    for seed in (0, 1):
        scene = paint_scene(given.scenes / str(seed), size=given.size, seed=seed)
        later = paint_second_date(scene, changes=0, shift=(0, 0))
        for light, imagery in (("first", scene.imagery), ("second", later.imagery)):
            folder = given.scenes / f"{given.encoder}-{given.size}-{given.tile}-{seed}-{light}"
            archive = build_archive(imagery, folder, tile=given.tile, encoder=load_encoder(given.encoder))
            built[seed, light] = archive, scene.mask
    places = {
        "same scene, second light": built[0, "second"],
        "other scene, first light": built[1, "first"],
        "other scene, second light": built[1, "second"],
    }
    standardise = built[0, "first"][0].manifest.standardise
    others = {name: elsewhere(truth_of(*place), place[0], standardise) for name, place in places.items()}
    last = others["other scene, second light"]
    few = np.random.default_rng(0).permutation(len(last.raw))[:_FEW]
    wet = np.flatnonzero(last.truth[[list(CLASSES.values()).index(name) for name in ("house", "boat", "water")]].any(0))
    others[f"{_FEW} tiles of it"] = Elsewhere(last.raw[few], last.truth[:, few], standardise)
    others["houses, boats and water of it"] = Elsewhere(last.raw[wet], last.truth[:, wet], standardise)
    return built[0, "first"], others


def elsewhere(truth: NDArray[np.bool_], archive: Archive, standardise: bool) -> Elsewhere:
    return Elsewhere(np.asarray(archive.raw, np.float32), truth, standardise)


def truth_of(archive: Archive, mask: Path) -> NDArray[np.bool_]:
    """Which tiles show each class, (classes, n)."""
    return shares(archive, mask, list(CLASSES)) >= LEAST


def learned(archive: Archive, truth: NDArray[np.bool_], seed: int) -> SavedScorer:
    chance = np.random.default_rng(seed)
    positives = chance.permutation(np.flatnonzero(truth))[:_POSITIVES]
    negatives = chance.permutation(np.flatnonzero(~truth))[:_NEGATIVES]
    unit = archive.vectors
    scorer: Scorer = refine(unit[positives], unit[negatives], unit, seed=seed)
    return name_scorer("benchmark", scorer, archive)


def measure(saved: SavedScorer, there: Elsewhere, truth: NDArray[np.bool_], into: dict[str, list[float]]) -> None:
    mine = Centring(saved.mean, saved.scale, saved.mean)
    for name, centring in (("learned", mine), ("own", there.centring), ("half", saved.midway(there.centring))):
        scores = centring.apply(there.raw) @ saved.scorer.weights
        into[name].append(float(average_precision(rank(scores[None].astype(np.float64), truth[None]))[0]))


if __name__ == "__main__":
    main()
