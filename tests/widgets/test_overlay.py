"""What lies over the map: outlines of the page with their labels, two-way pointing and view, clicks by the tool."""

from __future__ import annotations

import pytest
from widgets.conftest import say

from workbench.session import Session
from workbench.state import PAGE
from workbench.widgets.overlay import Overlay


@pytest.fixture
def overlay(session: Session) -> Overlay:
    return Overlay(session, "map")


def test_the_outlines_are_those_of_the_page_in_the_colours_of_their_labels(overlay: Overlay, session: Session) -> None:
    assert overlay.cards == [] and overlay.query == []
    session.search(tile=3, k=45)
    assert [card["number"] for card in overlay.cards] == [hit.number for hit in session.hits[:PAGE]]
    assert overlay.query == session.ring(3) and overlay.cards[0]["ring"] == session.ring(session.hits[0].number)
    session.label([session.hits[0].number], "roof")
    session.label([session.hits[1].number], "roof", value=-1)
    roof = session.classes[0].colour
    assert [(card["value"], card["colour"]) for card in overlay.cards[:3]] == [(1, roof), (-1, roof), (0, "")]
    session.go_to_page(2)
    assert len(overlay.cards) == 5 and overlay.cards[0]["rank"] == 41


def test_pointing_goes_both_ways(overlay: Overlay, session: Session) -> None:
    session.set_state(hovered=4)
    assert overlay.hovered == 4
    overlay.hovered = 7
    overlay.selected = 8
    assert (session.hovered, session.selected) == (7, 8)


def test_the_view_goes_both_ways_and_a_wrong_one_is_told(overlay: Overlay, session: Session) -> None:
    session.show_place(lat=56.1, lon=10.2, zoom=17)
    assert overlay.view == {"lat": 56.1, "lon": 10.2, "zoom": 17.0}
    overlay.view = {"lat": 56.0, "lon": 10.0, "zoom": 12}
    assert session.map_view == {"lat": 56.0, "lon": 10.0, "zoom": 12.0}
    overlay.view = {"lat": 560.0, "lon": 10.0, "zoom": 12}
    assert session.alarm and "There is no place" in session.status
    overlay.view = {"lat": "north"}
    assert session.alarm and session.map_view["lat"] == 56.0


def test_a_click_does_what_the_tool_says(overlay: Overlay, session: Session) -> None:
    lat, lon = session.archive.footprint(9, "EPSG:4326").centroid.coords[0][::-1]
    say(overlay, do="click", lon=lon, lat=lat)
    assert session.query.startswith("tile") and len(session.hits) > PAGE
    session.set_state(class_name="roof")
    for tool, value in (("positive", 1), ("negative", -1)):
        session.use_tool(tool)
        say(overlay, do="click", lon=lon, lat=lat)
        assert session.marks.of(session.selected) == {"roof": value}
    session.use_tool("unlabel")
    say(overlay, do="click", lon=lon, lat=lat)
    assert session.marks.of(session.selected) == {}
    session.use_tool("complete")
    say(overlay, do="click", lon=lon, lat=lat)
    assert session.alarm and "Draw its outline" in session.status


def test_a_click_beside_the_imagery_says_what_there_is(overlay: Overlay, session: Session) -> None:
    say(overlay, do="click", lon=0.0, lat=0.0)
    assert session.alarm and "the imagery covers" in session.status and not len(session.hits)


def test_the_legend_names_what_is_shown_only(overlay: Overlay, session: Session) -> None:
    session.search(tile=3)
    session.label([3], "roof")
    assert [section["name"] for section in overlay.legend] == ["Best matches", "Labels"]
    session.show_layer(1, False)
    assert [section["name"] for section in overlay.legend] == ["Labels"]
