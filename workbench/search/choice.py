"""Which engine answers: the exact one while it is fast enough here, then all codes, then lists of them; and why, in words."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.archive import Archive
from workbench.search.engines.exact import linear_scores
from workbench.search.engines.flat import flat_distances
from workbench.search.engines.inverted import Measured

Name = Literal["exact", "flat", "inverted", "graph"]
FAST_MS = 100.0
"""What takes no longer feels immediate (Miller 1968, "Response time in man-computer conversational transactions")."""
LINEAR_BYTES = 4 << 30
"""Descriptors that a new scorer may read whole: four million tiles of 512 dimensions, in about 150 ms."""
_TRIED_BYTES = 16 << 20
_TRIES = 5


@dataclass(frozen=True)
class Choice:
    """An engine's name, and why it answers, in words."""

    name: Name
    text: str


def choose(archive: Archive, measured: Measured | None) -> Choice:
    """The right engine for an archive on this machine, by timing a small part of its descriptors or codes.

    Args:
        archive: to be searched.
        measured: of its lists; None where they are not built.
    """
    count = len(archive)
    if archive.has_descriptors and fits_memory(archive):
        milliseconds = exact_milliseconds(archive)
        if milliseconds <= FAST_MS:
            return Choice("exact", f"exact: all {count:,} descriptors are compared, in about {milliseconds:.2g} ms")
    then = "the best are ranked by their descriptors" if archive.has_descriptors else "there are no descriptors"
    if measured is not None and measured.milliseconds < measured.flat_milliseconds:
        return Choice(
            "inverted",
            f"inverted file: about {measured.rows:,} codes are read, which finds {100 * measured.recall:.1f} % of the 100 "
            f"nearest of {count:,} (measured on {measured.queries} tiles) in {measured.milliseconds:.2g} ms instead of "
            f"{measured.flat_milliseconds:.3g} ms; {then}",
        )
    milliseconds = flat_milliseconds(archive)
    text = f"flat: all {count:,} codes are compared, in about {milliseconds:.2g} ms; {then}"
    slow = milliseconds > FAST_MS and measured is None
    return Choice("flat", f"{text}. index.build() sorts them into lists, which is quicker" if slow else text)


def fits_memory(archive: Archive) -> bool:
    """Whether a new scorer may read all descriptors: they are not too many, and stay in memory once read."""
    size = 2 * len(archive) * archive.manifest.dim
    return size <= min(LINEAR_BYTES, _memory() // 2)


def exact_milliseconds(archive: Archive) -> float:
    """How long comparing all descriptors takes here, from the fastest of a few tries with 16 MB of them."""
    dim = archive.manifest.dim
    raw = archive.raw[: max(1, _TRIED_BYTES // (2 * dim))]
    ones = np.ones(dim, np.float32)
    return _milliseconds(lambda: linear_scores([(0, raw)], len(raw), ones, ones, ones)) * len(archive) / len(raw)


def flat_milliseconds(archive: Archive) -> float:
    """How long comparing all codes takes here, from the fastest of a few tries with 16 MB of them."""
    codes: NDArray[np.uint8] = archive.codes[: max(1, _TRIED_BYTES // archive.codes.shape[1])]
    return _milliseconds(lambda: flat_distances(codes, codes[0])) * len(archive) / len(codes)


def _milliseconds(work: Callable[[], object]) -> float:
    work()
    took = []
    for _ in range(_TRIES):
        began = perf_counter()
        work()
        took.append(perf_counter() - began)
    return 1e3 * min(took)


def _memory() -> int:
    """Bytes of memory of this machine; as much as one could wish where it cannot be told."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 1 << 62
