"""What `make demo` opens: the first notebook with everything it builds already there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workbench.demo import lab
from workbench.errors import WorkbenchError

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "01_find_things.ipynb"


def test_the_notebook_uses_the_scene_and_archive_that_are_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "\n".join("".join(cell["source"]) for cell in json.loads(NOTEBOOK.read_text())["cells"])
    assert f'wb.paint_scene("../demo/find/scene", size={lab.SIZE})' in code
    assert f"tile={lab.TILE}, stride={lab.STRIDE}" in code and 'Path("../demo/find") / Path(raster).stem' in code
    monkeypatch.setattr(lab, "SIZE", 1024)
    archive = lab.prepare(tmp_path / "find")
    assert archive == tmp_path / "find" / "scene" / "archive"
    before = {path: path.stat().st_mtime_ns for path in sorted(archive.rglob("*.npy"))}
    lab.prepare(tmp_path / "find")
    assert before and before == {path: path.stat().st_mtime_ns for path in sorted(archive.rglob("*.npy"))}


def test_a_notebook_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WorkbenchError, match=r"absent\.ipynb is not here"):
        lab.open_lab(tmp_path / "absent.ipynb")


def test_an_error_of_jupyterlab_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.ipynb").write_text("{}")
    monkeypatch.setattr(lab.sys, "executable", "false")
    with pytest.raises(WorkbenchError, match="ended with status 1"):
        lab.open_lab(tmp_path / "a.ipynb", browser=False)
