"""The map's layers as tiles over the widget channel: no port is opened, and only the session's own layers can be asked for."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import traitlets

from workbench.errors import RasterUnreadable, WorkbenchError
from workbench.session import Session
from workbench.widgets.tile_guess import likely_next
from workbench.widgets.tile_queue import Ask, TileQueue
from workbench.widgets.view import View, source

log = logging.getLogger(__name__)
SIZES = (256, 512)
_MOST_SAID = 100
_PATIENCE_S = 0.01
_IMAGERY = 0  # the lowest layer, and the only one that takes long to paint


class TileChannel(View):
    """Answers the tiles that the map in the browser asks for.

    The browser sends ``{"do": "tiles", "ask": [[id, layer, x, y, z, size], ...], "drop": [id, ...]}``. Answers come
    several in a message, for a message costs as much as a small tile: ``{"tiles": [[id, state], ...]}`` where the state
    is ``"picture"`` (the next of the message's buffers), ``"empty"``, or ``"again"`` (it had to make room: ask again).

    Attributes:
        map_id: model of the ipyleaflet map.
        layers: those shown, from below: number, version, opacity, greatest zoom with pixels of its own.
    """

    _esm = source("common.js", "leaflet.js", "tiles.js")
    map_id = traitlets.Unicode().tag(sync=True)
    layers: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)

    def __init__(self, session: Session, map_id: str) -> None:
        super().__init__(session)
        self.map_id = map_id
        self._said: set[str] = set()
        self._ready: list[tuple[str, bytes | None]] = []
        self._ready_since = 0.0
        self._lock = threading.Lock()
        self._queue = TileQueue(self._paint, self._refuse, self._prepare)
        self.watch(self._show, "layers_version", "shown", "opacity")

    def actions(self) -> Mapping[str, Callable[..., object]]:
        """The browser may ask for tiles."""
        return {"tiles": self.tiles}

    def tiles(self, ask: list, drop: list) -> None:  # type: ignore[type-arg]
        """Queue tiles and forget others; what is no request for a tile gets an empty answer and a line in the log."""
        self._queue.drop(name for name in drop if isinstance(name, str))
        if not len(self._queue):
            self._flush()
        known = {info.number for info in self.session.layers.infos()}
        good: list[Ask] = []
        bad: list[object] = []
        for item in ask:
            tile = _parse(item, known)
            if tile is None:
                bad.append(item)
            else:
                good.append(tile)
        for item in bad:
            log.warning("Refused a request for a map tile: %.200r", item)
            if isinstance(item, list) and item and isinstance(item[0], str):
                self.send({"tiles": [[item[0][:100], "empty"]]})
        self._queue.ask(good)
        pictures = [tile for tile in good if tile.layer == _IMAGERY]
        if pictures:
            self._queue.prepare(likely_next(pictures, self.session.layers.infos()[_IMAGERY].max_native_zoom))

    def close(self) -> None:
        """End the threads and let go of the session."""
        self._queue.close()
        super().close()

    def _paint(self, tile: Ask) -> None:
        layers = self.session.layers
        picture = None
        try:
            picture = layers.tile(tile.layer, tile.x, tile.y, tile.z, tile.size)
        except RasterUnreadable:
            pass  # one of the problems
        except Exception as error:  # noqa: BLE001 - one bad tile must not end the thread
            self._say(error)
        for words in layers.problems:
            self._say(RasterUnreadable(words))
        try:
            self._answer(tile.id, picture)
        except Exception:  # the next may go through
            log.exception("A map tile could not be sent")

    def _prepare(self, tile: Ask) -> None:
        """Paint a tile into memory before it is asked for, unless the processor is needed for something else."""
        if self.session.job is not None and self.session.job.running:
            return
        try:
            self.session.layers.tile(tile.layer, tile.x, tile.y, tile.z, tile.size)
        except Exception as error:  # noqa: BLE001 - it is named when the tile is asked for
            log.debug("Not painted ahead: %s", error)

    def _answer(self, name: str, picture: bytes | None) -> None:
        """Send what is ready, unless more will be in a moment."""
        now = time.monotonic()
        with self._lock:
            if not self._ready:
                self._ready_since = now
            self._ready.append((name, picture))
            if len(self._queue) and now - self._ready_since < _PATIENCE_S:
                return
        self._flush()

    def _flush(self) -> None:
        with self._lock:
            ready, self._ready = self._ready, []
        states = [[name, "empty" if picture is None else "picture"] for name, picture in ready]
        if states:
            self.send({"tiles": states}, [picture for _, picture in ready if picture is not None])

    def _refuse(self, tile: Ask) -> None:
        self.send({"tiles": [[tile.id, "again"]]})

    def _show(self) -> None:
        session = self.session
        infos = {info.number: info for info in session.layers.infos()}
        self.layers = [
            {
                "number": number,
                "name": infos[number].name,
                "version": infos[number].version,
                "native": infos[number].max_native_zoom,
                "opacity": session.opacity_of(number),
            }
            for number in sorted(session.shown)
            if number in infos and infos[number].available
        ]

    def _say(self, error: Exception) -> None:
        """Show each failure once: a bad file fails in every tile of it."""
        words = str(error)
        if words in self._said:
            return
        if len(self._said) >= _MOST_SAID:
            log.log(logging.INFO if isinstance(error, WorkbenchError) else logging.ERROR, "a map tile: %s", words)
            return
        self._said.add(words)
        self.session.fail("painting the map", error)


def _parse(item: object, layers: set[int]) -> Ask | None:
    """A request as the browser writes it, or None if it is none, or for no layer that there is."""
    if not isinstance(item, list) or len(item) != 6 or not isinstance(item[0], str) or len(item[0]) > 100:
        return None
    if any(type(value) is not int for value in item[1:]):
        return None
    layer, x, y, z, size = item[1:]
    if not (layer in layers and 0 <= z <= 30 and 0 <= x < 2**z and 0 <= y < 2**z and size in SIZES):
        return None
    return Ask(item[0], layer, x, y, z, size)
