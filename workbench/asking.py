"""What the analyst is shown to mark next: queues of tiles, with what is to be said of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from workbench.audits import Draw, write_draw
from workbench.errors import FileExists, QueryInvalid
from workbench.search.coverage import most_telling, side_by_side
from workbench.search.index import Hit, Hits, Scorer
from workbench.search.overlaps import apart
from workbench.search.predicted import tile_doubts, tile_objects, tile_probabilities
from workbench.search.queues import Apart, disagreement, most_doubtful, most_similar, most_uncertain, most_varied
from workbench.search.refinement.mistakes import contradictions
from workbench.search.refinement.pool import direction, pool_of_index
from workbench.search.stopping import marked_threshold
from workbench.state import NO_REMARKS, PAGE, QUEUES, Remark
from workbench.teaching import rasters_of
from workbench.telling import Telling, too_many
from workbench.tile_map import MOST_RANKED

PER_DRAW = 10
"""Tiles of an audit that are drawn together; an estimate follows when all are labelled."""
_AT_A_TIME = {"audit": PER_DRAW, "mistakes": PAGE, "diverse": PAGE}
_USUAL = 50
_SHORTLIST = 10_000
_SUSPECT = 0.6
_LIKELY = 4
"""From how many times as many of the best tiles those to outline are chosen."""
_PER_OUTLINE = 2.0
"""How long an outline takes, against declaring a tile complete."""
Told = tuple[NDArray[np.int64], Mapping[int, Remark]]


@dataclass(frozen=True, eq=False)
class _Asked:
    """What a queue is made for: a class, how many tiles, and the scorer."""

    class_name: str
    count: int
    scorer: Scorer


@dataclass(frozen=True, eq=False)
class _Offer:
    """Tiles to choose from, places of those labelled among them, and what leaves one place per object."""

    numbers: NDArray[np.int64]
    scores: NDArray[np.float32]
    taken: NDArray[np.int64]
    apart: Apart


class Asking(Telling):
    """The part of a `Session` that chooses what to mark next, by the scorer in use."""

    def show_queue(self, name: str, class_name: str | None = None, *, k: int | None = None) -> Hits:
        """Fill the gallery with what to mark next for a class; with labelled tiles only to doubt them, or to outline.

        - ``similar``: the best tiles, one per object.
        - ``uncertain``: of the likely ones those nearest to the threshold.
        - ``diverse``: uncertain ones that are unlike each other.
        - ``mistakes``: labels that all others contradict, with what the scorer thinks.
        - ``audit``: ten tiles drawn by chance, on disk before they are shown. The next ten are drawn when all of them are
          labelled; until then those that are left are shown again.
        - ``disagreement``: tiles of which the last U-Net's map and the scorer say the most different things.
        - ``outline``: few tiles that stand for many, to outline all objects in and to declare complete: by turns where the
          class is likely and what stands for the rest of the ground, or once there is a map, for where the U-Net is unsure.
          What is declared complete is not shown again.

        Args:
            name: one of `state.QUEUES`.
            class_name: the class; the one looked for when None.
            k: at most so many; ten for an audit, a page of mistakes and of diverse tiles, else 50 when None.

        Raises:
            QueryInvalid: no such queue, or nothing to make it from; the message says what to do first.
            LabelNotSaved: the draw could not be written.
        """
        with self._lock:
            asked = _Asked(class_name or self.class_name, _checked(name, k), self._in_use())
            return self._show_queue(name, asked)

    def go_on(self, k: int = _USUAL) -> Hits:
        """Refine by the labels, and show the same queue by the new ranking; all hits where none was shown.

        Args:
            k: hits at most; of a queue as many as `show_queue` gives.

        Raises:
            QueryInvalid: there is neither a positive label nor a query.
        """
        with self._lock:
            if not self.queue:
                return self.refine(k=k)
            asked = _Asked(self.class_name, _checked(self.queue, None), self._learn(self.class_name))
            return self._show_queue(self.queue, asked)

    def show_ranked(self, k: int = _USUAL) -> Hits:
        """Show all hits of the scorer in use again, labelled ones too.

        Raises:
            QueryInvalid: nothing was searched yet.
        """
        with self._lock:
            scorer = self._in_use()
            hits = self._rank(scorer, k, None, False)
            self._show_hits(scorer, hits, f"{len(hits)} hits, labelled ones too.")
        return hits

    @property
    def queues_closed(self) -> dict[str, str]:
        """Why queues cannot be shown now, in words, by their names; those that can are not named."""
        if self.scorer is None:
            return dict.fromkeys(("", *QUEUES), "Search for something, or refine, first")
        found = {}
        if self.label_counts().get(self.class_name, (0, 0))[0] == 0:
            found["mistakes"] = "Mark something as positive first"
        if self.prediction is None:
            found["disagreement"] = "Train a U-Net and map all imagery first"
        if len(self.archive) > MOST_RANKED:
            found |= dict.fromkeys(("audit", "disagreement", "outline"), too_many(len(self.archive)))
        return found

    def _show_queue(self, name: str, asked: _Asked) -> Hits:
        makers: dict[str, Callable[[_Asked], Told]] = {
            "similar": self._similar,
            "uncertain": self._uncertain,
            "diverse": self._diverse,
            "mistakes": self._doubtful,
            "audit": self._drawn,
            "disagreement": self._disputed,
            "outline": self._to_outline,
        }
        numbers, remarks = makers[name](asked)
        hits = self._hits_of(numbers, asked.scorer)
        if asked.scorer is not self.scorer:
            self._show_heat(asked.scorer, hits)
        said = f"{len(hits)} {'tile' if len(hits) == 1 else 'tiles'} to mark for {asked.class_name}: {QUEUES[name]}."
        self._show_hits(asked.scorer, hits, said, queue=name, remarks=dict(remarks), class_name=asked.class_name)
        self._retell()
        return hits

    def _offer(self, asked: _Asked) -> _Offer:
        """All tiles with their scores; of very many, the best 10,000."""
        if len(self.archive) <= MOST_RANKED:
            numbers, scores = np.arange(len(self.archive)), self._scores(asked.scorer)
        else:
            best = self.index.search(asked.scorer, _SHORTLIST)
            numbers, scores = best.numbers, np.array([hit.score for hit in best], np.float32)
        taken = np.flatnonzero(np.isin(numbers, self.marks.numbers(asked.class_name)))
        return _Offer(numbers, scores, taken, lambda places: apart(self.archive, numbers[places]))

    def _similar(self, asked: _Asked) -> Told:
        offer = self._offer(asked)
        best = most_similar(offer.scores, asked.count, taken=offer.taken, apart=offer.apart)
        return offer.numbers[best], NO_REMARKS

    def _uncertain(self, asked: _Asked) -> Told:
        offer = self._offer(asked)
        threshold = self._turning_point(asked, offer)
        chosen = most_uncertain(offer.scores, asked.count, threshold=threshold, taken=offer.taken, apart=offer.apart)
        return offer.numbers[chosen], NO_REMARKS

    def _diverse(self, asked: _Asked) -> Told:
        offer = self._offer(asked)
        chosen = most_varied(
            offer.scores,
            asked.count,
            threshold=self._turning_point(asked, offer),
            vectors_of=lambda places: self.archive.examples_of(offer.numbers[places]),
            taken=offer.taken,
            apart=offer.apart,
        )
        return offer.numbers[chosen], NO_REMARKS

    def _turning_point(self, asked: _Asked, offer: _Offer) -> float:
        """The score at which a tile is as likely right as wrong, by the marks."""
        marks = self.marks.values(asked.class_name, offer.numbers[offer.taken].tolist())
        said = np.array([marks[number] > 0 for number in offer.numbers[offer.taken].tolist()], bool)
        return marked_threshold(offer.scores, offer.taken, said)

    def _doubtful(self, asked: _Asked) -> Told:
        """The likely mistakes, each with the chance that all other labels give it of being right."""
        name = asked.class_name
        (right, more_right), (wrong, more_wrong) = (self._labelled_places(name, value) for value in (1, -1))
        positives, negatives = self._described(right, more_right), self._described(wrong, more_wrong)
        if not len(positives):
            raise QueryInvalid(f"Nothing is marked as {name} yet, so no mark can be doubted. Mark a tile as positive.")
        doubts = contradictions(positives, negatives, pool_of_index(self.index, direction(positives, negatives)))
        # An outline that is no tile has no card.
        shown = np.r_[doubts[: len(right)], doubts[len(positives) : len(positives) + len(wrong)]]
        numbers = most_doubtful(np.array([*right, *wrong], np.int64), shown, asked.count)
        doubt = dict(zip([*right, *wrong], shown.tolist(), strict=True))
        value = dict.fromkeys(right, 1) | dict.fromkeys(wrong, -1)
        return numbers, {number: _thought(value[number], doubt[number], name) for number in numbers.tolist()}

    def _drawn(self, asked: _Asked) -> Told:
        """What is left of the audit's last draw, or another one."""
        self._catch_up()
        basis = self._basis(asked.class_name, asked.scorer)
        left = basis.draws.left(basis.marks)
        if not len(left):
            ranking, audit, _ = self._judge(basis)
            draw = Draw(*audit.draw(ranking, asked.count))
            if len(draw.numbers):
                # Where another kernel of the same person was quicker, its draw is shown here too.
                with suppress(FileExists):
                    write_draw(self._audit_folder(asked.class_name), basis.draws.place, draw)
            left = self._draws_of(asked.class_name).left(basis.marks)
        return left[: asked.count], NO_REMARKS

    def _disputed(self, asked: _Asked) -> Told:
        """What scorer and network disagree on."""
        if self.prediction is None:
            raise QueryInvalid("There is no map of a U-Net yet. Train one and map all imagery first.")
        ranking, audit, _ = self._judge(self._basis(asked.class_name, asked.scorer))
        chances = audit.chances(ranking)
        mapped = tile_probabilities(self.archive, rasters_of(self.prediction), asked.class_name)
        offer = self._offer(asked)
        numbers = disagreement(chances, mapped, asked.count, taken=offer.taken, apart=offer.apart)
        said = {number: _dispute(mapped[number], chances[number]) for number in numbers.tolist()}
        return numbers, said

    def _to_outline(self, asked: _Asked) -> Told:
        """Tiles side by side, by turns where the class is likely and what stands for the rest: all ground, or what is unsure.

        What lies beside a class must be shown as well as the class: a network that saw nothing else finds it everywhere.
        """
        areas = (self.places.pixels(place.raster, place.geometry, place.crs) for place in self.store.complete())
        done = self.places.covered(area for area in areas if area is not None)
        board = side_by_side(self.archive)
        ranking, audit, _ = self._judge(self._basis(asked.class_name, asked.scorer))
        likely = most_similar(np.where(board, ranking.scores, np.nan), _LIKELY * asked.count, taken=done)
        there = np.full(len(board), np.nan, np.float32)
        there[likely] = audit.chances(ranking)[likely]
        effort = np.ones(len(board))
        rest = np.ones(len(board), np.float32)
        if self.prediction is not None:
            rest = tile_doubts(self.archive, rasters_of(self.prediction), asked.class_name)
            effort += _PER_OUTLINE * tile_objects(self.archive, self.polygons, asked.class_name)
        rest[~board] = np.nan
        halves = -(-asked.count // 2), asked.count // 2
        first = most_telling(there, halves[0], vectors_of=self.archive.examples_of, done=done)
        known = np.union1d(done, first)
        then = most_telling(rest, halves[1], vectors_of=self.archive.examples_of, done=known, effort=effort)
        turns = [each for pair in zip_longest(first.tolist(), then.tolist()) for each in pair if each is not None]
        return np.array(turns, np.int64), NO_REMARKS

    def _hits_of(self, numbers: NDArray[np.int64], scorer: Scorer) -> Hits:
        """Tiles in an order that is not that of their scores."""
        if len(self.archive) <= MOST_RANKED:
            scores = self._scores(scorer)[numbers]
        else:
            scores = self.archive.examples_of(numbers) @ scorer.weights + np.float32(scorer.bias)
        pairs = zip(numbers.tolist(), scores.tolist(), strict=True)
        hits = (Hit(number, self.archive.tile(number), score, rank) for rank, (number, score) in enumerate(pairs, 1))
        scored = Hits(tuple(hits), "cosine" if self.archive.has_descriptors else "hamming")
        return scored if scorer.is_descriptor else replace(scored, scored_by="linear")


def _thought(value: int, doubt: float, class_name: str) -> Remark:
    """What the scorer thinks of a label."""
    wrong = float(expit(doubt))
    there = 1 - wrong if value > 0 else wrong
    answer, sure = ("yes" if there >= 0.5 else "no"), max(there, 1 - there)
    says = f"By all other labels of {class_name} the scorer would say {answer}, {sure:.0%} sure"
    return f"{answer} {sure:.0%}", says, value, wrong >= _SUSPECT


def _dispute(mapped: float, chance: float) -> Remark:
    """What network and scorer say of a tile."""
    return f"{mapped:.0%} \u2194 {chance:.0%}", f"U-Net {mapped:.0%}, scorer {chance:.0%}", 0, False


def _checked(name: str, k: int | None) -> int:
    """How many tiles of a queue are asked for."""
    if name not in QUEUES:
        raise QueryInvalid(f"There is no queue {str(name)[:40]!r}. Choose one of {', '.join(QUEUES)}.")
    count = _AT_A_TIME.get(name, _USUAL) if k is None else k
    if count < 0:
        raise QueryInvalid(f"{count} tiles were asked for. Ask for 0 or more.")
    return count
