// Outlines, clicks, view, coordinates and legend on the ipyleaflet map.

const AFTER_DRAWING_MS = 400;
const AFTER_MOVING_MS = 200;

/** Keep the map where the model says, and tell the model where the user moved it. */
function syncView(map, model) {
  const differs = (view) => {
    const here = map.latLngToContainerPoint([view.lat, view.lon]);
    const middle = map.getSize().divideBy(2);
    return map.getZoom() !== view.zoom || here.distanceTo(middle) > 1;
  };
  const show = () => {
    const view = model.get("view");
    const [west, south, east, north] = model.get("extent");
    if ("zoom" in view) {
      if (differs(view)) map.setView([view.lat, view.lon], view.zoom, { animate: false });
    } else if (north !== undefined) {
      map.fitBounds([[south, west], [north, east]], { animate: false });
    }
  };
  let timer = null;
  // Tiles are on their way first: what the kernel learns of the move would hold them up.
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(moved, AFTER_MOVING_MS);
  };
  const moved = () => {
    if (!map.getSize().x) return;
    const { lat, lng } = map.getCenter();
    const view = { lat, lon: lng, zoom: map.getZoom() };
    const known = model.get("view");
    if (!("zoom" in known) || differs(known)) put(model, "view", view);
  };
  map.invalidateSize({ animate: false });
  const undo = follow(model, ["view"], show);
  map.on("moveend", later);
  moved();
  return () => {
    undo();
    clearTimeout(timer);
    map.off("moveend", later);
  };
}

/** Clicks on the map, not those that end a drawing; and a drawing that a key began. */
function syncClicks(map, model) {
  let quietUntil = 0;
  let drawing = false;
  const start = () => {
    drawing = true;
  };
  const stop = () => {
    drawing = false;
    quietUntil = performance.now() + AFTER_DRAWING_MS;
  };
  const click = ({ latlng }) => {
    if (drawing || performance.now() < quietUntil) return;
    const { lat, lng } = latlng.wrap();
    map.getContainer().dispatchEvent(new CustomEvent("wb-click", { bubbles: true }));
    tell(model, { do: "click", lon: lng, lat });
  };
  const container = map.getContainer();
  const created = () => {
    // Keys act on the cards again: the next object is selected.
    if (model.get("tool") === "edit") container.dispatchEvent(new CustomEvent("wb-click", { bubbles: true }));
  };
  const outline = ({ target }) => {
    if (container.closest(".wb-root")?.contains(target)) container.querySelector(".leaflet-draw-draw-polygon")?.click();
  };
  const handlers = { "draw:drawstart": start, "draw:drawstop": stop, "draw:created": created, click };
  map.on(handlers);
  document.addEventListener("wb-outline", outline);
  return () => {
    map.off(handlers);
    document.removeEventListener("wb-outline", outline);
  };
}

/** The outlines: the page of hits, each told apart by its label; the query; what is selected and hovered. */
function syncOutlines(map, model) {
  const pane = map.getPane("wb-outlines") ?? map.createPane("wb-outlines");
  pane.style.zIndex = 450;
  const renderer = window.L.svg({ pane: "wb-outlines", padding: 0.5 });
  const group = window.L.layerGroup().addTo(map);
  let shapes = new Map();
  const weight = (card) => (card.number === model.get("hovered") ? 4 : card.number === model.get("selected") ? 3.5 : 2);
  const style = (card) => {
    const pointed = card.number === model.get("hovered");
    const chosen = card.number === model.get("selected");
    return {
      color: card.colour || (chosen || pointed ? "#fff" : "#ffe45c"),
      weight: weight(card),
      dashArray: card.value < 0 ? "5 4" : null,
      fillOpacity: pointed ? 0.25 : chosen ? 0.12 : 0.01,
      fillColor: card.colour || "#ffe45c",
    };
  };
  // A dark line under each bright one shows it on any ground; a shadow by CSS would cost ten times as much.
  const casing = (card) => ({ color: "#000", opacity: 0.65, weight: weight(card) + 2, fill: false, interactive: false });
  const restyle = () => {
    for (const [card, shape, under] of shapes.values()) {
      under.setStyle(casing(card));
      shape.setStyle(style(card));
      if (card.number !== model.get("hovered")) continue;
      under.bringToFront();
      shape.bringToFront();
    }
  };
  const redraw = () => {
    group.clearLayers();
    shapes = new Map();
    const options = { renderer, pane: "wb-outlines" };
    const query = model.get("query");
    for (const card of [...model.get("cards")].reverse()) {
      const shape = window.L.polygon(card.ring, { ...options, ...style(card), className: "wb-outline wb-hit" });
      const under = window.L.polygon(card.ring, { ...options, ...casing(card), className: "wb-outline" });
      group.addLayer(under).addLayer(shape);
      shape.getElement()?.setAttribute("data-number", card.number);
      shapes.set(card.number, [card, shape, under]);
    }
    if (query.length) {
      const look = { ...options, color: "#00e5ff", weight: 3, fill: false, interactive: false };
      group.addLayer(window.L.polygon(query, { ...look, color: "#000", opacity: 0.65, weight: 5 }));
      group.addLayer(window.L.polygon(query, { ...look, className: "wb-outline wb-query" }));
    }
  };
  // Heard by the map, for an outline that was drawn anew under the pointer is never left.
  const container = map.getContainer();
  const over = ({ target }) => put(model, "hovered", Number(target.dataset.number ?? -1));
  const left = () => put(model, "hovered", -1);
  container.addEventListener("mouseover", over);
  container.addEventListener("mouseleave", left);
  const undo = [follow(model, ["cards", "query"], redraw), follow(model, ["hovered", "selected"], restyle)];
  return () => {
    undo.forEach((each) => each());
    container.removeEventListener("mouseover", over);
    container.removeEventListener("mouseleave", left);
    group.remove();
    renderer.remove();
  };
}

