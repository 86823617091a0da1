// Small signs of one colour, in a 16 x 16 box.

const ICONS = {
  search: "M7 2.3a4.7 4.7 0 1 0 .01 0ZM10.5 10.5 14 14",
  positive: "M8 3v10M3 8h10",
  negative: "M3 8h10",
  unlabel: "M6.5 13.5H14M9.7 2.8l3.6 3.6-6.2 7.1H5.2L2.6 10.9Z",
  complete: "M2.5 5.5v-3h3M10.5 2.5h3v3M13.5 10.5v3h-3M5.5 13.5h-3v-3M5 8l2.2 2.2L11.2 6",
  refine: "M2 5h7M13 5h1M11 3v4M2 11h1M7 11h7M5 9v4",
  undo: "M6 2.5 2.7 5.8 6 9M2.7 5.8h6.6a3.9 3.9 0 0 1 0 7.8H6",
  redo: "M10 2.5l3.3 3.3L10 9M13.3 5.8H6.7a3.9 3.9 0 0 0 0 7.8H10",
  add: "M8 3v10M3 8h10",
  edit: "M3 13l.6-3 7-7 2.4 2.4-7 7ZM9 4.6 11.4 7",
  open: "M4 6.5l4 4 4-4",
  close: "M4 4l8 8M12 4l-8 8",
  alarm: "M8 1.8 15 14H1ZM8 6.2v4M8 11.7v.6",
  curve: "M2 2v12h12M4.5 10.5 7 7l2.5 2 4-5.5",
};

/** A sign by name. */
function icon(name) {
  const look = { fill: "none", stroke: "currentColor", "stroke-width": 1.6, "stroke-linecap": "round", "stroke-linejoin": "round" };
  return draw("svg", { viewBox: "0 0 16 16", class: "wb-icon", "aria-hidden": "true" }, draw("path", { d: ICONS[name], ...look }));
}

/** A button with a sign, words or both; `title` says what it does. */
function button(properties, name, words) {
  const parts = [name ? icon(name) : null, words ? make("span", { className: "wb-words" }, words) : null];
  const { title, className = "", ...rest } = properties;
  return make("button", { type: "button", title, "aria-label": words ?? title, ...rest, className: `wb-button ${className}` }, ...parts);
}
