"""Labels as outlines on the map: each brought to Web Mercator once, and styled by class, value and what is being labelled."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from shapely.geometry.base import BaseGeometry

from workbench.imagery.outlines import Outlines, Style
from workbench.labels.fold import Label, LabelClass, default_colour
from workbench.labels.frames import labels_frame

Legend = tuple[tuple[str, str], ...]
_MAP = "EPSG:3857"


class LabelShapes:
    """Turns labels into outlines; remembers where each label lies, since all of them come again with every click."""

    def __init__(self) -> None:
        self._known: dict[str, BaseGeometry] = {}
        self._lock = threading.Lock()

    def outlines(self, labels: Sequence[Label], classes: Sequence[LabelClass], active: str) -> tuple[Outlines, Legend]:
        """The labels as outlines, those of the active class above the others, and what their colours mean.

        Positives are filled, negatives have a dashed outline.

        Args:
            labels: those in pixels of a raster without CRS are left out.
            classes: with their colours.
            active: its labels are drawn stronger; all are when it is no class.
        """
        placed = [label for label in labels if label.place.crs is not None]
        known = self._place(placed)
        colours = {item.name: item.colour for item in classes}
        names = sorted({label.class_name for label in placed}, key=lambda name: name == active)
        for number, name in enumerate(names, 1):
            colours.setdefault(name, default_colour(number))
        styles = []
        for name in names:
            strong = name == active or active not in colours
            colour, width, speck = colours[name], 2.0 if strong else 1.0, 4 if strong else 2
            styles += [
                Style(colour, fill=0.04, width=width, dashed=True, speck=speck),
                Style(colour, fill=0.35 if strong else 0.12, width=width, speck=speck),
            ]
        place = {name: 2 * number for number, name in enumerate(names)}
        kinds = np.array([place[label.class_name] + (label.value > 0) for label in placed], np.int64)
        shapes = np.array([known[label.id] for label in placed], object)
        return Outlines(shapes, kinds, styles), _legend(placed, colours)

    def _place(self, placed: Sequence[Label]) -> dict[str, BaseGeometry]:
        with self._lock:
            known = self._known
        new = [label for label in placed if label.id not in known]
        if new:
            found = labels_frame(new, _MAP).geometry
            known = known | {label.id: shape for label, shape in zip(new, found, strict=True)}
            with self._lock:
                self._known = known
        return known


def _legend(placed: Sequence[Label], colours: dict[str, str]) -> Legend:
    said = {(label.class_name, label.value > 0) for label in placed}
    entries = []
    for name, colour in colours.items():
        if (name, True) in said:
            entries.append((colour, name))
        if (name, False) in said:
            entries.append((colour, f"not {name} (dashed)"))
    return tuple(entries)
