"""The map: ipyleaflet with drawing tools and a scale bar, its layers from the tile channel, its outlines from the overlay."""

from __future__ import annotations

from typing import Any

import ipyleaflet
import ipywidgets
from shapely.geometry import shape as geometry_of

from workbench.session import Session
from workbench.widgets.overlay import Overlay
from workbench.widgets.tiles import TileChannel
from workbench.widgets.view import hear_during_cells

_MOST_ZOOM = 24
_DRAWN = {"shapeOptions": {"color": "#00e5ff", "weight": 2, "fillOpacity": 0.1}}


class MapPanel:
    """The map of one session.

    Args:
        session: to show.
        height: in CSS units.
        basemap: an ipyleaflet layer under the imagery, fetched from the network by the browser; None: none.
    """

    def __init__(self, session: Session, height: str, basemap: ipyleaflet.Layer | None = None) -> None:
        self.session = session
        west, south, east, north = session.extent or (-1.0, -1.0, 1.0, 1.0)
        self.map = ipyleaflet.Map(
            layers=[] if basemap is None else [basemap],
            center=((south + north) / 2, (west + east) / 2),
            zoom=12,
            zoom_snap=0.5,  # whole zooms leave up to half of the map empty around the imagery
            max_zoom=_MOST_ZOOM,
            scroll_wheel_zoom=True,
            double_click_zoom=False,
            attribution_control=basemap is not None,
            layout={"height": height, "width": "100%", "margin": "0"},
        )
        self._draw = ipyleaflet.DrawControl(
            rectangle=_DRAWN,
            polygon=_DRAWN,
            polyline={},
            circlemarker={},
            circle={},
            marker={},
            edit=False,
            remove=False,
        )
        self._draw.on_draw(self._drawn)
        for control in (
            self._draw,
            ipyleaflet.ScaleControl(position="bottomleft", imperial=False),
            ipyleaflet.FullScreenControl(),
        ):
            self.map.add(control)
        for part in (self.map, *self.map.layers, *self.map.controls):
            hear_during_cells(part)
        self.channel = TileChannel(session, self.map.model_id)
        self.overlay = Overlay(session, self.map.model_id)
        self.widget = ipywidgets.VBox(
            [self.map, self.channel, self.overlay], layout={"flex": "1 1 0", "min_width": "300px", "overflow": "hidden"}
        )
        self.widget.add_class("wb-map")

    def _drawn(self, _: Any, action: str, geo_json: dict[str, Any]) -> None:
        """Act on a drawn outline; the drawing itself goes, for the control keeps ghosts of it."""
        if action == "created":
            self._draw.clear()
            self.overlay.attempt(
                "using the drawn outline", lambda: self.session.act_on(geometry_of(geo_json["geometry"]))
            )
