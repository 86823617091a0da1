// What to show next: the queues, in a menu beside Refine.

/** A queue to choose. */
function makeQueue(info, choose) {
  const name = make("span", { className: "wb-queue-name" }, info.name);
  const says = make("span", { className: "wb-queue-says" });
  const made = make("button", { type: "button", className: "wb-queue", role: "menuitemradio", onclick: () => choose(info.id) }, name, says);
  made.dataset.queue = info.id || "all";
  return { made, says, id: info.id };
}

/** How the ranking is learned from the marks: a choice, and whether small tiles speak for large ones. */
function makeMethods(model, undo) {
  const options = model.get("methods").map(({ id, name }) => make("option", { value: id }, name));
  const choice = make("select", { className: "wb-method" }, ...options);
  const small = make("input", { type: "checkbox", className: "wb-small-tiles" });
  const learn = () => tell(model, { do: "method", method: choice.value, small_tiles: small.checked });
  choice.addEventListener("change", learn);
  small.addEventListener("change", learn);
  const why = model.get("no_small_tiles");
  const about = "For objects that fill little of a tile: the best smaller tile inside a tile speaks for it";
  const box = make("label", { className: "wb-check", title: why || about }, small, "small tiles speak for large ones");
  small.disabled = Boolean(why);
  const show = () => {
    choice.value = model.get("method");
    small.checked = model.get("small_tiles");
  };
  undo.push(follow(model, ["method", "small_tiles"], show));
  const line = make("div", { className: "wb-line wb-methods" }, make("label", {}, "Rank ", choice), box);
  return [make("div", { className: "wb-heading" }, "How to rank by the marks"), line];
}

/** The button that opens the menu, which the key w opens as well. */
function makeNext(model, panels, undo) {
  const title = "What to show next (w)";
  const anchor = button({ className: "wb-next", title, "aria-label": title }, "open");
  const choose = (name) => {
    panels.close();
    tell(model, { do: "queue", name });
    anchor.dispatchEvent(new CustomEvent("wb-click", { bubbles: true }));
  };
  const queues = model.get("queues").map((info) => makeQueue(info, choose));
  const step = (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const open = queues.map(({ made }) => made).filter((made) => !made.disabled);
    open[(open.indexOf(document.activeElement) + by + open.length) % open.length]?.focus();
  };
  const heading = make("div", { className: "wb-heading" }, "Show next, to be marked");
  const list = make("div", { className: "wb-queues", role: "menu", "aria-label": "What to show next", onkeydown: step });
  const objects = queues.findIndex(({ id }) => id.startsWith("objects "));
  const reviewed = make("div", { className: "wb-heading" }, "Objects of the last map, to be reviewed");
  list.append(...queues.map(({ made }) => made));
  if (objects >= 0) queues[objects].made.before(reviewed);
  const panel = makePanel("What to show next", "wb-next-menu", heading, list, ...makeMethods(model, undo));
  panels.add(anchor, panel);
  const show = () => {
    const infos = model.get("queues");
    queues.forEach(({ made, says, id }, place) => {
      const { says: words, why } = infos[place];
      made.disabled = Boolean(why);
      made.setAttribute("aria-checked", String(id === model.get("queue")));
      says.textContent = why || words;
    });
    anchor.dataset.on = String(Boolean(model.get("queue")));
  };
  undo.push(follow(model, ["queues", "queue"], show));
  const asked = ({ target }) => {
    if (anchor.closest(".wb-root")?.contains(target)) panels.show(anchor, panel);
  };
  document.addEventListener("wb-next", asked);
  undo.push(() => document.removeEventListener("wb-next", asked));
  return anchor;
}
