"""Work in the background: progress in units, cancel, and the error if there was one; the same calls run plainly in a script."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, Literal, TypeVar

from tqdm.auto import tqdm

from workbench.errors import Busy, Cancelled, WorkbenchError

log = logging.getLogger(__name__)
State = Literal["running", "done", "failed", "cancelled"]
T = TypeVar("T")
_in_background = threading.local()


class Progress:
    """How far a piece of work is, in units, and whether somebody asked it to stop.

    A long function takes one, calls `begin` once a stage and `advance` after each batch; `advance` raises
    `Cancelled` when the user asked for it, so a batch is the unit of cancellation.
    """

    def __init__(self, on_change: Callable[[Progress], None] | None = None) -> None:
        self.what, self.unit = "", ""
        self.done, self.total = 0, 0
        self.notes: list[str] = []
        self._first = 0
        self._started = time.monotonic()
        self._cancel = threading.Event()
        self._on_change = on_change

    def begin(self, what: str, total: int, unit: str, done: int = 0) -> None:
        """Start a stage of ``total`` units of which ``done`` are already there from an earlier run."""
        self.what, self.total, self.unit, self.done = what, total, unit, done
        self._first, self._started = done, time.monotonic()
        self._changed()

    def advance(self, count: int = 1) -> None:
        """Count units as done, then stop if asked to.

        Raises:
            Cancelled: `cancel` was called.
        """
        self.done += count
        self._changed()
        self.check()

    def say(self, note: str) -> None:
        """Tell the user one line now: an estimate before the work starts, what was skipped after it ended."""
        log.info("%s", note)
        self.notes.append(note)
        self._changed()

    def check(self) -> None:
        """Raise `Cancelled` if `cancel` was called."""
        if self._cancel.is_set():
            raise Cancelled(
                f"Stopped at {self.done:,} of {self.total:,} {self.unit}. Run the same call again to go on."
            )

    def cancel(self) -> None:
        """Ask the work to stop at the end of its current batch."""
        self._cancel.set()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancel.is_set()

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds to the end of this stage, or None before the first unit."""
        fresh = self.done - self._first
        if fresh <= 0 or not self.total:
            return None
        return (time.monotonic() - self._started) / fresh * (self.total - self.done)

    def text(self) -> str:
        """One line for people: ``indexing: 1,240 of 9,800 tiles, 41 s left``."""
        left = self.seconds_left
        tail = "" if left is None else f", {format_seconds(left)} left"
        return f"{self.what}: {self.done:,} of {self.total:,} {self.unit}{tail}"

    def _changed(self) -> None:
        if self._on_change is not None:
            self._on_change(self)


@contextmanager
def shown_progress(progress: Progress | None) -> Iterator[Progress]:
    """The caller's progress, or, where there is none, a new one shown as a tqdm bar in terminal and notebook."""
    if progress is not None:
        yield progress
        return
    bars: list[Any] = []
    shown = ("", 0)
    said = 0

    def show(now: Progress) -> None:
        nonlocal said, shown
        for note in now.notes[said:]:
            tqdm.write(note)
        said = len(now.notes)
        if not now.total:
            return
        if shown != (now.what, now.total):
            shown = (now.what, now.total)
            for bar in bars:
                bar.close()
            bars[:] = [tqdm(desc=now.what, total=now.total, unit=f" {now.unit}", initial=now.done, mininterval=0.5)]
        bars[-1].update(now.done - bars[-1].n)

    try:
        yield Progress(show)
    finally:
        for bar in bars:
            bar.close()


class Job(Generic[T]):
    """One function running in a thread of its own: ``state``, ``progress``, ``error``, `cancel` and `result`."""

    def __init__(
        self,
        name: str,
        function: Callable[[Progress], T],
        on_change: Callable[[Job[T]], None] | None = None,
        on_progress: Callable[[Job[T]], None] | None = None,
    ) -> None:
        self.name = name
        self.state: State = "running"
        self.error: BaseException | None = None
        self.progress = Progress(lambda _: on_progress(self) if on_progress else None)
        self._value: T | None = None
        self._function, self._on_change = function, on_change
        self._thread = threading.Thread(target=self._run, name=f"job {name}", daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """Ask the job to stop at the end of its current batch."""
        self.progress.cancel()

    @property
    def running(self) -> bool:
        """Whether the job's thread still works, its last callback included."""
        return self._thread.is_alive()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end; false when ``timeout`` seconds passed first."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def result(self, timeout: float | None = None) -> T:
        """What the function returned.

        Raises:
            TimeoutError: still running after ``timeout`` seconds.
            BaseException: what the function raised.
        """
        if not self.wait(timeout):
            raise TimeoutError(f"{self.name} is still running ({self.progress.text()}).")
        if self.error is not None:
            raise self.error
        return self._value  # type: ignore[return-value]

    def _run(self) -> None:
        _in_background.yes = True
        try:
            self._value = self._function(self.progress)
            state: State = "done"
        except Cancelled as error:
            self.error, state = error, "cancelled"
        except BaseException as error:
            self.error, state = error, "failed"
            log.log(logging.WARNING if isinstance(error, WorkbenchError) else logging.ERROR, "%s", error, exc_info=True)
        self.state = state
        if self._on_change is not None:
            self._on_change(self)


class Jobs:
    """At most one background job at a time, so that one core is always left to the screen."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.current: Job[object] | None = None

    def start(
        self,
        name: str,
        function: Callable[[Progress], T],
        on_change: Callable[[Job[T]], None] | None = None,
        on_progress: Callable[[Job[T]], None] | None = None,
    ) -> Job[T]:
        """Start a function in the background.

        Args:
            name: what it does, as shown to the user.
            function: called with a `Progress`.
            on_change: called with the job, in its thread, when it ends.
            on_progress: called with the job, in its thread, at every advance.

        Raises:
            Busy: another job is running.
        """
        with self._lock:
            if self.current is not None and self.current.running and self.current.state == "running":
                raise Busy(f"{self.current.name} is still running. Wait for it, or cancel it first.")
            job = Job(name, function, on_change, on_progress)
            self.current = job  # type: ignore[assignment]
        return job

    def close(self, timeout: float = 30) -> None:
        """Cancel what runs and wait for it."""
        if self.current is not None:
            self.current.cancel()
            self.current.wait(timeout)


def cpu_threads() -> int:
    """Threads that heavy work may take: all cores in a script, all but one inside a background job."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores - 1) if getattr(_in_background, "yes", False) else cores


def format_seconds(seconds: float) -> str:
    """Seconds for people: 41 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    return f"{seconds // 3600:.0f} h {seconds % 3600 / 60:.0f} min"
