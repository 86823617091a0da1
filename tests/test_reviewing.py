"""The objects of a map, reviewed one by one: what is offered in which order, and that every answer is a label in the log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
from shapely import box
from small_archives import MeanColour, small_imagery

from workbench.descriptors.archive import Archive
from workbench.descriptors.build import build_archive
from workbench.errors import QueryInvalid
from workbench.jobs import Progress
from workbench.labels.masks import known_ground
from workbench.labels.store import LabelStore
from workbench.segmentation.polygons import polygonize, save_polygons
from workbench.session import OBJECT_QUEUES, Session

ROOFS = {"north": [(40, 40, 30, 0.95), (120, 200, 40, 0.6), (200, 60, 24, 0.7)], "south": [(64, 64, 64, 0.8)]}
"""By raster: column, row, side and probability of each roof that the map shows."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("reviewing")
    return build_archive(
        small_imagery(folder / "i"), folder / "a", tile=64, stride=32, encoder=MeanColour(), progress=Progress()
    )


@pytest.fixture
def prediction(archive: Archive, tmp_path: Path) -> Path:
    """A map of both rasters with its polygons beside it, as a session leaves them."""
    folder = tmp_path / "map"
    folder.mkdir()
    frames = []
    for raster in archive.imagery:
        name = Path(raster.name).stem
        sure = np.full((raster.height, raster.width), 0.02, np.float32)
        for col, row, side, probability in ROOFS[name]:
            sure[row : row + side, col : col + side] = probability
        profile = {"driver": "GTiff", "dtype": "float32", "count": 1, "width": raster.width, "height": raster.height}
        with rasterio.open(folder / f"{name}.tif", "w", crs=raster.crs, transform=raster.transform, **profile) as file:
            file.write(sure, 1)
            file.set_band_description(1, "roof")
        frames.append(polygonize(folder / f"{name}.tif").assign(raster=raster.fingerprint))
    save_polygons(pd.concat(frames, ignore_index=True), folder / "polygons.gpkg")
    return folder


@pytest.fixture
def session(archive: Archive, prediction: Path, tmp_path: Path) -> Iterator[Session]:
    made = opened(archive, tmp_path)
    made.choose_class("roof")
    made._resume_map(prediction)
    yield made
    made.close()


def opened(archive: Archive, tmp_path: Path) -> Session:
    return Session(archive, tmp_path / "labels", by="me", resume=True)


def where(session: Session, number: int) -> tuple[str, tuple[int, ...]]:
    """The raster of an object and its bounds in pixels."""
    position, shape = session._object(number)
    return Path(session.archive.imagery[position].name).stem, tuple(round(edge) for edge in shape.bounds)


def on_disk(session: Session) -> list[tuple[str, int, float]]:
    """Class, value and area in pixels of each label that holds, as another reader finds them."""
    labels = LabelStore(session.store.folder).labels()
    rasters = {raster.fingerprint: raster for raster in session.archive.imagery}
    return [(x.class_name, x.value, x.place.in_pixels(rasters[x.place.raster]).area) for x in labels]


def test_the_least_sure_object_comes_first_and_each_stands_on_the_raster_it_was_found_in(session: Session) -> None:
    hits = session.review_objects("uncertain")
    assert [round(hit.score, 2) for hit in hits] == [0.6, 0.7, 0.8, 0.95] and session.queue == "objects uncertain"
    assert where(session, hits[0].number) == ("north", (120, 200, 160, 240))
    assert where(session, hits[2].number) == ("south", (64, 64, 128, 128))
    assert min(hits.numbers) == len(session.archive)
    assert session.hits == hits and "4 objects of roof" in session.status


def test_an_accepted_object_is_a_positive_label_of_its_own_outline_and_one_undo(session: Session) -> None:
    numbers = session.review_objects().numbers.tolist()
    session.accept(numbers[:2])
    session.reject(numbers[3:])
    assert on_disk(session) == [
        ("roof", 1, pytest.approx(1600, rel=0.02)),
        ("roof", 1, pytest.approx(576, rel=0.02)),
        ("roof", -1, pytest.approx(900, rel=0.02)),
    ]
    assert [session.marks_of(number) for number in numbers] == [{"roof": 1}, {"roof": 1}, {}, {"roof": -1}]
    session.undo()
    session.undo()
    assert on_disk(session) == [] and session.marks_of(numbers[0]) == {}
    session.redo()
    session.label([numbers[0]], "roof", value=0)
    assert [session.marks_of(number) for number in numbers[:2]] == [{}, {"roof": 1}]


