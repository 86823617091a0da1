"""Scorers as things: saved beside the labels, loaded, and used to rank an archive, or only what is new in it."""

from __future__ import annotations

from pathlib import Path

from workbench.errors import QueryInvalid
from workbench.search.index import Hits
from workbench.search.renewed import Since
from workbench.search.saved import SavedScorer, list_scorers, load_scorer, name_scorer, save_scorer, scorer_path
from workbench.searching import Allowed, Searching


class Scorers(Searching):
    """The part of a `Session` that keeps scorers."""

    def save_scorer(self, name: str, *, overwrite: bool = False) -> SavedScorer:
        """Save what ranks the archive now under a name, beside the labels; see `search.saved`.

        Args:
            name: any text of 1 to 80 printable characters.
            overwrite: replace the scorer of this name.

        Raises:
            QueryInvalid: nothing ranks the archive yet, or the name cannot be used.
            FileExists: there is a scorer of this name and ``overwrite`` is false.
            DiskFull: there is no room; nothing new is left.
        """
        with self._lock:
            if self.scorer is None:
                raise QueryInvalid(
                    "Nothing ranks the tiles yet. Search for something, or refine, then save the scorer."
                )
            saved = name_scorer(name, self.scorer, self.archive, self.class_name)
        path = save_scorer(saved, scorer_path(self.store.folder, saved.name), overwrite=overwrite)
        self.set_state(status=f"Scorer {saved.name} saved in {path}.")
        return saved

    def load_scorer(self, name: str | Path) -> SavedScorer:
        """A scorer that was saved beside these labels, by name, or any scorer's file; `rank_by` ranks this archive by it.

        Raises:
            ScorerInvalid: there is none, or the file cannot be used.
        """
        return load_scorer(name, self.store.folder)

    def scorers(self) -> tuple[SavedScorer, ...]:
        """The scorers that were saved beside these labels, by name."""
        return list_scorers(self.store.folder)

    def rank_by(
        self,
        scorer: SavedScorer | str | Path,
        *,
        k: int = 50,
        where: Allowed | None = None,
        new_since: Since | None = None,
        one_per_object: bool = False,
    ) -> Hits:
        """Rank this archive by a saved scorer and show the hits; see `search.saved.SavedScorer.rank`.

        Args:
            scorer: a saved scorer, its name, or its file.
            k: number of hits.
            where: tiles that may be hits: a `search.where.Where`, bool (n,) or their numbers; all when None.
            new_since: only new hits: a date, or an earlier archive and its hits.
            one_per_object: leave out tiles that show the same ground as a better hit.

        Raises:
            ScorerInvalid: there is none of this name, or the file cannot be used.
            ArchiveMismatch: it was learned with another encoder.
            QueryInvalid: there is nothing from the date on, or a filter for something that is not there.
        """
        saved = scorer if isinstance(scorer, SavedScorer) else self.load_scorer(scorer)
        with self._lock:
            hits = saved.rank(self.index, k, where, new_since=new_since, one_per_object=one_per_object)
            self._query_vector = None
            self._show_heat(saved.scorer, hits)
            new = "new hits" if new_since is not None else "hits"
            said = f"{len(hits)} {new} by the scorer {saved.name}.{self._notes(where)}"
            about = {"class_name": saved.class_name} if saved.class_name else {}
            self._show_hits(saved.scorer, hits, said, query=f"the scorer {saved.name}", query_ring=[], **about)
        return hits
