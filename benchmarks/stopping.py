"""Whether the workbench knows how far a search is: the share of simulated sessions whose 90 % intervals hold the truth.

    python benchmarks/stopping.py --images ucmerced --encoder mobilenet_v2:mobilenet_v2.pth --orientations 8 \
        --cache cache/ --sessions 200 --json stopping.json

Each session is a search of its own: an archive is drawn, in which the class has one of six base rates; from one example
the analyst marks 48 tiles in three rounds, each the next best of `workbench.search.refine`; she chooses a threshold (the
ranking cut at half to twice as many tiles as the class has, before the audit); then 50 tiles are audited, ten at a draw.
The truth is what all tiles of that archive are. With --learn she refines after every draw, so that audit marks teach the
scorer: each is then judged without its own part in its score (`workbench.search.unseen`), and the answer stays as large.

`mixtures`: 3,000 or 8,000 points around thirty centres of different size and spread; the class has one to three kinds that
are near each other. `images`: every image seen alone, and a folder as the class; for a rare class some of its images are left
out, for a common one some of the others. `merged`: the class is two to four folders that have nothing in common, of which
the example shows one: kinds of which the analyst does not know, for which the intervals do not promise anything.

`rows`: by source, base rate (None: all) and audit marks: the share of sessions whose interval holds the truth, the median
width, and the share whose truth lies below and above. The count's width is a share of the true count.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from class_folders import describe_chips, find_images, image_options, named_encoder
from numpy.typing import NDArray
from retrieval import as_text

from workbench.descriptors.centring import fit_centring
from workbench.files import write_json
from workbench.search.audit import Audit, Ranking
from workbench.search.queues import most_similar
from workbench.search.refine import refine
from workbench.search.refinement.pool import direction, pool_of_vectors
from workbench.search.stopping import Estimate, Interval, estimate
from workbench.search.unseen import own_part

Row = dict[str, object]
RATES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
SOURCES = ("mixtures", "images", "merged")
MEASURES = ("precision", "count", "recall")
_ROUNDS, _PER_DRAW = 3, 10
_FEWEST = 8
_FINENESS = 3
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Search:
    """An archive and what is sought in it: unit descriptors float32 (n, dim), and which tiles are right, bool (n,)."""

    unit: NDArray[np.float32]
    truth: NDArray[np.bool_]


@dataclass(frozen=True)
class Session:
    """A session's base rate, and after every ten marks the estimate and the true value of each measure."""

    rate: float
    told: list[Estimate]
    truths: list[dict[str, float]]


Make = Callable[[float, np.random.Generator], Search]


def main(arguments: Sequence[str] | None = None) -> None:
    given = parsed(arguments)
    rows: list[Row] = []
    for source, make in makers(given).items():
        found = list(sessions(make, given))
        for rate in (None, *RATES):
            chosen = [session for session in found if rate in (None, session.rate)]
            if chosen:
                rows += rows_of(source, rate, chosen)
    print(as_text(rows))
    if given.json:
        about = {
            "sessions": given.sessions,
            "seed": given.seed,
            "learn": given.learn,
            "encoder": given.encoder.partition(":")[0],
        }
        write_json(given.json, {"rows": rows, "protocol": {**about, "orientations": given.orientations}})


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = image_options(__doc__, required=False)
    parser.add_argument("--encoder", default="aerial", metavar="NAME[:WEIGHTS]")
    parser.add_argument("--orientations", type=int, default=1, choices=(1, 4, 8))
    parser.add_argument("--sources", nargs="+", default=None, choices=SOURCES, help="all there are, if not given")
    parser.add_argument("--sessions", type=int, default=200, help="of each source")
    parser.add_argument("--per-round", type=int, default=16, help="marks of each of the three rounds before the audit")
    parser.add_argument("--learn", action="store_true", help="refine by the audit marks after every draw")
    parser.add_argument("--marks", type=int, default=50, help="audited in each session, estimated after every ten")
    return parser.parse_args(arguments)