def test_answered_objects_are_not_asked_again_nor_are_those_outlined_before(session: Session) -> None:
    session.label(box(36, 36, 68, 72), "roof", crs=None)
    numbers = session.review_objects().numbers.tolist()
    assert len(numbers) == 3, "an outline drawn for training answers for the object found there"
    session.reject(numbers[:1])
    assert [where(session, each) for each in numbers[1:]] == [
        where(session, each) for each in session.review_objects().numbers.tolist()
    ]


def test_a_tile_where_the_class_is_says_nothing_of_outlines_and_one_where_it_is_not_does(session: Session) -> None:
    tile = next(
        n for n in range(len(session.archive)) if session.archive.tile(n).window.toslices() == np.s_[32:96, 32:96]
    )
    session.label([tile], "roof")
    assert len(session.review_objects()) == 4
    session.label([tile], "roof", value=-1)
    assert len(session.review_objects()) == 3


def test_an_edited_object_is_labelled_by_the_outline_drawn_in_its_place(session: Session) -> None:
    number = session.review_objects().numbers.tolist()[0]
    session.accept([number])
    session.edit_object(number, box(120, 200, 138, 240), crs=None)
    assert on_disk(session) == [("roof", 1, pytest.approx(720))], "what was accepted before is taken back with it"
    assert session.marks_of(number) == {"roof": 1}
    session.undo()
    assert on_disk(session) == [("roof", 1, pytest.approx(1600, rel=0.02))]
    with pytest.raises(QueryInvalid, match="shares less than half of itself with object 1"):
        session.edit_object(number, box(10, 10, 20, 20), crs=None)


def test_the_tool_that_edits_takes_the_outline_for_the_selected_object_and_goes_on(session: Session) -> None:
    hits = session.review_objects()
    session.use_tool("edit")
    raster = session.archive.imagery[0]
    session.act_on(raster.from_pixels(box(118, 198, 161, 241), "EPSG:4326"))
    assert session.marks_of(hits[0].number) == {"roof": 1} and session.selected == hits[1].number
    with pytest.raises(QueryInvalid, match="corner by corner"):
        session.act_at(0, 0)
    session.browse()
    assert session.tool == "search", "there is nothing to edit any more"


def test_errors_are_where_map_and_labels_differ_the_largest_first(session: Session) -> None:
    session.label(box(40, 40, 70, 70), "roof", crs=None)  # found, as it is
    session.label(box(240, 240, 300, 300), "roof", crs=None)  # missed
    session.label(box(190, 50, 240, 100), "roof", value=-1, crs=None)  # found, and there is none
    hits = session.review_objects("errors")
    assert [where(session, each)[1] for each in hits.numbers.tolist()] == [(240, 240, 300, 300), (200, 60, 224, 84)]
    assert [session.remarks[each][0].split(" \u00b7 ")[0] for each in hits.numbers.tolist()] == [
        "yes \u2192 no",
        "no \u2192 yes",
    ]
    session.accept([hits[1].number])
    ground = known_ground(session.store, session.archive.imagery)[0][0]
    mask, _ = ground.burn(session.archive.imagery[0].window)
    assert (mask[60:84, 200:224] == 1).all(), "what the labels had wrong, the analyst has put right"
    assert len(session.review_objects("errors")) == 1


def test_objects_that_the_scorer_doubts_come_first_with_what_both_say(session: Session) -> None:
    with pytest.raises(QueryInvalid, match="Nothing ranks the tiles yet"):
        session.review_objects("disagreement")
    session.search(tile=40, k=40)
    session.label(session.hits[:8], "roof")
    session.label(session.hits[30:], "roof", value=-1)
    session.refine()
    hits = session.review_objects("disagreement")
    said = [session.remarks[hit.number][1] for hit in hits]
    gaps = [int(a) - int(b) for a, b in (np.array([w.strip("%,") for w in words.split()])[[1, 3]] for words in said)]
    assert gaps == sorted(gaps, reverse=True) and said[0].startswith("U-Net ")


