"""Between an archive and the engines: which tiles score best, from its descriptors, its codes, or both."""

from __future__ import annotations

from functools import cached_property
from threading import RLock

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.archive import Archive
from workbench.descriptors.codes.decoding import archive_decoder
from workbench.search.choice import Choice, Name, choose, fits_memory
from workbench.search.engines.best import highest
from workbench.search.engines.bits import BitScorer, bit_scorer
from workbench.search.engines.coded import Coded
from workbench.search.engines.descent import Descent
from workbench.search.engines.exact import linear_scores
from workbench.search.engines.inverted import Lists, Measured
from workbench.search.graph import SMALL, Graph, descent_of, recall_of
from workbench.search.stored_lists import read_lists

Best = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Tile numbers (m,), best first, and their scores (m,)."""
_SHORTLIST = (1000, 10_000)
_SHARE = 100  # of very many tiles, more are about as near by their codes; measured on lines between places, with noise
_TIMES_K = 10
_FEW = 4  # from every fourth tile on, reading all descriptors in turn is quicker than picking
_CHUNK = 1 << 15


class Answers:
    """Answers queries from what an archive has; made for one `Index`, and safe to be asked from several threads.

    Attributes:
        archive: that is searched.
    """

    def __init__(self, archive: Archive, engine: Name | None) -> None:
        """Search ``archive``, with this ``engine`` or, when None, the one that suits it."""
        self.archive = archive
        self._asked = engine
        self._lock = RLock()

    @property
    def choice(self) -> Choice:
        """The engine, and why it answers; chosen when first asked for."""
        with self._lock:
            return self._choice

    @property
    def reads_all(self) -> bool:
        """Whether a scorer is answered from all descriptors."""
        return self.choice.name in ("exact", "graph") or (self.archive.has_descriptors and fits_memory(self.archive))

    @property
    def scored_by(self) -> str:
        """What the score of a descriptor's hits is: cosine, or Hamming similarity where there are codes only."""
        return "cosine" if self.archive.has_descriptors else "hamming"

    def built(self, lists: tuple[Lists, Measured]) -> None:
        """Use these lists from now on, where that is quicker."""
        with self._lock:
            for name in ("_choice", "coded"):
                self.__dict__.pop(name, None)
            self.__dict__["_lists"] = lists

    def nearest(self, vector: NDArray[np.float32], k: int, numbers: NDArray[np.int64] | None) -> Best:
        """The ``k`` tiles most like a descriptor (dim,), of all or of some ``numbers``; k no more than there are."""
        if self.choice.name == "graph" and numbers is None and self._descent is not None:
            found = self._descent.nearest(vector, k)
            if len(found) >= k:
                return self._ranked(vector, 0.0, k, found)
        if self.choice.name in ("exact", "graph"):
            return self._exact_best(vector, 0.0, k, numbers)
        query = self.archive.code_model.encode(vector[None])[0]
        has_descriptors = self.archive.has_descriptors
        found, distances = self.coded.nearest(query, self._shortlist(k) if has_descriptors else k, numbers)
        return self._ranked(vector, 0.0, k, found) if has_descriptors else (found, self._similarity(distances))

    def near_tile(self, tile: int, k: int, graph: Graph | None) -> Best:
        """The ``k`` tiles most like one of the archive, without itself: those the graph knows, where these are enough."""
        if not self.archive.has_descriptors:
            found, distances = self.coded.nearest(self.archive.codes[tile], k + 1, None)
            best = found, self._similarity(distances)
        else:
            vector = self.archive.vectors_of([tile])[0]
            known = np.empty(0, np.int64) if graph is None else graph.of(tile)
            best = self._ranked(vector, 0.0, k, known) if len(known) >= k else self.nearest(vector, k + 1, None)
        others = best[0] != tile
        return best[0][others][:k], best[1][others][:k]

    def linear(self, weights: NDArray[np.float32], bias: float, k: int, numbers: NDArray[np.int64] | None) -> Best:
        """The ``k`` tiles that a linear scorer puts first, of all or of some ``numbers``; k no more than there are."""
        if self.reads_all:
            return self._exact_best(weights, bias, k, numbers)
        scorer = self._bit_scorer(weights, bias)
        if not self.archive.has_descriptors:
            return self.coded.highest(scorer, k, numbers)
        found, _ = self.coded.highest(scorer, self._shortlist(k), numbers)
        return self._ranked(weights, bias, k, found)

    def all_nearest(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """How much every tile is like a descriptor (dim,): cosine, or Hamming similarity where not all can be read; (n,)."""
        if self.reads_all:
            return self._exact(vector, 0.0)
        query = self.archive.code_model.encode(vector[None])[0]
        return self._similarity(self.coded.distances(query))

    def all_linear(self, weights: NDArray[np.float32], bias: float) -> NDArray[np.float32]:
        """A linear scorer's score of every tile, (n,); of its code where not all descriptors can be read."""
        return self._exact(weights, bias) if self.reads_all else self.coded.linear(self._bit_scorer(weights, bias))

    @cached_property
    def coded(self) -> Coded:
        """The codes, in lists where the engine uses them."""
        use = self.choice.name == "inverted" and self._lists is not None
        lists = self._lists[0] if use and self._lists is not None else None
        return Coded(self.archive.codes, lists)

    @cached_property
    def _choice(self) -> Choice:
        if self._asked is not None:
            return Choice(self._asked, self._graph_text if self._asked == "graph" else f"{self._asked}, as asked")
        return choose(self.archive, None if self._lists is None else self._lists[1])

    @cached_property
    def _descent(self) -> Descent | None:
        """A graph to be searched, made when first needed and kept while this lives; None for an archive too small for it."""
        if len(self.archive) <= SMALL:
            return None
        made = descent_of(self.archive)
        made.warm()
        return made

    @cached_property
    def _graph_text(self) -> str:
        if self._descent is None:
            return f"graph, as asked; but all {len(self.archive):,} descriptors are compared, which are few"
        recall = recall_of(self.archive, self._descent)
        return (
            f"graph, as asked: neighbours of neighbours are followed, which finds {100 * recall:.1f} % of the 10 nearest of "
            f"{len(self.archive):,} (measured); filtered searches compare all"
        )

    @cached_property
    def _lists(self) -> tuple[Lists, Measured] | None:
        return read_lists(self.archive)

    @cached_property
    def _decoder(self) -> NDArray[np.float32]:
        return archive_decoder(self.archive)

    def _bit_scorer(self, weights: NDArray[np.float32], bias: float) -> BitScorer:
        decoded = self._decoder @ weights
        return bit_scorer(decoded[:-1], float(decoded[-1]) + bias)

    def _exact(self, weights: NDArray[np.float32], bias: float) -> NDArray[np.float32]:
        archive = self.archive
        parts = archive.raw.chunks(max(1, len(archive)))
        return linear_scores(parts, len(archive), archive.centring.mean, archive.centring.scale, weights, bias)

    def _exact_of(self, weights: NDArray[np.float32], bias: float, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """Exact scores of some tiles, (m,), reading their descriptors only."""
        raw, centring = self.archive.raw, self.archive.centring
        found = [
            linear_scores([(0, part)], len(part), centring.mean, centring.scale, weights, bias)
            for part in (raw[numbers[start : start + _CHUNK]] for start in range(0, len(numbers), _CHUNK))
        ]
        return np.concatenate(found) if found else np.empty(0, np.float32)

    def _exact_best(self, weights: NDArray[np.float32], bias: float, k: int, numbers: NDArray[np.int64] | None) -> Best:
        if numbers is not None and len(numbers) * _FEW < len(self.archive):
            return self._ranked(weights, bias, k, numbers)
        scores = self._exact(weights, bias)
        best = highest(scores, k, numbers)
        return best, scores[best]

    def _ranked(self, weights: NDArray[np.float32], bias: float, k: int, numbers: NDArray[np.int64]) -> Best:
        """The best ``k`` of some tiles by their descriptors; equal ones in the order of their numbers."""
        numbers = np.sort(numbers)
        scores = self._exact_of(weights, bias, numbers)
        best = highest(scores, k)
        return numbers[best], scores[best]

    def _similarity(self, distances: NDArray[np.unsignedinteger]) -> NDArray[np.float32]:  # type: ignore[type-arg]
        """Share of bits that agree, 0 to 1."""
        return 1 - distances.astype(np.float32) / np.float32(self.archive.code_model.bits)

    def _shortlist(self, k: int) -> int:
        """How many tiles to rank by their descriptors."""
        least, most = _SHORTLIST
        return max(_TIMES_K * k, min(most, max(least, len(self.archive) // _SHARE)))
