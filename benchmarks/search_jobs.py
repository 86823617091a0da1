"""What a search benchmark measures, each job in a process of its own, so that its memory and its first answer are its own."""

from __future__ import annotations

import gc
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from made_archives import drop_from_memory, folder_bytes
from numpy.typing import NDArray
from search_plain import Latency, dictionary_scan, latency, matrix_vector, plain_faiss, plain_pynndescent

from workbench.descriptors.archive import Archive, open_archive
from workbench.jobs import Progress
from workbench.search.index import Hits, Index, Scorer
from workbench.search.refine import refine
from workbench.search.where import Where

Row = dict[str, Any]
KS = (10, 100, 1000)
COLD = 5
SHARE = 0.01
_MB = 1e6
_SLACK = 1e-4
_CHUNK = 1 << 16
_SCORERS = 20
_SCANNED = 3
_ROUNDS = 20


@dataclass(frozen=True)
class Job:
    """Where a job finds what it needs.

    Attributes:
        folder: of the archive.
        queries: file of held-out descriptors, float32 (q, dim), of unit length.
        true: file of their true Hamming distances, int32 (q, at most 1000), ascending; written by `plain`.
        seed: of what is drawn.
    """

    folder: Path
    queries: Path
    true: Path
    seed: int

    def asked(self) -> NDArray[np.float32]:
        found: NDArray[np.float32] = np.load(self.queries)
        return found

    def open(self) -> Archive:
        return open_archive(self.folder)


def plain(job: Job) -> Row:
    """FAISS as it comes, over the codes in memory; leaves the true distances."""
    archive = job.open()
    codes = archive.codes
    rows = np.asarray(getattr(codes, "rows", codes))
    true, taken = plain_faiss(rows, archive.code_model.encode(job.asked()), ks_for(len(archive)))
    np.save(job.true, true)
    return {"engines": [row_of("faiss flat, plain", True, k, found, 1.0) for k, found in taken.items()]}


def build(job: Job) -> Row:
    """Sort the codes into lists."""
    with PrivateMemory() as memory:
        started = time.perf_counter()
        index = Index(job.open())
        index.build(Progress())
        took = time.perf_counter() - started
    return {"build_s": round(took, 1), "build_private_mb": memory.peak_mb, "engine_text": index.engine_text}


def engine(job: Job, name: str) -> Row:
    """One engine of the index over codes: opened from the disk, then warm, then cold again."""
    found = warm(job, name)
    asked = job.asked()
    for row in found["engines"]:
        cold = cold_latency(job, name, asked, row["k"])
        row |= {"cold_median_ms": cold.median, "cold_p95_ms": cold.p95, "cold_queries": len(cold.taken)}
    return found


def warm(job: Job, name: str) -> Row:
    """Opening, the first search, and everything that is measured of an open archive."""
    drop_from_memory(job.folder)
    asked, true = job.asked(), np.load(job.true)
    with PrivateMemory() as memory:
        started = time.perf_counter()
        archive = job.open()
        index = Index(archive, name)  # type: ignore[arg-type]
        opened = time.perf_counter()
        index.search(asked[0], 100)
        found: Row = {"open_s": round(opened - started, 3), "first_search_s": round(time.perf_counter() - opened, 3)}
        found["disk_gb"] = round(folder_bytes(job.folder) / 1e9, 3)
        found["engines"] = []
        for k in ks_for(len(archive)):
            taken, hits = searched(index, asked, k)
            right = recall_of(archive, asked, hits, true, k)
            found["engines"].append(row_of(name, name != "inverted", k, taken, right))
        found["filtered"] = filtered(index, asked, job.seed)
        scorers = drawn_scorers(asked, job.seed)
        taken = latency(lambda number: index.search(scorers[number], 100), len(scorers))
        found["linear"] = {"over": "codes", "median_ms": taken.median, "p95_ms": taken.p95}
    return {**found, "private_mb": memory.peak_mb}


