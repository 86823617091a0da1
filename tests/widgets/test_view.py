"""What the parts of the screen share: failures in words, only known messages, nothing left after closing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import pytest
from widgets.conftest import say

from workbench.errors import QueryInvalid
from workbench.session import Session
from workbench.widgets.view import View


class Bell(View):
    """Rings as often as it is told, and shows the query."""

    _esm = "export default {};"

    def __init__(self, session: Session) -> None:
        self.rung: list[object] = []
        self.shown: list[str] = []
        super().__init__(session)
        self.watch(lambda: self.shown.append(session.query), "query")

    def actions(self) -> Mapping[str, Callable[..., object]]:
        return {"ring": self.ring, "break": self.fail, "refuse": self.refuse}

    def ring(self, times: int, how: str = "once", loud: float = 1.0, tired: bool = False) -> None:
        self.rung.append((times, how, loud, tired))

    def fail(self) -> None:
        raise ZeroDivisionError("a fault")

    def refuse(self) -> None:
        raise QueryInvalid("There is no such bell.")


@pytest.fixture
def bell(session: Session) -> Bell:
    return Bell(session)


def test_a_known_message_is_done_with_its_fields(bell: Bell) -> None:
    say(bell, do="ring", times=2, loud=3)
    say(bell, do="ring", times=1, how="softly", tired=True)
    assert bell.rung == [(2, "once", 3, False), (1, "softly", 1.0, True)]


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"do": "close"},
        {"do": "__init__"},
        {"do": ["ring"]},
        {"do": "ring"},
        {"do": "ring", "times": "2"},
        {"do": "ring", "times": True},
        {"do": "ring", "times": 2, "more": 1},
        {"do": "ring", "times": 2, "how": None},
        {"do": "ring", "times": 2, "tired": 1},
    ],
)
def test_P19_a_message_that_is_not_known_or_does_not_fit_is_ignored_with_a_line_in_the_log(
    bell: Bell, message: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        say(bell, **message)
    assert not bell.rung and "ignored a message" in caplog.text and not bell.session.alarm


@pytest.mark.parametrize("message", [None, 3, "ring", ["do", "ring"]])
def test_P19_what_is_no_message_is_ignored(bell: Bell, message: object) -> None:
    bell._take(None, message, [])
    assert not bell.rung


def test_P15_a_failure_shows_in_the_status_line_and_in_the_log_with_its_traceback(
    bell: Bell, caplog: pytest.LogCaptureFixture
) -> None:
    say(bell, do="break")
    session = bell.session
    assert session.alarm and session.status.startswith("break: ZeroDivisionError (a fault).")
    assert "Traceback" in caplog.text and "in fail" in caplog.text and "in fail" in session.last_error
    say(bell, do="refuse")
    assert session.alarm and session.status == "refuse: There is no such bell."
    session.undo()
    assert not session.alarm


def test_P15_a_failing_observer_stops_neither_the_verb_nor_the_other_views(session: Session) -> None:
    bell, other = Bell(session), Bell(session)
    bell.watch(lambda: 1 / 0, "hits")
    assert session.alarm and "ZeroDivisionError" in session.status
    session.search(tile=3, k=5)
    assert len(session.hits) == 5 and bell.shown == other.shown == ["", "tile 3"]


def test_a_closed_view_hears_nothing_any_more(session: Session) -> None:
    bell = Bell(session)
    bell.close()
    session.search(tile=3)
    assert bell.shown == [""] and not session._trait_notifiers.get("query", {}).get("change")
