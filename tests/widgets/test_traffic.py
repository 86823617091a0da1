"""What a click costs does not grow with the archive: bytes that the views send, and outlines that the map draws."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ipywidgets import Widget
from small_archives import MeanColour
from small_rasters import write_raster
from widgets.conftest import say

from workbench.descriptors.archive import Archive
from workbench.descriptors.build import build_archive
from workbench.descriptors.rows import Rows
from workbench.imagery.grid import TILE_DTYPE, TileGrid
from workbench.jobs import Progress
from workbench.session import Session
from workbench.widgets.workbench import Workbench

MOST_BYTES, MOST_OUTLINES = 200_000, 200
TILE = 32


def archive_of(side: int, folder: Path) -> Archive:
    """An archive of side x side tiles, a pixel apart, of the worst imagery for a picture's size, with made-up descriptors."""
    dice = np.random.default_rng(side)
    pixels = dice.integers(1, 255, (3, TILE + side - 1, TILE + side - 1), dtype=np.uint8)
    imagery = write_raster(folder / "noise.tif", pixels)
    small = build_archive(imagery, folder / "a", tile=TILE, stride=TILE, encoder=MeanColour(), progress=Progress())
    tiles = np.zeros(side * side, TILE_DTYPE)
    tiles["row"], tiles["col"] = (each.ravel() for each in np.mgrid[:side, :side])
    tiles["size"] = TILE
    raw = dice.normal(size=(side * side, small.manifest.dim)).astype(np.float16)
    manifest = replace(small.manifest, grid=TileGrid((TILE,), 1 / TILE))
    return replace(small, tiles=tiles, descriptors=Rows([raw], manifest.dim), manifest=manifest)


@pytest.fixture
def bytes_sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Bytes to the browser so far, by the class of the widget that sent them."""
    counted: Counter[str] = Counter()

    def send(widget: Widget, message: dict[str, Any], buffers: list[Any] | None = None) -> None:
        size = len(json.dumps(message)) + sum(memoryview(each).nbytes for each in buffers or ())
        counted[type(widget).__name__] += size

    monkeypatch.setattr(Widget, "_send", send)
    yield counted


@pytest.mark.parametrize("side", [10, 100, 1000])
def test_P18_a_click_sends_at_most_200_kB_and_200_outlines_whatever_the_archive_holds(
    side: int, tmp_path: Path, bytes_sent: Counter[str]
) -> None:
    bench = Workbench(Session(archive_of(side, tmp_path), tmp_path / "labels"), classes=["noise"])
    toolbar, _, overlay, gallery, _ = bench.views
    session = bench.session
    west, south, east, north = session.extent or (0, 0, 0, 0)
    acts = {
        "click": lambda: say(overlay, do="click", lon=(2 * west + east) / 3, lat=(south + north) / 2),
        "next page": lambda: say(gallery, do="page", page=1),
        "label": lambda: say(gallery, do="label", number=session.selected, value=1),
        "label the page": lambda: say(
            gallery, do="label_page", value=-1, numbers=[hit.number for hit in session.page_hits()]
        ),
        "refine": lambda: say(toolbar, do="refine"),
        "undo": lambda: say(toolbar, do="undo"),
        "look around": lambda: say(gallery, do="browse"),
    }
    sent: dict[str, int] = {}
    for name, act in acts.items():
        bytes_sent.clear()
        act()
        assert not session.alarm, session.status
        sent[name] = bytes_sent.total()
        assert len(overlay.cards) <= 20 and len(overlay.cards) + bool(overlay.query) <= MOST_OUTLINES
    assert len(session.hits) == min(200, side * side)
    assert sent["click"] > 50_000, "noise makes large pictures: were they counted?"
    assert max(sent.values()) <= MOST_BYTES, sent
    assert max(sent["label"], sent["undo"]) < 20_000, sent
    bench.close()
