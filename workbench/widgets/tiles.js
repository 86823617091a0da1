// Map layers whose tiles come from the kernel through this model's messages.

/** One layer: Leaflet asks it for tiles; it asks the kernel, and asks again for all in view when the version changes. */
function kernelLayer(info, requests) {
  const images = new Map();
  let now = info;
  const fetch = (image, coords, done) => {
    const started = performance.now();
    requests.ask(image, [now.number, coords.x, coords.y, coords.z], (blob) => {
      fill(image, blob, () => {
        const detail = { layer: now.number, z: coords.z, ms: performance.now() - started, empty: !blob };
        image.dispatchEvent(new CustomEvent("wb-tile", { bubbles: true, detail }));
        done?.(null, image);
      });
    });
  };
  const Layer = window.L.GridLayer.extend({
    createTile(coords, done) {
      const image = document.createElement("img");
      image.alt = "";
      images.set(image, coords);
      fetch(image, coords, done);
      return image;
    },
  });
  const layer = new Layer({
    tileSize: 256,
    maxZoom: 30,
    maxNativeZoom: info.native,
    opacity: info.opacity,
    keepBuffer: 1,
    className: `wb-layer wb-layer-${info.number}`,
  });
  layer.on("tileunload", ({ tile }) => {
    images.delete(tile);
    requests.drop(tile);
  });
  layer.update = (next) => {
    const stale = next.version !== now.version;
    now = next;
    layer.setOpacity(next.opacity);
    if (stale) for (const [image, coords] of images) fetch(image, coords);
  };
  return layer;
}

/** Put a picture into a tile, or empty it; `then` runs when it can be seen. */
function fill(image, blob, then) {
  if (!blob) {
    image.removeAttribute("src");
    image.style.visibility = "hidden";
    then();
    return;
  }
  const address = URL.createObjectURL(blob);
  const shown = () => {
    URL.revokeObjectURL(address);
    image.onload = image.onerror = null;
    then();
  };
  image.onload = image.onerror = shown;
  image.style.visibility = "";
  image.src = address;
}

/** The kind of a picture by its first bytes. */
function kind(data) {
  const first = new Uint8Array(data.buffer, data.byteOffset, 4);
  if (first[0] === 0x89) return "image/png";
  return first[0] === 0xff ? "image/jpeg" : "image/webp";
}

/** What is asked of the kernel: gathered for one message per frame, forgotten when a tile has left the view. */
function makeRequests(model) {
  const name = Math.random().toString(36).slice(2);
  const size = window.devicePixelRatio > 1.5 ? 512 : 256;
  const waiting = new Map();
  const idOf = new WeakMap();
  let asks = [];
  let drops = [];
  let count = 0;
  let timer = null;
  const flush = () => {
    timer = null;
    const ask = asks.filter(([id]) => waiting.has(id));
    if (ask.length || drops.length) model.send({ do: "tiles", ask, drop: drops });
    asks = [];
    drops = [];
  };
  const later = (delay = 0) => {
    timer ??= setTimeout(flush, delay);
  };
  const forget = (image) => {
    const id = idOf.get(image);
    if (id === undefined || !waiting.delete(id)) return;
    drops.push(id);
    later();
  };
  const answered = ({ tiles }, buffers) => {
    let next = 0;
    for (const [id, state] of tiles ?? []) {
      const data = state === "picture" ? buffers[next++] : null;
      const entry = waiting.get(id);
      if (!entry) continue;
      if (state === "again") {
        asks.push(entry.ask);
        later(300);
        continue;
      }
      waiting.delete(id);
      entry.fill(data ? new Blob([data], { type: kind(data) }) : null);
    }
  };
  model.on("msg:custom", answered);
  return {
    ask(image, tile, fill) {
      forget(image);
      const id = `${name}.${++count}`;
      const ask = [id, ...tile, size];
      idOf.set(image, id);
      waiting.set(id, { ask, fill });
      asks.push(ask);
      later();
    },
    drop: forget,
    close() {
      model.off("msg:custom", answered);
      clearTimeout(timer);
      if (waiting.size) model.send({ do: "tiles", ask: [], drop: [...waiting.keys()] });
      waiting.clear();
    },
  };
}

function render({ model, el }) {
  const gone = new AbortController();
  const requests = makeRequests(model);
  const shown = new Map();
  let undo = () => {};
  el.style.display = "none";
  mapView(model, el, gone.signal).then((view) => {
    if (!view) return;
    const show = () => {
      const wanted = new Map(model.get("layers").map((info) => [info.number, info]));
      for (const [number, layer] of shown) {
        if (wanted.has(number)) continue;
        layer.remove();
        shown.delete(number);
      }
      for (const [number, info] of wanted) {
        if (shown.has(number)) shown.get(number).update(info);
        else shown.set(number, kernelLayer(info, requests).addTo(view.obj).setZIndex(10 + number));
      }
    };
    undo = follow(model, ["layers"], show);
  });
  return () => {
    gone.abort();
    undo();
    for (const layer of shown.values()) layer.remove();
    requests.close();
  };
}

export default { render };
