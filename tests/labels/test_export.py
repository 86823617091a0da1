"""Chips and masks: the right pixels, 255 where nobody looked, background only where it is known, a split without leaks."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize
from shapely.affinity import translate
from shapely.geometry import Point, Polygon, box
from shapely.ops import transform as transform_geometry

from workbench.errors import Cancelled, FileExists, LabelInvalid, PathRefused
from workbench.imagery.opening import open_imagery
from workbench.imagery.rasters import Imagery, transformer
from workbench.jobs import Progress
from workbench.labels.chips import SPLITS
from workbench.labels.export import IGNORE, Chips, export_chips, open_chips
from workbench.labels.store import LabelStore, Place

UTM = "EPSG:32632"
X, Y, PIXEL = 500_000.0, 6_200_000.0, 0.5


def write_raster(
    path: Path, data: NDArray[np.generic], *, x: float = X, y: float = Y, crs: str | None = UTM, **options: object
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "count": len(data), "height": data.shape[1], "width": data.shape[2]}
    if crs is not None:
        profile |= {"crs": crs, "transform": Affine(PIXEL, 0, x, 0, -PIXEL, y)}
    with rasterio.open(path, "w", dtype=data.dtype, **profile, **options) as dataset:
        dataset.write(data)


def noise(bands: int, rows: int, cols: int, dtype: str = "uint8", seed: int = 0) -> NDArray[np.generic]:
    return np.random.default_rng(seed).integers(1, 200, (bands, rows, cols)).astype(dtype)


@pytest.fixture
def imagery(tmp_path: Path) -> Imagery:
    """One raster of 320 x 256 pixels."""
    write_raster(tmp_path / "south.tif", noise(3, 256, 320))
    return open_imagery(tmp_path / "south.tif")


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    return LabelStore(tmp_path / "labels")


def in_pixels(imagery: Imagery, *shapes: Polygon) -> list[Place]:
    return [Place(imagery[0].fingerprint, shape, None) for shape in shapes]


def mosaic(chips: Chips, rows: int, cols: int, kind: str = "mask") -> NDArray[np.uint8]:
    """All masks put back in the raster's place; 77 where there is no chip."""
    whole = np.full((rows + 256, cols + 256), 77, np.uint8)
    for chip in chips.records:
        col, row, width, height = chip.window
        with rasterio.open(chips.folder / getattr(chip, kind)) as dataset:
            whole[row : row + height, col : col + width] = dataset.read(1)
    return whole[:rows, :cols]


BLOB = Point(100.3, 90.7).buffer(33.3)
HOUSE = Polygon([(20.2, 150.9), (75.6, 160.1), (70.3, 201.7), (14.9, 190.2)])


def test_masks_are_the_burned_outlines(tmp_path: Path, imagery: Imagery, store: LabelStore) -> None:
    store.define_class("roof")
    store.define_class("tank")
    store.add(in_pixels(imagery, BLOB), "tank")
    store.add(in_pixels(imagery, HOUSE, translate(BLOB, 20, 5)), "roof")
    store.declare_complete(in_pixels(imagery, box(0, 0, 200, 256)))
    chips = export_chips(store, imagery, tmp_path / "chips", chip=64, validation=0)
    expected = rasterize([(box(0, 0, 200, 256), 0)], (256, 320), fill=IGNORE)
    rasterize([(HOUSE, 1), (translate(BLOB, 20, 5), 1)], out=expected)
    rasterize([(BLOB, 2)], out=expected)  # the class of the higher number is burned later
    found = mosaic(chips, 256, 320)
    assert (found[found != 77] == expected[found != 77]).all()
    assert (expected[found == 77] == IGNORE).all()
    assert {1, 2, 0, IGNORE} == set(np.unique(expected))
    assert chips.absent == () and chips.pixels()[1] == (expected == 1).sum()


