"""The index: the best k tiles of an archive for a query or a scorer, with ties in a fixed order, at any size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.archive import Archive
from workbench.errors import QueryInvalid, ShapeMismatch
from workbench.imagery.grid import Tile
from workbench.jobs import Progress, shown_progress
from workbench.search.answers import Answers
from workbench.search.choice import Name
from workbench.search.engines.best import highest
from workbench.search.graph import SMALL, Duplicates, Graph, build_graph, exact_graph, near_duplicates, read_graph
from workbench.search.overlaps import SAME_OBJECT, apart
from workbench.search.refinement.sizes import best_within
from workbench.search.stored_lists import build_lists

_UNIT = 1e-3
_VERY_MANY, _FEW_LEFT_OUT = 1_000_000, 10_000
_TIMES_K = 4
"""So many times more are searched for where tiles that show one object are to give one hit."""


@dataclass(frozen=True)
class Scorer:
    """What ranks an archive: score = descriptor . weights + bias.

    Attributes:
        weights: float32 (dim,); a query's own descriptor gives the cosine.
        bias: added to every score.
        kind: how it came about, in words, as shown to the user.
        within: whether the best smaller tile inside a tile speaks for it, where it scores higher; see `refinement.sizes`.
    """

    weights: NDArray[np.float32]
    bias: float = 0.0
    kind: str = "nearest neighbours"
    within: bool = False

    @property
    def is_descriptor(self) -> bool:
        """Whether it is a query's descriptor, of unit length and without bias: scores are then cosines."""
        return self.bias == 0 and abs(float(np.linalg.norm(self.weights)) - 1) < _UNIT


@dataclass(frozen=True)
class Hit:
    """One answer: a tile of the archive, its score and its rank from 1."""

    number: int
    tile: Tile
    score: float
    rank: int


@dataclass(frozen=True)
class Hits(Sequence[Hit]):
    """Answers in the order of their ranks; a slice is hits again.

    Attributes:
        hits: best first.
        scored_by: what scores are: ``cosine``, ``hamming`` (share of bits that agree, where there are codes only), or
            ``linear`` (a scorer's weights and bias).
    """

    hits: tuple[Hit, ...] = ()
    scored_by: str = "cosine"

    @overload
    def __getitem__(self, item: int) -> Hit: ...
    @overload
    def __getitem__(self, item: slice) -> Hits: ...
    def __getitem__(self, item: int | slice) -> Hit | Hits:
        return Hits(self.hits[item], self.scored_by) if isinstance(item, slice) else self.hits[item]

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    @property
    def numbers(self) -> NDArray[np.int64]:
        """Rows of the hits in the archive."""
        return np.array([hit.number for hit in self.hits], np.int64)


class Allowed(Protocol):
    """What says which tiles may be hits, as `where.Where` does."""

    def numbers(self, archive: Archive) -> NDArray[np.int64] | None:
        """Their rows in the archive, rising; None: all."""

    def without(self) -> NDArray[np.int64] | None:
        """Rows of those that may not be hits, rising, where it says no more than that; None otherwise."""


