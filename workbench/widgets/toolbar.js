// The toolbar: tools, classes, refine, undo, redo and the menus.

/** One button a tool, of which exactly one is in use; arrow keys move between them. */
function makeTools(model, undo) {
  const use = (id) => tell(model, { do: "tool", name: id });
  const buttons = model.get("tools").map(({ id, name, title }) => {
    const made = button({ role: "radio", className: "wb-tool", title: `${name}. ${title}`, onclick: () => use(id) }, id, name);
    made.dataset.tool = id;
    return made;
  });
  const step = (event) => {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const offered = buttons.filter((each) => !each.hidden);
    const place = offered.indexOf(document.activeElement);
    if (!by || place < 0) return;
    event.preventDefault();
    const next = offered[(place + by + offered.length) % offered.length];
    next.focus();
    use(next.dataset.tool);
  };
  const show = () => {
    for (const each of buttons) {
      const active = each.dataset.tool === model.get("tool");
      each.setAttribute("aria-checked", String(active));
      each.tabIndex = active ? 0 : -1;
      each.hidden = each.dataset.tool === "edit" && !active && !model.get("reviewing");
    }
  };
  undo.push(follow(model, ["tool", "reviewing"], show));
  const name = "What a click or an outline on the map does";
  return make("div", { className: "wb-tools wb-group", role: "radiogroup", "aria-label": name, onkeydown: step }, ...buttons);
}

/** Refine, undo, redo. */
function makeVerbs(model, panels, undo) {
  const refine = button({ className: "wb-main wb-refine", onclick: () => tell(model, { do: "refine" }) }, "refine", "Refine");
  const back = button({ className: "wb-icon-button wb-undo", title: "Undo the last label", onclick: () => tell(model, { do: "undo" }) }, "undo");
  const again = button({ className: "wb-icon-button wb-redo", title: "Redo", onclick: () => tell(model, { do: "redo" }) }, "redo");
  const show = () => {
    refine.disabled = Boolean(model.get("refine"));
    refine.title = model.get("refine") || "Rank the archive again by the query and your labels";
    back.disabled = !model.get("undo");
    back.title = model.get("undo") ? "Undo what was labelled last" : "There is nothing to undo";
    again.disabled = !model.get("redo");
    again.title = model.get("redo") ? "Redo what was undone last" : "There is nothing to redo";
  };
  undo.push(follow(model, ["refine", "undo", "redo"], show));
  const next = make("div", { className: "wb-group" }, refine, makeNext(model, panels, undo));
  return make("div", { className: "wb-verbs" }, next, make("div", { className: "wb-group" }, back, again));
}

/** The buttons that open menus. */
function makeMenus(model, panels, asking, undo) {
  const menu = (name, title, panel, prepare) => {
    const made = button({ className: "wb-menu", title }, null, name);
    made.dataset.menu = name.toLowerCase();
    if (name !== "?") made.append(icon("open"));
    panels.add(made, panel, prepare);
    return made;
  };
  return make(
    "div",
    { className: "wb-menus" },
    menu("Query", "Search like an image, or go to a place", queryMenu(model, panels, asking)),
    menu("Layers", "What the map shows", layersMenu(model, panels, undo)),
    menu("Export", "Write labels, chips or polygons", ...exportMenu(model, panels, asking, undo)),
    menu("Train", "Train a U-Net on the labels", trainMenu(model, panels, asking, undo)),
    menu("?", "How it works, and the keys", helpMenu()),
  );
}

/** After a click of the mouse the keys act on the cards again; after a press of a key the button keeps the focus. */
function passKeys({ detail, target }) {
  if (detail && target.closest(".wb-chip, .wb-tool, .wb-verbs") && !target.closest(".wb-next")) target.dispatchEvent(new CustomEvent("wb-click", { bubbles: true }));
}

function render({ model, el }) {
  const undo = [];
  const line = make("div", { className: "wb-toolbar", role: "toolbar", "aria-label": "Workbench" });
  shield(line);
  line.addEventListener("click", passKeys);
  const panels = makePanels(line);
  const asking = makeAsking(model);
  const classes = makeClasses(model, panels);
  line.prepend(
    makeTools(model, undo),
    classes.element,
    makeVerbs(model, panels, undo),
    makeMenus(model, panels, asking, undo),
  );
  el.classList.add("wb-toolbar-view");
  el.append(line);
  return () => {
    for (const each of undo) each();
    classes.remove();
    panels.remove();
    asking.remove();
  };
}

export default { render };
