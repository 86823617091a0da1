"""The verbs of the screen without a screen, from any thread."""

from __future__ import annotations

import math
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shapely.geometry import box
from small_archives import MeanColour, small_imagery
from small_rasters import patchwork, write_raster

from workbench.descriptors.archive import Archive
from workbench.descriptors.build import build_archive
from workbench.errors import Busy, LabelInvalid, QueryInvalid, RasterChanged, RasterRefused, RasterUnreadable
from workbench.jobs import Progress
from workbench.search.overlaps import apart
from workbench.search.refinement.expansion import expand
from workbench.search.where import Where
from workbench.session import Session


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("session")
    return build_archive(
        small_imagery(folder / "i"), folder / "a", tile=(64, 128), stride=32, encoder=MeanColour(), progress=Progress()
    )


@pytest.fixture
def session(archive: Archive, tmp_path: Path) -> Session:
    made = Session(archive, tmp_path / "labels", by="me")
    yield made
    made.close()


def test_search_by_tile_place_outline_and_image(session: Session, archive: Archive, tmp_path: Path) -> None:
    hits = session.search(tile=7, k=5)
    assert hits[0].number == 7 and session.hits == hits and session.query == "tile 7"
    assert session.status == "5 hits like tile 7." and session.scorer is not None
    centre = archive.footprint(7, "EPSG:4326").centroid
    assert session.search(lon=centre.x, lat=centre.y, k=3)[0].tile.raster == 0
    outline = archive.footprint(9, "EPSG:4326")
    assert session.search(shape=outline, k=3)[0].number == 9
    Image.fromarray(archive.pixels(9).transpose(1, 2, 0)).save(tmp_path / "chip.png")
    assert session.search(image=tmp_path / "chip.png", k=3)[0].number == 9
    assert session.query == "the image chip.png"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({}, "no example"),
        ({"tile": 1, "image": "a.png"}, "tile and image"),
        ({"lon": 1.0}, "no example"),
        ({"tile": 10**6}, "There is no tile"),
        ({"tile": -1}, "There is no tile"),
        ({"lon": 0.0, "lat": 0.0}, "the imagery covers"),
    ],
)
def test_a_search_that_fails_changes_nothing(session: Session, query: dict[str, object], words: str) -> None:
    before = session.search(tile=3, k=4)
    with pytest.raises(QueryInvalid, match=words):
        session.search(**query)  # type: ignore[arg-type]
    assert session.hits == before and session.query == "tile 3"


def test_filters_hold_for_a_search_and_for_refining_and_are_joined(session: Session, archive: Archive) -> None:
    session.search(tile=7, k=6)
    session.label(session.hits[:3], "roof")
    session.label([session.hits[3].number], "road")
    south = Where(rasters="south.tif", sizes=64)
    assert {hit.tile.raster for hit in session.search(tile=7, k=500, where=south)} == {1}
    fresh = session.search(tile=7, k=1000, where=session.unlabelled())
    assert sorted(fresh.numbers) == np.flatnonzero(~session.labelled()).tolist()
    assert sorted(session.unlabelled("road").numbers(archive)) == np.flatnonzero(~session.labelled("road")).tolist()
    both = session.refine("roof", k=1000, where=south & session.unlabelled("roof"))
    assert {(hit.tile.raster, hit.tile.size) for hit in both} == {(1, 64)} and not session.labelled("roof")[
        both.numbers
    ].any()
    with pytest.raises(QueryInvalid, match=r"no raster 'west\.tif' here\. There are north\.tif, south\.tif"):
        session.search(tile=7, where=Where(rasters="west.tif"))
    assert session.hits == both


def test_what_a_filter_leaves_out_unasked_is_said(session: Session, archive: Archive) -> None:
    archive.set_dates({"south.tif": "2021"})
    hits = session.search(tile=7, k=5, where=Where(dates=("2020", None)))
    assert {hit.tile.raster for hit in hits} == {1}
    assert session.status.startswith("5 hits like tile 7. north.tif left out for want of a date")


