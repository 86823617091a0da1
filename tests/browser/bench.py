"""The workbench in a notebook as an analyst meets it: where things are on the page, what is shown, what the session holds."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, expect

from browser.lab import Lab
from browser.notebook import Notebook

OPEN = """
import workbench as wb
bench = wb.Workbench(wb.open_archive({archive!r}), labels={labels!r}, classes={classes!r})
bench
"""
"""The cell that shows a workbench; the kernel knows it as ``bench``."""

CLASSES = ("house", "boat", "tank")
FULL = "root => root.querySelector('.wb-gallery').dataset.full === 'true'"
_SETTLED = """(root, before) => {
  const gallery = root.querySelector(".wb-gallery");
  return gallery.dataset.key !== before && gallery.dataset.full === "true" && gallery.getAttribute("aria-busy") !== "true";
}"""
_CARDS = """root => [...root.querySelectorAll(".wb-card")].filter(card => !card.hidden).map(card => ({
  number: Number(card.dataset.number),
  rank: Number(card.querySelector(".wb-rank").textContent),
  score: card.querySelector(".wb-score").textContent,
  value: Number(card.dataset.value),
  others: card.querySelector(".wb-others").title,
  selected: card.classList.contains("wb-selected"),
  hovered: card.classList.contains("wb-hovered"),
  shown: card.querySelector("img").naturalWidth > 0,
}))"""
_OUTLINES = """root => [...root.querySelectorAll("path.wb-hit")].map(path => ({
  number: Number(path.dataset.number),
  colour: path.getAttribute("stroke"),
  width: Number(path.getAttribute("stroke-width")),
  dashed: path.getAttribute("stroke-dasharray") !== null,
}))"""


@dataclass(frozen=True)
class Card:
    """A card as it is shown: ``value`` of the class looked for, ``others`` in words, whether its picture is there."""

    number: int
    rank: int
    score: str
    value: int
    others: str
    selected: bool
    hovered: bool
    shown: bool


@dataclass(frozen=True)
class Outline:
    """The outline of a hit on the map."""

    number: int
    colour: str
    width: float
    dashed: bool


class Bench:
    """A workbench that a cell shows.

    Args:
        notebook: it is in.
        cell: index of the cell that shows it.
        name: of the variable in the kernel that holds it.

    Attributes:
        root: everything of it, toolbar to status line; a locator, as the four parts of it.
    """

    def __init__(self, notebook: Notebook, cell: int = 0, name: str = "bench") -> None:
        self.notebook = notebook
        self.page = notebook.page
        self.name = name
        self.root = notebook.output_area(cell).locator(".wb-root")
        self.toolbar = self.root.locator(".wb-toolbar")
        self.map = self.root.locator(".leaflet-container")
        self.gallery = self.root.locator(".wb-gallery")
        self.status_line = self.root.locator(".wb-status")

    @classmethod
    def open(
        cls,
        lab: Lab,
        archive: Path,
        labels: Path,
        *,
        classes: Sequence[str] = CLASSES,
        more: Sequence[str] = (),
        shared: bool = False,
    ) -> Bench:
        """Open a notebook whose first cell shows a workbench, and run that cell.

        Args:
            lab: to open it in.
            archive: folder.
            labels: folder, new for each test.
            classes: to begin with.
            more: further cells, not run.
            shared: in the page and kernel of an earlier test; see `Lab.reopen`.
        """
        cell = OPEN.format(archive=str(archive), labels=str(labels), classes=list(classes))
        notebook = (lab.reopen if shared else lab.open)([cell, *more])
        notebook.run(0)
        bench = cls(notebook)
        bench.wait_until_shown()
        return bench

    def wait_until_shown(self) -> None:
        """Wait until all of it is there, with a map that answers, and bring all of it into view."""
        for part in (self.toolbar, self.gallery, self.status_line):
            expect(part).to_be_visible(timeout=30_000)
        expect(self.root.locator(".leaflet-container[data-ready]")).to_be_visible(timeout=30_000)
        self.until("root => root.querySelector('.leaflet-tile-loaded, .wb-map-note')")
        self.root.evaluate("root => root.scrollIntoView({ block: 'end' })")

    def until(self, condition: str, argument: object = None, *, timeout_s: float = 20) -> None:
        """Wait until a JavaScript function of the workbench's element (and an argument) is true."""
        given = {"root": self.root.element_handle(), "argument": argument}
        self.notebook.until(f"({{ root, argument }}) => ({condition})(root, argument)", given, timeout_s=timeout_s)

    # -- the session -----------------------------------------------------------------------------------------------

    def state(self, expression: str) -> Any:
        """A trait of the session, or anything else of it, as in ``state("page")`` or ``state("ring(3)")``."""
        return self.notebook.kernel(f"{self.name}.session.{expression}")

    def until_state(self, expression: str, expected: object, *, timeout_s: float = 10) -> None:
        """Wait until something of the session, see `state`, equals what is expected."""
        limit = time.monotonic() + timeout_s
        while (found := self.state(expression)) != expected:
            assert time.monotonic() < limit, f"session.{expression} is {found!r}, expected {expected!r}"
            self.page.wait_for_timeout(20)

    def hits(self) -> list[int]:
        """The tiles found, best first."""
        return list(self.notebook.kernel(f"[hit.number for hit in {self.name}.session.hits]"))

    def labels(self) -> dict[str, dict[int, int]]:
        """The labels that are on disk and hold, by class: tile -> +1 or -1; read with a store of its own."""
        code = f"""
from workbench.labels.store import LabelStore as _Store
from workbench.marks import Marks as _Marks
_read = _Marks(_Store({self.name}.session.store.folder), {self.name}.session.places)
[[number, _read.of(number)] for number in range(len({self.name}.session.archive)) if _read.of(number)]
"""
        found: dict[str, dict[int, int]] = {}
        for number, marks in self.notebook.kernel(code):
            for class_name, value in marks.items():
                found.setdefault(class_name, {})[number] = value
        return found

    # -- the map ---------------------------------------------------------------------------------------------------

    def point(self, lon: float, lat: float) -> tuple[float, float]:
        """Where a place is on the page now, in CSS pixels; the map must have come to rest."""
        view = self.state("map_view")
        across, down = _world(lon, lat, view["zoom"])
        middle_across, middle_down = _world(view["lon"], view["lat"], view["zoom"])
        box = self.map.bounding_box()
        assert box is not None
        return (
            box["x"] + box["width"] / 2 + across - middle_across,
            box["y"] + box["height"] / 2 + down - middle_down,
        )

    def middle_of(self, number: int) -> tuple[float, float]:
        """Longitude and latitude of a tile's middle."""
        ring = self.state(f"ring({number})")[:4]
        return sum(lon for _, lon in ring) / 4, sum(lat for lat, _ in ring) / 4

    def at(self, across: float, down: float) -> tuple[float, float]:
        """A point of the page, by its share of the map's width and height."""
        box = self.map.bounding_box()
        assert box is not None
        return box["x"] + across * box["width"], box["y"] + down * box["height"]

    def click_map(self, across: float, down: float) -> None:
        """Click a point of the map, by its share of width and height; see `at`."""
        self.page.mouse.click(*self.at(across, down))

    def click_place(self, lon: float, lat: float) -> None:
        """Click a place on the map."""
        self.page.mouse.click(*self.point(lon, lat))

    def click_tile(self, number: int) -> None:
        """Click the middle of a tile on the map."""
        self.click_place(*self.middle_of(number))

    def draw_rectangle(self, first: tuple[float, float], second: tuple[float, float]) -> None:
        """Draw a rectangle from one point of the page to another, with the map's own tool."""
        self.map.locator(".leaflet-draw-draw-rectangle").click()
        self.page.mouse.move(*first)
        self.page.mouse.down()
        self.page.mouse.move(*second, steps=4)
        self.page.mouse.up()

    def draw_polygon(self, *points: tuple[float, float]) -> None:
        """Draw a polygon through points of the page, and close it by a click on the first."""
        self.map.locator(".leaflet-draw-draw-polygon").click()
        for point in (*points, points[0]):
            self.page.mouse.move(*point, steps=2)
            self.page.mouse.click(*point)
            self.page.wait_for_timeout(80)  # for 50 ms after a corner Leaflet takes no other

    def point_away(self) -> None:
        """Move the pointer to a corner of the map where there is no imagery, so that it points at nothing."""
        self.page.mouse.move(*self.at(0.95, 0.03))

    def outlines(self) -> list[Outline]:
        """The outlines of hits on the map, in no order."""
        return [Outline(**each) for each in self.root.evaluate(_OUTLINES)]

    # -- the gallery -----------------------------------------------------------------------------------------------

    def cards(self) -> list[Card]:
        """The cards that are shown, in their order."""
        return [Card(**each) for each in self.root.evaluate(_CARDS)]

    def card(self, number: int) -> Locator:
        """The card of a tile."""
        return self.gallery.locator(f'.wb-card[data-number="{number}"]:not([hidden])')

    def focus(self) -> None:
        """Let the keyboard act on the gallery."""
        self.gallery.focus()

    def key(self, *names: str) -> None:
        """Press keys one after another, wherever the focus is."""
        for name in names:
            self.page.keyboard.press(name)

    @contextmanager
    def new_page(self) -> Iterator[None]:
        """What is done inside brings another page of cards: wait until all pictures of it are shown."""
        before = self.gallery.get_attribute("data-key")
        yield
        self.until(_SETTLED, before)

    def search(self, number: int) -> None:
        """Click a tile on the map, and wait for the page of hits."""
        with self.new_page():
            self.click_tile(number)

    # -- toolbar and status line -----------------------------------------------------------------------------------

    def tool(self, name: str) -> None:
        """Choose what a click on the map does, by its id, as in ``tool("positive")``."""
        button = self.toolbar.locator(f'.wb-tool[data-tool="{name}"]')
        button.click()
        expect(button).to_have_attribute("aria-checked", "true")

    def chip(self, class_name: str) -> Locator:
        """The button of a class."""
        return self.toolbar.locator(f".wb-chip[data-class={json.dumps(class_name)}]")

    def menu(self, name: str) -> Locator:
        """Open a menu by its name (``layers``, ``?``, ...); the panel that opens."""
        self.toolbar.locator(f'.wb-menu[data-menu="{name}"]').click()
        panel = self.toolbar.locator(".wb-popover:not([hidden])")
        expect(panel).to_be_visible()
        return panel

    def status(self) -> str:
        """What the status line says."""
        return self.status_line.locator(".wb-said .wb-text").inner_text()

    def until_status(self, pattern: str, *, alarm: bool | None = None, timeout_s: float = 20) -> str:
        """Wait until the status line matches a regular expression, and is an alarm or none; what it says."""
        if alarm is not None:
            said = self.status_line.locator(f'.wb-said[data-alarm="{str(alarm).lower()}"] .wb-text')
        else:
            said = self.status_line.locator(".wb-said .wb-text")
        expect(said).to_have_text(re.compile(pattern), timeout=timeout_s * 1000)
        return said.inner_text()


def _world(lon: float, lat: float, zoom: float) -> tuple[float, float]:
    """A place in pixels of the Web Mercator map of the whole earth."""
    size = 256 * 2**zoom
    return size * (lon + 180) / 360, size * (1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2
