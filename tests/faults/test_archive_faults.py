"""Builds killed at any moment: what was committed is kept, nothing half-written is seen, the end is the same."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
from small_archives import MeanColour, contents, rows_of, small_imagery

from workbench.descriptors import manifest as manifests
from workbench.descriptors.archive import open_archive
from workbench.descriptors.build import build_archive
from workbench.descriptors.parts import read_parts
from workbench.errors import ArchiveInvalid
from workbench.imagery.opening import open_imagery
from workbench.jobs import Progress

spawn = multiprocessing.get_context("spawn")


def _build(images: Path, folder: Path, ready: object = None, pause: float = 0.0) -> None:
    manifests.BLOCK, manifests.BLOCKS_PER_BATCH = 128, 1
    imagery = open_imagery(images)
    encoder = MeanColour()
    if ready is not None:
        ready.send_bytes(b"ready")  # type: ignore[attr-defined]
    slow = Progress(lambda _: time.sleep(pause))
    build_archive(imagery, folder, tile=64, encoder=encoder, progress=slow)


@pytest.mark.slow
def test_P01_kill_at_any_moment_loses_at_most_a_batch(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifests, "BLOCK", 128)
    monkeypatch.setattr(manifests, "BLOCKS_PER_BATCH", 1)
    small_imagery(tmp_path / "images")
    started = time.monotonic()
    _build(tmp_path / "images", tmp_path / "whole")
    takes = time.monotonic() - started
    expected = contents(tmp_path / "whole")
    whole = rows_of(open_archive(tmp_path / "whole", encoder=MeanColour()))
    seed = int(time.time())
    chance = random.Random(seed)
    for run in range(max(1, request.config.getoption("--fault-runs", 15) // 3)):
        folder = tmp_path / f"killed {run}"
        committed = 0
        for _ in range(3):  # several kills of one archive
            receiver, sender = spawn.Pipe(duplex=False)
            child = spawn.Process(target=_build, args=(tmp_path / "images", folder, sender), daemon=True)
            child.start()
            sender.close()
            receiver.recv_bytes()
            time.sleep(chance.uniform(0, takes))
            os.kill(child.pid or 0, signal.SIGKILL)
            child.join()
            merged = [each.batch.stem for part in read_parts(folder) for each in part.batches]
            batches = len({path.stem.removeprefix("batch-") for path in folder.glob("batch-*")} | set(merged))
            assert batches >= committed, f"seed {seed}"
            committed = batches
        try:
            part = open_archive(folder, encoder=MeanColour())
        except ArchiveInvalid as error:
            assert "holds no tiles" in str(error) or "no manifest" in str(error), f"seed {seed}"
        else:
            assert rows_of(part).items() <= whole.items()
        _build(tmp_path / "images", folder)
        found = contents(folder)
        other = {name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)}
        assert not other, f"seed {seed}"


class _Stop(BaseException):
    """Ends a build at one file operation, as a power cut would."""


@pytest.mark.parametrize("operation", ["replace", "fsync"])
def test_P01_a_stop_at_each_file_operation_leaves_an_archive_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    monkeypatch.setattr(manifests, "BLOCK", 256)
    monkeypatch.setattr(manifests, "BLOCKS_PER_BATCH", 4)
    imagery = small_imagery(tmp_path / "images", size=192)

    def build(folder: Path) -> None:
        build_archive(imagery, folder, tile=64, encoder=MeanColour(), progress=Progress())

    build(tmp_path / "whole")
    expected = contents(tmp_path / "whole")
    owner, name = (Path, "replace") if operation == "replace" else (os, "fsync")
    original = getattr(owner, name)
    for stop in range(100):
        calls = 0

        def counted(*args: object, stop: int = stop) -> object:
            nonlocal calls
            calls += 1
            if calls > stop:
                raise _Stop
            return original(*args)

        folder = tmp_path / f"stop {stop}"
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, counted)
            try:
                build(folder)
            except _Stop:
                pass
            else:
                break
        build(folder)
        assert contents(folder) == expected, stop
    assert stop > 8
