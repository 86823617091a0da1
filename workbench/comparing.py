"""Two dates in a session: what changed between them ranked, with pictures of both, and what changed like marked examples."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from workbench.descriptors.archive import Archive
from workbench.errors import QueryInvalid
from workbench.imagery.render import encode
from workbench.jobs import Progress
from workbench.labels.store import LabelStore
from workbench.search.change import Changes, Date, Like, compare_dates
from workbench.search.dates.pairs import picture_before
from workbench.search.index import Hits
from workbench.searching import Searching

_KEPT = 1000
_GAP = 0.02
_GREY = 128
_LEAST_BYTES = 7_000


class Comparing(Searching):
    """The part of a `Session` that compares two dates."""

    def __init__(self, archive: Archive, store: LabelStore, kept: Path | None) -> None:
        super().__init__(archive, store, kept)
        self._compared: tuple[object, Changes] | None = None
        self._changed: Hits | None = None
        self._both = lru_cache(_KEPT)(self._both_dates)

    def search_change(
        self,
        before: Archive | Date,
        after: Date | None = None,
        *,
        like: Like | Hits | Sequence[int] | str | None = None,
        k: int = 50,
        zoom: float | None = None,
        one_per_object: bool = True,
        progress: Progress | None = None,
    ) -> Hits:
        """Rank the later date's tiles by how much they changed, or by whether they changed like some examples.

        The gallery then shows each tile on both dates, the earlier one on the left. Comparing two dates takes about as long
        as building their archive; it is kept, so that the same dates are ranked again at once.

        Args:
            before: the earlier date: a date (``2012``, ``2012-07``), a raster's name, a `Where`, or another archive.
            after: the later date in this archive; see `search.change.compare_dates`.
            like: hits or numbers of tiles that changed as wanted; a class, whose positive and negative labels on the later
                date are the examples; or a `search.change.Like`. Any change when None.
            k: number of hits.
            zoom: pixels seen per pixel; see `search.change.usual_zoom` for what None means.
            one_per_object: leave out tiles that show the same ground as a better hit.
            progress: counts blocks; a bar is shown when None.

        Raises:
            QueryInvalid: a date is not there, the dates nowhere show the same place, or an example was not compared.
            ArchiveMismatch: the other archive is of another encoder.
            Cancelled: the user stopped it; nothing has changed.
        """
        asked = (before.folder if isinstance(before, Archive) else before, after, zoom)
        if self._compared is None or self._compared[0] != asked:
            changes = compare_dates(self.archive, before, after, zoom=zoom, progress=progress)
            self._compared = asked, changes
            self._both.cache_clear()
        changes = self._compared[1]
        hits = changes.rank(self._like(changes, like), k, one_per_object=one_per_object)
        words = "what changed" if like is None else f"what changed like {like if isinstance(like, str) else 'examples'}"
        with self._lock:
            self._changed, self._query_vector = hits, None
            self.layers.set_hits(hits.numbers)
            said = f"{len(hits)} of {len(changes.pairs.numbers):,} tiles that both dates show: {words}."
            self._show_hits(None, hits, said, query=words, query_ring=[])
        return hits

    def thumbnail(self, number: int, pixels: int = 128, most_bytes: int = _LEAST_BYTES) -> bytes:
        """A tile as JPEG; of hits for a change on both dates, the earlier one on the left."""
        if self._shows_change and number in self.hits.numbers:
            return self._both(self.checked(number), pixels, most_bytes)
        return super().thumbnail(number, pixels, most_bytes)

    @property
    def _shows_change(self) -> bool:
        return self._changed is not None and self.hits is self._changed

    def _like(self, changes: Changes, like: Like | Hits | Sequence[int] | str | None) -> Like | None:
        if like is None or isinstance(like, Like):
            return like
        if not isinstance(like, str):
            return Like(changed=like.numbers.tolist() if isinstance(like, Hits) else [int(each) for each in like])
        there = changes.pairs.numbers
        marked = [number for number in self.marks.numbers(like).tolist() if number in there]
        said = {number: self.marks.of(number)[like] for number in marked}
        changed = [number for number, value in said.items() if value == 1]
        if not changed:
            raise QueryInvalid(
                f"No tile of the later date is labelled {like[:80]}. Label one that changed so, then search again."
            )
        return Like(changed, [number for number, value in said.items() if value == -1])

    def _both_dates(self, number: int, pixels: int, most_bytes: int) -> bytes:
        """A square picture with both dates side by side."""
        assert self._compared is not None
        side = round(pixels * (1 - _GAP) / 2)
        later = np.asarray(Image.open(io.BytesIO(super().thumbnail(number, side, most_bytes))).resize((side, side)))
        canvas = np.full((pixels, pixels, 3), _GREY, np.uint8)
        top = (pixels - side) // 2
        canvas[top : top + side, :side] = picture_before(self.archive, self._compared[1].pairs, number, side)
        canvas[top : top + side, pixels - side :] = later
        return encode(canvas, "JPEG")
