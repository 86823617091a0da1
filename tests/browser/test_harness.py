"""The tools of the browser tests do what they say: without that, no other test here means anything."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from playwright.sync_api import Error, expect

from browser.conftest import BuiltArchive
from browser.figures import Figures
from browser.kernel import KernelError
from browser.lab import Lab
from browser.notebook import CellError, Notebook

BUTTON = """
import ipywidgets, threading, time
pushed = []
button = ipywidgets.Button(description="push")
button.on_click(lambda _: pushed.append(threading.current_thread().name))
# ipykernel 7.4 sends what the page says to the shell in which the widget last spoke (the main one, since a cell made
# it), and not to the subshell that JupyterLab names; see `ipykernel.comm.comm.BaseComm`.
button.comm._reply_subshell_for = None
button
"""
ASLEEP = "import time; time.sleep(3); 'awake'"
GREETING = """
import anywidget, traitlets
class Greeting(anywidget.AnyWidget):
    _esm = '''export default { render({ model, el }) {
      const show = () => (el.textContent = model.get("text"));
      el.addEventListener("click", () => model.send({}));
      model.on("change:text", show);
      show();
    } };'''
    text = traitlets.Unicode("hello").tag(sync=True)
greeting = Greeting()
greeting.on_msg(lambda widget, *_: setattr(widget, "text", widget.text + "!"))
greeting
"""
BROKEN = """
import anywidget
class Broken(anywidget.AnyWidget):
    _esm = "export default { render() { setTimeout(() => { throw new Error('broken on purpose') }) } }"
