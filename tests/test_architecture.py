"""The house rules, read from the source: who imports whom, who opens, renames and prints; and how fast the package loads."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "workbench"
LOOP = ("imagery", "descriptors", "search", "labels", "segmentation")
SESSION = ("tile_map", "layers", "marks", "resume", "audits", "state", "teaching", "controls", "looking", "searching")
SESSION = (*SESSION, "comparing", "scorers", "telling", "asking", "objects", "reviewing", "session")
ROOMS = (*LOOP, *SESSION, "demo", "widgets", "__main__")
FOR_ALL = {"errors", "files", "jobs"}
WIDGETS_SEE = {"workbench.session", "workbench.jobs", "workbench.errors", "workbench.imagery.render"}
SCREEN = {"ipywidgets", "ipyleaflet", "anywidget", "IPython"}
OPEN_RASTERS = ("imagery/", "labels/export.py", "segmentation/predict.py")
FILES = sorted(PACKAGE.rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def room(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Full names of the modules a file imports, also inside functions and for type checking."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = str(node.module)
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield dotted(node.func), node


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_room_imports_only_rooms_to_its_left(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        return
    known = {ours.split(".")[1] for ours in imports(path) if ours.startswith("workbench.")}
    if here in FOR_ALL:
        assert known <= FOR_ALL
        return
    allowed = {*ROOMS[: ROOMS.index(here) + 1], *FOR_ALL}
    assert known <= allowed, f"{name_of(path)} imports {sorted(known - allowed)}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_only_the_widgets_know_a_screen_and_they_know_nothing_else(path: Path) -> None:
    found = set(imports(path))
    if room(path) != "widgets":
        assert not {name.split(".")[0] for name in found} & SCREEN
        return
    ours = {name for name in found if name.startswith("workbench.") and not name.startswith("workbench.widgets")}
    strangers = {name for name in ours if not any(name == seen or name.startswith(f"{seen}.") for seen in WIDGETS_SEE)}
    assert not strangers - {"workbench.imagery"}, f"{name_of(path)} imports {sorted(strangers)}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_only_files_py_renames_and_fsyncs(path: Path) -> None:
    if name_of(path) == "files.py":
        return
    banned = {"os.replace", "os.rename", "os.renames", "os.fsync", "os.fdatasync", "shutil.move"}
    for called, node in calls(path):
        assert called not in banned, f"{name_of(path)}:{node.lineno}"
        # Path.replace(target) takes one argument; str.replace takes two; dataclasses.replace is no method.
        method = isinstance(node.func, ast.Attribute) and node.func.attr
        renames = method == "rename" or (method == "replace" and len(node.args) == 1 and not node.keywords)
        assert not renames or called.startswith(("pd.", "gdf.", "frame.")), f"{name_of(path)}:{node.lineno} {called}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_only_imagery_and_the_writers_open_rasters(path: Path) -> None:
    opens = [node.lineno for called, node in calls(path) if called.endswith("rasterio.open")]
    assert not opens or name_of(path).startswith(OPEN_RASTERS), f"{name_of(path)}: lines {opens}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_P35_nothing_is_unpickled(path: Path) -> None:
    banned = {"cloudpickle", "dill", "joblib", "shelve", "marshal"}
    assert not {name.split(".")[0] for name in imports(path)} & banned
    used = {dotted(node) for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)}
    assert {name for name in used if name.startswith("pickle.")} <= {"pickle.UnpicklingError"}
    assert not {name for name in imports(path) if name.startswith("pickle.")}
    for called, node in calls(path):
        given = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
        assert given.get("allow_pickle") is not True, f"{name_of(path)}:{node.lineno}"
        assert given.get("weights_only") is not False, f"{name_of(path)}:{node.lineno}"
        assert called != "torch.load" or given.get("weights_only") is True, f"{name_of(path)}:{node.lineno}"
        assert called not in {"np.load", "numpy.load"} or given.get("allow_pickle") is False
        assert called not in {"eval", "exec", "yaml.unsafe_load", "yaml.full_load", "pd.read_pickle"}
        assert called != "yaml.load" or _safe_loader(path, node)


def _safe_loader(path: Path, call: ast.Call) -> bool:
    """Whether ``yaml.load`` is given a class of the same file that derives from SafeLoader."""
    given = {dotted(word.value) for word in call.keywords if word.arg == "Loader"}
    classes = [node for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef)]
    return given <= {node.name for node in classes if "yaml.SafeLoader" in map(dotted, node.bases)} and bool(given)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_prints_and_nothing_is_left_undone(path: Path) -> None:
    assert "print" not in {called for called, _ in calls(path)}
    names = {node.id for node in ast.walk(tree(path)) if isinstance(node, ast.Name)}
    assert "NotImplementedError" not in names
    bare = [node.lineno for node in ast.walk(tree(path)) if isinstance(node, ast.ExceptHandler) and node.type is None]
    assert not bare


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_module_says_what_it_is_for_and_stays_readable(path: Path) -> None:
    assert ast.get_docstring(tree(path))
    assert len(path.read_text().splitlines()) <= 450
    lengths = {
        node.name: (node.end_lineno or 0) - node.lineno
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert all(length <= 100 for length in lengths.values()), lengths


def test_importing_the_package_is_quick_and_loads_nothing_heavy() -> None:
    program = (
        "import sys, time; start = time.perf_counter(); import workbench; "
        "took = time.perf_counter() - start; dir(workbench); "
        "heavy = {'torch', 'ipywidgets', 'rasterio', 'faiss', 'sklearn', 'geopandas', 'numpy'} & set(sys.modules); "
        "sys.stdout.write(f'{took} {sorted(heavy)}')"
    )
    seconds = []
    for _ in range(5):
        took, heavy = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout.split(" ", 1)
        seconds.append(float(took))
        assert heavy == "[]"
    assert min(seconds) < 0.5


def test_every_public_name_can_be_had() -> None:
    import workbench

    for name in workbench.__all__:
        assert getattr(workbench, name).__doc__, name
    assert sorted(workbench._HOMES) == sorted(workbench.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = workbench.nothing  # type: ignore[attr-defined]
