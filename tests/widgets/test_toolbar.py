"""The toolbar: what it shows of the session, what its controls do, and what it says when they fail."""

from __future__ import annotations

import functools
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from widgets.conftest import say

from workbench.descriptors.archive import Archive
from workbench.jobs import Progress
from workbench.session import STRETCHES, TOOLS, Session
from workbench.widgets.toolbar import TOOL_WORDS, UPLOAD_BYTES, Toolbar
from workbench.widgets.view import HERE

Sent = list[tuple[dict[str, Any], list[bytes]]]


@pytest.fixture
def toolbar(session: Session, sent: Sent) -> Iterator[Toolbar]:
    made = Toolbar(session)
    yield made
    made.close()


def named(toolbar: Toolbar, name: str) -> dict[str, Any]:
    return next(each for each in toolbar.classes if each["name"] == name)


def shown(toolbar: Toolbar) -> dict[str, Any]:
    """All that a browser sees of a toolbar, as JSON would carry it, but the time of day."""
    names = [name for name in toolbar.keys if not name.startswith("_") and name not in ("layout", "paths")]
    return json.loads(json.dumps({name: getattr(toolbar, name) for name in names if name not in ("tooltip", "comm")}))


def test_it_offers_every_tool_with_words_and_shows_the_one_in_use(session: Session, toolbar: Toolbar) -> None:
    assert tuple(TOOL_WORDS) == TOOLS and [each["id"] for each in toolbar.tools] == list(TOOLS)
    assert all(each["name"] and each["title"] for each in toolbar.tools) and toolbar.tool == "search"
    for tool in TOOLS:
        say(toolbar, do="tool", name=tool)
        assert session.tool == toolbar.tool == tool


def test_classes_show_numbers_colours_and_counts_and_the_chosen_one(session: Session, toolbar: Toolbar) -> None:
    session.offer_classes(["roof", "road"])
    say(toolbar, do="class", name="road")
    session.label([1, 2, 3])
    session.label([4], value=-1)
    assert [each["name"] for each in toolbar.classes] == [each.name for each in session.class_choices]
    assert named(toolbar, "road")["counts"] == [3, 1] and named(toolbar, "roof")["counts"] == [0, 0]
    assert toolbar.class_name == "road"
    say(toolbar, do="add class", name="tree")
    assert toolbar.class_name == session.class_name == "tree" and named(toolbar, "tree")["id"] == 3
    say(toolbar, do="colour", name="tree", colour="#123456")
    assert named(toolbar, "tree")["colour"] == "#123456" == session.classes[2].colour


def test_undo_redo_and_refine_can_be_pressed_when_they_do_something(session: Session, toolbar: Toolbar) -> None:
    assert toolbar.refine and not toolbar.undo and not toolbar.redo
    session.search(tile=3)
    assert not toolbar.refine
    session.label([3], "roof")
    assert toolbar.undo
    say(toolbar, do="undo")
    assert not toolbar.undo and toolbar.redo and not session.store.labels()
    say(toolbar, do="redo")
    assert toolbar.undo and not toolbar.redo and len(session.store.labels()) == 1
    say(toolbar, do="refine")
    assert session.query and "for roof" in session.status and not session.alarm


def test_layers_can_be_hidden_and_faded_and_the_imagery_stretched(session: Session, toolbar: Toolbar) -> None:
    available = [info.number for info in session.layers.infos() if info.available]
    assert [layer["number"] for layer in toolbar.layers] == available
    first = available[0]
    say(toolbar, do="layer", number=first, shown=False)
    say(toolbar, do="opacity", number=first, share=0.4)
    assert toolbar.layers[0]["shown"] is False and toolbar.layers[0]["opacity"] == 0.4
    say(toolbar, do="stretch", name=STRETCHES[1])
    assert toolbar.stretch == session.stretch == STRETCHES[1] and toolbar.stretches == list(STRETCHES)
    session.show_place(1, 2, 3)
    say(toolbar, do="whole imagery")
    assert session.map_view == {}


def test_a_menu_hears_that_its_verb_was_done_or_why_not(session: Session, toolbar: Toolbar, sent: Sent) -> None:
    say(toolbar, do="go to", text="nowhere", ask="a.1")
    assert sent[-1][0]["ask"] == "a.1" and "is no place" in sent[-1][0]["failed"]
    assert session.alarm and "is no place" in session.status
    centre = session.archive.footprint(7, "EPSG:4326").centroid
    say(toolbar, do="go to", text=f"{centre.y}, {centre.x}", ask="a.2")
    assert sent[-1][0] == {"ask": "a.2"} and session.map_view["lat"] == pytest.approx(centre.y)


def test_a_path_of_an_image_is_searched_for(session: Session, toolbar: Toolbar, sent: Sent, tmp_path: Path) -> None:
    Image.fromarray(session.archive.pixels(9).transpose(1, 2, 0)).save(tmp_path / "chip.png")
    say(toolbar, do="search by image", path=str(tmp_path / "chip.png"), ask="a.1")
    assert sent[-1][0] == {"ask": "a.1"} and session.hits[0].number == 9
    for number, bad in enumerate((tmp_path / "none.png", tmp_path, "\0", "https://example.org/a.png")):
        say(toolbar, do="search by image", path=str(bad), ask=f"b.{number}")
        assert sent[-1][0]["failed"] and session.alarm, bad
    assert session.hits[0].number == 9


