"""The label store says what was said: folding, undo, classes, several sessions, several threads."""

from __future__ import annotations

import json
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import shapely
from shapely.geometry import LineString, Point, Polygon, box
from small_stores import UTM, lines, place, said

from workbench.errors import LabelInvalid
from workbench.labels.store import LabelStore, Mark, Place


def test_a_new_store_is_empty_and_makes_no_file(tmp_path: Path) -> None:
    store = LabelStore(tmp_path / "labels")
    assert store.labels() == store.classes == store.complete() == store.problems == store.conflicts() == ()
    assert not (tmp_path / "labels").exists()


def test_labels_come_back_after_a_restart(tmp_path: Path) -> None:
    store = LabelStore(tmp_path, by="anna")
    store.define_class("roof", "#123456")
    store.add([place(1), place(2)], "roof")
    store.add([place(2, None)], "road", -1)
    store.declare_complete([place(9)])
    again = LabelStore(tmp_path)
    assert again.labels() == store.labels() and len(again.labels()) == 3
    assert again.classes == store.classes and again.complete() == store.complete()
    assert {label.by for label in again.labels()} == {"anna"}
    assert again.labels("road")[0].place.crs is None


def test_coordinates_survive_the_disk_exactly(tmp_path: Path) -> None:
    odd = Place("r", Polygon([(1 / 3, 0.1 + 0.2), (1e-300, 1e17 / 3), (2 / 7, 5e-324)]), None, "2024-05-01")
    LabelStore(tmp_path).add([odd], "x")
    back = LabelStore(tmp_path).labels()[0].place
    assert shapely.to_wkb(back.geometry) == shapely.to_wkb(odd.geometry) and back.date == "2024-05-01"


def test_labelling_sets_and_never_toggles(tmp_path: Path) -> None:
    store = LabelStore(tmp_path)
    store.add([place(1)], "roof")
    store.add([place(1), place(2)], "roof")
    assert said(store) == {(1, "roof"): 1, (2, "roof"): 1}
    before = lines(tmp_path)
    assert "already" in store.add([place(2)], "roof")
    assert lines(tmp_path) == before
    store.add([place(1)], "roof", -1)
    store.add([place(2)], "roof", 0)
    assert said(store) == {(1, "roof"): -1}


def test_a_place_is_the_same_wherever_its_outline_starts(tmp_path: Path) -> None:
    store = LabelStore(tmp_path)
    corners = [(0, 0), (4, 0), (4, 4), (0, 4)]
    store.add([Place("r", Polygon(corners), UTM)], "roof")
    store.add([Place("r", Polygon(corners[2:] + corners[:2]), UTM)], "roof", -1)
    assert [label.value for label in store.labels()] == [-1]
    store.add([Place("r", Polygon(corners), None), Place("other", Polygon(corners), UTM)], "roof")
    assert len(store.labels()) == 3


def test_a_bulk_label_is_one_event_and_one_undo(tmp_path: Path) -> None:
    store = LabelStore(tmp_path)
    store.add([place(0)], "roof")
    count = len(lines(tmp_path))
    store.add_marks([Mark("roof", -1, tuple(map(place, range(500)))), Mark("road", 1, (place(7),))])
    assert len(lines(tmp_path)) == count + 2  # and the class "road"
    assert store.undo() == '500 places labelled not "roof", 1 place labelled "road"'
    assert said(store) == {(0, "roof"): 1}
    store.redo()
    assert len(store.labels()) == 501


def test_undo_is_in_words_and_ends_with_none(tmp_path: Path) -> None:
    store = LabelStore(tmp_path)
    store.add([place(1)], "roof")
    store.declare_complete([place(1), place(2)])
    assert store.undo() == "2 areas declared complete" and store.complete() == ()
    assert store.undo() == '1 place labelled "roof"' and store.labels() == ()
    assert store.undo() is None
    assert store.redo() == '1 place labelled "roof"'
    store.add([place(3)], "roof")
    assert store.redo() is None
    assert LabelStore(tmp_path).labels() == store.labels()


def test_undo_leaves_other_sessions_alone(tmp_path: Path) -> None:
    one, two = LabelStore(tmp_path), LabelStore(tmp_path)
    one.add([place(1)], "roof")
    two.reload()
    two.add([place(1)], "roof")  # not left out: the first session may undo
    assert one.undo() and one.undo() is None
    two.reload()
    assert said(two) == {(1, "roof"): 1} == said(LabelStore(tmp_path))


def test_classes_keep_their_numbers(tmp_path: Path) -> None:
    store = LabelStore(tmp_path)
    for name in ("roof", "road", "boat"):
        store.add([place(1)], name)
    store.undo()
    assert store.define_class("car").id == 4
    assert [known.name for known in store.classes] == ["roof", "road", "boat", "car"]
    assert len({known.colour for known in store.classes}) == 4
    recoloured = store.define_class("road", "#ABCDEF")
    assert (recoloured.id, recoloured.colour) == (2, "#abcdef")
    assert store.define_class("road") == recoloured
    assert LabelStore(tmp_path).classes == store.classes


