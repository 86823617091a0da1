// The gallery: shows what the model says, and turns keys and clicks into messages about the tile that was meant.

const FEW = 10; // cards on a page that pictures are not made larger for

/** What the gallery does: the selection moves at once, everything else is asked of the kernel and then shown. */
class Gallery {
  constructor(model, root, parts) {
    Object.assign(this, parts, { model, root, cards: [], columns: 5, cursor: -1, panel: null, wanted: -1, contextUrl: "" });
    // Messages are answered in order: what was asked is done when the last one is.
    Object.assign(this, { me: Math.random().toString(36).slice(2), sent: 0, done: 0, waiting: false, later: [] });
  }

  /** Ask the kernel for something. */
  tell(message) {
    this.sent += 1;
    tell(this.model, { ...message, ask: `${this.me} ${this.sent}` });
  }

  /** Ask for other cards; what is done before they are there is done then. */
  ask(message) {
    this.waiting = true;
    this.root.setAttribute("aria-busy", "true");
    this.tell(message);
  }

  /** Do something now, or after the cards that were asked for have come. */
  act(action) {
    if (this.waiting) this.later.push(action);
    else action();
  }

  /** The kernel has done what was asked. */
  settle(ask) {
    const [me, count] = ask.split(" ");
    if (me !== this.me) return;
    this.done = Math.max(this.done, Number(count));
    if (this.done < this.sent) return;
    this.goOn();
    this.adopt();
    while (this.later.length && !this.waiting) this.later.shift()();
  }

  /** Wait no longer. */
  goOn() {
    this.waiting = false;
    this.root.setAttribute("aria-busy", "false");
  }

  /** Forget what is waited for, and what was to be done then: the kernel may be gone. */
  giveUp() {
    this.later = [];
    this.goOn();
  }

  /** Select what the kernel says, unless it has not yet heard of what was selected here. */
  adopt() {
    if (this.done === this.sent) this.moveTo(this.model.get("selected"));
  }

  /** The tiles on the page. */
  numbers() {
    return this.model.get("page").cards.map((hit) => hit.number);
  }

  /** Show another tile as selected. */
  moveTo(number) {
    this.cursor = this.numbers().includes(number) ? number : -1;
    this.showPointers();
    if (this.panel?.name === "context" && this.cursor >= 0 && this.cursor !== this.wanted) askContext(this);
  }

  /** Select a tile. */
  select(number) {
    if (number === this.cursor || number < 0) return;
    this.moveTo(number);
    this.tell({ do: "select", number });
  }

  /** Select the card at a place; -1 is the last. */
  pick(place) {
    this.select(this.numbers().at(place) ?? -1);
  }

  /** Move the selection by some cards; one card past an edge is on another page. */
  step(by) {
    const numbers = this.numbers();
    const place = numbers.indexOf(this.cursor);
    if (place < 0) this.pick(0);
    else if (place + by in numbers) this.select(numbers[place + by]);
    else if (Math.abs(by) === 1) this.turn(by, by < 0);
  }

  /** Turn the page, if there is another. */
  turn(by, last = false) {
    const { index, pages } = this.model.get("page");
    this.goTo(index + by, pages, last);
  }

  /** Show a page by its place. */
  goTo(page, pages, last = false) {
    if (page >= 0 && page < pages) this.ask({ do: "page", page, last });
  }

  /** Label the selected tile and move on; without a selection, only select. */
  mark(value, className) {
    const numbers = this.numbers();
    const place = numbers.indexOf(this.cursor);
    if (place < 0) return this.pick(0);
    const then = numbers[place + 1] ?? -1;
    const of = className === undefined ? {} : { class_name: className };
    this.tell({ do: "label", number: this.cursor, value, then, ...of });
    if (then < 0) this.turn(1);
    else this.moveTo(then);
  }

  /** Label the selected tile positive for the class at a place; without cards, look for that class. */
  markClass(place) {
    const name = this.model.get("classes")[place]?.name;
    if (name === undefined) return;
    if (this.numbers().length) this.mark(1, name);
    else this.tell({ do: "choose", name });
  }

