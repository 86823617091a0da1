"""Whole files or none, appends that last or leave no trace, names that stay inside."""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import shutil
import signal
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import DiskFull, FileExists, PathRefused
from workbench.files import (
    append_durably,
    atomic_write,
    existing_parent,
    fingerprint,
    format_bytes,
    inside,
    require_space,
    sha256,
    slug,
    write_bytes,
    write_json,
)

spawn = multiprocessing.get_context("spawn")


def test_a_written_file_is_whole(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a.bin", b"one")
    write_bytes(tmp_path / "a.bin", b"two")
    write_json(tmp_path / "a.json", {"å": [1, None]})
    assert (tmp_path / "a.bin").read_bytes() == b"two"
    assert (tmp_path / "a.json").read_text() == '{\n "å": [\n  1,\n  null\n ]\n}\n'
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bin", "a.json"]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, OSError])
def test_P38_a_failure_leaves_the_old_file_and_nothing_new(tmp_path: Path, failure: type[BaseException]) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(b"old")
    with pytest.raises(failure), atomic_write(path) as aside:
        assert aside.suffix == ".tif" and aside.parent == tmp_path
        aside.write_bytes(b"half")
        raise failure("stop")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_P38_a_failing_step_leaves_the_old_file_and_nothing_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fails(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os if step == "fsync" else Path, step, fails)
    with pytest.raises(DiskFull, match=r"a\.bin was not written: it needs more than 3 bytes and .* are free"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_P39_nothing_is_overwritten_unless_told(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"one", overwrite=False)
    with pytest.raises(FileExists, match="overwrite=True"):
        write_bytes(tmp_path / "a", b"two", overwrite=False)
    assert (tmp_path / "a").read_bytes() == b"one"


def test_a_link_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"mine")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "target").read_bytes() == b"mine" and (tmp_path / "link").read_bytes() == b"new"


def test_numbers_that_are_none_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []


def _fill(folder: Path, pipe: Connection) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    append_durably(folder / "log", b"first\n")
    write_bytes(folder / "whole", b"old")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    words = []
    for write in (append_durably, write_bytes):
        try:
            write(folder / ("log" if write is append_durably else "whole"), b"x" * 5000)
        except DiskFull as error:
            words.append(str(error))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    append_durably(folder / "log", b"second\n")
    pipe.send(words)


def test_P38_a_full_disk_is_told_and_leaves_no_half(tmp_path: Path) -> None:
    receiver, sender = spawn.Pipe(duplex=False)
    child = spawn.Process(target=_fill, args=(tmp_path, sender))
    child.start()
    words = receiver.recv()
    child.join()
    assert len(words) == 2 and all("was not written" in text and "are free" in text for text in words)
    assert (tmp_path / "log").read_bytes() == b"first\nsecond\n"
    assert (tmp_path / "whole").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 2


def test_a_failed_append_is_rolled_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    append_durably(path, b"first\n")

    def fails(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        with pytest.raises(OSError, match="Input/output"):
            append_durably(path, b"lost\n")
    append_durably(path, b"second\n")
    assert path.read_bytes() == b"first\nsecond\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_device_without_room_is_a_full_disk() -> None:
    with pytest.raises(DiskFull):
        append_durably("/dev/full", b"x")


def test_room_is_asked_for_before_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_space(tmp_path / "not" / "yet", 1, "It")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(DiskFull, match=r"The archive needs about 2 kB in .* and 10 bytes are free"):
        require_space(tmp_path / "not" / "yet", 2000, "The archive")
    assert existing_parent(tmp_path / "not" / "yet") == tmp_path


@pytest.mark.parametrize(
    "name",
    ["", "../a", "a/../../b", "/etc/passwd", "a\0b", "x" * 300, "y/" * 600 + "z", "linked/a", "link"],
)
def test_P39_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "linked").symlink_to(tmp_path)
    (folder / "link").symlink_to(tmp_path / "outside.txt")
    with pytest.raises(PathRefused):
        inside(folder, name)


@given(st.text(min_size=1, max_size=80))
def test_P39_every_other_name_stays_inside(name: str) -> None:
    try:
        path = inside("/some/folder", name)
    except (PathRefused, UnicodeEncodeError):
        return
    assert path.resolve().is_relative_to("/some/folder")


def test_names_inside_are_let_through(tmp_path: Path) -> None:
    for name in ("a.tif", "sub/a.tif", "sub/../a.tif", "…ø", ".hidden"):
        assert inside(tmp_path, name).resolve().is_relative_to(tmp_path)


@given(st.text(max_size=100))
def test_a_slug_is_a_safe_name(text: str) -> None:
    found = slug(text)
    assert 0 < len(found) <= 60 and all(letter.isascii() and (letter.isalnum() or letter in "-_") for letter in found)


def test_a_fingerprint_survives_a_copy_and_sees_most_changes(tmp_path: Path) -> None:
    data = bytearray(os.urandom(3_000_000))
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(data)
    two.write_bytes(data)
    assert fingerprint(one) == fingerprint(two) and sha256(one) == sha256(two)
    for place in (0, len(data) - 1):
        changed = bytearray(data)
        changed[place] ^= 1
        two.write_bytes(changed)
        assert fingerprint(one) != fingerprint(two)
    two.write_bytes(data + b"\0")
    assert fingerprint(one) != fingerprint(two)
    changed = bytearray(data)
    changed[20_000] ^= 1  # between two pieces
    two.write_bytes(changed)
    assert fingerprint(one) == fingerprint(two) and sha256(one) != sha256(two)


def test_bytes_are_written_for_people() -> None:
    assert [format_bytes(count) for count in (0, 999, 1000, 12_345, 3.4e8, 1.2e9, 5e12)] == [
        "0 bytes",
        "999 bytes",
        "1 kB",
        "12.3 kB",
        "340 MB",
        "1.2 GB",
        "5 TB",
    ]


def test_a_file_that_came_while_another_was_written_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "draw"
    with pytest.raises(FileExists, match="exists already"), atomic_write(path, overwrite=False) as aside:
        aside.write_text("mine")
        path.write_text("theirs")
    assert path.read_text() == "theirs" and list(tmp_path.iterdir()) == [path]
