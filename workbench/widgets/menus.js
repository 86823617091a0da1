// The menus of the toolbar: query, layers, export, train, help.

/** A text field for names and paths, with nothing put in by the browser. */
function field(properties) {
  return make("input", { type: "text", spellcheck: "false", autocomplete: "off", ...properties });
}

/** A number field with its words and unit. */
function number(words, unit, properties) {
  const input = make("input", { type: "number", ...properties });
  return { input, label: make("label", { className: "wb-number" }, make("span", {}, words), input, unit) };
}

/** Fields with a button that sends them; what fails is said below, what is done closes the menu. */
function makeForm(panels, words, verb, fields, send) {
  const failed = make("div", { className: "wb-failed", role: "alert" });
  const act = button({ type: "submit" }, null, verb);
  const submit = async (event) => {
    event.preventDefault();
    if (act.disabled) return;
    failed.textContent = "";
    act.dataset.busy = "true";
    const reason = await send();
    delete act.dataset.busy;
    failed.textContent = reason;
    if (!reason) panels.close(true);
  };
  const line = make("div", { className: "wb-line" }, ...fields, act);
  const form = make("form", { className: "wb-form", onsubmit: submit, noValidate: true });
  form.append(make("div", { className: "wb-heading" }, words), line, failed);
  return { form, act, failed };
}