  /** Label all cards that carry no label yet. */
  markPage(value) {
    if (this.numbers().length) this.tell({ do: "label_page", value, numbers: this.numbers() });
  }

  /** Search for more like a tile. */
  like(number) {
    if (number >= 0) this.ask({ do: "like", number });
  }

  /** Outline the selected object anew, on the map. */
  edit() {
    if (this.cursor < 0) return;
    this.tell({ do: "edit", number: this.cursor });
    if (this.model.get("page").objects) this.root.dispatchEvent(new CustomEvent("wb-outline", { bubbles: true }));
  }

  /** Show which card is selected and which is pointed at. */
  showPointers() {
    const hovered = this.model.get("hovered");
    for (const card of this.cards) {
      const chosen = card.number >= 0 && card.number === this.cursor;
      card.root.classList.toggle("wb-selected", chosen);
      card.root.classList.toggle("wb-hovered", card.number >= 0 && card.number === hovered);
      card.root.setAttribute("aria-current", chosen);
      for (const button of [card.yes, card.no]) button.tabIndex = chosen ? 0 : -1;
      if (chosen) this.root.setAttribute("aria-activedescendant", card.root.id);
    }
    if (this.cursor < 0) this.root.removeAttribute("aria-activedescendant");
  }

  /** Show the page. */
  showPage() {
    const page = this.model.get("page");
    while (this.cards.length < page.room) this.addCard();
    this.cards.forEach((card, place) => fillCard(card, page.cards[place], page.thumbs[place]));
    this.root.dataset.key = page.key;
    this.root.dataset.full = "false";
    const shown = this.cards.filter((card) => card.url).map((card) => card.picture.decode().catch(() => {}));
    Promise.all(shown).then(() => {
      if (this.root.dataset.key === String(page.key)) this.root.dataset.full = "true";
    });
    const ranked = page.query && page.kind ? `hits like ${page.query}` : page.kind ? "hits" : `tiles · ${page.query}`;
    const found = page.queue ? `${page.objects ? "to review" : "to mark"}: ${page.queue}` : ranked;
    const words = page.total ? [`${page.total.toLocaleString("en")} ${found}`, page.kind].filter(Boolean).join(" · ") : "";
    this.title.textContent = words;
    this.title.title = words;
    this.showPager(page);
    fillEmpty(this.empty, page);
    this.grid.hidden = !page.total;
    this.grid.scrollTop = 0;
    this.moveTo(this.model.get("selected"));
    this.showMarks();
    this.layOut();
    this.takeFocus();
  }

  /** Show where in the pages this one is. */
  showPager({ index, pages }) {
    this.pager.hidden = pages < 2;
    this.pageText.textContent = `page ${index + 1} of ${pages}`;
    this.first.disabled = this.previous.disabled = index <= 0;
    this.next.disabled = index >= pages - 1;
    // A button that is switched off swallows the keys.
    if (this.pager.contains(document.activeElement) && document.activeElement.disabled) this.root.focus();
  }

  /** Show the labels. */
  showMarks() {
    const [marks, remarks, classes, active] = ["marks", "remarks", "classes", "class_name"].map((name) => this.model.get(name));
    for (const card of this.cards) {
      if (!card.hit) continue;
      remarkCard(card, remarks[card.number]);
      markCard(card, marks[card.number] ?? {}, classes, active);
    }
  }

  /** Make the pictures as large as there is room for. */
  layOut() {
    const { room: most, pages, total } = this.model.get("page");
    const room = pages > 1 ? most : Math.min(most, Math.max(FEW, total));
    const style = getComputedStyle(this.grid);
    const width = this.grid.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const height = this.grid.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
    if (!room || width <= 0) return;
    const [columns, side] = arrange(width, height, room);
    this.columns = columns;
    this.grid.style.setProperty("--wb-columns", columns);
    this.grid.style.setProperty("--wb-side", `${side}px`);
  }

