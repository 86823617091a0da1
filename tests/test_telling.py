"""How far a session says that a search is: after each draw, in the background, and honestly of marks that taught the scorer."""

# ruff: noqa: F811 - fixtures are imported and asked for by name
from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from test_asking import archive, mark, session, settle, truth  # noqa: F401 - fixtures

from workbench.descriptors.archive import Archive
from workbench.errors import QueryInvalid
from workbench.session import Session


@pytest.fixture
def audited(session: Session, truth: np.ndarray) -> Iterator[Session]:
    mark(session, session.hits[:10], truth)
    session.refine()
    for _ in range(3):
        mark(session, session.show_queue("audit"), truth)
        settle(session)
    yield session


def test_an_estimate_follows_each_draw_and_no_other_label(session: Session, truth: np.ndarray) -> None:
    mark(session, session.hits[:10], truth)
    drawn = session.show_queue("audit")
    mark(session, drawn[:9], truth)
    settle(session)
    assert session.estimates == []
    mark(session, drawn[9:], truth)
    settle(session)
    assert [(told.labels, told.audited) for told in session.estimates] == [(20, 10)]
    mark(session, session.show_queue("similar", k=3), truth)
    settle(session)
    assert len(session.estimates) == 1
    session.go_on()
    settle(session)
    assert [(told.labels, told.audited) for told in session.estimates] == [(20, 10), (23, 10)]


def test_the_intervals_hold_what_is_true_here(audited: Session, truth: np.ndarray) -> None:
    told = audited.estimates[-1]
    answer = audited._scores(audited.scorer) >= told.threshold
    assert told.answered == np.count_nonzero(answer) and truth[answer].mean() in told.precision
    assert truth.sum() in told.count and told.area is not None
    ground = audited.archive.imagery[0].pixel_size_m
    assert told.area.middle == pytest.approx(told.count.middle * 32 * 32 * ground[0] * ground[1], rel=0.05)


def test_a_mark_that_is_taken_back_or_changed_changes_what_is_told(audited: Session) -> None:
    before = audited.estimates
    audited.undo()
    settle(audited)
    assert audited.estimates[-1].audited == 20 and audited.estimates[-1].labels == 39
    audited.redo()
    settle(audited)
    assert [told.audited for told in audited.estimates][-1] == 30 and audited.estimates[-1] == before[-1]


def test_the_answer_can_be_chosen_by_its_size_and_given_back(audited: Session) -> None:
    likely = audited.estimates[-1].answered
    audited.choose_answer(12)
    settle(audited)
    assert audited.estimates[-1].answered == 12 and audited.answers == {"roof": 12}
    audited.choose_answer(None)
    settle(audited)
    assert audited.estimates[-1].answered == likely and audited.answers == {}
    for size in (0, len(audited.archive) + 1):
        with pytest.raises(QueryInvalid, match=f"An answer of {size} tiles cannot be"):
            audited.choose_answer(size)


def test_marks_that_taught_the_scorer_are_judged_as_if_it_had_not_seen_them(audited: Session) -> None:
    ranking, audit, unseen = audited._judge(audited._basis("roof"), unseen=True)
    assert np.array_equal(unseen, ranking.scores[audit.numbers]), "it has not seen them yet"
    audited.refine()
    ranking, audit, unseen = audited._judge(audited._basis("roof"), unseen=True)
    moved = unseen - ranking.scores[audit.numbers]
    assert (np.where(audit.said, 1, -1) * moved < 0).mean() > 0.9, "every mark pulls its own score to its side"


def test_an_estimate_before_any_audit_is_wide_and_leaves_no_curve(
    session: Session, truth: np.ndarray, tmp_path: Path
) -> None:
    mark(session, session.hits[:10], truth)
    told = session.estimate()
    assert told.audited == 0 and told.count.width > 20 and session.estimates == []
    with pytest.raises(QueryInvalid, match="no estimates yet"):
        session.write_curve(tmp_path / "curve.csv")


def test_the_curve_is_written_as_table_and_figure(audited: Session, tmp_path: Path) -> None:
    with audited.write_curve(tmp_path / "curve.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["audited"]) for row in rows] == [10, 20, 30]
    assert audited.write_curve(tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    written = audited.export_curve("json")
    assert written.parent == tmp_path / "exports" and str(written) in audited.status
    with pytest.raises(QueryInvalid, match="neither"):
        audited.export_curve("xlsx")


def test_each_class_has_its_own_curve(audited: Session) -> None:
    told = audited.estimates
    audited.choose_class("road")
    assert audited.estimates == []
    audited.choose_class("roof")
    assert audited.estimates == told


def test_an_archive_of_too_many_tiles_is_not_audited_and_says_so(
    session: Session,
    truth: np.ndarray,
    archive: Archive,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("telling", "asking"):
        monkeypatch.setattr(f"workbench.{module}.MOST_RANKED", 100)
    mark(session, session.hits[:10], truth)
    session.refine()
    for name in ("similar", "uncertain", "diverse", "mistakes"):
        assert len(session.show_queue(name)), name
    assert "too many" in session.queues_closed["audit"]
    for verb in (lambda: session.show_queue("audit"), session.estimate):
        with pytest.raises(QueryInvalid, match=f"{len(archive)} are too many"):
            verb()
