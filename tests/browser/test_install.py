"""Finding and installing a browser: what does not start is passed over, and where there is none the tests say so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from browser.install import find_chromium, install_chromium

ANY_BROWSER_TEST = "test_harness.py::test_a_cell_that_raises_fails_the_test"


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_program_that_does_not_start_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "chromium", "exit 1")
    works = program(tmp_path / "google-chrome", "echo Chrome 1.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHROMIUM", raising=False)
    assert find_chromium() == works
    monkeypatch.setenv("CHROMIUM", str(tmp_path / "nothing"))
    assert find_chromium() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="apt-get is asked only by root")
def test_the_package_is_installed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chromium = tmp_path / "chromium"
    making = f'echo "$@" >> {tmp_path}/asked; printf "#!/bin/sh\\n" > {chromium}; /bin/chmod +x {chromium}'
    program(tmp_path / "apt-get", making)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CHROMIUM", str(chromium))
    assert install_chromium() == chromium
    asked = (tmp_path / "asked").read_text()
    assert "install -y -qq --no-install-recommends chromium" in asked
    assert install_chromium() == chromium
    assert (tmp_path / "asked").read_text() == asked


@pytest.mark.parametrize(
    ("ci", "status", "words"), [("", 0, "BROWSER TESTS DID NOT RUN"), ("1", 1, "In CI the browser tests must run")]
)
def test_a_missing_browser_skips_loudly_and_fails_in_ci(ci: str, status: int, words: str, tmp_path: Path) -> None:
    test = Path(__file__).parent / ANY_BROWSER_TEST
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"{test}"],
        env={**os.environ, "CHROMIUM": str(tmp_path / "nothing"), "CI": ci},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == status
    assert words in done.stdout and "make browser" in done.stdout
