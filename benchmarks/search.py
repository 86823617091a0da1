"""Search at full size: 48 million codes that look like real ones, each engine against plain FAISS, the bars beside the figures.

    python benchmarks/search.py --tiles 48e6 --from archive/ --cache cache/ --json search.json

Codes and descriptors are made after the tiles of a real archive (see made_tiles.py), tuned so that a held-out tile is as far
from its 1st, 10th and 100th neighbour as a real one is, in bits and on average: `neighbour_distances` has both. "real": at
most 1000 tiles, each searched for among all others of the real archive; "made": the queries of this run, which are of the
made kind but not in the made archive, by plain FAISS. Made tiles are many more than real ones, so this is an archive whose
tiles are about as alike as those of the real one, not a denser sample of the same ground. Neighbourhoods are alike, unless
--uneven makes some denser and some sparser, as in the real archive: lists then have to read more for the same recall.

Every job runs in a process of its own. Latencies are of single queries through `Index.search`, Python and hits included; of
plain FAISS and the bare product, of their own call. "warm": after a few queries; "cold": the first after opening, with the
archive's files dropped from the system's memory, five a row. Recall: the share of hits that are no farther than the true kth.
`read_ms`: two threads add up the codes in words of 64 bits. `private_mb`: the most memory of its own (10^6 bytes) that the
process held from opening to the last search, pages of mapped files not counted.

What is made stays in the cache folder; with --resume, so do figures that are there. Without --cache all of it is temporary.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from made_archives import coded_archive, described_archive
from made_tiles import GROUPS, RANKS, Recipe, means_at, patterns, real_distances, tuned
from search_jobs import Job, Row, run
from search_plain import read_milliseconds
from search_table import as_text, bars

from workbench.descriptors.archive import Archive, open_archive
from workbench.files import write_json

_CORRECTIONS = 2
_CLOSE = 0.07


class Bench:
    """One run: what it makes, where it keeps it, and what it has measured."""

    def __init__(self, given: argparse.Namespace, cache: Path) -> None:
        self.given = given
        self.like = open_archive(given.source)
        self.vectors, self.codes = patterns(self.like)
        self.real, self.spread = real_distances(np.asarray(self.like.codes), given.seed)
        self.folder = cache / f"{self.like.identity[:12]}-{GROUPS[0]}-{given.seed}{'-uneven' * given.uneven}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.started = time.perf_counter()

    def say(self, text: str) -> None:
        print(f"[{time.perf_counter() - self.started:6.1f} s] {text}", flush=True)

    def full_size(self) -> Row:
        """Everything over codes alone."""
        count = self.given.tiles
        job, recipe, plain, made = self.matching(count)
        found: Row = {
            "tiles": count,
            "bits": self.like.manifest.code_bits,
            "recipe": recipe.record(),
            "neighbour_distances": {"real": self.real, "made": made},
            "read_ms": read_milliseconds(codes_file(job.folder)),
        }
        engines = plain["engines"]
        flat = self.measured(job, "engine", "flat")
        found["flat"] = {name: value for name, value in flat.items() if name != "engines"}
        built = self.measured(job, "build")
        lists = self.measured(job, "engine", "inverted")
        engines = [*engines, *flat.pop("engines"), *lists.pop("engines")]
        return {**found, **built, **lists, "engines": engines}

    def matching(self, count: int) -> tuple[Job, Recipe, Row, dict[int, float]]:
        """Made codes whose neighbours are as far away as real ones', plain FAISS over them, and how far they are."""
        aim = dict(self.real)
        for attempt in range(_CORRECTIONS + 1):
            recipe = self.recipe(count, aim, attempt)
            job = self.coded_job(count, recipe, attempt)
            plain = self.measured(job, "plain")
            made = means_at(np.load(job.true))
            off = max(abs(made[rank] / self.real[rank] - 1) for rank in RANKS)
            self.say(f"neighbours at {made} bits, really at {self.real}: off by {off:.1%}")
            if off <= _CLOSE or attempt == _CORRECTIONS:
                break
            shutil.rmtree(job.folder)
            aim = {rank: aim[rank] * self.real[rank] / made[rank] for rank in RANKS}
        return job, recipe, plain, made

    def coded_job(self, count: int, recipe: Recipe, attempt: int) -> Job:
        self.say(f"making {count:,} codes")
        folder = coded_archive(self.folder / f"codes-{count}-{attempt}", self.like, self.codes, recipe, count)
        return self.job(folder, recipe, count)

    def recipe(self, count: int, aim: dict[int, float], attempt: int = 0) -> Recipe:
        """The recipe for so many tiles: as it was found before, or tuned now."""
        path = self.folder / f"recipe-{count}-{attempt}.json"
        if not path.is_file():
            self.say(
                f"tuning {count:,} made tiles to neighbours at { ({k: round(v, 1) for k, v in aim.items()}) } bits"
            )
            write_json(
                path,
                tuned(self.codes, count, aim, self.spread if self.given.uneven else 0.0, seed=self.given.seed).record(),
            )
        return Recipe.of_record(json.loads(path.read_bytes()))

    def described(self, count: int, name: str, *options: object) -> Row:
        """A job on an archive of ``count`` tiles with descriptors, made by the recipe for codes."""
        self.say(f"making {count:,} descriptors")
        recipe = self.recipe(self.given.tiles, self.real)
        folder = described_archive(self.folder / f"described-{count}", self.like, self.vectors, recipe, count)
        return self.measured(self.job(folder, recipe, count), name, *options)

    def job(self, folder: Path, recipe: Recipe, count: int) -> Job:
        """A job on an archive, its queries ready."""
        queries = self.folder / f"{folder.name}-queries-{self.given.queries}.npy"
        asked = self.vectors.held_out(recipe, count, self.given.queries)
        np.save(queries, asked / np.linalg.norm(asked, axis=1, keepdims=True))
        return Job(folder, queries, queries.with_name(f"{folder.name}-true-{self.given.queries}.npy"), self.given.seed)

    def measured(self, job: Job, name: str, *options: object) -> Row:
        """What a job finds in a process of its own; what it found before, when resuming."""
        told = "-".join(map(str, (job.folder.name, self.given.queries, name, *options)))
        path = self.folder / "figures" / f"{told}.json"
        if self.given.resume and path.is_file():
            self.say(f"{told}: as it was")
            found: Row = json.loads(path.read_bytes())
            return found
        self.say(told)
        asked = json.dumps([str(job.folder), str(job.queries), str(job.true), job.seed, name, list(options)])
        done = subprocess.run(
            [sys.executable, __file__, "--child", asked], stdout=subprocess.PIPE, text=True, check=True
        )
        found = json.loads(done.stdout.splitlines()[-1])
        path.parent.mkdir(exist_ok=True)
        write_json(path, found)
        return found