def test_images_are_the_raster_pixels_in_their_place(tmp_path: Path, imagery: Imagery, store: LabelStore) -> None:
    store.add(in_pixels(imagery, box(70, 70, 80, 80), box(200, 10, 210, 20)), "roof")
    chips = export_chips(store, imagery, tmp_path / "chips", chip=64)
    with rasterio.open(imagery[0].path) as source:
        for chip in chips.records:
            col, row, width, height = chip.window
            for name in (chip.image, chip.mask):
                with rasterio.open(chips.folder / name) as dataset:
                    assert dataset.crs == source.crs and dataset.compression.value == "DEFLATE"
                    assert dataset.transform.c == X + PIXEL * col and dataset.transform.f == Y - PIXEL * row
            with rasterio.open(chips.folder / chip.image) as dataset:
                window = rasterio.windows.Window(col, row, width, height)
                assert (dataset.read() == source.read(window=window)).all()
                assert (dataset.read_masks(1) == 255).all()


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:32633"])
def test_labels_from_another_crs_land_on_the_right_pixels(
    tmp_path: Path, imagery: Imagery, store: LabelStore, crs: str
) -> None:
    ground = imagery[0].from_pixels(BLOB)
    elsewhere = transform_geometry(transformer(UTM, crs).transform, ground)
    store.add([Place(imagery[0].fingerprint, elsewhere, crs)], "tank")
    chips = export_chips(store, imagery, tmp_path / "chips", chip=64, validation=0)
    expected = rasterize([BLOB], (256, 320)).astype(bool)
    assert ((mosaic(chips, 256, 320) == 1) != expected).sum() <= 4


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
@pytest.mark.parametrize("bands", [1, 2, 4, 8])
def test_chips_keep_dtype_and_bands_and_never_gain_an_alpha(
    tmp_path: Path, store: LabelStore, dtype: str, bands: int
) -> None:
    data = noise(bands, 64, 64, dtype)
    write_raster(tmp_path / "in.tif", data, photometric="MINISBLACK")
    imagery = open_imagery(tmp_path / "in.tif")
    store.add(in_pixels(imagery, box(1, 1, 9, 9)), "roof")
    chips = export_chips(store, imagery, tmp_path / "chips", chip=64)
    chip = open_imagery(tmp_path / "chips" / chips.records[0].image)[0]
    assert (chip.dtype, len(chip.bands)) == (dtype, bands)
    assert (chip.read() == data).all() and not np.ma.getmaskarray(chip.read()).any()
    assert len(chips.stretch[imagery[0].fingerprint].low) == bands


@pytest.mark.parametrize("how", ["declared by the file", "declared by the user", "NaN", "internal mask"])
def test_P21_masked_pixels_are_255_in_masks(tmp_path: Path, store: LabelStore, how: str) -> None:
    data = noise(1, 128, 128, "float32" if how == "NaN" else "uint8")
    hole = np.s_[:, 20:50, 30:70]
    data[hole] = np.nan if how == "NaN" else 255
    path = tmp_path / "holes.tif"
    write_raster(path, data, **({"nodata": 255} if how == "declared by the file" else {}))
    if how == "internal mask":
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
            dataset.write_mask(data[0] != 255)
    imagery = open_imagery(path, nodata=255 if how == "declared by the user" else None)
    store.add(in_pixels(imagery, box(40, 40, 100, 100)), "roof")
    store.declare_complete(in_pixels(imagery, box(0, 0, 128, 128)))
    chips = export_chips(store, imagery, tmp_path / "chips", chip=64, validation=0)
    mask = mosaic(chips, 128, 128)
    expected = np.zeros((128, 128), np.uint8)
    expected[40:100, 40:100] = 1
    expected[hole[1:]] = IGNORE
    assert (mask == expected).all()
    for chip in chips.records:
        with rasterio.open(chips.folder / chip.image) as image, rasterio.open(chips.folder / chip.mask) as truth:
            assert ((image.dataset_mask() == 0) == (truth.read(1) == IGNORE)).all()
    assert all(chip.complete for chip in chips.records)


