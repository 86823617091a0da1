"""Which tiles carry which labels: kept up to date label by label, so that a page of cards never scans them all."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from workbench.labels.store import Label, LabelStore
from workbench.search.places import Places

_REMEMBERED = 100_000


class Marks:
    """The labels as tiles see them: a tile counts as labelled at IoU 0.5 with a labelled place.

    May be asked from any thread.

    Args:
        store: of the labels.
        places: of the archive.
    """

    def __init__(self, store: LabelStore, places: Places) -> None:
        self._store, self._places = store, places
        self._lock = threading.Lock()
        self._tiles_of: OrderedDict[object, NDArray[np.int64]] = OrderedDict()
        self._seen: list[str] = []
        self._by_tile: dict[int, dict[str, int]] = {}

    def of(self, number: int) -> dict[str, int]:
        """Class name -> +1 or -1 of a tile; of labels that contradict each other the last one holds."""
        with self._lock:
            self._refresh()
            return dict(self._by_tile.get(number, {}))

    def labels_on(self, number: int, class_name: str) -> list[Label]:
        """The labels of a class that make a tile count as labelled."""
        with self._lock:
            return [label for label in self._store.labels(class_name) if number in self._tiles(label)]

    def numbers(self, class_name: str | None) -> NDArray[np.int64]:
        """The tiles that are labelled for a class (any class when None), int64 (m,), rising."""
        with self._lock:
            self._refresh()
            marked = [number for number, marks in self._by_tile.items() if class_name is None or class_name in marks]
        return np.array(sorted(marked), np.int64)

    def values(self, class_name: str, numbers: Iterable[int] | None = None) -> dict[int, int]:
        """Tile -> +1 or -1, of the tiles (of all, or of some) that are labelled for a class."""
        with self._lock:
            self._refresh()
            asked = self._by_tile if numbers is None else numbers
            marks = ((number, self._by_tile.get(number, {})) for number in asked)
            return {number: found[class_name] for number, found in marks if class_name in found}

    def tiles(self, class_name: str | None, count: int) -> NDArray[np.bool_]:
        """Which of ``count`` tiles are labelled for a class (any class when None), bool (count,)."""
        found = np.zeros(count, bool)
        found[self.numbers(class_name)] = True
        return found

    def _refresh(self) -> None:
        labels = self._store.labels()
        now = [label.id for label in labels]
        known = len(self._seen)
        if now[:known] != self._seen:
            # Something was taken back or said again: what it covered may show now.
            self._by_tile, known = {}, 0
        for label in labels[known:]:
            for number in self._tiles(label):
                self._by_tile.setdefault(int(number), {})[label.class_name] = label.value
        self._seen = now

    def _tiles(self, label: Label) -> NDArray[np.int64]:
        key = label.place.key, label.value
        if key not in self._tiles_of:
            self._tiles_of[key] = self._find(label)
            while len(self._tiles_of) > _REMEMBERED:
                self._tiles_of.popitem(last=False)
        return self._tiles_of[key]

    def _find(self, label: Label) -> NDArray[np.int64]:
        place = self._places.pixels(label.place.raster, label.place.geometry, label.place.crs)
        return np.zeros(0, np.int64) if place is None else self._places.overlapping(*place)
