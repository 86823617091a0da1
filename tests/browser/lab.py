"""JupyterLab in Chromium: opens notebooks, each in a workspace of its own, on one server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import nbformat
from playwright.sync_api import BrowserContext

from browser.notebook import Notebook
from browser.server import Server

VIEWPORT = {"width": 1280, "height": 720}
IN_PAGE = Path(__file__).with_name("page.js")
_KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}


class Lab:
    """One server and the notebooks that a test opened on it.

    Args:
        server: a running JupyterLab.
        browser: a running Chromium whose pages know `IN_PAGE`; shared with other servers.
        screenshots: folder for pictures.
    """

    def __init__(self, server: Server, browser: BrowserContext, screenshots: Path) -> None:
        self.server = server
        self.screenshots = screenshots
        self._browser = browser
        self._numbers = count(1)
        self._kept: Notebook | None = None
        self.notebooks: list[Notebook] = []

    def open(self, source: Sequence[str] | Path, *, theme: str = "light", timeout_s: float = 60) -> Notebook:
        """Write a notebook, open it with the left sidebar closed, and wait for its kernel.

        Args:
            source: the cells' Python, or a notebook file, of which a copy is opened.
            theme: ``light`` or ``dark``.
            timeout_s: how long to wait for page and kernel.
        """
        path = self._write(source)
        self._choose_theme(theme)
        # The kernel starts while the page loads, which then finds it; asked for by the page it would start afterwards.
        session = {"path": path.name, "name": path.name, "type": "notebook", "kernel": {"name": "python3"}}
        self.server.rest("POST", "api/sessions", session)
        page = self._browser.new_page()
        notebook = Notebook(self, page, path)
        self.notebooks.append(notebook)
        address = f"lab/workspaces/{path.stem}/tree/{path.name}?token={self.server.token}"
        page.goto(self.server.url + address)
        notebook.wait_until_ready(timeout_s)
        page.evaluate("() => jupyterapp.shell.collapseLeft()")
        return notebook

    def reopen(self, source: Sequence[str]) -> Notebook:
        """Like `open`, in the page and the kernel of an earlier test that passed, where there is one: seconds quicker.

        Workbenches that the kernel holds are closed. Names and modules are still there, so a test that changes a module
        puts it right again, or uses `open`.
        """
        if self._kept is None:
            self._kept = self.open(source)
        else:
            self._kept.begin_again(source)
            self.notebooks.append(self._kept)
        return self._kept

    def close_notebooks(self, *, keep: bool = False) -> list[str]:
        """Close what was opened, end its kernels, and tell of the problems that no test expected.

        Args:
            keep: leave the notebook that `reopen` gave for the next test.
        """
        problems = [text for notebook in self.notebooks for text in notebook.unexpected_problems()]
        keep = keep and not problems
        for notebook in self.notebooks:
            if not (keep and notebook is self._kept):
                notebook.close()
        if not keep and self._kept in self.notebooks:
            self._kept = None
        self.notebooks.clear()
        return problems

    def close(self) -> None:
        """Close the notebook that was kept for a next test, and end the server."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None
        self.server.stop()

    def _write(self, source: Sequence[str] | Path) -> Path:
        path = self.server.root / f"test-{next(self._numbers)}.ipynb"
        if isinstance(source, Path):
            shutil.copyfile(source, path)
            return path
        cells = [nbformat.v4.new_code_cell(text) for text in source]
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=_KERNEL), path)
        return path

    def _choose_theme(self, name: str) -> None:
        settings = self.server.settings / "@jupyterlab" / "apputils-extension" / "themes.jupyterlab-settings"
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(json.dumps({"theme": f"JupyterLab {name.title()}"}))
