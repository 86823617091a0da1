"""A session keeps scorers beside its labels and ranks by them; its class map is written in the background."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import rasterio
from rasterio.windows import Window
from small_archives import MeanColour, small_imagery

from workbench.descriptors.archive import Archive
from workbench.descriptors.build import build_archive
from workbench.errors import FileExists, QueryInvalid, ScorerInvalid
from workbench.jobs import Progress
from workbench.session import Session


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("scorers")
    imagery = small_imagery(folder / "i")
    return build_archive(imagery, folder / "a", tile=64, stride=32, encoder=MeanColour(), progress=Progress())


@pytest.fixture
def session(archive: Archive, tmp_path: Path) -> Session:
    made = Session(archive, tmp_path / "labels", by="me")
    yield made
    made.close()


def test_a_scorer_is_saved_listed_and_shows_its_hits_in_another_session(
    session: Session, archive: Archive, tmp_path: Path
) -> None:
    with pytest.raises(QueryInvalid, match="Nothing ranks the tiles yet"):
        session.save_scorer("roofs")
    session.search(tile=7)
    session.label(session.hits[:3], "roof")
    session.label(session.hits[5:8], "roof", value=-1)
    hits = session.refine("roof", k=9)
    saved = session.save_scorer("roofs")
    assert session.scorers()[0].name == "roofs" and saved.class_name == "roof"
    assert session.status == f"Scorer roofs saved in {tmp_path / 'labels/scorers/roofs.safetensors'}."
    with pytest.raises(FileExists):
        session.save_scorer("roofs")
    assert session.save_scorer("roofs", overwrite=True).scorer.kind == saved.scorer.kind
    other = Session(archive, tmp_path / "labels", by="you")
    found = other.rank_by("roofs", k=9)
    assert found.numbers.tolist() == hits.numbers.tolist() and other.hits == found
    assert other.class_name == "roof" and other.query == "the scorer roofs" and other.scorer is not None
    assert other.status == "9 hits by the scorer roofs."
    left = other.rank_by(saved, k=4, where=other.unlabelled("roof")).numbers
    assert len(left) == 4 and not other.labelled("roof")[left].any()
    with pytest.raises(ScorerInvalid, match=r"no scorer 'pools'\. There are roofs"):
        other.load_scorer("pools")
    assert other.load_scorer(tmp_path / "labels/scorers/roofs.safetensors").name == "roofs"
    assert [label.class_name for label in Session(archive, tmp_path / "labels").store.labels()] == ["roof"] * 6
    other.close()


def test_the_class_map_of_all_labels_is_written_in_the_background_and_shown(
    session: Session, archive: Archive, tmp_path: Path
) -> None:
    with pytest.raises(QueryInvalid, match="There is 0 class"):
        session.class_map(tmp_path / "land")
    numbers = np.argsort(archive.vectors[:, 0])
    session.label(numbers[:8].tolist(), "dark")
    session.label(numbers[-8:].tolist(), "light")
    session.label([int(numbers[0]), int(numbers[100])], "light", value=-1)
    job = session.class_map(tmp_path / "land")
    found = job.result(60)
    assert job.name == "class map" and set(found["class"]) == {"dark", "light"} and session.polygons is found
    names = sorted(path.name for path in (tmp_path / "land").iterdir())
    tifs = [f"{stem}{end}" for stem in ("north", "south") for end in ("-probability.tif", ".tif", ".tif.aux.xml")]
    assert names == sorted([*tifs, "polygons.gpkg"])
    kept = gpd.read_file(tmp_path / "land" / "polygons.gpkg", layer="polygons")
    assert kept["area_m2"].tolist() == pytest.approx(found["area_m2"].tolist())
    styles = pyogrio.read_dataframe(tmp_path / "land" / "polygons.gpkg", layer="layer_styles")
    assert all(known.name in styles["styleQML"][0] for known in session.classes)
    tile = archive.tile(int(numbers[4]))
    with rasterio.open(tmp_path / "land" / archive.imagery[tile.raster].name) as file:
        red, green, blue, _ = file.colormap(1)[1]
        assert f"#{red:02x}{green:02x}{blue:02x}" == session.classes[0].colour
        pixel = archive.imagery[tile.raster].width // file.width
        window = Window(tile.col // pixel, tile.row // pixel, tile.size // pixel, tile.size // pixel)
        assert (file.read(1, window=window) == 1).mean() >= 0.5
    assert "ha of dark" in session.status and "polygons.gpkg" in session.status
    with pytest.raises(FileExists, match=r"polygons\.gpkg exists already"):
        session.class_map(tmp_path / "land")
    assert len(session.class_map(tmp_path / "land", overwrite=True).result(60)) == len(found)
    with pytest.raises(QueryInvalid, match="pool has no marked tile"):
        session.class_map(tmp_path / "other", ["dark", "pool"])
