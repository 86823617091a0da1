"""The workbench: toolbar, map, gallery and status line of one session, shown when it ends a cell."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import ipyleaflet
import ipywidgets

from workbench.session import Archive, Session
from workbench.widgets.gallery import Gallery
from workbench.widgets.map import MapPanel
from workbench.widgets.status import StatusLine
from workbench.widgets.toolbar import Toolbar
from workbench.widgets.view import Theme

_LOG_BYTES = 1_000_000


class Workbench(ipywidgets.VBox):
    """Search, label, refine and train on an archive, on one screen.

    It displays itself when it ends a cell. Query, hits, page, map view and labels are there again after a page reload
    and after a kernel restart with the same call. Several may show one session: they show the same.

    Args:
        archive: an archive or its folder; or a `Session` to show it once more.
        labels: folder of the labels; made when something is first labelled. A log of what went wrong is kept there too.
        classes: names to begin with, the first one chosen; more can be added on screen.
        by: who labels; the login name when None.
        height: of map and gallery, in CSS units.
        basemap: an ipyleaflet layer to show under the imagery; the browser fetches it from the network.

    Attributes:
        session: what it shows; every verb of the screen is a method of it.
    """

    def __init__(
        self,
        archive: Archive | Session | str | Path,
        labels: str | Path = "labels",
        *,
        classes: Sequence[str] = (),
        by: str | None = None,
        height: str = "480px",
        basemap: ipyleaflet.Layer | None = None,
    ) -> None:
        self._own = not isinstance(archive, Session)
        self.session = archive if isinstance(archive, Session) else Session(archive, labels, by=by, resume=True)
        self._log = _keep_log(self.session.store.folder)
        if not self.session.class_name:
            known = [each.name for each in self.session.classes]
            self.session.choose_class(next(iter([*classes, *known]), "target"))
        self.session.offer_classes(classes)
        self._theme = Theme()
        # The first to observe is the first to be told: a label shows on its card before anything else is drawn anew.
        self._gallery = Gallery(self.session)
        self._toolbar = Toolbar(self.session)
        self._map = MapPanel(self.session, height, basemap)
        self._status = StatusLine(self.session)
        self._gallery.layout = {"flex": "1 1 0", "min_width": "300px", "height": height}
        self._middle = ipywidgets.HBox([self._map.widget, self._gallery], layout={"width": "100%"})
        super().__init__(
            [self._theme, self._toolbar, self._middle, self._status], layout={"width": "100%", "overflow": "hidden"}
        )
        self.add_class("wb-root")
        self._middle.add_class("wb-middle")
        self._warming = threading.Thread(target=self.session.warm_up, name="warming up", daemon=True)
        self._warming.start()

    @property
    def views(self) -> tuple[Any, ...]:
        """The parts of the screen, for tests and for those who arrange them anew."""
        return self._toolbar, self._map.channel, self._map.overlay, self._gallery, self._status

    def close(self) -> None:
        """Leave nothing behind: no thread, no observer, no open comm; a session that was given stays open."""
        for part in (self._toolbar, self._map, self._gallery, self._status, self._theme):
            part.close()
        self._warming.join()
        if self._own:
            self.session.close()
        self._middle.close()
        super().close()
        logging.getLogger("workbench").removeHandler(self._log)
        self._log.close()


class _Log(RotatingFileHandler):
    """A log that makes its folder with its first line."""

    def _open(self) -> Any:
        Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        return super()._open()


def _keep_log(folder: Path) -> RotatingFileHandler:
    handler = _Log(folder / "workbench.log", maxBytes=_LOG_BYTES, backupCount=1, delay=True, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.setLevel(logging.INFO)
    logging.getLogger("workbench").addHandler(handler)
    return handler
