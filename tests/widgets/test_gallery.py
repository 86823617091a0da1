"""The gallery: one message a page, labels by message, verbs of the session only, and the same for every view."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import traitlets
from PIL import Image
from small_archives import MeanColour, small_imagery
from small_rasters import patchwork, write_raster
from widgets.conftest import say

from workbench.descriptors.archive import Archive
from workbench.descriptors.build import build_archive
from workbench.jobs import Progress
from workbench.session import PAGE, Session
from workbench.widgets.gallery import Gallery

SHOWN = ("page", "marks", "remarks", "classes", "class_name", "selected", "hovered")
State = tuple[dict[str, Any], list[bytes]]


@pytest.fixture
def gallery(session: Session) -> Iterator[Gallery]:
    session.choose_class("roof")
    made = Gallery(session)
    yield made
    made.close()


@pytest.fixture
def updates(monkeypatch: pytest.MonkeyPatch) -> list[State]:
    """Traits that a gallery sends to the browser, a message each, with its buffers."""
    kept: list[State] = []

    def keep(self: Gallery, message: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        if message["method"] == "update":
            kept.append((message["state"], list(buffers or [])))

    monkeypatch.setattr(Gallery, "_send", keep)
    return kept


def numbers(gallery: Gallery) -> list[int]:
    return [card["number"] for card in gallery.page["cards"]]


def test_before_a_query_the_page_is_empty_and_offers_a_look_around(gallery: Gallery, session: Session) -> None:
    assert gallery.page["cards"] == [] and gallery.page["total"] == 0 and gallery.page["mapped"]
    say(gallery, do="browse")
    assert len(numbers(gallery)) == PAGE and {card["score"] for card in gallery.page["cards"]} == {"–"}
    assert gallery.page["query"] == "a look around" and gallery.page["kind"] == ""
    assert gallery.selected == numbers(gallery)[0] == session.selected


def test_a_page_shows_rank_score_and_the_tiles_own_picture(gallery: Gallery, session: Session) -> None:
    hits = session.search(tile=7, k=30)
    page = gallery.page
    assert numbers(gallery) == [hit.number for hit in hits[:PAGE]] and page["cards"][0]["score"] == "1.000"
    assert [card["rank"] for card in page["cards"]] == list(range(1, PAGE + 1))
    assert page["cards"][0]["text"] == session.tile_text(7) and (page["index"], page["pages"], page["total"]) == (
        0,
        2,
        30,
    )
    assert page["query"] == "tile 7" and page["kind"] == "nearest neighbours of one example"
    assert page["thumbs"] == [session.thumbnail(number) for number in numbers(gallery)]
    assert Image.open(io.BytesIO(page["thumbs"][0])).size == (128, 128)


def test_scores_of_a_learned_scorer_carry_a_sign(gallery: Gallery, session: Session) -> None:
    hits = session.search(tile=7, k=30)
    session.label(hits[:4])
    session.label(hits[-4:], value=-1)
    say(gallery, do="refine")
    assert session.scorer is not None and session.scorer.bias
    assert all(card["score"][0] in "+−" and len(card["score"]) >= 6 for card in gallery.page["cards"])
    assert "logistic regression" in gallery.page["kind"]
    say(gallery, do="page", page=99)
    assert gallery.page["cards"][-1]["score"][0] == "−", "a minus sign, not a hyphen"


def test_P18_a_page_is_one_message_with_its_labels_and_below_150_kB(
    gallery: Gallery, session: Session, updates: list[State]
) -> None:
    session.label([7])
    updates.clear()
    session.search(tile=7, k=100)
    (state, buffers), *more = updates
    assert {"page", "marks", "selected"} <= state.keys() and state["marks"] == {"7": {"roof": 1}}
    assert len(buffers) == PAGE and sum(map(len, buffers)) + len(json.dumps(state, default=str)) < 150_000
    assert not any("page" in state or "marks" in state for state, _ in more)


def test_a_label_sends_no_pictures_again(gallery: Gallery, session: Session, updates: list[State]) -> None:
    session.search(tile=7, k=100)
    key, place = gallery.page["key"], numbers(gallery)[2]
    updates.clear()
    say(gallery, do="label", number=place, value=-1)
    assert gallery.marks == {str(place): {"roof": -1}} and gallery.page["key"] == key
    assert not any(buffers for _, buffers in updates) and len(json.dumps([state for state, _ in updates])) < 2_000


def test_a_label_names_its_class_or_takes_the_one_that_is_looked_for(gallery: Gallery, session: Session) -> None:
    session.search(tile=7, k=100)
    first, second = numbers(gallery)[:2]
    say(gallery, do="label", number=first, value=1, class_name="road")
    assert session.class_name == gallery.class_name == "road"
    say(gallery, do="label", number=second, value=1)
    say(gallery, do="label", number=first, value=-1, class_name="roof")
    assert gallery.marks == {str(first): {"road": 1, "roof": -1}, str(second): {"road": 1}}
    say(gallery, do="label", number=second, value=0, class_name="road")
    assert str(second) not in gallery.marks
    assert [each["name"] for each in gallery.classes] == ["road", "roof"]


def test_a_class_that_is_not_defined_yet_is_there_with_its_colour(gallery: Gallery, session: Session) -> None:
    (roof,) = gallery.classes
    assert roof["name"] == "roof" and session.classes == ()
    session.offer_classes(["road"])
    say(gallery, do="choose", name="road")
    assert [each["name"] for each in gallery.classes] == ["road"] and gallery.class_name == "road"
    session.label([3])
    assert gallery.classes[0]["name"] == "road" and gallery.classes[0]["colour"] == roof["colour"]


def test_labelling_a_page_leaves_labelled_cards_alone_and_is_one_undo(gallery: Gallery, session: Session) -> None:
    session.search(tile=7, k=100)
    shown = numbers(gallery)
    say(gallery, do="label", number=shown[0], value=1)
    say(gallery, do="label", number=shown[1], value=1, class_name="road")
    say(gallery, do="choose", name="roof")
    say(gallery, do="label_page", value=-1, numbers=shown)
    assert [gallery.marks[str(number)].get("roof") for number in shown] == [1] + [-1] * (PAGE - 1)
    say(gallery, do="label_page", value=-1, numbers=shown)
    assert session.status == "Every card on this page carries a label of roof already."
    say(gallery, do="undo")
    assert gallery.marks == {str(shown[0]): {"roof": 1}, str(shown[1]): {"road": 1}}
    say(gallery, do="redo")
    assert len(gallery.marks) == PAGE
    say(gallery, do="label_page", value=1, numbers=["1", None, 2.5, True])
    assert len(session.store.labels()) == PAGE + 1 and not session.alarm


def test_pages_turn_forwards_and_back(gallery: Gallery, session: Session) -> None:
    hits = session.search(tile=7, k=50)
    keys = [gallery.page["key"]]
    say(gallery, do="page", page=1)
    assert numbers(gallery) == hits.numbers[20:40].tolist() and gallery.selected == hits[20].number
    keys.append(gallery.page["key"])
    say(gallery, do="page", page=0, last=True)
    assert gallery.selected == hits[19].number and gallery.page["key"] == keys[0] != keys[1]
    say(gallery, do="page", page=99)
    assert gallery.page["index"] == 2 and len(numbers(gallery)) == 10


def test_verbs_of_the_session_are_asked_for_by_tile(gallery: Gallery, session: Session) -> None:
    say(gallery, do="like", number=9)
    assert session.query == "tile 9" and len(session.hits) == min(200, len(session.archive))
    second = numbers(gallery)[1]
    say(gallery, do="select", number=second)
    assert session.selected == gallery.selected == second
    session.set_state(map_view={"lat": 0.0, "lon": 0.0, "zoom": 18.0})
    say(gallery, do="go_to", number=12)
    centre = session.archive.footprint(12, "EPSG:4326").centroid
    assert session.map_view == {"lat": centre.y, "lon": centre.x, "zoom": 18.0}


def test_a_label_moves_on_unless_it_failed(gallery: Gallery, session: Session) -> None:
    session.search(tile=9, k=20)
    first, second, third = numbers(gallery)[:3]
    say(gallery, do="label", number=first, value=1, then=second)
    assert gallery.selected == second
    say(gallery, do="label", number=second, value=5, then=third)
    assert gallery.selected == second and session.alarm


def test_a_card_that_has_gone_meanwhile_is_not_selected(gallery: Gallery, session: Session) -> None:
    session.search(tile=9, k=20)
    gone = next(number for number in range(100) if number not in session.hits.numbers)
    say(gallery, do="select", number=gone)
    assert session.selected == 9 and not session.alarm


def test_pointing_goes_both_ways(gallery: Gallery, session: Session) -> None:
    gallery.hovered = 5
    assert session.hovered == 5
    session.set_state(hovered=-1, selected=3)
    assert gallery.hovered == -1 and gallery.selected == 3


def test_surroundings_come_as_one_buffer(gallery: Gallery, sent: list[tuple[dict[str, Any], list[bytes]]]) -> None:
    say(gallery, do="context", number=5, ask="view 1")
    (said, (picture,)), done = sent
    assert said == {"context": 5} and Image.open(io.BytesIO(picture)).size == (384, 384)
    assert done == ({"settled": "view 1"}, [])


def test_what_was_asked_is_said_to_be_done_after_it_is_done_also_when_it_failed(
    gallery: Gallery, session: Session, sent: list[tuple[dict[str, Any], list[bytes]]]
) -> None:
    seen: list[int] = []
    gallery.observe(lambda change: seen.append(len(sent)), "page")
    say(gallery, do="like", number=9, ask="me 1")
    say(gallery, do="like", number=10**6, ask="me 2")
    say(gallery, do="nothing", ask="me 3")
    say(gallery, do="undo")
    say(gallery, do="undo", ask=["me"])
    say(gallery, do="undo", ask="m" * 101)
    assert seen == [0] and [said for said, _ in sent] == [{"settled": f"me {count}"} for count in (1, 2, 3)]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"do": "label", "number": -1, "value": 1}, "There is no tile -1"),
        ({"do": "label", "number": 3, "value": 2}, "2"),
        ({"do": "like", "number": -5}, "There is no tile"),
        ({"do": "context", "number": 10**6}, "There is no tile"),
        ({"do": "go_to", "number": 10**6}, "There is no tile"),
        ({"do": "choose", "name": ""}, "class name"),
    ],
)
def test_P15_what_fails_says_so_in_the_status_line_and_changes_nothing(
    gallery: Gallery, session: Session, message: dict[str, object], words: str
) -> None:
    session.search(tile=7, k=100)
    before = {name: getattr(gallery, name) for name in SHOWN}
    say(gallery, **message)
    assert session.alarm and words in session.status
    assert {name: getattr(gallery, name) for name in SHOWN} == before and not session.store.labels()


@pytest.mark.parametrize(
    "message",
    [
        {"do": "label", "number": "7", "value": 1},
        {"do": "label", "number": 7},
        {"do": "label", "number": 7, "value": True},
        {"do": "label_page", "value": 1, "numbers": 7},
        {"do": "page", "page": 1, "last": 1},
        {"do": "close"},
        {"do": "train"},
    ],
)
def test_P19_other_messages_are_ignored(
    gallery: Gallery, session: Session, message: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        say(gallery, **message)
    assert "ignored a message" in caplog.text and not session.store.labels()


def test_a_tile_that_cannot_be_read_leaves_its_card_without_a_picture_and_says_why(tmp_path: Path) -> None:
    imagery = small_imagery(tmp_path / "i", ("north.tif", "south.tif"), size=128)
    archive = build_archive(imagery, tmp_path / "a", tile=64, encoder=MeanColour(), progress=Progress())
    session = Session(archive, tmp_path / "labels")
    gallery = Gallery(session)
    (tmp_path / "i" / "south.tif").write_bytes(b"no raster")
    say(gallery, do="browse")
    lost = [
        card["text"][:5] for card, thumb in zip(gallery.page["cards"], gallery.page["thumbs"], strict=True) if not thumb
    ]
    assert lost == ["south"] * 9 and len(numbers(gallery)) == 18
    assert session.alarm and session.status.startswith("showing 9 of 18 cards: south.tif is not a GeoTIFF")


def test_an_archive_without_a_place_on_earth_can_be_looked_at_and_labelled(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "photo.tif", patchwork(192, 192), crs=None, transform=None)
    archive = build_archive(path, tmp_path / "a", tile=64, encoder=MeanColour(), progress=Progress())
    session = Session(archive, tmp_path / "labels")
    session.choose_class("roof")
    gallery = Gallery(session)
    assert not gallery.page["mapped"]
    say(gallery, do="browse")
    first = numbers(gallery)[0]
    say(gallery, do="label", number=first, value=1)
    say(gallery, do="like", number=first)
    assert gallery.marks == {str(first): {"roof": 1}} and gallery.page["query"] == f"tile {first}"
    say(gallery, do="go_to", number=first)
    assert session.alarm and "has no coordinate system" in session.status


def test_P16_a_new_gallery_shows_what_the_old_one_shows(gallery: Gallery, session: Session, archive: Archive) -> None:
    say(gallery, do="like", number=9)
    say(gallery, do="page", page=2)
    say(gallery, do="label", number=numbers(gallery)[3], value=1)
    say(gallery, do="refine")
    say(gallery, do="page", page=1)
    gallery.hovered = numbers(gallery)[2]
    say(gallery, do="select", number=numbers(gallery)[5])
    other = Gallery(session)
    assert {name: getattr(gallery, name) for name in SHOWN} == {name: getattr(other, name) for name in SHOWN}


def test_every_synced_value_of_the_gallery_follows_from_the_session(gallery: Gallery) -> None:
    own = {name for name, trait in Gallery.class_traits(sync=True).items() if not name.startswith("_")}
    assert own - {"layout", "tabbable", "tooltip"} == set(SHOWN), "a value that no test compares"
    assert isinstance(gallery, traitlets.HasTraits)


def test_a_closed_gallery_hears_nothing_any_more(session: Session) -> None:
    gallery = Gallery(session)
    gallery.close()
    session.search(tile=3)
    assert gallery.page["total"] == 0 and not session._trait_notifiers.get("hits", {}).get("change")
