"""Looks: everything has its place in a small window, can be read in light and dark, and pictures of it are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from browser.bench import Bench
from browser.conftest import BuiltArchive
from browser.lab import Lab

WINDOWS = {"wide": (1280, 720), "narrow": (900, 700)}
THEMES = ("light", "dark")
CLASSES = ("house", "boat", "tank", "panel")
CURVE = """
bench.session.set_state(curve=[
    {"epoch": epoch, "train_loss": 1 / epoch, "val_loss": 1.1 / epoch + 0.02 * epoch, "mean_iou": 0.8 - 0.5 / epoch}
    for epoch in range(1, 13)
])
"""

# What lies side by side, and must not lie on top of one another.
APART = (
    ".wb-toolbar button:not(.wb-caret), .wb-toolbar input",
    ".wb-card",
    ".wb-gallery-head > *, .wb-pager > *",
    ".wb-said, .wb-more, .wb-job, .wb-curve-button, .wb-facts > *",
    ".leaflet-control, .wb-readout, .wb-legend",
)
OVERLAPPING = """(root, groups) => {
  const box = (element) => element.getBoundingClientRect();
  const seen = (element) => element.checkVisibility({ visibilityProperty: true }) && box(element).width > 0;
  const strip = root.querySelector(".wb-strip").getBoundingClientRect();
  const cut = (element) => element.closest(".wb-strip") && (box(element).right > strip.right || box(element).left < strip.left);
  const name = (element) => `${element.className} ${element.innerText.slice(0, 20)}`;
  const found = [];
  for (const group of groups) {
    const all = [...root.querySelectorAll(group)].filter((element) => seen(element) && !cut(element));
    all.forEach((one, place) => all.slice(place + 1).forEach((other) => {
      if (one.contains(other) || other.contains(one)) return;
      const [a, b] = [box(one), box(other)];
      const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (across > 1.1 && down > 1.1) found.push(`${name(one)} on ${name(other)}`);
    }));
  }
  return found;
}"""
OVERFLOWING = """(root) => {
  const SKIPPED = ".leaflet-map-pane, .sr-only, svg, .wb-strip"; // what scrolls, or is only for screen readers
  const outer = root.getBoundingClientRect();
  const found = [];
  for (const element of root.querySelectorAll("*")) {
    if (element.closest(SKIPPED) || !element.checkVisibility({ visibilityProperty: true })) continue;
    const { left, right, top, bottom, width } = element.getBoundingClientRect();
    const out = width && (left < outer.left - 1 || right > outer.right + 1 || top < outer.top - 1 || bottom > outer.bottom + 1);
    const style = getComputedStyle(element);
    const cut = style.overflowX === "hidden" && style.textOverflow !== "ellipsis" || style.overflowX === "visible";
    const whole = element.scrollWidth <= element.clientWidth + 1 || !element.clientWidth || style.display === "inline";
    const spills = cut && !whole && !element.matches(".leaflet-container");
    if (out || spills) found.push(`${out ? "out" : "spills"}: ${element.className} ${(element.innerText ?? "").slice(0, 30)}`);
  }
  return found;
}"""
READ = (
    ".wb-tool, .wb-chip-name, .wb-refine, .wb-menu, .wb-gallery-title, .wb-page-text, .wb-rank, .wb-score",
    ".wb-text, .wb-tiles, .wb-counts *, .wb-readout span, .wb-legend summary, .wb-legend div, .leaflet-control-scale-line",
    ".wb-popover .wb-heading, .wb-popover label, .wb-popover li, .wb-popover dd, .wb-popover kbd, .wb-popover .wb-note",
    ".wb-panel-head, .wb-key-line span, .wb-key-line kbd, .wb-panel p, .wb-curve strong, .wb-curve .wb-heading",
    ".wb-empty-text, .wb-browse, .wb-context-text",
)
FAINT = """(root, selector) => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const over = (colours) => {
    canvas.globalCompositeOperation = "source-over";
    for (const colour of colours) {
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
    }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (colour) => colour.map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, place) => sum + value * [0.2126, 0.7152, 0.0722][place], 0);
  const found = [];
  for (const element of root.querySelectorAll(selector)) {
    const seen = element.checkVisibility({ visibilityProperty: true }) && element.innerText?.trim();
    if (!seen || element.closest(":disabled")) continue;
    const behind = [];
    for (let each = element; each; each = each.parentElement) behind.unshift(getComputedStyle(each).backgroundColor);
    const [text, ground] = [over([...behind, getComputedStyle(element).color]), over(behind)].map(light);
    const contrast = (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05);
    if (contrast < 4.5) found.push(`${contrast.toFixed(2)}: ${element.className} ${element.innerText.slice(0, 30)}`);
  }
  return found;
}"""


@pytest.fixture
def bench(lab: Lab, scene_archive: BuiltArchive, tmp_path: Path) -> Bench:
    return Bench.open(lab, scene_archive.folder, tmp_path / "labels", classes=CLASSES, shared=True)


def check(bench: Bench) -> None:
    """Nothing lies on something else, nothing is cut off, and all words can be read."""
    assert bench.root.evaluate(OVERLAPPING, list(APART)) == []
    assert bench.root.evaluate(OVERFLOWING) == []
    assert bench.root.evaluate(FAINT, ", ".join(READ)) == []


def point_at_the_map(bench: Bench) -> None:
    """Let the map say where the pointer is."""
    bench.page.mouse.move(*bench.at(0.4, 0.5))
    bench.page.mouse.move(*bench.at(0.45, 0.5))
    bench.until("root => root.querySelector('.wb-readout span')")


@pytest.mark.parametrize("window", WINDOWS)
def test_the_whole_screen_has_room_in_the_window_and_can_be_read(bench: Bench, window: str) -> None:
    width, height = WINDOWS[window]
    bench.page.set_viewport_size({"width": width, "height": height})
    check(bench)
    bench.notebook.screenshot(f"start-{window}")
    bench.search(580)
    bench.key("p", "p", "n", "2", "p", "n", "1")
    bench.until_status("labelled")
    bench.root.evaluate("root => root.scrollIntoView({ block: 'end' })")
    point_at_the_map(bench)
    room = bench.page.locator(".jp-WindowedPanel-outer").bounding_box()
    taken = bench.root.bounding_box()
    assert room is not None and taken is not None
    assert taken["y"] >= room["y"] - 1 and taken["y"] + taken["height"] <= room["y"] + room["height"] + 1
    for theme in THEMES:
        bench.notebook.theme(theme)
        check(bench)
        bench.notebook.screenshot(f"find-{theme}-{window}")


@pytest.mark.parametrize("theme", THEMES)
def test_menus_help_surroundings_and_learning_curve_have_room_and_can_be_read(bench: Bench, theme: str) -> None:
    bench.notebook.theme(theme)
    bench.search(580)
    for window, (width, height) in WINDOWS.items():
        bench.page.set_viewport_size({"width": width, "height": height})
        for menu in ("query", "layers", "export", "train", "?"):
            panel = bench.menu(menu)
            check(bench)
            bench.notebook.screenshot(f"{'how' if menu == '?' else menu}-{theme}-{window}")
            bench.key("Escape")
            assert not panel.is_visible()
        bench.focus()
        for key, name in (("?", "help"), ("c", "surroundings")):
            bench.key(key)
            bench.until("root => root.querySelector('.wb-panel')")
            check(bench)
            bench.notebook.screenshot(f"{name}-{theme}-{window}")
            bench.key("Escape")
    bench.notebook.kernel(CURVE)
    bench.until("root => root.querySelector('.wb-plot')")
    check(bench)
    bench.notebook.screenshot(f"curve-{theme}-narrow")
