"""What search is held against: reading codes once, plain FAISS, one matrix-vector product, a dictionary, pynndescent alone."""

from __future__ import annotations

import gc
import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

_THREADS = min(2, os.cpu_count() or 1)
_WARM = 3


@dataclass(frozen=True)
class Latency:
    """Milliseconds of single queries."""

    taken: Sequence[float]

    @property
    def median(self) -> float:
        return round(float(np.median(self.taken)), 3)

    @property
    def p95(self) -> float:
        return round(float(np.percentile(self.taken, 95)), 3)


def latency(ask: Callable[[int], object], count: int, warm: int = _WARM) -> Latency:
    """Ask ``count`` queries one after another; the first ``warm`` of them once before, unmeasured."""
    for number in range(min(warm, count)):
        ask(number)
    taken = []
    gc.collect()
    for number in range(count):
        started = time.perf_counter()
        ask(number)
        taken.append(1e3 * (time.perf_counter() - started))
    return Latency(taken)


def read_milliseconds(path: Path, rounds: int = 5) -> float:
    """How long two threads take to add up a file of codes, already in memory, in words of 64 bits: median of some rounds."""
    codes = np.load(path, mmap_mode="r").reshape(-1)
    words = codes[: len(codes) // 8 * 8].view(np.uint64)
    parts = np.array_split(words, _THREADS)
    with ThreadPoolExecutor(_THREADS) as pool:
        taken = latency(lambda _: list(pool.map(np.sum, parts)), rounds, warm=1)
    return taken.median


def plain_faiss(
    codes: NDArray[np.uint8], queries: NDArray[np.uint8], ks: Sequence[int]
) -> tuple[NDArray[np.int32], dict[int, Latency]]:
    """FAISS's flat binary index as it comes: the true distances (queries, most hits) and the latency for each k."""
    index = faiss.IndexBinaryFlat(8 * codes.shape[1])
    index.add(np.ascontiguousarray(codes))
    faiss.omp_set_num_threads(_THREADS)
    most = min(max(ks), len(codes))
    true = np.zeros((len(queries), most), np.int32)
    taken = {}
    for k in ks:

        def ask(number: int, k: int = k) -> None:
            found = index.search(queries[number : number + 1], k)[0][0]
            if k == max(ks):
                true[number] = found[:most]

        taken[k] = latency(ask, len(queries))
    return true, taken


def matrix_vector(vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> Latency:
    """One bare product of all vectors and a query, without choosing the best."""
    return latency(lambda number: vectors @ queries[number], len(queries))


def dictionary_scan(vectors: NDArray[np.float32], queries: NDArray[np.float32], k: int) -> Latency:
    """The published baseline: descriptors as lists in a dictionary by tile name, each cosine in plain Python, all sorted."""
    table = {f"tile {number}": row for number, row in enumerate(vectors.tolist())}

    def ask(number: int) -> list[tuple[float, str]]:
        query = queries[number].tolist()
        length = math.sqrt(sum(value * value for value in query))
        scored = []
        for name, row in table.items():
            product = sum(a * b for a, b in zip(row, query, strict=True))
            scored.append((product / (length * math.sqrt(sum(value * value for value in row))), name))
        return sorted(scored, reverse=True)[:k]

    return latency(ask, len(queries), warm=0)


def plain_pynndescent(
    vectors: NDArray[np.float32], queries: NDArray[np.float32], k: int, seed: int
) -> tuple[float, Latency, float]:
    """Seconds to build and prepare pynndescent's own index, its latency, and the share of hits no farther than the kth."""
    from pynndescent import NNDescent

    started = time.perf_counter()
    index = NNDescent(vectors, metric="dot", random_state=seed, n_jobs=_THREADS)
    index.prepare()
    index.query(queries[:1], k=k)
    built = time.perf_counter() - started
    found: list[NDArray[np.int32]] = [np.empty(0, np.int32)] * len(queries)

    def ask(number: int) -> None:
        found[number] = index.query(queries[number : number + 1], k=k)[0][0]

    taken = latency(ask, len(queries))
    right = []
    for query, numbers in zip(queries, found, strict=True):
        scores = vectors @ query
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        right.append((scores[numbers] >= least - 1e-5).mean())
    return round(built, 1), taken, round(float(np.mean(right)), 4)