def makers(given: argparse.Namespace) -> dict[str, Make]:
    """What makes the archives of each source."""
    wanted = given.sources or (SOURCES if given.images else SOURCES[:1])
    found: dict[str, Make] = {"mixtures": mixture}
    if set(wanted) - {"mixtures"}:
        if given.images is None:
            raise SystemExit(f"{', '.join(wanted)} need images. Give --images DIR of DIR/CLASS/*.jpg.")
        images = find_images(given.images, given.size, seed=0)
        encoder = named_encoder(given.encoder, given.orientations)
        raw = describe_chips(images, encoder, range(len(images.paths)), given.cache)
        found["images"] = partial(of_images, raw, images.labels, encoder.standardise, 1)
        found["merged"] = partial(of_images, raw, images.labels, encoder.standardise, 4)
    return {source: found[source] for source in wanted}


def mixture(rate: float, chance: np.random.Generator, dim: int = 48, centres: int = 30) -> Search:
    """Points around centres; the class has kinds of its own."""
    count = int(chance.choice([3000, 8000]))
    middles = chance.normal(size=(centres, dim)) / np.sqrt(dim)
    of = chance.choice(centres, count, p=chance.dirichlet(np.full(centres, 0.7)))
    spread = chance.uniform(0.12, 0.3, centres)[of]
    points = middles[of] + chance.normal(size=(count, dim)) * spread[:, None]
    right = chance.choice(count, max(_FEWEST, round(rate * count)), replace=False)
    kinds = chance.normal(size=(chance.integers(1, 4), dim)) / np.sqrt(dim)
    kinds[1:] = kinds[0] + 0.6 * (kinds[1:] - kinds[0])
    of = chance.choice(len(kinds), len(right), p=chance.dirichlet(np.full(len(kinds), 2.0)))
    points[right] = kinds[of] + chance.normal(size=(len(right), dim)) * chance.uniform(0.15, 0.32)
    return centred(points.astype(np.float32), np.isin(np.arange(count), right), standardise=False)


def of_images(
    raw: NDArray[np.float32],
    labels: NDArray[np.int64],
    standardise: bool,
    most_kinds: int,
    rate: float,
    chance: np.random.Generator,
) -> Search:
    """A class folder, or several as one class, thinned until the class has its base rate."""
    kinds = 1 if most_kinds == 1 else int(chance.integers(2, min(most_kinds, len(np.unique(labels)) - 1) + 1))
    truth = np.isin(labels, chance.choice(np.unique(labels), kinds, replace=False))
    wanted = max(_FEWEST, round(rate / (1 - rate) * np.count_nonzero(~truth)))
    kept = np.ones(len(raw), bool)
    kept[chance.permutation(np.flatnonzero(truth))[wanted:]] = False
    right = np.count_nonzero(truth & kept)
    kept[chance.permutation(np.flatnonzero(~truth))[round(right * (1 / rate - 1)) :]] = False
    return centred(raw[kept], truth[kept], standardise)


def centred(raw: NDArray[np.float32], truth: NDArray[np.bool_], standardise: bool) -> Search:
    return Search(fit_centring(raw, standardise=standardise).apply(raw), truth)


def sessions(make: Make, given: argparse.Namespace) -> Iterator[Session]:
    for number in range(given.sessions):
        chance = np.random.default_rng([given.seed, number])
        rate = RATES[number % len(RATES)]
        search = make(rate, chance)
        ranking = searched(search, given.per_round, chance)
        yield Session(rate, *audited(search, ranking, given.marks, number, learns=given.learn))


