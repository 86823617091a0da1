"""The packaging keeps its word: conda and pip get the same, and the wheel carries everything the demo needs."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
_CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib"}


def test_conda_users_get_the_same_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = set()
    for line in listed:
        name, _, bound = line.partition(">=")
        conda.add(f"{_CONDA_NAMES.get(name, name)}>={bound}" if bound else name)
    python = f"python{project['requires-python']}"
    assert conda == {python, "pip", *project["dependencies"]}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(ROOT)], check=True, timeout=300)
    return next(out.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_the_catalog(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(["git", "ls-files", "workbench"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(tracked.stdout.split()) <= names
    catalog = {f"workbench/{path.relative_to(ROOT)}" for path in (ROOT / "data_catalog").glob("*.yaml")}
    assert catalog and catalog <= names


@pytest.mark.slow
def test_the_installed_wheel_runs_the_demo(wheel: Path, tmp_path: Path) -> None:
    """Dependencies come from this environment, the package from the wheel alone, away from the checkout."""
    folder = tmp_path / "fresh"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", str(wheel)], check=True, timeout=300)
    ours = Path(next(path for path in sys.path if path.endswith("site-packages")))
    target = next(folder.glob("lib/python*/site-packages"))
    (target / "dependencies.pth").write_text(f"{ours}\n")
    command = [python, "-c", "import workbench; print(workbench.__file__)"]
    where = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert str(folder) in where
    demo = [python, "-m", "workbench", "demo", "--size", "2048", "--minutes", "0.3", "--out", "demo"]
    subprocess.run(demo, cwd=tmp_path, check=True, timeout=500)
    assert (tmp_path / "demo" / "report.md").is_file()
    assert (tmp_path / "demo" / "figures.json").is_file()
