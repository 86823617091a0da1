"""Guessing the next map tiles: inside the world, none that is there already, the middle first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workbench.widgets.tile_guess import MOST_BESIDE, MOST_CLOSER, MOST_FARTHER, likely_next
from workbench.widgets.tile_queue import Ask


def view(x: int, y: int, z: int, across: int = 3, down: int = 3) -> list[Ask]:
    return [Ask("a", 0, x + i, y + j, z, 256) for i in range(across) for j in range(down)]


def test_a_step_of_the_wheel_and_a_small_move_find_their_tiles_painted() -> None:
    found = [(tile.z, tile.x, tile.y) for tile in likely_next(view(100, 200, 10), native=18)]
    assert set(found[:4]) == {(11, 202, 402), (11, 203, 402), (11, 202, 403), (11, 203, 403)}
    assert {(10, 99, 201), (10, 103, 201), (10, 101, 199), (10, 101, 203)} <= set(found)
    assert {(9, 50, 100), (9, 51, 101)} <= set(found)
    assert {tile.size for tile in likely_next(view(100, 200, 10), 18)} == {256}


def test_there_is_nothing_closer_than_the_pixels() -> None:
    assert max(tile.z for tile in likely_next(view(100, 200, 18), native=18)) == 18


@given(st.integers(0, 20), st.data())
def test_guesses_are_tiles_of_the_world_and_new(zoom: int, data: st.DataObject) -> None:
    x, y = (data.draw(st.integers(0, 2**zoom - 1)) for _ in range(2))
    shown = [tile for tile in view(x, y, zoom) if tile.x < 2**zoom and tile.y < 2**zoom]
    found = likely_next(shown, native=19)
    assert len(found) <= MOST_CLOSER + MOST_BESIDE + MOST_FARTHER
    assert len(set(found)) == len(found) and not {(t.x, t.y, t.z) for t in found} & {(t.x, t.y, t.z) for t in shown}
    assert all(0 <= tile.x < 2**tile.z and 0 <= tile.y < 2**tile.z and tile.z >= 0 for tile in found)