def test_two_sessions_that_take_one_number_at_once_end_with_two(tmp_path: Path) -> None:
    one, two = LabelStore(tmp_path / "a"), LabelStore(tmp_path / "b")
    one.add([place(1)], "roof")
    two.add([place(2)], "road")
    assert one.classes[0].id == two.classes[0].id == 1
    for path in (tmp_path / "b").iterdir():
        path.rename(tmp_path / "a" / path.name)
    merged = LabelStore(tmp_path / "a")
    assert [(known.id, known.name) for known in merged.classes] == [(1, "roof"), (2, "road")]
    assert len(merged.labels()) == 2


def test_a_label_whose_class_line_is_lost_keeps_its_number(tmp_path: Path) -> None:
    store = LabelStore(tmp_path)
    store.define_class("first")
    store.define_class("second")
    store.add([place(1)], "second")
    path = next(tmp_path.glob("*.jsonl"))
    kept = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(kept[0] + b"x" + kept[1] + kept[2])
    again = LabelStore(tmp_path)
    assert [(known.id, known.name) for known in again.classes] == [(1, "first"), (2, "second")]
    assert "1 of 3 lines" in again.problems[0]


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "../../etc/passwd", "å 建物 🏠", "a'b\"c", "x" * 80])
def test_any_printable_class_name_is_plain_data(tmp_path: Path, name: str) -> None:
    store = LabelStore(tmp_path)
    store.add([place(1)], name)
    assert LabelStore(tmp_path).labels()[0].class_name == name
    assert len(list(tmp_path.rglob("*"))) == 1


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\0b", "\x1b[31m", "x" * 81, "\ud800", "a\u2028b"])
def test_control_characters_and_empty_names_are_refused(tmp_path: Path, name: str) -> None:
    store = LabelStore(tmp_path)
    with pytest.raises(LabelInvalid):
        store.define_class(name)
    with pytest.raises(LabelInvalid):
        store.add([place(1)], name)
    assert not list(tmp_path.iterdir())


def test_names_that_look_the_same_are_the_same(tmp_path: Path) -> None:
    store = LabelStore(tmp_path)
    assert store.define_class("cafe\u0301") == store.define_class(" caf\u00e9 ")


@pytest.mark.parametrize(
    ("geometry", "word"),
    [
        (Point(0, 0), "Point"),
        (LineString([(0, 0), (1, 1)]), "LineString"),
        (Polygon(), "Polygon"),
        (Polygon([(0, 0), (1, 1), (1, 0), (0, 1)]), "Self-intersection"),
        (Polygon([(0, 0), (float("inf"), 0), (1, 1)]), "no numbers"),
    ],
)
def test_what_is_no_area_is_refused(tmp_path: Path, geometry: shapely.Geometry, word: str) -> None:
    store = LabelStore(tmp_path)
    with pytest.raises(LabelInvalid, match=word):
        store.add([place(1), Place("r", geometry, UTM)], "roof")
    with pytest.raises(LabelInvalid, match=word):
        store.declare_complete([Place("r", geometry, UTM)])
    assert store.labels() == () and not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [2, -2, 0.5])
def test_other_values_are_refused(tmp_path: Path, value: int) -> None:
    with pytest.raises(LabelInvalid):
        LabelStore(tmp_path).add([place(1)], "roof", value)


def test_there_are_at_most_254_classes(tmp_path: Path) -> None:
    store = LabelStore(tmp_path)
    store.add_marks([Mark(f"class {number}", 1, (place(number),)) for number in range(254)])
    with pytest.raises(LabelInvalid, match="254"):
        store.add([place(1)], "one more")
    assert len(store.classes) == 254 == len(store.labels())


def test_what_answers_a_clock_that_is_ahead_comes_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    early = LabelStore(tmp_path)
    early.add([place(1)], "roof")
    path = next(tmp_path.glob("*.jsonl"))
    later = _rewritten(path, lambda value: value | {"when": "2999-01-01T00:00:00.000000Z", "session": "ahead"})
    path.with_name("ahead.jsonl").write_bytes(later)
    store = LabelStore(tmp_path)
    store.add([place(1)], "roof", -1)
    assert said(store) == {(1, "roof"): -1} == said(LabelStore(tmp_path))


def test_a_copied_log_counts_once(tmp_path: Path) -> None:
    store = LabelStore(tmp_path)
    store.add([place(1)], "roof")
    store.undo()
    path = next(tmp_path.glob("*.jsonl"))
    (tmp_path / "copy of it.jsonl").write_bytes(path.read_bytes())
    again = LabelStore(tmp_path)
    assert again.labels() == () and again.problems == ()


