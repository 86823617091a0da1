"""Tiles are kept up to a number of bytes, those asked for last longest."""

from __future__ import annotations

from workbench.imagery.tile_cache import TileCache


def key(number: int, layer: int = 0) -> tuple[int, int, int, int, int, int]:
    return layer, 1, 10, number, 0, 256


def test_what_was_asked_for_longest_ago_makes_room() -> None:
    cache = TileCache(50_000)
    for number in range(4):
        cache.put(key(number), b"x" * 10_000)
    assert cache.get(key(0)) == (True, b"x" * 10_000)
    cache.put(key(4), b"x" * 10_000)
    assert cache.get(key(1)) == (False, None) and cache.get(key(0))[0]
    assert cache.bytes <= 50_000


def test_nothing_is_kept_too_and_costs_something() -> None:
    cache = TileCache(50_000)
    for number in range(10_000):
        cache.put(key(number), None)
    assert cache.get(key(9999)) == (True, None) and len(cache) <= 100


def test_the_bytes_are_those_of_what_is_there() -> None:
    cache = TileCache(10**6)
    for _ in range(3):
        cache.put(key(0), b"x" * 1000)
    cache.put(key(0, layer=1), b"x" * 2000)
    one = TileCache(10**6)
    one.put(key(0), b"x" * 1000)
    cache.forget(1)
    assert cache.bytes == one.bytes and cache.get(key(0))[0]
    cache.forget(0)
    assert cache.bytes == 0 and len(cache) == 0