def test_a_new_kernel_shows_the_same_review_and_knows_every_answer(session: Session, tmp_path: Path) -> None:
    numbers = session.review_objects().numbers.tolist()
    session.accept(numbers[1:2])
    session.reject(numbers[2:3])
    again = opened(session.archive, tmp_path)
    assert again.queue == "objects uncertain" and again.hits == session.hits
    assert [again.marks_of(number) for number in numbers] == [{}, {"roof": 1}, {"roof": -1}, {}]
    assert [again.outline(number) for number in numbers] == [session.outline(number) for number in numbers]
    assert [where(again, number) for number in numbers] == [where(session, number) for number in numbers]
    again.close()
    (session.store.folder / "review-me.parquet").write_bytes(b"PAR1 damaged")
    third = opened(session.archive, tmp_path)
    assert len(third.hits) == 0 and third.queue == "" and len(third.store.labels()) == 2
    third.close()


def test_a_tile_is_complete_when_every_object_in_it_has_an_answer(session: Session) -> None:
    numbers = session.review_objects().numbers.tolist()
    with pytest.raises(QueryInvalid, match="1 object of the map in this tile had no answer"):
        session.complete_around(numbers[3])
    session.accept([numbers[3]])
    session.complete_around(numbers[3])
    (area,) = LabelStore(session.store.folder).complete()
    raster = session.archive.imagery[0]
    assert raster.to_pixels(area.geometry).area == pytest.approx(64 * 64)
    mask, _ = known_ground(session.store, session.archive.imagery)[0][0].burn(raster.window)
    assert (mask[45:60, 45:60] == 1).all() and (mask == 0).sum() == 64 * 64 - (mask == 1).sum()


def test_pictures_outlines_words_and_places_are_those_of_the_object(session: Session) -> None:
    number = session.review_objects().numbers.tolist()[0]
    outline = np.array(session.outline(number))
    assert outline.min() > 0.1 and outline.max() < 0.9 and outline.shape[1] == 2
    assert session.thumbnail(number)[:2] == session.context(number)[:2] == b"\xff\xd8"
    assert session.tile_text(number).startswith("north.tif, ") and session.tile_text(number).endswith(" m\u00b2")
    assert session.outline(0) == [] and session.ring(number) != session.ring(0)
    session.show_tile(number)
    assert session.map_view["lat"] == pytest.approx(np.mean([lat for lat, _ in session.ring(number)[:4]]), abs=1e-4)
    found = session.like(number, 5)
    assert len(found) == 5 and max(found.numbers) < len(session.archive) and session.query == "an object of the map"


def test_what_cannot_be_reviewed_says_what_to_do_first(session: Session, archive: Archive, tmp_path: Path) -> None:
    bare = Session(archive, tmp_path / "others")
    bare.choose_class("roof")
    assert all(bare.queues_closed[name].startswith("Train a U-Net") for name in OBJECT_QUEUES)
    with pytest.raises(QueryInvalid, match="There is no map of a U-Net yet"):
        bare.review_objects()
    with pytest.raises(QueryInvalid, match="No objects are under review"):
        bare.accept([3])
    bare.close()
    assert not session.queues_closed.keys() & {"objects uncertain", "objects errors"}
    with pytest.raises(QueryInvalid, match="Choose one of uncertain, disagreement, errors"):
        session.review_objects("largest")
    session.choose_class("pool")
    assert "shows nothing of pool" in session.queues_closed["objects uncertain"]
    assert len(session.review_objects("uncertain", "pool")) == 0


def test_going_on_shows_what_is_left(session: Session) -> None:
    numbers = session.review_objects().numbers.tolist()
    session.accept(numbers[:3])
    assert len(session.go_on()) == 1 and session.queue == "objects uncertain"
