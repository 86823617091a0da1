"""Foreign text: names of classes and files, and messages that quote them, are text wherever they are shown."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect
from small_rasters import patchwork, write_raster

import workbench as wb
from browser.bench import Bench
from browser.lab import Lab

CLASS = "<img src=x onerror=window.hurt=1>"
FORMULA = "$x^2$ <b>bold</b>"
FILE = "<img src=x onerror=window.hurt=2> $y$.tif"
MADE = "root => root.parentElement.querySelectorAll('b, img[src=x], [onerror], script, mjx-container, .MathJax').length"


def test_P17_hostile_names_and_messages_are_shown_as_text_everywhere(lab: Lab, tmp_path: Path) -> None:
    imagery = write_raster(tmp_path / "in" / FILE, patchwork(512, 512))
    wb.build_archive(imagery, tmp_path / "archive", tile=64, stride=64, encoder="texture")
    bench = Bench.open(lab, tmp_path / "archive", tmp_path / "labels", classes=[FORMULA], shared=True)
    bench.search(20)
    add_class(bench, CLASS)
    expect(bench.chip(CLASS).locator(".wb-chip-name")).to_have_text(CLASS)
    bench.until_status(f"^Looking for {CLASS}")
    bench.focus()
    bench.key("p", "n", "1", "2")
    bench.until_state(f"label_counts()[{CLASS!r}]", [2, 1])
    bench.until(
        "(root, words) => [...root.querySelectorAll('.wb-card .wb-others')].some(others => others.title === words)",
        f"positive for {FORMULA}",
    )
    bench.until("(root, name) => root.querySelector('.wb-legend').innerText.includes(name)", f"not {CLASS} (dashed)")
    assert bench.status_line.locator(".wb-class").inner_text() == CLASS
    assert FILE in (bench.card(20).get_attribute("title") or "")
    bench.key("Home", "c")
    expect(bench.gallery.locator(".wb-context-text")).to_contain_text(FILE)
    bench.key("Escape")
    bench.toolbar.locator(".wb-caret").click()
    expect(bench.toolbar.locator(".wb-colours .wb-chip-name")).to_have_text(CLASS)
    bench.key("Escape")
    for form in ("image", "place"):
        bench.menu("query").locator(f"form[data-form={form}] input").fill(CLASS)
        bench.key("Enter")
        failed = bench.toolbar.locator(f"form[data-form={form}] .wb-failed")
        expect(failed).to_contain_text("<img")
        bench.until_status("<img", alarm=True)
        bench.key("Escape")
    bench.notebook.kernel(f"bench.session.fail({FORMULA!r}, ValueError({CLASS!r}))")
    said = bench.until_status("bold", alarm=True)
    assert said.startswith(f"{FORMULA}: ValueError ({CLASS})")
    bench.status_line.locator(".wb-said").click()
    expect(bench.status_line.locator(".wb-whole")).to_contain_text(CLASS)
    bench.notebook.kernel(
        f"import threading; held = threading.Event(); job = bench.session.start({CLASS!r}, lambda _: held.wait(20))"
    )
    expect(bench.status_line.locator(".wb-progress")).to_contain_text("<img")
    bench.notebook.kernel("held.set()")
    bench.until_status("done")
    assert bench.root.evaluate(MADE) == 0 and bench.page.evaluate("window.hurt") is None


def add_class(bench: Bench, name: str) -> None:
    bench.toolbar.locator(".wb-add-class").click()
    bench.page.keyboard.type(name)
    bench.key("Enter")
