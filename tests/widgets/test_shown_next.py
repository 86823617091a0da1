"""What is shown next, on all parts of the screen: queues to choose, suspects on cards, and how far the search is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from widgets.conftest import say

from workbench.search.refine import METHODS
from workbench.session import OBJECT_QUEUES, QUEUES, Session
from workbench.widgets.gallery import Gallery
from workbench.widgets.status import StatusLine
from workbench.widgets.toolbar import METHOD_WORDS, QUEUE_WORDS, Toolbar


@pytest.fixture
def parts(session: Session) -> Iterator[tuple[Gallery, Toolbar, StatusLine]]:
    session.choose_class("roof")
    made = Gallery(session), Toolbar(session), StatusLine(session)
    yield made
    for part in made:
        part.close()


def marked(session: Session) -> np.ndarray:
    """Twelve tiles like one labelled, and as many unlike it; one of each is wrong."""
    best = session.search(tile=40, k=162).numbers
    session.label(best[:12].tolist(), "roof")
    session.label(best[-12:].tolist(), "roof", value=-1)
    session.label([int(best[2])], "roof", value=-1)
    session.refine()
    return best


def draw(session: Session, best: np.ndarray) -> None:
    """Mark a draw of the audit whole, and wait for the estimate."""
    for number in session.show_queue("audit").numbers.tolist():
        session.label([number], "roof", value=1 if number in best[:30] else -1)
    while session._estimating.current is not None and session._estimating.current.running:
        session._estimating.current.wait(20)


def test_every_queue_can_be_chosen_once_there_is_what_it_is_made_from(
    session: Session, parts: tuple[Gallery, Toolbar, StatusLine]
) -> None:
    _, toolbar, _ = parts
    assert [each["id"] for each in toolbar.queues] == ["", *QUEUES, *OBJECT_QUEUES] == list(QUEUE_WORDS)
    assert all(each["name"] and each["says"] and each["why"] for each in toolbar.queues)
    marked(session)
    assert [each["id"] for each in toolbar.queues if each["why"]] == ["disagreement", *OBJECT_QUEUES]
    for queue in ("similar", "uncertain", "diverse", "mistakes", "audit"):
        say(toolbar, do="queue", name=queue)
        assert toolbar.queue == session.queue == queue and not session.alarm
    say(toolbar, do="queue", name="")
    assert toolbar.queue == "" and len(session.hits) == 162
    say(toolbar, do="queue", name="disagreement")
    assert session.alarm and session.status.startswith("queue: There is no map of a U-Net yet.")


def test_every_way_to_rank_can_be_chosen_and_ranks_at_once(
    session: Session, parts: tuple[Gallery, Toolbar, StatusLine]
) -> None:
    gallery, toolbar, _ = parts
    assert [each["id"] for each in toolbar.methods] == list(METHODS) == list(METHOD_WORDS)
    marked(session)
    say(toolbar, do="method", method="rocchio", small_tiles=False)
    assert toolbar.method == session.method == "rocchio" and "pulled together" in gallery.page["kind"]
    assert "one size" in toolbar.no_small_tiles
    say(toolbar, do="method", method="auto", small_tiles=True)
    assert session.alarm and "Build an archive with several" in session.status
    assert toolbar.method == "rocchio" and not toolbar.small_tiles


def test_refine_on_either_part_keeps_the_queue(session: Session, parts: tuple[Gallery, Toolbar, StatusLine]) -> None:
    gallery, toolbar, _ = parts
    marked(session)
    say(toolbar, do="queue", name="uncertain")
    for part in (gallery, toolbar):
        before = session.scorer
        say(part, do="refine")
        assert session.queue == "uncertain" and session.scorer is not before
    assert gallery.page["queue"] == "most uncertain" and gallery.page["kind"].startswith("logistic")


def test_a_suspect_carries_what_the_scorer_thinks_until_it_is_marked_anew(
    session: Session, parts: tuple[Gallery, Toolbar, StatusLine]
) -> None:
    gallery, toolbar, _ = parts
    wrong = str(marked(session)[2])
    assert gallery.remarks == {}
    say(toolbar, do="queue", name="mistakes")
    assert gallery.remarks[wrong]["words"].startswith("yes ") and gallery.remarks[wrong]["warn"]
    say(gallery, do="label", number=int(wrong), value=1)
    assert wrong not in gallery.remarks and len(gallery.remarks) > 1
    say(gallery, do="undo")
    assert gallery.remarks[wrong]["warn"]
    say(gallery, do="choose", name="road")
    assert gallery.remarks == {}, "what was said of roofs says nothing of roads"


def test_cards_of_an_audit_show_no_score(session: Session, parts: tuple[Gallery, Toolbar, StatusLine]) -> None:
    gallery, toolbar, _ = parts
    marked(session)
    say(toolbar, do="queue", name="audit")
    assert {card["score"] for card in gallery.page["cards"]} == {"–"} and gallery.page["queue"] == "audit"
    say(toolbar, do="queue", name="similar")
    assert "–" not in {card["score"] for card in gallery.page["cards"]}


def test_the_line_tells_how_far_the_search_is_and_takes_another_answer(
    session: Session, parts: tuple[Gallery, Toolbar, StatusLine], tmp_path: Path
) -> None:
    _, _, line = parts
    best = marked(session)
    assert line.told == {} and line.told_rows == []
    draw(session, best)
    draw(session, best)
    assert [row["labels"] for row in line.told_rows] == [35, 45] or len(line.told_rows) == 2
    assert line.told["words"].startswith("About ") and "20 of them audited" in line.told["words"]
    assert json.loads(json.dumps([line.told, line.told_rows], allow_nan=False)) == [line.told, line.told_rows]
    assert not line.told["chosen"]
    say(line, do="answer", tiles=17)
    session._estimating.current.wait(20)
    assert line.told["answered"] == 17 and line.told["chosen"]
    say(line, do="answer", tiles=0)
    assert not line.told["chosen"]
    say(line, do="export curve", ending="csv")
    assert len(list((tmp_path / "exports").glob("progress-roof-*.csv"))) == 1 and ".csv" in line.status
    session.choose_class("road")
    assert line.told == {} and line.told_rows == []
    again = StatusLine(session)
    session.choose_class("roof")
    assert (again.told, again.told_rows) == (line.told, line.told_rows) and line.told
    again.close()
