"""A bounded queue of map tiles to paint: what is in view first, what left it not at all, in a few threads."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

MOST = 400
"""Tiles that may wait; a screen shows some twenty a layer."""
QUIET_S = 0.15
"""Without a tile to paint for so long, the map is at rest."""
_COLUMNS = 2


@dataclass(frozen=True)
class Ask:
    """One tile that a browser asked for: its own name for it, layer, column, row, zoom, pixels on a side."""

    id: str
    layer: int
    x: int
    y: int
    z: int
    size: int


class TileQueue:
    """Paints tiles in background threads, the latest batch first and within it in the order of asking.

    Each thread prefers columns of its own, for its reader keeps the blocks it has decoded, and neighbours share blocks.

    When nothing has been asked for a moment, one thread goes on with tiles that may be asked for next.

    Args:
        paint: called with each tile, in one of the threads; must not raise.
        refuse: called with tiles that had to make room for later ones.
        prepare: called in quiet moments with each tile of `prepare`; must not raise.
        threads: how many; started with the first tile.
    """

    def __init__(
        self,
        paint: Callable[[Ask], None],
        refuse: Callable[[Ask], None],
        prepare: Callable[[Ask], None] = lambda _: None,
        threads: int | None = None,
    ) -> None:
        self._paint, self._refuse, self._prepare = paint, refuse, prepare
        self._count = threads or max(2, min(4, os.cpu_count() or 2))
        self._changed = threading.Condition()
        self._waiting: dict[str, Ask] = {}
        self._batches: list[list[Ask]] = []
        self._next_ones: list[Ask] = []
        self._quiet_from = 0.0
        self._closed = False
        self._threads: list[threading.Thread] = []

    def ask(self, tiles: Sequence[Ask]) -> None:
        """Queue a batch; what exceeds `MOST` is refused, the oldest first."""
        refused = []
        with self._changed:
            if self._closed:
                return
            self._waiting |= {tile.id: tile for tile in tiles}
            self._batches.append(list(tiles))
            self._next_ones.clear()
            while len(self._waiting) > MOST:
                refused.append(self._waiting.pop(next(iter(self._waiting))))
            self._forget_done()
            self._start()
            self._changed.notify_all()
        for tile in refused:
            self._refuse(tile)

    def prepare(self, tiles: Sequence[Ask]) -> None:
        """Have these ready before they are asked for, the first first; the next `ask` ends it."""
        with self._changed:
            self._next_ones = list(tiles)
            self._changed.notify_all()

    def drop(self, ids: Iterable[str]) -> None:
        """Forget tiles that nobody looks at any more."""
        with self._changed:
            for name in ids:
                self._waiting.pop(name, None)
            self._forget_done()

    def __len__(self) -> int:
        return len(self._waiting)

    def close(self) -> None:
        """Forget all tiles and end the threads."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._batches.clear()
            self._next_ones.clear()
            self._changed.notify_all()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(10)
        self._threads.clear()

    def _start(self) -> None:
        while len(self._threads) < self._count:
            lane = len(self._threads)
            thread = threading.Thread(target=self._work, args=(lane,), name=f"map tiles {lane}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self, lane: int) -> None:
        while (found := self._next(lane)) is not None:
            act, tile = found
            act(tile)
            self._quiet_from = time.monotonic() + (QUIET_S if act is self._paint else 0)

    def _next(self, lane: int) -> tuple[Callable[[Ask], None], Ask] | None:
        """What to do with which tile, as soon as there is one; None when the queue is closed."""
        with self._changed:
            while not self._closed:
                if self._batches:
                    batch = self._batches[-1]
                    tile = next((each for each in batch if each.x // _COLUMNS % self._count == lane), batch[0])
                    del self._waiting[tile.id]
                    self._forget_done()
                    return self._paint, tile
                wait = self._quiet_from - time.monotonic() if lane == 0 and self._next_ones else None
                if wait is not None and wait <= 0:
                    return self._prepare, self._next_ones.pop(0)
                self._changed.wait(wait)
        return None

    def _forget_done(self) -> None:
        """Keep of the batches what still waits."""
        left = [[tile for tile in batch if self._waiting.get(tile.id) is tile] for batch in self._batches]
        self._batches = [batch for batch in left if batch]
