"""Labels edited in a GIS come back by id: what changed is shown first, applied as one event, and one undo takes it back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from affine import Affine
from shapely.affinity import translate
from shapely.geometry import Polygon, box
from small_rasters import write_raster

from workbench.errors import LabelInvalid
from workbench.imagery.opening import open_imagery
from workbench.imagery.rasters import Imagery
from workbench.labels.edits import review_edits
from workbench.labels.gis import export_gis
from workbench.labels.store import LabelStore, Place

UTM = "EPSG:32632"
X, Y = 500_000.0, 6_200_000.0
Edit = Callable[[gpd.GeoDataFrame], gpd.GeoDataFrame]


@pytest.fixture
def imagery(tmp_path: Path) -> Imagery:
    """Two rasters of 100 x 100 m, side by side."""
    for name, x in (("west", X), ("east", X + 100)):
        pixels = np.full((1, 200, 200), 7, np.uint8)
        write_raster(tmp_path / f"imagery/{name}.tif", pixels, crs=UTM, transform=Affine(0.5, 0, x, 0, -0.5, Y))
    return open_imagery(tmp_path / "imagery")


def square(x: float, y: float, side: float = 10) -> Polygon:
    return box(X + x, Y - y - side, X + x + side, Y - y)


@pytest.fixture
def store(tmp_path: Path, imagery: Imagery) -> LabelStore:
    """Three roofs and what is no pool on the western raster, and a label in pixels of another one."""
    made = LabelStore(tmp_path / "labels")
    west = next(raster.fingerprint for raster in imagery if raster.name == "west.tif")
    made.add([Place(west, square(x, 10), UTM) for x in (0, 20, 40)], "roof")
    made.add([Place(west, square(60, 10), UTM)], "pool", -1)
    made.add([Place("elsewhere", box(0, 0, 5, 5), None)], "roof")
    return made


def said(store: LabelStore) -> dict[tuple[float, str], int]:
    """Value by left edge in metres and class."""
    return {
        (round(label.place.geometry.bounds[0] - X, 1), label.class_name): label.value
        for label in store.labels()
        if label.place.crs
    }


def edited(store: LabelStore, folder: Path, change: Edit, name: str = "labels.gpkg") -> Path:
    """Exports labels and writes them again after a change, as a GIS does."""
    path = export_gis(store, folder / name)
    frame = change(gpd.read_parquet(path) if name.endswith("parquet") else gpd.read_file(path))
    path.unlink()
    frame.to_parquet(path) if name.endswith("parquet") else frame.to_file(path)
    return path


def several(frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """The first moves, the second becomes a pool, the third is deleted, one is added on each raster and one far away."""
    frame = frame.copy()
    step = 3e-5 if frame.crs.is_geographic else 2.0
    frame.loc[0, "geometry"] = translate(frame.geometry[0], step)
    frame.loc[1, "class"] = "pool"
    new = gpd.GeoDataFrame(
        {"class": ["tank", "tank", "tank"]}, geometry=[square(10, 50), square(150, 5), square(900, 0)], crs=UTM
    )
    return pd.concat([frame.drop(index=2), new.to_crs(frame.crs)], ignore_index=True)


@pytest.mark.parametrize("name", ["labels.gpkg", "labels.geojson", "labels.parquet"])
def test_changed_added_and_removed_are_shown_and_applied_as_one_undo(
    tmp_path: Path, imagery: Imagery, store: LabelStore, name: str
) -> None:
    path, before = edited(store, tmp_path, several, name), store.labels()
    edits = review_edits(path, imagery, store)
    assert store.labels() == before  # nothing is applied by looking
    assert edits.words == f"{name}: 2 changed, 2 added, 1 removed, 1 as they were, 1 outside the imagery left out"
    assert edits.changed[["id", "class", "was_class", "redrawn"]].values.tolist() == [
        [before[0].id, "roof", "roof", True],
        [before[1].id, "pool", "roof", False],
    ]
    assert list(edits.removed["id"]) == [before[2].id] and list(edits.added["class"]) == ["tank", "tank"]
    assert edits.added.geometry.to_crs(UTM).area.round().tolist() == [100, 100]
    assert edits.apply() == f"Edits of {name} applied: 2 changed, 2 added, 1 removed"
    found = said(store)
    moved = next(left for left, _ in found if 1 < left < 3)
    assert found == {(moved, "roof"): 1, (20, "pool"): 1, (60, "pool"): -1, (10, "tank"): 1, (150, "tank"): 1}
    rasters = {label.place.raster for label in store.labels("tank")}
    assert rasters == {raster.fingerprint for raster in imagery} and len(store.labels()) == 6
    assert store.undo() is not None and {label.id for label in store.labels()} == {label.id for label in before}
    assert store.redo() is not None and said(store) == found == said(LabelStore(store.folder))


@pytest.mark.parametrize("name", ["labels.gpkg", "labels.geojson", "labels.parquet"])
def test_a_file_that_nobody_edited_changes_nothing(
    tmp_path: Path, imagery: Imagery, store: LabelStore, name: str
) -> None:
    edits = review_edits(export_gis(store, tmp_path / name), imagery, store)
    assert edits.words == f"{name}: 0 changed, 0 added, 0 removed, 4 as they were"
    with pytest.raises(LabelInvalid, match="nothing to apply"):
        edits.apply()


def test_labels_said_since_the_export_are_left_alone(tmp_path: Path, imagery: Imagery, store: LabelStore) -> None:
    path = edited(store, tmp_path, lambda frame: frame.drop(index=0))
    store.add([Place(imagery[0].fingerprint, square(30, 80), UTM)], "roof")
    edits = review_edits(path, imagery, store)
    assert len(edits.removed) == 1 and edits.unchanged == 3
    with pytest.raises(LabelInvalid, match="nothing to apply"):
        edits.apply(removed=False)
    edits.apply()
    assert said(store) == {(20, "roof"): 1, (40, "roof"): 1, (30, "roof"): 1, (60, "pool"): -1}


def test_a_label_that_was_split_keeps_its_id_once(tmp_path: Path, imagery: Imagery, store: LabelStore) -> None:
    def split(frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
        halves = frame.iloc[[0, 0]].copy()
        halves["geometry"] = [box(X, Y - 20, X + 3, Y - 10), box(X + 3, Y - 20, X + 10, Y - 10)]
        return pd.concat([frame.drop(index=0), halves], ignore_index=True)

    edits = review_edits(edited(store, tmp_path, split), imagery, store)
    assert (len(edits.changed), len(edits.added), len(edits.removed)) == (1, 1, 0)
    assert edits.changed.geometry.area.tolist() == [pytest.approx(70)]  # the part nearest to the whole
    edits.apply()
    assert said(store) == {(0, "roof"): 1, (3, "roof"): 1, (20, "roof"): 1, (40, "roof"): 1, (60, "pool"): -1}


def test_ids_that_are_unknown_here_are_added_only_when_told(
    tmp_path: Path, imagery: Imagery, store: LabelStore
) -> None:
    def strange(frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
        other = frame.iloc[[0]].assign(id="another-store/1/1", geometry=[square(80, 80)])
        return pd.concat([frame, other], ignore_index=True)

    path = edited(store, tmp_path, strange)
    edits = review_edits(path, imagery, store)
    assert len(edits.foreign) == 1 and edits.unchanged == 4 and "1 of ids unknown here" in edits.words
    with pytest.raises(LabelInvalid, match="nothing to apply"):
        edits.apply()
    edits.apply(foreign=True)
    assert said(store)[80, "roof"] == 1 and len(said(store)) == 5
    store.undo()
    store.undo()  # the label in pixels
    store.undo()  # no pool: its id is known no more, and nothing brings it back unasked
    again = review_edits(path, imagery, store)
    assert len(again.foreign) == 2 and not len(again.added)


def test_a_label_said_again_since_is_known_by_its_place(tmp_path: Path, imagery: Imagery, store: LabelStore) -> None:
    path = export_gis(store, tmp_path / "labels.gpkg")
    LabelStore(store.folder, by="another").add([store.labels()[0].place], "roof")
    store.reload()
    edits = review_edits(path, imagery, store)
    assert edits.unchanged == 4 and not len(edits.foreign) and not len(edits.removed)


def test_what_changed_after_the_review_is_not_overwritten(tmp_path: Path, imagery: Imagery, store: LabelStore) -> None:
    edits = review_edits(edited(store, tmp_path, several), imagery, store)
    store.add([store.labels()[0].place], "roof", 0)
    before = store.labels()
    with pytest.raises(LabelInvalid, match=r"1 of the labels changed since .* Look through it again"):
        edits.apply()
    assert store.labels() == before


def test_an_outline_moved_to_the_other_raster_goes_with_it(tmp_path: Path, imagery: Imagery, store: LabelStore) -> None:
    def move(frame: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
        return frame.assign(geometry=[translate(frame.geometry[0], 140), *frame.geometry[1:]])

    review_edits(edited(store, tmp_path, move), imagery, store).apply()
    (label,) = (label for label in store.labels() if label.place.crs and label.place.geometry.bounds[0] > X + 100)
    assert imagery.by_fingerprint(label.place.raster).name == "east.tif"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda frame: frame.drop(columns="id"), "no column 'id'"),
        (lambda frame: frame.drop(columns="exported"), "import_labels"),
        (lambda frame: frame.assign(value=[1, 1, 3, 1]), "row 3 has the value '3'"),
        (lambda frame: frame.assign(value=["1", "x", "1", "1"]), "row 2 has the value 'x'"),
        (lambda frame: frame.assign(**{"class": ["a", None, "b", ""]}), "2 rows have no class, the first is row 2"),
        (lambda frame: frame.assign(**{"class": ["a", "b\x01", "b", "c"]}), "control"),
        (lambda frame: frame.assign(geometry=frame.geometry.centroid), "4 Point"),
        (lambda frame: frame.iloc[:0], "no features"),
    ],
)
def test_P13_a_table_that_cannot_be_used_changes_nothing(
    tmp_path: Path, imagery: Imagery, store: LabelStore, change: Edit, words: str
) -> None:
    frame = change(gpd.read_file(export_gis(store, tmp_path / "labels.gpkg"), layer="labels"))
    before = store.labels(), store.classes, {path: path.read_bytes() for path in store.folder.iterdir()}
    with pytest.raises(LabelInvalid, match=words):
        review_edits(frame, imagery, store).apply()
    assert before == (store.labels(), store.classes, {path: path.read_bytes() for path in store.folder.iterdir()})


@pytest.mark.parametrize("content", [b"", b"\x00\xff" * 500, b"SQLite format 3\0 and no more"])
def test_P13_a_damaged_file_changes_nothing(
    tmp_path: Path, imagery: Imagery, store: LabelStore, content: bytes
) -> None:
    (tmp_path / "labels.gpkg").write_bytes(content)
    before = store.labels()
    with pytest.raises(LabelInvalid, match=r"labels\.gpkg"):
        review_edits(tmp_path / "labels.gpkg", imagery, store)
    assert store.labels() == before
