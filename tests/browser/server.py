"""One JupyterLab server for tests: a folder of its own, a free port on this machine, a token, and no trace when it ends."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil

_QUIET: dict[str, dict[str, object]] = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
}
"""JupyterLab otherwise asks about news in a corner of each page, and the server asks the network for updates."""

_PAGE = {"buildCheck": False}
"""The check takes the server most of a second at each page's start."""

_UNUSED_EXTENSIONS = {"jupyter_lsp": False, "jupyter_server_terminals": False}
_ABANDONED_S = 1800
"""A server whose tests were killed ends by itself after this long."""


class Server:
    """A running JupyterLab.

    Args:
        folder: everything is kept here: notebooks (``root``), settings, workspaces, connection files, the log.
        base_url: path prefix of every address, as behind a hub.
        subshells: False: comm messages wait for the running cell, as before JupyterLab 4.4.

    Attributes:
        url: address of the server, with the prefix and a slash at its end.
        token: to be given as ``?token=``.
        root: where notebooks lie and kernels start.
        settings: the user's settings, as JupyterLab writes them.
        log: the server's and its kernels' standard error.
    """

    def __init__(self, folder: Path, *, base_url: str = "/", subshells: bool = True) -> None:
        self.root = folder / "root"
        self.settings = folder / "settings"
        self.log = folder / "server.log"
        self.token = secrets.token_hex(16)
        self._runtime = folder / "runtime"
        for name in ("root", "runtime", "config", "data", "ipython", "settings", "workspaces", "overrides"):
            (folder / name).mkdir(parents=True)
        overrides = dict(_QUIET)
        if not subshells:
            overrides["@jupyterlab/apputils-extension:kernels-settings"] = {"commsOverSubshells": "disabled"}
        (folder / "overrides" / "overrides.json").write_text(json.dumps(overrides))
        (folder / "overrides" / "page_config.json").write_text(json.dumps(_PAGE))
        (folder / "config" / "jupyter_server_config.json").write_text(json.dumps(_config(folder, base_url, self.token)))
        self._process = self._start(folder)
        try:
            self.url = self._wait()
        except BaseException:
            self.stop()
            raise

    def connection_file(self, kernel_id: str) -> Path:
        """How to reach a kernel without this server."""
        return self._runtime / f"kernel-{kernel_id}.json"

    def rest(self, method: str, path: str, body: object = None) -> Any:
        """Ask the server's own interface, as in ``rest("GET", "api/sessions")``; None where it answers with nothing."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method)
        request.add_header("Authorization", f"token {self.token}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def stop(self) -> None:
        """End the server and every kernel, gently and then not."""
        try:
            processes = [*psutil.Process(self._process.pid).children(recursive=True)]
        except psutil.NoSuchProcess:
            processes = []
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _, alive = psutil.wait_procs(processes, timeout=3)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def _start(self, folder: Path) -> subprocess.Popen[bytes]:
        places = {
            "JUPYTER_RUNTIME_DIR": self._runtime,
            "JUPYTER_CONFIG_DIR": folder / "config",
            "JUPYTER_DATA_DIR": folder / "data",
            "IPYTHONDIR": folder / "ipython",
        }
        environment = {**os.environ, **{name: str(path) for name, path in places.items()}, "TQDM_DISABLE": "1"}
        environment.pop("JUPYTER_CONFIG_PATH", None)
        environment.pop("JUPYTER_TOKEN", None)
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "jupyterlab"],
                cwd=self.root,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _wait(self, patience_s: float = 120) -> str:
        """The address, which the server writes down once its port is open."""
        written = self._runtime / f"jpserver-{self._process.pid}.json"
        until = time.monotonic() + patience_s
        while time.monotonic() < until and self._process.poll() is None:
            with contextlib.suppress(OSError, ValueError):
                info = json.loads(written.read_text())
                self.url = f"http://localhost:{info['port']}{info['base_url']}"
                self.rest("GET", "api/status")
                return self.url
            time.sleep(0.05)
        raise RuntimeError(f"JupyterLab did not start within {patience_s:.0f} s:\n{self.log.read_text()[-4000:]}")


def _config(folder: Path, base_url: str, token: str) -> dict[str, dict[str, object]]:
    return {
        "ServerApp": {
            "allow_root": True,
            "open_browser": False,
            "ip": "localhost",
            "port": 0,
            "base_url": base_url,
            "root_dir": str(folder / "root"),
            "log_level": "WARN",
            "shutdown_no_activity_timeout": _ABANDONED_S,
            "jpserver_extensions": _UNUSED_EXTENSIONS,
        },
        "IdentityProvider": {"token": token},
        "MappingKernelManager": {"cull_idle_timeout": _ABANDONED_S, "cull_connected": True},
        "LabApp": {
            "app_settings_dir": str(folder / "overrides"),
            "user_settings_dir": str(folder / "settings"),
            "workspaces_dir": str(folder / "workspaces"),
            "expose_app_in_browser": True,
            "extension_manager": "readonly",
            "news_url": None,
        },
    }
