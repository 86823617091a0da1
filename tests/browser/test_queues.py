"""What is shown next, and how far the search is: chosen by key or button, marked, told and exported on screen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

from browser.bench import Bench
from browser.conftest import BuiltArchive
from browser.lab import Lab
from browser.test_looks import THEMES, WINDOWS, check

QUEUE = ".wb-next-menu:not([hidden]) .wb-queue[data-queue='{}']"
LABEL_ALL = """
session = bench.session
session.search(tile={first})
near = [hit.number for hit in session.hits]
session.label(near[:16], "boat")
session.label(near[30:50], "boat", value=-1)
session.label([near[2], near[5]], "boat", value=-1)
session.refine()
"""


@pytest.fixture
def bench(lab: Lab, scene_archive: BuiltArchive, tmp_path: Path) -> Bench:
    return Bench.open(lab, scene_archive.folder, tmp_path / "labels", classes=("boat", "house"), shared=True)


def choose(bench: Bench, queue: str) -> None:
    """Choose what to show next, by key."""
    bench.focus()
    with bench.new_page():
        bench.key("w")
        bench.toolbar.locator(QUEUE.format(queue)).click()


def audit(bench: Bench, draws: int) -> None:
    """Mark draws of an audit whole, by keys, and wait for the estimate that follows each."""
    for draw in range(draws):
        choose(bench, "audit")
        assert {card.score for card in bench.cards()} == {"–"}
        for place in range(len(bench.cards())):
            bench.key("p" if place < 2 else "n")
        bench.until_state("estimates.__len__()", draw + 1)


def test_queues_are_chosen_by_key_and_an_audit_tells_how_far_the_search_is(bench: Bench) -> None:
    bench.focus()
    bench.key("w")
    menu = bench.toolbar.locator(".wb-next-menu")
    expect(menu).to_be_visible()
    expect(menu.locator(".wb-queue:enabled")).to_have_count(0)
    bench.key("Escape")
    bench.search(580)
    bench.key("p", "p", "n")
    choose(bench, "uncertain")
    labelled = bench.labels()["boat"]
    assert not {card.number for card in bench.cards()} & labelled.keys()
    expect(bench.gallery.locator(".wb-gallery-title")).to_contain_text("to mark: most uncertain")
    bench.focus()
    with bench.new_page():
        bench.key("w", "ArrowDown", "ArrowDown", "ArrowDown", "Enter")
    assert bench.state("queue") == "audit" and len(bench.cards()) == 10
    bench.key("w", "ArrowUp", "Enter")
    bench.until_state("queue", "mistakes")
    expect(bench.status_line.locator(".wb-told-button")).to_be_hidden()
    audit(bench, 1)
    told = bench.status_line.locator(".wb-told-button")
    expect(told).to_be_visible()
    told.click()
    expect(bench.status_line.locator(".wb-told-words")).to_contain_text("13 labels, 10 of them audited")
    assert bench.status_line.locator(".wb-told .wb-plot").count() == 2
    bench.status_line.locator(".wb-told-foot input").fill("40")
    bench.key("Tab")
    expect(bench.status_line.locator(".wb-told-words")).to_contain_text("Of the best 40 tiles")
    bench.status_line.get_by_role("button", name="CSV").click()
    written = bench.until_status(r"written to .*\.csv").split("written to ")[1].rstrip(".")
    assert Path(written).read_text().startswith("labels,audited,")
    draws = list((Path(bench.state("store.folder.as_posix()")) / "audits").rglob("*.safetensors"))
    assert len(draws) == 1


@pytest.mark.parametrize("theme", THEMES)
def test_suspects_and_the_curve_have_room_and_can_be_read(bench: Bench, theme: str) -> None:
    bench.notebook.theme(theme)
    bench.notebook.kernel(LABEL_ALL.format(first=580) + "\n1")
    bench.until_status("hits for boat")
    audit(bench, 2)
    bench.status_line.locator(".wb-told-button").click()
    choose(bench, "mistakes")
    expect(bench.gallery.locator(".wb-card[data-warn='true']").first).to_be_visible()
    suspects = bench.root.evaluate(
        "root => [...root.querySelectorAll('.wb-card[data-warn=true]')].map(card => Number(card.dataset.number))"
    )
    flipped = json.loads(json.dumps(bench.notebook.kernel("[near[2], near[5]]")))
    assert set(flipped) <= set(suspects)
    bench.point_away()
    for window, (width, height) in WINDOWS.items():
        bench.page.set_viewport_size({"width": width, "height": height})
        bench.root.evaluate("root => root.scrollIntoView({ block: 'end' })")
        check(bench)
        bench.notebook.screenshot(f"mistakes-{theme}-{window}")
        bench.focus()
        bench.key("w")
        check(bench)
        bench.notebook.screenshot(f"next-{theme}-{window}")
        bench.key("Escape")
    bench.focus()
    bench.gallery.locator(f'.wb-card[data-number="{flipped[0]}"]').click()
    bench.key("p")
    expect(bench.card(flipped[0])).to_have_attribute("data-warn", "false")
