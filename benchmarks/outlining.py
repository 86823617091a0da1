"""An analyst played by the truth who outlines objects in chips, against the clock: she sees what the workbench shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import box
from shapely.geometry.base import BaseGeometry

from workbench.search.coverage import side_by_side
from workbench.segmentation.objects import match_objects
from workbench.session import Session

MARK_S, OUTLINE_S, ACCEPT_S, COMPLETE_S = 2.0, 10.0, 3.0, 5.0
"""What she pays to mark a tile or turn a proposal down, outline an object, accept a proposal, and declare a chip complete."""
ACCEPTED_IOU = 0.7
SEEN = 25.0
"""Square pixels of an object inside a chip from which on she sees it."""
_MARKS = 10
_CHIPS = 5
Shapes = NDArray[np.object_]


@dataclass
class Analyst:
    """One piece of work: what was done, and what it cost.

    Tiles are marked in a session of their own: a whole tile marked as positive is a mask of the whole tile, which is worse
    than none where objects are outlined.

    Attributes:
        session: where she outlines.
        truth: every object of the class in the imagery, in pixels, (n,); it answers when she looks, and nothing else sees it.
        name: of the class.
        order: of the chips: ``workbench`` or ``random``.
        seed: of what is drawn by lot.
        seconds: what she has worked.
        counts: of her actions.
    """

    session: Session
    truth: Shapes
    name: str
    order: str
    seed: int = 0
    seconds: float = 0.0
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("marks", "outlines", "accepted", "rejected", "complete"), 0)
    )

    def __post_init__(self) -> None:
        self._tree = shapely.STRtree(self.truth)
        self._drawn = np.zeros(len(self.truth), bool)
        self._work = self._workbench_order() if self.order == "workbench" else self._random_order()
        self._next = next(self._work, None)

    def work_until(self, seconds: float) -> None:
        """Go on until the next action would take her past a time; a chip begun is gone on with later."""
        while self._next is not None and self.seconds + self._next <= seconds:
            self.seconds += self._next
            self._next = next(self._work, None)

    @property
    def has_finished(self) -> bool:
        """Whether there is nothing left to do."""
        return self._next is None

    def _random_order(self) -> Iterator[float]:
        first = self._first_chip()
        chips = np.flatnonzero(side_by_side(self.session.archive))
        for number in (first, *np.random.default_rng(self.seed).permutation(chips[chips != first]).tolist()):
            yield from self._complete(number)

    def _workbench_order(self) -> Iterator[float]:
        yield from self._find()
        yield from self._complete(self._first_chip())
        while True:
            hits = self.session.show_queue("outline", self.name, k=_CHIPS)
            if not len(hits):
                return
            for hit in hits:
                yield from self._complete(hit.number)

    def _first_chip(self) -> int:
        """Where she has seen the first object, drawn by lot: the same in both orders, and without cost in both."""
        archive = self.session.archive
        chips = np.flatnonzero(side_by_side(archive))
        there = [number for number in chips.tolist() if len(self._seen_in(self._box(number)))]
        return int(np.random.default_rng(self.seed).choice(there))

    def _find(self) -> Iterator[float]:
        """Search from the first chip, and mark ten similar and ten uncertain tiles; what was learned ranks her outlining."""
        with_marks = Session(self.session.archive, Path(self.session.store.folder).with_name(f"marks-{self.seed}"))
        with_marks.search(tile=self._first_chip(), k=_MARKS)
        with_marks.label(self._first_chip(), self.name)
        for queue in ("similar", "uncertain"):
            for hit in with_marks.show_queue(queue, self.name, k=_MARKS):
                yield MARK_S
                self.counts["marks"] += 1
                seen = len(self._seen_in(self._box(hit.number))) > 0
                with_marks.label([hit], self.name, value=1 if seen else -1)
            with_marks.refine(self.name)
        scorer = with_marks.save_scorer(self.name)
        with_marks.close()
        self.session.rank_by(scorer)

    def _complete(self, number: int) -> Iterator[float]:
        """Outline every object in a tile, each once, whole, by a proposal if there is a good one; then declare it complete.

        What is yielded is the price of what is done when she goes on.
        """
        chip = self._box(number)
        there = self._seen_in(chip)
        proposals = self._proposals(shapely.union_all([chip, *self.truth[there]]))
        offered, objects, _ = match_objects(proposals, self.truth[there], ACCEPTED_IOU)
        good = dict(zip(there[objects].tolist(), offered.tolist(), strict=True))
        for place in there.tolist():
            if self._drawn[place]:
                continue
            yield ACCEPT_S if place in good else OUTLINE_S
            self.counts["accepted" if place in good else "outlines"] += 1
            outline = proposals[good[place]] if place in good else self.truth[place]
            self.session.label(outline, self.name, crs=None)
            self._drawn[place] = True
        # What lies on an object is gone with its outline; what lies on none must be turned down.
        for proposal in proposals[_inside(proposals, chip) >= SEEN]:
            if not len(self._tree.query(proposal, predicate="intersects")):
                yield MARK_S
                self.counts["rejected"] += 1
        yield COMPLETE_S
        self.counts["complete"] += 1
        self.session.declare_complete(chip, crs=None)

    def _proposals(self, area: BaseGeometry) -> Shapes:
        """What the last map shows in some area, in pixels, (m,)."""
        found = self.session.polygons
        if found is None:
            return np.empty(0, object)
        raster = self.session.archive.imagery[0]
        left, bottom, right, top = raster.from_pixels(area).bounds
        near = found[found["class"] == self.name].cx[left:right, bottom:top]
        shapes = np.array([raster.to_pixels(shape) for shape in near.geometry], object)
        return shapes[shapely.intersects(shapes, area)] if len(shapes) else shapes

    def _seen_in(self, chip: BaseGeometry) -> NDArray[np.int64]:
        """Objects of which enough is in a chip to be seen."""
        near = np.sort(self._tree.query(chip))
        return near[_inside(self.truth[near], chip) >= SEEN]

    def _box(self, number: int) -> BaseGeometry:
        tile = self.session.archive.tile(number)
        return box(tile.col, tile.row, tile.col + tile.size, tile.row + tile.size)


def _inside(shapes: Shapes, chip: BaseGeometry) -> NDArray[np.float64]:
    return np.asarray(shapely.area(shapely.intersection(shapes, chip)), float)
