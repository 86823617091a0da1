"""The same again: in a second view, after a page reload, in a new kernel; and nothing left once it is closed."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator

from browser.bench import Bench, Card
from browser.conftest import BuiltArchive
from browser.lab import Lab

SEED, ACTIONS = 20261121, 200
SECOND = "second = wb.Workbench(bench.session)\nsecond"
KEPT = ("query", "page", "selected", "class_name", "map_view", "shown", "stretch", "opacity", "query_ring")
VIEWS = """
import json
_PRIVATE = {"layout", "map_id", "tabbable", "tooltip", "comm", "paths"}  # paths hold the time
def _state(view):
    return {name: value for name, value in view.get_state().items() if name[0] != "_" and name not in _PRIVATE}
def shown(of):
    return {type(view).__name__: repr(sorted(_state(view).items())) for view in of.views}
"""
LEFT = """
import gc, logging, threading
from ipywidgets.widgets.widget import _instances
gc.collect()
{
    "threads": sorted(thread.name for thread in threading.enumerate() if "subshell" not in thread.name),
    "widgets": sorted(type(widget).__name__ for widget in _instances.values()),
    "log handlers": len(logging.getLogger("workbench").handlers),
}
"""


def look(bench: Bench) -> dict[str, Any]:
    """What an analyst sees, and what the session says."""
    return {
        "cards": [
            (card.number, card.rank, card.score, card.value, card.others, card.selected) for card in bench.cards()
        ],
        "outlines": sorted((each.number, each.colour, each.dashed) for each in bench.outlines()),
        "title": bench.gallery.locator(".wb-gallery-title").inner_text(),
        "page": bench.gallery.locator(".wb-page-text").inner_text(),
        "class": bench.toolbar.locator('.wb-chip[aria-pressed="true"]').get_attribute("data-class"),
        "hits": bench.hits(),
        "labels": bench.labels(),
        "state": {name: bench.state(name) for name in KEPT},
    }


def work(bench: Bench) -> dict[str, Any]:
    """Search, label, refine, turn the page, move the map; what is to be seen then."""
    bench.search(300)
    bench.focus()
    bench.key("p", "p", "n", "2", "u")
    bench.until_state("labels_version >= 5", True)
    bench.toolbar.locator('.wb-chip[data-class="house"]').click()
    bench.focus()
    with bench.new_page():
        bench.key("r")
    with bench.new_page():
        bench.key("Space")
    whole = bench.state("map_view")
    bench.key("ArrowRight", "g")
    bench.until_state(f"map_view == {whole!r}", False)
    bench.state("show_layer(5, True)")
    bench.state("show_stretch('full range')")
    bench.page.wait_for_timeout(500)  # the map tells of its last move
    return look(bench)


def test_P16_a_page_reload_shows_the_same(lab: Lab, scene_archive: BuiltArchive, tmp_path: Path) -> None:
    bench = Bench.open(lab, scene_archive.folder, tmp_path / "labels")
    before = work(bench)
    bench.notebook.reload()
    bench.wait_until_shown()
    bench.until("root => root.querySelector('.wb-gallery').dataset.full === 'true'")
    assert look(bench) == before
    with bench.new_page():
        bench.focus()
        bench.key("Space")


def test_P10_a_killed_kernel_and_the_same_cell_bring_everything_back(
    lab: Lab, scene_archive: BuiltArchive, tmp_path: Path
) -> None:
    bench = Bench.open(lab, scene_archive.folder, tmp_path / "labels")
    before = work(bench)
    bench.notebook.kill_kernel()
    bench.notebook.run(0)
    bench.wait_until_shown()
    bench.until("root => root.querySelector('.wb-gallery').dataset.full === 'true'")
    assert look(bench) == before
    bench.focus()
    with bench.new_page():
        bench.key("r")


def middle(element: Locator) -> tuple[float, float]:
    """The middle of an element, whatever lies over it."""
    box = element.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def act_at_random(bench: Bench, dice: random.Random) -> None:
    """One thing that an analyst may do, somewhere."""
    keys = [
        *"ppnnu123zr",
        "Shift+Z",
        "Space",
        "Shift+Space",
        "Home",
        "End",
        "Enter",
        "c",
        "Escape",
        "Shift+N",
        "Shift+P",
    ]
    arrows = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"]
    page = bench.page
    acts: list[Callable[[], object]] = [
        *[lambda: bench.key(dice.choice(keys))] * 12,
        *[lambda: bench.key(dice.choice(arrows))] * 5,
        lambda: bench.click_map(dice.uniform(0.42, 0.58), dice.uniform(0.42, 0.58)),
        lambda: page.mouse.click(*middle(dice.choice(bench.gallery.locator(".wb-card:not([hidden])").all()))),
        lambda: page.mouse.move(*bench.at(dice.random(), dice.random())),
        lambda: bench.tool(dice.choice(["search", "positive", "negative", "unlabel"])),
        lambda: dice.choice(bench.toolbar.locator(".wb-chip").all()).click(),
    ]
    dice.choice(acts)()


def test_P16_after_200_random_actions_nothing_failed_and_a_second_view_equals_the_first(
    lab: Lab, scene_archive: BuiltArchive, tmp_path: Path
) -> None:
    bench = Bench.open(lab, scene_archive.folder, tmp_path / "labels", more=[SECOND])
    notebook = bench.notebook
    notebook.run(1)
    second = Bench(notebook, cell=1, name="second")
    second.wait_until_shown()
    bench.root.evaluate("root => root.scrollIntoView({ block: 'end' })")
    bench.search(300)
    notebook.watch_log()
    dice = random.Random(SEED)
    for done in range(ACTIONS):
        act_at_random(bench, dice)
        if done % 10 == 0:
            bench.focus()
    bench.key("Escape", "Escape")
    bench.page.mouse.move(2, 2)
    bench.until("root => root.querySelector('.wb-gallery').getAttribute('aria-busy') !== 'true'")
    bench.until_state("hovered", -1)
    bench.page.wait_for_timeout(1000)
    notebook.kernel(VIEWS)
    first, other = notebook.kernel("shown(bench)"), notebook.kernel("shown(second)")
    assert {name for name in first if first[name] != other[name]} == set()
    assert look(bench) == look(second)
    assert not [text for text in notebook.logged() if "Traceback" in text], f"seed {SEED}"
    assert len(bench.state("store.labels()")) > 0
    assert cards_agree_with_labels(bench, bench.cards())


def cards_agree_with_labels(bench: Bench, cards: list[Card]) -> bool:
    """Whether the cards show what is on disk."""
    held = bench.labels().get(bench.state("class_name"), {})
    return all(card.value == held.get(card.number, 0) for card in cards)


def test_closing_leaves_no_thread_no_observer_no_widget_and_no_port(
    lab: Lab, scene_archive: BuiltArchive, tmp_path: Path
) -> None:
    opened = "archive = wb.open_archive({!r})\nsession = wb.Session(archive, {!r})"
    cells = [
        "import workbench as wb\nimport workbench.widgets.workbench\nimport torch\n"
        + opened.format(str(scene_archive.folder), str(tmp_path / "labels")),
        "bench = wb.Workbench(session)\nbench",
        "second = wb.Workbench(session)\nsecond",
    ]
    notebook = lab.open(cells)
    notebook.run(0)
    before, ports = notebook.kernel(LEFT), notebook.listening()
    notebook.run(1)
    bench = Bench(notebook, cell=1)
    bench.wait_until_shown()
    notebook.run(2)
    second = Bench(notebook, cell=2, name="second")
    second.wait_until_shown()
    second.search(300)
    assert notebook.listening() == ports, "a port was opened"
    notebook.kernel("second.close()")
    bench.root.evaluate("root => root.scrollIntoView({ block: 'end' })")
    bench.search(500)
    notebook.kernel("bench.close()")
    notebook.kernel("del bench, second")
    after = notebook.kernel(LEFT)
    assert after == before and notebook.listening() == ports
    observers = "[name for name, kinds in session._trait_notifiers.items() if any(map(len, kinds.values()))]"
    assert notebook.kernel(observers) == []
