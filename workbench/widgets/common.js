// Shared by all parts of the screen. Text from outside reaches the page by textContent only.

const NUDGE_MS = 10;

/** An element with properties, listeners (on...) and children (elements or text). */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style" || name === "dataset") Object.assign(element[name], value);
    else if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name === "className" ? "class" : name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Listen to changes of a model for as long as the view is there; returns what undoes it. */
function follow(model, names, show) {
  for (const name of names) model.on(`change:${name}`, show);
  show();
  return () => {
    for (const name of names) model.off(`change:${name}`, show);
  };
}

/** Set a two-way value: the kernel learns it, and its echo is not taken for news. */
function put(model, name, value) {
  if (model.get(name) === value) return;
  model.set(name, value);
  model.save_changes();
}

/**
 * Send the kernel a message, and an empty one right after.
 *
 * Jupyter's server leaves Nagle's algorithm on: after the first small packet (that the kernel is busy) it holds the answer
 * back until the browser's machine confirms that packet, which waits up to 40 ms for something to send along. The empty
 * message is that something: a click is answered a third sooner, a label too.
 */
function tell(model, message, buffers) {
  model.send(message, undefined, buffers);
  setTimeout(() => model.send({ do: "nudge" }), NUDGE_MS);
}

/** Keep JupyterLab's shortcuts away from an element with keys of its own; Ctrl S or Cmd S saves the notebook all the same. */
function shield(element) {
  const guard = "data-lm-suppress-shortcuts";
  element.setAttribute(guard, "true");
  element.addEventListener("keydown", (event) => {
    const saves = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "s";
    if (saves) return element.removeAttribute(guard);
    element.setAttribute(guard, "true");
    event.stopPropagation();
  });
}

/** Shapes that tell classes apart without colour, in a 16 x 16 box. */
const SHAPES = [
  "M8 2a6 6 0 1 0 .01 0Z",
  "M2.5 2.5h11v11h-11Z",
  "M8 1.5 15 14H1Z",
  "M8 1 15 8 8 15 1 8Z",
  "M8 1l2.1 4.7 5 .5-3.8 3.4 1.1 5L8 12l-4.4 2.6 1.1-5L.9 6.2l5-.5Z",
  "M4.5 2h7l3.5 6-3.5 6h-7L1 8Z",
  "M6 1h4v5h5v4h-5v5H6v-5H1V6h5Z",
  "M1 2h14L8 14.5Z",
  "M1 8 8 3l7 5-7 5Z",
];

/** The sign of a class: filled where it is there, an outline with a stroke through it where it is not. */
function sign(number, colour, value = 1) {
  const space = "http://www.w3.org/2000/svg";
  const picture = document.createElementNS(space, "svg");
  picture.setAttribute("viewBox", "0 0 16 16");
  picture.setAttribute("class", "wb-sign");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", SHAPES[(number - 1 + SHAPES.length) % SHAPES.length] + (value < 0 ? "M1 15 15 1" : ""));
  path.setAttribute("fill", value > 0 ? colour : "none");
  path.setAttribute("stroke", colour);
  path.setAttribute("stroke-width", value < 0 ? "2" : "1");
  picture.append(path);
  return picture;
}

/** An element of SVG with attributes and children. */
function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
