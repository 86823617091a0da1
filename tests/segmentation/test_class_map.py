"""Class maps by descriptors: every place has the class of the tiles on it, on their own grid, in COG and polygons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from small_archives import MeanColour
from small_rasters import write_raster

from workbench.descriptors.archive import Archive
from workbench.descriptors.build import build_archive
from workbench.errors import Cancelled, FileExists, PathRefused, QueryInvalid
from workbench.imagery.opening import open_imagery
from workbench.jobs import Progress
from workbench.search.classes import learn_classes
from workbench.segmentation import cells as cells_module
from workbench.segmentation.cells import cells_of, strips
from workbench.segmentation.class_map import map_classes
from workbench.segmentation.polygons import polygonize_classes
from workbench.segmentation.predict import NODATA, STEPS

COLOURS = {"lake": (40, 60, 170), "wood": (40, 110, 50), "roof": (200, 80, 60)}
STYLES = {"lake": "#0072b2", "wood": "#009e73", "roof": "#d55e00"}


def land(seed: int = 0, rows: int = 400, cols: int = 560) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Upright bands of lake, wood and roof, 1 to 3, with a square of none of them; and the truth."""
    truth = np.repeat(np.arange(3) + 1, -(-cols // 3))[None, :cols].repeat(rows, 0)
    truth[160:288, 192:320] = 0
    palette = np.array([(240, 240, 230), *COLOURS.values()], float)
    noise = np.random.default_rng(seed).normal(0, 9, (3, rows, cols))
    return np.clip(palette[truth].transpose(2, 0, 1) + noise, 1, 250).astype(np.uint8), truth


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Archive, NDArray[np.int64]]:
    folder = tmp_path_factory.mktemp("land")
    pixels, truth = land()
    mask = np.ones(truth.shape, bool)
    mask[:, :40] = False
    write_raster(folder / "i" / "land.tif", pixels, mask=mask)
    archive = build_archive(
        open_imagery(folder / "i"), folder / "a", tile=(64, 32), stride=None, encoder=MeanColour(), progress=Progress()
    )
    return archive, truth


def marks(
    archive: Archive, truth: NDArray[np.int64], count: int = 6
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]]:
    chance = np.random.default_rng(0)
    pure: dict[int, list[int]] = {number: [] for number in range(4)}
    for number, (_, row, col, size) in enumerate(archive.tiles.tolist()):
        values = np.unique(truth[row : row + size, col : col + size])
        if len(values) == 1:
            pure[int(values[0])].append(number)
    drawn = {number: chance.permutation(found)[:count] for number, found in pure.items()}
    return {name: archive.vectors_of(drawn[place]) for place, name in enumerate(COLOURS, 1)}, archive.vectors_of(
        drawn[0]
    )


def test_a_map_has_the_right_class_almost_everywhere_on_the_tiles_own_grid(
    built: tuple[Archive, NDArray[np.int64]], tmp_path: Path
) -> None:
    archive, truth = built
    classes = learn_classes(*marks(archive, truth), archive)
    (files,) = map_classes(archive, classes, tmp_path / "m" / "land.tif", colours=STYLES, progress=Progress())
    with rasterio.open(files.classes) as file, rasterio.open(files.probability) as sure:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == sure.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.transform == archive.imagery[0].transform @ Affine.scale(16) == sure.transform
        assert file.crs == sure.crs == "EPSG:32632" and file.nodata == sure.nodata == NODATA
        assert file.colormap(1)[1] == (0, 0x72, 0xB2, 255) and file.colormap(1)[3] == (0xD5, 0x5E, 0, 255)
        assert [file.tags()[f"CLASS_{number}"] for number in range(4)] == ["none of them", *COLOURS]
        found, chances = file.read(1), sure.read(1)
        assert sure.scales == (1 / STEPS,)
    centres = truth[8::16, 8::16]
    known = found != NODATA
    assert not known[:, 0].any() and known[:, 2:].all()
    assert (chances != NODATA).tolist() == known.tolist() and chances[known].min() > STEPS / 4
    assert (found == centres)[known].mean() > 0.93
    assert (found == centres)[known & (centres == 0)].mean() > 0.7
    names = (tmp_path / "m" / "land.tif.aux.xml").read_text()
    assert names.index("none of them") < names.index("lake") < names.index("roof")
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == [
        "land-probability.tif",
        "land.tif",
        "land.tif.aux.xml",
    ]


