"""Which tiles carry which labels, kept label by label, equal to what counting them all anew gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shapely.affinity import scale
from small_archives import MeanColour, small_imagery

from workbench.descriptors.archive import Archive
from workbench.descriptors.build import build_archive
from workbench.jobs import Progress
from workbench.marks import Marks
from workbench.session import Session


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("marks")
    return build_archive(
        small_imagery(folder / "i"), folder / "a", tile=(64, 128), stride=32, encoder=MeanColour(), progress=Progress()
    )


@pytest.fixture
def session(archive: Archive, tmp_path: Path) -> Session:
    return Session(archive, tmp_path / "labels", by="me")


def test_the_last_label_of_a_class_holds_and_classes_do_not_mix(session: Session) -> None:
    session.label([1, 2], "roof")
    session.label([2], "roof", value=-1)
    session.label([2], "pool")
    assert session.marks.of(1) == {"roof": 1} and session.marks.of(2) == {"roof": -1, "pool": 1}
    assert session.marks.of(3) == {}
    session.label([2], "roof", value=0)
    assert session.marks.of(2) == {"pool": 1}
    session.undo()
    assert session.marks.of(2) == {"roof": -1, "pool": 1}


def test_an_outline_marks_the_tiles_that_it_half_covers_and_no_others(session: Session, archive: Archive) -> None:
    tile = archive.footprint(5, "EPSG:4326")
    session.label(scale(tile, 0.9, 0.9), "roof")
    assert session.marks.of(5) == {"roof": 1}
    session.label(scale(archive.footprint(60, "EPSG:4326"), 0.5, 0.5), "roof")
    assert session.marks.of(60) == {}, "a quarter of a tile is not the tile"


def test_taking_back_a_tiles_label_takes_back_the_outline_that_marked_it(session: Session, archive: Archive) -> None:
    session.label(scale(archive.footprint(5, "EPSG:4326"), 0.9, 0.9), "roof")
    session.label([5], "roof", value=0)
    assert session.marks.of(5) == {} and not session.store.labels("roof")
    session.undo()
    assert session.marks.of(5) == {"roof": 1}


def test_what_is_asked_for_may_be_changed_without_harm(session: Session) -> None:
    session.label([1], "roof")
    session.marks.of(1)["roof"] = -1
    assert session.marks.of(1) == {"roof": 1}


acts = st.lists(
    st.one_of(
        st.tuples(
            st.lists(st.integers(0, 30), min_size=1, max_size=3),
            st.sampled_from(["a", "b"]),
            st.sampled_from([1, -1, 0]),
        ),
        st.sampled_from(["undo", "redo", "look"]),
    ),
    max_size=25,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts)
def test_marks_kept_up_to_date_equal_marks_made_anew(
    archive: Archive, tmp_path_factory: pytest.TempPathFactory, done: list
) -> None:
    session = Session(archive, tmp_path_factory.mktemp("h"), by="me")
    for act in done:
        if act == "look":
            session.marks.of(0)
        elif isinstance(act, str):
            getattr(session, act)()
        else:
            session.label(act[0], act[1], value=act[2])
    fresh = Marks(session.store, session.places)
    assert [session.marks.of(number) for number in range(40)] == [fresh.of(number) for number in range(40)]
    for name in ("a", "b", None):
        assert np.array_equal(session.labelled(name), fresh.tiles(name, len(archive)))