def pieces(data: bytes, size: int = 1000) -> Iterator[tuple[int, bytes]]:
    return ((start, data[start : start + size]) for start in range(0, len(data), size))


def test_a_chip_that_comes_in_pieces_is_searched_for_once_it_is_whole(
    session: Session, toolbar: Toolbar, sent: Sent
) -> None:
    file = io.BytesIO()
    Image.fromarray(session.archive.pixels(9).transpose(1, 2, 0)).save(file, "png")
    data = file.getvalue()
    for start, piece in pieces(data):
        assert session.query == ""
        message = {"do": "upload", "ask": "a.1", "name": "chip.png", "size": len(data), "start": start}
        toolbar._take(None, message, [memoryview(piece)])
    assert session.hits[0].number == 9 and session.query == "the image chip.png" and sent == [({"ask": "a.1"}, [])]


@pytest.mark.parametrize(
    ("size", "start", "data"),
    [(UPLOAD_BYTES + 1, 0, b"x"), (5, 0, b"too long"), (50, 10, b"a piece is missing"), (4, 0, b"junk"), (-1, 0, b"")],
)
def test_a_chip_that_is_too_large_not_whole_or_no_image_is_refused_in_words(
    session: Session, toolbar: Toolbar, sent: Sent, size: int, start: int, data: bytes
) -> None:
    message = {"do": "upload", "ask": "a.1", "name": "<b>chip", "size": size, "start": start}
    toolbar._take(None, message, [memoryview(data)])
    assert sent[-1][0]["ask"] == "a.1" and sent[-1][0]["failed"]
    assert session.alarm and not len(session.hits) and not toolbar._upload[1]


def test_exports_go_to_suggested_paths_and_never_over_a_file(
    session: Session, toolbar: Toolbar, sent: Sent, tmp_path: Path
) -> None:
    assert toolbar.ready == []
    session.label([1, 2], "roof")
    assert toolbar.ready == ["labels"]
    say(toolbar, do="suggest paths")
    path = toolbar.paths["labels"]
    assert Path(path).parent == tmp_path / "exports"
    say(toolbar, do="export", what="labels", path=path, chip=64, ask="a.1")
    assert sent[-1][0] == {"ask": "a.1"} and Path(path).is_file() and path in session.status
    say(toolbar, do="export", what="labels", path=path, chip=64, ask="a.2")
    assert "exists already" in sent[-1][0]["failed"]
    say(toolbar, do="export", what="polygons", path=toolbar.paths["polygons"], chip=64, ask="a.3")
    assert "no polygons yet" in sent[-1][0]["failed"]
    say(toolbar, do="export", what="chips", path=toolbar.paths["chips"], chip=64, ask="a.4")
    assert sent[-1][0] == {"ask": "a.4"}
    assert session.job is not None and session.job.wait(60)


def test_training_begins_in_the_background_and_the_running_job_is_named(
    session: Session, toolbar: Toolbar, sent: Sent
) -> None:
    say(toolbar, do="train", chip=64, minutes=1, epochs=2, map_after=False, ask="a.1")
    assert sent[-1][0] == {"ask": "a.1"}
    assert session.job is not None and session.job.wait(60)
    assert session.job.name == "training" and session.alarm, "there was nothing to train from"
    say(toolbar, do="train", chip=4, minutes=1, epochs=2, map_after=False, ask="a.2")
    assert "make no training" in sent[-1][0]["failed"]
    say(toolbar, do="resume training", batch=4, map_after=False, ask="a.4")
    assert "was interrupted" in sent[-1][0]["failed"] and toolbar.resumable == {}
    say(toolbar, do="map all imagery", ask="a.3")
    assert "no U-Net yet" in sent[-1][0]["failed"]


def test_a_second_toolbar_shows_the_same(session: Session, toolbar: Toolbar) -> None:
    session.label([1, 2], "roof")
    session.label([3], "<b>road</b>", value=-1)
    session.search(tile=4)
    session.use_tool("negative")
    session.undo()
    session.set_opacity(session.layers.infos()[0].number, 0.3)
    session.start("counting", lambda progress: None).wait(10)
    again = Toolbar(session)
    assert shown(again) == shown(toolbar)
    again.close()