def test_a_raster_edge_is_no_data(tmp_path: Path, store: LabelStore) -> None:
    write_raster(tmp_path / "small.tif", noise(3, 100, 70))
    imagery = open_imagery(tmp_path / "small.tif")
    store.declare_complete(in_pixels(imagery, box(0, 0, 70, 100)))
    store.add(in_pixels(imagery, box(5, 5, 9, 9)), "roof")
    chips = export_chips(store, imagery, tmp_path / "chips", chip=64, validation=0)
    assert sum(chips.pixels()[value] for value in (0, 1)) == 7000
    assert {chip.window for chip in chips.records} == {(c, r, 64, 64) for c in (0, 64) for r in (0, 64)}


def test_only_chips_inside_complete_areas_are_complete(tmp_path: Path, imagery: Imagery, store: LabelStore) -> None:
    store.add(in_pixels(imagery, box(10, 10, 20, 20), box(240, 10, 250, 20)), "roof")
    # Two areas that together cover the second column of chips, drawn in the raster's CRS.
    halves = [imagery[0].from_pixels(box(64, 0, 96, 256)), imagery[0].from_pixels(box(96, 0, 130, 256))]
    store.declare_complete([Place(imagery[0].fingerprint, half, UTM) for half in halves])
    chips = export_chips(store, imagery, tmp_path / "chips", chip=64, validation=0)
    assert {chip.window[0] for chip in chips.records if chip.complete} == {64}
    assert {chip.window[:2] for chip in chips.records if 0 not in chip.pixels} == {(0, 0), (192, 0)}


def test_background_is_known_where_every_class_was_ruled_out(
    tmp_path: Path, imagery: Imagery, store: LabelStore
) -> None:
    store.add(in_pixels(imagery, box(0, 0, 10, 10)), "roof")
    store.add(in_pixels(imagery, box(20, 0, 40, 10)), "roof", -1)
    chips = export_chips(store, imagery, tmp_path / "one", chip=64)
    assert chips.pixels() == {0: 200, 1: 100, 255: 64 * 64 - 300}
    store.add(in_pixels(imagery, box(30, 0, 50, 10)), "road", -1)
    chips = export_chips(store, imagery, tmp_path / "two", chip=64)
    assert chips.pixels() == {0: 100, 1: 100, 255: 64 * 64 - 200}
    assert chips.absent == ("road",) and any('"road"' in warning for warning in chips.warnings)


def test_a_negative_of_one_class_says_nothing_of_the_others(
    tmp_path: Path, imagery: Imagery, store: LabelStore
) -> None:
    """Whole tiles that are not "roof" become background once every class is ruled out, or only roofs are asked for."""
    tile, other = box(64, 0, 128, 64), box(128, 0, 192, 64)
    store.add(in_pixels(imagery, box(0, 0, 10, 10)), "roof")
    store.add(in_pixels(imagery, box(20, 0, 30, 10)), "road")
    store.add(in_pixels(imagery, tile, other), "roof", -1)
    store.add(in_pixels(imagery, other), "road", -1)
    chips = export_chips(store, imagery, tmp_path / "both", chip=64, validation=0)
    assert {chip.window[0]: 0 in chip.pixels for chip in chips.records} == {0: False, 128: True}
    assert chips.pixels()[0] == 64 * 64
    assert any('1 places are marked as not "roof", and nobody said whether "road"' in each for each in chips.warnings)
    roofs = export_chips(store, imagery, tmp_path / "roofs", chip=64, validation=0, classes=["roof"])
    assert roofs.pixels() == {0: 2 * 64 * 64, 1: 100, 255: 64 * 64 - 100} and [c.name for c in roofs.classes] == [
        "roof"
    ]
    roads = export_chips(store, imagery, tmp_path / "roads", chip=64, validation=0, classes=["road"])
    assert [(c.id, c.name) for c in roads.classes] == [(2, "road")] and set(roads.pixels()) == {0, 2, 255}
    with pytest.raises(LabelInvalid, match=r"pool is no class here\. There are roof, road"):
        export_chips(store, imagery, tmp_path / "none", classes=["pool"])


