"""A session on imported embeddings: cards and map say what is missing, and show imagery that is attached."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import shapely
from descriptors.embedding_files import lonlat, plain, squares, vectors
from PIL import Image
from small_archives import MeanColour
from small_rasters import HALF_METRE, patchwork, write_raster

import workbench as wb
from workbench.descriptors.archive import open_archive
from workbench.errors import QueryInvalid, RasterUnreadable
from workbench.imagery.mercator import MAX_ZOOM
from workbench.jobs import Progress
from workbench.layers import HEAT, IMAGERY

SQUARES = squares(4, 4, side=32, east=HALF_METRE.c, north=HALF_METRE.f)


@pytest.fixture
def session(tmp_path: Path) -> wb.Session:
    return session_on(SQUARES, tmp_path)


def session_on(shapes: list[Any], tmp_path: Path) -> wb.Session:
    numbers = pa.array(vectors(len(shapes), MeanColour.dim).tolist(), pa.list_(pa.float32()))
    path = plain(tmp_path / "tiles.parquet", lonlat(shapes, "EPSG:32632"), numbers)
    wb.import_embeddings(path, tmp_path / "archive", encoder=MeanColour.name, progress=Progress())
    return wb.Session(open_archive(tmp_path / "archive", encoder=MeanColour()), tmp_path / "labels")


def picture(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(Image.open(io.BytesIO(data)))


def imagery(folder: Path) -> Path:
    """The ground of the first three of four columns of tiles, each tile of another colour."""
    write_raster(folder / "photo.tif", patchwork(256, 192, patch=64))
    return folder


def test_without_imagery_cards_are_grey_and_say_so(session: wb.Session) -> None:
    session.search(tile=3, k=4)
    card, context = picture(session.thumbnail(3)), picture(session.context(3))
    assert card.shape == (128, 128, 3) and context.shape == (384, 384, 3)
    assert abs(float(np.median(card)) - 128) < 3 and card.max() > 200  # grey, with words on it
    assert not session.alarm and session.tile_text(3).startswith("tiles.parquet, row 3, 32")


def test_without_imagery_the_map_shows_the_best_tiles_and_nothing_below(session: wb.Session) -> None:
    session.search(tile=5, k=4)
    infos = session.layers.infos()
    assert not infos[IMAGERY].available and infos[HEAT].available
    lon, lat = session.archive.footprint(5, "EPSG:4326").centroid.coords[0]
    assert painted(session, HEAT, lon, lat) and session.layers.problems == ()


@pytest.mark.parametrize("step", [32, 28.57, 16, 40])
def test_every_tile_has_its_own_place_in_the_heat(tmp_path: Path, step: float) -> None:
    shapes = squares(9, 9, side=32, step=step, east=HALF_METRE.c, north=HALF_METRE.f)
    session = session_on(shapes, tmp_path)
    session.search(tile=0, k=81)
    for number in range(81):
        lon, lat = session.archive.footprint(number, "EPSG:4326").centroid.coords[0]
        places = session.layers._map.lattices(0)[0]
        col, row = session.archive.imagery[0].to_pixels(shapely.Point(lon, lat), "EPSG:4326").coords[0]
        found = places.rows.nearest(np.array([row]))[0], places.cols.nearest(np.array([col]))[0]
        assert places.numbers[found] == number


def test_a_few_tiles_strewn_over_a_continent_take_no_grid_of_it(tmp_path: Path) -> None:
    far = [*SQUARES, *squares(1, 1, side=32, east=HALF_METRE.c + 70_000, north=HALF_METRE.f + 90_000)]
    session = session_on(far, tmp_path)
    session.search(tile=0, k=3)
    assert session.layers._map.lattices(0) == ()


def painted(session: wb.Session, layer: int, lon: float, lat: float) -> bool:
    """Whether a layer shows anything on the small map tile of a place."""
    zoom = min(MAX_ZOOM, 18)
    x = int((lon + 180) / 360 * 2**zoom)
    y = int((1 - np.arcsinh(np.tan(np.radians(lat))) / np.pi) / 2 * 2**zoom)
    return session.layers.tile(layer, x, y, zoom) is not None


def test_attached_imagery_shows_the_tiles_and_is_remembered(session: wb.Session, tmp_path: Path) -> None:
    session.archive.attach(imagery(tmp_path / "photos"))
    again = wb.Session(open_archive(session.archive.folder, encoder=MeanColour()), tmp_path / "labels")
    for each in (wb.Session(session.archive, tmp_path / "labels"), again):
        card = picture(each.thumbnail(5)).reshape(-1, 3).mean(axis=0)
        truth = each.archive.attached.imagery[0].read()[:, 64:128, 64:128].reshape(3, -1).mean(axis=1)
        assert np.abs(card - truth).max() < 4
        assert each.layers.infos()[IMAGERY].available
        lon, lat = each.archive.footprint(5, "EPSG:4326").centroid.coords[0]
        assert painted(each, IMAGERY, lon, lat)
        with pytest.raises(RasterUnreadable, match=r"tiles.parquet came without imagery.*archive.attach"):
            each.thumbnail(7)  # in the last column, where the photo does not reach


def test_a_drawn_shape_is_described_in_attached_imagery_by_the_users_encoder(
    session: wb.Session, tmp_path: Path
) -> None:
    shape = lonlat([SQUARES[5]], "EPSG:32632")[0]
    with pytest.raises(RasterUnreadable, match="came without imagery"):
        session.search(shape=shape)
    session.archive.attach(imagery(tmp_path / "photos"))
    vector = session.archive.describe(0, shapely.box(256, 256, 512, 512))
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert len(session.search(shape=shape, k=3)) == 3


def test_imagery_that_is_gone_again_leaves_grey_cards(session: wb.Session, tmp_path: Path) -> None:
    session.archive.attach(imagery(tmp_path / "photos"))
    (tmp_path / "photos" / "photo.tif").unlink()
    again = wb.Session(open_archive(session.archive.folder), tmp_path / "labels")
    assert abs(float(np.median(picture(again.thumbnail(5)))) - 128) < 3


def test_an_archive_with_imagery_of_its_own_takes_none(tmp_path: Path) -> None:
    built = wb.build_archive(
        imagery(tmp_path / "photos"), tmp_path / "built", tile=64, encoder=MeanColour(), progress=Progress()
    )
    with pytest.raises(QueryInvalid, match="imagery of its own"):
        built.attach(tmp_path / "photos")
