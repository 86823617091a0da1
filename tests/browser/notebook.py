"""A notebook that is open in the browser: its cells, its kernel, what went wrong in the page, and how long things took."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import psutil
from playwright.sync_api import ConsoleMessage, Dialog, Error, Locator, Page, Request

from browser.kernel import Kernel

if TYPE_CHECKING:
    from browser.lab import Lab

_HARMLESS = re.compile(r"^Failed to load resource|ResizeObserver loop")
_CANCELLED = "Canceled future for (debug|create_subshell)_request"  # JupyterLab's own, when a kernel goes too soon
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_CLOSE = """
for _each in list(globals().values()):
    if type(_each).__name__ == "Workbench":
        _each.close()
"""
_LISTEN = """
import logging as _logging

class _Kept(_logging.Handler):
    kept = []
    def emit(self, record):
        self.kept.append([record.levelname, _logging.Formatter("%(name)s: %(message)s").format(record)])

_logging.getLogger().addHandler(_Kept())
"""


class CellError(AssertionError):
    """A cell that a test ran raised; the message is its traceback."""


class Tiles(TypedDict):
    """What became of the map tiles since `Notebook.watch_tiles`: ``ms`` from being put on the map to being shown."""

    wanted: int
    loaded: int
    cancelled: int
    ms: list[float]


class Notebook:
    """One notebook in one page; made by `Lab.open`.

    Attributes:
        page: Playwright's page, for everything that is not here.
        kernel: call it with code to run that in the notebook's kernel, also while a cell runs (`Kernel`).
        path: the file.
        problems: exceptions and error messages of the page, and requests that would have left this machine. The test
            fails in its teardown if any is left that `expect_problem` did not name.
    """

    kernel: Kernel

    def __init__(self, lab: Lab, page: Page, path: Path) -> None:
        self.lab = lab
        self.page = page
        self.path = path
        self.problems: list[str] = []
        self._expected: list[re.Pattern[str]] = []
        self._kernel_id = ""
        page.on("pageerror", self._on_exception)
        page.on("console", self._on_console)
        page.on("request", self._on_request)
        page.on("dialog", _accept)

    def begin_again(self, source: Sequence[str]) -> None:
        """Close the workbenches that the kernel holds, put other cells into the notebook, and forget all problems."""
        self.kernel(_CLOSE)
        self.page.bring_to_front()  # behind another page it has few animation frames
        self.page.set_viewport_size({"width": 1280, "height": 720})
        self.page.mouse.move(0, 0)
        self.theme("light")
        self.page.evaluate("source => __lab.replaceCells(source)", list(source))
        self.problems.clear()
        self._expected.clear()

    # -- cells ---------------------------------------------------------------------------------------------------

    def run(self, index: int, *, wait: bool = True, errors: bool = False, timeout_s: float = 60) -> None:
        """Click into a cell and press Control+Enter, which leaves the notebook as it is otherwise.

        Args:
            index: of the cell, from 0.
            wait: until the cell has ended; `wait_for` does so later.
            errors: True: a cell that raises is no failure.
            timeout_s: how long to wait.

        Raises:
            CellError: the cell raised.
        """
        self.page.evaluate("index => __lab.watchCell(index)", index)
        self.cell(index).locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")
        if wait:
            self.wait_for(index, errors=errors, timeout_s=timeout_s)

    def run_all(self, *, wait: bool = True, timeout_s: float = 120) -> None:
        """Run every cell by JupyterLab's own command, in order, and wait for the last one."""
        count = self.page.locator(".jp-Notebook .jp-Cell").count()
        for index in range(count):
            self.page.evaluate("index => __lab.watchCell(index)", index)
        self.page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells'); }")
        for index in range(count if wait else 0):
            if "jp-CodeCell" in (self.cell(index).get_attribute("class") or ""):
                self.wait_for(index, timeout_s=timeout_s)

    def wait_for(self, index: int, *, errors: bool = False, timeout_s: float = 60) -> None:
        """Wait until a cell that was run has ended.

        Raises:
            CellError: the cell raised and ``errors`` is False.
        """
        self.until("index => __lab.cellDone(index)", index, timeout_s=timeout_s)
        raised = self.page.evaluate("index => __lab.cellErrors(index)", index)
        if raised and not errors:
            raise CellError(_COLOURS.sub("", "\n".join(raised)))

    def runs(self, index: int) -> bool:
        """Whether the page shows a cell as running or waiting to run."""
        return bool(self.page.evaluate("index => __lab.cellRuns(index)", index))

    def cell(self, index: int) -> Locator:
        """A cell, input and output."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index)

    def output_area(self, index: int) -> Locator:
        """What a cell shows: where widgets are looked for."""
        return self.cell(index).locator(".jp-Cell-outputArea")

    def output(self, index: int) -> str:
        """The text that a cell shows, that of its widgets included."""
        return self.output_area(index).inner_text()

    def until(self, condition: str, argument: object = None, *, timeout_s: float = 30) -> None:
        """Wait until a JavaScript function is true in the page, looked at in each animation frame."""
        self.page.wait_for_function(condition, arg=argument, timeout=timeout_s * 1000)

    # -- the notebook and its kernel -----------------------------------------------------------------------------

    def save(self) -> None:
        """Save the notebook with its outputs; a page reload shows only what was saved."""
        self.page.evaluate("() => __lab.panel().context.save()")

    def reload(self, *, save: bool = True) -> None:
        """Reload the page; the kernel goes on.

        JupyterLab shows no widget before the kernel's main thread has answered, that is before a running cell has ended.
        """
        if save:
            self.save()
        self.page.reload()
        self.wait_until_ready()

    def restart_kernel(self) -> None:
        """Restart the kernel as from the menu, without the question; outputs stay until cells are run."""
        self.expect_problem(_CANCELLED)
        self.page.evaluate("() => __lab.panel().sessionContext.restartKernel()")
        self.wait_until_ready()

    def kill_kernel(self) -> None:
        """``kill -9`` the kernel; the server starts a new one, and JupyterLab says so in a dialog, which is closed."""
        self.expect_problem(_CANCELLED)
        os.kill(self.kernel("__import__('os').getpid()"), signal.SIGKILL)
        self.page.locator(".jp-Dialog .jp-mod-accept").click(timeout=30_000)
        self.wait_until_ready()

    def wait_until_ready(self, timeout_s: float = 60) -> None:
        """Wait until the notebook is shown and its kernel idle, and know the kernel."""
        self.until("() => window.__lab?.ready()", timeout_s=timeout_s)
        kernel_id = self.page.evaluate("() => __lab.panel().sessionContext.session.kernel.id")
        if kernel_id != self._kernel_id:
            self._leave_kernel()
            self._kernel_id = kernel_id
            self.kernel = Kernel(self.lab.server.connection_file(kernel_id))

    def listening(self) -> set[int]:
        """The ports on which the kernel's process and its children listen."""
        kernel = psutil.Process(self.kernel("__import__('os').getpid()"))
        found = [each for process in (kernel, *kernel.children(recursive=True)) for each in process.net_connections()]
        return {each.laddr.port for each in found if each.status == psutil.CONN_LISTEN}

    def watch_log(self) -> None:
        """Keep what is logged in the kernel from here on, for `logged`; to be called again after a restart."""
        self.kernel(_LISTEN)

    def logged(self, *levels: str) -> list[str]:
        """Messages with their tracebacks since `watch_log`, of the levels named, as in ``logged("ERROR")``; all if none."""
        kept = self.kernel("_Kept.kept")
        return [text for level, text in kept if not levels or level in levels]

    # -- looks ---------------------------------------------------------------------------------------------------

    def theme(self, name: str) -> None:
        """Switch JupyterLab to ``light`` or ``dark``; the next notebook is opened in the light theme again."""
        self.page.evaluate(
            "theme => jupyterapp.commands.execute('apputils:change-theme', { theme })", f"JupyterLab {name.title()}"
        )
        # JupyterLab throws when its curtain of one change is still there at the next.
        changed = (
            "light => document.body.dataset.jpThemeLight === light && !document.getElementById('jupyterlab-splash')"
        )
        self.until(changed, str(name == "light").lower())

    def screenshot(self, name: str, of: Locator | None = None) -> Path:
        """Save a picture of the page or of a part as ``NAME.png`` in the folder for screenshots."""
        path = self.lab.screenshots / f"{name}.png"
        (of or self.page).screenshot(path=path, animations="disabled")
        return path

    # -- figures -------------------------------------------------------------------------------------------------

    def measure(
        self,
        action: Callable[[], object],
        until: str,
        *,
        start: str | Sequence[str] = ("pointerup", "keydown"),
        timeout_s: float = 10,
    ) -> float:
        """Milliseconds from what the user did to the animation frame that shows the effect, by the page's own clock.

        The start is the time stamp that the browser gave to the first event of a type in ``start`` after ``action``
        began; the end is the start of the first animation frame in which ``until`` is true. Neither contains a round
        trip of Playwright's, nor the time between its mouse button down and up. What is shown on ``pointerdown`` is to
        be measured with ``start="pointerdown"``.

        Args:
            action: does it, as in ``lambda: card.click()``.
            until: JavaScript function without arguments; quick, since it is called in each frame; false before.
            start: event types, of which the first one seen counts.
            timeout_s: how long to look.

        Raises:
            Error: of Playwright: ``until`` was true before, no such event came, or ``until`` did not come true.
        """
        types = [start] if isinstance(start, str) else list(start)
        self.page.evaluate(
            f"([types, patience]) => __lab.measure(({until}), types, patience)", [types, timeout_s * 1000]
        )
        action()
        return float(self.page.evaluate("() => __measured"))

    def watch_tiles(self) -> None:
        """Forget the map tiles seen so far; `tiles` tells of those that come from here on."""
        self.page.evaluate("() => __lab.forgetTiles()")

    def tiles(self) -> Tiles:
        """The map tiles (any element with Leaflet's class) wanted, loaded and cancelled since `watch_tiles`."""
        report: Tiles = self.page.evaluate("() => __lab.tileReport()")
        return report

    def traffic(self) -> dict[str, int]:
        """Bytes ``received`` and ``sent`` over the page's web sockets since it was loaded; take the difference."""
        counted: dict[str, int] = self.page.evaluate("() => ({ ...__lab.counted })")
        return counted

    # -- what went wrong -----------------------------------------------------------------------------------------

    def expect_problem(self, pattern: str) -> None:
        """Let problems that match a regular expression pass, earlier and later ones."""
        self._expected.append(re.compile(pattern))

    def unexpected_problems(self) -> list[str]:
        """The problems that `expect_problem` did not name."""
        return [text for text in self.problems if not any(pattern.search(text) for pattern in self._expected)]

    def close(self) -> None:
        """Close the page and end the kernel."""
        self._leave_kernel()
        self.page.close()
        for session in self.lab.server.rest("GET", "api/sessions"):
            if session["path"] == self.path.name:
                self.lab.server.rest("DELETE", f"api/sessions/{session['id']}")

    def _leave_kernel(self) -> None:
        if self._kernel_id:
            self.kernel.close()
            self._kernel_id = ""

    def _on_exception(self, error: Error) -> None:
        self.problems.append(f"exception in the page: {error.stack or error.message}")

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not _HARMLESS.search(message.text):
            self.problems.append(f"console: {message.text} ({message.location['url']})")

    def _on_request(self, request: Request) -> None:
        if request.url.startswith(("http:", "https:", "ws:", "wss:")) and not request.url.startswith(
            self.lab.server.url
        ):
            self.problems.append(f"request off this machine: {request.url}")


def _accept(dialog: Dialog) -> Any:
    """The browser's own question whether to leave the page."""
    return dialog.accept()
