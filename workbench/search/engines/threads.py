"""Work in two threads: kernels that let go of the interpreter run on slices, with no OpenMP and nothing shared."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import TypeVar

T = TypeVar("T")
THREADS = 2
"""Reading memory is what takes the time, and two cores read all that most machines can deliver."""


def in_slices(work: Callable[[slice], T], count: int, *, least: int = 1) -> list[T]:
    """Call ``work`` with slices that make up ``range(count)``, at the same time, and give its answers in order.

    Args:
        work: called from several threads at once.
        count: how many rows there are; 0 gives one empty slice.
        least: rows that are worth a thread.
    """
    threads = max(1, min(THREADS, os.cpu_count() or 1, count // max(1, least)))
    bounds = [count * part // threads for part in range(threads + 1)]
    slices = [slice(start, stop) for start, stop in pairwise(bounds)]
    # The caller's own thread takes the first slice: one hand-over less.
    others = [_pool(os.getpid()).submit(work, part) for part in slices[1:]]
    first = work(slices[0])
    return [first, *(other.result() for other in others)]


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """Threads of this process: those of a parent do not live on in a forked child."""
    return ThreadPoolExecutor(THREADS, thread_name_prefix="search")
