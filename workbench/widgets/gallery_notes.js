// What lies over or instead of the cards: the help on keys, a tile in its surroundings, what to do at the start.

/** A panel over the gallery that takes the focus until it is closed. */
function openPanel(g, name, words, ...children) {
  closePanel(g);
  const close = make("button", { className: "wb-button wb-panel-close", type: "button", title: "Close (Esc)", onclick: () => closePanel(g) }, "Close");
  close.setAttribute("aria-label", `Close: ${words}`);
  const panel = make("div", { className: `wb-panel wb-${name}`, role: "dialog" }, ...children, close);
  panel.setAttribute("aria-label", words);
  panel.setAttribute("aria-modal", "true");
  g.panel = { name, panel, close };
  g.root.append(panel);
}

/** Close what lies over the cards; the keys act on the cards again. */
function closePanel(g) {
  if (!g.panel) return;
  g.panel.panel.remove();
  g.panel = null;
  g.wanted = -1;
  URL.revokeObjectURL(g.contextUrl);
  g.root.focus({ preventScroll: true });
}

/** The keys and what they do. */
function openHelp(g) {
  const lines = KEYS.filter((key) => key.says).map((key) =>
    make("div", { className: "wb-key-line" },
      make("span", {}, ...key.label.split(" ").map((text) => make("kbd", {}, text))),
      make("span", {}, key.says)),
  );
  openPanel(g, "help", "Keys of the gallery",
    make("div", { className: "wb-panel-head" }, "Keys"),
    make("div", { className: "wb-key-lines" }, ...lines),
    make("p", {}, "A label moves on to the next card, and past the last card to the next page. It shows once it is on disk."),
    make("p", {}, "Click a card to select it, double-click it to search for more like it."));
  g.panel.close.focus({ preventScroll: true });
}

/** Ask for the selected tile in its surroundings; `showContext` shows it when it comes. */
function askContext(g) {
  if (g.cursor < 0) return;
  g.wanted = g.cursor;
  g.tell({ do: "context", number: g.cursor });
}

/** An object's outline in the middle third of its surroundings. */
function framed(outline) {
  return draw("svg", { class: "wb-object", viewBox: "-1 -1 3 3", "aria-hidden": "true" }, draw("path", { d: pathOf(outline) }));
}

/** A tile in its surroundings: the tile is the middle third, framed. */
function showContext(g, number, picture) {
  if (number !== g.wanted) return;
  const hit = g.model.get("page").cards.find((each) => each.number === number);
  if (!hit) return;
  const words = `${hit.outline?.length ? `Object ${hit.rank}` : `Tile ${number.toLocaleString("en")}`} in its surroundings`;
  const url = URL.createObjectURL(new Blob([picture], { type: "image/jpeg" }));
  const image = make("img", { alt: words, src: url });
  openPanel(g, "context", words,
    make("div", { className: "wb-context-picture" }, image, hit.outline?.length ? framed(hit.outline) : make("div", { className: "wb-context-frame" })),
    make("div", { className: "wb-context-text" }, `${hit.rank} · ${tileText(hit)}`));
  g.wanted = number;
  g.contextUrl = url;
  g.panel.panel.addEventListener("click", () => closePanel(g));
}

/** What to do when there are no hits. */
function makeEmpty(browse) {
  const say = make("p", { className: "wb-empty-text" });
  const button = make("button", { className: "wb-button wb-browse", type: "button", onclick: browse }, "Show some tiles");
  return { root: make("div", { className: "wb-empty" }, say, button), say };
}

/** Fill in what to do: with a map, without one, or after a search that found nothing. */
function fillEmpty(empty, page) {
  empty.root.hidden = page.total > 0;
  const start = page.mapped
    ? "Click a tile on the map, or draw a rectangle, to see what is like it."
    : "This imagery has no place on earth, so there is nothing to click on the map. Start from one of its tiles.";
  const none = page.queue ? `Nothing is left to ${page.objects ? "review" : "mark"} here (${page.queue}). Choose what else to show, by the arrow beside Refine.` : "";
  empty.say.textContent = none || (page.query ? "There are no hits. Search from another place." : start);
}