/** x and y in a raster's own coordinates: a polynomial that the kernel fitted to its projection. */
function project(system, lon, lat) {
  const u = (2 * lon - system.west - system.east) / (system.east - system.west);
  const v = (2 * lat - system.south - system.north) / (system.north - system.south);
  let [x, y, place] = [0, 0, 0];
  for (let i = 0; i <= system.degree; i++) {
    for (let j = 0; i + j <= system.degree; j++, place++) {
      const term = u ** i * v ** j;
      x += system.x[place] * term;
      y += system.y[place] * term;
    }
  }
  return [x, y];
}

/** A longitude from the west of a system's extent on: beyond 180 where that crosses the antimeridian. */
function turn(system, lon) {
  return lon < system.west ? lon + 360 : lon;
}

/** Longitude and latitude under the pointer, and the same in the raster's own coordinates. */
function syncReadout(map, model, box) {
  const show = ({ latlng }) => {
    const { lat, lng } = latlng.wrap();
    const system = model.get("systems").find((s) => s.south <= lat && lat <= s.north && turn(s, lng) <= s.east);
    const [x, y] = system ? project(system, turn(system, lng), lat) : [];
    const own = system ? `${system.crs} ${x.toFixed(system.digits)}, ${y.toFixed(system.digits)}` : "";
    const degrees = `lat ${lat.toFixed(6)}, lon ${lng.toFixed(6)}`;
    box.replaceChildren(...[degrees, own].filter(Boolean).map((words) => make("span", {}, words)));
  };
  const hide = () => {
    box.replaceChildren();
  };
  map.on({ mousemove: show, mouseout: hide });
  return () => map.off({ mousemove: show, mouseout: hide });
}

/** A patch of a colour, or a dashed line of it. */
function swatch(colour, dashed) {
  const patch = make("span", { className: dashed ? "wb-swatch wb-dashed" : "wb-swatch", style: { background: colour } });
  patch.style.setProperty("--wb-colour", colour);
  return patch;
}

/** The legend: a line per colour, folded by a click on its head. */
function syncLegend(model, box) {
  const show = () => {
    const sections = model.get("legend").filter(({ entries }) => entries.length);
    const lines = sections.flatMap(({ name, entries }) => [
      make("div", { className: "wb-legend-name" }, name),
      ...entries.map(([colour, words]) =>
        make("div", {}, swatch(colour, words.endsWith("(dashed)")), words),
      ),
    ]);
    box.replaceChildren(make("summary", {}, "Legend"), ...lines);
    box.hidden = !sections.length;
  };
  return follow(model, ["legend"], show);
}

/** Everything on one map; returns what takes it away again. */
function attach(view, model) {
  const map = view.obj;
  const container = map.getContainer();
  shield(container);
  const { send, touch } = view;
  // ipyleaflet tells the kernel every move of the pointer and of the map; nothing listens to that, and tiles would wait.
  view.touch = () => {};
  view.send = function (message, ...rest) {
    if (message?.event !== "interaction") send.call(view, message, ...rest);
  };
  const readout = make("div", { className: "wb-readout" });
  const legend = make("details", { className: "wb-legend", open: true, ondblclick: (event) => event.stopPropagation() });
  const note = make("div", { className: "wb-map-note" }, model.get("note"));
  window.L.DomEvent.disableClickPropagation(legend);
  container.append(readout, legend, ...(model.get("note") ? [note] : []));
  const resized = new ResizeObserver(() => container.isConnected && map.invalidateSize({ animate: false }));
  resized.observe(container);
  const tool = () => {
    container.dataset.tool = model.get("tool");
  };
  const undo = [
    syncView(map, model),
    syncClicks(map, model),
    syncOutlines(map, model),
    syncReadout(map, model, readout),
    syncLegend(model, legend),
    follow(model, ["tool"], tool),
  ];
  container.wbMap = map; // for those who script the page
  container.dataset.ready = "true";
  return () => {
    undo.forEach((each) => each());
    resized.disconnect();
    for (const box of [readout, legend, note]) box.remove();
    Object.assign(view, { send, touch });
    // ipyleaflet lets a map that is gone listen to the window, and Leaflet one that is resizing tell of it later.
    map.remove();
    map.off();
  };
}

function render({ model, el }) {
  const gone = new AbortController();
  let undo = () => {};
  el.style.display = "none";
  mapView(model, el, gone.signal).then((view) => {
    if (view) undo = attach(view, model);
  });
  return () => {
    gone.abort();
    undo();
  };
}

export default { render };
