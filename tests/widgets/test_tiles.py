"""The tile channel: only the session's own layers, whatever is asked; each failure once, in words; no thread left."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from widgets.conftest import say

from workbench.errors import RasterUnreadable
from workbench.session import Session
from workbench.widgets.tile_queue import QUIET_S
from workbench.widgets.tiles import TileChannel

Sent = list[tuple[dict[str, Any], list[bytes]]]


def at(session: Session, z: int) -> tuple[int, int]:
    """The map tile in the middle of the imagery."""
    import math

    west, south, east, north = session.extent
    lat = math.radians((south + north) / 2)
    y = (1 - math.asinh(math.tan(lat)) / math.pi) / 2
    return int(((west + east) / 2 + 180) / 360 * 2**z), int(y * 2**z)


def answered(sent: Sent, count: int) -> dict[str, bytes | None]:
    """The answers by name, as soon as there are so many."""
    until = time.monotonic() + 20
    while sum(len(content["tiles"]) for content, _ in sent) < count and time.monotonic() < until:
        time.sleep(0.01)
    found: dict[str, bytes | None] = {}
    for content, buffers in sent:
        pictures = iter(buffers)
        found |= {name: next(pictures) if state == "picture" else None for name, state in content["tiles"]}
        assert next(pictures, None) is None, "a picture too many"
    return found


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not holds() and time.monotonic() < until:
        time.sleep(0.01)
    assert holds()


@pytest.fixture
def channel(session: Session, sent: Sent) -> TileChannel:
    made = TileChannel(session, "map")
    yield made
    made.close()


def test_tiles_of_the_imagery_come_as_pictures_and_nothing_where_nothing_is(
    channel: TileChannel, session: Session, sent: Sent
) -> None:
    x, y = at(session, 18)
    say(channel, do="tiles", ask=[["a", 0, x, y, 18, 256], ["b", 0, 0, 0, 18, 256]], drop=[])
    answers = answered(sent, 2)
    assert answers["b"] is None and answers["a"][:2] in (b"\xff\xd8", b"RI")


def test_what_lies_around_is_painted_ahead_and_nothing_is_sent_of_it(
    channel: TileChannel, session: Session, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    painted: list[tuple[int, int, int]] = []
    tile = session.layers.tile
    monkeypatch.setattr(session.layers, "tile", lambda *which: (painted.append(which[1:4]), tile(*which))[1])
    x, y = at(session, 17)
    say(channel, do="tiles", ask=[["a", 0, x, y, 17, 256]], drop=[])
    wait_until(lambda: len(painted) >= 10)
    assert painted[0] == (x, y, 17) and (2 * x, 2 * y, 18) in painted and (x + 1, y, 17) in painted
    assert list(answered(sent, 1)) == ["a"]


def test_nothing_is_painted_ahead_while_a_job_runs(channel: TileChannel, session: Session, sent: Sent) -> None:
    go = threading.Event()
    session.start("waiting", lambda progress: go.wait(10))
    x, y = at(session, 17)
    say(channel, do="tiles", ask=[["a", 0, x, y, 17, 256]], drop=[])
    answered(sent, 1)
    time.sleep(3 * QUIET_S)
    kept = len(session.layers._tiles)
    go.set()
    assert kept == 1


def test_an_empty_message_that_follows_every_other_is_no_fault(
    channel: TileChannel, caplog: pytest.LogCaptureFixture
) -> None:
    say(channel, do="nudge")
    assert not caplog.records


@pytest.mark.parametrize(
    "item",
    [
        ["a", 99, 1, 1, 3, 256],
        ["a", "../../secret", 1, 1, 3, 256],
        ["a", -1, 1, 1, 3, 256],
        ["a", 0, 1, 1, 10**9, 256],
        ["a", 0, 2**70, 1, 3, 256],
        ["a", 0, -1, 1, 3, 256],
        ["a", 0, 1.5, 1, 3, 256],
        ["a", 0, True, 1, 3, 256],
        ["a", 0, 1, 1, 3, 10**6],
        ["a", 0, 1, 1, 3],
        ["a"],
        [],
        "a",
        None,
        {"id": "a"},
        [7, 0, 1, 1, 3, 256],
        ["n" * 10**6, 0, 1, 1, 3, 256],
    ],
)
def test_P19_hostile_requests_get_an_empty_tile_and_a_line_in_the_log(
    channel: TileChannel, sent: Sent, item: object, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        say(channel, do="tiles", ask=[item], drop=[None, 3, {}])
        found = answered(sent, 1 if isinstance(item, list) and item and isinstance(item[0], str) else 0)
    assert not any(found.values()) and len(str(sent)) < 300
    assert caplog.text and len(caplog.text) < 2000


def test_a_raster_that_cannot_be_read_is_named_once_and_the_channel_goes_on(
    channel: TileChannel, session: Session, sent: Sent
) -> None:
    def broken(x: int, *_: object) -> tuple[None, dict[int, RasterUnreadable]]:
        return None, {1: RasterUnreadable(f"south.tif: rows {x}-64 cannot be read. Copy it again.")}

    session.layers._put(0, broken)
    said: list[str] = []
    session.observe(lambda change: said.append(change["new"]), "status")
    say(channel, do="tiles", ask=[[str(number), 0, number, 1, 3, 256] for number in range(6)], drop=[])
    found = answered(sent, 6)
    assert len(found) == 6 and not any(found.values())
    assert len(said) == 1 and session.alarm
    assert re.fullmatch(r"painting the map: south.tif: rows \d-64 cannot be read. Copy it again.", said[0])


def test_answers_come_together(channel: TileChannel, session: Session, sent: Sent) -> None:
    ask = [[str(number), 4, 0, 0, number % 20, 256] for number in range(40)]
    say(channel, do="tiles", ask=ask, drop=[])
    assert set(answered(sent, 40)) == {str(number) for number in range(40)} and len(sent) < 20


def test_the_layers_follow_the_session(channel: TileChannel, session: Session) -> None:
    assert [layer["number"] for layer in channel.layers][:1] == [0]
    before = channel.layers[0]["version"]
    session.show_stretch("full range")
    assert channel.layers[0]["version"] > before
    session.set_state(opacity={0: 0.5})
    assert channel.layers[0]["opacity"] == 0.5
    session.set_state(shown=[])
    assert channel.layers == []


def test_closing_leaves_no_thread_and_no_observer(session: Session, sent: Sent) -> None:
    before = set(threading.enumerate())
    channel = TileChannel(session, "map")
    say(channel, do="tiles", ask=[["a", 0, 1, 1, 3, 256]], drop=[])
    answered(sent, 1)
    assert set(threading.enumerate()) > before
    channel.close()
    assert set(threading.enumerate()) == before
    assert not any(session._trait_notifiers.get(name, {}).get("change") for name in ("layers_version", "shown"))


def test_P19_layers_are_asked_for_by_number_only(channel: TileChannel) -> None:
    assert set(channel.actions()) == {"tiles"}
    assert all(type(layer["number"]) is int and "/" not in layer["name"] for layer in channel.layers)
