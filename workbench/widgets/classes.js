// The strip of classes in the toolbar: a chip each, an input for a new one, and a menu of colours.

/** A chip's parts; they are kept for as long as there is a class of that name. */
function makeChip(name, choose) {
  const key = make("span", { className: "wb-key", "aria-hidden": "true" });
  const picture = make("span", { className: "wb-chip-sign" });
  const words = make("span", { className: "wb-chip-name" }, name);
  const chip = make("button", { type: "button", className: "wb-button wb-chip", onclick: choose }, key, picture, words);
  chip.dataset.class = name;
  return { chip, key, picture, look: "" };
}

/** Show one class on its chip; its sign is drawn anew only when it changed, so that a double click finds it. */
function showChip(parts, known, place, chosen) {
  const { chip, key, picture } = parts;
  const [there, not] = known.counts;
  const pressed = String(chosen);
  const number = place < 9 ? String(place + 1) : "";
  const hint = number ? ` Key ${number}.` : "";
  chip.title = `${known.name}: ${there} positive, ${not} negative labels. Click to look for it.${hint} Double-click for its colour.`;
  chip.setAttribute("aria-label", `${known.name}, ${there} positive, ${not} negative`);
  chip.setAttribute("aria-pressed", pressed);
  key.textContent = number;
  key.hidden = !number;
  const look = `${known.id} ${known.colour}`;
  if (look !== parts.look) picture.replaceChildren(sign(known.id, known.colour));
  parts.look = look;
}

/** The menu of colours of one class. */
function makeColours(model, panels) {
  const name = make("strong", { className: "wb-chip-name" });
  const swatches = make("div", { className: "wb-swatches" });
  const other = make("input", { type: "color", "aria-label": "Another colour" });
  const panel = makePanel(
    "Colour of the class",
    "wb-colours",
    make("div", { className: "wb-heading" }, "Colour of ", name),
    swatches,
    make("label", { className: "wb-other" }, other, "Another colour"),
  );
  const pick = (colour) => tell(model, { do: "colour", name: name.textContent, colour });
  other.addEventListener("change", () => {
    pick(other.value);
    panels.close(true);
  });
  const prepare = (known) => {
    name.textContent = known.name;
    other.value = known.colour;
    const swatch = (colour) => {
      const take = () => {
        pick(colour);
        panels.close(true);
      };
      const look = { className: "wb-swatch-button", style: { background: colour }, dataset: { colour } };
      const state = { title: colour, "aria-label": colour, "aria-pressed": String(colour === known.colour) };
      return make("button", { type: "button", onclick: take, ...look, ...state });
    };
    swatches.replaceChildren(...model.get("palette").map(swatch));
  };
  return { panel, prepare };
}

/** Type a new class: Enter adds and chooses it, Escape leaves it. */
function makeAdding(model) {
  const input = make("input", {
    type: "text",
    className: "wb-new-class",
    placeholder: "name of the class",
    "aria-label": "Name of the new class",
    maxLength: 80,
    hidden: true,
  });
  const open = button({ className: "wb-icon-button wb-add-class", title: "Add a class" }, "add");
  const close = (refocus) => {
    input.hidden = true;
    open.hidden = false;
    input.value = "";
    if (refocus) open.focus();
  };
  open.addEventListener("click", () => {
    open.hidden = true;
    input.hidden = false;
    input.focus();
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close(true);
    if (event.key !== "Enter" || event.isComposing) return;
    // Or the button that gets the focus now would be pressed by the same key.
    event.preventDefault();
    if (!input.value.trim()) return;
    tell(model, { do: "add class", name: input.value });
    close(true);
  });
  input.addEventListener("blur", () => input.value.trim() || close(false));
  return [input, open];
}

/** Everything that has to do with classes; `element` goes into the toolbar. */
function makeClasses(model, panels) {
  const strip = make("div", { className: "wb-strip", role: "group", "aria-label": "Classes" });
  const caret = button({ className: "wb-icon-button wb-caret", title: "Colour of this class" }, "open");
  const { panel, prepare } = makeColours(model, panels);
  const parts = new Map();
  const known = (name) => model.get("classes").find((each) => each.name === name);
  const chipOf = (name) => {
    const made = makeChip(name, () => tell(model, { do: "class", name }));
    made.chip.addEventListener("dblclick", () => known(name) && panels.show(made.chip, panel, () => prepare(known(name))));
    return made;
  };
  const shade = () => {
    const more = strip.scrollWidth - strip.clientWidth - strip.scrollLeft > 2;
    strip.dataset.more = `${strip.scrollLeft > 2 ? "left" : ""}${more ? "right" : ""}`;
  };
  const reveal = () => {
    const chip = parts.get(model.get("class_name"))?.chip;
    if (!chip) return;
    const [from, to] = [chip.offsetLeft, chip.offsetLeft + chip.offsetWidth + caret.offsetWidth];
    if (from - 20 < strip.scrollLeft) strip.scrollLeft = from - 20;
    else if (to + 20 > strip.scrollLeft + strip.clientWidth) strip.scrollLeft = to - strip.clientWidth + 20;
  };
  let chosen = null;
  const show = () => {
    const classes = model.get("classes");
    const names = new Set(classes.map((each) => each.name));
    for (const [name, { chip }] of parts) {
      if (names.has(name)) continue;
      chip.remove();
      parts.delete(name);
    }
    classes.forEach((each, place) => {
      if (!parts.has(each.name)) parts.set(each.name, chipOf(each.name));
      const { chip } = parts.get(each.name);
      showChip(parts.get(each.name), each, place, each.name === model.get("class_name"));
      const chips = strip.querySelectorAll(".wb-chip");
      if (chips[place] !== chip) strip.insertBefore(chip, chips[place] ?? null);
    });
    const active = parts.get(model.get("class_name"))?.chip;
    caret.hidden = !active;
    if (active && active.nextElementSibling !== caret) active.after(caret);
    if (chosen !== model.get("class_name")) reveal();
    chosen = model.get("class_name");
    shade();
  };
  panels.add(caret, panel, () => prepare(known(model.get("class_name"))));
  strip.addEventListener("scroll", shade);
  strip.addEventListener(
    "wheel",
    (event) => {
      if (strip.scrollWidth <= strip.clientWidth || event.deltaX) return;
      event.preventDefault();
      strip.scrollLeft += event.deltaY;
    },
    { passive: false },
  );
  const resized = new ResizeObserver(shade);
  resized.observe(strip);
  const undo = follow(model, ["classes", "class_name"], show);
  return {
    element: make("div", { className: "wb-classes" }, strip, ...makeAdding(model)),
    remove() {
      undo();
      resized.disconnect();
    },
  };
}
