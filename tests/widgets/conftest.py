"""A session on a small archive, and parts of the screen whose messages to the browser are kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_archives import MeanColour, small_imagery

from workbench.descriptors.archive import Archive
from workbench.descriptors.build import build_archive
from workbench.jobs import Progress
from workbench.session import Session
from workbench.widgets.view import View


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("screen")
    return build_archive(
        small_imagery(folder / "i"), folder / "a", tile=64, stride=32, encoder=MeanColour(), progress=Progress()
    )


@pytest.fixture
def session(archive: Archive, tmp_path: Path) -> Iterator[Session]:
    made = Session(archive, tmp_path / "labels", by="me")
    yield made
    made.close()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, Any], list[bytes]]]:
    """What views send to the browser as messages, oldest first."""
    kept: list[tuple[dict[str, Any], list[bytes]]] = []
    monkeypatch.setattr(View, "send", lambda self, content, buffers=None: kept.append((content, list(buffers or []))))
    return kept


def say(view: View, **message: object) -> None:
    """Play a message from the browser."""
    view._take(None, message, [])
