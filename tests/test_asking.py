"""What a session shows next: queues of unlabelled tiles, suspects, and audits that survive whatever happens."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import numpy as np
import pytest
import rasterio
from small_archives import MeanColour, small_imagery

from workbench.asking import PER_DRAW
from workbench.audits import read_draws
from workbench.descriptors.archive import Archive, open_archive
from workbench.descriptors.build import build_archive
from workbench.errors import LabelNotSaved, QueryInvalid
from workbench.jobs import Progress
from workbench.search.coverage import side_by_side
from workbench.search.index import Hits
from workbench.search.overlaps import apart
from workbench.session import OBJECT_QUEUES, QUEUES, Session

_DRAWN = 3
NEVER_LABELLED = [name for name in QUEUES if name not in ("mistakes", "disagreement", "outline")]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("asking")
    return build_archive(
        small_imagery(folder / "i"), folder / "a", tile=64, stride=32, encoder=MeanColour(), progress=Progress()
    )


@pytest.fixture(scope="module")
def truth(archive: Archive) -> np.ndarray:
    """The tiles most like one of them, as a class."""
    unit = archive.vectors_of(np.arange(len(archive)))
    return np.argsort(np.argsort(-(unit @ unit[40]))) < 30


@pytest.fixture
def session(archive: Archive, tmp_path: Path) -> Iterator[Session]:
    made = Session(archive, tmp_path / "labels", by="me", resume=True)
    made.choose_class("roof")
    made.search(tile=40, k=40)
    yield made
    made.close()


def mark(session: Session, hits: Hits, truth: np.ndarray) -> None:
    for hit in hits:
        session.label([hit.number], "roof", value=1 if truth[hit.number] else -1)


def settle(session: Session) -> None:
    """Wait for the estimates that are being made."""
    while session._estimating.current is not None and session._estimating.current.running:
        session._estimating.current.wait(20)


def test_no_queue_but_that_of_mistakes_offers_a_labelled_tile(session: Session, truth: np.ndarray) -> None:
    mark(session, session.hits[:12], truth)
    mark(session, session.hits[30:], truth)
    session.refine()
    labelled = set(session.marks.numbers("roof").tolist())
    for name in NEVER_LABELLED:
        hits = session.show_queue(name)
        assert len(hits) and session.queue == name and session.hits == hits, name
        assert not labelled & set(hits.numbers.tolist()), name
        assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    assert set(session.show_queue("mistakes").numbers.tolist()) <= labelled


def test_queues_for_marking_show_an_object_once_and_differ(
    session: Session, truth: np.ndarray, archive: Archive
) -> None:
    mark(session, session.hits[:8], truth)
    mark(session, session.hits[30:], truth)
    session.refine()
    shown = {name: session.show_queue(name, k=10).numbers for name in ("similar", "uncertain", "diverse")}
    for numbers in shown.values():
        assert len(apart(archive, numbers)) == len(numbers) == 10
    assert len({tuple(sorted(numbers.tolist())) for numbers in shown.values()}) == 3
    scores = session._scores(session.scorer)
    free = np.setdiff1d(np.arange(len(archive)), session.marks.numbers("roof"))
    assert shown["similar"][0] == free[np.argmax(scores[free])]


def test_a_wrong_mark_is_a_suspect_until_it_is_put_right(session: Session, truth: np.ndarray) -> None:
    best = session.hits.numbers
    session.label(best[:15].tolist(), "roof")
    session.label(best[25:].tolist(), "roof", value=-1)
    session.label([int(best[1])], "roof", value=-1)
    hits = session.show_queue("mistakes")
    assert hits[0].number == best[1]
    words, says, value, warns = session.remarks[int(best[1])]
    assert words.startswith("yes ") and "roof" in says and value == -1 and warns
    session.label([int(best[1])], "roof")
    assert session.show_queue("mistakes").numbers[0] != best[1] or not session.remarks[int(best[1])][3]


def test_queues_need_something_to_be_made_from_and_say_what(session: Session, archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(QueryInvalid, match=r"no queue 'best'.*similar"):
        session.show_queue("best")
    with pytest.raises(QueryInvalid, match="0 or more"):
        session.show_queue("similar", k=-1)
    with pytest.raises(QueryInvalid, match="Nothing is marked as roof yet"):
        session.show_queue("mistakes")
    with pytest.raises(QueryInvalid, match="no map of a U-Net"):
        session.show_queue("disagreement")
    assert session.queue == "" and set(session.queues_closed) == {"mistakes", "disagreement", *OBJECT_QUEUES}
    bare = Session(archive, tmp_path / "others")
    assert set(bare.queues_closed) == {"", *QUEUES, *OBJECT_QUEUES}
    for verb in (lambda: bare.show_queue("audit"), bare.show_ranked, bare.estimate):
        with pytest.raises(QueryInvalid, match="Nothing ranks the tiles yet"):
            verb()
    bare.close()


def test_refining_keeps_the_queue_and_all_hits_are_one_step_away(session: Session, truth: np.ndarray) -> None:
    mark(session, session.show_queue("uncertain", k=6), truth)
    labelled = set(session.marks.numbers("roof").tolist())
    before = session.scorer
    hits = session.go_on()
    assert session.queue == "uncertain" and session.scorer is not before and "regression" in session.scorer.kind
    assert not labelled & set(hits.numbers.tolist())
    everything = session.show_ranked(200)
    assert session.queue == "" and len(everything) == len(truth)
    assert session.go_on(7) == session.hits and len(session.hits) == 7 and session.queue == ""


def test_a_draw_is_shown_until_it_is_labelled_whole_and_then_another_is_drawn(
    session: Session, truth: np.ndarray
) -> None:
    first = session.show_queue("audit")
    assert len(first) == PER_DRAW
    mark(session, first[:7], truth)
    assert session.show_queue("audit").numbers.tolist() == first.numbers[7:].tolist()
    mark(session, first[7:], truth)
    second = session.show_queue("audit")
    assert len(second) == PER_DRAW and not set(second.numbers.tolist()) & set(first.numbers.tolist())
    session.undo()
    assert session.show_queue("audit").numbers.tolist() == second.numbers.tolist(), "the open draw comes first"


def test_a_draw_is_on_disk_before_it_is_shown(
    session: Session, truth: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []
    folder, tiles = session._audit_folder("roof"), len(session.archive)
    session.observe(lambda change: kept.append(read_draws(folder, tiles)), "hits")
    hits = session.show_queue("audit")
    assert len(kept) == 1 and kept[0].last.numbers.tolist() == hits.numbers.tolist()
    mark(session, hits, truth)
    settle(session)
    session.show_queue("similar")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("workbench.audits.write_bytes", full)
    shown = session.hits
    with pytest.raises(LabelNotSaved, match="The draw was not saved: No space left"):
        session.show_queue("audit")
    assert session.queue == "similar" and session.hits is shown and read_draws(folder, tiles).place == 2


def test_two_kernels_of_one_person_mark_one_audit_and_lose_and_double_nothing(
    archive: Archive, truth: np.ndarray, tmp_path: Path
) -> None:
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Barrier(2)
    given = [(archive.folder, tmp_path, truth, query, ready, spawn.SimpleQueue()) for query in (40, 41)]
    kernels = [spawn.Process(target=_audit_in_a_kernel, args=each, daemon=True) for each in given]
    for kernel in kernels:
        kernel.start()
    said = [each[-1].get() for each in given]
    for kernel in kernels:
        kernel.join(60)
    assert [kernel.exitcode for kernel in kernels] == [0, 0] and all(said)
    session = Session(archive, tmp_path, by="me")
    marks = session.marks.values("roof")
    draws = read_draws(session._audit_folder("roof"), len(archive))
    drawn = [*draws.numbers.tolist(), *draws.last.numbers.tolist()]
    assert len(set(drawn)) == len(drawn) == PER_DRAW * (draws.place - 1) >= PER_DRAW * _DRAWN
    assert set(drawn) == set(said[0]) | set(said[1]) == set(marks)
    assert {number: value > 0 for number, value in marks.items()} == {n: bool(truth[n]) for n in drawn}
    assert len(session.store.labels("roof")) == len(drawn)
    audit = draws.audit(marks)
    assert sorted(audit.numbers.tolist()) == sorted(drawn)
    assert audit.expected.sum() == pytest.approx(len(drawn), rel=1e-3)
    session.close()


def _audit_in_a_kernel(
    folder: Path, labels: Path, truth: np.ndarray, query: int, ready: threading.Barrier, said: SimpleQueue[list[int]]
) -> None:
    """Draw at the same moment as the other kernel, from another ranking, and mark what is shown."""
    session = Session(open_archive(folder, encoder=MeanColour()), labels, by="me")
    session.choose_class("roof")
    session.search(tile=query, k=40)
    mine: list[int] = []
    for _ in range(_DRAWN):
        ready.wait(60)
        hits = session.show_queue("audit")
        mark(session, hits, truth)  # the other kernel marks them too
        mine.extend(hits.numbers.tolist())
    said.put(mine)
    session.close()


def test_another_kernel_goes_on_with_the_same_audit_and_shows_the_same(
    session: Session, truth: np.ndarray, archive: Archive
) -> None:
    mark(session, session.show_queue("audit"), truth)
    settle(session)
    hits = session.show_queue("audit")
    mark(session, hits[:4], truth)
    session.choose_answer(25)
    settle(session)
    again = Session(archive, session.store.folder, by="me", resume=True)
    assert again.queue == "audit" and again.hits.numbers.tolist() == hits.numbers.tolist()
    assert again.answers == {"roof": 25} and again.estimates == session.estimates and len(again.estimates) == 2
    assert again.show_queue("audit").numbers.tolist() == hits.numbers[4:].tolist()
    assert again.estimate() == session.estimate()
    other = Session(archive, session.store.folder, by="you")
    other.search(tile=40)
    other.choose_class("roof")
    assert other.estimates == [] and other.estimate().audited == 0 and other.estimate().labels == 14
    for each in (again, other):
        each.close()


def test_suspects_are_shown_again_after_a_restart(session: Session, truth: np.ndarray, archive: Archive) -> None:
    mark(session, session.hits, truth)
    session.show_queue("mistakes")
    again = Session(archive, session.store.folder, by="me", resume=True)
    assert again.queue == "mistakes" and again.remarks == session.remarks != {}
    again.close()


def mapped(session: Session, number: int, probability: float, folder: Path) -> Path:
    """A U-Net's map that is sure that nothing is there, but for one tile."""
    folder.mkdir()
    for position, raster in enumerate(session.archive.imagery):
        there = np.full((raster.height, raster.width), 0.02, np.float32)
        tile = session.archive.tile(number)
        if tile.raster == position:
            there[tile.row : tile.row + 64, tile.col : tile.col + 64] = probability
        profile = {"driver": "GTiff", "dtype": "float32", "count": 1, "width": raster.width, "height": raster.height}
        with rasterio.open(
            folder / f"{Path(raster.name).stem}.tif", "w", crs=raster.crs, transform=raster.transform, **profile
        ) as file:
            file.write(there, 1)
            file.set_band_description(1, "roof")
    return folder