def test_a_whole_tile_is_a_weak_mask_until_something_in_it_is_outlined(
    tmp_path: Path, imagery: Imagery, store: LabelStore
) -> None:
    tiles = [box(0, 0, 64, 64), box(64, 0, 128, 64), box(128, 0, 192, 64)]
    house = box(70, 10, 90, 30)
    store.add(in_pixels(imagery, *tiles[:2]), "roof", whole=True)
    store.add(in_pixels(imagery, tiles[2]), "garden", whole=True)
    store.add(in_pixels(imagery, house, box(140, 10, 150, 20)), "roof")
    chips = export_chips(store, imagery, tmp_path / "weak", chip=64, validation=0)
    expected = np.full((64, 192), IGNORE, np.uint8)
    expected[:, :64], expected[10:30, 70:90] = 1, 1
    expected[:, 128:], expected[10:20, 140:150] = 2, 1  # outlines go over tiles, whatever their numbers
    assert (mosaic(chips, 64, 192) == expected).all()
    store.declare_complete(in_pixels(imagery, tiles[1]))
    chips = export_chips(store, imagery, tmp_path / "complete", chip=64, validation=0)
    expected[:, 64:128] = np.where(expected[:, 64:128] == 1, 1, 0)
    assert (mosaic(chips, 64, 192) == expected).all()
    coco = export_chips(store, imagery, tmp_path / "coco", chip=64, validation=0, layout="coco")
    assert coco.pixels() == chips.pixels()
    again = LabelStore(store.folder)
    assert [label.whole for label in again.labels()] == [True, True, True, False, False]
    assert again.add(in_pixels(imagery, tiles[0]), "roof").endswith('labelled "roof"')
    assert not again.labels("roof")[-1].whole


def test_chips_nobody_looked_at_are_not_written(tmp_path: Path, imagery: Imagery, store: LabelStore) -> None:
    store.add(in_pixels(imagery, box(0, 0, 10, 10)), "roof")
    store.add(in_pixels(imagery, box(200, 200, 210, 210)), "road")
    store.undo()
    store.add(in_pixels(imagery, box(100, 100, 110, 110)), "roof", 0)
    store.add(in_pixels(imagery, box(100.1, 100.1, 100.3, 100.3)), "roof")  # holds no pixel centre
    chips = export_chips(store, imagery, tmp_path / "chips", chip=64)
    assert [chip.window for chip in chips.records] == [(0, 0, 64, 64)]
    assert any("background" in warning for warning in chips.warnings)
    assert any("validation" in warning for warning in chips.warnings)


def test_chips_of_different_sides_share_no_pixel(tmp_path: Path, store: LabelStore) -> None:
    write_raster(tmp_path / "in" / "a.tif", noise(1, 512, 512))
    write_raster(tmp_path / "in" / "b.tif", noise(1, 512, 512, seed=1), x=X + 128, y=Y - 64)  # overlaps the first
    imagery = open_imagery(tmp_path / "in")
    for raster in imagery:
        store.declare_complete([Place(raster.fingerprint, box(0, 0, 512, 512), None)])
        store.add([Place(raster.fingerprint, box(c, c, c + 20, c + 20), None) for c in range(0, 500, 60)], "roof")
    chips = export_chips(store, imagery, tmp_path / "chips", chip=64, stride=32)
    rasters = {raster.fingerprint: raster for raster in imagery}
    grounds = {side: [] for side in SPLITS}
    for chip in chips.records:
        grounds[chip.split].append(rasters[chip.raster].footprint(rasterio.windows.Window(*chip.window)))
    assert all(grounds.values())
    for one, two in combinations(SPLITS, 2):
        apart = min(first.distance(second) for first in grounds[one] for second in grounds[two])
        assert apart >= 0.99 * chips.buffer_m, (one, two)
    on_disk = {f"{path.parent.name}/{path.name}" for path in chips.folder.rglob("*.tif")}
    assert on_disk == {name for chip in chips.records for name in (chip.image, chip.mask)}
    assert sum(len(chips.of(side)) for side in SPLITS) == len(chips)


