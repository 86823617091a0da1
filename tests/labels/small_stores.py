"""Small label stores: places in a row, and what a store says about them."""

from __future__ import annotations

from pathlib import Path

from shapely.geometry import box

from workbench.labels.store import LabelStore, Place

UTM = "EPSG:32632"


def place(number: int, crs: str | None = UTM) -> Place:
    return Place("raster", box(number, 0, number + 1, 1), crs)


def said(store: LabelStore) -> dict[tuple[float, str], int]:
    return {(label.place.geometry.bounds[0], label.class_name): label.value for label in store.labels()}


def lines(folder: Path) -> list[bytes]:
    return [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().splitlines()]
