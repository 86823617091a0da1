"""Fixtures of the imagery tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from local_web import Server

from workbench.jobs import Progress


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running = Server()
    yield running
    running.close()


@pytest.fixture
def quiet() -> Progress:
    return Progress()
