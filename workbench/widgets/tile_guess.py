"""Which map tiles an analyst is likely to look at next: closer, to the side, farther away."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product

from workbench.widgets.tile_queue import Ask

MOST_CLOSER, MOST_BESIDE, MOST_FARTHER = 16, 20, 12


def likely_next(tiles: Sequence[Ask], native: int) -> list[Ask]:
    """Tiles of the zooms above and below and around what is looked at now, the likeliest first.

    Args:
        tiles: those of one layer that were asked for together.
        native: the greatest zoom with pixels of its own.
    """
    shown = {(tile.x, tile.y) for tile in tiles}
    middle = [(min(axis) + max(axis)) / 2 for axis in zip(*shown, strict=True)]
    size, zoom = 2 ** tiles[0].z, tiles[0].z

    def by_distance(places: Iterable[tuple[int, int]], scale: float, most: int) -> list[tuple[int, int]]:
        inside = [(x, y) for x, y in set(places) if 0 <= x < size * scale and 0 <= y < size * scale]
        centre = [(at + 0.5) * scale - 0.5 for at in middle]
        return sorted(inside, key=lambda place: sum((a - b) ** 2 for a, b in zip(place, centre, strict=True)))[:most]

    closer = ((2 * x + right, 2 * y + down) for (x, y), right, down in product(shown, (0, 1), (0, 1)))
    beside = {(x + right, y + down) for (x, y), right, down in product(shown, (-1, 0, 1), (-1, 0, 1))}
    farther = {(x // 2 + right, y // 2 + down) for (x, y), right, down in product(shown, (-1, 0, 1), (-1, 0, 1))}
    places = [(zoom + 1, place) for place in by_distance(closer, 2, MOST_CLOSER)] if zoom < native else []
    places += [(zoom, place) for place in by_distance(beside - shown, 1, MOST_BESIDE)]
    places += [(zoom - 1, place) for place in by_distance(farther, 0.5, MOST_FARTHER)] if zoom else []
    return [replace(tiles[0], id="", x=x, y=y, z=z) for z, (x, y) in places]