/** Search by an image, here or from the browser's machine; go to a place. */
function queryMenu(model, panels, asking) {
  const path = field({ placeholder: "chips/roof.png", "aria-label": "Path of an image file" });
  const plain = () => path.value.trim().replace(/^(["'])(.*)\1$/, "$2");
  const byPath = makeForm(panels, "Search like an image file", "Search", [path], async () =>
    plain() ? asking.ask({ do: "search by image", path: plain() }) : "Type the path of an image file first.",
  );
  path.title = "A path on the machine where the notebook runs";
  const file = make("input", { type: "file", accept: ".tif,.tiff,.png,.jpg,.jpeg,.jp2,image/*", hidden: true });
  const chosen = make("span", { className: "wb-chosen" }, "GeoTIFF, PNG or JPEG, up to ", `${model.get("limit") / 1e6} MB`);
  const byUpload = makeForm(panels, "Search like an image from this computer", "Choose …", [chosen, file], async () => "");
  byUpload.act.type = "button";
  byUpload.act.addEventListener("click", () => file.click());
  file.addEventListener("change", async () => {
    const picked = file.files[0];
    if (!picked) return;
    chosen.textContent = picked.name;
    if (picked.size > model.get("limit") || !picked.size) {
      const size = picked.size ? `has ${(picked.size / 1e6).toFixed(1)} MB` : "is empty";
      byUpload.failed.textContent = `${picked.name} ${size}. Choose an image of at most ${model.get("limit") / 1e6} MB.`;
    } else {
      byUpload.failed.textContent = "";
      byUpload.act.dataset.busy = "true";
      chosen.textContent = `${picked.name}: sending and searching …`;
      const reason = await asking.upload(picked.name, await picked.arrayBuffer());
      delete byUpload.act.dataset.busy;
      chosen.textContent = picked.name;
      byUpload.failed.textContent = reason;
      if (!reason) panels.close(true);
    }
    file.value = "";
  });
  const place = field({ placeholder: "27.63, 85.52", "aria-label": "Latitude and longitude, or x and y" });
  place.title = "Latitude and longitude in degrees, or x and y in the coordinate system of the first raster";
  const go = makeForm(panels, "Go to latitude, longitude", "Go", [place], () => asking.ask({ do: "go to", text: place.value }));
  byPath.form.dataset.form = "image";
  byUpload.form.dataset.form = "upload";
  go.form.dataset.form = "place";
  return makePanel("Query", "wb-query-menu", byPath.form, byUpload.form, go.form);
}

/** Send a value at most every `pause` ms, the last one always. */
function paced(send, pause = 120) {
  let [timer, waiting] = [null, null];
  const flush = () => {
    timer = null;
    if (waiting === null) return;
    send(waiting);
    waiting = null;
    timer = setTimeout(flush, pause);
  };
  return (value) => {
    waiting = value;
    if (timer === null) flush();
  };
}

/** One layer's line: shown or not, and how opaque. */
function makeLayer(model, info) {
  const { number: layer } = info;
  const box = make("input", { type: "checkbox" });
  const name = make("span", {}, info.name);
  const slider = make("input", { type: "range", min: "0", max: "100", step: "5", "aria-label": `Opacity of ${info.name}` });
  const share = make("span", { className: "wb-share" });
  const fade = paced((value) => tell(model, { do: "opacity", number: layer, share: value / 100 }));
  let dragging = -Infinity;
  box.addEventListener("change", () => tell(model, { do: "layer", number: layer, shown: box.checked }));
  slider.addEventListener("input", () => {
    dragging = performance.now();
    share.textContent = `${slider.value} %`;
    fade(Number(slider.value));
  });
  const line = make("div", { className: "wb-layer-line" }, make("label", {}, box, name), slider, share);
  line.dataset.layer = layer;
  const show = (now) => {
    name.textContent = now.name;
    box.checked = now.shown;
    slider.disabled = !now.shown;
    if (performance.now() - dragging < 1000) return;
    slider.value = String(Math.round(now.opacity * 100));
    share.textContent = `${slider.value} %`;
  };
  return { line, show };
}

/** Which layers the map shows, and how. */
function layersMenu(model, panels, undo) {
  const list = make("div", { className: "wb-layers" });
  const stretch = make("select", { "aria-label": "Stretch of the imagery" });
  stretch.append(...model.get("stretches").map((name) => make("option", { value: name }, name)));
  stretch.addEventListener("change", () => tell(model, { do: "stretch", name: stretch.value }));
  const whole = button({ title: "Zoom out to the whole imagery", onclick: () => tell(model, { do: "whole imagery" }) }, null, "Whole imagery");
  const lines = new Map();
  const show = () => {
    const infos = model.get("layers");
    for (const [number, { line }] of lines) {
      if (infos.some((info) => info.number === number)) continue;
      line.remove();
      lines.delete(number);
    }
    for (const info of infos) {
      if (!lines.has(info.number)) lines.set(info.number, makeLayer(model, info));
      const { line, show: showLine } = lines.get(info.number);
      showLine(info);
      if (!line.isConnected || list.lastElementChild !== line) list.append(line);
    }
  };
  undo.push(follow(model, ["layers"], () => keepFocus(list, show)));
  undo.push(follow(model, ["stretch"], () => { stretch.value = model.get("stretch"); }));
  const foot = make("div", { className: "wb-line" }, make("label", { className: "wb-stretch" }, "Stretch", stretch), whole);
  return makePanel("Layers", "wb-layers-menu", make("div", { className: "wb-heading" }, "Layers and their opacity"), list, foot);
}

/** Write labels, chips or polygons to new files. */
function exportMenu(model, panels, asking, undo) {
  const chip = number("of", "px", { min: "32", step: "32", value: String(model.get("training").chip) });
  const line = (what, words, verb, more = []) => {
    const path = field({ "aria-label": `Path: ${words}` });
    const value = () => ({ do: "export", what, path: path.value, chip: chip.input.valueAsNumber || 0 });
    const made = makeForm(panels, words, verb, [...more, path], () => asking.ask(value()));
    made.form.dataset.form = what;
    return { ...made, path, what };
  };
  const lines = [
    line("labels", "Labels for a GIS (.gpkg, .geojson or .parquet)", "Write labels"),
    line("chips", "Chips and masks for training (a new folder)", "Write chips", [chip.label]),
    line("polygons", "Polygons of the last map (.gpkg, .geojson or .parquet)", "Write polygons"),
  ];
  const why = { labels: "Label something first", chips: "Label something first", polygons: "Train and map all imagery first" };
  const show = () => {
    for (const { act, what } of lines) {
      const there = model.get("ready").includes(what === "chips" ? "labels" : what);
      const busy = what === "chips" && model.get("job") ? `Wait for the end of: ${model.get("job")}` : "";
      act.disabled = !there || Boolean(busy);
      act.title = there ? busy : why[what];
    }
  };
  const prepare = () => {
    for (const { path, failed } of lines) {
      path.value = path.dataset.suggested;
      failed.textContent = "";
    }
    tell(model, { do: "suggest paths" });
  };
  const fill = () => {
    for (const { path, what } of lines) {
      const suggested = model.get("paths")[what] ?? "";
      // What was typed before the suggestion came stays.
      if (path.value === (path.dataset.suggested ?? "")) path.value = suggested;
      path.dataset.suggested = suggested;
      requestAnimationFrame(() => {
        path.scrollLeft = path.scrollWidth;
      });
    }
  };
  undo.push(follow(model, ["ready", "job"], show), follow(model, ["paths"], fill));
  return [makePanel("Export", "wb-export-menu", ...lines.map(({ form }) => form)), prepare];
}

/** Train a network on the labels, map all imagery with it. */
function trainMenu(model, panels, asking, undo) {
  const { chip, minutes, epochs } = model.get("training");
  const fields = [
    number("Chip size", "px", { min: "32", max: "2048", step: "32", value: String(chip) }),
    number("Stop after", "minutes", { min: "0.5", step: "any", value: String(minutes) }),
    number("or", "epochs", { min: "1", max: "1000", step: "1", value: String(epochs) }),
  ];
  const after = make("input", { type: "checkbox", checked: true });
  const further = make("input", { type: "checkbox" });
  const settings = () => ({
    chip: Math.round(fields[0].input.valueAsNumber) || 0,
    minutes: fields[1].input.valueAsNumber || 0,
    epochs: Math.round(fields[2].input.valueAsNumber) || 0,
    map_after: after.checked,
    go_on: further.checked && !further.disabled,
  });
  const words = "Train a U-Net on the labels";
  const train = makeForm(panels, words, "Train", [], () => asking.ask({ do: "train", ...settings() }));
  train.act.classList.add("wb-main");
  const box = make("label", { className: "wb-check" }, after, "map all imagery when trained");
  const again = make("label", { className: "wb-check" }, further, "go on from the last network");
  const grid = make("div", { className: "wb-settings" }, ...fields.map(({ label }) => label), again, box);
  train.form.insertBefore(grid, train.form.children[1]);
  const note = make("div", { className: "wb-note" }, "The network, its chips and its map go to a new folder in runs/ beside the labels. Labelling goes on meanwhile.");
  train.form.insertBefore(note, train.form.children[2]);
  const map = makeForm(panels, "Map with the last network", "Map all imagery", [], () => asking.ask({ do: "map all imagery" }));
  const batch = number("Crops a step", "", { min: "1", max: "64", step: "1" });
  batch.label.title = "Fewer take less memory: halve them if that ran out";
  const resume = makeForm(panels, "Go on with the training that stopped", "Go on", [batch.label], () =>
    asking.ask({ do: "resume training", batch: Math.round(batch.input.valueAsNumber) || 0, map_after: after.checked }),
  );
  const stopped = make("div", { className: "wb-note" });
  resume.form.insertBefore(stopped, resume.form.children[1]);
  train.form.dataset.form = "train";
  resume.form.dataset.form = "resume";
  map.form.dataset.form = "map";
  const show = () => {
    const busy = model.get("job") ? `Wait for the end of: ${model.get("job")}` : "";
    const [labels, network] = [model.get("ready").includes("labels"), model.get("ready").includes("model")];
    train.act.disabled = Boolean(busy) || !labels;
    train.act.title = busy || (labels ? "Train in the background" : "Label positive and negative places first");
    further.disabled = !network;
    again.title = network ? "Start from what the last network learned: quicker after a review" : "Train a network first";
    const { words: which, batch: crops } = model.get("resumable");
    resume.form.hidden = !which;
    if (which && stopped.textContent !== which) batch.input.value = String(crops);
    stopped.textContent = which ?? "";
    resume.act.disabled = Boolean(busy);
    resume.act.title = busy || "Go on in the background, with the settings it was started with";
    map.act.disabled = Boolean(busy) || !network;
    map.act.title = busy || (network ? "Map in the background" : "Train a network first");
  };
  undo.push(follow(model, ["ready", "job", "resumable"], show));
  return makePanel("Train", "wb-train-menu", resume.form, train.form, map.form);
}

const LOOP = [
  "Search: click a tile on the map, or draw an outline around an example.",
  "Label: mark hits as positive (p) or negative (n), in the gallery or on the map.",
  "Refine: the archive is ranked again by your labels. Beside it: what to show next, and the audit that says when to stop.",
  "Train: a U-Net learns from the labels, in the background, and maps all imagery.",
  "Review what it found, beside Refine: accept (p), reject (n) or outline anew (e). Then train again, from the last network.",
];
const KEYS = [
  ["arrows", "move"],
  ["p n u", "positive, negative, unlabel"],
  ["1 … 9", "positive for class 1 … 9"],
  ["space", "next page"],
  ["z Z", "undo, redo"],
  ["r", "refine"],
  ["w", "what to show next"],
  ["?", "all keys"],
];

/** How it works, in five lines and the keys. */
function helpMenu() {
  const keys = KEYS.flatMap(([key, words]) => [make("dt", {}, make("kbd", {}, key)), make("dd", {}, words)]);
  return makePanel(
    "How it works",
    "wb-help-menu",
    make("div", { className: "wb-heading" }, "How it works"),
    make("ol", {}, ...LOOP.map((line) => make("li", {}, line))),
    make("div", { className: "wb-heading" }, "Keys in the gallery"),
    make("dl", {}, ...keys),
  );
}

/** Change a list without taking the focus from what is in it. */
function keepFocus(list, change) {
  const held = list.contains(document.activeElement) ? document.activeElement : null;
  change();
  if (held && held !== document.activeElement) held.focus({ preventScroll: true });
}
