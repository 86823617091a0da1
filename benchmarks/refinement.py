"""How much every mark improves a ranking: a simulated analyst, the workbench's scorer and what it is held against.

    python benchmarks/refinement.py --images ucmerced --encoder mobilenet_v2:mobilenet_v2.pth --orientations 8 \
        --rounds 5 --per-round 10 --cache cache/ --json refinement.json
    python benchmarks/refinement.py --scene DIR --json scene.json     (paints the bundled scene; its truth are the classes)

Half of the images of each class (of the scene: half of its blocks of four by four tiles), drawn by the seed, are never shown
and are the only ones scored: scoring the shrinking rest of the shown half would reward a bad queue. From each of three
queries a class the analyst marks ten tiles a round.
`scorers`: all methods get the same marks, the next ten of the ranking by the bare query. `sessions`: each method's marks are
the next ten of its own ranking; the workbench's are ten of the next twenty, unlike each other (`--choice 1`: the very next).
Round 0 is the bare query; of `--rounds 5`, round 5 has 50 marks. A share of the marks may
be flipped: the same tiles for all methods, and the query never. Descriptors are centred by the shown half.

`rows`: mean over sessions of the average precision over the whole held half with its 95 % bootstrap interval over
sessions, of the precision at 20 there, of the positives among the marks, and of the seconds for a fit and a ranking.
`mistakes`: of the workbench's marks after the last round, how many were flipped, and the share of those in the first tenth of
the likely mistakes.
`classes`: of the workbench without flipped marks, how often each class occurs in the held half, and the precision at 50 there
by round.
`differences`: mAP of `workbench` less that of each other method, paired by query, with its interval.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from baselines import BASELINES
from class_folders import describe_chips, find_images, image_options, named_encoder
from retrieval import as_text
from scene_tiles import scene_tiles
from simulated import PROTOCOLS, Collection, Half, Marks, Method, Plan, Scores, Table, halve, interval, play_all

from workbench.files import write_json
from workbench.search.refine import refine
from workbench.search.refinement.mistakes import contradictions, likely_mistakes
from workbench.search.refinement.picking import CHOICE

Row = dict[str, object]
OWN = "workbench"
_FINENESS = 4


def workbench(marks: Marks) -> Scores:
    """`workbench.search.refine.refine` as a session calls it."""
    unit = marks.shown.unit
    scorer = refine(unit[marks.rows[marks.said]], unit[marks.negatives], unit, query=unit[marks.query], seed=marks.seed)
    return lambda tiles: tiles.unit @ scorer.weights + scorer.bias


METHODS: dict[str, Method] = {**BASELINES, OWN: workbench}


def main(arguments: Sequence[str] | None = None) -> None:
    given = parsed(arguments)
    collection = from_folders(given) if given.images else from_scene(given)
    halves = [halve(collection, given.queries, given.seed + number) for number in range(given.seeds)]
    rows: list[Row] = []
    differences: list[Row] = []
    mistakes: list[Row] = []
    classes: list[Row] = []
    for protocol in given.protocols:
        for flipped in given.flipped:
            plan = Plan(given.rounds, given.per_round, flipped)
            tables = {
                name: Table(tuple(play_all(halves, METHODS[name], plan, protocol, given.choice if name == OWN else 1)))
                for name in given.methods
            }
            about: Row = {"protocol": protocol}
            for name, table in tables.items():
                rows += rows_of(table, {**about, "method": name, "flipped": flipped})
            differences += differences_of(tables, {**about, "flipped": flipped})
            if not flipped and OWN in tables:
                classes += classes_of(tables[OWN], halves, collection.names, about)
            if flipped and OWN in tables:
                mistakes.append({**about, "flipped": flipped} | mistakes_of(tables[OWN]))
    found = {"rows": rows, "classes": classes, "differences": differences, "mistakes": mistakes}
    for name, table in found.items():
        print(f"\n{name}\n{as_text(table)}")
    if given.json:
        sessions = sum(len(half.queries) for half in halves)
        data = {"tiles": len(collection.raw), "classes": len(collection.names), "sessions": sessions}
        protocol = {"queries": given.queries, "per_round": given.per_round, "seeds": given.seeds, "seed": given.seed}
        encoder = {"encoder": given.encoder.partition(":")[0], "orientations": given.orientations}
        write_json(given.json, {**found, "data": data, "protocol": {**protocol, **encoder}})


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = image_options(__doc__, required=False)
    parser.add_argument("--scene", type=Path, help="folder for the bundled scene and its archive, instead of images")
    parser.add_argument("--scene-size", type=int, default=6144)
    parser.add_argument("--tile", type=int, default=128, help="of the scene")
    parser.add_argument("--stride", type=int, default=64, help="of the scene's tiles")
    parser.add_argument("--encoder", default="aerial", metavar="NAME[:WEIGHTS]")
    parser.add_argument("--orientations", type=int, default=1, choices=(1, 4, 8))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--protocols", nargs="+", default=list(PROTOCOLS), choices=PROTOCOLS)
    parser.add_argument("--rounds", type=int, default=5, help="of marks, after the bare query")
    parser.add_argument("--per-round", type=int, default=10, help="tiles marked a round")
    parser.add_argument(
        "--choice", type=int, default=CHOICE, help="next tiles the workbench picks from; 1: the very next"
    )
    parser.add_argument("--flipped", nargs="+", type=float, default=[0.0, 0.1, 0.2], help="chances of a wrong mark")
    parser.add_argument("--queries", type=int, default=3, help="of each class")
    parser.add_argument("--seeds", type=int, default=3, help="how many splits, each with queries of its own")
    given = parser.parse_args(arguments)
    if (given.images is None) == (given.scene is None):
        parser.error("give --images or --scene")
    return given


def from_scene(given: argparse.Namespace) -> Collection:
    """Tiles of the bundled scene; their classes are what is painted there."""
    encoder = named_encoder(given.encoder, given.orientations)
    return scene_tiles(
        given.scene, encoder, size=given.scene_size, tile=given.tile, stride=given.stride, seed=given.seed
    )


def from_folders(given: argparse.Namespace) -> Collection:
    """Each image seen alone, and its folder as the truth."""
    images = find_images(given.images, given.size, seed=0)
    encoder = named_encoder(given.encoder, given.orientations)
    raw = describe_chips(images, encoder, range(len(images.paths)), given.cache)
    truth = images.labels == np.arange(len(images.classes))[:, None]
    return Collection(raw, truth, np.arange(len(raw)), images.classes, encoder.standardise)


def rows_of(table: Table, about: Row) -> list[Row]:
    """A row for each round."""
    found = []
    for number, values in enumerate(table.average_precision.T):
        low, high = interval(values)
        measures = {
            "map": values.mean(),
            "map_low": low,
            "map_high": high,
            "p_at_20": table.mean("p_at_20")[number],
            "positives_found": table.mean("positives_found")[number],
            "seconds": table.mean("seconds")[number],
        }
        found.append({**about, "round": number} | {name: round(float(v), _FINENESS) for name, v in measures.items()})
    return found


def classes_of(table: Table, halves: Sequence[Half], names: Sequence[str], about: Row) -> list[Row]:
    """Precision at 50 of each class by round, and how common it is in the halves that are scored."""
    number_of = np.array([number for half in halves for number, _ in half.queries])
    precision = np.array([played.p_at_50 for played in table.played])
    held = np.concatenate([half.truth_held for half in halves], axis=1)
    found = []
    for number in np.unique(number_of).tolist():
        rounds = {
            f"p_at_50_{r}": round(float(v), _FINENESS) for r, v in enumerate(precision[number_of == number].mean(0))
        }
        common: Row = {"base_rate": round(float(held[number].mean()), _FINENESS)}
        common["positives"] = round(int(held[number].sum()) / len(halves))
        found.append({**about, "class": names[number], **common, **rounds})
    return found


def differences_of(tables: dict[str, Table], about: Row) -> list[Row]:
    """The workbench less each other method, by round, paired by query."""
    found: list[Row] = []
    for name, table in tables.items():
        if name == OWN or OWN not in tables:
            continue
        gains = tables[OWN].average_precision - table.average_precision
        for number, values in enumerate(gains.T):
            low, high = (round(bound, _FINENESS) for bound in interval(values))
            gain = round(float(values.mean()), _FINENESS)
            found.append({**about, "than": name, "round": number, "gain": gain, "gain_low": low, "gain_high": high})
    return found


def mistakes_of(table: Table) -> Row:
    """Where the flipped marks are among the likely mistakes."""
    wrong, found = 0, 0
    for played in table.played:
        marks, unit = played.marks, played.marks.shown.unit
        contradicted = contradictions(unit[marks.positives], unit[marks.negatives], unit, seed=marks.seed)[1:]
        flipped = np.concatenate([played.wrong[marks.said], played.wrong[~marks.said]])
        wrong += int(flipped.sum())
        found += int(flipped[likely_mistakes(contradicted)].sum())
    count = len(table.played)
    share = found / wrong if wrong else float("nan")
    return {
        "marks": round(sum(len(played.wrong) for played in table.played) / count, 1),
        "wrong": round(wrong / count, 2),
        "in_first_tenth": round(share, _FINENESS),
    }


if __name__ == "__main__":
    main()