def test_one_object_gives_one_hit_if_asked_for(session: Session, archive: Archive) -> None:
    once = session.search(tile=7, k=8, one_per_object=True)
    assert once[0].number == 7 and len(once) == 8 and apart(archive, once.numbers).tolist() == list(range(8))
    assert len(session.refine(k=8, one_per_object=True)) == 8


def test_labels_of_hits_tiles_and_outlines_undo_and_redo(session: Session, archive: Archive) -> None:
    hits = session.search(tile=7, k=6)
    versions = [session.labels_version]
    session.label(hits[:3], "roof")
    session.label([hits[3].number], value=-1)
    session.label(hits[4], value=-1)
    versions.append(session.labels_version)
    assert session.class_name == "roof" and versions == [0, 3]
    assert [label.value for label in session.store.labels("roof")] == [1, 1, 1, -1, -1]
    assert session.labelled("roof")[hits.numbers[:5]].all() and not session.labelled("road").any()
    assert all(label.whole for label in session.store.labels())
    session.label(archive.footprint(9, "EPSG:4326"), "roof")
    assert not session.store.labels()[-1].whole
    session.undo()
    session.undo()
    assert len(session.store.labels()) == 4
    session.redo()
    assert len(session.store.labels()) == 5
    session.label(hits[0].number, value=0)
    assert not session.labelled("roof")[hits[0].number]
    assert len(Session(archive, session.store._path.parent, by="you").store.labels()) == 4
    with pytest.raises(LabelInvalid):
        session.label([], "roof")
    with pytest.raises(QueryInvalid):
        session.label(10**6, "roof")


def test_undo_with_nothing_to_undo_says_so(session: Session) -> None:
    assert session.undo() is None and session.status == "There is nothing to undo."
    assert session.redo() is None and session.status == "There is nothing to redo."


def test_refine_learns_from_tiles_and_drawn_outlines(session: Session, archive: Archive) -> None:
    with pytest.raises(QueryInvalid, match="Mark at least one"):
        session.refine()
    outline = archive.imagery[0].from_pixels(box(10, 20, 90, 85), "EPSG:4326")
    session.label(outline, "roof")
    first = session.refine(k=5)
    assert session.scorer is not None and "nearest neighbours" in session.scorer.kind
    expanded, _ = expand(archive.describe(0, box(10, 20, 90, 85)), archive.vectors)
    assert first[0].score == pytest.approx(float((archive.vectors @ expanded).max()), abs=0.01)
    session.label(session.hits[3:5], value=-1)
    session.refine(k=5)
    assert "1 positive, 2 negative" in session.scorer.kind and "for roof by logistic regression" in session.status
    unlabelled = ~session.labelled("roof")
    assert unlabelled[session.refine(where=unlabelled).numbers].all()


def test_observers_see_one_consistent_change(session: Session) -> None:
    seen: list[tuple[str, int]] = []
    session.observe(lambda change: seen.append((session.query, len(session.hits))), "hits")
    session.search(tile=1, k=4)
    session.search(tile=2, k=6)
    assert seen == [("tile 1", 4), ("tile 2", 6)]


def test_a_thumbnail_is_the_tile_that_was_searched(session: Session, archive: Archive) -> None:
    import io

    shown = np.asarray(Image.open(io.BytesIO(session.thumbnail(5, 64)))).astype(int)
    tile = archive.tile(5)
    pixels = patchwork(320, 320, seed=tile.raster)[:, tile.row : tile.row + tile.size, tile.col : tile.col + tile.size]
    step = tile.size // 64
    expected = pixels.reshape(3, 64, step, 64, step).mean(axis=(2, 4)).transpose(1, 2, 0)
    assert np.abs(shown - expected).mean() < 12