def test_conflicts_are_listed_with_the_one_that_holds_last(tmp_path: Path) -> None:
    anna, ben = LabelStore(tmp_path, by="anna"), LabelStore(tmp_path, by="ben")
    anna.add([place(1), place(2)], "roof")
    ben.add([place(2), place(3)], "roof", -1)
    anna.reload()
    (conflict,) = anna.conflicts()
    assert conflict.place == place(2) and conflict.class_name == "roof"
    assert [(label.by, label.value) for label in conflict.labels] == [("anna", 1), ("ben", -1)]
    assert said(anna)[2, "roof"] == -1
    ben.undo()
    anna.reload()
    assert anna.conflicts() == () and said(anna)[2, "roof"] == 1


def test_a_change_of_mind_tomorrow_is_no_conflict(tmp_path: Path) -> None:
    LabelStore(tmp_path, by="anna").add([place(1)], "roof")
    later = LabelStore(tmp_path, by="anna")
    later.add([place(1)], "roof", -1)
    assert later.conflicts() == ()


def test_a_second_window_of_the_same_person_can_conflict(tmp_path: Path) -> None:
    one, two = LabelStore(tmp_path, by="anna"), LabelStore(tmp_path, by="anna")
    one.add([place(1)], "roof")
    two.add([place(1)], "roof", -1)
    one.add([place(2)], "roof")
    two.reload()
    assert len(two.conflicts()) == 1


def test_threads_lose_nothing(tmp_path: Path) -> None:
    store = LabelStore(tmp_path)

    def label(first: int) -> None:
        for number in range(first, first + 25):
            store.add([place(number)], f"class {number % 3}")
            store.reload()
            store.labels()

    threads = [threading.Thread(target=label, args=(25 * number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.labels()) == 150 == len(LabelStore(tmp_path).labels())
    assert LabelStore(tmp_path).problems == () and len(store.classes) == 3


def test_frame_brings_labels_to_one_crs_and_counts_those_without(tmp_path: Path) -> None:
    store = LabelStore(tmp_path)
    store.add(
        [Place("r", box(500000, 6200000, 500100, 6200100), UTM), Place("q", box(9, 55, 9.1, 55.1), "EPSG:4326")], "a"
    )
    store.add([place(1, None)], "b", -1)
    frame = store.frame()
    assert list(frame["raster"]) == ["r", "q"] and frame.crs == "EPSG:4326" and frame.attrs["left_out"] == 1
    assert frame.geometry.iloc[0].bounds[0] == pytest.approx(9.0, abs=1e-6)
    assert list(frame.columns) == ["id", "class", "value", "raster", "date", "when", "by", "geometry"]
    assert len(LabelStore(tmp_path / "none").frame()) == 0


def test_one_label_more_takes_milliseconds_in_a_large_store(tmp_path: Path) -> None:
    store = LabelStore(tmp_path)
    store.add(map(place, range(20_000)), "roof")
    started = time.perf_counter()
    for number in range(20):
        store.add([place(-1 - number)], "roof")
    assert (time.perf_counter() - started) / 20 < 0.05
    started = time.perf_counter()
    assert len(LabelStore(tmp_path).labels()) == 20_020
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("part", [0.5, 1.0])
def test_an_interrupted_write_spoils_nothing_that_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: float
) -> None:
    store = LabelStore(tmp_path)
    store.add([place(1)], "roof")
    path = next(tmp_path.glob("*.jsonl"))

    def interrupted(where: Path, data: bytes) -> None:
        with path.open("ab") as file:
            file.write(data[: int(part * len(data))])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("workbench.labels.store.append_durably", interrupted)
        store.add([place(2)], "roof")
    assert said(store) == {(1, "roof"): 1}
    store.add([place(3)], "roof")
    again = LabelStore(tmp_path)
    assert said(store) == {(1, "roof"): 1, (3, "roof"): 1}
    # A line that reached the disk whole counts, though nobody was told.
    assert said(again) == said(store) | ({(2, "roof"): 1} if part == 1 else {})
    assert len(again.problems) == (part < 1)


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("")
    with pytest.raises(LabelInvalid, match="labels"):
        LabelStore(tmp_path / "labels")
    with pytest.raises(LabelInvalid, match="still"):
        LabelStore(tmp_path / "labels" / "still")


def _rewritten(path: Path, change: Callable[[dict[str, object]], dict[str, object]]) -> bytes:
    """The lines of a log after a change, with checksums that fit."""
    result = b""
    for line in path.read_bytes().splitlines():
        value = json.loads(line)
        del value["sum"]
        body = json.dumps(change(value)).encode()[:-1]
        result += body + b',"sum":"%08x"}\n' % zlib.crc32(body)
    return result
