"""What a session shows comes back in a new kernel, and nothing that is damaged or another archive's does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from small_archives import MeanColour, small_imagery

from workbench.descriptors.archive import Archive
from workbench.descriptors.build import build_archive
from workbench.jobs import Progress
from workbench.resume import pack, read_state, state_path, unpack
from workbench.session import Session


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("resume")
    return build_archive(
        small_imagery(folder / "i"), folder / "a", tile=(64, 128), stride=32, encoder=MeanColour(), progress=Progress()
    )


def worked(archive: Archive, labels: Path) -> Session:
    session = Session(archive, labels, by="me", resume=True)
    session.search(tile=7, k=45)
    session.label([3, 4], "roof")
    session.label([9], "roof", value=-1)
    session.refine(k=45)
    session.go_to_page(1)
    session.show_place(lat=55.5, lon=12.25, zoom=18)
    session.show_stretch("full range")
    session.set_state(shown=[0, 4], opacity={1: 0.25})
    return session


def test_P10_a_new_session_shows_what_the_last_one_showed(archive: Archive, tmp_path: Path) -> None:
    old = worked(archive, tmp_path / "labels")
    before = {name: getattr(old, name) for name in SHOWN}
    old.close()
    new = Session(archive, tmp_path / "labels", by="me", resume=True)
    after = {name: getattr(new, name) for name in SHOWN}
    assert {name for name in SHOWN if before[name] != after[name]} == set()
    assert after["page"] == 1 and after["map_view"]["zoom"] == 18 and after["query"] == "tile 7"
    assert new.scorer is not None and np.array_equal(new.scorer.weights, old.scorer.weights)
    assert new.refine(k=45) == old.hits, "the query still pulls the scorer"
    assert len(new.store.labels()) == 3 and new.layers.infos()[1].available


SHOWN = ("query", "query_ring", "hits", "page", "selected", "class_name", "map_view", "shown", "stretch", "opacity")


def test_P10_a_look_around_comes_back_without_a_scorer(archive: Archive, tmp_path: Path) -> None:
    old = Session(archive, tmp_path, by="me", resume=True)
    old.search(tile=7)
    hits = old.browse(45)
    old.go_to_page(2)
    new = Session(archive, tmp_path, by="me", resume=True)
    assert new.hits == hits and new.page == 2 and new.scorer is None and new.query == "a look around"
    assert "NaN" not in state_path(tmp_path, "me").read_text()


def test_sessions_that_do_not_resume_neither_read_nor_write(archive: Archive, tmp_path: Path) -> None:
    worked(archive, tmp_path).close()
    path = state_path(tmp_path, "me")
    before = path.read_bytes()
    plain = Session(archive, tmp_path, by="me")
    assert plain.scorer is None and not len(plain.hits)
    plain.search(tile=1)
    assert path.read_bytes() == before


def test_another_persons_or_archives_state_is_left_alone(archive: Archive, tmp_path: Path) -> None:
    worked(archive, tmp_path / "labels").close()
    assert Session(archive, tmp_path / "labels", by="you", resume=True).scorer is None
    other = build_archive(
        small_imagery(tmp_path / "i", size=192), tmp_path / "a", tile=64, encoder=MeanColour(), progress=Progress()
    )
    assert Session(other, tmp_path / "labels", by="me", resume=True).scorer is None


@pytest.mark.parametrize(
    "change",
    [
        {"numbers": [10**9], "scores": [1.0]},
        {"numbers": [True], "scores": [1.0]},
        {"numbers": [1, 2]},
        {"weights": ""},
        {"page": "first"},
        {"remarks": {"x": ["yes 90%", "", 1, True]}},
        {"remarks": {"1000000": ["yes 90%", "", 1, True]}},
        {"remarks": {"3": ["yes 90%", True]}},
        {"answers": {"roof": "many"}},
        {"weights": "no base64!"},
        {"weights": pack(np.array([1.0, 2.0], np.float32))},
        {"weights": pack(np.full(3, np.nan, np.float32))},
        {"selected": -7},
        {"version": 99},
        {"something": "else"},
        {"map_view": {"lat": "north"}},
        {"query_ring": [["a", "b"]]},
        {"shown": ["x"]},
    ],
)
def test_a_state_that_is_damaged_is_left_out_and_the_work_starts_without_it(
    archive: Archive, tmp_path: Path, change: dict[str, object]
) -> None:
    worked(archive, tmp_path).close()
    path = state_path(tmp_path, "me")
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert read_state(path, archive) is None
    session = Session(archive, tmp_path, by="me", resume=True)
    assert session.scorer is None and len(session.store.labels()) == 3


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"version": 1}'])
def test_a_state_that_is_no_state_is_left_out(archive: Archive, tmp_path: Path, content: bytes) -> None:
    path = state_path(tmp_path, "me")
    path.write_bytes(content)
    assert read_state(path, archive) is None


def test_a_label_of_the_class_that_is_looked_for_does_not_write_the_state_again(
    archive: Archive, tmp_path: Path
) -> None:
    session = worked(archive, tmp_path)
    path = state_path(tmp_path, "me")
    path.unlink()
    session.label([11, 12])
    session.undo()
    assert not path.exists()
    session.label([11], "road")
    assert json.loads(path.read_text())["class_name"] == "road"


def test_work_goes_on_when_the_state_cannot_be_kept(
    archive: Archive, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state_path(tmp_path, "me").mkdir()
    session = Session(archive, tmp_path, by="me", resume=True)
    assert len(session.search(tile=3, k=5)) == 5 and "is not kept" in caplog.text


def test_vectors_survive_packing() -> None:
    vector = np.linspace(-1, 1, 7, dtype=np.float32)
    assert np.array_equal(unpack(pack(vector)), vector) and pack(None) == "" and len(unpack("")) == 0