def test_tiles_to_outline_are_likely_ones_then_doubtful_ones_and_none_that_is_complete(
    session: Session, truth: np.ndarray, archive: Archive, tmp_path: Path
) -> None:
    mark(session, session.hits[:10], truth)
    session.refine()
    scores = session._scores(session.scorer)
    board = np.flatnonzero(side_by_side(archive))
    hits = session.show_queue("outline", k=6)
    likely = board[np.argsort(-scores[board])][:60]
    assert len(hits) == 6 and set(hits.numbers[::2].tolist()) <= set(likely.tolist())
    first = board[
        archive.tiles["raster"][board] == 0
    ]  # the rasters lie on each other, and an area belongs to the first
    likeliest, unsure = (int(first[place(scores[first])]) for place in (np.argmax, np.argmin))
    assert likeliest in session.show_queue("outline", k=60).numbers
    session.declare_complete(archive.footprint(likeliest), archive.imagery[0].crs)
    assert likeliest not in session.show_queue("outline", k=60).numbers
    session.show_map(mapped(session, unsure, 0.5, tmp_path / "map"), None)
    assert session.show_queue("outline", k=2)[1].number == unsure
    session.declare_complete(archive.footprint(unsure), archive.imagery[0].crs)
    assert unsure not in session.show_queue("outline", k=60).numbers


def test_where_network_and_scorer_disagree_is_said_on_the_cards(
    session: Session, truth: np.ndarray, tmp_path: Path
) -> None:
    mark(session, session.hits[:10], truth)
    session.refine()
    disputed = int(np.argmin(session._scores(session.scorer)))
    session.show_map(mapped(session, disputed, 0.97, tmp_path / "map"), None)
    assert "disagreement" not in session.queues_closed
    hits = session.show_queue("disagreement", k=20)
    assert disputed == hits[0].number or session.archive.footprint(disputed).intersects(
        session.archive.footprint(hits[0].number)
    )
    words, says, _, warns = session.remarks[hits[0].number]
    assert words.startswith("97% \u2194 ") and says.startswith("U-Net 97%, scorer ") and not warns
    with pytest.raises(QueryInvalid, match="The map shows roof, and not road"):
        session.show_queue("disagreement", "road")
