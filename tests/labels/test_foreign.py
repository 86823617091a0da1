"""Images and masks that somebody else made: pairs by stem, colours or numbers, COCO of other programs, sides of the split."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from workbench.errors import LabelInvalid, RasterUnreadable
from workbench.labels.chips import Chips, open_chips

ROOF, ROAD, LAND = (60, 16, 152), (110, 193, 228), (132, 41, 246)


def picture(path: Path, pixels: NDArray[np.uint8], palette: list[int] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shown = Image.fromarray(pixels, mode="P" if palette else None)
    if palette:
        shown.putpalette(palette)
    shown.save(path)


def photo(seed: int, rows: int = 48, cols: int = 64) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 255, (rows, cols, 3)).astype(np.uint8)


def numbers(seed: int, values: tuple[int, ...] = (0, 1, 2, 255), rows: int = 48, cols: int = 64) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).choice(np.array(values, np.uint8), (rows, cols))


@pytest.fixture
def pairs(tmp_path: Path) -> Callable[..., Path]:
    """Writes pairs of pictures and masks under several folders."""

    def make(masks: Callable[[int], NDArray[np.uint8]] = numbers, places: tuple[str, ...] = ("",) * 6) -> Path:
        for number, place in enumerate(places):
            picture(tmp_path / "set" / place / f"images/p{number}.jpg", photo(number))
            picture(tmp_path / "set" / place / f"masks/p{number}.png", masks(number))
        return tmp_path / "set"

    return make


def masks_of(chips: Chips) -> dict[str, NDArray[np.uint8]]:
    return {chip.image: chips.read_mask(chip) for chip in chips.records}


def test_pairs_of_numbers_need_no_words(pairs: Callable[..., Path]) -> None:
    chips = open_chips(pairs())
    assert [(known.id, known.name) for known in chips.classes] == [(1, "class 1"), (2, "class 2")]
    assert len(chips.of("train")) == 5 and len(chips.of("validation")) == 1 and not chips.of("test")
    for number, (name, mask) in enumerate(sorted(masks_of(chips).items())):
        assert name == f"images/p{number}.jpg" and (mask == numbers(number)).all()
    assert chips.pixels() == {value: sum((numbers(n) == value).sum() for n in range(6)) for value in (0, 1, 2, 255)}


def test_masks_beside_their_images_are_found_by_their_ending(tmp_path: Path) -> None:
    for number in range(3):
        picture(tmp_path / f"a{number}.png", photo(number))
        picture(tmp_path / f"a{number}_mask.png", numbers(number))
    picture(tmp_path / "lone.png", photo(9))
    chips = open_chips(tmp_path)
    assert [(chip.image, chip.mask) for chip in chips.records] == [(f"a{n}.png", f"a{n}_mask.png") for n in range(3)]
    assert chips.warnings == ("1 images or masks have no partner and were left out.",)


def test_0_and_255_alone_are_background_and_a_class(pairs: Callable[..., Path]) -> None:
    chips = open_chips(pairs(lambda number: numbers(number, (0, 255))))
    assert set(chips.pixels()) == {0, 1} and "255 was taken for the class" in chips.warnings[0]


def coloured(number: int, table: tuple[tuple[int, int, int], ...] = (ROOF, ROAD, LAND)) -> NDArray[np.uint8]:
    return np.array(table, np.uint8)[numbers(number, tuple(range(len(table))))]


def test_colours_are_named_by_a_table_in_the_folder(pairs: Callable[..., Path]) -> None:
    folder = pairs(coloured)
    # One mask of the set keeps its colours in a palette, in an order of its own.
    flat = numbers(0, (0, 1, 2))
    picture(folder / "masks/p0.png", 2 - flat, [*LAND, *ROAD, *ROOF])
    table = [
        {"title": "Road", "color": "#6EC1E4"},
        {"title": "Building", "color": "#3C1098"},
        {"title": "Land", "color": "#8429f6"},
    ]
    (folder / "classes.json").write_text(json.dumps({"classes": table, "tags": []}))
    chips = open_chips(folder)
    assert [(known.id, known.name, known.colour) for known in chips.classes] == [
        (1, "Road", "#6ec1e4"),
        (2, "Building", "#3c1098"),
        (3, "Land", "#8429f6"),
    ]
    assert all(
        (mask == np.array([2, 1, 3])[numbers(n, (0, 1, 2))]).all() for n, mask in enumerate(masks_of(chips).values())
    )


def test_colours_that_nobody_named_are_listed(pairs: Callable[..., Path]) -> None:
    folder = pairs(coloured)
    with pytest.raises(LabelInvalid, match=r"#3c1098 3\d\.\d%.*classes="):
        open_chips(folder)
    with pytest.raises(LabelInvalid, match=r"67% of .* no class that classes= names: .*It names building #3c1098"):
        open_chips(folder, classes={"building": "#3c1098"})
    stray = coloured(0)
    stray[0, :10] = (1, 2, 3)
    picture(folder / "masks/p0.png", stray)
    told = {"building": "#3c1098", "land": "#8429F6", "Unlabeled": "#6ec1e4"}
    chips = open_chips(folder, classes=told)
    assert [known.name for known in chips.classes] == ["building", "land"]
    assert "#010203" in chips.warnings[0] and (chips.read_mask(chips.records[0])[0, :10] == 255).all()
    assert (
        chips.pixels()[255]
        == sum((numbers(n, (0, 1, 2)) == 1).sum() for n in range(6)) + (numbers(0, (0, 1, 2))[0, :10] != 1).sum()
    )


def test_numbers_may_be_named_too(pairs: Callable[..., Path]) -> None:
    chips = open_chips(pairs(), classes={"background": 0, "roof": 2, "road": 1, "never": 7})
    assert [(known.id, known.name) for known in chips.classes] == [(1, "road"), (2, "roof"), (7, "never")]
    assert chips.absent == ("never",)
    with pytest.raises(LabelInvalid, match="of no class that classes= names: 2"):
        open_chips(chips.folder, classes={"roof": 1})


@pytest.mark.parametrize(
    ("places", "sides"),
    [
        (("train", "train", "val", "test"), "ttve"),
        (("training/a", "training/b", "valid/a", "Test"), "ttve"),
        (("a", "a", "b", "b", "c", "c"), None),
    ],
)
def test_sub_folders_say_the_side_or_stay_together(
    pairs: Callable[..., Path], places: tuple[str, ...], sides: str | None
) -> None:
    chips = open_chips(pairs(places=places), test=0.0 if sides else 0.3)
    found = {Path(chip.image).stem: chip.split for chip in chips.records}
    if sides:
        letters = {"t": "train", "v": "validation", "e": "test"}
        assert found == {f"p{number}": letters[side] for number, side in enumerate(sides)}
    else:
        assert set(found.values()) == {"train", "validation", "test"}
        assert all(found[f"p{number}"] == found[f"p{number + 1}"] for number in (0, 2, 4))


def test_the_caller_and_lists_say_the_side(pairs: Callable[..., Path]) -> None:
    folder = pairs(places=("Tile 1", "Tile 1", "Tile 2", "Tile 3", "Tile 4"))
    chips = open_chips(folder, splits={"test": ["Tile 1"], "validation": ["*/p3.jpg"]})
    assert [chip.split for chip in chips.records] == ["test", "test", "train", "validation", "train"]
    (folder / "test.txt").write_text("p4\n")
    (folder / "val.txt").write_text("images/p2.jpg\r\n")
    assert [chip.split for chip in open_chips(folder).records] == ["train", "train", "validation", "train", "test"]
    for wrong in ({"test": ["Tile 9"]}, {"exam": ["Tile 1"]}):
        with pytest.raises(LabelInvalid, match=r"Tile 9|exam"):
            open_chips(folder, splits=wrong)
    with pytest.raises(LabelInvalid, match="make no split"):
        open_chips(folder, validation=1.0)


def test_P13_what_does_not_fit_is_named(pairs: Callable[..., Path], tmp_path: Path) -> None:
    folder = pairs()
    picture(folder / "masks/p3.png", numbers(3, rows=47))
    with pytest.raises(LabelInvalid, match=r"images/p3\.jpg has 64 x 48 .* masks/p3\.png 64 x 47"):
        open_chips(folder)
    (folder / "masks/p3.png").write_bytes(b"no picture")
    with pytest.raises(RasterUnreadable, match=r"p3\.png"):
        open_chips(folder)
    picture(folder / "masks/p3.png", numbers(3))
    picture(folder / "images/p4.jpg", photo(4)[..., 0])
    with pytest.raises(LabelInvalid, match=r"p4\.jpg has 1 bands"):
        open_chips(folder)
    picture(folder / "images/p4.png", photo(4))
    with pytest.raises(LabelInvalid, match="would be one chip"):
        open_chips(folder)
    (folder / "images/p4.png").unlink()
    for name in ("nothing", "set/images"):
        with pytest.raises(LabelInvalid, match=r"no folder|no chips folder"):
            open_chips(tmp_path / name)


def coco_file(path: Path, stems: range, **more: object) -> None:
    """As other programs write it: categories from 0, polygons and compressed run lengths, images by name alone."""
    images = [{"id": n, "file_name": f"p{n}.jpg", "width": 64, "height": 48} for n in stems]
    square = {
        "category_id": 2,
        "iscrowd": 0,
        "segmentation": [[10, 5, 30.2, 5, 30.2, 20, 10, 20]],
        "bbox": [10, 5, 20, 15],
    }
    crowd = {"category_id": 1, "iscrowd": 1, "segmentation": {"size": [48, 64], "counts": [0, 48 * 4, 48 * 60]}}
    annotations = [{"id": 2 * n + k, "image_id": n, **item} for n in stems for k, item in enumerate((square, crowd))]
    categories = [{"id": 0, "name": "all"}, {"id": 1, "name": "car"}, {"id": 2, "name": "roof", "color": "#112233"}]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories} | more))


def test_coco_of_other_programs_is_read(tmp_path: Path) -> None:
    for number in range(6):
        picture(tmp_path / f"images/p{number}.jpg", photo(number))
    coco_file(tmp_path / "annotations/instances_train2017.json", range(4))
    coco_file(tmp_path / "annotations/instances_val2017.json", range(4, 6))
    chips = open_chips(tmp_path)
    assert [(known.id, known.name) for known in chips.classes] == [(1, "car"), (2, "roof")]
    assert chips.classes[1].colour == "#112233" and chips.absent == ("car",)
    assert (len(chips.of("train")), len(chips.of("validation"))) == (4, 2) and chips.layout == "coco"
    expected = np.zeros((48, 64), np.uint8)
    expected[:, :4], expected[5:20, 10:30] = 255, 2
    assert all((mask == expected).all() for mask in masks_of(chips).values())


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            {"images": [{"id": 1, "file_name": "../../secret.jpg", "width": 64, "height": 48}], "annotations": []},
            "leads out",
        ),
        (
            {"images": [{"id": 1, "file_name": "gone.jpg", "width": 64, "height": 48}], "annotations": []},
            "neither beside",
        ),
        ({"images": [{"id": 1, "file_name": "p1.jpg", "width": 63, "height": 48}], "annotations": []}, "one size"),
        ({"images": [], "annotations": []}, "name no image"),
    ],
)
def test_P39_coco_files_that_lead_elsewhere_are_refused(tmp_path: Path, more: dict[str, object], words: str) -> None:
    picture(tmp_path / "set/images/p1.jpg", photo(1))
    coco_file(tmp_path / "set/annotations.json", range(1, 2), **more)
    with pytest.raises(LabelInvalid, match=words):
        open_chips(tmp_path / "set")


def test_real_pictures_of_six_classes_are_read(shared_data: Path, tmp_path: Path) -> None:
    """Masks of Dubai keep colours as RGB and in palettes, of other colours than their own table says."""
    for tile in ("Tile 1", "Tile 2"):
        shutil.copytree(shared_data / "dubai_hitl" / tile, tmp_path / tile)
    shutil.copy(shared_data / "dubai_hitl/classes.json", tmp_path)
    with pytest.raises(LabelInvalid, match=r"classes\.json names"):
        open_chips(tmp_path)
    told = {
        "building": "#3C1098",
        "land": "#8429F6",
        "road": "#6EC1E4",
        "vegetation": "#FEDD3A",
        "water": "#E2A929",
        "unlabelled": "#9B9B9B",
    }
    chips = open_chips(tmp_path, classes=told, splits={"validation": ["Tile 2"]})
    assert (len(chips.of("train")), len(chips.of("validation"))) == (9, 9) and len(chips.classes) == 5
    assert set(chips.pixels()) == {1, 2, 3, 4, 5, 255} and chips.pixels()[255] < 0.02 * sum(chips.pixels().values())
