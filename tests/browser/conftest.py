"""Chromium, JupyterLab servers that start when a test first asks for one, archives, and what the tests leave behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Error, sync_playwright

import workbench as wb
from browser.figures import Figures
from browser.install import HOW_TO_INSTALL, find_chromium, in_ci
from browser.lab import IN_PAGE, VIEWPORT, Lab
from browser.server import Server

_HERE = Path(__file__).parent
_OUT = _HERE / "out"
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost",
]
_KINDS: dict[str, dict[str, object]] = {
    "plain": {},
    "behind a prefix": {"base_url": "/user/x/"},
    "without subshells": {"subshells": False},
}
_FAILED = pytest.StashKey[bool]()
_FIGURES = pytest.StashKey[Figures]()


@dataclass(frozen=True)
class BuiltArchive:
    """What a cell needs to open an archive: its folder, its imagery, and the weights if its encoder has any."""

    folder: Path
    imagery: Path
    weights: Path | None = None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker("browser")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.when == "call":
        item.stash[_FAILED] = report.failed
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for name, each in config.stash[_FIGURES].summary().items() if _FIGURES in config.stash else ():
        terminalreporter.write_line(f"{name}: median {each['median']}, 95 % below {each['p95']}, of {each['n']}")


# Of the package, not of the session: Playwright keeps an event loop running in this thread, which other tests would meet.
@pytest.fixture(scope="package")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """A running browser with a profile on disk: compiled scripts are kept, which saves a second a page."""
    path = find_chromium()
    if path is None:
        _missing(f"there is no Chromium on this machine: {HOW_TO_INSTALL}")
    with sync_playwright() as playwright:
        try:
            context = playwright.chromium.launch_persistent_context(
                tmp_path_factory.mktemp("profile"), executable_path=path, args=_FLAGS, viewport=VIEWPORT
            )
        except Error as problem:
            _missing(f"{path} does not start ({problem.message.splitlines()[0]}): {HOW_TO_INSTALL}")
        context.add_init_script(path=IN_PAGE)
        yield context
        context.close()


@pytest.fixture(scope="package")
def _labs(
    chromium: BrowserContext, screenshots: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Lab]]:
    started: dict[str, Lab] = {}

    def lab(kind: str) -> Lab:
        if kind not in started:
            server = Server(tmp_path_factory.mktemp("server"), **_KINDS[kind])  # type: ignore[arg-type]
            started[kind] = Lab(server, chromium, screenshots)
        return started[kind]

    yield lab
    for each in started.values():
        each.close()


def _lab_for(kind: str, labs: Callable[[str], Lab], request: pytest.FixtureRequest) -> Iterator[Lab]:
    lab = labs(kind)
    yield lab
    failed = request.node.stash.get(_FAILED, True)
    for notebook in lab.notebooks if failed else ():
        notebook.screenshot(f"failed-{request.node.name}")
    problems = lab.close_notebooks(keep=not failed)
    assert not problems, "\n".join(problems)


@pytest.fixture
def lab(_labs: Callable[[str], Lab], request: pytest.FixtureRequest) -> Iterator[Lab]:
    """JupyterLab as a user starts it."""
    yield from _lab_for("plain", _labs, request)


@pytest.fixture
def lab_behind_prefix(_labs: Callable[[str], Lab], request: pytest.FixtureRequest) -> Iterator[Lab]:
    """JupyterLab as a hub starts it, under /user/x/."""
    yield from _lab_for("behind a prefix", _labs, request)


@pytest.fixture
def lab_without_subshells(_labs: Callable[[str], Lab], request: pytest.FixtureRequest) -> Iterator[Lab]:
    """JupyterLab that sends no comm message to a subshell: callbacks wait for the running cell."""
    yield from _lab_for("without subshells", _labs, request)


@pytest.fixture(params=list(_KINDS))
def each_lab(_labs: Callable[[str], Lab], request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The test runs once in each of the three."""
    yield from _lab_for(request.param, _labs, request)


@pytest.fixture(scope="session")
def screenshots(pytestconfig: pytest.Config) -> Path:
    """The folder for pictures: ``--screenshots``, else ``out/screenshots`` here."""
    folder = Path(pytestconfig.getoption("screenshots") or _OUT / "screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def record(pytestconfig: pytest.Config) -> Iterator[Figures]:
    """Call it with a name and a value; all are summed up in ``--figures``, else ``out/browser_figures.json`` here."""
    figures = pytestconfig.stash[_FIGURES] = Figures()
    yield figures
    figures.write(Path(pytestconfig.getoption("figures") or _OUT / "browser_figures.json"))


@pytest.fixture(scope="session")
def scene_archive(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> BuiltArchive:
    """A painted scene of 2048 pixels in 961 tiles, described by texture; ten seconds once, or none with ``--archives``."""
    kept = pytestconfig.getoption("archives")
    folder = Path(kept) / "scene" if kept else tmp_path_factory.mktemp("scene")
    scene = wb.paint_scene(folder / "imagery", size=2048)
    wb.build_archive(scene.imagery, folder / "archive", tile=128, stride=64, encoder="texture")
    return BuiltArchive(folder / "archive", scene.imagery)


@pytest.fixture(scope="session")
def banepa_archive(
    shared_data: Path, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> BuiltArchive:
    """The real town by MobileNetV2, for figures; a minute once, or nothing with ``--archives``. Mark such tests slow."""
    imagery = shared_data / "ortho_buildings" / "oam_banepa_np_13cm_rgb.tif"
    weights = shared_data / "weights" / "mobilenet_v2-imagenet-tf2ptq-fp16.pth"
    kept = pytestconfig.getoption("archives")
    folder = Path(kept) / "banepa" if kept else tmp_path_factory.mktemp("banepa") / "archive"
    opened = wb.open_imagery(imagery, nodata=255)
    wb.build_archive(opened, folder, tile=256, stride=128, encoder="mobilenet_v2", weights=weights)
    return BuiltArchive(folder, imagery, weights)


def _missing(reason: str) -> None:
    if in_ci():
        pytest.fail(f"In CI the browser tests must run, and {reason}.", pytrace=False)
    pytest.skip(f"BROWSER TESTS DID NOT RUN: {reason}")
