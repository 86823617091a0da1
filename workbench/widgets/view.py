"""What all parts of the screen share: observing a session, taking messages from the browser, failing in words."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets

from workbench.session import Session

log = logging.getLogger(__name__)
HERE = Path(__file__).parent


def source(*names: str) -> str:
    """The text of files beside this one, joined: a widget's script or style with what it shares with others."""
    return "\n".join((HERE / name).read_text(encoding="utf-8") for name in names)


def hear_during_cells(widget: Any) -> None:
    """Let a widget's messages reach the kernel in the subshell that the browser chose, also while a cell runs.

    ipykernel 7.4 sends them to the shell in which the widget last published instead: the main one after any cell, where
    they would wait for the cell to end.
    """
    if hasattr(widget.comm, "_reply_subshell_for"):
        widget.comm._reply_subshell_for = None


def made_of(widget: ipywidgets.Widget) -> list[ipywidgets.Widget]:
    """A widget and all others that it is made of: children, layouts, styles, layers, controls; itself last."""
    found: dict[ipywidgets.Widget, None] = {}
    visited = set()

    def visit(value: object) -> None:
        if isinstance(value, (list, tuple)):
            for each in value:
                visit(each)
        elif isinstance(value, ipywidgets.Widget) and value not in visited:
            visited.add(value)
            for name in value.keys:
                visit(getattr(value, name))
            found[value] = None

    visit(widget)
    return list(found)


class View(anywidget.AnyWidget):
    """A part of the screen.

    It observes its session, and holds nothing that the session does not say. The browser sends ``{"do": name, ...}``;
    what it may ask for is in `actions`; a single binary buffer is its field ``data``. Whatever fails there or in an
    observer shows in the status line.

    Args:
        session: to show.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        hear_during_cells(self)
        self.session = session
        self._watched: list[tuple[Callable[[Any], None], tuple[str, ...]]] = []
        self.on_msg(self._take)

    def actions(self) -> Mapping[str, Callable[..., object]]:
        """What the browser may ask for, by name; a function's keywords are the message's fields, checked by type."""
        return {}

    def watch(self, show: Callable[[], None], *names: str) -> None:
        """Call ``show`` now and whenever one of the session's traits changes."""

        def changed(_: object = None) -> None:
            self.attempt(f"showing {names[0].replace('_', ' ')}", show)

        self.session.observe(changed, names)
        self._watched.append((changed, names))
        changed()

    def attempt(self, action: str, function: Callable[..., object], **given: object) -> None:
        """Call a function; what it raises goes to the status line and the log."""
        try:
            function(**given)
        except Exception as error:  # noqa: BLE001 - ipywidgets would hide it
            self.session.fail(action, error)

    def close(self) -> None:
        """Let go of the session and of the browser's side."""
        for changed, names in self._watched:
            self.session.unobserve(changed, names)
        self._watched.clear()
        self.on_msg(self._take, remove=True)
        super().close()

    def _take(self, _: object, message: object, buffers: list[memoryview]) -> None:
        """Do what the browser asks for, if it is one of the actions and its fields are of the right types."""
        asked = dict(message) if isinstance(message, Mapping) else {}
        name = asked.pop("do", None)
        if name == "nudge":  # empty, see tell() in common.js
            return
        if len(buffers) == 1:
            asked["data"] = bytes(buffers[0])
        function = self.actions().get(name) if isinstance(name, str) else None
        if function is None or not _fits(function, asked):
            log.warning("%s: ignored a message that asks for %.80r.", type(self).__name__, message)
            return
        self.attempt(str(name), function, **asked)


def _fits(function: Callable[..., object], given: Mapping[str, object]) -> bool:
    """Whether a message's fields are the function's parameters, each of the type written there (int, float, str, ...)."""
    known: dict[str, tuple[type, ...]] = {kind.__name__: (kind,) for kind in (int, str, bool, bytes, list, dict)}
    known["float"] = (int, float)
    wanted = inspect.signature(function).parameters
    if (
        any(name not in given for name, each in wanted.items() if each.default is each.empty)
        or not given.keys() <= wanted.keys()
    ):
        return False
    for name, value in given.items():
        types = known.get(str(wanted[name].annotation))
        if types is None or not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            return False
    return True


class Theme(anywidget.AnyWidget):
    """The style that all parts share; shows nothing."""

    _esm = "export default { render({ el }) { el.style.display = 'none'; } };"
    _css = source("theme.css")
