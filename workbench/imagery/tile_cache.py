"""Encoded map tiles kept in memory: those asked for last, up to a number of bytes. Not locked: its owner is."""

from __future__ import annotations

from collections import OrderedDict

Key = tuple[int, int, int, int, int, int]
"""Layer, version, zoom, column, row, size."""
_ENTRY_BYTES = 500


class TileCache:
    """Keeps tiles by layer, version and place, and knows which places have nothing.

    Args:
        limit: most bytes to keep.
    """

    def __init__(self, limit: int) -> None:
        self.bytes = 0
        self._limit = limit
        self._tiles: OrderedDict[Key, bytes | None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tiles)

    def get(self, key: Key) -> tuple[bool, bytes | None]:
        """Whether a tile is known, and the tile."""
        if key not in self._tiles:
            return False, None
        self._tiles.move_to_end(key)
        return True, self._tiles[key]

    def put(self, key: Key, tile: bytes | None) -> None:
        """Keep a tile; those asked for longest ago make room."""
        self._drop(key)
        self._tiles[key] = tile
        self.bytes += _cost(tile)
        while self.bytes > self._limit:
            self._drop(next(iter(self._tiles)))

    def forget(self, layer: int) -> None:
        """Let go of all tiles of a layer."""
        for key in [key for key in self._tiles if key[0] == layer]:
            self._drop(key)

    def _drop(self, key: Key) -> None:
        if key in self._tiles:
            self.bytes -= _cost(self._tiles.pop(key))


def _cost(tile: bytes | None) -> int:
    return _ENTRY_BYTES + len(tile or b"")