def test_the_polygons_are_the_maps_own_pixels_with_their_area(
    built: tuple[Archive, NDArray[np.int64]], tmp_path: Path
) -> None:
    archive, truth = built
    classes = learn_classes(*marks(archive, truth), archive)
    (files,) = map_classes(archive, classes, tmp_path / "land.tif", progress=Progress())
    frame = polygonize_classes(files.classes, files.probability, classes.names)
    with rasterio.open(files.classes) as file, rasterio.open(files.probability) as sure:
        found, chances = file.read(1), sure.read(1)
    assert frame.is_valid.all() and set(frame["class"]) == set(COLOURS) and frame.crs == "EPSG:32632"
    scale = (
        pyproj.Proj("EPSG:32632")
        .get_factors(*pyproj.Transformer.from_crs(32632, 4326, always_xy=True).transform(574_100, 6_221_950))
        .areal_scale
    )
    for number, name in enumerate(COLOURS, 1):
        mine = frame[frame["class"] == name]
        pixels = (found == number).sum()
        assert mine.area.sum() == pytest.approx(pixels * 64)
        assert mine["area_m2"].sum() == pytest.approx(pixels * 64 / scale, rel=2e-3)
        mean = (mine["probability"] * mine.area).sum() / mine.area.sum()
        assert mean == pytest.approx(chances[found == number].mean() / STEPS, abs=1e-6)
    assert shapely.union_all(frame.geometry).area == pytest.approx(frame.area.sum())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.booleans())
def test_cells_are_means_over_tiles_whatever_the_strips(seed: int, budget: int, regular: bool) -> None:
    """Against one pass over pixels, for tiles of any size and place."""
    chance = np.random.default_rng(seed)
    archive = _placed(chance, regular)
    values = chance.random((len(archive.tiles), 2), np.float32)
    cells = cells_of(archive, 1)
    before, cells_module._STRIP_BYTES = cells_module._STRIP_BYTES, budget * 8 * 3 * len(cells.cols)
    try:
        found = list(strips(archive, cells, lambda numbers: values[numbers], 2))
    finally:
        cells_module._STRIP_BYTES = before
    total, count = np.zeros((2, 120, 120)), np.zeros((120, 120))
    for (raster, row, col, size), value in zip(archive.tiles.tolist(), values, strict=True):
        if raster == 1:
            total[:, row : row + size, col : col + size] += value[:, None, None]
            count[row : row + size, col : col + size] += 1
    assert [strip.first for strip in found] == np.cumsum([0, *(len(strip.means) for strip in found[:-1])]).tolist()
    means, known = np.concatenate([strip.means for strip in found]), np.concatenate([strip.known for strip in found])
    at = np.ix_(cells.rows[:-1], cells.cols[:-1])
    assert known.tolist() == (count[at] > 0).tolist()
    expected = np.stack([each[at] for each in total], -1) / np.maximum(count[at], 1)[..., None]
    np.testing.assert_allclose(means[known], expected[known], atol=1e-6)


class _Tiles:
    """Just the tiles of an archive."""

    def __init__(self, tiles: NDArray[np.void], imagery: tuple[object, ...]) -> None:
        self.tiles, self.imagery = tiles, imagery
        self.sizes = tuple(np.unique(tiles["size"]).tolist())

    def tiles_within(self, *rectangle: float) -> NDArray[np.int64]:
        from workbench.descriptors.tiles import tiles_within

        return tiles_within(self.tiles, *rectangle)  # type: ignore[arg-type]


