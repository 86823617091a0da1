"""Chips in three layouts: the same pixels, masks and sides from each, and nothing is left when an export fails."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image
from shapely.affinity import translate
from shapely.geometry import Point, box
from small_rasters import write_raster

from workbench.errors import Cancelled, DiskFull, LabelInvalid
from workbench.imagery.opening import open_imagery
from workbench.imagery.rasters import Imagery
from workbench.jobs import Progress
from workbench.labels.chips import SPLITS, Chips, open_chips
from workbench.labels.coco import CocoMasks, annotations_of, segmentation_pixels
from workbench.labels.export import export_chips
from workbench.labels.store import LabelStore, Place

LAYOUTS = ("geotiff", "coco", "folder")


@pytest.fixture
def imagery(tmp_path: Path) -> Imagery:
    """160 x 192 pixels in colour, a hole in it."""
    pixels = np.random.default_rng(0).integers(1, 200, (3, 192, 160)).astype(np.uint8)
    pixels[:, 20:30, 40:90] = 255
    return open_imagery(write_raster(tmp_path / "south.tif", pixels, photometric="RGB"), nodata=255)


@pytest.fixture
def store(tmp_path: Path, imagery: Imagery) -> LabelStore:
    """Rings, overlaps of one class and of two, an outline over the hole; one half of the raster is complete."""
    made = LabelStore(tmp_path / "labels")
    ring = Point(60, 100).buffer(25).difference(Point(60, 100).buffer(10))
    blob = Point(30, 30).buffer(14)
    for name, *shapes in (
        ("roof", ring, blob, translate(blob, 12, 4), box(100, 100, 110, 180)),
        ("pool", translate(blob, 3, 15), box(104, 130, 150, 140), box(2, 150, 12, 160)),
    ):
        made.add([Place(imagery[0].fingerprint, shape, None) for shape in shapes], name)
    made.declare_complete([Place(imagery[0].fingerprint, box(0, 0, 90, 192), None)])
    return made


def exported(store: LabelStore, imagery: Imagery, folder: Path, layout: str, **options: object) -> Chips:
    return export_chips(
        store,
        imagery,
        folder,
        layout=layout,
        chip=32,
        block_m=16,
        buffer_m=0,
        test=0.2,
        **options,  # type: ignore[arg-type]
    )


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_all_layouts_hold_the_same_chips(tmp_path: Path, imagery: Imagery, store: LabelStore) -> None:
    first, *others = (exported(store, imagery, tmp_path / layout, layout) for layout in LAYOUTS)
    assert all(first.of(side) for side in SPLITS) and {0, 1, 2, 255} == set(first.pixels())
    for chips in others:
        again = open_chips(chips.folder)
        assert again == chips and (again.classes, again.stretch) == (first.classes, first.stretch)
        assert again.pixel_size_m == pytest.approx(first.pixel_size_m) and again.layout == chips.folder.name
        for one, two in zip(first.records, again.records, strict=True):
            assert (one.window, one.split, one.pixels, one.complete) == (
                two.window,
                two.split,
                two.pixels,
                two.complete,
            )
            assert (first.read_mask(one) == again.read_mask(two)).all()
            pixels, same = (open_imagery(c.folder / r.image)[0].read() for c, r in ((first, one), (again, two)))
            assert (np.ma.getmaskarray(pixels) == np.ma.getmaskarray(same)).all() and (pixels == same).all()


def test_coco_holds_an_annotation_for_each_outline(tmp_path: Path, imagery: Imagery, store: LabelStore) -> None:
    chips = export_chips(store, imagery, tmp_path / "coco", layout="coco", chip=192, validation=0)
    value = json.loads((chips.folder / "annotations/train.json").read_text())
    assert value["categories"] == [
        {"id": known.id, "name": known.name, "supercategory": "", "color": known.colour} for known in chips.classes
    ]
    objects = [item for item in value["annotations"] if not item["iscrowd"]]
    assert [item["category_id"] for item in objects] == [1, 1, 1, 1, 2, 2, 2]
    kinds = [type(item["segmentation"]) for item in objects]
    assert kinds.count(dict) == 1 and kinds.count(list) == 6  # COCO's polygons have no holes
    crowds = [item for item in value["annotations"] if item["iscrowd"]]
    assert [item["category_id"] for item in crowds] == [1, 2]
    assert all(item["area"] == chips.pixels()[255] for item in crowds)
    assert len({item["id"] for item in value["annotations"]}) == 9
    assert (value["images"][0]["width"], value["images"][0]["height"]) == Image.open(
        chips.folder / chips.records[0].image
    ).size


@settings(max_examples=60, deadline=None)
@given(
    mask=arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 1, 2, 7, 255])),
    cut=st.integers(0, 9),
)
def test_a_mask_survives_coco(mask: NDArray[np.uint8], cut: int) -> None:
    left = np.broadcast_to(np.arange(mask.shape[1]) < cut, mask.shape)
    objects = [(number, (mask == number) & side) for number in (1, 2, 7) for side in (left, ~left)]
    told = json.loads(json.dumps(annotations_of(mask, objects, [1, 2, 7])))
    found = tuple((item["category_id"], bool(item["iscrowd"]), item["segmentation"]) for item in told)
    assert (CocoMasks({"a": mask.shape}, {"a": found}).read(Path("a.json"), "a") == mask).all()
    assert all(item["area"] == segmentation_pixels(item["segmentation"], mask.shape).sum() for item in told)


def test_compressed_run_lengths_are_read() -> None:
    """Made with the COCO API of a 9 x 7 mask with a block at rows 2-5, columns 1-4, and a pixel at its last corner."""
    expected = np.zeros((9, 7), bool)
    expected[2:6, 1:5] = expected[8, 6] = True
    assert (segmentation_pixels({"size": [9, 7], "counts": ";4500000?M"}, (9, 7)) == expected).all()


def test_corrections_made_in_a_coco_program_count(tmp_path: Path, imagery: Imagery, store: LabelStore) -> None:
    chips = exported(store, imagery, tmp_path / "coco", "coco")
    path = chips.folder / "annotations/train.json"
    value = json.loads(path.read_text())
    before, digest = chips.pixels("train")[1], chips.digest
    value["annotations"] = [item for item in value["annotations"] if item["iscrowd"] or item["category_id"] != 1]
    path.write_text(json.dumps(value))
    again = open_chips(chips.folder)
    assert before and 1 not in again.pixels("train") and again.digest != digest


def test_masks_of_a_plain_folder_show_the_classes_in_their_colours(
    tmp_path: Path, imagery: Imagery, store: LabelStore
) -> None:
    chips = exported(store, imagery, tmp_path / "folder", "folder")
    chip = next(chip for chip in chips.of("train") if 1 in chip.pixels)
    with Image.open(chips.folder / chip.mask) as picture:
        where = np.argwhere(np.asarray(picture) == 1)[0]
        shown = picture.convert("RGB").getpixel((int(where[1]), int(where[0])))
    assert "#{:02x}{:02x}{:02x}".format(*shown) == chips.classes[0].colour
    lists = {side: (chips.folder / f"{side}.txt").read_text().split() for side in SPLITS}
    assert lists == {side: [Path(chip.image).stem for chip in chips.of(side)] for side in SPLITS}
    (chips.folder / "manifest.json").unlink()
    strangers = open_chips(chips.folder)  # as if somebody else had made it
    assert strangers.classes == chips.classes and strangers.pixels("test") == chips.pixels("test")


def test_other_dtypes_stay_geotiff_in_every_layout(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 4000, (4, 64, 64)).astype(np.uint16)
    imagery = open_imagery(write_raster(tmp_path / "deep.tif", data))
    store = LabelStore(tmp_path / "labels")
    store.add([Place(imagery[0].fingerprint, box(1, 1, 20, 20), None)], "roof")
    for layout in LAYOUTS:
        chips = export_chips(store, imagery, tmp_path / layout, layout=layout, chip=64)  # type: ignore[arg-type]
        assert (open_imagery(chips.folder / chips.records[0].image)[0].read() == data).all()
        assert chips.read_mask(chips.records[0]).sum() == 255 * (64 * 64 - 361) + 361


@pytest.mark.parametrize("layout", LAYOUTS)
def test_P39_a_layout_is_replaced_by_any_other_and_nothing_else_is_touched(
    tmp_path: Path, imagery: Imagery, store: LabelStore, layout: str
) -> None:
    exported(store, imagery, tmp_path / "chips", layout)
    (tmp_path / "chips/images/mine.txt").write_text("keep me")
    for other in LAYOUTS:
        exported(store, imagery, tmp_path / "chips", other, overwrite=True)
        exported(store, imagery, tmp_path / f"fresh {other}", other)
        assert files(tmp_path / "chips") == sorted([*files(tmp_path / f"fresh {other}"), "images/mine.txt"])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_P38_an_export_that_fails_leaves_nothing(
    tmp_path: Path, imagery: Imagery, store: LabelStore, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancel_at(done: int) -> Progress:
        return Progress(lambda now: now.cancel() if now.done == done else None)

    with pytest.raises(Cancelled):
        exported(store, imagery, tmp_path / "chips", layout, progress=cancel_at(5))
    assert files(tmp_path / "chips") == []

    def full(path: Path, value: object) -> None:
        raise DiskFull("needs 5 kB and 0 bytes are free")

    monkeypatch.setattr("workbench.labels.export.write_json", full)  # the last write of all
    with pytest.raises(DiskFull):
        exported(store, imagery, tmp_path / "chips", layout)
    assert files(tmp_path / "chips") == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"annotations": [{"image_id": 99, "category_id": 1, "segmentation": [[0, 0, 1, 0, 1, 1]]}]}, "KeyError"),
        ({"annotations": [{"image_id": 1, "category_id": 9, "segmentation": [[0, 0, 1, 0, 1, 1]]}]}, "category 9"),
        ({"annotations": [{"image_id": 1, "category_id": 1, "segmentation": [[0, 0, 1]]}]}, "three points"),
        (
            {"annotations": [{"image_id": 1, "category_id": 1, "segmentation": {"size": [9, 9], "counts": [81]}}]},
            "run lengths",
        ),
        ({"annotations": None}, "TypeError"),
        ({"categories": []}, "category 1"),
    ],
)
def test_P13_annotations_that_do_not_fit_are_refused(
    tmp_path: Path, imagery: Imagery, store: LabelStore, change: dict[str, object], words: str
) -> None:
    chips = exported(store, imagery, tmp_path / "coco", "coco")
    path = chips.folder / "annotations/train.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    if words == "category 1":  # our own categories are those of the manifest
        assert open_chips(chips.folder).pixels() == chips.pixels()
        return
    with pytest.raises(LabelInvalid, match=words):
        open_chips(chips.folder)


def test_an_unknown_layout_is_named_and_coco_needs_a_class(tmp_path: Path, imagery: Imagery, store: LabelStore) -> None:
    with pytest.raises(LabelInvalid, match="geotiff, coco, folder"):
        exported(store, imagery, tmp_path / "chips", "voc")
    empty = LabelStore(tmp_path / "none")
    empty.declare_complete([Place(imagery[0].fingerprint, box(0, 0, 50, 50), None)])
    with pytest.raises(LabelInvalid, match="no class"):
        exported(empty, imagery, tmp_path / "chips", "coco")
    assert not (tmp_path / "chips").exists()


def test_torchgeo_finds_what_it_needs(tmp_path: Path, imagery: Imagery, store: LabelStore) -> None:
    """A RasterDataset needs names that its regular expression fits, a CRS and a place; masks one band of whole numbers."""
    chips = exported(store, imagery, tmp_path / "chips", "geotiff")
    for chip in chips.records:
        bounds = []
        for kind, name in (("images", chip.image), ("masks", chip.mask)):
            assert re.fullmatch(rf"{kind}/.*\.tif", name)
            with rasterio.open(chips.folder / name) as dataset:
                assert dataset.crs == imagery[0].crs and not dataset.transform.is_identity
                assert kind == "images" or (dataset.count, dataset.dtypes[0]) == (1, "uint8")
                bounds.append(dataset.bounds)
        assert bounds[0] == bounds[1]