def main(arguments: Sequence[str] | None = None) -> None:
    given = parsed(arguments)
    if given.child:
        # Of the empty raster only its quick-look copy is missing, and of that every opening would tell.
        logging.getLogger("workbench").setLevel(logging.ERROR)
        folder, queries, true, seed, name, options = json.loads(given.child)
        print(json.dumps(run(Job(Path(folder), Path(queries), Path(true), seed), name, options)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(given, given.cache or Path(scratch))
        found = bench.full_size()
        found["small"] = [bench.described(count, "small", place == 0) for place, count in enumerate(given.small)]
        found["scored"] = bench.described(given.scored, "scored")
        found["total_s"] = round(time.perf_counter() - bench.started, 1)
    found |= {"queries": given.queries, "seed": given.seed, "from": about(bench.like), "machine": machine()}
    found["bars"] = bars(found)
    print(as_text(found))
    if given.json:
        write_json(given.json, found)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", type=Path, help="a real archive, of some thousand tiles or more")
    parser.add_argument("--tiles", type=count, default=48_000_000, help="made tiles; 48e6 is understood")
    parser.add_argument("--small", type=count, nargs="*", default=[45_000, 200_000], help="tiles with descriptors")
    parser.add_argument("--scored", type=count, default=1_000_000, help="tiles for linear scorers")
    parser.add_argument("--queries", type=count, default=200)
    parser.add_argument("--uneven", action="store_true", help="made neighbourhoods as uneven as the real ones")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="folder that keeps what is made: 8 GB for 48 million tiles")
    parser.add_argument("--resume", action="store_true", help="keep figures that are in the cache already")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if not (given.source or given.child):
        parser.error("--from is needed: a real archive, to make tiles after")
    return given


def count(text: str) -> int:
    return int(float(text))


def codes_file(folder: Path) -> Path:
    """The file that holds an archive's codes, in whatever order."""
    return max(folder.rglob("codes-*.npy"), key=lambda path: path.stat().st_size)


def about(archive: Archive) -> Row:
    """What tells the real archive."""
    return {"tiles": len(archive), "encoder": archive.manifest.encoder, "codes": archive.manifest.code_kind}


def machine() -> Row:
    """What figures depend on."""
    return {"cores": os.cpu_count(), "processor": platform.machine(), "system": platform.system()}


if __name__ == "__main__":
    main()