def test_P39_equal_stems_and_hostile_names_never_collide_or_escape(tmp_path: Path, store: LabelStore) -> None:
    for number, folder in enumerate(["one", "two", "x" * 100]):
        write_raster(tmp_path / "in" / folder / "tile <b>'.tif", noise(1, 64, 64, seed=number))
    imagery = open_imagery(tmp_path / "in")
    for raster in imagery:
        store.add([Place(raster.fingerprint, box(0, 0, 9, 9), None)], "../../../<script>")
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    chips = export_chips(store, imagery, tmp_path / "chips", chip=64, block_m=1000)
    assert len({chip.image for chip in chips.records}) == 3 == len(list((tmp_path / "chips/images").iterdir()))
    assert {path.parents[1].name for path in tmp_path.rglob("*") if path.is_file() and path not in before} <= {
        "chips",
        tmp_path.name,
    }
    assert all(name.isascii() and "<" not in name for chip in chips.records for name in (chip.image, chip.mask))
    assert open_chips(tmp_path / "chips").classes[0].name == "../../../<script>"


def test_a_test_part_is_kept_where_there_is_enough_ground(tmp_path: Path, imagery: Imagery, store: LabelStore) -> None:
    store.declare_complete(in_pixels(imagery, box(0, 0, 320, 256)))
    store.add(in_pixels(imagery, *(box(c, r, c + 9, r + 9) for c in range(0, 310, 25) for r in range(0, 250, 25))), "a")
    few = export_chips(store, imagery, tmp_path / "few", chip=64)  # 2.5 by 2 blocks
    assert not few.of("test") and few.of("validation") and not few.warnings
    many = export_chips(store, imagery, tmp_path / "many", chip=32, block_m=16, buffer_m=0)
    assert 0.1 < len(many.of("test")) / len(many) < 0.25
    asked = export_chips(store, imagery, tmp_path / "asked", chip=64, test=0.2)
    assert asked.of("test")
    corner = LabelStore(tmp_path / "corner")
    corner.declare_complete(in_pixels(imagery, box(0, 0, 60, 60)))
    lone = export_chips(corner, imagery, tmp_path / "lone", chip=32, test=0.2, block_m=1000)
    assert not lone.of("test") and any("no test chip" in warning for warning in lone.warnings)


def test_classes_are_said_to_be_absent_with_their_side(tmp_path: Path, imagery: Imagery, store: LabelStore) -> None:
    store.declare_complete(in_pixels(imagery, box(0, 0, 320, 256)))
    store.add(in_pixels(imagery, *(box(c, r, c + 9, r + 9) for c in range(0, 310, 25) for r in range(0, 250, 25))), "a")
    store.add(in_pixels(imagery, box(1, 1, 4, 4)), "rare")
    store.define_class("never")
    chips = export_chips(store, imagery, tmp_path / "chips", chip=32, test=0.15)
    assert chips.absent == ("never",)
    has = next(side for side in SPLITS if "rare" not in chips.absent_from(side))
    others = [side for side in SPLITS if side != has]
    assert all(chips.absent_from(side) == ("rare", "never") for side in others)
    assert f'No {others[0]} or {others[1]} chip shows "rare": label it in other places too.' in chips.warnings
    with pytest.raises(LabelInvalid, match=r'No chips were written\..*"rare".*"never"'):
        export_chips(store, imagery, tmp_path / "strict", chip=32, require_all=True)
    assert not [path for path in (tmp_path / "strict").rglob("*") if path.is_file()]


