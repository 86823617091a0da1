"""How a session ranks is the analyst's choice: every rung of the ladder, and small tiles that speak for large ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_archives import MeanColour
from small_rasters import patchwork, write_raster

from workbench.descriptors.archive import Archive
from workbench.descriptors.build import build_archive
from workbench.errors import QueryInvalid
from workbench.jobs import Progress
from workbench.search.refine import METHODS
from workbench.search.refinement.sizes import best_within
from workbench.session import Session


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """Tiles of two sizes, one inside another."""
    folder = tmp_path_factory.mktemp("sizes")
    write_raster(folder / "a.tif", patchwork(300, 420, seed=1))
    return build_archive(
        folder / "a.tif", folder / "a", tile=(32, 128), stride=16, encoder=MeanColour(), progress=Progress()
    )


@pytest.fixture
def marked(sizes: Archive, tmp_path: Path) -> Session:
    """A session with a query, four positive and four negative large tiles."""
    session = Session(sizes, tmp_path / "labels", by="ann", resume=True)
    large = np.flatnonzero(np.asarray(sizes.tiles["size"]) == 128)
    ranking = session.search(tile=int(large[3]), k=len(large), where=large).numbers
    session.label(ranking[1:5].tolist(), "roof")
    session.label(ranking[-4:].tolist(), "roof", value=-1)
    return session


def test_every_rung_of_the_ladder_can_be_chosen_and_stays_chosen(marked: Session, sizes: Archive) -> None:
    words = {
        "auto": "logistic regression",
        "nearest": "nearest neighbours of one example",
        "rocchio": "examples pulled together",
        "logistic": "logistic regression",
        "spread": "likely",
    }
    assert set(words) == set(METHODS) and marked.method == "auto"
    for method in METHODS:
        marked.refine(method=method)
        assert words[method] in marked.scorer.kind and marked.method == method
    marked.choose_scorer("rocchio")
    marked.go_on()
    assert "pulled together" in marked.scorer.kind
    again = Session(sizes, marked.store.folder, by="ann", resume=True)
    assert again.method == "rocchio"
    with pytest.raises(QueryInvalid, match="Choose one of auto"):
        marked.refine(method="best")
    assert marked.method == "rocchio"


def test_small_tiles_speak_for_large_ones_in_hits_queues_and_saved_scorers(marked: Session, sizes: Archive) -> None:
    marked.refine(small_tiles=True)
    scorer = marked.scorer
    assert scorer.within and "the best smaller tile inside speaks for each" in scorer.kind
    own = np.asarray(sizes.vectors) @ scorer.weights + np.float32(scorer.bias)
    best, source = best_within(sizes, own)
    assert (source != np.arange(len(sizes))).any()
    np.testing.assert_allclose(marked.index.scores(scorer), best, atol=1e-3)
    assert [hit.score for hit in marked.hits] == pytest.approx(np.sort(best)[::-1][:50].tolist(), abs=1e-3)
    assert marked.hits.scored_by == "linear"
    shown = marked.show_queue("similar", k=10)
    assert shown[0].score == pytest.approx(best[shown[0].number], abs=1e-3)
    marked.save_scorer("roofs")
    assert marked.load_scorer("roofs").scorer.within
    assert marked.rank_by("roofs", k=20).numbers.tolist() == marked.index.search(scorer, 20).numbers.tolist()
    again = Session(sizes, marked.store.folder, by="ann", resume=True)
    assert again.small_tiles and again.scorer is not None and again.scorer.within
    marked.refine(small_tiles=False)
    assert not marked.scorer.within and "smaller" not in marked.scorer.kind


def test_tiles_of_one_size_have_no_smaller_ones_and_that_is_said(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", patchwork(200, 200, seed=1))
    archive = build_archive(
        tmp_path / "a.tif", tmp_path / "a", tile=32, stride=32, encoder=MeanColour(), progress=Progress()
    )
    session = Session(archive, tmp_path / "labels")
    session.search(tile=3)
    with pytest.raises(QueryInvalid, match="tile=\\(64, 128\\)"):
        session.refine(small_tiles=True)
    assert not session.small_tiles and "one size" in session.no_small_tiles
