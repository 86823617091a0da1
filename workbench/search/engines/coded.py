"""Search by codes alone: in lists where there are any, else all of them; filtered exactly; by distance or weighted bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.codes.ordered import OrderedCodes
from workbench.search.engines.best import highest
from workbench.search.engines.bits import BitScorer, bit_scores
from workbench.search.engines.flat import Found, flat_distances, flat_search, flat_search_some
from workbench.search.engines.inverted import Lists

T = TypeVar("T", bound=np.generic)
_FEW = 8  # from every eighth tile on, reading all codes in turn is quicker than picking


@dataclass(frozen=True, eq=False)
class Coded:
    """The codes of an archive, and lists of them.

    Attributes:
        codes: packed, (n, bytes), by tile or in an order of their own.
        lists: to search in; None: all codes are read.
    """

    codes: NDArray[np.uint8] | OrderedCodes
    lists: Lists | None = None

    @property
    def rows(self) -> NDArray[np.uint8]:
        """Codes as they lie."""
        return self.codes.rows if isinstance(self.codes, OrderedCodes) else self.codes

    @property
    def order(self) -> NDArray[np.uint32] | None:
        """Number of the tile in each row, uint32 (n,); None where that is the row."""
        return self.codes.order if isinstance(self.codes, OrderedCodes) else None

    def nearest(self, query: NDArray[np.uint8], k: int, numbers: NDArray[np.int64] | None = None) -> Found:
        """The ``k`` codes nearest to one; exact among some tiles, and where there are no lists.

        Args:
            query: packed, (bytes,).
            k: at most so many.
            numbers: of the tiles that may be hits, rising; all when None.

        Returns:
            min(k, tiles allowed) numbers and distances, nearest first; equally near ones in the order of their numbers.

        Raises:
            ShapeMismatch: the code lengths differ.
        """
        if numbers is None:
            found = flat_search(self.rows, query, k, self.order) if self.lists is None else self.lists.search(query, k)
            return found
        if len(numbers) * _FEW > len(self.rows):
            allowed = np.zeros(len(self.rows), np.bool_)
            allowed[numbers] = True
            return flat_search(self.rows, query, min(k, len(numbers)), self.order, allowed)
        some = numbers.astype(np.uint32)
        places = self.codes.positions[some] if isinstance(self.codes, OrderedCodes) else None
        return flat_search_some(self.rows, query, k, some, places)

    def distances(self, query: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Hamming distance of every tile's code, uint16 (n,), by number."""
        return _by_number(flat_distances(self.rows, query), self.order)

    def linear(self, scorer: BitScorer) -> NDArray[np.float32]:
        """The score of every tile's code, float32 (n,), by number."""
        return _by_number(bit_scores(self.rows, scorer), self.order)

    def highest(
        self, scorer: BitScorer, k: int, numbers: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The ``k`` tiles with the highest scores, and these, best first; exact, also among some ``numbers``."""
        if numbers is None or len(numbers) * _FEW > len(self.rows):
            scores = self.linear(scorer)
            best = highest(scores, k, numbers)
            return best, scores[best]
        scores = bit_scores(self.codes[numbers], scorer)
        best = highest(scores, k)
        return numbers[best], scores[best]


def _by_number(values: NDArray[T], order: NDArray[np.uint32] | None) -> NDArray[T]:
    if order is None:
        return values
    found = np.empty_like(values)
    found[order] = values
    return found
