// Shared by what lives on the map.

/** The ipyleaflet view that is shown in the same workbench as `el`, as soon as both are on the page. */
async function mapView(model, el, signal) {
  const map = await model.widget_manager.get_model(model.get("map_id"));
  while (!signal.aborted) {
    const root = el.closest(".wb-root");
    for (const promise of root ? Object.values(map.views ?? {}) : []) {
      const view = await promise;
      if (view.obj && root.contains(view.el)) return view;
    }
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
  return null;
}
