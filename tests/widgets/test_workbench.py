"""The workbench as a whole: closing leaves nothing behind, and making it again takes the place of what was there."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from ipywidgets.widgets import widget as registry
from widgets.conftest import say

from workbench.descriptors.archive import Archive, open_archive
from workbench.jobs import Progress
from workbench.session import Session
from workbench.widgets.workbench import Workbench

TILE = ["a", 0, 0, 0, 0, 256]


def left() -> dict[str, Any]:
    """What a workbench could leave behind in this process."""
    process = psutil.Process()
    return {
        "threads": sorted(each.name for each in threading.enumerate()),
        "widgets": sorted(type(each).__name__ for each in registry._instances.values()),
        "handlers": [repr(each) for each in logging.getLogger("workbench").handlers],
        "files": sorted(each.path for each in process.open_files() if "labels" in each.path),
        "sockets": len(process.net_connections()),
    }


def observers(session: Session) -> int:
    return sum(len(each) for kinds in session._trait_notifiers.values() for each in kinds.values())


def use(bench: Workbench) -> None:
    """Do something with each part, so that threads run and files are open."""
    toolbar, channel, overlay, gallery, _ = bench.views
    say(channel, do="tiles", ask=[TILE], drop=[])
    say(gallery, do="like", number=3)
    say(gallery, do="label", number=3, value=1)
    west, south, east, north = bench.session.extent or (0, 0, 0, 0)
    say(overlay, do="click", lon=(west + east) / 2, lat=(south + north) / 2)
    say(toolbar, do="opacity", number=0, share=0.5)
    logging.getLogger("workbench").warning("a line")
    assert bench.session.alarm is False and observers(bench.session) > 20


def test_closing_leaves_no_thread_no_widget_no_observer_no_file_and_no_socket(archive: Archive, tmp_path: Path) -> None:
    before = left()
    bench = Workbench(archive, tmp_path / "labels")
    use(bench)
    assert left()["threads"] != before["threads"] and left()["files"] != before["files"]
    bench.close()
    assert left() == before and observers(bench.session) == 0
    bench.close()


def test_what_is_wrong_with_the_imagery_is_said_first(archive: Archive, tmp_path: Path) -> None:
    changed = replace(archive, problems=("south.tif has changed since it was indexed.",))
    bench = Workbench(changed, tmp_path / "labels", classes=["house"])
    status = bench.views[-1]
    assert (status.status, status.alarm) == ("south.tif has changed since it was indexed.", True)
    assert bench.session.class_name == "house"
    bench.close()


def test_a_second_view_is_closed_without_harm_to_the_first(archive: Archive, tmp_path: Path) -> None:
    before = left()
    first = Workbench(archive, tmp_path / "labels")
    use(first)
    alone, heard = left(), observers(first.session)
    second = Workbench(first.session)
    use(second)
    second.close()
    assert left() == alone and observers(first.session) == heard
    use(first)
    assert first.session.labelled("target").any()
    first.close()
    assert left() == before


def test_a_line_is_logged_once_whatever_the_number_of_views(archive: Archive, tmp_path: Path) -> None:
    first = Workbench(archive, tmp_path / "labels")
    second = Workbench(first.session)
    logging.getLogger("workbench.test").warning("a line for both")
    second.close()
    logging.getLogger("workbench.test").warning("a line for one")
    first.close()
    logging.getLogger("workbench.test").warning("a line for none")
    lines = (tmp_path / "labels" / "workbench.log").read_text()
    assert [lines.count(f"a line for {who}") for who in ("both", "one", "none")] == [1, 1, 0]


def test_the_views_of_a_session_go_with_the_workbench_that_made_it(archive: Archive, tmp_path: Path) -> None:
    before = left()
    first = Workbench(archive, tmp_path / "labels")
    second = Workbench(first.session)
    use(second)
    first.close()
    assert left() == before
    second.close()


def test_a_cell_that_is_run_again_takes_the_place_of_what_it_showed(archive: Archive, tmp_path: Path) -> None:
    before = left()
    first = Workbench(archive, tmp_path / "labels")
    use(first)
    once = left()
    for _ in range(5):
        again = Workbench(str(archive.folder), str(tmp_path / "labels"))
        assert again.session is not first.session and len(again.session.hits) == len(archive)
        use(again)
    assert left() == once
    again.close()
    assert left() == before


def test_what_differs_in_archive_labels_or_person_is_shown_beside_each_other(archive: Archive, tmp_path: Path) -> None:
    before = left()
    labels = tmp_path / "labels"
    benches = [
        Workbench(archive, labels),
        Workbench(archive, labels, by="other"),
        Workbench(archive, tmp_path / "more"),
    ]
    for bench in benches:
        use(bench)
    for bench in benches:
        bench.close()
    assert left() == before


def test_a_running_job_outlives_the_cell_that_is_run_again(archive: Archive, tmp_path: Path) -> None:
    before = left()
    first = Workbench(archive, tmp_path / "labels")
    go = threading.Event()
    job = first.session.start("training", lambda progress: go.wait(30))
    again = Workbench(open_archive(archive.folder), tmp_path / "labels")
    assert job.state == "running" and again.views[-1].job == "training"
    go.set()
    assert job.wait(10) and again.views[-1].status == "training: done."
    use(again)
    again.close()
    assert left() == before


def test_closing_cancels_what_runs(archive: Archive, tmp_path: Path) -> None:
    bench = Workbench(archive, tmp_path / "labels")

    def work(progress: Progress) -> None:
        progress.begin("working", 10**6, "steps")
        while True:
            progress.advance()
            time.sleep(0.01)

    job = bench.session.start("working", work)
    bench.close()
    assert job.state == "cancelled" and not job.running
