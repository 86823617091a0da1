"""Finds a Chromium that starts, and installs one where there is none: ``python tests/browser/install.py``.

Debian's ``chromium`` package where apt-get and root are at hand, Playwright's own build otherwise. Quick when a browser is
there. A failed installation is an error in CI (``CI`` set) and a warning elsewhere, where the browser tests then skip.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HOW_TO_INSTALL = "run `make browser`, or name a Chromium or Chrome in the variable CHROMIUM"
_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


def in_ci() -> bool:
    """Whether a missing browser is a failure."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false", "no")


def find_chromium() -> Path | None:
    """The first Chromium or Chrome that answers with its version: ``CHROMIUM``, the path, Playwright's own; else None."""
    return next((path for path in _candidates() if _starts(path)), None)


def install_chromium() -> Path | None:
    """Install a Chromium unless one is found, and return it; None where nothing could be installed."""
    found = find_chromium()
    if found is None and shutil.which("apt-get") and os.geteuid() == 0:
        _run("apt-get", "update", "-qq")
        _run("apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium", "fonts-dejavu-core")
        found = find_chromium()
    if found is None:
        playwright = (sys.executable, "-m", "playwright")
        _run(*playwright, "install", "chromium")
        found = find_chromium()
        if found is None and os.geteuid() == 0:
            _run(*playwright, "install-deps", "chromium")
            found = find_chromium()
    return found


def _candidates() -> Iterator[Path]:
    named = os.environ.get("CHROMIUM")
    if named:
        yield Path(named)
        return
    for name in _NAMES:
        path = shutil.which(name)
        if path:
            yield Path(path)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return
    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
    if own.is_file():
        yield own


def _starts(path: Path) -> bool:
    """Whether the program runs at all: Ubuntu's ``chromium-browser`` may be a stub, and Playwright's may lack libraries."""
    try:
        return subprocess.run([path, "--version"], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _run(*command: str) -> None:
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    code = subprocess.run(command, env=quiet).returncode
    if code:
        sys.stderr.write(f"{' '.join(command)} failed with exit status {code}.\n")


def main() -> int:
    """Install, say what was found, and return the exit status."""
    found = install_chromium()
    if found is None:
        sys.stderr.write(f"No Chromium could be installed; the browser tests need one: {HOW_TO_INSTALL}.\n")
        return int(in_ci())
    sys.stdout.write(f"browser: {found}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
