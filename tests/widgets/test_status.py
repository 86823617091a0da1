"""The status line: what happened, what runs, the learning curve, and what is looked at."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest
from widgets.conftest import say

from workbench.errors import RasterUnreadable
from workbench.jobs import Progress
from workbench.segmentation.runs import EpochRow
from workbench.session import Session
from workbench.widgets.status import StatusLine


@pytest.fixture
def line(session: Session) -> Iterator[StatusLine]:
    made = StatusLine(session)
    yield made
    made.close()


def row(epoch: int, **values: float) -> dict[str, Any]:
    given = {"train_loss": 1.0, "val_loss": 1.1, "iou": {"roof": 0.5}, "mean_iou": 0.5, "accuracy": 0.9, "seconds": 1.0}
    return asdict(EpochRow(epoch=epoch, **(given | values)))


def test_it_says_what_happened_and_whether_that_was_a_failure(session: Session, line: StatusLine) -> None:
    session.search(tile=3, k=5)
    assert line.status == session.status == "5 hits like tile 3." and not line.alarm
    session.fail("opening", RasterUnreadable("<b>south.tif</b> cannot be read. Copy it again."))
    assert line.status == "opening: <b>south.tif</b> cannot be read. Copy it again." and line.alarm
    session.label([1], "roof")
    assert not line.alarm


def test_it_says_how_the_archive_is_searched(session: Session, line: StatusLine) -> None:
    assert line.engine == ""
    session.search(tile=3, k=5)
    assert line.engine == session.index.engine_text and line.engine.startswith("exact: all 162 descriptors")
    assert StatusLine(session).engine == line.engine


def test_a_running_job_shows_how_far_it_is_and_can_be_stopped(session: Session, line: StatusLine) -> None:
    begun, go = threading.Event(), threading.Event()
    seen: list[float] = []
    line.observe(lambda change: seen.append(change["new"]), "fraction")

    def work(progress: Progress) -> None:
        progress.begin("counting", 4, "sheep")
        begun.set()
        for _ in range(4):
            go.wait(10)
            progress.advance()

    job = session.start("counting sheep", work)
    assert begun.wait(10) and line.job == "counting sheep" and line.progress == "counting: 0 of 4 sheep"
    assert line.fraction == 0 and not line.stopping
    say(line, do="cancel")
    assert line.stopping and "stopping after this batch" in line.status
    go.set()
    assert job.wait(10)
    assert line.job == "" and line.progress == "" and line.fraction == -1 and not line.stopping
    assert line.status.startswith("counting sheep: Stopped at 1 of 4 sheep")
    assert max(seen) <= 1


def test_a_job_that_is_done_or_failed_leaves_only_words(session: Session, line: StatusLine) -> None:
    def broken(progress: Progress) -> None:
        progress.begin("working", 1, "things")
        raise ZeroDivisionError("broken on purpose")

    session.start("work", broken).wait(10)
    assert line.alarm and line.status.startswith("work: ZeroDivisionError") and line.job == "" and line.fraction == -1
    session.start("work", lambda progress: None).wait(10)
    assert line.status == "work: done." and not line.alarm and line.job == ""


def test_the_curve_grows_by_epoch_and_holds_only_numbers_that_json_knows(session: Session, line: StatusLine) -> None:
    session.set_state(curve=[row(1)])
    session.set_state(curve=[*session.curve, row(2, val_loss=float("nan"), mean_iou=0.7)])
    assert line.curve == [
        {"epoch": 1, "train": 1.0, "val": 1.1, "iou": 0.5},
        {"epoch": 2, "train": 1.0, "val": None, "iou": 0.7},
    ]
    assert json.loads(json.dumps(line.curve, allow_nan=False)) == line.curve
    say(line, do="dismiss")
    assert line.curve == [] == session.curve


def test_tiles_and_labels_of_the_class_are_always_there(session: Session, line: StatusLine) -> None:
    assert line.tiles == "tile 64 px = 32 m · 162 tiles" and line.counts == [0, 0]
    session.label([1, 2, 3], "roof")
    session.label([4], value=-1)
    assert line.class_name == "roof" and line.counts == [3, 1]
    session.choose_class("road")
    assert line.class_name == "road" and line.counts == [0, 0]
    session.choose_class("roof")
    session.undo()
    assert line.counts == [3, 0]


def test_a_second_line_shows_the_same(session: Session, line: StatusLine) -> None:
    session.label([1, 2], "roof")
    session.set_state(curve=[row(1), row(2)])
    session.fail("trying", ValueError("no"))
    again = StatusLine(session)
    names = ("status", "alarm", "job", "progress", "fraction", "stopping", "curve", "tiles", "class_name", "counts")
    assert [getattr(again, name) for name in names] == [getattr(line, name) for name in names]
    again.close()
    assert line.status