@pytest.fixture
def exported(tmp_path: Path, imagery: Imagery, store: LabelStore) -> Chips:
    store.add(in_pixels(imagery, box(0, 0, 10, 10), box(200, 200, 250, 250)), "roof")
    return export_chips(store, imagery, tmp_path / "chips", chip=64)


def test_a_folder_is_replaced_only_when_told(
    tmp_path: Path, imagery: Imagery, store: LabelStore, exported: Chips
) -> None:
    mine = exported.folder / "images" / "notes.txt"
    mine.write_text("keep me")
    with pytest.raises(FileExists, match="not empty"):
        export_chips(store, imagery, exported.folder, chip=64)
    store.undo()
    store.add(in_pixels(imagery, box(0, 100, 10, 110)), "roof")
    again = export_chips(store, imagery, exported.folder, chip=64, overwrite=True)
    assert [chip.window for chip in again.records] == [(0, 64, 64, 64)]
    assert mine.read_text() == "keep me" and len(list(again.folder.rglob("*.tif"))) == 2


def test_nothing_to_export_leaves_the_old_chips(
    tmp_path: Path, imagery: Imagery, store: LabelStore, exported: Chips
) -> None:
    before = {path: path.read_bytes() for path in exported.folder.rglob("*") if path.is_file()}
    with pytest.raises(LabelInvalid, match="no labels"):
        export_chips(LabelStore(tmp_path / "none"), imagery, exported.folder, overwrite=True)
    store.undo()
    store.add([Place("another raster", box(0, 0, 1, 1), None)], "roof")
    with pytest.raises(LabelInvalid, match="1 labels or areas lie on rasters"):
        export_chips(store, imagery, exported.folder, overwrite=True)
    assert before == {path: path.read_bytes() for path in exported.folder.rglob("*") if path.is_file()}


def test_a_cancelled_export_leaves_nothing(tmp_path: Path, imagery: Imagery, store: LabelStore) -> None:
    store.declare_complete(in_pixels(imagery, box(0, 0, 320, 256)))
    progress = Progress(lambda now: now.cancel() if now.done == 3 else None)
    with pytest.raises(Cancelled, match="3 of 20 windows"):
        export_chips(store, imagery, tmp_path / "chips", chip=64, progress=progress)
    assert not [path for path in (tmp_path / "chips").rglob("*") if path.is_file()]
    with pytest.raises(LabelInvalid, match="interrupted"):
        open_chips(tmp_path / "chips")


def test_an_unreadable_window_costs_its_chip_only(tmp_path: Path, store: LabelStore) -> None:
    write_raster(tmp_path / "cut.tif", noise(3, 512, 512), compress="deflate", tiled=True, blockxsize=64, blockysize=64)
    path = tmp_path / "cut.tif"
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    imagery = open_imagery(path)
    store.declare_complete(in_pixels(imagery, box(0, 0, 512, 512)))
    chips = export_chips(store, imagery, tmp_path / "chips", chip=64, validation=0)
    assert 30 < len(chips) < 60 and any("cannot be read" in warning for warning in chips.warnings)


