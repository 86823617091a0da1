// The status line: what happened, the running job, the learning curve, what is looked at.

/** What happened last; the whole of it opens above the line. */
function makeSaid(model, undo) {
  const mark = make("span", { className: "wb-alarm" }, icon("alarm"));
  const text = make("span", { className: "wb-text" });
  const live = make("div", { className: "wb-said", role: "status", "aria-atomic": "true" }, mark, text);
  const more = button({ className: "wb-icon-button wb-more", title: "Show the whole message", "aria-expanded": "false" }, "open");
  const whole = make("div", { className: "wb-whole", hidden: true });
  const unfold = (open) => {
    whole.hidden = !open;
    more.setAttribute("aria-expanded", String(open));
    measure();
  };
  const measure = () => {
    more.hidden = whole.hidden && text.scrollWidth <= text.clientWidth;
  };
  const toggle = () => (more.hidden ? null : unfold(whole.hidden));
  const show = () => {
    const [said, alarm] = [model.get("status"), model.get("alarm")];
    live.setAttribute("role", alarm ? "alert" : "status");
    live.dataset.alarm = String(alarm);
    mark.hidden = !alarm;
    if (text.textContent !== said) {
      text.textContent = said;
      whole.textContent = said;
      live.title = said;
      unfold(false);
    }
    measure();
  };
  live.addEventListener("click", toggle);
  more.addEventListener("click", toggle);
  const resized = new ResizeObserver(measure);
  resized.observe(live);
  undo.push(follow(model, ["status", "alarm"], show), () => resized.disconnect());
  return { line: [live, more], whole, fold: () => unfold(false) };
}

/** The running job: how far it is, and Cancel. */
function makeJob(model, undo) {
  const words = make("span", { className: "wb-progress" });
  const fill = make("div", { className: "wb-fill" });
  const bar = make("div", { className: "wb-bar", role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100" }, fill);
  const cancel = button({ className: "wb-cancel", title: "Stop at the end of the current batch" }, null, "Cancel");
  const box = make("div", { className: "wb-job" }, words, bar, cancel);
  cancel.addEventListener("click", () => tell(model, { do: "cancel" }));
  const show = () => {
    const [job, progress, fraction] = ["job", "progress", "fraction"].map((name) => model.get(name));
    box.hidden = !job;
    words.textContent = progress || `${job} …`;
    words.title = `${job}: ${progress}`;
    bar.dataset.unknown = String(fraction < 0);
    bar.setAttribute("aria-label", job);
    if (fraction < 0) bar.removeAttribute("aria-valuenow");
    else bar.setAttribute("aria-valuenow", String(Math.round(fraction * 100)));
    fill.style.width = fraction < 0 ? "" : `${fraction * 100}%`;
    cancel.disabled = model.get("stopping");
    cancel.querySelector(".wb-words").textContent = model.get("stopping") ? "Stopping …" : "Cancel";
  };
  undo.push(follow(model, ["job", "progress", "fraction", "stopping"], show));
  return box;
}

/** The learning curve: a panel above the line, and the button that opens it. */
function makeCurve(model, undo) {
  const toggle = button({ className: "wb-curve-button", title: "Show or hide the learning curve", "aria-expanded": "false" }, "curve", "Learning curve");
  const heading = make("span", { className: "wb-heading" });
  const shut = button({ className: "wb-icon-button wb-dismiss", title: "Close" }, "close");
  const body = make("div", { className: "wb-curve-body" });
  const panel = make("div", { className: "wb-curve", role: "region", "aria-label": "Learning curve", hidden: true });
  panel.append(make("div", { className: "wb-curve-head" }, make("strong", {}, "Learning curve"), heading, shut), body);
  let epochs = 0;
  const open = (wanted) => {
    panel.hidden = !wanted;
    toggle.setAttribute("aria-expanded", String(wanted));
  };
  const show = () => {
    const rows = model.get("curve");
    toggle.hidden = !rows.length;
    if (rows.length) {
      body.replaceChildren(...drawCurve(rows));
      heading.textContent = curveWords(rows);
    }
    if (!rows.length || !epochs) open(rows.length > 0);
    epochs = rows.length;
  };
  toggle.addEventListener("click", () => open(panel.hidden));
  shut.addEventListener("click", () => {
    open(false);
    if (!model.get("job")) tell(model, { do: "dismiss" });
  });
  undo.push(follow(model, ["curve"], show));
  return { toggle, panel, open };
}

/** What is looked at: labels of the class, tiles. */
function makeFacts(model, undo) {
  const name = make("span", { className: "wb-class" });
  const there = make("span", { className: "wb-count" });
  const counts = make("span", { className: "wb-counts" }, name, there);
  const tiles = make("span", { className: "wb-tiles" });
  const how = make("span", { className: "wb-engine" });
  const show = () => {
    const [positive, negative] = model.get("counts");
    counts.hidden = !model.get("class_name");
    name.textContent = model.get("class_name");
    there.textContent = `${positive.toLocaleString("en")} + / ${negative.toLocaleString("en")} −`;
    counts.title = `${model.get("class_name")}: ${positive} positive and ${negative} negative labels`;
    tiles.textContent = model.get("tiles");
    const engine = model.get("engine");
    const searched = engine && ` They are searched so: ${engine}.`;
    tiles.title = `Size of a tile in pixels and on the ground, and how many there are.${searched}`;
    how.textContent = engine && `${engine.split(/[:,]/)[0]} search`;
    how.title = engine;
  };
  undo.push(follow(model, ["class_name", "counts", "tiles", "engine"], show));
  return make("div", { className: "wb-facts" }, counts, tiles, how);
}

function render({ model, el }) {
  const undo = [];
  const said = makeSaid(model, undo);
  const curve = makeCurve(model, undo);
  const told = makeTold(model, undo);
  // They have one place: the one that is opened shuts the other.
  curve.toggle.addEventListener("click", told.shut);
  told.toggle.addEventListener("click", () => curve.open(false));
  const line = make("div", { className: "wb-status-line" }, ...said.line, makeJob(model, undo), curve.toggle, told.toggle, makeFacts(model, undo));
  const box = make("div", { className: "wb-status" }, curve.panel, told.panel, said.whole, line);
  shield(box);
  box.addEventListener("keydown", (event) => event.key === "Escape" && said.fold());
  el.classList.add("wb-status-view");
  el.append(box);
  return () => undo.forEach((each) => each());
}

export default { render };
