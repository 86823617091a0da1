"""Scorers in files: what is saved ranks as before, elsewhere too, and nothing strange is read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from small_archives import MeanColour, small_imagery
from small_rasters import HALF_METRE, patchwork, write_raster

import workbench
from workbench.descriptors.archive import Archive
from workbench.descriptors.build import build_archive
from workbench.errors import ArchiveMismatch, FileExists, QueryInvalid, ScorerInvalid
from workbench.imagery.opening import open_imagery
from workbench.jobs import Progress
from workbench.search.index import Index, Scorer
from workbench.search.renewed import first_over, held
from workbench.search.saved import FORMAT, SavedScorer, list_scorers, load_scorer, name_scorer, save_scorer, scorer_path
from workbench.search.where import Where


def built(folder: Path, imagery: object, **options: object) -> Archive:
    encoder = MeanColour()
    return build_archive(imagery, folder, tile=64, stride=32, encoder=encoder, progress=Progress(), **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("saved")
    return built(folder / "a", small_imagery(folder / "i"))


@pytest.fixture
def saved(archive: Archive) -> SavedScorer:
    weights = archive.vectors[5] - 0.3 * archive.vectors[60]
    return name_scorer("marina é", Scorer(weights, 0.25, "logistic regression"), archive, "boat")


def test_what_is_saved_is_what_is_loaded_and_ranks_the_same(
    archive: Archive, saved: SavedScorer, tmp_path: Path
) -> None:
    path = save_scorer(saved, scorer_path(tmp_path, saved.name))
    assert path == tmp_path / "scorers" / "marina-e.safetensors"
    for given in ("marina é", path, str(path)):
        again = workbench.load_scorer(given, tmp_path)
        assert repr(again) == repr(saved) and again.origin == saved.origin and again.scorer.bias == 0.25
        hits = again.rank(archive, k=7)
        assert [(hit.number, hit.score) for hit in hits] == [
            (hit.number, hit.score) for hit in Index(archive).search(saved.scorer, 7)
        ]
    assert [each.name for each in list_scorers(tmp_path)] == ["marina é"]
    assert {hit.tile.raster for hit in again.rank(archive, k=9, where=Where(rasters="south.tif"))} == {1}
    assert again.rank(archive, k=0).numbers.tolist() == []


def test_a_name_is_never_taken_by_another_scorer(saved: SavedScorer, archive: Archive, tmp_path: Path) -> None:
    path = save_scorer(saved, scorer_path(tmp_path, saved.name))
    before = path.read_bytes()
    with pytest.raises(FileExists, match="overwrite=True"):
        save_scorer(saved, path)
    with pytest.raises(FileExists):
        save_scorer(name_scorer("marina e", saved.scorer, archive), scorer_path(tmp_path, "marina e"))
    assert path.read_bytes() == before
    with pytest.raises(ScorerInvalid, match=r"no scorer 'marina e'\. There are marina é"):
        load_scorer("marina e", tmp_path)
    for name in ("", " ", "a\nb", "x" * 500):
        with pytest.raises(QueryInvalid, match="cannot name a scorer"):
            name_scorer(name, saved.scorer, archive)
    assert scorer_path(tmp_path, "../../etc/passwd").parent == tmp_path / "scorers"


HOSTILE = {
    "pickle": b"\x80\x04\x95cos\nsystem\n(S'true'\ntR.",
    "empty": b"",
    "huge": b"0" * 5_000_000,
    "half": None,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_P35_files_that_are_no_scorer_are_refused(kind: str, saved: SavedScorer, tmp_path: Path) -> None:
    path = save_scorer(saved, scorer_path(tmp_path, "bad"))
    content = HOSTILE[kind]
    path.write_bytes(path.read_bytes()[:-9] if content is None else content)
    with pytest.raises(ScorerInvalid, match="is no scorer that can be used"):
        load_scorer(path)
    assert list_scorers(tmp_path) == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weights": np.full(6, np.nan, np.float32)}, "no scorer has"),
        ({"weights": np.zeros(6, np.float32)}, "no scorer has"),
        ({"scale": -np.ones(6, np.float32)}, "no scorer has"),
        ({"mean": np.ones(7, np.float32)}, "one length"),
        ({"mean": np.ones(6, np.float64)}, "one length"),
        ({"more": np.ones(6, np.float32)}, "other arrays"),
        ({"version": 99}, "version"),
        ({"bias": "1"}, "no number"),
        ({"name": "\x1b[31m"}, "names"),
        ({"name": 7}, "names"),
        ({"origin": {"encoder": "x"}}, "argument"),
        ({"origin": None}, "mapping"),
        ({"made": None}, "names"),
    ],
)
def test_P35_scorers_with_strange_values_are_refused(
    change: dict[str, object], words: str, saved: SavedScorer, tmp_path: Path
) -> None:
    from safetensors import safe_open

    path = save_scorer(saved, tmp_path / "a.safetensors")
    with safe_open(path, framework="numpy") as file:
        about = json.loads(file.metadata()[FORMAT])
    tensors = load_file(path) | {key: value for key, value in change.items() if isinstance(value, np.ndarray)}
    about |= {key: value for key, value in change.items() if not isinstance(value, np.ndarray)}
    save_file(tensors, path, {FORMAT: json.dumps(about)})
    with pytest.raises(ScorerInvalid, match=words):
        load_scorer(path)


def test_an_archive_of_another_encoder_is_refused_by_name(archive: Archive, saved: SavedScorer, tmp_path: Path) -> None:
    other = build_archive(
        small_imagery(tmp_path / "i", ("one.tif",), 128),
        tmp_path / "a",
        tile=64,
        encoder="texture",
        progress=Progress(),
    )
    with pytest.raises(ArchiveMismatch, match=r"learned with encoder mean colour, and this archive has texture"):
        saved.rank(other)


def test_another_light_and_another_ground_resolution_rank_on(
    archive: Archive, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bright = write_raster(tmp_path / "i" / "bright.tif", np.minimum(patchwork(320, 320, seed=0) * 0.6 + 80, 250))
    coarse = write_raster(
        tmp_path / "c" / "coarse.tif", patchwork(320, 320, seed=0), transform=HALF_METRE @ HALF_METRE.scale(4)
    )
    saved = name_scorer("like five", Scorer(archive.vectors[5]), archive)
    other = built(tmp_path / "b", open_imagery(bright))
    hits = saved.rank(other, k=3)
    assert hits.scored_by == "cosine" and 5 in hits.numbers
    middle = saved.midway(other.centring)
    expected = middle.apply(np.asarray(other.raw)) @ saved.scorer.weights
    assert [hit.score for hit in hits] == pytest.approx(np.sort(expected)[::-1][:3].tolist(), abs=1e-4)
    assert not caplog.messages
    saved.rank(built(tmp_path / "d", open_imagery(coarse)), k=3)
    assert "a pixel is 4 times as large on the ground" in caplog.text


def test_only_what_is_new_is_listed_when_a_date_is_ranked_again(tmp_path: Path) -> None:
    """Two dates of one place in one archive: red squares, of which two are new, one of them half off the grid."""
    chance = np.random.default_rng(0)
    ground = np.full((3, 512, 512), 90.0) + chance.normal(0, 4, (3, 512, 512))
    old, new = [(64, 64), (64, 320), (320, 192)], [(192, 64), (400, 400)]

    def scene(squares: list[tuple[int, int]], light: float) -> np.ndarray:
        pixels = ground.copy()
        for row, col in squares:
            pixels[:, row : row + 64, col : col + 64] = np.array([220, 40, 40])[:, None, None]
        return np.clip(pixels * light, 1, 250).astype(np.uint8)

    write_raster(tmp_path / "i" / "town_20190601.tif", scene(old, 1.0))
    write_raster(tmp_path / "i" / "town_20210601.tif", scene(old + new, 0.8))
    both = built(tmp_path / "a", open_imagery(tmp_path / "i"))
    example = next(n for n in range(len(both)) if both.tile(n).window.toranges() == ((64, 128), (64, 128)))
    saved = name_scorer("red", Scorer(both.vectors[example]), both)
    places = {
        (hit.tile.row // 64 * 64, hit.tile.col // 64 * 64)
        for hit in saved.rank(both, 2, new_since="2020", one_per_object=True)
    }
    assert places == {(192, 64), (384, 384)}
    earlier = saved.rank(both, 3, Where(dates="2019"), one_per_object=True)
    again = saved.rank(both, 2, Where(dates="2021"), new_since=(both, earlier), one_per_object=True)
    assert {(hit.tile.row // 64 * 64, hit.tile.col // 64 * 64) for hit in again} == places
    assert [hit.rank for hit in again] == [1, 2]
    everything = saved.rank(both, 10**4, new_since="2020")
    assert {hit.tile.raster for hit in everything} == {1}
    with pytest.raises(QueryInvalid, match="No raster is from 2022 or later: there are 2019-06-01, 2021-06-01"):
        saved.rank(both, 2, new_since="2022")
    with pytest.raises(QueryInvalid, match="is no date"):
        saved.rank(both, 2, new_since="yesterday")
    inside = saved.rank(both, 5, Where(area=both.footprint(example, "EPSG:4326").buffer(1e-6)), new_since="2020")
    assert not set(inside.numbers) & set(everything.numbers[:2])


def test_ground_is_the_same_by_the_share_of_the_smaller_outline(archive: Archive) -> None:
    tile = archive.tile(14)
    inner = archive.imagery[0].footprint(tile.window, "EPSG:4326")
    numbers = np.arange(len(archive))
    apart = archive.imagery[0].footprint(archive.tile(0).window, "EPSG:4326")
    known = held(archive, numbers, np.array([inner], object))
    first = first_over(archive, numbers, np.array([apart, inner], object))
    assert first[14] == 1 and first[0] == 0 and first.max() == 2
    rows = archive.tiles
    expected = (
        (rows["raster"] <= 1)
        & (np.abs(rows["row"].astype(int) - tile.row) <= 32)
        & (np.abs(rows["col"].astype(int) - tile.col) <= 32)
    )
    assert known.tolist() == expected.tolist() and known.sum() > 3
    assert not held(archive, numbers, np.array([], object)).any()
