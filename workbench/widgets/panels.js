// Panels that open below a button of the toolbar, one at a time.

/** The panels of one toolbar: `add` ties a panel to its button, `close` shuts the open one. */
function makePanels(root) {
  let open = null;
  const close = (refocus = false) => {
    if (!open) return;
    const { anchor, panel } = open;
    open = null;
    panel.hidden = true;
    anchor.setAttribute("aria-expanded", "false");
    if (refocus) anchor.focus();
  };
  const show = (anchor, panel, prepare) => {
    close();
    prepare?.();
    panel.hidden = false;
    const line = root.getBoundingClientRect();
    const place = anchor.getBoundingClientRect();
    const left = Math.min(place.left - line.left, line.width - panel.offsetWidth - 4);
    const end = root.closest(".wb-root")?.getBoundingClientRect().bottom ?? window.innerHeight;
    Object.assign(panel.style, {
      left: `${Math.max(4, left)}px`,
      top: `${place.bottom - line.top + 4}px`,
      maxHeight: `${Math.max(150, end - place.bottom - 12)}px`,
    });
    anchor.setAttribute("aria-expanded", "true");
    open = { anchor, panel };
    const first = panel.querySelector('[aria-checked="true"]:enabled') ?? panel.querySelector("input:enabled, select, button:enabled");
    first?.focus({ preventScroll: true });
  };
  const outside = (event) => {
    if (!open) return;
    const path = event.composedPath();
    if (!path.includes(open.panel) && !path.includes(open.anchor)) close();
  };
  const escape = (event) => {
    if (event.key !== "Escape" || !open) return;
    event.stopPropagation();
    close(true);
  };
  const left = (event) => {
    const next = event.relatedTarget;
    if (open && next && !open.panel.contains(next) && next !== open.anchor) close();
  };
  document.addEventListener("pointerdown", outside, true);
  root.addEventListener("keydown", escape);
  root.addEventListener("focusout", left);
  return {
    close,
    /** Open `panel` by `anchor`; `prepare` is called before each opening. */
    add(anchor, panel, prepare) {
      panel.hidden = true;
      anchor.setAttribute("aria-haspopup", "dialog");
      anchor.setAttribute("aria-expanded", "false");
      anchor.addEventListener("click", () => (open?.panel === panel ? close() : show(anchor, panel, prepare)));
      root.append(panel);
    },
    show,
    remove: () => document.removeEventListener("pointerdown", outside, true),
  };
}

/** A panel with a heading for those who cannot see it. */
function makePanel(name, className, ...children) {
  return make("div", { className: `wb-popover ${className}`, role: "dialog", "aria-label": name }, ...children);
}

const PIECE = 1_000_000;

/** Verbs with an answer: each resolves to the reason why it failed, or to "". */
function makeAsking(model) {
  const waiting = new Map();
  const page = Math.random().toString(36).slice(2);
  let count = 0;
  const answered = (message) => {
    waiting.get(message.ask)?.(message.failed ?? "");
    waiting.delete(message.ask);
  };
  const expect = () => {
    const ask = `${page}.${++count}`;
    return [ask, new Promise((resolve) => waiting.set(ask, resolve))];
  };
  model.on("msg:custom", answered);
  return {
    ask(message) {
      const [ask, answer] = expect();
      tell(model, { ...message, ask });
      return answer;
    },
    /** Send a file in pieces, for a server closes the connection on a message that is too long. */
    upload(name, data) {
      const [ask, answer] = expect();
      const size = data.byteLength;
      for (let start = 0; start < size; start += PIECE) {
        tell(model, { do: "upload", ask, name, size, start }, [data.slice(start, start + PIECE)]);
      }
      return answer;
    },
    remove: () => model.off("msg:custom", answered),
  };
}
