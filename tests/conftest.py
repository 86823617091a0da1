"""Fixtures for all tests: the real data where they are, and a guard that no test leaves this machine."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
_LOCAL = ("127.", "::1", "localhost", "0.0.0.0")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fault-runs", type=int, default=15, help="random faults per promise")
    parser.addoption("--figures", help="file for the browser tests' latencies; tests/browser/out/ if not given")
    parser.addoption("--screenshots", help="folder for the browser tests' pictures; tests/browser/out/ if not given")
    parser.addoption("--archives", help="folder where the archives of the browser tests are kept and found again")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout, or a skip that says why."""
    if not SHARED.is_dir():
        pytest.skip(f"real data are not on this machine ({SHARED.name} folder beside the checkout)")
    return SHARED


@pytest.fixture(autouse=True)
def _no_connection_leaves_this_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    outside: list[object] = []
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else "localhost"
        if not str(host).startswith(_LOCAL):
            outside.append(address)
            raise OSError(f"a test tried to reach {address}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setitem(os.environ, "TQDM_DISABLE", "1")
    yield
    assert not outside, f"connections off this machine: {outside}"
