// What the tests need inside the page: exact times, counted bytes, tiles that came, and when a cell is done.
// Added before any script of the page. Playwright's own round trips take milliseconds, so nothing is timed from outside.
(() => {
  const counted = { received: 0, sent: 0 };
  const sizeOf = (data) => (typeof data === "string" ? new Blob([data]).size : (data.byteLength ?? data.size ?? 0));
  const Plain = window.WebSocket;
  window.WebSocket = class extends Plain {
    constructor(...given) {
      super(...given);
      this.addEventListener("message", (event) => (counted.received += sizeOf(event.data)));
    }
    send(data) {
      counted.sent += sizeOf(data);
      super.send(data);
    }
  };

  const panel = () => {
    const shell = window.jupyterapp?.shell;
    return [...(shell?.widgets("main") ?? [])].find((widget) => widget.sessionContext && widget.content?.widgets);
  };

  // True once the notebook is shown and its kernel answers.
  const ready = () => {
    const session = panel()?.sessionContext;
    return Boolean(panel()?.context.isReady && session?.isReady && session.session?.kernel?.status === "idle");
  };

  const replaceCells = (source) => {
    const notebook = panel().model.sharedModel;
    notebook.transact(() => {
      notebook.deleteCellRange(0, notebook.cells.length);
      notebook.insertCells(0, source.map((text) => ({ cell_type: "code", source: text, metadata: {}, outputs: [] })));
    });
  };

  // Called before a cell is run: how often it ran to its end is counted from here on.
  const ended = new Map();
  const watchCell = (index) => {
    const model = panel().content.widgets[index].model;
    const state = { running: false, done: false };
    ended.set(index, state);
    model.stateChanged.connect((_, change) => {
      if (change.name !== "executionState") return;
      if (change.newValue === "running") state.running = true;
      else if (state.running) state.done = true;
    });
  };
  const cellDone = (index) => Boolean(ended.get(index)?.done);
  const cellRuns = (index) => panel().content.widgets[index].model.executionState === "running";
  const cellErrors = (index) =>
    panel()
      .content.widgets[index].model.outputs.toJSON()
      .filter((output) => output.output_type === "error")
      .map((output) => output.traceback.join("\n"));

  // From the time stamp that the browser gave the first event of one of the types, to the start of the first animation
  // frame whose callbacks find the condition true: what is painted in that frame is what the user sees.
  const measure = (condition, types, patience) => {
    if (condition()) throw new Error("measure: the condition holds before the action, so nothing could be timed");
    window.__measured = new Promise((resolve, reject) => {
      let start = null;
      const begin = (event) => {
        if (start !== null) return;
        start = event.timeStamp;
        for (const type of types) window.removeEventListener(type, begin, true);
      };
      for (const type of types) window.addEventListener(type, begin, true);
      const limit = performance.now() + patience;
      const look = () => {
        const now = performance.now();
        if (start !== null && condition()) return resolve(now - start);
        if (now < limit) return requestAnimationFrame(look);
        for (const type of types) window.removeEventListener(type, begin, true);
        const what = start === null ? `no event of ${types}` : "the condition did not come true";
        reject(new Error(`measure: ${what} within ${patience} ms: ${condition}`));
      };
      requestAnimationFrame(look);
    });
    window.__measured.catch(() => {});
  };

  // Leaflet's tiles, from their insertion into the page to the class that Leaflet gives them when their image is there.
  const LOADED = "leaflet-tile-loaded";
  let tiles = new Map();
  const inPage = (node) => (node.matches?.(".leaflet-tile") ? [node] : [...(node.querySelectorAll?.(".leaflet-tile") ?? [])]);
  new MutationObserver((changes) => {
    const now = performance.now();
    for (const change of changes) {
      for (const node of change.addedNodes) {
        for (const tile of inPage(node)) {
          const known = tiles.get(tile) ?? { asked: now, loaded: tile.classList.contains(LOADED) ? now : null };
          tiles.set(tile, { ...known, gone: false });
        }
      }
      for (const node of change.removedNodes) for (const tile of inPage(node)) if (tiles.has(tile)) tiles.get(tile).gone = true;
      const seen = change.type === "attributes" ? tiles.get(change.target) : null;
      if (seen && seen.loaded === null && change.target.classList.contains(LOADED)) seen.loaded = now;
    }
  }).observe(document, { subtree: true, childList: true, attributes: true, attributeFilter: ["class"] });
  const tileReport = () => {
    const all = [...tiles.values()];
    return {
      wanted: all.filter((tile) => !tile.gone || tile.loaded !== null).length,
      loaded: all.filter((tile) => tile.loaded !== null).length,
      cancelled: all.filter((tile) => tile.gone && tile.loaded === null).length,
      ms: all.filter((tile) => tile.loaded !== null).map((tile) => tile.loaded - tile.asked),
    };
  };
  const forgetTiles = () => (tiles = new Map());

  window.__lab = { counted, panel, ready, replaceCells, watchCell, cellDone, cellRuns, cellErrors, measure, tileReport, forgetTiles };
})();
