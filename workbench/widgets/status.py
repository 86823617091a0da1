"""The line below map and gallery: what happened last, what runs, how the network learns, and what is looked at."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import traitlets

from workbench.session import Session
from workbench.widgets.told import row_of, short_words_of, words_of
from workbench.widgets.view import View, source


class StatusLine(View):
    """What happened and what goes on.

    Attributes:
        status: what happened last, in words.
        alarm: whether that is a failure.
        job: name of the running job; empty when none runs.
        progress: how far it is, in words.
        fraction: of its stage that is done, 0 to 1; -1 when not known.
        stopping: whether it was asked to stop.
        curve: epoch, train (loss), val (loss) and iou (mean) of each epoch; None where there is no number.
        told: how far the search for the class is, as of the last estimate: ``words``; ``count`` and ``precision`` in short;
            ``answered`` tiles, ``chosen``, whether by the analyst; empty before the first.
        told_rows: of each estimate labels, answered, and low, middle, high of precision, recall and count.
        tiles: size and number of the tiles, in words.
        engine: how they are searched, in words; empty before that is known.
        class_name: that is looked for.
        counts: positive and negative labels of it.
    """

    _esm = source("common.js", "icons.js", "curve.js", "told.js", "status.js")
    _css = source("status.css", "told.css")
    status = traitlets.Unicode().tag(sync=True)
    alarm = traitlets.Bool().tag(sync=True)
    job = traitlets.Unicode().tag(sync=True)
    progress = traitlets.Unicode().tag(sync=True)
    fraction = traitlets.Float(-1.0).tag(sync=True)
    stopping = traitlets.Bool().tag(sync=True)
    curve: traitlets.List[Any] = traitlets.List().tag(sync=True)
    told = traitlets.Dict().tag(sync=True)
    told_rows: traitlets.List[Any] = traitlets.List().tag(sync=True)
    tiles = traitlets.Unicode().tag(sync=True)
    engine = traitlets.Unicode().tag(sync=True)
    class_name = traitlets.Unicode().tag(sync=True)
    counts = traitlets.List([0, 0]).tag(sync=True)

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.tiles = session.tiles_text
        self.watch(self._show_status, "status", "alarm")
        self.watch(self._show_job, "running", "progress", "fraction", "status")
        self.watch(lambda: setattr(self, "engine", session.engine), "engine")
        self.watch(self._show_curve, "curve")
        self.watch(self._show_told, "estimates", "answers", "class_name")
        self.watch(self._show_counts, "class_name", "labels_version")

    def actions(self) -> Mapping[str, Callable[..., object]]:
        """The browser may cancel the job, put a finished learning curve away, and ask for estimates in another form."""
        return {
            "cancel": self.session.cancel,
            "dismiss": self.session.dismiss_curve,
            "answer": self._choose,
            "export curve": self._export,
        }

    def _choose(self, tiles: int) -> None:
        self.session.choose_answer(tiles or None)

    def _export(self, ending: str) -> None:
        self.session.export_curve(ending)

    def _show_status(self) -> None:
        # Together, or a screen reader announces an old text as an alarm.
        with self.hold_sync():
            self.status, self.alarm = self.session.status, self.session.alarm

    def _show_job(self) -> None:
        session = self.session
        with self.hold_sync():
            self.job, self.progress, self.fraction = session.running, session.progress, min(1.0, session.fraction)
            self.stopping = bool(session.running) and session.job is not None and session.job.progress.cancelled

    def _show_curve(self) -> None:
        self.curve = [
            {
                "epoch": row["epoch"],
                "train": _finite(row["train_loss"]),
                "val": _finite(row["val_loss"]),
                "iou": _finite(row["mean_iou"]),
            }
            for row in self.session.curve
        ]

    def _show_told(self) -> None:
        session = self.session
        told = session.estimates[-1] if session.estimates else None
        with self.hold_sync():
            self.told_rows = [row_of(each) for each in session.estimates]
            if told is None:
                self.told = {}
                return
            count, precision = short_words_of(told)
            self.told = {
                "words": words_of(told, session.class_name),
                "count": count,
                "precision": precision,
                "answered": told.answered,
                "chosen": session.class_name in session.answers,
            }

    def _show_counts(self) -> None:
        with self.hold_sync():
            self.class_name = self.session.class_name
            self.counts = list(self.session.label_counts().get(self.session.class_name, (0, 0)))


def _finite(value: float | None) -> float | None:
    """A number as JSON can hold it; a loss that is none ends the line there."""
    return float(value) if value is not None and math.isfinite(value) else None
