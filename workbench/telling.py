"""How far a search is: estimates from an audit's marks, made in the background and kept, as a curve by number of labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.audits import Draws, add_estimate, audit_folder, read_draws, read_estimates, with_estimate
from workbench.controls import new_path
from workbench.descriptors.archive import Archive
from workbench.errors import QueryInvalid
from workbench.files import slug
from workbench.jobs import Job, Jobs
from workbench.labels.store import LabelStore
from workbench.search import stopping
from workbench.search.audit import Audit, Ranking
from workbench.search.curve import write_curve
from workbench.search.ground import tile_areas
from workbench.search.index import Scorer
from workbench.search.refinement.pool import direction, pool_of_index
from workbench.search.stopping import Estimate, likely_threshold, marked_threshold
from workbench.search.unseen import own_part
from workbench.searching import Searching
from workbench.teaching import stamp
from workbench.tile_map import MOST_RANKED

_FEWEST = 10
Scores = NDArray[np.float64]
Key = tuple[str, int, int, tuple[tuple[int, int], ...]]


@dataclass(frozen=True, eq=False)
class Basis:
    """What an estimate is made from, as it is when it is asked for.

    Attributes:
        class_name: what is looked for.
        scorer: that ranks.
        learned: ids of the labels that it learned from.
        query: descriptor of the example that it started at.
        marks: tile -> +1 or -1, of all labelled tiles.
        draws: of the audit.
        answer: how many of the best tiles are judged; 0: by the marks.
    """

    class_name: str
    scorer: Scorer
    learned: frozenset[str]
    query: NDArray[np.float32] | None
    marks: Mapping[int, int]
    draws: Draws
    answer: int

    @property
    def key(self) -> Key:
        """What changes when there is something new to tell: with a draw that is labelled whole, not with every label."""
        drawn = self.draws.numbers.tolist()
        if not len(self.draws.left(self.marks)):
            drawn += self.draws.last.numbers.tolist()
        return self.class_name, id(self.scorer), self.answer, tuple((each, self.marks.get(each, 0)) for each in drawn)


class Telling(Searching):
    """The part of a `Session` that says when to stop.

    An estimate is made in a thread of its own when a draw of the audit is labelled whole, and when the ranking or the answer
    changes after that. The labels hold what audit marks say; see `audits` for what else is kept.
    """

    def __init__(self, archive: Archive, store: LabelStore, kept: Path | None) -> None:
        super().__init__(archive, store, kept)
        self._draws: dict[str, Draws] = {}
        self._told_of: Key | None = None
        self._estimating = Jobs()

    def set_state(self, **values: Any) -> None:
        """Set traits together, see `State.set_state`; with another class come the estimates for it."""
        name = values.get("class_name", self.class_name)
        if name != self.class_name:
            values.setdefault("estimates", self._estimates_of(name))
        super().set_state(**values)

    def estimate(self, class_name: str | None = None) -> Estimate:
        """How far the search for a class is: precision of the answer, count and area (m²) of the class, with 90 % intervals.

        See `search.stopping` for what they mean and promise. Marks of which a draw's last tiles are not labelled yet do not
        count as audit marks. Before the first audit the intervals are what a ranking by itself leaves open. The answer is
        what `choose_answer` said: else the tiles that are more likely right than wrong.

        Args:
            class_name: the class; the one looked for when None.

        Raises:
            QueryInvalid: nothing was searched yet, or there are too many tiles to score each.
        """
        with self._lock:
            self._catch_up()
            basis = self._basis(class_name or self.class_name)
        return self._estimate(basis)

    def choose_answer(self, tiles: int | None, class_name: str | None = None) -> None:
        """Say which tiles are the answer whose precision is told: the best so many.

        Args:
            tiles: how many; None: those that are more likely right than wrong.
            class_name: the class; the one looked for when None.

        Raises:
            QueryInvalid: there are not so many tiles.
        """
        name = class_name or self.class_name
        if tiles is not None and not 0 < tiles <= len(self.archive):
            raise QueryInvalid(f"An answer of {tiles} tiles cannot be. Give 1 to {len(self.archive):,}.")
        with self._lock:
            others = {known: count for known, count in self.answers.items() if known != name}
            self.set_state(answers=others if tiles is None else {**others, name: tiles})
        self._retell()

    def write_curve(self, path: str | Path, class_name: str | None = None) -> Path:
        """Write what was estimated, by number of labels: a table as .csv or .json, or a figure as .png.

        Raises:
            QueryInvalid: the path ends otherwise, or nothing was estimated yet.
        """
        return write_curve(self._estimates_of(class_name or self.class_name), path)

    def export_curve(self, ending: str) -> Path:
        """Write the curve to a new file beside the labels, ``csv``, ``json`` or ``png``; see `write_curve`."""
        home = self.store.folder.absolute().parent
        name = f"progress-{slug(self.class_name)}-{stamp()}.{slug(ending)}"
        written = self.write_curve(new_path(home / "exports" / name))
        self.set_state(status=f"How far the search for {self.class_name} is was written to {written}.")
        return written

    def _labels_changed(self, said: str, class_name: str | None = None) -> None:
        super()._labels_changed(said, class_name)
        self._retell()

    def _retell(self) -> None:
        """Estimate anew in the background if there is an audit, and anything new to tell."""
        with self._lock:
            name = self.class_name
            if self.scorer is None or not name or len(self.archive) > MOST_RANKED or self._draws_of(name).place == 1:
                return
            self._catch_up()
            basis = self._basis(name)
            busy = self._estimating.current is not None and self._estimating.current.state == "running"
            # What is said meanwhile is looked at when the running one ends.
            if not busy and basis.key != self._told_of and basis.key[-1]:
                self._told_of = basis.key
                self._estimating.start("estimating", lambda _: self._estimate(basis), self._told_anew)

    def _told_anew(self, job: Job[Estimate]) -> None:
        if job.error is not None:
            self.fail("estimating how far the search is", job.error)
        else:
            self._retell()

    def _catch_up(self) -> None:
        """See what another kernel has labelled since, of the same audit perhaps."""
        before = [label.id for label in self.store.labels()]
        self.store.reload()
        if [label.id for label in self.store.labels()] != before:
            self.set_state(labels_version=self.labels_version + 1)
            self.show_labels()

    def _audit_folder(self, class_name: str) -> Path:
        return audit_folder(self.store.folder, class_name, self.archive.identity, self.store.by)

    def _draws_of(self, class_name: str) -> Draws:
        """The draws of a class, also those of another kernel of the same person."""
        tiles = len(self.archive)
        self._draws[class_name] = read_draws(self._audit_folder(class_name), tiles, self._draws.get(class_name))
        return self._draws[class_name]

    def _estimates_of(self, class_name: str) -> list[Estimate]:
        return read_estimates(self._audit_folder(class_name)) if class_name else []

    def _basis(self, class_name: str, scorer: Scorer | None = None) -> Basis:
        """What an estimate is made from now, by the scorer in use if none is given."""
        if len(self.archive) > MOST_RANKED:
            raise QueryInvalid(too_many(len(self.archive)))
        scorer = self._in_use() if scorer is None else scorer
        return Basis(
            class_name,
            scorer,
            self._learned(scorer),
            self._query_vector,
            self.marks.values(class_name),
            self._draws_of(class_name),
            self.answers.get(class_name, 0),
        )

    def _in_use(self) -> Scorer:
        if self.scorer is None:
            raise QueryInvalid("Nothing ranks the tiles yet. Search for something, or refine, first.")
        return self.scorer

    def _estimate(self, basis: Basis) -> Estimate:
        """Estimate, and keep it in the curve if there was an audit."""
        ranking, audit, unseen = self._judge(basis, unseen=True)
        told = stopping.estimate(audit, ranking, areas=self._areas, audit_scores=unseen)
        with self._lock:
            self._told_of = basis.key
            if told.audited:
                curve = with_estimate(self._estimates_of(basis.class_name), told)
                add_estimate(self._audit_folder(basis.class_name), told)
                if basis.class_name == self.class_name:
                    self.set_state(estimates=curve)
        return told

    @cached_property
    def _areas(self) -> NDArray[np.float32] | None:
        return tile_areas(self.archive)

    def _judge(self, basis: Basis, *, unseen: bool = False) -> tuple[Ranking, Audit, Scores]:
        """The ranking with its threshold, the audit's marks, and their scores, if wished by a scorer that has not seen them."""
        scores = np.asarray(self._scores(basis.scorer), np.float64)
        audit = basis.draws.audit(basis.marks)
        of_marks = self._unseen(basis, scores, audit.numbers) if unseen else scores[audit.numbers]
        others = np.setdiff1d(np.fromiter(basis.marks, np.int64, len(basis.marks)), audit.numbers)
        said = np.array([basis.marks[number] > 0 for number in others.tolist()], bool)
        honest = scores.copy()
        honest[audit.numbers] = of_marks
        threshold = _threshold(honest, others, said, audit, basis.answer)
        return Ranking(scores, threshold, others, said), audit, of_marks

    def _unseen(self, basis: Basis, scores: Scores, audited: NDArray[np.int64]) -> Scores:
        """Scores of audit marks without what each owes to itself, (m,): of those that the scorer has learned from."""
        if basis.scorer.is_descriptor or not basis.learned:
            return scores[audited]
        (right, more_right), (wrong, more_wrong) = (
            self._labelled_places(basis.class_name, value, basis.learned) for value in (1, -1)
        )
        positives, negatives = self._described(right, more_right), self._described(wrong, more_wrong)
        if not len(positives) and basis.query is None:
            return scores[audited]
        pool = pool_of_index(self.index, direction(positives, negatives, basis.query))
        part = own_part(positives, negatives, pool, basis.query)
        # Tiles come before outlines among the examples of either kind.
        parts = dict(zip(right, part.tolist(), strict=False)) | dict(
            zip(wrong, part[len(positives) :].tolist(), strict=False)
        )
        return scores[audited] - np.array([parts.get(number, 0.0) for number in audited.tolist()])


def too_many(tiles: int) -> str:
    """Why there is no audit of very many tiles, in words."""
    return f"An audit needs the score of every tile, and {tiles:,} are too many. Search an archive of a part of them."


def _threshold(
    scores: NDArray[np.float64],
    numbers: NDArray[np.int64],
    said: NDArray[np.bool_],
    audit: Audit,
    answer: int,
) -> float:
    """The score that the answer begins at: of so many tiles, or as likely right as wrong by audit, or by the marks."""
    finite = scores[np.isfinite(scores)]
    if answer:
        place = min(answer, len(finite)) - 1
        return float(-np.partition(-finite, place)[place])
    marks = np.r_[numbers, audit.numbers]
    by_marks = marked_threshold(scores, marks, np.r_[said, audit.said])
    if len(audit.numbers) < _FEWEST:
        return by_marks
    by_audit = likely_threshold(audit, Ranking(scores, by_marks, numbers, said))
    return by_audit if by_audit <= finite.max() else by_marks
