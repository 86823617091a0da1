"""What fails behind a control shows in the status line in words, and in the log with its traceback: every control."""

from __future__ import annotations

import functools
import inspect
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from workbench.descriptors.archive import Archive
from workbench.errors import QueryInvalid
from workbench.session import Session
from workbench.widgets.view import View
from workbench.widgets.workbench import Workbench

VALUES = {"int": 1, "float": 0.5, "str": "house", "bool": True, "list": [1, 2], "dict": {}, "bytes": b"x"}
SPECIAL: dict[str, dict[str, object]] = {
    "upload": {"start": 0},
    "export": {"what": "chips"},
    "tool": {"name": "search"},
}
KEPT_WHOLE = {"set_state", "fail", "opacity_of", "checked", "close"}
"""What fails last, if ever: without it nothing can be shown."""
NO_VERB = {"tiles"}
"""Needs no verb of the session; that it fails in words is tested with its own threads."""
SCREEN = ("Gallery", "Overlay", "StatusLine", "TileChannel", "Toolbar")


@pytest.fixture
def bench(archive: Archive, tmp_path: Path) -> Iterator[Workbench]:
    made = Workbench(archive, tmp_path / "labels", classes=["house"])
    made._warming.join()
    yield made
    made.close()


def part(bench: Workbench, name: str) -> View:
    return next(view for view in bench.views if type(view).__name__ == name)


def verbs() -> dict[str, Callable[..., object]]:
    """Every public method of a session, by its name."""
    kinds = [kind for kind in reversed(Session.__mro__) if kind.__module__.startswith("workbench.")]
    found = {name: each for kind in kinds for name, each in vars(kind).items()}
    return {name: each for name, each in found.items() if inspect.isfunction(each) and name[0] != "_"}


def break_verbs(session: Session, monkeypatch: pytest.MonkeyPatch, error: Exception) -> list[str]:
    """Let every verb raise; the names of those that were called are gathered in the list."""
    called: list[str] = []

    def broken(name: str, verb: Callable[..., object]) -> Callable[..., object]:
        @functools.wraps(getattr(session, name))
        def fail(*_: object, **__: object) -> None:
            called.append(name)
            raise error

        return fail

    for name, verb in verbs().items():
        if name not in KEPT_WHOLE:
            monkeypatch.setattr(session, name, broken(name, verb))
    return called


def message(view: View, action: str) -> dict[str, Any]:
    wanted = inspect.signature(view.actions()[action]).parameters
    return {name: VALUES[str(each.annotation)] for name, each in wanted.items()} | SPECIAL.get(action, {})


def test_P15_every_action_of_every_part_fails_in_words_and_the_screen_goes_on(
    bench: Workbench, caplog: pytest.LogCaptureFixture
) -> None:
    session = bench.session
    actions = [(type(view).__name__, action) for view in bench.views for action in view.actions()]
    assert {view for view, _ in actions} == set(SCREEN) and len(actions) > 30
    untouched = []
    for name, action in actions:
        view = part(bench, name)
        session.set_state(status="Nothing happened.")
        caplog.clear()
        fault = RuntimeError(f"planted in {name} {action}")
        with pytest.MonkeyPatch.context() as patch:
            called = break_verbs(session, patch, fault)
            fields = message(view, action)
            data = fields.pop("data", None)
            view._take(None, {"do": action, **fields}, [] if data is None else [memoryview(data)])  # type: ignore[arg-type]
        if not called:
            untouched.append(action)
            continue
        assert session.alarm and session.status.startswith(f"{action}: RuntimeError (planted in {name} {action})."), (
            action
        )
        assert part(bench, "StatusLine").status == session.status and part(bench, "StatusLine").alarm
        records = [each for each in caplog.records if each.exc_info and each.exc_info[1] is fault]
        assert records and records[0].levelno == logging.ERROR, action
        session.search(tile=len(action), k=5)
        assert not session.alarm and part(bench, "Gallery").page["query"] == f"tile {len(action)}"
    assert set(untouched) == NO_VERB


@pytest.mark.parametrize("foreseen", [True, False])
def test_P15_what_the_browser_sets_and_draws_fails_in_words_too(
    bench: Workbench, foreseen: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    session, overlay = bench.session, part(bench, "Overlay")
    fault = QueryInvalid("Planted. Do this.") if foreseen else KeyError("planted")
    words = "Planted. Do this." if foreseen else "KeyError ('planted'). This is a fault in the program;"
    with monkeypatch.context() as patch:
        break_verbs(session, patch, fault)
        overlay.view = {"lat": 1.0, "lon": 2.0, "zoom": 3.0}
        assert session.alarm and session.status.startswith(f"moving the map: {words}")
        ring = [[10.1, 56.1], [10.2, 56.1], [10.2, 56.2], [10.1, 56.1]]
        bench._map._drawn(None, "created", {"geometry": {"type": "Polygon", "coordinates": [ring]}})
        assert session.alarm and session.status.startswith(f"using the drawn outline: {words}")
    for name in ("selected", "hovered"):
        with monkeypatch.context() as patch:
            patch.setattr(type(session), "set_state", _only_status(type(session).set_state, fault))
            setattr(overlay, name, getattr(overlay, name) + 1)
        assert session.alarm and session.status.startswith(f"pointing: {words}")
        setattr(overlay, name, getattr(session, name))
    with monkeypatch.context() as patch:
        patch.setattr(session.layers, "tile", lambda *_: (_ for _ in ()).throw(fault))
        said = part(bench, "StatusLine")
        session.set_state(status="")
        part(bench, "TileChannel")._take(None, {"do": "tiles", "ask": [["a", 0, 0, 0, 0, 256]], "drop": []}, [])
        _until(lambda: said.alarm)
        assert said.status.startswith("painting the map: ")
    assert caplog.text.count("Traceback") >= 5 and "This is a fault" not in caplog.text


def test_what_fails_while_warming_up_waits_for_the_click_that_needs_it(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.session, "thumbnail", lambda _: 1 / 0)
    bench.session.warm_up()
    assert not bench.session.alarm
    part(bench, "Gallery")._take(None, {"do": "like", "number": 3}, [])
    assert bench.session.alarm and "ZeroDivisionError" in bench.session.status


def _only_status(set_state: Callable[..., None], fault: Exception) -> Callable[..., None]:
    def broken(session: Session, **values: object) -> None:
        if "status" not in values:
            raise fault
        set_state(session, **values)

    return broken


def _until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)