def _placed(chance: np.random.Generator, regular: bool) -> Archive:
    from workbench.imagery.grid import TILE_DTYPE

    tiles = np.zeros(chance.integers(3, 60), TILE_DTYPE)
    tiles["raster"] = np.sort(chance.integers(0, 3, len(tiles)))
    tiles["raster"][len(tiles) // 2] = 1
    tiles["raster"].sort()
    tiles["size"] = chance.choice([8, 16], len(tiles)) if regular else chance.integers(1, 30, len(tiles))
    for name in ("row", "col"):
        tiles[name] = chance.integers(0, 12, len(tiles)) * 8 if regular else chance.integers(0, 90, len(tiles))
    return _Tiles(tiles, (None, None, None))  # type: ignore[return-value]


def test_nothing_is_replaced_unasked_and_nothing_is_left_when_it_is_stopped(
    built: tuple[Archive, NDArray[np.int64]], tmp_path: Path
) -> None:
    archive, truth = built
    classes = learn_classes(*marks(archive, truth), archive)
    stopped = Progress()
    stopped.cancel()
    with pytest.raises(Cancelled):
        map_classes(archive, classes, tmp_path / "land.tif", progress=stopped)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "land-probability.tif").write_bytes(b"mine")
    with pytest.raises(FileExists, match="land-probability"):
        map_classes(archive, classes, tmp_path / "land.tif", progress=Progress())
    with pytest.raises(FileExists):
        map_classes(archive, classes, archive.imagery[0].path, overwrite=True, progress=Progress())
    with pytest.raises(PathRefused, match=r"End it in \.tif"):
        map_classes(archive, classes, tmp_path / "land", progress=Progress())
    assert [path.name for path in tmp_path.iterdir()] == ["land-probability.tif"]
    (files,) = map_classes(archive, classes, tmp_path / "land.tif", overwrite=True, progress=Progress())
    assert files.classes.is_file()


def test_imagery_without_a_place_on_earth_has_a_map_in_pixels(tmp_path: Path) -> None:
    pixels, truth = land(1)
    write_raster(tmp_path / "i.tif", pixels, crs=None, transform=Affine.identity())
    archive = build_archive(
        open_imagery(tmp_path / "i.tif"), tmp_path / "a", tile=64, encoder=MeanColour(), progress=Progress()
    )
    classes = learn_classes(*marks(archive, truth), archive)
    (files,) = map_classes(archive, classes, tmp_path / "m.tif", progress=Progress())
    frame = polygonize_classes(files.classes, files.probability, classes.names)
    lake = frame[frame["class"] == "lake"].union_all()
    assert frame.crs is None and frame["area_m2"].isna().all()
    assert lake.bounds[:2] == (0, 0) and lake.bounds[3] == 400 and 160 <= lake.bounds[2] <= 208


def test_classes_need_marks_and_their_scorers_rank(built: tuple[Archive, NDArray[np.int64]]) -> None:
    archive, truth = built
    told, others = marks(archive, truth)
    with pytest.raises(QueryInvalid, match="There is 1 class"):
        learn_classes({"lake": told["lake"]}, others, archive)
    with pytest.raises(QueryInvalid, match="wood has no marked tile"):
        learn_classes({**told, "wood": told["wood"][:0]}, others, archive)
    classes = learn_classes(told, others[:0], archive)
    chances = classes.probabilities(archive.vectors)
    np.testing.assert_allclose(chances.sum(axis=1), 1, atol=1e-5)
    ranked = np.argsort(-(archive.vectors @ classes.scorer("roof").weights + classes.scorer("roof").bias))[:30]
    assert (archive.tiles["col"][ranked] + archive.tiles["size"][ranked] / 2 > 374).all()
    again = learn_classes(told, others[:0], replace(archive))
    np.testing.assert_array_equal(again.weights, classes.weights)