def test_thumbnails_are_kept_and_a_page_of_noise_stays_small(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 2, (3, 448, 448), dtype=np.uint8) * np.uint8(255)
    path = write_raster(tmp_path / "noise.tif", noise)
    archive = build_archive(path, tmp_path / "a", tile=128, encoder=MeanColour(), progress=Progress())
    session = Session(archive, tmp_path / "labels")
    assert sum(len(session.thumbnail(number)) for number in range(20)) < 140_000
    assert len(session.thumbnail(3, most_bytes=10**6)) > 7_000
    first = session.thumbnail(3)
    path.unlink()
    assert session.thumbnail(3) is first
    with pytest.raises(RasterUnreadable):
        session.thumbnail(24)


def test_browsing_shows_tiles_of_everywhere_on_every_page_without_a_scorer(session: Session, archive: Archive) -> None:
    session.search(tile=3, k=50)
    hits = session.browse(45)
    assert session.hits == hits == session.browse(45) and session.scorer is None and session.query == "a look around"
    assert len(set(hits.numbers)) == 45 and all(math.isnan(hit.score) for hit in hits)
    assert [hit.rank for hit in hits] == list(range(1, 46)) and hits[7].tile == archive.tile(hits[7].number)
    assert not session.can_refine and session.query_ring == []
    spread = np.diff(np.sort(hits[:15].numbers))
    assert spread.max() < 3 * len(archive) / 15, "the first page is from everywhere"
    assert len(session.browse(10**6)) == len(archive) and len(session.browse(0)) == 0
    session.label(hits[0], "roof")
    session.refine(k=5)
    assert session.query == ""


def test_turning_a_page_selects_its_first_or_last_card(session: Session) -> None:
    hits = session.search(tile=3, k=50)
    session.go_to_page(1)
    assert session.page == 1 and session.selected == hits[20].number
    session.go_to_page(0, last=True)
    assert session.page == 0 and session.selected == hits[19].number
    session.go_to_page(99)
    assert session.page == 2 and session.selected == hits[40].number
    session.select(hits[45].number)
    assert session.selected == hits[45].number
    session.select(hits[3].number)
    assert session.selected == hits[45].number, "that card has gone"


def test_the_map_goes_to_a_tile_at_the_zoom_it_has(session: Session, archive: Archive) -> None:
    session.set_state(map_view={"lat": 0.0, "lon": 0.0, "zoom": 19.0})
    session.show_tile(9)
    centre = archive.footprint(9, "EPSG:4326").centroid
    assert session.map_view == {"lat": centre.y, "lon": centre.x, "zoom": 19.0}
    with pytest.raises(QueryInvalid):
        session.show_tile(10**6)


def test_calls_from_many_threads_lose_nothing(session: Session) -> None:
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for step in range(8):
                session.search(tile=number * 8 + step, k=5)
                session.label([number * 8 + step], f"class {number % 3}")
                session.refine(f"class {number % 3}", k=5)
                session.labelled()
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and session.labels_version == 48
    assert len(session.store.labels()) == 48 and session.labelled()[:48].all()


def test_background_work_shows_progress_and_its_end(session: Session) -> None:
    lines: list[str] = []
    session.observe(lambda change: lines.append(change["new"]), "progress")

    def work(progress: Progress) -> int:
        progress.begin("counting", 3, "sheep")
        for _ in range(3):
            progress.advance()
        return 3

    got: list[int] = []
    job = session.start("counting", work, got.append)
    assert job.result(10) == 3 and got == [3] and session.job is job
    assert lines[0] == "counting: 0 of 3 sheep" and lines[-1] == "" and session.status == "counting: done."


def test_P15_the_error_of_background_work_is_in_the_status(session: Session) -> None:
    def work(progress: Progress) -> None:
        raise RasterChanged("south.tif has changed.")

    session.start("training", work).wait(10)
    assert session.status == "training: south.tif has changed."


def test_background_work_can_be_cancelled_and_labelling_goes_on_meanwhile(session: Session) -> None:
    def work(progress: Progress) -> None:
        progress.begin("waiting", 10**9, "ticks")
        while True:
            progress.advance()
            time.sleep(0.001)

    job = session.start("waiting", work)
    with pytest.raises(Busy):
        session.start("another", work)
    session.label([1, 2], "roof")
    assert len(session.store.labels()) == 2 and job.running
    job.cancel()
    assert job.wait(10) and session.status.startswith("waiting: Stopped at") and session.progress == ""


