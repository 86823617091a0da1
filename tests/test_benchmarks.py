"""The published figures are what they say: measured here on images whose figures are known, or counted another way."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score
from small_archives import MeanColour, small_imagery
from small_rasters import patchwork, write_raster

from workbench.descriptors.archive import Archive, open_archive
from workbench.descriptors.build import build_archive
from workbench.descriptors.dense import encode_alone
from workbench.descriptors.encoders import load_encoder
from workbench.imagery.opening import open_imagery

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
NAMED = ["encoder", "path", "code", "bits", "orientations", "rerank"]
KEYS = [*NAMED, "p_at_1", "p_at_10", "p_at_20", "map", "map_at_20_milan"]
CLASSES = {"field": ((60, 160, 60), 4), "lake": ((40, 60, 170), 64), "roof": ((190, 80, 60), 16)}


@pytest.fixture(autouse=True)
def _scripts_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in (
        "baselines",
        "class_folders",
        "indexing",
        "ranking",
        "refinement",
        "retrieval",
        "scene_tiles",
        "simulated",
        "stopping",
    ):
        monkeypatch.delitem(sys.modules, name, raising=False)


def write_images(folder: Path, count: int, spread: float) -> Path:
    """Striped images, colour and stripe of its class, in two halves; a large spread makes classes look alike."""
    chance = np.random.default_rng(0)
    for name, (colour, period) in CLASSES.items():
        for number in range(count):
            stripes = 40 * (np.arange(128) % period < period / 2)
            pixels = np.array(colour) + chance.normal(0, spread, (128, 1, 3)) + stripes[:, None, None]
            pixels = pixels + chance.normal(0, spread, 3) + chance.normal(0, 2, (128, 128, 3))
            path = folder / ("train" if number % 2 else "test") / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
    return folder


def retrieve(images: Path, *options: str) -> dict[str, list[dict[str, object]]]:
    import retrieval

    out = images.parent / "retrieval.json"
    few = ["--encoder", "texture", "--size", "96", "--json", str(out)]
    retrieval.main(["--images", str(images), *few, *options])
    return json.loads(out.read_text())


def test_classes_that_nobody_could_confuse_have_perfect_figures(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 11, spread=2)
    found = retrieve(images, "--codes", "itq", "kslsh", "--bits", "32", "--turned", "6", "--uploads", "5")
    assert all(list(row) == KEYS for row in found["rows"])
    told = [(row["path"], row["code"], row["bits"], row["rerank"]) for row in found["rows"]]
    ways = [("float", None, False), *((code, 32, again) for code in ("itq", "kslsh") for again in (False, True))]
    assert told == [(path, *way) for path in ("chip", "dense") for way in ways]
    for row in found["rows"]:
        others = 3 if row["code"] == "kslsh" else 10  # of its class, in the archive
        assert (row["p_at_1"], row["map"], row["map_at_20_milan"]) == (1, 1, 1), row
        assert (row["p_at_10"], row["p_at_20"]) == (others / 10, others / 20)
    assert [row["turn"] for row in found["turned"]] == ["0", "15", "45", "90", "180", "mirrored"]
    assert found["turned"][0]["top_10_overlap"] == 1
    assert found["uploads"][0]["tiles"] == 5
    assert all(row["map_low"] <= row["map_high"] for row in found["intervals"])


@pytest.mark.parametrize("layout", ["drawn", "by-class"])
def test_each_image_is_the_tile_it_was_laid_at(tmp_path: Path, layout: str) -> None:
    from class_folders import describe_dense, find_images

    images = find_images(write_images(tmp_path / "images", 5, spread=30), 64, seed=1)
    archive, tiles = describe_dense(images, MeanColour(), tmp_path, layout)
    for number in range(len(images.paths)):
        np.testing.assert_array_equal(archive.pixels(int(tiles[number])), images.pixels(number))
    laid = images.labels[np.argsort(tiles)]
    assert (np.diff(laid) >= 0).all() == (layout == "by-class")


def test_the_figures_equal_those_counted_by_another_library(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 6, spread=60)
    found = retrieve(images, "--codes", "--paths", "chip", "--turned", "0")
    encoder = load_encoder("texture")
    paths = sorted(images.glob("*/*/*.png"))
    sized = [np.asarray(Image.open(path).resize((96, 96), Image.Resampling.BILINEAR)) for path in paths]
    raw = np.array([encode_alone(pixels.transpose(2, 0, 1), encoder) for pixels in sized])
    least = np.sqrt((raw.std(axis=0) ** 2).mean()) / 20
    centred = (raw - raw.mean(axis=0)) / np.sqrt(raw.std(axis=0) ** 2 + least**2)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    labels = np.array([path.parent.name for path in paths])
    others = ~np.eye(len(paths), dtype=bool)
    expected = [
        average_precision_score(labels[others[n]] == labels[n], (unit @ unit[n])[others[n]]) for n in range(len(paths))
    ]
    assert found["rows"][0]["map"] == pytest.approx(np.mean(expected), abs=1e-4)
    assert 0.2 < np.mean(expected) < 0.9


def test_a_code_is_fitted_to_three_fifths_of_each_class_and_measured_on_the_rest(tmp_path: Path) -> None:
    from ranking import training_part

    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(3), 10))
    training = training_part(labels, 0.6)
    assert np.bincount(labels[training]).tolist() == [6, 6, 6]
    assert len(np.unique(training)) == 18


def test_tiles_whose_chips_alone_look_the_same_find_themselves(tmp_path: Path) -> None:
    from retrieval import found_themselves

    encoder = MeanColour()  # without a margin: a chip alone is the tile
    archive = build_archive(small_imagery(tmp_path / "i"), tmp_path / "a", tile=64, stride=64, encoder=encoder)
    tiles = np.arange(len(archive))[::-1]
    assert found_themselves(archive, tiles, np.array([0, 7, 20])) == 1
    archive.vectors[tiles[7]] *= -1  # what it finds first is now another tile
    assert found_themselves(archive, tiles, np.array([0, 7])) == 0.5


def test_reranking_orders_the_shortlist_and_only_the_shortlist() -> None:
    from ranking import reranked

    near, fine = np.array([[3.0, 3, 1, 0]]), np.array([[-0.9, 0.1, 0.8, 0.9]])
    scores = reranked(lambda _: near.copy(), lambda _: fine, 2)(np.array([0]))
    assert np.argsort(-scores[0]).tolist() == [1, 0, 2, 3]


def test_what_is_kept_in_the_cache_gives_the_same_table(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 4, spread=30)
    options = ("--codes", "--cache", str(tmp_path / "cache"), "--turned", "3", "--uploads", "0")
    first = retrieve(images, *options)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("chips-*")}
    assert retrieve(images, *options) == first
    assert kept == {path: path.stat().st_mtime_ns for path in kept}
    assert len(kept) == 6  # as they are, and five ways turned


def test_a_folder_without_classes_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match="0 class folder"):
        retrieve(tmp_path / "empty")


def test_plain_tiles_are_of_the_archives_grid_and_spread_over_the_raster(tmp_path: Path) -> None:
    from indexing import BATCH, sampled

    raster = write_raster(tmp_path / "a.tif", patchwork(640, 640))
    windows = sampled(raster, 64, 32, 3 * BATCH)
    corners = np.array([(window.row_off, window.col_off) for window in windows])
    assert len(np.unique(corners, axis=0)) == 3 * BATCH
    assert (corners % 32 == 0).all()
    assert (corners.min(), corners.max()) == (0, 640 - 64)


def test_a_network_slowed_by_its_surroundings_shows_in_the_ratio() -> None:
    from indexing import Plain, summary

    found = summary([900.0, 1000.0], [Plain(100, 2.0, 1.0, 1.0), Plain(100, 4.0, 2.0, 1.0)])
    assert (found["archive_tiles_per_s"], found["plain_tiles_per_s"], found["speedup"]) == (950, 37.5, 29)
    assert found["network_to_bare"] == 0.75


REFINED = [
    "protocol",
    "method",
    "flipped",
    "round",
    "map",
    "map_low",
    "map_high",
    "p_at_20",
    "positives_found",
    "seconds",
]


def test_refinement_is_measured_by_round_method_and_share_of_wrong_marks(tmp_path: Path) -> None:
    import refinement

    out = tmp_path / "refinement.json"
    few = [
        "--encoder",
        "texture",
        "--size",
        "96",
        "--rounds",
        "2",
        "--per-round",
        "3",
        "--seeds",
        "1",
        "--queries",
        "2",
    ]
    images = write_images(tmp_path / "images", 12, spread=60)
    refinement.main(["--images", str(images), *few, "--flipped", "0", "0.2", "--json", str(out)])
    found = json.loads(out.read_text())
    rows = found["rows"]
    assert all(list(row) == REFINED for row in rows)
    told = {(row["protocol"], row["method"], row["flipped"], row["round"]) for row in rows}
    methods = {"no_feedback", "peers_2mean", "rocchio", "logistic", "workbench"}
    expected = {(p, m, f, r) for p in ("scorers", "sessions") for m in methods for f in (0.0, 0.2) for r in range(3)}
    assert told == expected and len(rows) == len(expected)
    assert all(0 < row["map_low"] <= row["map"] <= row["map_high"] <= 1 for row in rows)
    bare = {row["map"] for row in rows if row["method"] == "no_feedback"}
    assert len(bare) == 1  # neither marks nor mistakes change it
    assert {row["positives_found"] for row in rows if row["round"] == 0} == {0}
    assert {row["than"] for row in found["differences"]} == methods - {"workbench"}


def test_the_scenes_tiles_are_of_what_is_painted_there_and_share_no_pixel_across_blocks(tmp_path: Path) -> None:
    import refinement

    out, folder = tmp_path / "refinement.json", tmp_path / "scene"
    size = ["--scene-size", "1024", "--tile", "64", "--stride", "32"]
    few = ["--encoder", "texture", "--rounds", "1", "--seeds", "1", "--queries", "1", "--flipped", "0", "0.2"]
    refinement.main(["--scene", str(folder), *size, *few, "--methods", "no_feedback", "workbench", "--json", str(out)])
    found = json.loads(out.read_text())
    assert {row["flipped"] for row in found["rows"]} == {0.0, 0.2}
    assert all(list(row) == REFINED for row in found["rows"])
    told = {row["class"]: row["base_rate"] for row in found["classes"]}
    assert "house" in told and all(0 < rate < 0.9 for rate in told.values())
    mask = open_imagery(folder / "scene_mask.tif")[0]
    archive = open_archive(next(folder.glob("texture-*")))
    shares = scene_shares(archive, folder / "scene_mask.tif")
    for number in (0, len(archive) // 2, len(archive) - 1):
        window = np.ma.getdata(mask.read(archive.tile(number).window, bands=(0,)))
        np.testing.assert_allclose(shares[:, number], [(window == value).mean() for value in (1, 7)])


def scene_shares(archive: Archive, mask: Path) -> np.ndarray:
    from scene_tiles import shares

    return shares(archive, mask, [1, 7])


def test_the_held_half_is_never_shown_and_methods_see_no_truth_of_it() -> None:
    from simulated import Collection, Plan, halve, play

    chance = np.random.default_rng(0)
    truth = np.repeat(np.eye(3, dtype=bool), 10, axis=1)
    collection = Collection(chance.normal(size=(30, 8)).astype(np.float32), truth, np.arange(30) // 2, ("a", "b", "c"))
    half = halve(collection, 2, seed=1)
    assert len(half.shown.raw) + len(half.held.raw) == 30 and len(half.queries) == 6
    pairs = np.isin(collection.raw[:, 0], half.shown.raw[:, 0])
    assert (pairs[::2] == pairs[1::2]).all()  # tiles of a block go together
    asked = []

    def method(marks):  # type: ignore[no-untyped-def]
        asked.append(marks)
        return lambda tiles: tiles.unit[:, 0]

    played = play(half, method, half.queries[0], Plan(3, 4, 1.0), "sessions")
    marks = asked[-1]
    assert len(marks.shown.raw) == len(half.shown.raw) and len(np.unique(marks.rows)) == 12
    assert half.queries[0][1] not in marks.rows
    assert (marks.said == ~half.truth_shown[half.queries[0][0]][marks.rows]).all() and played.wrong.all()
    best = np.argsort(-half.shown.unit[:, 0])
    assert marks.rows.tolist() == [row for row in best if row != half.queries[0][1]][:12]
    assert played.positives_found.tolist() == [
        half.truth_shown[half.queries[0][0]][marks.rows[:n]].sum() for n in (0, 4, 8, 12)
    ]


def test_estimates_are_judged_by_source_base_rate_and_audit_marks(tmp_path: Path) -> None:
    import stopping

    out = tmp_path / "stopping.json"
    images = write_images(tmp_path / "images", 12, spread=60)
    few = ["--encoder", "texture", "--size", "96", "--sessions", "2", "--per-round", "3", "--marks", "10"]
    stopping.main(["--images", str(images), *few, "--json", str(out)])
    rows = json.loads(out.read_text())["rows"]
    told = {(row["source"], row["rate"], row["marks"]) for row in rows}
    assert told == {(source, rate, 10) for source in stopping.SOURCES for rate in (None, 0.005, 0.01)}
    assert all(row["sessions"] == (2 if row["rate"] is None else 1) for row in rows)
    for measure in ("precision", "count", "recall"):
        assert {row[f"{measure}_held"] + row[f"{measure}_below"] + row[f"{measure}_above"] for row in rows} == {1}
        assert min(row[f"{measure}_width"] for row in rows) >= 0


def test_an_interval_holds_a_truth_at_its_ends_and_none_beyond() -> None:
    import stopping

    from workbench.search.stopping import Interval

    found = [(Interval(2, 3, 4), truth) for truth in (2.0, 4.0, 1.9, 4.2)]
    judged = stopping.judged("precision", found)
    assert judged == {"precision_held": 0.5, "precision_width": 2, "precision_below": 0.25, "precision_above": 0.25}


@pytest.mark.slow
def test_indexing_is_measured_end_to_end(tmp_path: Path) -> None:
    import indexing

    raster, out = write_raster(tmp_path / "a.tif", patchwork(256, 256)), tmp_path / "indexing.json"
    few = ["--encoder", "texture", "--tile", "64", "--stride", "32", "--rounds", "1", "--plain-tiles", "32"]
    indexing.main(["--raster", str(raster), *few, "--json", str(out)])
    found = json.loads(out.read_text())
    assert found["plain_tiles"] == 32
    assert min(found["archive_tiles_per_s"], found["plain_tiles_per_s"], found["bare_network_tiles_per_s"]) > 0
    assert found["plain_network_tiles_per_s"] >= found["plain_tiles_per_s"]
    assert 50 < found["peak_memory_loading_mib"] < found["peak_memory_mib"] < 4000


def test_changed_tiles_are_found_in_pairs_of_pictures(tmp_path: Path) -> None:
    import change

    first, other = patchwork(192, 192, seed=1), patchwork(192, 192, seed=2)
    label = np.zeros((192, 192), np.uint8)
    label[64:128, 64:128] = 255
    second = np.where(label > 0, other, first)
    for folder, pixels in (("A", first), ("B", second), ("label", np.repeat(label[None], 3, axis=0))):
        (tmp_path / folder).mkdir()
        Image.fromarray(pixels.transpose(1, 2, 0)).save(tmp_path / folder / "one.png")
    out = tmp_path / "change.json"
    change.main(
        ["--pairs", str(tmp_path), "--tile", "64", "--stride", "64", "--encoder", "texture", "--json", str(out)]
    )
    rows = json.loads(out.read_text())["rows"]
    assert [row["method"] for row in rows][:3] == ["plain", "plain_zoomed", "workbench"]
    assert all((row["tiles"], row["base_rate"], row["ap"]) == (9, pytest.approx(1 / 9), 1) for row in rows[:3])
