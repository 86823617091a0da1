"""Faults under which no acknowledged label may be lost: kills, cut and damaged logs, many writers, full disks."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from shapely.geometry import box

from workbench.errors import LabelInvalid, LabelNotSaved
from workbench.labels.store import LabelStore, Place

spawn = multiprocessing.get_context("spawn")


def place(number: int) -> Place:
    return Place("raster", box(number, 0, number + 1, 1), "EPSG:32632")


def numbers(store: LabelStore) -> list[int]:
    return [int(label.place.geometry.bounds[0]) for label in store.labels()]


def _label_and_acknowledge(folder: Path, start: int, pipe: Connection) -> None:
    store = LabelStore(folder)
    for number in range(start, start + 100_000):
        store.add([place(number)], "roof")
        pipe.send_bytes(str(number).encode())


@pytest.mark.slow
def test_P08_no_acknowledged_label_is_lost(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    runs = request.config.getoption("--fault-runs", 15)
    seed = int(time.time())
    chance = random.Random(seed)
    acknowledged: list[int] = []
    for run in range(runs):
        receiver, sender = spawn.Pipe(duplex=False)
        child = spawn.Process(target=_label_and_acknowledge, args=(tmp_path, run * 100_000, sender), daemon=True)
        child.start()
        sender.close()
        acknowledged.append(int(receiver.recv_bytes()))
        time.sleep(chance.uniform(0, 0.15))
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        try:
            while True:
                acknowledged.append(int(receiver.recv_bytes()))
        except (EOFError, OSError):
            pass
    assert len(acknowledged) > 2 * runs
    store = LabelStore(tmp_path)
    assert set(acknowledged) <= set(numbers(store)), f"seed {seed}"
    assert len(numbers(store)) <= len(acknowledged) + runs
    store.add([place(-1)], "roof")
    assert -1 in numbers(LabelStore(tmp_path))


def _small_log(folder: Path) -> Path:
    store = LabelStore(folder, by="åse")
    store.add([place(1), place(2)], "tag <b>")
    store.add([place(2)], "tag <b>", -1)
    store.undo()
    store.declare_complete([place(3)])
    return next(folder.glob("*.jsonl"))


def test_P09_a_log_cut_at_any_byte_gives_every_complete_line(tmp_path: Path) -> None:
    path = _small_log(tmp_path)
    whole = path.read_bytes()
    ends = [place for place, byte in enumerate(whole) if byte == ord("\n")]
    expected = {}
    for count in range(len(ends) + 1):
        path.write_bytes(whole[: ends[count - 1] + 1] if count else b"")
        store = LabelStore(tmp_path)
        assert store.problems == ()
        expected[count] = store.labels(), store.classes, store.complete()
    assert len({str(state) for state in expected.values()}) == len(expected) - 1  # the undo leads back
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        store = LabelStore(tmp_path)
        # A line without its line end is complete all the same.
        complete = sum(end <= cut for end in ends)
        assert (store.labels(), store.classes, store.complete()) == expected[complete], cut
        is_tail = cut > 0 and cut not in ends and cut - 1 not in ends
        assert len(store.problems) == is_tail and all("cut off" in problem for problem in store.problems)


def test_P09_a_cut_log_accepts_new_labels(tmp_path: Path) -> None:
    path = _small_log(tmp_path)
    whole = path.read_bytes()
    for cut in range(0, len(whole), 97):
        path.write_bytes(whole[:cut])
        store = LabelStore(tmp_path)
        store.add([place(50)], "new")
        again = LabelStore(tmp_path)
        assert 50 in numbers(again) and again.labels() == store.labels() and path.read_bytes() == whole[:cut]
        store._path.unlink()


@pytest.mark.parametrize(
    ("damage", "problems"),
    [
        (lambda data: b"\xef\xbb\xbf" + data, 0),
        (lambda data: data.replace(b"\n", b"\r\n"), 0),
        (lambda data: data.replace(b"\n", b"\n\n \n"), 0),
        (lambda data: data.rstrip(b"\n"), 0),
        (lambda data: b"junk\n" + data + b"\x00\xff\xfe\n" + b"{" * 100_000 + b"\n", 1),
        (lambda data: data + b'{"v":1}\n[]\nnull\n"a"\n{"v":1,"sum":"00000000"}\n', 1),
        (lambda data: data + b"half a li", 1),
        (lambda data: b"\x7fELF" + bytes(range(256)) * 40 + b"\n" + data, 1),
    ],
)
def test_P09_junk_around_good_lines_costs_nothing(tmp_path: Path, damage: object, problems: int) -> None:
    path = _small_log(tmp_path)
    before = LabelStore(tmp_path)
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    store = LabelStore(tmp_path)
    assert store.labels() == before.labels() and store.complete() == before.complete()
    assert len(store.problems) == problems and all(path.name in problem for problem in store.problems)


def test_P09_an_empty_file_and_other_files_are_no_problem(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "notes.txt").write_text("not a log")
    store = LabelStore(tmp_path)
    assert store.labels() == store.problems == ()


def test_P09_a_changed_byte_never_makes_another_label(tmp_path: Path) -> None:
    path = _small_log(tmp_path)
    whole = path.read_bytes()
    good = {(label.place.key, label.class_name, label.value) for label in LabelStore(tmp_path).labels()}
    good |= {(place(2).key, "tag <b>", -1)}
    chance = random.Random(0)
    for _ in range(400):
        where = chance.randrange(len(whole))
        changed = bytearray(whole)
        changed[where] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        store = LabelStore(tmp_path)
        assert {(label.place.key, label.class_name, label.value) for label in store.labels()} <= good
        assert store.problems or changed[where : where + 1].isspace() or whole[where : where + 1].isspace()


def _label_many(folder: Path, by: str, value: int, count: int, barrier: object) -> None:
    store = LabelStore(folder, by=by)
    barrier.wait()  # type: ignore[attr-defined]
    for number in range(count):
        store.add([place(number)], f"class {number % 3}", value)


@pytest.mark.slow
def test_P11_many_sessions_write_at_once(tmp_path: Path) -> None:
    barrier = spawn.Barrier(4)
    values = [1, -1, 1, 1]
    children = [
        spawn.Process(target=_label_many, args=(tmp_path, f"student {number}", value, 100, barrier))
        for number, value in enumerate(values)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
        assert child.exitcode == 0
    one, two = LabelStore(tmp_path), LabelStore(tmp_path)
    assert one.problems == () and one.labels() == two.labels() and one.classes == two.classes
    assert sorted(numbers(one)) == list(range(100))
    assert sorted(known.name for known in one.classes) == ["class 0", "class 1", "class 2"]
    conflicts = one.conflicts()
    assert len(conflicts) == 100 and conflicts == two.conflicts()
    assert {len(conflict.labels) for conflict in conflicts} == {4}
    # The last word of each conflict is the one that holds.
    held = {(label.place.key, label.class_name): label for label in one.labels()}
    assert all(conflict.labels[-1] == held[conflict.place.key, conflict.class_name] for conflict in conflicts)
    # The order in which files are found decides nothing.
    for number, path in enumerate(sorted(tmp_path.glob("*.jsonl"), reverse=True)):
        path.rename(tmp_path / f"{number}.jsonl")
    assert LabelStore(tmp_path).labels() == one.labels()


def test_P11_a_session_sees_what_others_wrote_when_it_reloads(tmp_path: Path) -> None:
    one, two = LabelStore(tmp_path), LabelStore(tmp_path)
    one.add([place(1)], "roof")
    assert two.labels() == ()
    two.reload()
    assert two.labels() == one.labels()
    two.add([place(2)], "road")
    one.reload()
    assert one.labels() == two.labels() and one.classes == two.classes and [c.id for c in one.classes] == [1, 2]


@pytest.mark.parametrize("line", [b'{"v":2,"kind":"label","something":"new"}\n', b'{"v":99}'])
def test_P13_a_newer_log_is_refused_by_name(tmp_path: Path, line: bytes) -> None:
    _small_log(tmp_path)
    store = LabelStore(tmp_path)
    before = store.labels()
    newer = tmp_path / "newer.jsonl"
    newer.write_bytes(line)
    with pytest.raises(LabelInvalid, match=r"newer\.jsonl was written by a newer workbench"):
        LabelStore(tmp_path)
    with pytest.raises(LabelInvalid, match=r"newer\.jsonl"):
        store.reload()
    with pytest.raises(LabelInvalid, match=r"newer\.jsonl"):
        store.add([place(9)], "a class that is new")
    assert store.labels() == before and newer.read_bytes() == line
    newer.unlink()
    store.add([place(9)], "a class that is new")
    assert len(LabelStore(tmp_path).labels()) == len(before) + 1


def _label_until_full(folder: Path, pipe: Connection) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    store = LabelStore(folder)
    store.add([place(0)], "roof")
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, resource.RLIM_INFINITY))
    saved = [0]
    words = ""
    while not words:
        try:
            store.add([place(len(saved))], "roof")
            saved.append(len(saved))
        except LabelNotSaved as error:
            words = str(error)
    unchanged = numbers(store) == saved and numbers(LabelStore(folder)) == saved
    undo_refused = False
    try:
        store.undo()
    except LabelNotSaved:
        undo_refused = numbers(store) == saved
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    store.add([place(1000)], "roof")
    pipe.send((saved, words, unchanged, undo_refused, numbers(store)))


def test_P14_on_a_full_disk_the_label_is_not_saved_and_later_ones_are(tmp_path: Path) -> None:
    receiver, sender = spawn.Pipe(duplex=False)
    child = spawn.Process(target=_label_until_full, args=(tmp_path, sender))
    child.start()
    saved, words, unchanged, undo_refused, after = receiver.recv()
    child.join()
    assert len(saved) > 3 and unchanged and undo_refused
    assert "Not saved" in words and "room" in words
    store = LabelStore(tmp_path)
    assert numbers(store) == after == [*saved, 1000] and store.problems == ()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_P14_a_device_without_room_is_a_label_not_saved(tmp_path: Path) -> None:
    store = LabelStore(tmp_path)
    store._path = Path("/dev/full")
    with pytest.raises(LabelNotSaved, match="Not saved"):
        store.add([place(1)], "roof")
    assert store.labels() == store.classes == () and store.undo() is None


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write to a read-only folder")
def test_P14_a_read_only_folder_can_be_read_but_saves_nothing(tmp_path: Path) -> None:
    _small_log(tmp_path)
    tmp_path.chmod(0o555)
    try:
        store = LabelStore(tmp_path)
        before = store.labels()
        with pytest.raises(LabelNotSaved, match="Not saved"):
            store.add([place(9)], "roof")
        assert store.labels() == before
    finally:
        tmp_path.chmod(0o755)
    store.add([place(9)], "roof")
    assert 9 in numbers(LabelStore(tmp_path))


def test_P39_a_link_in_the_way_of_the_log_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious.txt"
    target.write_text("mine")
    store = LabelStore(tmp_path / "labels")
    (tmp_path / "labels").mkdir()
    store._path.symlink_to(target)
    with pytest.raises(LabelNotSaved):
        store.add([place(1)], "roof")
    assert target.read_text() == "mine" and store.labels() == ()