def small(job: Job, scan: bool) -> Row:
    """An archive whose descriptors fit into memory, against one product, pynndescent alone and, if asked, a dictionary."""
    archive, asked = job.open(), job.asked()
    index = Index(archive)
    index.warm()
    vectors = archive.vectors
    product = matrix_vector(vectors, asked)
    found: Row = {"tiles": len(archive), "engine": index.engine, "matrix_vector_ms": product.median}
    rows = []
    for k in ks_for(len(archive)):
        taken, hits = searched(index, asked, k)
        right = [cosine_recall(numbers, vectors @ query, k) for numbers, query in zip(hits, asked, strict=True)]
        rows.append(row_of(index.engine, index.engine == "exact", k, taken, float(np.mean(right))))
    found |= {"engines": rows, "to_matrix_vector": round(rows[min(1, len(rows) - 1)]["median_ms"] / product.median, 3)}
    built, taken, right_share = plain_pynndescent(vectors, asked, KS[0], job.seed)
    found["pynndescent"] = {"build_s": built, "recall": right_share, "median_ms": taken.median, "p95_ms": taken.p95}
    if scan:
        found["dictionary_ms"] = dictionary_scan(vectors, asked[:_SCANNED], KS[0]).median
    return found


def scored(job: Job) -> Row:
    """New linear scorers over all descriptors, and rounds of refinement."""
    with PrivateMemory() as memory:
        archive, asked = job.open(), job.asked()
        index = Index(archive)
        scorers = drawn_scorers(asked, job.seed)
        taken = latency(lambda number: index.search(scorers[number], 100), len(scorers))
        hits = [index.search(scorer, 100).numbers for scorer in scorers[:_SCANNED]]
        round_taken = rounds(index, asked)
    exact = all(
        cosine_recall(numbers, scores_of(archive, scorer), 100) == 1
        for numbers, scorer in zip(hits, scorers, strict=False)
    )
    times = {"median_ms": taken.median, "p95_ms": taken.p95}
    times |= {"round_median_ms": round_taken.median, "round_p95_ms": round_taken.p95}
    return {"tiles": len(archive), **times, "exact": exact, "private_mb": memory.peak_mb}


def rounds(index: Index, asked: NDArray[np.float32], marks: int = 40, k: int = 200) -> Latency:
    """How long a round of refinement takes as a session does it: pool, fit and the best ``k``, from so many marks.

    The marks of a query are its nearest tiles, every third of them negative.
    """
    archive, count = index.archive, min(_ROUNDS, len(asked))
    numbers = [index.search(query, marks).numbers for query in asked[:count]]
    wrong = np.arange(marks) % 3 == 2

    def play(number: int) -> None:
        marked = archive.examples_of(numbers[number])
        scorer = refine(marked[~wrong], marked[wrong], index, query=asked[number])
        index.search(scorer, k)

    return latency(play, count)


def filtered(index: Index, asked: NDArray[np.float32], seed: int) -> list[Row]:
    """Search in a hundredth of the tiles: those of an area, and as many drawn; held against a plain scan of their codes."""
    archive = index.archive
    count = len(archive)
    drawn = np.sort(np.random.default_rng(seed).choice(count, max(1, int(count * SHARE)), replace=False))
    raster = archive.imagery[0]
    west, south, east, north = raster.footprint(crs=str(raster.crs)).bounds
    side = SHARE**0.5
    area = Where(
        area=_box(west, south, west + side * (east - west), south + side * (north - south)), crs=str(raster.crs)
    )
    queries = archive.code_model.encode(asked[:_SCANNED])
    found = []
    for name, where in (("area", area), ("drawn", drawn)):
        numbers = drawn if name == "drawn" else area.numbers(archive)
        k = min(100, len(numbers))
        taken, hits = searched(index, asked, 100, where)
        codes, exact = archive.codes[numbers], True
        for query, mine in zip(queries, hits, strict=False):
            distances = np.bitwise_count(codes ^ query).sum(axis=1, dtype=np.int64)
            near = np.sort(distances[np.searchsorted(numbers, mine)])
            exact &= bool(np.isin(mine, numbers).all()) and np.array_equal(near, np.sort(distances)[:k])
        times = {"median_ms": taken.median, "p95_ms": taken.p95}
        found.append({"where": name, "tiles": len(numbers), **times, "exact": exact})
    return found


