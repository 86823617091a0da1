"""The notebooks as a student gets them: without outputs, and running from top to bottom where nothing can be fetched."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
# The guard of conftest.py ends with this process; a kernel is another one.
OFFLINE = """
import socket

def refuse(self, address):
    raise OSError(f"a notebook tried to reach {address}")

socket.socket.connect = refuse
"""
CPU_SECONDS = "import resource as _r; _u = _r.getrusage(_r.RUSAGE_SELF); _u.ru_utime + _u.ru_stime"


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path: Path) -> None:
    code = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert code and not [cell["id"] for cell in code if cell["outputs"] or cell["execution_count"] is not None]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "figures", "seconds"),
    [
        ("02_descriptors", 8, 60),
        ("03_search_at_scale", 7, 60),
        ("04_refine", 7, 60),
        ("05_train_and_map", 6, 200),  # two minutes on two cores are 240
    ],
)
def test_a_notebook_runs_offline_in_a_minute_or_two(
    name: str, figures: int, seconds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # threads that wait for each other on a busy machine count as work
    (there := tmp_path / "notebooks").mkdir()  # its files go beside it, as in the repository
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(OFFLINE))
    notebook.cells.append(nbformat.v4.new_code_cell(CPU_SECONDS))
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(there)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == figures
    assert not [output["text"] for output in outputs if output.get("name") == "stderr"]
    # The processor's time and not the clock on the wall, which measures what else the machine does.
    assert float(outputs[-1]["data"]["text/plain"]) < seconds
