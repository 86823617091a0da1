"""What lies over the imagery on the map: outlines of hits and query, clicks, the view, coordinates, legend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import traitlets

from workbench.session import Session
from workbench.widgets.view import View, source


class Overlay(View):
    """The map's outlines and signs.

    Attributes:
        map_id: model of the ipyleaflet map.
        extent: west, south, east, north of the imagery in degrees; empty without a place on earth.
        view: lat, lon and zoom of the map, two-way; empty: the whole imagery.
        cards: outlines of the page of hits: number, rank, ring [[lat, lon], ...], colour and value of its label.
        query: outline of the example.
        selected: tile that keys act on, two-way.
        hovered: tile under the pointer, two-way.
        tool: what a click does.
        legend: name and entries (colour, words) of each layer shown.
        systems: polynomials from lon, lat to the rasters' own coordinates.
        note: what to say over an empty map.
    """

    _esm = source("common.js", "leaflet.js", "overlay.js")
    _css = source("overlay.css")
    map_id = traitlets.Unicode().tag(sync=True)
    extent: traitlets.List[float] = traitlets.List().tag(sync=True)
    view = traitlets.Dict().tag(sync=True, echo_update=False)
    cards: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    query: traitlets.List[list[float]] = traitlets.List().tag(sync=True)
    selected = traitlets.Int(-1).tag(sync=True)
    hovered = traitlets.Int(-1).tag(sync=True, echo_update=False)
    tool = traitlets.Unicode().tag(sync=True)
    legend: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    systems: traitlets.List[dict[str, Any]] = traitlets.List().tag(sync=True)
    note = traitlets.Unicode().tag(sync=True)

    def __init__(self, session: Session, map_id: str) -> None:
        super().__init__(session)
        self.map_id = map_id
        self.extent = list(session.extent or ())
        self.systems = [dict(system) for system in session.projections()]
        if not self.extent:
            self.note = "This imagery has no place on earth. Search and label it in the gallery."
        for name in ("selected", "hovered"):
            self.watch(partial(self._copy, name), name)
            self.observe(lambda change: self.attempt("pointing", self._point, **{change["name"]: change["new"]}), name)
        self.watch(lambda: setattr(self, "tool", session.tool), "tool")
        self.watch(lambda: setattr(self, "view", dict(session.map_view)), "map_view")
        self.observe(lambda change: self.attempt("moving the map", self._move, view=change["new"]), "view")
        self.watch(lambda: setattr(self, "query", session.query_ring), "query_ring")
        self.watch(self._show_cards, "hits", "page", "labels_version", "class_name")
        self.watch(self._show_legend, "layers_version", "shown")

    def actions(self) -> Mapping[str, Callable[..., object]]:
        """The browser may click."""
        return {"click": self.session.act_at}

    def _copy(self, name: str) -> None:
        setattr(self, name, getattr(self.session, name))

    def _point(self, **values: int) -> None:
        self.session.set_state(
            **{name: value for name, value in values.items() if getattr(self.session, name) != value}
        )

    def _move(self, view: dict[str, float]) -> None:
        if view != self.session.map_view:
            self.session.show_place(**view)

    def _show_cards(self) -> None:
        session = self.session
        colours = {known.name: known.colour for known in session.classes}
        cards = []
        for hit in session.page_hits():
            value = session.marks_of(hit.number).get(session.class_name, 0)
            ring = session.ring(hit.number)
            if ring:
                colour = colours.get(session.class_name, "") if value else ""
                cards.append({"number": hit.number, "rank": hit.rank, "ring": ring, "value": value, "colour": colour})
        self.cards = cards

    def _show_legend(self) -> None:
        self.legend = [
            {"name": name, "entries": [list(entry) for entry in entries]}
            for name, entries in self.session.layers.legend(tuple(self.session.shown))
        ]