def test_P05_training_on_changed_imagery_is_refused_by_name(tmp_path: Path) -> None:
    imagery = small_imagery(tmp_path / "i", size=192)
    archive = build_archive(imagery, tmp_path / "a", tile=64, encoder=MeanColour(), progress=Progress())
    session = Session(archive, tmp_path / "labels")
    session.label([0], "roof")
    write_raster(tmp_path / "i" / "south.tif", patchwork(192, 192, seed=9))
    with pytest.raises(RasterChanged, match=r"south\.tif changed or vanished"):
        session.export_chips(tmp_path / "chips")
    assert not (tmp_path / "chips").exists()


def test_predicting_without_a_network_is_refused(session: Session, tmp_path: Path) -> None:
    with pytest.raises(QueryInvalid, match="no U-Net yet"):
        session.predict(tmp_path / "p.tif")


def test_problems_of_archive_and_labels_are_the_first_status(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "old.jsonl").write_bytes(b"junk\n")
    assert "old.jsonl" in Session(archive, tmp_path / "labels").status


def test_an_image_that_was_sent_is_searched_for_and_not_kept(
    session: Session, archive: Archive, tmp_path: Path
) -> None:
    Image.fromarray(archive.pixels(9).transpose(1, 2, 0)).save(tmp_path / "chip.png")
    before = {path.name for path in Path(tempfile.gettempdir()).glob("workbench-*")}
    hits = session.search_upload("ein Dach <b>.png", (tmp_path / "chip.png").read_bytes(), k=3)
    assert hits[0].number == 9 and session.query == "the image ein Dach <b>.png" and not session.query_ring
    with pytest.raises((RasterUnreadable, RasterRefused)):
        session.search_upload("../../page.png", b"<html>not an image</html>")
    assert session.hits == hits
    assert {path.name for path in Path(tempfile.gettempdir()).glob("workbench-*")} == before


def test_an_example_too_large_for_memory_is_refused_by_its_header(session: Session, tmp_path: Path) -> None:
    image = Image.new("1", (20_000, 20_000))
    image.save(tmp_path / "bomb.png")
    with pytest.raises(RasterRefused, match=r"20,000 x 20,000 pixels"):
        session.search_upload("bomb.png", (tmp_path / "bomb.png").read_bytes())


def test_going_to_a_place_moves_the_map_near_enough_to_see_tiles(session: Session, archive: Archive) -> None:
    centre = archive.footprint(7, "EPSG:4326").centroid
    own = archive.footprint(7).centroid
    for text in (
        f"{centre.y}, {centre.x}",
        f" {centre.y} {centre.x}\n",
        f"{centre.y}°,{centre.x}°",
        f"{own.x}; {own.y}",
    ):
        session.show_whole()
        session.go_to(text)
        assert session.map_view["lat"] == pytest.approx(centre.y, abs=1e-6), text
        assert session.map_view["lon"] == pytest.approx(centre.x, abs=1e-6), text
        assert 15 <= session.map_view["zoom"] <= 22
    session.show_place(centre.y, centre.x, 24)
    session.go_to(f"{centre.y}, {centre.x}")
    assert session.map_view["zoom"] == 24, "it zoomed out"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no place"),
        ("27.6", "is no place"),
        ("27,6, 85,5", "is no place"),
        ("<b>here</b>", "is no place"),
        ("nan nan", "outside the imagery"),
        ("1e999 0", "outside the imagery"),
        ("-12.5, 30", "outside the imagery, which covers lon"),
        ("123456789 987654321", "outside the imagery"),
    ],
)
def test_what_is_no_place_is_refused_with_an_example(session: Session, text: str, words: str) -> None:
    session.show_place(1, 2, 3)
    with pytest.raises(QueryInvalid, match=words):
        session.go_to(text)
    assert session.map_view == {"lat": 1, "lon": 2, "zoom": 3}