  /** Take the keyboard after a search from elsewhere in this workbench, but not from somebody who types. */
  takeFocus() {
    const active = document.activeElement;
    const home = this.root.closest(".wb-root");
    if (!home?.contains(active) || this.root.contains(active)) return;
    if (!active.closest("input, textarea, select, [contenteditable]")) this.root.focus({ preventScroll: true });
  }

  /** One card more. */
  addCard() {
    const keys = (event) => event.detail && this.root.focus({ preventScroll: true });
    const card = makeCard(`wb-card-${this.me}-${this.cards.length}`, {
      select: (number) => this.act(() => this.select(number)),
      like: (number) => this.act(() => this.like(number)),
      hover: (number) => put(this.model, "hovered", number),
      label: (number, value, event) => {
        keys(event);
        this.act(() => {
          this.select(number);
          this.tell({ do: "label", number, value });
        });
      },
    });
    this.cards.push(card);
    this.grid.append(card.root);
  }
}

/** A button of the head. */
function headButton(text, words, onclick) {
  const button = make("button", { className: "wb-button wb-small", type: "button", title: words, onclick }, text);
  button.setAttribute("aria-label", words);
  return button;
}

/** The gallery's elements, empty; what buttons do is asked of `gallery()` when they are pressed. */
function makeParts(gallery) {
  // After a click of the mouse the keys act on the cards, after a press of a key the button keeps the focus.
  const does = (action) => (event) => {
    if (event.detail) gallery().root.focus({ preventScroll: true });
    gallery().act(() => action(gallery()));
  };
  const first = headButton("«", "First page", does((g) => g.goTo(0, g.model.get("page").pages)));
  const previous = headButton("‹", "Previous page (Shift Space)", does((g) => g.turn(-1)));
  const next = headButton("›", "Next page (Space)", does((g) => g.turn(1)));
  const help = headButton("?", "Keys (?)", () => openHelp(gallery()));
  const title = make("div", { className: "wb-gallery-title" });
  const pageText = make("span", { className: "wb-page-text" });
  const pager = make("div", { className: "wb-pager" }, first, previous, pageText, next);
  const head = make("div", { className: "wb-gallery-head" }, title, pager, help);
  const grid = make("div", { className: "wb-cards" });
  const empty = makeEmpty(does((g) => g.ask({ do: "browse" })));
  return { first, previous, next, title, pageText, pager, head, grid, empty };
}

function render({ model, el }) {
  let gallery = null;
  const parts = makeParts(() => gallery);
  const root = make("div", { className: "wb-gallery", tabIndex: 0, role: "group" }, parts.head, parts.grid, parts.empty.root);
  root.setAttribute("aria-label", "Gallery of hits. Press ? for its keys.");
  shield(root);
  gallery = new Gallery(model, root, parts);
  root.addEventListener("keydown", (event) => takeKey(gallery, event));
  el.append(root);
  const message = (content, buffers) => {
    if (typeof content.settled === "string") gallery.settle(content.settled);
    if ("context" in content) showContext(gallery, content.context, buffers[0]);
  };
  model.on("msg:custom", message);
  // Map and toolbar say so when they were clicked.
  const clicked = ({ target }) => root.closest(".wb-root")?.contains(target) && root.focus({ preventScroll: true });
  document.addEventListener("wb-click", clicked);
  const resized = new ResizeObserver(() => gallery.layOut());
  resized.observe(parts.grid);
  const undo = [
    follow(model, ["page"], () => gallery.showPage()),
    follow(model, ["marks", "remarks", "classes", "class_name"], () => gallery.showMarks()),
    follow(model, ["selected"], () => gallery.adopt()),
    follow(model, ["hovered"], () => gallery.showPointers()),
  ];
  return () => {
    undo.forEach((each) => each());
    model.off("msg:custom", message);
    document.removeEventListener("wb-click", clicked);
    resized.disconnect();
    for (const card of gallery.cards) URL.revokeObjectURL(card.url);
    URL.revokeObjectURL(gallery.contextUrl);
    root.remove();
  };
}

export default { render };
