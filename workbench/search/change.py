"""Change between two dates: tiles that differ most beyond light and shift, and those that changed like some examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.archive import Archive
from workbench.errors import ArchiveMismatch, QueryInvalid, ShapeMismatch
from workbench.imagery.rasters import Raster
from workbench.imagery.render import Stretch
from workbench.jobs import Progress, shown_progress
from workbench.search.dates.pairs import Pairs, pool_pairs
from workbench.search.dates.residual import ENOUGH, residual
from workbench.search.index import Hit, Hits
from workbench.search.overlaps import apart
from workbench.search.refine import refine
from workbench.search.where import Where

Date = Where | str
_TIMES_K = 4
_MUCH = 2.0  # weight of how much a tile changed beside how
_FINE, _ENOUGH_PIXELS = 2.0, 256


@dataclass(frozen=True)
class Like:
    """Examples of the change that is looked for.

    Attributes:
        changed: numbers of tiles that changed so.
        unchanged: numbers of tiles that did not, or otherwise.
        descriptors: centred unit descriptors (p, dim) of what has come about, instead of tiles.
    """

    changed: Sequence[int] = ()
    unchanged: Sequence[int] = ()
    descriptors: NDArray[np.float32] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Changes:
    """Two dates compared once, ranked as often as one likes.

    Attributes:
        archive: of the later date, whose tiles are ranked.
        pairs: tiles that both dates show, and their descriptors.
    """

    archive: Archive
    pairs: Pairs

    @cached_property
    def vectors(self) -> NDArray[np.float32]:
        """How each tile changed, float32 (m, dim); two rasters with tiles enough are compared by themselves."""
        flights, which, count = np.unique(self.pairs.flights, return_inverse=True, return_counts=True)
        before, after = self.pairs.before, self.pairs.after
        if (count < ENOUGH).all():  # together they may be enough
            return residual(before, after)
        found = np.zeros_like(before)
        for flight in range(len(flights)):
            mine = which == flight
            left = residual(before[mine], after[mine])
            typical = max(float(np.median(np.linalg.norm(left, axis=1))), 1e-9)
            found[mine] = left / typical
        return found

    @cached_property
    def scores(self) -> NDArray[np.float32]:
        """How much each tile changed, float32 (m,), 0 and up.

        Where two rasters share tiles enough it is the product of how much windows in a tile changed by descriptors and by early
        features (`Usual.changes`), each beside the median tile: an object that came is lost in the mean of a tile, and
        longer shadows change early features more than descriptors. Of fewer tiles it is the length of `vectors`.
        """
        found = np.linalg.norm(self.vectors, axis=1).astype(np.float32)
        for flight in np.unique(self.pairs.flights):
            mine = self.pairs.flights == flight
            local = self.pairs.local[mine]
            if np.count_nonzero(mine) >= ENOUGH and local.any():
                found[mine] = (local / np.maximum(np.median(local, axis=0), 1e-9)).prod(axis=1)
        return found

    @cached_property
    def features(self) -> NDArray[np.float32]:
        """What a scorer of changes learns from, unit length, float32 (m, 2 * dim): the change, and what is there now."""
        lengths = np.linalg.norm(self.vectors, axis=1)
        typical = max(float(np.median(lengths)), 1e-9)
        change = self.vectors / np.maximum(lengths, typical)[:, None]  # small changes point nowhere
        now = self.archive.centring.apply(self.pairs.after)
        joined = np.concatenate([change, now], axis=1)
        return (joined / np.linalg.norm(joined, axis=1, keepdims=True)).astype(np.float32)

    def rank(self, like: Like | None = None, k: int = 50, *, one_per_object: bool = False) -> Hits:
        """The tiles that changed most, or most like some examples.

        Args:
            like: examples; any change when None.
            k: at most so many.
            one_per_object: leave out tiles that show the same ground as a better hit; see `overlaps.apart`.

        Raises:
            QueryInvalid: ``k`` is negative, there is no example of a change, or an example was not compared.
            ShapeMismatch: descriptors of another length.
        """
        if k < 0:
            raise QueryInvalid(f"k is {k}; expected 0 or more hits.")
        scores = self.scores_of(like)
        order = np.argsort(-scores, kind="stable")
        if one_per_object:
            order = self._apart(order, k)
        order = order[:k]
        numbers = self.pairs.numbers[order].tolist()
        hits = [
            Hit(number, self.archive.tile(number), float(scores[row]), rank)
            for rank, (row, number) in enumerate(zip(order.tolist(), numbers, strict=True), 1)
        ]
        return Hits(tuple(hits), "linear")

    def _apart(self, order: NDArray[np.int64], k: int) -> NDArray[np.int64]:
        """The first ``k`` rows of an order that share no ground, from no more of it than is needed."""
        count = _TIMES_K * k
        while True:
            kept = apart(self.archive, self.pairs.numbers[order[:count]])
            if len(kept) >= k or count >= len(order):
                return order[kept]
            count *= _TIMES_K

    def scores_of(self, like: Like | None) -> NDArray[np.float32]:
        """The score of every pair, float32 (m,), in their order: `scores`, or how much each changed like some examples.

        Raises:
            QueryInvalid: there is no example of a change, or an example was not compared.
            ShapeMismatch: descriptors of another length.
        """
        if like is None:
            return self.scores
        if like.descriptors is not None:
            wanted = np.atleast_2d(like.descriptors)
            if wanted.shape[1] != self.pairs.after.shape[1]:
                raise ShapeMismatch(
                    f"The examples have {wanted.shape[1]} values and tiles {self.pairs.after.shape[1]}. Describe them with "
                    "this archive."
                )
            gained = self.archive.centring.apply(self.pairs.after) - self._before_as_after
            return np.asarray((gained @ wanted.T).max(axis=1), np.float32)
        if not len(like.changed):
            raise QueryInvalid(
                "There is no example of a change. Mark at least one tile that changed, or leave like out."
            )
        changed, unchanged = self._rows(like.changed), self._rows(like.unchanged)
        scorer = refine(self.features[changed], self.features[unchanged], self.features, method="logistic")
        kind = self.features @ scorer.weights + scorer.bias
        much = np.log(np.maximum(self.scores / max(float(np.median(self.scores)), 1e-9), 1e-6))
        # What changed so must have changed at all, though no more than the examples did.
        return np.asarray(kind + _MUCH * np.minimum(much, much[changed].max()), np.float32)

    @cached_property
    def _before_as_after(self) -> NDArray[np.float32]:
        """Centred unit descriptors (m, dim) of the earlier date, less the difference of the dates' means."""
        moved = self.pairs.before + (self.pairs.after.mean(axis=0) - self.pairs.before.mean(axis=0))
        return self.archive.centring.apply(moved)

    def _rows(self, numbers: Sequence[int]) -> NDArray[np.int64]:
        asked = np.asarray(numbers, np.int64).reshape(-1)
        rows = np.searchsorted(self.pairs.numbers, asked).clip(max=len(self.pairs.numbers) - 1)
        missing = asked[self.pairs.numbers[rows] != asked]
        if len(missing):
            raise QueryInvalid(f"Tile {missing[0]} is not seen on both dates. Give tiles of the later date that are.")
        return rows