def test_the_manifest_says_what_the_chips_are(exported: Chips) -> None:
    value = json.loads((exported.folder / "manifest.json").read_text())
    assert (value["format"], value["version"], value["ignore"]) == ("workbench-chips", 1, 255)
    assert value["classes"] == [{"id": 1, "name": "roof", "colour": exported.classes[0].colour}]
    assert value["block_m"] == pytest.approx(64, rel=0.01) and value["buffer_m"] == pytest.approx(16, rel=0.01)
    assert set(value["chips"][0]) == {
        *("image", "mask", "raster", "raster_name", "window", "split", "complete", "pixels"),
    }
    assert open_chips(exported.folder) == exported


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda value: value | {"version": 2}, "version 2"),
        (lambda value: value | {"format": "other"}, "not the manifest"),
        (lambda value: [], "not the manifest"),
        (lambda value: value | {"classes": value["classes"] * 2}, "class numbers"),
        (lambda value: value | {"classes": [{"id": 255, "name": "a", "colour": "#000000"}]}, "class numbers"),
        (lambda value: value | {"classes": []}, "mask values"),
        (lambda value: value | {"stretch": {}}, "no stretch"),
        (lambda value: {key: item for key, item in value.items() if key != "chips"}, "chips"),
        (lambda value: value | {"chips": [value["chips"][0] | {"image": "../south.tif"}]}, "south.tif"),
        (lambda value: value | {"chips": [value["chips"][0] | {"mask": "/etc/passwd"}]}, "passwd"),
        (lambda value: value | {"chips": [value["chips"][0] | {"image": "images/gone.tif"}]}, "gone.tif"),
        (lambda value: value | {"chips": [value["chips"][0] | {"split": "buffer"}]}, "split"),
    ],
)
def test_P13_a_manifest_that_cannot_be_trusted_is_refused(exported: Chips, change: object, words: str) -> None:
    path = exported.folder / "manifest.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))  # type: ignore[operator]
    with pytest.raises(LabelInvalid, match=words):
        open_chips(exported.folder)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"[" * 100_000])
def test_P13_a_damaged_manifest_is_refused(exported: Chips, content: bytes) -> None:
    (exported.folder / "manifest.json").write_bytes(content)
    with pytest.raises(LabelInvalid, match=r"manifest\.json"):
        open_chips(exported.folder)


def test_P39_a_manifest_cannot_have_other_files_deleted(
    tmp_path: Path, imagery: Imagery, store: LabelStore, exported: Chips
) -> None:
    path = exported.folder / "manifest.json"
    value = json.loads(path.read_text())
    value["chips"].append(value["chips"][0] | {"image": "../south.tif"})
    path.write_text(json.dumps(value))
    before = sorted(exported.folder.rglob("*"))
    with pytest.raises(LabelInvalid, match="no chips"):
        export_chips(store, imagery, exported.folder, chip=64, overwrite=True)
    assert sorted(exported.folder.rglob("*")) == before and imagery[0].path.exists()


def test_P39_a_link_out_of_the_folder_is_not_followed(
    tmp_path: Path, imagery: Imagery, store: LabelStore, exported: Chips
) -> None:
    outside = tmp_path / "outside"
    (exported.folder / "images").rename(outside)
    (exported.folder / "images").symlink_to(outside)
    before = sorted(outside.iterdir())
    with pytest.raises((PathRefused, LabelInvalid), match="leads out"):
        export_chips(store, imagery, exported.folder, chip=64, overwrite=True)
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    (fresh / "masks").symlink_to(outside)
    with pytest.raises(PathRefused, match="leads out"):
        export_chips(store, imagery, fresh, chip=64, overwrite=True)
    assert sorted(outside.iterdir()) == before and not list(fresh.rglob("*.tif"))


@pytest.mark.parametrize("sizes", [{"chip": 8}, {"chip": 64, "stride": -1}])
def test_sizes_that_make_no_chips_are_refused(
    tmp_path: Path, imagery: Imagery, store: LabelStore, sizes: dict[str, int]
) -> None:
    with pytest.raises(LabelInvalid, match="make no chips"):
        export_chips(store, imagery, tmp_path / "chips", **sizes)


def test_rasters_without_crs_make_chips_too(tmp_path: Path, store: LabelStore) -> None:
    for number in range(2):
        write_raster(tmp_path / "in" / f"{number}.png.tif", noise(3, 200, 200, seed=number), crs=None)
    imagery = open_imagery(tmp_path / "in")
    for raster in imagery:
        store.declare_complete([Place(raster.fingerprint, box(0, 0, 200, 200), None)])
    chips = export_chips(store, imagery, tmp_path / "chips", chip=64)
    assert {chip.split for chip in chips.records} == {"train", "validation"}
    assert open_imagery(chips.folder / chips.records[0].image)[0].crs is None