def searched(
    index: Index, asked: NDArray[np.float32], k: int, where: Any = None
) -> tuple[Latency, list[NDArray[np.int64]]]:
    """How long each query takes, and the numbers of its hits."""
    found: list[Hits] = [Hits()] * len(asked)

    def ask(number: int) -> None:
        found[number] = index.search(asked[number], k, where)

    taken = latency(ask, len(asked))
    return taken, [hits.numbers for hits in found]


def recall_of(
    archive: Archive,
    asked: NDArray[np.float32],
    hits: Sequence[NDArray[np.int64]],
    true: NDArray[np.int32],
    k: int,
) -> float:
    """Share of hits that are no farther than the true kth nearest code, over all queries; a hit too few is a miss."""
    codes, queries = archive.codes, archive.code_model.encode(asked)
    right = 0
    for query, numbers, distances in zip(queries, hits, true, strict=True):
        right += int((np.bitwise_count(codes[numbers] ^ query).sum(axis=1) <= distances[k - 1]).sum())
    return round(right / (k * len(asked)), 5)


def cosine_recall(numbers: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> float:
    """Share of ``k`` hits whose score is no lower than the true kth, but for rounding."""
    least = np.partition(scores, len(scores) - k)[len(scores) - k]
    return float((scores[numbers] >= least - _SLACK * max(1.0, abs(float(least)))).sum() / k)


def scores_of(archive: Archive, scorer: Scorer) -> NDArray[np.float32]:
    """A scorer's score of every tile, as its definition has it."""
    parts = (np.arange(start, min(len(archive), start + _CHUNK)) for start in range(0, len(archive), _CHUNK))
    return np.concatenate([archive.vectors_of(part) @ scorer.weights + np.float32(scorer.bias) for part in parts])


def drawn_scorers(asked: NDArray[np.float32], seed: int) -> list[Scorer]:
    """Scorers as refinement learns them: directions between some queries, of any length, with a bias."""
    draw = np.random.default_rng(seed)
    mixed = draw.standard_normal((min(_SCORERS, len(asked)), len(asked))).astype(np.float32) @ asked
    return [Scorer(weights, -1.0, "benchmark") for weights in mixed]


def cold_latency(job: Job, name: str, asked: NDArray[np.float32], k: int) -> Latency:
    """Milliseconds of the first search after opening, nothing of the archive in memory; opening is not counted."""
    taken = []
    for query in asked[:COLD]:
        gc.collect()
        drop_from_memory(job.folder)
        index = Index(job.open(), name)  # type: ignore[arg-type]
        started = time.perf_counter()
        index.search(query, k)
        taken.append(1e3 * (time.perf_counter() - started))
        del index
    return Latency(taken)


def ks_for(count: int) -> tuple[int, ...]:
    """The numbers of hits that are asked for."""
    return tuple(k for k in KS if k <= count)


def row_of(name: str, exact: bool, k: int, taken: Latency, recall: float) -> Row:
    """A row of the table of engines."""
    return {
        "engine": name,
        "exact": exact,
        "k": k,
        "median_ms": taken.median,
        "p95_ms": taken.p95,
        "recall": round(recall, 5),
    }


class PrivateMemory:
    """The most memory of its own that a process holds while this is open; pages of mapped files are not its own.

    Attributes:
        peak_mb: in megabytes (10^6); None where the system does not tell.
    """

    def __init__(self) -> None:
        self.peak_mb: float | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PrivateMemory:
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._done.wait(0.2):
            self._look()

    def _look(self) -> None:
        status = Path("/proc/self/status")
        if status.is_file():
            held = sum(int(value) for value in re.findall(r"Rss(?:Anon|Shmem):\s+(\d+) kB", status.read_text()))
            self.peak_mb = max(self.peak_mb or 0.0, round(held * 1024 / _MB, 1))


def _box(west: float, south: float, east: float, north: float) -> Any:
    from shapely import box

    return box(west, south, east, north)


JOBS: dict[str, Callable[..., Row]] = {
    "plain": plain,
    "build": build,
    "engine": engine,
    "small": small,
    "scored": scored,
}


def run(job: Job, name: str, options: Sequence[object]) -> Row:
    """Run one job by its name."""
    return JOBS[name](job, *options)
