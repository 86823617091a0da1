"""Two dates in a session: changed tiles in the gallery with both dates' pictures, and changes like those that were labelled."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_archives import MeanColour
from small_rasters import patchwork, write_raster

from workbench.descriptors.build import build_archive
from workbench.errors import QueryInvalid
from workbench.imagery.opening import open_imagery
from workbench.jobs import Progress
from workbench.session import Session

CHANGED = ((64, 128), (128, 320), (320, 64))


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """Patches of ground, in the later year darker; three of them became red, and one blue."""
    folder = tmp_path_factory.mktemp("two")
    earlier = patchwork(512, 512, seed=3)
    later = np.asarray(earlier * 0.8, np.uint8)
    for row, col in CHANGED:
        later[:, row : row + 64, col : col + 64] = np.array([220, 20, 20])[:, None, None]
    later[:, 384:448, 384:448] = np.array([20, 20, 220])[:, None, None]
    for name, pixels in (("place_2015-06-01.tif", earlier), ("place_2020-06-01.tif", later)):
        write_raster(folder / "i" / name, pixels)
    archive = build_archive(folder / "i", folder / "a", tile=64, stride=64, encoder=MeanColour(), progress=Progress())
    return Session(archive, folder / "labels")


def search(session: Session, **more: object) -> list[tuple[int, int]]:
    hits = session.search_change("2015", "2020", progress=Progress(), **more)  # type: ignore[arg-type]
    assert session.hits is hits
    return [(hit.tile.row, hit.tile.col) for hit in hits]


def test_what_changed_fills_the_gallery_best_first(session: Session) -> None:
    assert set(search(session, k=4)) == {*CHANGED, (384, 384)}
    assert session.query == "what changed" and "4 of 64 tiles" in session.status
    assert session.selected == session.hits[0].number


def test_a_hit_shows_both_dates_and_any_other_tile_only_its_own(session: Session) -> None:
    places = search(session, k=4)
    red = session.hits[places.index(CHANGED[0])].number
    picture = np.asarray(Image.open(io.BytesIO(session.thumbnail(red))), int)
    assert picture.shape == (128, 128, 3)
    left, right = picture[40:88, 8:56].mean((0, 1)), picture[40:88, 72:120].mean((0, 1))
    assert right[0] > right[1] + 100 and abs(left - right).max() > 40
    assert len(session.thumbnail(red)) < 7_000
    session.search(tile=red)
    alone = np.asarray(Image.open(io.BytesIO(session.thumbnail(red))), int)
    assert (alone[:, :64, 0] > alone[:, :64, 1] + 100).mean() > 0.9


def test_changes_like_those_labelled_come_first_and_the_dates_are_compared_once(session: Session) -> None:
    places = search(session, k=4)
    compared = session._compared
    reds = [session.hits[places.index(place)].number for place in CHANGED]
    with pytest.raises(QueryInvalid, match="labelled turned red"):
        search(session, like="turned red")
    session.label(reds[:1], "turned red")
    session.label([session.hits[places.index((384, 384))].number], "turned red", value=-1)
    for like in ("turned red", reds[:1]):
        order = search(session, like=like, k=64)
        assert order[0] == CHANGED[0]
        if isinstance(like, str):  # what was marked wrong comes after all that changed as wanted
            assert max(order.index(place) for place in CHANGED) < order.index((384, 384))
    assert session._compared is compared


@pytest.mark.parametrize(
    ("folder", "before", "after"), [("naip", "2009", "2020"), ("naip", "2012", "2016"), ("landsat", "1985", "2020")]
)
def test_real_dates_of_a_place_are_compared_whatever_their_bands_grids_and_crs(
    shared_data: Path, tmp_path: Path, folder: str, before: str, after: str
) -> None:
    imagery = open_imagery(shared_data / "timeseries" / folder)
    archive = build_archive(imagery, tmp_path / "a", tile=64, encoder=MeanColour(), progress=Progress())
    session = Session(archive, tmp_path / "labels")
    hits = session.search_change(before, after, k=20, progress=Progress())
    of_later = [position for position, raster in enumerate(imagery) if str(raster.date).startswith(after)]
    assert len(hits) == 20 and {hit.tile.raster for hit in hits} == set(of_later)
    scores = session._compared[1].scores if session._compared else np.empty(0)
    assert np.isfinite(scores).all() and hits[0].score > 3 * np.median(scores)
    assert np.asarray(Image.open(io.BytesIO(session.thumbnail(hits[0].number)))).std() > 5
    session.label(hits[:3], "new ground")
    session.label(hits[10:13], "new ground", value=-1)
    again = session.search_change(
        before, after, like="new ground", k=len(archive), one_per_object=False, progress=Progress()
    )
    ranks = {hit.number: hit.rank for hit in again}
    as_wanted, otherwise = (np.mean([ranks[hit.number] for hit in part]) for part in (hits[:3], hits[10:13]))
    assert as_wanted < otherwise
    session.close()
