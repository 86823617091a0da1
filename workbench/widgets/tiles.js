// Map layers whose tiles come from the kernel through this model's messages.

const AGAIN_MS = 300;
const AFTER_CHANGE_MS = 120; // cards come first, and labels set in a row are drawn once
const STRETCH = 8192;

/** One layer: Leaflet asks it for tiles; it asks the kernel, and asks again for all in view when the version changes. */
function kernelLayer(info, requests) {
  const images = new Map();
  let now = info;
  const fetch = (image) => {
    const tile = images.get(image);
    const { coords } = tile;
    const started = performance.now();
    requests.ask(image, [now.number, coords.x, coords.y, coords.z], (picture) => {
      fill(image, picture, () => {
        const detail = { layer: now.number, z: coords.z, ms: performance.now() - started, empty: !picture };
        image.dispatchEvent(new CustomEvent("wb-tile", { bubbles: true, detail }));
        // Leaflet shows a tile once it is told so, which a first request that was given up for a newer one never did.
        tile.done?.(null, image);
        tile.done = null;
      });
    });
  };
  const Layer = window.L.GridLayer.extend({
    createTile(coords, done) {
      const image = document.createElement("img");
      image.alt = "";
      images.set(image, { coords, done });
      fetch(image);
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
    if (stale) for (const image of images.keys()) fetch(image);
  };
  return layer;
}

/** Put a picture into a tile, or empty it; `then` runs when it can be seen. */
function fill(image, picture, then) {
  if (!picture) {
    image.removeAttribute("src");
    image.style.visibility = "hidden";
    then();
    return;
  }
  image.onload = image.onerror = () => {
    image.onload = image.onerror = null;
    then();
  };
  image.style.visibility = "";
  image.src = picture;
}

/** A picture as an address that holds it: a blob's would go through two more processes of the browser. */
function address(data) {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const kind = bytes[0] === 0xff ? "image/jpeg" : "image/webp";
  let text = "";
  for (let start = 0; start < bytes.length; start += STRETCH) {
    text += String.fromCharCode(...bytes.subarray(start, start + STRETCH));
  }
  return `data:${kind};base64,${btoa(text)}`;
}

/** What is asked of the kernel: gathered for one message, forgotten when a tile has left the view. */
function makeRequests(model) {
  const name = Math.random().toString(36).slice(2);
  const size = window.devicePixelRatio > 1.5 ? 512 : 256;
  const waiting = new Map();
  const idOf = new WeakMap();
  let asks = [];
  let drops = [];
  let count = 0;
  let soon = false;
  let timer = null;
  const flush = () => {
    soon = false;
    const ask = asks.filter(([id]) => waiting.has(id));
    if (ask.length || drops.length) tell(model, { do: "tiles", ask, drop: drops });
    asks = [];
    drops = [];
  };
  const later = () => {
    if (!soon) queueMicrotask(flush);
    soon = true;
  };
  const again = () => {
    clearTimeout(timer);
    timer = setTimeout(flush, AGAIN_MS);
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
        again();
        continue;
      }
      waiting.delete(id);
      entry.fill(data ? address(data) : null);
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
      if (waiting.size) tell(model, { do: "tiles", ask: [], drop: [...waiting.keys()] });
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
