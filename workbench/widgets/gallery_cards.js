// The cards of the gallery: made once, then filled with each page and marked with each label.

const GAP = 6;
const FOOT = 18;
const FEWEST = 3;
const MOST = 10;
const LEAST_SIDE = 48;

/** How many columns make the pictures largest, and how large: [columns, pixels]. */
function arrange(width, height, room) {
  let [best, largest] = [FEWEST, 0];
  for (let columns = FEWEST; columns <= MOST; columns++) {
    const rows = Math.ceil(room / columns);
    const across = (width - GAP * (columns - 1)) / columns;
    const down = (height - GAP * (rows - 1)) / rows - FOOT;
    const side = Math.min(across, down);
    if (side > largest) [best, largest] = [columns, side];
  }
  return [best, Math.max(LEAST_SIDE, Math.floor(largest))];
}

/** A card; `does` is told what its picture and buttons are used for, by number. */
function makeCard(id, does) {
  const card = { number: -1, url: "" };
  const button = (className, value, words, text) =>
    make("button", {
      className: `wb-card-button ${className}`,
      type: "button",
      title: words,
      tabIndex: -1,
      onclick: (event) => does.label(card.number, value, event),
      ondblclick: (event) => event.stopPropagation(),
    }, text);
  card.picture = make("img", { className: "wb-picture", alt: "", draggable: false });
  card.badge = make("span", { className: "wb-badge" });
  card.yes = button("wb-yes", 1, "Positive (p)", "✓");
  card.no = button("wb-no", -1, "Negative (n)", "✕");
  card.rank = make("span", { className: "wb-rank" });
  card.others = make("span", { className: "wb-others" });
  card.score = make("span", { className: "wb-score" });
  card.path = draw("path", {});
  const outline = draw("svg", { class: "wb-object", viewBox: "0 0 1 1", "aria-hidden": "true" }, card.path);
  const frame = make("div", { className: "wb-frame" },
    card.picture, outline, card.badge, card.others, make("span", { className: "wb-card-buttons" }, card.yes, card.no));
  frame.addEventListener("click", (event) => event.target.closest("button") || does.select(card.number));
  frame.addEventListener("dblclick", () => does.like(card.number));
  card.root = make("div", { className: "wb-card", role: "group", id },
    frame, make("div", { className: "wb-foot" }, card.rank, card.score));
  card.root.addEventListener("pointerenter", () => does.hover(card.number));
  card.root.addEventListener("pointerleave", () => does.hover(-1));
  return card;
}

/** Which tile a hit is, in words. */
function tileText(hit) {
  return hit.outline?.length ? `object ${hit.rank} · ${hit.text}` : `tile ${hit.number.toLocaleString("en")} · ${hit.text}`;
}

/** An object's outline as a path of SVG; empty for a tile, which fills its picture. */
function pathOf(outline) {
  return outline?.length ? `M${outline.map((point) => point.join(" ")).join("L")}Z` : "";
}

/** Show a hit on a card, or nothing. */
function fillCard(card, hit, thumb) {
  URL.revokeObjectURL(card.url);
  card.url = thumb?.byteLength ? URL.createObjectURL(new Blob([thumb], { type: "image/jpeg" })) : "";
  card.number = hit ? hit.number : -1;
  card.hit = hit;
  card.root.hidden = !hit;
  card.root.dataset.number = card.number;
  card.root.classList.toggle("wb-unread", Boolean(hit) && !card.url);
  if (card.url) card.picture.src = card.url;
  else card.picture.removeAttribute("src");
  if (!hit) return;
  card.root.title = tileText(hit);
  card.path.setAttribute("d", pathOf(hit.outline));
  card.rank.textContent = hit.rank;
  card.score.textContent = hit.score;
}

/** Show a card's labels: the class that is looked for as its border and badge, others as small signs. */
function markCard(card, marks, classes, active) {
  const of = (name) => classes.find((each) => each.name === name) ?? { id: 1, name, colour: "#888888" };
  const value = marks[active] ?? 0;
  const say = (name) => `${marks[name] > 0 ? "positive" : "negative"} for ${name}`;
  const others = Object.keys(marks).filter((name) => name !== active);
  card.root.dataset.value = value;
  card.root.style.setProperty("--wb-class", of(active).colour);
  card.badge.replaceChildren(...(value ? [sign(of(active).id, of(active).colour, value)] : []));
  card.badge.title = value ? say(active) : "";
  card.others.replaceChildren(...others.map((name) => sign(of(name).id, of(name).colour, marks[name])));
  card.others.title = others.map(say).join(", ");
  card.yes.setAttribute("aria-pressed", value > 0);
  card.no.setAttribute("aria-pressed", value < 0);
  card.yes.setAttribute("aria-label", `Hit ${card.hit?.rank} is positive for ${active}`);
  card.no.setAttribute("aria-label", `Hit ${card.hit?.rank} is negative for ${active}`);
  const said = Object.keys(marks).map(say).join(", ");
  card.root.setAttribute("aria-label", `Hit ${card.hit?.rank}, score ${card.hit?.score}, ${said || "no label"}`);
}

/** Say in place of a card's score what the scorer thinks of its label, or what it and the network do not agree on. */
function remarkCard(card, remark) {
  card.score.textContent = remark?.words ?? card.hit.score;
  card.score.title = remark?.says ?? "";
  card.root.dataset.said = String(Boolean(remark));
  card.root.dataset.warn = String(Boolean(remark?.warn));
}
