"""What becomes of the map's tiles in the page: how long each took from being asked for to being shown."""

from __future__ import annotations

import re
from io import BytesIO
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from browser.bench import Bench

_LISTEN = """() => {
  window.__tileEvents ??= [];
  if (!window.__tilesWatched) document.addEventListener("wb-tile", (event) => window.__tileEvents.push(event.detail));
  window.__tilesWatched = true;
}"""
_THERE = """(root, least) => {
  const tiles = [...root.querySelectorAll(".leaflet-tile")];
  return window.__tileEvents.length >= least && tiles.length > 0 && !root.querySelector(".leaflet-zoom-anim")
    && tiles.every((tile) => tile.classList.contains("leaflet-tile-loaded"));
}"""

_TOLD_MS = 400
"""After a move people look, and the kernel is told of it: what comes of that must not fall into the next measurement."""

_FADED_IN = (
    "root => [...root.querySelectorAll('.leaflet-tile')].every((tile) => ['', '1'].includes(tile.style.opacity))"
)


class TileEvent(TypedDict):
    """A tile that was shown: ``ms`` since it was asked for, ``empty`` where there is nothing."""

    layer: int
    z: int
    ms: float
    empty: bool


class TileWatch:
    """Listens to the tiles of a workbench from now on.

    Args:
        bench: whose page it is.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        bench.page.evaluate(_LISTEN)

    def events(self, layer: int | None = None) -> list[TileEvent]:
        """The tiles shown since `forget`, of one layer or of all."""
        shown: list[TileEvent] = self.bench.page.evaluate("() => window.__tileEvents")
        return [each for each in shown if layer is None or each["layer"] == layer]

    def forget(self) -> None:
        """Count from here."""
        self.bench.page.evaluate("() => { window.__tileEvents = []; }")

    def settle(self, least: int = 0) -> None:
        """Wait until every tile on the map is shown, and at least so many since `forget`."""
        self.bench.until(_THERE, least)

    def zoom(self, way: str) -> None:
        """Press ``Zoom in`` or ``Zoom out`` on the map, and wait until it is at rest with all its tiles."""
        before = len(self.events())
        self.bench.map.get_by_role("button", name=way).click()
        self.settle(least=before + 1)

    def times_at(self, lon: float, lat: float, zoom: float, *, painted: bool = False) -> list[float]:
        """Show a place on a map that was far from it, and give the ms of each tile of imagery.

        Args:
            lon: of the place.
            lat: of the place.
            zoom: of the map.
            painted: False: the kernel has forgotten what it painted before.
        """
        self.go(lon - 90, lat, zoom)
        if not painted:
            self.bench.notebook.kernel(f"for _ in range(6): {self.bench.name}.session.layers._tiles.forget(_)")
        self.go(lon, lat, zoom)
        return self._times()

    def times_of_zoom(self, zoom: float) -> list[float]:
        """Zoom about the middle of the map, and give the ms of each tile of imagery."""
        self._move("map.wbMap.setZoom(to, { animate: false })", zoom)
        return self._times()

    def times_of_pan(self, across: int, down: int) -> list[float]:
        """Move the map by some pixels, and give the ms of each tile of imagery that came into view."""
        self._move("map.wbMap.panBy(to, { animate: false })", [across, down])
        return self._times()

    def go(self, lon: float, lat: float, zoom: float) -> None:
        """Show a place, and wait until it is there."""
        self._move("map.wbMap.setView(to.slice(0, 2), to[2], { animate: false })", [lat, lon, zoom])

    def _times(self) -> list[float]:
        return [event["ms"] for event in self.events(layer=0)]

    def _move(self, how: str, to: object) -> None:
        self.settle()
        self.forget()
        # In the page, as a hand would: nothing but the tiles' own messages is under way meanwhile.
        self.bench.map.evaluate(f"(map, to) => {{ {how}; }}", to)
        self.bench.page.wait_for_timeout(_TOLD_MS)
        self.settle()

    def picture(self) -> NDArray[np.uint8]:
        """What the map shows once all tiles have faded in, (rows, cols, 3); the pointer must not be on it."""
        self.settle()
        self.bench.until(_FADED_IN)
        box = self.bench.map.bounding_box()
        assert box is not None
        png = self.bench.page.screenshot(clip=box, animations="disabled")
        return np.asarray(Image.open(BytesIO(png)).convert("RGB"))

    def colour_at(self, lon: float, lat: float) -> tuple[int, int, int]:
        """The colour of the map at a place."""
        box = self.bench.map.bounding_box()
        assert box is not None
        across, down = self.bench.point(lon, lat)
        red, green, blue = self.picture()[round(down - box["y"]), round(across - box["x"])].tolist()
        return red, green, blue

    def background(self) -> tuple[int, int, int]:
        """The colour of a map without anything on it."""
        said = self.bench.map.evaluate("map => getComputedStyle(map).backgroundColor")
        red, green, blue = (int(part) for part in re.findall(r"\d+", said)[:3])
        return red, green, blue
