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
from workbench.widgets.view import Theme, made_of

_LOG_BYTES = 1_000_000
_open: list[Workbench] = []
"""The workbenches of this kernel, oldest first."""


class Workbench(ipywidgets.VBox):
    """Search, label, refine and train on an archive, on one screen.

    It displays itself when it ends a cell. Query, hits, page, map view and labels are there again after a page reload
    and after a kernel restart with the same call. Several may show one session: they show the same. One for the same
    archive, labels and person as before, as when its cell is run again, takes the place of the one before: that is
    closed, but a job that it runs goes on in this one.

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
        self._work = None if isinstance(archive, Session) else _work_of(archive, labels, by)
        self.session = archive if isinstance(archive, Session) else self._begin(archive, labels, by)
        self._log = _keep_log(self.session.store.folder)
        if not self.session.class_name:
            said, alarm = self.session.status, self.session.alarm
            known = [each.name for each in self.session.classes]
            self.session.choose_class(next(iter([*classes, *known]), "target"))
            if said:
                self.session.set_state(status=said, alarm=alarm)
        self.session.offer_classes(classes)
        self._theme = Theme()
        # The first to observe is the first to be told: a label shows on its card before anything else is drawn anew.
        self._gallery = Gallery(self.session)
        self._toolbar = Toolbar(self.session)
        self._map = MapPanel(self.session, height, basemap)
        self._status = StatusLine(self.session)
        for name, value in {"flex": "1 1 0", "min_width": "300px", "height": height}.items():
            setattr(self._gallery.layout, name, value)
        self._middle = ipywidgets.HBox([self._map.widget, self._gallery], layout={"width": "100%"})
        super().__init__(
            [self._theme, self._toolbar, self._middle, self._status], layout={"width": "100%", "overflow": "hidden"}
        )
        self.add_class("wb-root")
        self._middle.add_class("wb-middle")
        self._warming = threading.Thread(target=self.session.warm_up, name="warming up", daemon=True)
        self._warming.start()
        _open.append(self)

    @property
    def views(self) -> tuple[Any, ...]:
        """The parts of the screen, for tests and for those who arrange them anew."""
        return self._toolbar, self._map.channel, self._map.overlay, self._gallery, self._status

    def close(self) -> None:
        """Leave nothing behind: no thread, no observer, no open comm; a session that was given stays open.

        With its session go the other workbenches that show it.
        """
        if self not in _open:
            return
        _open.remove(self)
        for part in made_of(self):
            if part is not self:
                part.close()
        super().close()
        self._warming.join()
        if self._own:
            for other in [each for each in _open if each.session is self.session]:
                other.close()
            self.session.close()
        if not any(each._log is self._log for each in _open):
            logging.getLogger("workbench").removeHandler(self._log)
            self._log.close()

    def _begin(self, archive: Archive | str | Path, labels: str | Path, by: str | None) -> Session:
        """The session to show: a new one, or that of the workbench whose place this takes if it is at work."""
        for before in [each for each in _open if each._work == self._work]:
            if before.session.running:
                before._own = False
                before.close()
                return before.session
            before.close()
        return Session(archive, labels, by=by, resume=True)


class _Log(RotatingFileHandler):
    """A log that makes its folder with its first line."""

    def _open(self) -> Any:
        Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        return super()._open()


def _keep_log(folder: Path) -> RotatingFileHandler:
    """The log in a folder; one for all workbenches that write to it."""
    path = str((folder / "workbench.log").absolute())
    for bench in _open:
        if bench._log.baseFilename == path:
            return bench._log
    handler = _Log(path, maxBytes=_LOG_BYTES, backupCount=1, delay=True, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.setLevel(logging.INFO)
    logging.getLogger("workbench").addHandler(handler)
    return handler


def _work_of(archive: Archive | str | Path, labels: str | Path, by: str | None) -> tuple[Path, Path, str | None]:
    """What makes two workbenches show the same work: folders of archive and labels, and the person."""
    folder = archive.folder if isinstance(archive, Archive) else archive
    return Path(folder).resolve(), Path(labels).resolve(), by