def searched(search: Search, per_round: int, chance: np.random.Generator) -> Ranking:
    """What the analyst has before the audit."""
    unit, truth = search.unit, search.truth
    query = int(chance.choice(np.flatnonzero(truth)))
    known = np.array([query])
    scores = unit @ unit[query]
    for _ in range(_ROUNDS):
        known = np.r_[known, most_similar(scores, per_round, taken=known)]
        right = truth[known]
        scorer = refine(unit[known[right]], unit[known[~right]], unit, query=unit[query])
        scores = unit @ scorer.weights + scorer.bias
    cut = truth.sum() * np.exp(chance.uniform(-np.log(2), np.log(2)))
    threshold = np.sort(scores)[::-1][int(np.clip(cut, 5, len(scores))) - 1]
    return Ranking(scores, float(threshold), known, truth[known])


def audited(
    search: Search, ranking: Ranking, marks: int, seed: int, *, learns: bool
) -> tuple[list[Estimate], list[dict[str, float]]]:
    """Estimates and truths after every ten marks."""
    audit, told, truths = Audit.of(len(search.truth)), [], []
    while len(audit.numbers) < marks:
        numbers, expected = audit.draw(ranking, min(_PER_DRAW, marks - len(audit.numbers)), seed=seed)
        if not len(numbers):
            break
        audit = audit.with_marks(numbers, search.truth[numbers], expected)
        unseen = None
        if learns:
            ranking, unseen = taught(search, ranking, audit)
        truths.append(truths_of(search, ranking))
        told.append(estimate(audit, ranking, audit_scores=unseen, seed=seed))
    return told, truths


def taught(search: Search, ranking: Ranking, audit: Audit) -> tuple[Ranking, NDArray[np.float64]]:
    """The ranking that audit marks have taught too, of as large an answer, and their scores without themselves, (m,)."""
    unit, truth = search.unit, search.truth
    query = unit[ranking.numbers[0]]
    known = np.r_[audit.numbers, ranking.numbers]
    right, wrong = known[truth[known]], known[~truth[known]]
    pool = pool_of_vectors(unit, direction(unit[right], unit[wrong], query))
    scorer = refine(unit[right], unit[wrong], pool, query=query)
    scores = unit @ scorer.weights + scorer.bias
    part = np.zeros(len(unit))
    part[np.r_[right, wrong]] = own_part(unit[right], unit[wrong], pool, query)
    answered = np.count_nonzero(ranking.scores >= ranking.threshold)
    threshold = float(np.sort(scores)[::-1][max(1, answered) - 1])
    unseen = scores[audit.numbers] - part[audit.numbers]
    return Ranking(scores, threshold, ranking.numbers, ranking.said), unseen


def truths_of(search: Search, ranking: Ranking) -> dict[str, float]:
    """What the intervals should hold."""
    answer = ranking.scores >= ranking.threshold
    found, count = np.count_nonzero(search.truth & answer), np.count_nonzero(search.truth)
    return {"precision": found / np.count_nonzero(answer), "count": count, "recall": found / count}


def rows_of(source: str, rate: float | None, found: Sequence[Session]) -> list[Row]:
    """A row for each number of audit marks."""
    rows = []
    for place in range(min(len(session.told) for session in found)):
        row: Row = {"source": source, "rate": rate, "marks": found[0].told[place].audited, "sessions": len(found)}
        for measure in MEASURES:
            row |= judged(measure, [(getattr(one.told[place], measure), one.truths[place][measure]) for one in found])
        rows.append(row)
    return rows


def judged(measure: str, found: Sequence[tuple[Interval, float]]) -> Row:
    """How often intervals hold the truth, and how wide they are."""
    below = np.mean([truth < each.low - _ROUNDING for each, truth in found])
    above = np.mean([truth > each.high + _ROUNDING for each, truth in found])
    width = np.median([each.width / (truth if measure == "count" else 1) for each, truth in found])
    values = {"held": 1 - below - above, "width": width, "below": below, "above": above}
    return {f"{measure}_{name}": round(float(value), _FINENESS) for name, value in values.items()}


if __name__ == "__main__":
    main()
