"""A session on a million tiles, and on an archive of codes only: it searches, refines, labels and paints what is asked for."""

from __future__ import annotations

import shutil
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_archives import MeanColour, small_imagery
from small_map import picture, tile_of
from small_rasters import patchwork, write_raster

import workbench as wb
from workbench.descriptors.archive import Archive
from workbench.descriptors.build import build_archive
from workbench.descriptors.centring import Centring
from workbench.descriptors.codes.fitting import fit_codes
from workbench.descriptors.rows import Rows
from workbench.descriptors.tiles import GridTiles
from workbench.imagery.grid import TileGrid
from workbench.jobs import Progress
from workbench.layers import GRID, HEAT, NAMES
from workbench.session import Session
from workbench.tile_map import BEST

SIDE, TILE, DIM, MOST_MB = 1000, 32, 64, 60


@pytest.fixture(scope="module")
def million(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """A thousand times a thousand tiles a pixel apart, computed from the grid, with made-up descriptors on disk."""
    folder = tmp_path_factory.mktemp("million")
    imagery = write_raster(folder / "ground.tif", patchwork(TILE + SIDE - 1, TILE + SIDE - 1))
    small = build_archive(imagery, folder / "a", tile=TILE, stride=TILE, encoder=MeanColour(), progress=Progress())
    manifest = replace(small.manifest, grid=TileGrid((TILE,), 1 / TILE), dim=DIM, code_bits=256)
    raw = np.lib.format.open_memmap(folder / "raw.npy", "w+", np.float16, (SIDE * SIDE, DIM))
    dice = np.random.default_rng(0)
    for start in range(0, len(raw), 50_000):
        raw[start : start + 50_000] = dice.integers(-100, 101, (50_000, DIM), np.int8)
    made = replace(small, tiles=GridTiles(manifest), descriptors=Rows([raw], DIM), manifest=manifest)
    made.__dict__["centring"] = Centring(np.zeros(DIM, np.float32), np.ones(DIM, np.float32), np.zeros(DIM, np.float32))
    assert len(made) == len(raw) == SIDE * SIDE
    return made


@pytest.fixture(scope="module")
def million_codes(million: Archive) -> Archive:
    """The same tiles with made-up codes instead of descriptors."""
    made = replace(million, descriptors=None)
    made.__dict__["centring"] = million.centring
    made.__dict__["code_model"] = fit_codes("rotation", million.vectors_of(range(2000)), bits=256)
    parts = (million.vectors_of(range(start, start + 50_000)) for start in range(0, len(million), 50_000))
    made.__dict__["codes"] = np.concatenate([made.code_model.encode(part) for part in parts])
    return made


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("built")
    return build_archive(
        small_imagery(folder / "i"), folder / "a", tile=(64, 128), stride=32, encoder=MeanColour(), progress=Progress()
    )


@contextmanager
def little_memory() -> Iterator[None]:
    """Fails when more is allocated at a time than half of the million tiles' descriptors as they are stored."""
    tracemalloc.start()
    yield
    most = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    assert most < MOST_MB, f"{most:.0f} MB"


def paint(session: Session, layer: int, number: int, z: int) -> list[int]:
    """RGBA of a layer in the middle of a tile."""
    tile = session.archive.tile(number)
    image = session.archive.imagery[tile.raster]
    x, y, across, down = tile_of(image, tile.col + tile.size / 2, tile.row + tile.size / 2, z)
    return picture(session.layers.tile(layer, x, y, z))[down, across].tolist()


def a_round(session: Session) -> None:
    """Search, label a tile and an outline, take one back, refine, leave out what is labelled, look around."""
    number = len(session.archive) // 2 + 7
    hits = session.search(tile=number, k=50)
    assert hits[0].number == number and len(set(hits.numbers)) == 50
    session.label(hits[:3], "roof")
    session.label(hits[3:5], value=-1)
    session.undo()
    session.redo()
    assert {label.value for label in session.store.labels("roof")} == {1, -1}
    refined = session.refine(k=50)
    assert len(refined) == 50 and refined.scored_by == "linear" and set(hits[:3].numbers) & set(refined.numbers)
    fresh = session.refine(k=50, where=session.unlabelled())
    assert len(fresh) == 50 and not np.isin(fresh.numbers, session.marks.numbers(None)).any()
    assert len(session.browse(45)) == 45


@pytest.mark.slow
def test_a_million_tiles_are_searched_and_refined_without_being_read_into_memory(
    million: Archive, tmp_path: Path
) -> None:
    a_round(Session(million, tmp_path / "warm"))
    session = Session(million, tmp_path, by="me", resume=True)
    with little_memory():
        a_round(session)
        hits = session.search(tile=4321, k=20)
        assert paint(session, HEAT, 4321, 22)[3] == 255
        again = Session(million, tmp_path, by="me", resume=True)
    assert again.hits == hits and again.layers.infos()[HEAT].available and "vectors" not in million.__dict__
    assert again.engine == "" and session.engine.startswith("exact: all 1,000,000 descriptors are compared")


@pytest.mark.slow
def test_a_million_codes_are_searched_and_refined(million_codes: Archive, tmp_path: Path) -> None:
    a_round(Session(million_codes, tmp_path / "warm"))
    session = Session(million_codes, tmp_path / "labels")
    with little_memory():
        a_round(session)
        assert paint(session, HEAT, session.hits[0].number, 22)[3] == 0, "a look around ranks nothing"
    assert session.search(tile=5, k=3).scored_by == "hamming" and session.engine.startswith("flat")
    assert paint(session, HEAT, 5, 22)[3] == 255


def test_a_session_on_codes_only_finds_what_one_on_descriptors_finds(built: Archive, tmp_path: Path) -> None:
    coded = built.codes_only(tmp_path / "codes")
    session = Session(coded, tmp_path / "labels", by="me", resume=True)
    a_round(session)
    firsts = [session.search(tile=number, k=1)[0] for number in range(0, len(coded), 9)]
    assert np.mean([hit.score for hit in firsts]) > 0.999
    hits, full = session.search(tile=7, k=20), Session(built, tmp_path / "other").search(tile=7, k=20)
    assert hits.scored_by == "hamming" and full.scored_by == "cosine"
    assert len(set(hits.numbers) & set(full.numbers)) >= 8
    assert Session(coded, tmp_path / "labels", by="me", resume=True).hits == hits
    assert paint(session, HEAT, 7, 19)[3] == 255


def test_of_too_many_tiles_only_the_hits_are_coloured_and_the_legend_says_so(
    built: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Session(built, tmp_path / "full").search(tile=7, k=60)
    for name in ("searching.MOST_RANKED", "tile_map.MOST_RANKED", "searching._SCORED_AT_ONCE"):
        monkeypatch.setattr(f"workbench.{name}", 10)
    session = Session(built, tmp_path / "labels", by="me", resume=True)
    assert session.search(tile=7, k=60) == full
    colours = dict(dict(session.layers.legend())[NAMES[HEAT]])
    assert list(colours.values()) == ["best 10", "best 50", "all hits; other tiles are too many to colour"]
    assert list(colours) == [colour for _, colour in BEST]
    best = [int(BEST[0][1][digit : digit + 2], 16) for digit in (1, 3, 5)]
    shown = paint(session, HEAT, 7, 19)
    assert shown[3] > 150 and np.abs(np.subtract(shown[:3], best)).max() < 8
    assert paint(session, HEAT, 7, 8)[3] > 0, "seen from afar"
    assert session.layers.tile(GRID, *tile_of(built.imagery[0], 160, 160, 20)[:2], 20) is not None
    resumed = Session(built, tmp_path / "labels", by="me", resume=True)
    assert resumed.hits == full and paint(resumed, HEAT, 7, 19) == shown
    resumed.browse()
    assert not resumed.layers.infos()[HEAT].available


def test_scores_for_the_map_are_not_computed_before_it_is_looked_at(
    built: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.searching._SCORED_AT_ONCE", 10)
    session = Session(built, tmp_path)
    asked: list[object] = []
    scores = session.index.scores
    monkeypatch.setattr(session.index, "scores", lambda scorer: asked.append(scorer) or scores(scorer))
    session.search(tile=3, k=5)
    session.search(tile=7, k=5)
    assert asked == []
    assert paint(session, HEAT, 7, 19)[3] == 255 and paint(session, HEAT, 7, 18)[3] == 255
    assert asked == [session.scorer]


@pytest.mark.slow
def test_what_the_README_says_about_search_at_any_size_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    code = readme.split("## Search at any size")[1].split("```python")[1].split("```")[0]
    archive = build_archive(
        small_imagery(tmp_path / "i"), tmp_path / "a", tile=256, stride=32, encoder=MeanColour(), progress=Progress()
    )
    archive.set_dates({"north.tif": "2019-06"})
    session = Session(archive, tmp_path / "labels")
    session.label([0], "roof")
    shutil.move(tmp_path / "i", tmp_path / "moved")
    code = code.replace("/new/place/orthophotos/", str(tmp_path / "moved"))
    polygon = archive.footprint(4, "EPSG:4326").buffer(1)
    monkeypatch.chdir(tmp_path)
    names = {"wb": wb, "session": session, "archive": archive, "POLYGON": polygon}
    exec(code, names)
    assert len(names["hits"]) >= 1 and not names["coded"].has_descriptors and not archive.problems  # type: ignore[arg-type, attr-defined]
    assert capsys.readouterr().out.startswith("exact: all 18 descriptors are compared")
