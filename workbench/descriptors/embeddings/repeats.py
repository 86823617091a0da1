"""Rows of a file that came before, and rows at one place, which are told apart by their windows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from workbench.descriptors.embeddings.reading import Source
from workbench.descriptors.embeddings.survey import keys_of, places_of


class Twins:
    """Finds rows of a file that came before: in it, or by their identity in another file.

    Without an identity, rows at the same place and date are the same when their numbers are.
    """

    def __init__(self, source: Source, twice: NDArray[np.uint64], elsewhere: Sequence[NDArray[np.uint64]]) -> None:
        self._source, self._twice, self._elsewhere = source, twice, elsewhere
        self._seen: dict[tuple[int, bytes], int] = {}

    def mark(
        self, batch: pa.RecordBatch, first: int, vectors: NDArray[np.float16], reasons: NDArray[np.object_]
    ) -> None:
        """Give a reason to the rows of a batch that came before, unless they have one already."""
        keys, name = keys_of(self._source, batch), self._source.layout.identity
        for other in self._elsewhere:
            reasons[np.isin(keys, other) & (reasons == "")] = f"it has the {name} of a row of another file"
        for each in np.flatnonzero(np.isin(keys, self._twice) & (reasons == "")):
            key = (int(keys[each]), b"" if name else vectors[each].tobytes())
            before = self._seen.setdefault(key, first + int(each))
            if before != first + each:
                reasons[each] = f"it has the {name or 'place and the embedding'} of row {before:,}"


class Companions:
    """Counts rows of a file at the same place and in the same home: their windows must differ, to be told apart."""

    def __init__(self, source: Source, shared: NDArray[np.uint64]) -> None:
        self._source, self._shared = source, shared
        self._counts: Counter[tuple[int, str]] = Counter()

    def before(self, batch: pa.RecordBatch, homes: NDArray[np.object_]) -> NDArray[np.int64]:
        """How many rows came before each row of a batch at its place, (n,)."""
        found = np.zeros(len(batch), np.int64)
        if len(self._shared):
            places = places_of(self._source, batch)
            for each in np.flatnonzero(np.isin(places, self._shared)):
                key = (int(places[each]), str(homes[each]))
                found[each] = self._counts[key]
                self._counts[key] += 1
        return found
