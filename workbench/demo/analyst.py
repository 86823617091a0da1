"""An analyst played by the truth: judges tiles by a mask, marks hits round by round, and measures precision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.archive import Archive
from workbench.errors import RasterUnreadable
from workbench.imagery.rasters import Raster
from workbench.search.index import Hits
from workbench.session import Session

IGNORE = 255
MARKS = 10
K = 20
_LEAST_KNOWN = 0.5
_LEAST_POSITIVE = 10
_STRIP = 1024


@dataclass(frozen=True)
class Target:
    """Something to look for: which tiles hold it and which can be judged.

    Attributes:
        name: of the class.
        rule: what makes a tile positive, in words.
        positive: tiles that hold it, bool (n,).
        known: tiles that the truth says enough about, bool (n,).
    """

    name: str
    rule: str
    positive: NDArray[np.bool_]
    known: NDArray[np.bool_]

    @property
    def base_rate(self) -> float:
        """Share of positive tiles among those that can be judged."""
        return float(self.positive[self.known].mean())


@dataclass(frozen=True)
class Round:
    """One state of a search session: its ranking's quality, and the tiles that are marked next.

    Attributes:
        precision: share of positive tiles among the best 20, marked ones included.
        precision_unmarked: the same among tiles that are not marked yet.
        shown: the ten best unmarked tiles, marked next; in the last round the ten best of all.
        right: whether each of them is positive.
    """

    precision: float
    precision_unmarked: float
    shown: Hits
    right: tuple[bool, ...]


@dataclass(frozen=True)
class Search:
    """A search session: the first example, then one entry a round (round 0 is the bare query)."""

    target: Target
    query: int
    rounds: tuple[Round, ...]


def shares(archive: Archive, truth: Raster, classes: int) -> NDArray[np.float64]:
    """How much of each tile is known and how much of that is each class.

    Args:
        archive: whose tiles of the first raster are looked at.
        truth: mask on that raster's grid: 0, 1...classes, 255 where nobody looked.
        classes: highest class.

    Returns:
        (n, classes + 2): share of class 0...classes among the known pixels, then the share of known pixels.
    """
    found = np.zeros((len(archive), classes + 2))
    tiles = archive.tiles
    order = np.argsort(tiles["row"], kind="stable")
    strip, top = np.empty((0, truth.width), np.uint8), 0
    for number in order:
        row, col, size = int(tiles["row"][number]), int(tiles["col"][number]), int(tiles["size"][number])
        if row + size > top + len(strip) or row < top:
            strip, top = read_rows(truth, row, min(truth.height, row + size + _STRIP)), row
        counts = np.bincount(strip[row - top : row - top + size, col : col + size].ravel(), minlength=256)
        known = counts[: classes + 1].sum()
        found[number, : classes + 1] = counts[: classes + 1] / max(1, known)
        found[number, -1] = known / size**2
    return found


def read_rows(truth: Raster, top: int, bottom: int) -> NDArray[np.uint8]:
    """Rows of a mask, (bottom - top, cols); 255 also where the file says no-data.

    Raises:
        RasterUnreadable: the file is no mask of class numbers.
    """
    from rasterio.windows import Window

    pixels = truth.read(Window(0, top, truth.width, bottom - top), bands=[0])[0]
    if pixels.dtype != np.uint8:
        raise RasterUnreadable(
            f"{truth.name} has {pixels.dtype} pixels; expected a uint8 mask of class numbers, 255 unknown."
        )
    return np.ma.filled(pixels, IGNORE)


def find_targets(share: NDArray[np.float64], names: list[str], least: float, open_name: str | None) -> list[Target]:
    """What is worth looking for: each class, and ground without any, where at least ten tiles hold it."""
    known = share[:, -1] >= _LEAST_KNOWN
    found = [
        Target(name, f"at least {least:.0%} {name}", known & (share[:, number] >= least), known)
        for number, name in enumerate(names, 1)
    ]
    if open_name:
        what = names[0] if len(names) == 1 else "of all classes"
        found.append(Target(open_name, f"under 10% {what}", known & (share[:, 0] > 0.9), known))
    return [target for target in found if target.positive.sum() >= _LEAST_POSITIVE and not target.positive[known].all()]


def play(session: Session, target: Target, query: int, rounds: int = 3) -> Search:
    """Search from one positive tile, mark the ten best unmarked hits by the truth, refine, and again."""
    where = target.known.copy()
    where[query] = False
    session.search(tile=query, k=K, where=where)
    session.label(query, target.name)
    unmarked = where.copy()
    played: list[Round] = []
    for number in range(rounds + 1):
        best, fresh = (session.index.search(session.scorer, K, tiles) for tiles in (where, unmarked))  # type: ignore[arg-type]
        shown = (fresh if number < rounds else best)[:MARKS]
        right = tuple(bool(target.positive[hit.number]) for hit in shown)
        played.append(Round(_precision(best, target), _precision(fresh, target), shown, right))
        if number == rounds:
            break
        for value in (1, -1):
            chosen = [hit for hit, good in zip(shown, right, strict=True) if good == (value == 1)]
            if chosen:
                session.label(chosen, target.name, value=value)
        unmarked[shown.numbers] = False
        session.refine(target.name, k=K, where=where)
    return Search(target, query, tuple(played))


def play_often(archive: Archive, labels: Path, target: Target, times: int, seed: int = 0) -> list[Search]:
    """Sessions from several first examples drawn at random, each with a label folder of its own in ``labels``."""
    drawn = np.random.default_rng(seed).permutation(np.flatnonzero(target.positive))[:times]
    searches = []
    for number, query in enumerate(drawn):
        session = Session(archive, labels / f"session-{number + 1}")
        searches.append(play(session, target, int(query)))
        session.close()
    return searches


def _precision(hits: Hits, target: Target) -> float:
    return float(target.positive[hits.numbers].mean()) if len(hits) else float("nan")
