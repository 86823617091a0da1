// The keys of the gallery. A line with `says` is a line of the help.

const KEYS = [
  { on: "ArrowLeft", label: "← → ↑ ↓", says: "move between cards", act: (g) => g.step(-1) },
  { on: "ArrowRight", act: (g) => g.step(1) },
  { on: "ArrowUp", act: (g) => g.step(-g.columns) },
  { on: "ArrowDown", act: (g) => g.step(g.columns) },
  { on: "Home", label: "Home End", says: "first, last card", act: (g) => g.pick(0) },
  { on: "End", act: (g) => g.pick(-1) },
  { on: " ", label: "Space", says: "next page", act: (g) => g.turn(1) },
  { on: "shift+ ", label: "Shift Space", says: "previous page", act: (g) => g.turn(-1) },
  { on: "p", once: true, label: "p", says: "positive", act: (g) => g.mark(1) },
  { on: "n", once: true, label: "n", says: "negative", act: (g) => g.mark(-1) },
  { on: "u", once: true, label: "u", says: "take the label back", act: (g) => g.mark(0) },
  { on: "digit", once: true, label: "1…9", says: "positive for class 1…9", act: (g, key) => g.markClass(Number(key) - 1) },
  { on: "shift+p", once: true, label: "P N", says: "the rest of the page", act: (g) => g.markPage(1) },
  { on: "shift+n", once: true, act: (g) => g.markPage(-1) },
  { on: "z", once: true, label: "z Z", says: "undo, redo", act: (g) => g.tell({ do: "undo" }) },
  { on: "shift+z", once: true, act: (g) => g.tell({ do: "redo" }) },
  { on: "r", once: true, label: "r", says: "refine by the labels", act: (g) => g.ask({ do: "refine" }) },
  { on: "w", once: true, label: "w", says: "choose what to show next", act: (g) => g.root.dispatchEvent(new CustomEvent("wb-next", { bubbles: true })) },
  { on: "Enter", once: true, label: "Enter", says: "search for more like it", act: (g) => g.like(g.cursor) },
  { on: "c", once: true, label: "c i", says: "see its surroundings", act: (g) => toggleContext(g) },
  { on: "i", once: true, act: (g) => toggleContext(g) },
  { on: "e", once: true, label: "e", says: "outline it anew", act: (g) => g.edit() },
  { on: "d", once: true, label: "d", says: "its tile is complete", act: (g) => g.cursor >= 0 && g.tell({ do: "complete", number: g.cursor }) },
  { on: "g", once: true, label: "g", says: "go to it on the map", act: (g) => g.cursor >= 0 && g.tell({ do: "go_to", number: g.cursor }) },
  { on: "?", once: true, label: "?", says: "this help", act: (g) => openHelp(g) },
  { on: "Escape", label: "Esc", says: "close; stop waiting", act: (g) => (g.panel ? closePanel(g) : g.giveUp()) },
];

/** The name of a key as in `KEYS`. */
function keyName(event) {
  if (/^[1-9]$/.test(event.key)) return "digit";
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  return event.shiftKey && (key.length > 1 || /[a-z ]/.test(key)) ? `shift+${key}` : key;
}

/** Open the surroundings of the selected tile, or close them. */
function toggleContext(g) {
  if (g.panel?.name === "context") closePanel(g);
  else askContext(g);
}

/** Do what a key says; keys of the system, keys in a text field and keys that press a button are left alone. */
function takeKey(g, event) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
  if (event.target.closest("input, textarea, select, [contenteditable]")) return;
  if (event.target.closest("button") && (event.key === "Enter" || event.key === " ")) return;
  const name = keyName(event);
  const key = KEYS.find((each) => each.on === name);
  const helping = g.panel?.name === "help";
  // The help has one button: the focus stays there.
  if (!key && !(helping && name === "Tab")) return;
  event.preventDefault();
  if (helping) {
    if (name === "Escape" || name === "?") closePanel(g);
  } else if (name === "Escape") {
    key.act(g);
  } else if (!(key.once && event.repeat)) {
    g.act(() => key.act(g, event.key));
  }
}