def test_P15_every_verb_that_fails_says_so_in_the_status_and_to_its_menu(
    session: Session, toolbar: Toolbar, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(verb: Any) -> Any:
        @functools.wraps(verb)
        def raises(*given: object, **named: object) -> None:
            raise ZeroDivisionError("broken on purpose")

        return raises

    verbs = ["use_tool", "choose_class", "add_class", "colour_class", "refine", "undo", "redo", "show_layer"]
    verbs += ["set_opacity", "show_stretch", "show_whole", "new_paths", "go_to", "search", "search_upload"]
    verbs += [
        "show_queue",
        "go_on",
        "write_labels",
        "write_chips",
        "write_polygons",
        "train_here",
        "map_here",
        "resume_here",
        "choose_scorer",
    ]
    for verb in verbs:
        monkeypatch.setattr(type(session), verb, broken(getattr(type(session), verb)))
    fields: dict[str, dict[str, object]] = {
        "tool": {"name": "search"},
        "class": {"name": "a"},
        "add class": {"name": "a"},
        "colour": {"name": "a", "colour": "#000000"},
        "queue": {"name": "similar"},
        "method": {"method": "linear", "small_tiles": False},
        "layer": {"number": 0, "shown": True},
        "opacity": {"number": 0, "share": 1},
        "stretch": {"name": "x"},
        "go to": {"text": "1 2", "ask": "x"},
        "search by image": {"path": "a", "ask": "x"},
        "upload": {"ask": "x", "name": "a", "size": 1, "start": 0, "data": b"x"},
        "train": {"chip": 64, "minutes": 1, "epochs": 1, "map_after": True, "ask": "x"},
        "resume training": {"batch": 8, "map_after": True, "ask": "x"},
        "map all imagery": {"ask": "x"},
    }
    asked = [(name, fields.get(name, {})) for name in toolbar.actions() if name != "export"]
    asked += [
        ("export", {"what": what, "path": "p", "chip": 64, "ask": "x"}) for what in ("labels", "chips", "polygons")
    ]
    for name, given in asked:
        session.set_state(status="", alarm=False)
        sent.clear()
        data = [memoryview(given.pop("data"))] if "data" in given else []  # type: ignore[arg-type]
        toolbar._take(None, {"do": name, **given}, data)
        assert session.alarm and session.status.startswith(f"{name}: ZeroDivisionError"), name
        assert "broken on purpose" in session.last_error
        if "ask" in given:
            assert sent == [({"ask": "x", "failed": "That failed; the line below says more."}, [])], name


@pytest.mark.parametrize(
    "message",
    [
        {"do": "tool"},
        {"do": "tool", "name": 3},
        {"do": "tool", "name": "search", "more": 1},
        {"do": "opacity", "number": "0", "share": 1},
        {"do": "opacity", "number": True, "share": 1},
        {"do": "upload", "ask": "a", "name": "b", "size": 1, "start": 0, "data": "no bytes"},
        {"do": "export", "what": "everything", "path": "p", "chip": 64, "ask": "x"},
        {"do": "close"},
        "tool",
        None,
    ],
)
def test_a_message_that_is_no_verb_of_the_toolbar_does_nothing(
    session: Session, toolbar: Toolbar, message: object
) -> None:
    before = shown(toolbar)
    toolbar._take(None, message, [])
    assert shown(toolbar) == before and not session.alarm


def test_hostile_class_names_stay_text(session: Session, toolbar: Toolbar) -> None:
    for name in ("<img src=x onerror=alert(1)>", "W" * 80, "‮evil", "a & b"):
        say(toolbar, do="add class", name=name)
        assert toolbar.class_name == name
    for script in ("toolbar.js", "classes.js", "menus.js", "panels.js", "icons.js", "status.js", "curve.js"):
        text = (HERE / script).read_text(encoding="utf-8")
        assert not any(
            word in text for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(")
        )


def test_labelling_many_classes_sends_little(session: Session, toolbar: Toolbar) -> None:
    for number in range(60):
        session.store.define_class(f"class {number}")
    changed: list[str] = []
    toolbar.observe(lambda change: changed.append(change["name"]))
    session.label([1], "class 3")
    size = len(json.dumps({name: getattr(toolbar, name) for name in set(changed)}))
    assert set(changed) <= {"classes", "class_name", "undo", "refine", "ready", "layers"} and size < 10_000


def test_closing_lets_go_of_the_session(session: Session, archive: Archive) -> None:
    before = {name: len(found) for name, found in session._trait_notifiers.items()}
    made = Toolbar(session)
    made.close()
    after = {name: sum(map(len, found.values())) for name, found in session._trait_notifiers.items()}
    assert not any(after.values()), (before, after)


def test_progress_of_a_job_does_not_resend_the_toolbar(session: Session, toolbar: Toolbar) -> None:
    go = threading.Event()
    changed: list[tuple[str, object]] = []
    toolbar.observe(lambda change: changed.append((change["name"], change["new"])))

    def work(progress: Progress) -> None:
        go.wait(10)
        progress.begin("counting", 50, "sheep")
        for _ in range(50):
            progress.advance()

    job = session.start("counting", work)
    go.set()
    assert job.wait(10) and changed == [("job", "counting"), ("job", "")]


def test_a_job_that_ends_at_once_and_says_nothing_is_not_shown_as_running(session: Session, toolbar: Toolbar) -> None:
    for _ in range(50):
        assert session.start("nothing", lambda progress: None).wait(10)
        assert toolbar.job == "" == session.running
