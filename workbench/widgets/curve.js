// The learning curve: losses and mean IoU over the epochs, drawn as SVG.

const PLOT = { width: 264, height: 138, left: 32, right: 12, top: 24, bottom: 28 };

/** Round steps from 0 to at least `top`. */
function ticks(top, most = 4, whole = false) {
  const rough = Math.max(top, 1e-9) / most;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * size).find((each) => each >= rough && (!whole || each >= 1)) ?? 1;
  const found = [];
  for (let value = 0; value < top + step * 0.999; value += step) found.push(Number(value.toPrecision(6)));
  return found;
}

/** The least epoch with the greatest mean IoU, or null. */
function bestRow(rows) {
  return rows.reduce((best, row) => (row.iou !== null && (!best || row.iou > best.iou) ? row : best), null);
}

/** A number for people; "–" where there is none. */
function shown(value, digits = 2) {
  return value === null || value === undefined ? "–" : value.toFixed(digits);
}

/** Text in a plot. */
function label(x, y, words, className, anchor = "middle") {
  return draw("text", { x, y, class: className, "text-anchor": anchor }, words);
}

/** A line through the points that there are, and a dot where one stands alone or ends it. */
function trace(points, className) {
  const group = draw("g", { class: className });
  const known = points.filter(([, y]) => y !== null);
  let path = "";
  points.forEach(([x, y], place) => {
    if (y === null) return;
    const joins = place > 0 && points[place - 1][1] !== null;
    path += `${joins ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
  });
  group.append(draw("path", { d: path || "M0 0" }));
  if (known.length) group.append(draw("circle", { cx: known.at(-1)[0], cy: known.at(-1)[1], r: 2.4 }));
  return group;
}

/** Axes, series and the mark of the best epoch; a series is {key, words, className}. */
function plot(rows, title, series, top, best) {
  const { width, height, left, right, top: head, bottom } = PLOT;
  const levels = ticks(top);
  const highest = levels.at(-1);
  const last = Math.max(5, rows.at(-1).epoch);
  const x = (epoch) => left + ((epoch - 1) / (last - 1)) * (width - left - right);
  const y = (value) => head + (1 - Math.min(value, highest) / highest) * (height - head - bottom);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, class: "wb-plot", role: "img", "aria-label": title });
  svg.append(label(left, 12, title, "wb-title", "start"));
  let end = width - right;
  for (const { key, className } of [...series].reverse()) {
    const words = shown(rows.at(-1)[key]);
    svg.append(label(end, 12, words, "wb-value", "end"), draw("path", { d: `M${end - 44} 8.5h17`, class: `${className} wb-sample` }));
    end -= 54;
  }
  for (const level of levels) {
    svg.append(draw("path", { d: `M${left} ${y(level)}H${width - right}`, class: level ? "wb-grid" : "wb-axis" }));
    svg.append(label(left - 5, y(level) + 3.2, String(level), "wb-tick", "end"));
  }
  for (const epoch of ticks(last, 5, true).filter((each) => each > 0 && each <= last)) {
    svg.append(label(x(epoch), height - bottom + 12, String(epoch), "wb-tick"));
  }
  svg.append(label((left + width - right) / 2, height - 3, "epoch", "wb-tick"));
  if (best) svg.append(draw("path", { d: `M${x(best.epoch)} ${head}V${height - bottom}`, class: "wb-best" }));
  for (const { key, className } of series) {
    svg.append(trace(rows.map((row) => [x(row.epoch), row[key] === null ? null : y(row[key])]), className));
  }
  const marked = best ? best[series.at(-1).key] : null;
  if (marked !== null) svg.append(draw("circle", { cx: x(best.epoch), cy: y(marked), r: 4.5, class: `${series.at(-1).className} wb-ring` }));
  return svg;
}

/** A line of the legend. */
function legendEntry(className, words) {
  const sample = draw("svg", { viewBox: "0 0 20 8", class: "wb-legend-sample" }, draw("path", { d: "M0 4h20", class: className }));
  return make("span", { className: "wb-legend-entry" }, sample, words);
}

/** Two plots side by side, and what they mean. */
function drawCurve(rows) {
  const best = bestRow(rows);
  const losses = rows.flatMap((row) => [row.train, Math.min(row.val ?? 0, 5)]).filter((value) => value !== null);
  const training = { key: "train", className: "wb-train" };
  const validation = { key: "val", className: "wb-val" };
  return [
    make(
      "div",
      { className: "wb-plots" },
      plot(rows, "Loss", [training, validation], Math.max(...losses, 0.01), best),
      plot(rows, "Mean IoU on validation chips", [{ key: "iou", className: "wb-iou" }], 1, best),
    ),
    make(
      "div",
      { className: "wb-curve-legend" },
      legendEntry("wb-train", "training loss"),
      legendEntry("wb-val", "validation loss"),
      legendEntry("wb-iou", "mean IoU"),
      legendEntry("wb-best", "best epoch"),
    ),
  ];
}

/** The curve in one line of words. */
function curveWords(rows) {
  const best = bestRow(rows);
  const found = best ? `best mean IoU ${shown(best.iou)} at epoch ${best.epoch}` : "no IoU yet";
  return `epoch ${rows.at(-1).epoch}: ${found}`;
}
