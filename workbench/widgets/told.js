// How far the search is: a sentence, precision and count by number of labels as bands, and what may be asked of them.

/** Axes and series by number of labels; a series is {key, className}, its rows hold [low, middle, high] by key. */
function bandPlot(rows, title, series, top) {
  const { width, height, left, right, top: head, bottom } = PLOT;
  const levels = ticks(top);
  const highest = levels.at(-1);
  const last = Math.max(10, rows.at(-1).labels);
  const x = (labels) => left + (labels / last) * (width - left - right);
  const y = (value) => head + (1 - Math.min(value, highest) / highest) * (height - head - bottom);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, class: "wb-plot", role: "img", "aria-label": title });
  svg.append(label(left, 12, title, "wb-title", "start"));
  for (const level of levels) {
    svg.append(draw("path", { d: `M${left} ${y(level)}H${width - right}`, class: level ? "wb-grid" : "wb-axis" }));
    svg.append(label(left - 5, y(level) + 3.2, level.toLocaleString("en"), "wb-tick", "end"));
  }
  for (const labels of ticks(last, 5, true).filter((each) => each > 0 && each <= last)) {
    svg.append(label(x(labels), height - bottom + 12, String(labels), "wb-tick"));
  }
  svg.append(label((left + width - right) / 2, height - 3, "labels", "wb-tick"));
  for (const { key, className } of series) {
    const points = rows.map((row) => [x(row.labels), ...row[key].map(y)]);
    const there = points.map(([at, low]) => `${at.toFixed(1)} ${low.toFixed(1)}`);
    const back = points.map(([at, , , high]) => `${at.toFixed(1)} ${high.toFixed(1)}`).reverse();
    const group = draw("g", { class: className });
    // A single estimate has no width: a line from low to high is its band.
    group.append(draw("path", { d: `M${[...there, ...back].join("L")}Z`, class: "wb-band" }));
    group.append(...points.map(([at, , middle]) => draw("circle", { cx: at, cy: middle, r: 2 })));
    svg.append(group, trace(points.map(([at, , middle]) => [at, middle]), className));
  }
  return svg;
}

/** Both plots and their legend. */
function drawTold(rows) {
  const most = Math.max(...rows.map((row) => Math.min(row.count[2], 3 * row.count[1])), 1);
  const shares = [{ key: "recall", className: "wb-found" }, { key: "precision", className: "wb-right" }];
  const plots = make("div", { className: "wb-plots" },
    bandPlot(rows, "Share", shares, 1),
    bandPlot(rows, "Tiles of the class", [{ key: "count", className: "wb-there" }], most));
  const legend = make("div", { className: "wb-curve-legend" },
    legendEntry("wb-right", "of the answer that is right"),
    legendEntry("wb-found", "of the class that is found"),
    legendEntry("wb-there", "tiles there are; bands hold the truth nine times in ten"));
  return [plots, legend];
}

/** Which tiles are the answer, and the curve as a file. */
function makeToldFoot(model, undo) {
  const tiles = make("input", { type: "number", min: "1", step: "1", "aria-label": "Tiles of the answer" });
  const auto = button({ className: "wb-auto", title: "Let the answer be all tiles that are more likely right than wrong" }, null, "Likely ones");
  const choose = (value) => tell(model, { do: "answer", tiles: value });
  tiles.addEventListener("change", () => tiles.valueAsNumber >= 1 && choose(Math.round(tiles.valueAsNumber)));
  auto.addEventListener("click", () => choose(0));
  const endings = ["csv", "json", "png"].map((ending) =>
    button({ className: "wb-ending", title: `Write the curve as ${ending.toUpperCase()} to exports/`, onclick: () => tell(model, { do: "export curve", ending }) }, null, ending.toUpperCase()),
  );
  const show = () => {
    const { answered, chosen } = model.get("told");
    if (document.activeElement !== tiles) tiles.value = String(answered ?? "");
    auto.disabled = !chosen;
  };
  undo.push(follow(model, ["told"], show));
  return make("div", { className: "wb-told-foot" },
    make("label", {}, "Answer: the best", tiles, "tiles"), auto,
    make("span", { className: "wb-endings" }, "Export", ...endings));
}

/** The button in the status line, and the panel above it that it opens. */
function makeTold(model, undo) {
  const count = make("span", { className: "wb-told-count" });
  const precision = make("span", { className: "wb-told-precision" });
  const toggle = button({ className: "wb-told-button", title: "How far the search is, by the audit", "aria-expanded": "false" }, "curve");
  toggle.append(count, precision);
  const shut = button({ className: "wb-icon-button wb-dismiss", title: "Close" }, "close");
  const words = make("p", { className: "wb-told-words" });
  const body = make("div", { className: "wb-told-body" });
  const panel = make("div", { className: "wb-told", role: "region", "aria-label": "How far the search is", hidden: true });
  panel.append(make("div", { className: "wb-told-head" }, make("strong", {}, "How far the search is"), make("span", { className: "wb-heading" }), shut), words, body, makeToldFoot(model, undo));
  const open = (wanted) => {
    panel.hidden = !wanted;
    toggle.setAttribute("aria-expanded", String(wanted));
    if (wanted) paint();
  };
  const paint = () => {
    const rows = model.get("told_rows");
    if (!panel.hidden && rows.length) body.replaceChildren(...drawTold(rows));
  };
  const show = () => {
    const told = model.get("told");
    toggle.hidden = !told.words;
    count.textContent = told.count ?? "";
    precision.textContent = told.precision ?? "";
    toggle.setAttribute("aria-label", `How far the search is. ${told.words ?? ""}`);
    words.textContent = told.words ?? "";
    if (!told.words) open(false);
    paint();
  };
  toggle.addEventListener("click", () => open(panel.hidden));
  shut.addEventListener("click", () => {
    open(false);
    toggle.focus();
  });
  panel.addEventListener("keydown", (event) => event.key === "Escape" && shut.click());
  undo.push(follow(model, ["told", "told_rows"], show));
  return { toggle, panel, shut: () => open(false) };
}