def compare_dates(
    archive: Archive,
    before: Archive | Date,
    after: Date | None = None,
    *,
    zoom: float | None = None,
    align: bool = True,
    progress: Progress | None = None,
) -> Changes:
    """Pool the earlier date over the tiles of the later one; the slow part of `search_change`.

    Args:
        archive: with the later date's tiles.
        before: the earlier date: another archive of the same encoder, a date (``2012``, ``2012-07``), a raster's name, or a
            `Where`.
        after: the later date; when None, all tiles where ``before`` is another archive, else all that are not before's.
        zoom: see `pairs.pool_pairs`; when None as `usual_zoom` says.
        align: undo shift and light; see `alignment`.
        progress: counts blocks; a bar is shown when None.

    Raises:
        QueryInvalid: a date or raster is not there, or the two dates nowhere show the same place.
        ArchiveMismatch: the archives are of two encoders.
        RasterRefused: two rasters cannot be related.
        Cancelled: the user stopped it.
    """
    if isinstance(before, Archive):
        if before.manifest.weights_hash != archive.manifest.weights_hash or before.manifest.dim != archive.manifest.dim:
            raise ArchiveMismatch(
                f"{before.folder} was described by {before.manifest.encoder} and {archive.folder} by "
                f"{archive.manifest.encoder}. Build both with one encoder."
            )
        others = _rasters(before, range(len(before.imagery)))
        numbers = _numbers(archive, after)
    else:
        earlier = np.unique(archive.tiles[_numbers(archive, before)]["raster"]).tolist()
        others, numbers = _rasters(archive, earlier), _numbers(archive, after)
        numbers = numbers[~np.isin(archive.tiles[numbers]["raster"], earlier)]
    if not len(numbers) or not others:
        raise QueryInvalid("One of the two dates has no tiles. Give two dates that the archive has, or two archives.")
    zoom = usual_zoom(archive) if zoom is None else zoom
    with shown_progress(progress) as shown:
        return Changes(archive, pool_pairs(archive, numbers, others, zoom=zoom, align=align, progress=shown))


def usual_zoom(archive: Archive) -> float:
    """How finely dates are compared unless one says otherwise: 2 where the smallest tiles are seen in under 256 pixels, else 1.

    An encoder's feature knows a few hundred pixels around it, so a small tile next to one that changed seems to have changed
    too, and an object of a few pixels is lost in the mean of a tile. Seen twice as large, surroundings count half as far.
    """
    smallest = min(
        (size / entry.scale for entry in archive.manifest.rasters for size in archive.sizes), default=_ENOUGH_PIXELS
    )
    return _FINE if smallest < _ENOUGH_PIXELS else 1.0


def search_change(
    archive: Archive,
    before: Archive | Date,
    after: Date | None = None,
    like: Like | None = None,
    k: int = 50,
    *,
    progress: Progress | None = None,
) -> Hits:
    """The tiles of the later date that changed most, or most like some examples; see `compare_dates` and `Changes.rank`."""
    return compare_dates(archive, before, after, progress=progress).rank(like, k)


def _numbers(archive: Archive, date: Date | None) -> NDArray[np.int64]:
    """The tiles of a date."""
    if isinstance(date, str):
        names = {raster.name for raster in archive.imagery}
        date = Where(rasters=date) if date in names else Where(dates=date)
    found = None if date is None else date.numbers(archive)
    return np.arange(len(archive)) if found is None else found


def _rasters(archive: Archive, positions: Sequence[int]) -> list[tuple[Raster, Stretch]]:
    """Rasters, each with the stretch it was encoded with."""
    return [(archive.imagery[position], archive.stretch(position)) for position in positions]