Broken()
"""
MAP = """
import base64, io, ipyleaflet
from PIL import Image
stream = io.BytesIO()
Image.new("RGB", (256, 256), "teal").save(stream, "PNG")
url = "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
layer = ipyleaflet.TileLayer(url=url)
m = ipyleaflet.Map(basemap=layer, center=(27.63, 85.52), zoom=12, layout={"height": "400px"})
m
"""


def until(condition: object, patience_s: float = 5) -> None:
    """Wait for something in the kernel."""
    limit = time.monotonic() + patience_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.02)


def push(notebook: Notebook, index: int = 0) -> None:
    notebook.output_area(index).get_by_role("button", name="push").click()


def test_a_button_reaches_the_kernel(each_lab: Lab) -> None:
    notebook = each_lab.open([BUTTON])
    notebook.run(0)
    push(notebook)
    until(lambda: len(notebook.kernel("pushed")) == 1)


def test_a_callback_arrives_while_a_cell_sleeps(lab: Lab) -> None:
    notebook = lab.open([BUTTON, ASLEEP])
    notebook.run(0)
    notebook.run(1, wait=False)
    push(notebook)
    until(lambda: len(notebook.kernel("pushed")) == 1, 2)
    assert notebook.runs(1)
    assert notebook.kernel("pushed")[0].startswith("subshell")
    notebook.wait_for(1)
    assert "awake" in notebook.output(1)


def test_without_subshells_a_callback_waits_for_the_cell(lab_without_subshells: Lab) -> None:
    notebook = lab_without_subshells.open([BUTTON, ASLEEP])
    notebook.run(0)
    notebook.run(1, wait=False)
    push(notebook)
    time.sleep(1)
    assert notebook.kernel("pushed") == [] and notebook.runs(1)
    notebook.wait_for(1)
    until(lambda: notebook.kernel("pushed") == ["MainThread"])


def test_a_cell_that_raises_fails_the_test(lab: Lab) -> None:
    notebook = lab.open(["1 / 0", "'later'"])
    with pytest.raises(CellError, match="division by zero"):
        notebook.run(0)
    notebook.run(0, errors=True)
    assert "ZeroDivisionError" in notebook.output(0)
    with pytest.raises(CellError, match="division by zero"):
        notebook.run_all()


def test_the_test_and_the_page_share_a_kernel(lab: Lab) -> None:
    notebook = lab.open(["import numpy as np\nshared = np.arange(3)", "from_test + 1"])
    notebook.run(0)
    assert notebook.kernel("from_test = 41\nshared") == [0, 1, 2]
    with pytest.raises(KernelError, match="NameError: name 'missing' is not defined"):
        notebook.kernel("missing")
    assert notebook.kernel("import threading\nthreading.current_thread().name", main=True) == "MainThread"
    notebook.run(1)
    assert notebook.output(1).split() == ["[2]:", "42"]
    before = notebook.listening()
    notebook.kernel("import socket\ndoor = socket.create_server(('localhost', 0))")
    assert notebook.listening() - before == {notebook.kernel("door.getsockname()[1]")}
    notebook.watch_log()
    notebook.kernel("import logging\nlogging.getLogger('a.room').warning('too %s', 'late')")
    assert notebook.logged("WARNING") == ["a.room: too late"]
    assert notebook.logged("ERROR") == []


def test_widgets_outlive_a_reload_and_cells_a_restart(lab: Lab) -> None:
    notebook = lab.open([GREETING])
    notebook.run(0)
    notebook.output_area(0).get_by_text("hello").click()
    expect(notebook.output_area(0).get_by_text("hello!")).to_be_visible()
    notebook.reload()
    expect(notebook.output_area(0).get_by_text("hello!")).to_be_visible()
    before = notebook.kernel("import os\nos.getpid()")
    notebook.restart_kernel()
    with pytest.raises(KernelError, match="greeting"):
        notebook.kernel("greeting.text")
    notebook.run_all()
    expect(notebook.output_area(0).get_by_text("hello", exact=True)).to_be_visible()
    after = notebook.kernel("import os\nos.getpid()")
    notebook.kill_kernel()
    assert len({before, after, notebook.kernel("import os\nos.getpid()")}) == 3


def test_an_exception_in_the_page_is_noticed(lab: Lab) -> None:
    notebook = lab.open([BROKEN])
    notebook.run(0)
    until(lambda: notebook.page.evaluate("1") and notebook.problems)
    assert "broken on purpose" in notebook.unexpected_problems()[0]
    notebook.expect_problem("broken on purpose")
    assert notebook.unexpected_problems() == []


def test_a_request_off_this_machine_is_noticed_and_goes_nowhere(lab: Lab) -> None:
    notebook = lab.open(["import ipywidgets\nipywidgets.HTML('<img src=\"http://elsewhere.example/picture.png\">')"])
    notebook.run(0)
    until(lambda: notebook.page.evaluate("1") and notebook.problems)
    assert notebook.unexpected_problems() == ["request off this machine: http://elsewhere.example/picture.png"]
    notebook.expect_problem("elsewhere.example")


def test_measured_times_leave_out_what_is_not_the_page(lab: Lab) -> None:
    """An effect 200 ms after the click is measured as that, to a frame, though the test takes its time around it."""
    notebook = lab.open(["1"])
    notebook.page.evaluate(
        """() => { const box = document.createElement("button");
        box.id = "box"; box.style = "position: fixed; inset: 200px; z-index: 9999";
        box.onclick = () => setTimeout(() => (box.textContent = "done"), 200);
        box.onkeydown = () => (box.textContent = "key");
        document.body.append(box); }"""
    )

    def slow_click() -> None:
        time.sleep(0.3)
        notebook.page.locator("#box").click(delay=100)
        time.sleep(0.3)

    shown = "() => document.querySelector('#box').textContent === 'done'"
    assert 199 < notebook.measure(slow_click, shown) < 300
    with pytest.raises(Error, match="holds before the action"):
        notebook.measure(slow_click, shown)
    by_key = notebook.measure(
        lambda: notebook.page.keyboard.press("a"), "() => document.querySelector('#box').textContent === 'key'"
    )
    assert 0 <= by_key < 100
    with pytest.raises(Error, match="no event of keyup"):
        notebook.measure(lambda: None, "() => false", start="keyup", timeout_s=0.2)


def test_round_trips_bytes_and_tiles_are_counted(lab: Lab, record: Figures) -> None:
    notebook = lab.open([GREETING, MAP])
    notebook.run_all()
    greeting = notebook.output_area(0).get_by_text("hello")
    for count in range(1, 6):
        text = "hello" + "!" * count
        before = notebook.traffic()
        shown = f"() => [...document.querySelectorAll('.jp-OutputArea-output')].some(e => e.innerText === '{text}')"
        record("widget_round_trip_ms", notebook.measure(greeting.click, shown))
        after = notebook.traffic()
        assert 100 < after["received"] - before["received"] < 20_000
        assert 100 < after["sent"] - before["sent"] < 5_000
    assert record.median("widget_round_trip_ms") < 500
    notebook.until("() => __lab.tileReport().loaded >= 6")
    notebook.watch_tiles()
    notebook.output_area(1).get_by_title("Zoom in").click()
    notebook.until("() => { const t = __lab.tileReport(); return t.loaded >= 6 && t.loaded === t.wanted; }")
    assert len(notebook.tiles()["ms"]) == notebook.tiles()["loaded"]


def test_figures_are_summed_up(tmp_path: Path) -> None:
    figures = Figures()
    for value in range(1, 101):
        figures("wait_ms", value)
    figures.write(tmp_path / "out" / "figures.json")
    assert figures.summary() == {"wait_ms": {"n": 100, "median": 50.5, "p95": 95.0}}
    assert '"median": 50.5' in (tmp_path / "out" / "figures.json").read_text()


def test_an_archive_opens_in_the_kernel_in_either_theme(lab: Lab, scene_archive: BuiltArchive, tmp_path: Path) -> None:
    opening = f"import workbench as wb\nsession = wb.Session({str(scene_archive.folder)!r}, {str(tmp_path)!r})"
    notebook = lab.open([opening], theme="dark")
    notebook.run(0)
    assert notebook.kernel("hits = session.search(tile=5, k=7)\nhits.numbers[0], len(hits)") == [5, 7]
    dark = notebook.page.evaluate("() => document.body.dataset.jpThemeLight")
    notebook.theme("light")
    light = notebook.page.evaluate("() => document.body.dataset.jpThemeLight")
    assert (dark, light) == ("false", "true")
    picture = notebook.screenshot("an-archive-in-a-kernel")
    assert picture.stat().st_size > 10_000