class Index:
    """Answers top-k over an archive; holds nothing that could not be made anew from it.

    Which engine answers is chosen by measurement when it is first needed. Those other than the exact one make a shortlist
    by codes and rank it by descriptors where the archive has any: scores of hits are then exact, though now and then a
    tile may be missing.

    Attributes:
        archive: that is searched.
    """

    def __init__(self, archive: Archive, engine: Name | None = None) -> None:
        """Search ``archive``, with this ``engine`` or, when None, the one that suits it."""
        self.archive = archive
        self._answers = Answers(archive, engine)

    @property
    def engine(self) -> Name:
        """Name of the engine that answers: exact, flat, inverted or, where it was asked for, graph."""
        return self._answers.choice.name

    @property
    def engine_text(self) -> str:
        """The engine in words: what it reads, its recall where that was measured, and why it answers."""
        return self._answers.choice.text

    def warm(self) -> None:
        """Choose the engine, compile its kernels and read what it needs, so that the first click waits for none of it."""
        if len(self.archive):
            ones = np.ones(self.archive.manifest.dim, np.float32)
            self.search(Scorer(ones / np.linalg.norm(ones)), 1)
            self.search(Scorer(ones, bias=1.0), 1)

    def build(self, progress: Progress | None = None) -> None:
        """Sort the codes into lists, for archives of millions of tiles; what is then found is measured and recorded.

        Args:
            progress: counts tiles; a bar is shown when None.

        Raises:
            Cancelled: the user stopped it.
            DiskFull: there is no room for the codes in their new order.
        """
        with shown_progress(progress) as shown:
            self._answers.built(build_lists(self.archive, shown))

    def scores(self, query: Scorer | NDArray[np.float32]) -> NDArray[np.float32]:
        """The score of every tile, float32 (n,): exact where all descriptors can be read at once, else from the codes.

        Raises:
            ShapeMismatch: the query has another length than the archive's descriptors.
            QueryInvalid: the query holds a value that is not finite, or nothing at all.
        """
        scorer = self._checked(query)
        if scorer.is_descriptor:
            scores = self._answers.all_nearest(scorer.weights)
        else:
            scores = self._answers.all_linear(scorer.weights, scorer.bias)
        return best_within(self.archive, scores)[0] if scorer.within else scores

    def search(
        self,
        query: Scorer | NDArray[np.float32],
        k: int = 50,
        where: Where | None = None,
        *,
        one_per_object: bool = False,
    ) -> Hits:
        """The ``k`` best tiles, or all there are.

        Args:
            query: a descriptor (dim,) of unit length, or a scorer.
            k: at most so many hits.
            where: tiles that may be hits: a `where.Where`, true or false for each, (n,), or their numbers; all when None.
            one_per_object: leave out tiles that show the same ground as a better hit; see `overlaps.apart`.

        Returns:
            min(k, tiles allowed) hits, best first; equal scores in the archive's own order.

        Raises:
            QueryInvalid: ``k`` is negative, or the query is not usable.
            ShapeMismatch: the query or ``where`` has another length than the archive.
        """
        if k < 0:
            raise QueryInvalid(f"k is {k}; expected 0 or more hits.")
        scorer, count = self._checked(query), len(self.archive)
        if scorer.within:
            hits = self.top(self.scores(scorer), k, where, one_per_object=one_per_object)
            return hits if scorer.is_descriptor else replace(hits, scored_by="linear")
        out = self._left_out(where)
        if out is not None:
            more = partial(self._search_without, scorer, out)
            return self._best(more, k, count - len(out), one_per_object)
        numbers = self._numbers(where, count)
        most = count if numbers is None else len(numbers)
        return self._best(lambda wanted: self._search(scorer, wanted, numbers), k, most, one_per_object)

    def one_per_object(self, hits: Hits, share: float = SAME_OBJECT) -> Hits:
        """Hits without those that share ground with a better one; ranks are counted anew.

        Args:
            hits: best first.
            share: of the smaller window, from which on two show the same ground; see `overlaps.apart`.

        Raises:
            QueryInvalid: the share is not between 0 and 1.
        """
        kept = apart(self.archive, hits.numbers, share).tolist()
        found = (replace(hits[place], rank=rank) for rank, place in enumerate(kept, 1))
        return Hits(tuple(found), hits.scored_by)

    def neighbours(self, tile: int, k: int = 10) -> Hits:
        """The ``k`` tiles most like one of the archive, without itself, with their cosines.

        Once `build_graph` was called they are looked up (as far as it keeps so many; some may be missing, see its
        recall), otherwise searched for.

        Raises:
            QueryInvalid: there is no such tile, or ``k`` is negative.
        """
        if not 0 <= tile < len(self.archive):
            raise QueryInvalid(f"There is no tile {tile}. There are {len(self.archive):,}, counted from 0.")
        if k < 0:
            raise QueryInvalid(f"k is {k}; expected 0 or more hits.")
        k = min(k, len(self.archive) - 1)
        return self._hits(*self._answers.near_tile(tile, k, self.graph), self._answers.scored_by) if k else Hits()

    def near_duplicates(self, least: float = 0.98, *, overlapping: bool = False) -> Duplicates:
        """Pairs of tiles that look all but the same; see `graph.near_duplicates`.

        Args:
            least: cosine of such a pair.
            overlapping: also pairs whose windows overlap in one raster, which look alike for that reason.

        Raises:
            QueryInvalid: ``least`` is no cosine, or there are too many tiles to do without a graph.
        """
        graph = self.graph
        if graph is None and len(self.archive) > SMALL:
            raise QueryInvalid(
                f"Near-duplicates among {len(self.archive):,} tiles need the graph of neighbours. Call index.build_graph() "
                "first; it is kept."
            )
        graph = exact_graph(self.archive) if graph is None else graph
        return near_duplicates(self.archive, graph, least, overlapping=overlapping)

    def build_graph(self, progress: Progress | None = None) -> Graph:
        """Find the neighbours of every tile and keep them, for `neighbours` and `near_duplicates`; see `graph.build_graph`.

        Args:
            progress: counts tiles; a bar is shown when None.

        Raises:
            ArchiveInvalid: the archive holds codes only.
            QueryInvalid: there are too many tiles to hold their descriptors in memory.
        """
        with shown_progress(progress) as shown:
            self.__dict__["graph"] = built = build_graph(self.archive, shown)
        return built

    @cached_property
    def graph(self) -> Graph | None:
        """The graph of neighbours as it is kept; None before `build_graph`."""
        return read_graph(self.archive) if self.archive.has_descriptors else None

    def _left_out(self, where: Where | None) -> NDArray[np.int64] | None:
        """The few tiles that a filter leaves out of very many: numbering all others would take longer than the search."""
        if where is None or isinstance(where, np.ndarray) or len(self.archive) < _VERY_MANY:
            return None
        out = where.without()
        if out is None or len(out) > _FEW_LEFT_OUT:
            return None
        return out[(out >= 0) & (out < len(self.archive))]

    def _search_without(self, scorer: Scorer, out: NDArray[np.int64], k: int) -> Hits:
        hits = self._search(scorer, k + len(out), None)
        kept = [hits[place] for place in np.flatnonzero(~np.isin(hits.numbers, out)).tolist()[:k]]
        return Hits(tuple(replace(hit, rank=rank) for rank, hit in enumerate(kept, 1)), hits.scored_by)

    def _search(self, scorer: Scorer, k: int, numbers: NDArray[np.int64] | None) -> Hits:
        if k == 0:
            return Hits()
        if scorer.is_descriptor:
            return self._hits(*self._answers.nearest(scorer.weights, k, numbers), self._answers.scored_by)
        return self._hits(*self._answers.linear(scorer.weights, scorer.bias, k, numbers), "linear")

    def top(
        self, scores: NDArray[np.float32], k: int, where: Where | None = None, *, one_per_object: bool = False
    ) -> Hits:
        """The ``k`` highest of the given scores as hits; see `search`."""
        numbers = self._numbers(where, len(scores))
        scored_by = "cosine" if self.archive.has_descriptors else "hamming"

        def highest_of(count: int) -> Hits:
            best = highest(scores, count, numbers)
            return self._hits(best, scores[best], scored_by)

        return self._best(highest_of, k, len(scores) if numbers is None else len(numbers), one_per_object)

    def _best(self, search: Callable[[int], Hits], k: int, most: int, one_per_object: bool) -> Hits:
        """The best ``k`` that a search for so many gives, of ``most`` there are; more are asked for until enough remain."""
        if not one_per_object:
            return search(min(k, most))
        count = min(most, _TIMES_K * k)
        while True:
            hits = self.one_per_object(search(count))[:k]
            if len(hits) == k or count == most:
                return hits
            count = min(most, _TIMES_K * count)

    def _checked(self, query: Scorer | NDArray[np.float32]) -> Scorer:
        scorer = query if isinstance(query, Scorer) else Scorer(np.asarray(query, np.float32))
        if scorer.weights.shape != (self.archive.manifest.dim,):
            raise ShapeMismatch(
                f"The query has shape {scorer.weights.shape}, descriptors here have ({self.archive.manifest.dim},). "
                "Describe it with this archive's encoder."
            )
        if not np.isfinite(scorer.weights).all() or not scorer.weights.any():
            raise QueryInvalid(
                "The query's descriptor is zero or not finite; there may be no data under it. Choose another place."
            )
        return scorer

    def _numbers(self, where: Where | None, count: int) -> NDArray[np.int64] | None:
        """Rows of the tiles that may be hits, rising; None: all."""
        if where is None:
            return None
        if not isinstance(where, np.ndarray):
            return where.numbers(self.archive)
        if where.dtype != bool:
            return _checked_numbers(where, count)
        if where.shape != (count,):
            raise ShapeMismatch(f"where has shape {where.shape}; expected one value for each of {count} tiles.")
        return np.flatnonzero(where)

    def _hits(self, numbers: NDArray[np.int64], scores: NDArray[np.float32], scored_by: str) -> Hits:
        tiles = np.asarray(self.archive.tiles[numbers]).tolist()
        found = zip(numbers.tolist(), tiles, scores.tolist(), strict=True)
        hits = (Hit(number, Tile(*tile), score, rank) for rank, (number, tile, score) in enumerate(found, 1))
        return Hits(tuple(hits), scored_by)


Where = NDArray[np.bool_] | NDArray[np.integer[Any]] | Allowed


def _checked_numbers(numbers: NDArray[Any], count: int) -> NDArray[np.int64]:
    found = numbers.astype(np.int64, copy=False)
    if not (found[1:] > found[:-1]).all():  # sorting half a million that rise already takes longer than searching them
        found = np.unique(found)
    if len(found) and not 0 <= found[0] <= found[-1] < count:
        raise QueryInvalid(
            f"where names tiles {found[0]} to {found[-1]}; there are {count:,}, counted from 0. Give numbers of tiles."
        )
    return found
