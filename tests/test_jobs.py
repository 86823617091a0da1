"""Background work: progress, cancel, errors, and one job at a time."""

from __future__ import annotations

import threading
import time

import pytest

from workbench.errors import Busy, Cancelled
from workbench.jobs import Job, Jobs, Progress, cpu_threads, format_seconds, shown_progress


def test_progress_counts_in_units_and_tells_every_change() -> None:
    seen: list[str] = []
    progress = Progress(lambda now: seen.append(now.text()))
    assert progress.seconds_left is None
    progress.begin("indexing", 1240, "tiles", done=1000)
    progress.advance(120)
    progress.say("Two tiles were left out.")
    assert seen[0] == "indexing: 1,000 of 1,240 tiles" and seen[1].startswith(
        "indexing: 1,120 of 1,240 tiles, 0 s left"
    )
    assert progress.notes == ["Two tiles were left out."] and len(seen) == 3


def test_what_was_there_before_does_not_make_the_estimate_rosy(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 100.0, 110.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    progress = Progress()
    progress.begin("indexing", 1000, "tiles", done=900)
    progress.advance(10)
    assert progress.seconds_left == pytest.approx(90)


def test_P02_cancel_stops_at_the_next_batch_and_says_how_to_go_on() -> None:
    progress = Progress()
    progress.begin("indexing", 10, "tiles")
    progress.advance()
    progress.cancel()
    with pytest.raises(Cancelled, match=r"Stopped at 2 of 10 tiles\. Run the same call again to go on"):
        progress.advance()
    with pytest.raises(Cancelled):
        progress.check()


def test_a_given_progress_is_used_and_else_a_bar_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    mine = Progress()
    with shown_progress(mine) as progress:
        assert progress is mine
    with shown_progress(None) as progress:
        progress.say("About 10 tiles.")
        progress.begin("indexing", 10, "tiles")
        progress.advance(10)
        progress.begin("training", 3, "epochs")
        progress.say("Done.")
    assert capsys.readouterr().out.split("\n")[:2] == ["About 10 tiles.", "Done."]


def test_a_job_gives_its_result_and_tells_its_end() -> None:
    ends: list[str] = []
    steps: list[int] = []

    def work(progress: Progress) -> int:
        progress.begin("adding", 3, "numbers")
        for _ in range(3):
            progress.advance()
        return 42

    job = Job("adding", work, lambda job: ends.append(job.state), lambda job: steps.append(job.progress.done))
    assert job.result(10) == 42 and job.state == "done" and job.error is None
    assert ends == ["done"] and steps == [0, 1, 2, 3] and not job.running


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), SystemExit(1)])
def test_P15_a_jobs_error_is_kept_logged_and_raised(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    def work(progress: Progress) -> None:
        raise error

    job = Job("failing", work)
    with pytest.raises(type(error)):
        job.result(10)
    assert job.state == "failed" and job.error is error and "Traceback" in caplog.text


def wait_for_cancel(progress: Progress) -> None:
    while True:
        progress.advance()
        time.sleep(0.001)


def test_a_job_can_be_cancelled_and_another_started() -> None:
    jobs = Jobs()
    job = jobs.start("waiting", wait_for_cancel)
    with pytest.raises(TimeoutError, match="waiting is still running"):
        job.result(0.01)
    with pytest.raises(Busy, match="waiting is still running"):
        jobs.start("another", lambda _: None)
    job.cancel()
    assert job.wait(10) and job.state == "cancelled" and isinstance(job.error, Cancelled)
    assert jobs.start("another", lambda _: 7).result(10) == 7
    jobs.start("waiting", wait_for_cancel)
    jobs.close()
    assert jobs.current is not None and jobs.current.state == "cancelled"


def test_only_one_of_many_starts_at_once_succeeds() -> None:
    jobs, outcomes = Jobs(), []
    barrier = threading.Barrier(8)

    def start() -> None:
        barrier.wait()
        try:
            outcomes.append(jobs.start("waiting", wait_for_cancel).name)
        except Busy:
            outcomes.append("busy")

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    jobs.close()
    assert sorted(outcomes) == ["busy"] * 7 + ["waiting"]


def test_a_background_job_leaves_a_core_to_the_screen() -> None:
    here = cpu_threads()
    assert Job("counting", lambda _: cpu_threads()).result(10) == max(1, here - 1)
    assert cpu_threads() == here


def test_seconds_are_written_for_people() -> None:
    assert [format_seconds(s) for s in (0.4, 41, 200, 7500)] == ["0 s", "41 s", "3 min 20 s", "2 h 5 min"]
