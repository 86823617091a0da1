"""The dense pass: a descriptor does not depend on the block it was computed in, and pooling is an exact mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rasterio.windows import Window
from shapely.geometry import box
from small_archives import MeanColour
from small_rasters import patchwork, write_raster

from workbench.descriptors.build import build_archive
from workbench.descriptors.dense import FeatureMap, encode_alone, encode_window
from workbench.descriptors.encoders import Encoder, load_encoder
from workbench.descriptors.texture import TextureEncoder
from workbench.errors import RasterUnreadable
from workbench.imagery.opening import open_imagery
from workbench.imagery.rasters import Raster
from workbench.imagery.render import fit_stretch
from workbench.jobs import Progress
from workbench.search.query import describe_file


def cosine(one: np.ndarray, two: np.ndarray) -> float:
    return float(one @ two / np.linalg.norm(one) / np.linalg.norm(two))


def descriptor(raster: Raster, window: Window, tile: tuple[int, int, int], encoder: Encoder) -> np.ndarray:
    features = encode_window(raster, window, 1.0, encoder, fit_stretch(raster))
    row, col, size = tile
    means, _ = features.pool_grid(np.array([row]), np.array([col]), size, size)
    return encoder.finish(means[0])[0]


BLOCKS = [Window(320, 320, 96, 96), Window(256, 256, 256, 256), Window(300, 200, 250, 340), Window(0, 0, 640, 640)]


def test_a_descriptor_does_not_depend_on_the_block(tmp_path: Path) -> None:
    raster = open_imagery(write_raster(tmp_path / "a.tif", patchwork(768, 768)))[0]
    encoder = TextureEncoder()
    found = [descriptor(raster, block, (330, 325, 80), encoder) for block in BLOCKS[:3]]
    far = descriptor(raster, Window(0, 0, 80, 80), (0, 0, 80), encoder)
    assert all(1 - cosine(found[0] - far, other - far) < 1e-3 for other in found[1:])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v2", "squeezenet1_1"])
def test_a_networks_descriptor_does_not_depend_on_the_block(shared_data: Path, name: str) -> None:
    (weights,) = (shared_data / "weights").glob(f"{name}-*.pth")
    encoder = load_encoder(name, weights)
    raster = open_imagery(shared_data / "ortho_buildings" / "oam_banepa_np_13cm_rgb.tif")[0]
    shift = [Window(4000 + w.col_off, 4000 + w.row_off, w.width, w.height) for w in BLOCKS[:3]]
    found = [descriptor(raster, block, (4330, 4325, 80), encoder) for block in shift]
    far = descriptor(raster, Window(6000, 5000, 80, 80), (5000, 6000, 80), encoder)
    centred = [one - far for one in found]
    assert all(1 - cosine(centred[0], other) < 1e-3 for other in centred[1:])


def counted(start: float, length: float, edge: float, cell: float) -> tuple[float, float]:
    """What a window covers of a cell, and what of the parabola that is over it (Simpson's rule, exact for parabolas)."""
    low, high = max(start, edge), min(start + length, edge + cell)
    if high <= low:
        return 0.0, 0.0
    ends, middle = ((at - start) / length for at in (low, high)), ((low + high) / 2 - start) / length
    heights = [6 * t * (1 - t) for t in (*ends, middle)]
    return high - low, (high - low) / length * (heights[0] + heights[1] + 4 * heights[2]) / 6


maps = st.tuples(st.integers(1, 7), st.integers(1, 7), st.integers(0, 2**32 - 1))


@given(maps, st.floats(-20, 60), st.floats(-20, 60), st.floats(2, 50), st.floats(2, 50), st.sampled_from([8.0, 12.5]))
@settings(deadline=None, max_examples=60)
def test_pool_grid_is_the_mean_weighted_by_area_place_and_data(
    shape: tuple[int, int, int], row: float, col: float, height: float, width: float, cell: float
) -> None:
    rows, cols, seed = shape
    chance = np.random.default_rng(seed)
    cells = chance.normal(size=(3, rows, cols)).astype(np.float32)
    valid = chance.choice([0, 0.25, 1], (rows, cols)).astype(np.float32)
    features = FeatureMap(cells, valid, 4.0, -8.0, cell)
    means, shares = features.pool_grid(np.array([row]), np.array([col]), height, width)
    by_row = [counted(row, height, 4 + cell * r, cell) for r in range(rows)]
    by_col = [counted(col, width, -8 + cell * c, cell) for c in range(cols)]
    areas = np.outer([area for area, _ in by_row], [area for area, _ in by_col]) * valid
    assert shares[0, 0] == pytest.approx(areas.sum() / (height * width), abs=1e-4)
    weights = np.outer([weight for _, weight in by_row], [weight for _, weight in by_col]) * valid
    if weights.sum() > 1e-2:
        assert means[0, 0] == pytest.approx((cells * weights).sum(axis=(1, 2)) / weights.sum(), abs=1e-3)


def test_pool_shape_of_a_rectangle_is_pool_grid(tmp_path: Path) -> None:
    raster = open_imagery(write_raster(tmp_path / "a.tif", patchwork(256, 256)))[0]
    features = encode_window(raster, raster.window, 1.0, MeanColour(), fit_stretch(raster))
    means, _ = features.pool_grid(np.array([40]), np.array([56]), 96, 64)
    assert features.pool_shape(box(56, 40, 120, 136)) == pytest.approx(means[0, 0], abs=1e-5)
    sliver = features.pool_shape(box(56, 40, 56.1, 40.1))
    assert sliver == pytest.approx(features.cells[:, 2, 3], abs=1e-6)


def test_holes_do_not_count(tmp_path: Path) -> None:
    there = np.ones((256, 256), bool)
    there[:, 100:140] = False
    pixels = patchwork(256, 256)
    plain = open_imagery(
        write_raster(tmp_path / "plain.tif", np.where(there, 90, 200)[None].repeat(3, 0).astype("uint8"))
    )[0]
    holed = open_imagery(write_raster(tmp_path / "holed.tif", np.full_like(pixels, 90), mask=there))[0]
    data = there[0].reshape(16, 16).mean(axis=1)[4:12]
    inside = np.array([counted(64, 128, edge, 16)[1] for edge in range(64, 192, 16)])
    # A cell that is partly a hole looks partly mid-grey; it counts by its share of data.
    for raster, hole, counts in ((plain, 200 / 255, 1.0), (holed, 0.45, data)):
        features = encode_window(raster, raster.window, 1.0, MeanColour(), fit_stretch(raster))
        means, share = features.pool_grid(np.array([0]), np.array([64]), 128, 128)
        seen = data * 90 / 255 + (1 - data) * hole
        assert means[0, 0, 0] == pytest.approx(np.average(seen, weights=inside * counts), abs=1e-4)
        assert share[0, 0] == pytest.approx(1 if raster is plain else 1 - 40 / 128, abs=1e-5)


def test_metres_see_the_same_ground_at_every_resolution(tmp_path: Path) -> None:
    fine = patchwork(512, 512, patch=64)
    coarse = fine.reshape(3, 256, 2, 256, 2).mean(axis=(2, 4)).astype("uint8")
    write_raster(tmp_path / "i" / "fine.tif", fine)
    write_raster(tmp_path / "i" / "coarse.tif", coarse, transform=Affine(1, 0, 574_000, 0, -1, 6_222_000))
    archive = build_archive(tmp_path / "i", tmp_path / "a", tile_m=64.0, encoder=MeanColour(), progress=Progress())
    both = [archive.raw[archive.tiles["raster"] == position] for position in (0, 1)]
    assert len(both[0]) == len(both[1]) == 49 and np.allclose(both[0], both[1], atol=0.01)
    pixels = archive.pixels(0), archive.pixels(49)
    assert pixels[0].shape == pixels[1].shape == (3, 64, 64)


def test_what_cannot_be_read_is_a_hole_and_listed(tmp_path: Path) -> None:
    tiles = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    path = write_raster(tmp_path / "a.tif", patchwork(256, 256), **tiles)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.7)])
    raster = open_imagery(path)[0]
    with pytest.raises(RasterUnreadable):
        raster.read()
    features = encode_window(raster, raster.window, 1.0, MeanColour(), fit_stretch(raster))
    lost = sum(window.width * window.height for window, _ in features.unreadable)
    assert 0 < lost < 256**2 and features.valid.mean() == pytest.approx(1 - lost / 256**2)
    path.unlink()
    gone = encode_window(raster, raster.window, 1.0, MeanColour(), fit_stretch(open_imagery_copy(tmp_path)))
    assert not gone.valid.any() and "cannot be read" in gone.unreadable[0][1]


def open_imagery_copy(folder: Path) -> Raster:
    return open_imagery(write_raster(folder / "copy.tif", patchwork(256, 256)))[0]


@pytest.mark.parametrize("shape", [(64, 64), (70, 100), (20, 300), (5, 5)])
def test_a_chip_of_any_size_has_a_descriptor(shape: tuple[int, int]) -> None:
    found = encode_alone(patchwork(*shape), TextureEncoder())
    assert found.shape == (TextureEncoder().dim,) and np.isfinite(found).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["texture", "mobilenet_v2"])
def test_a_chip_saved_as_png_finds_itself(shared_data: Path, tmp_path: Path, name: str) -> None:
    source = shared_data / "ortho_buildings" / "oam_banepa_np_13cm_rgb.tif"
    with rasterio.open(source) as file:
        pixels = file.read(window=Window(4000, 4000, 640, 640))
    imagery = open_imagery(write_raster(tmp_path / "a.tif", pixels))
    weights = None if name == "texture" else next((shared_data / "weights").glob(f"{name}-*.pth"))
    archive = build_archive(imagery, tmp_path / "a", encoder=name, weights=weights, progress=Progress())
    first = 0
    numbers = range(0, len(archive), 2)
    for number in numbers:
        Image.fromarray(archive.pixels(number).transpose(1, 2, 0)).save(tmp_path / "chip.png")
        scores = archive.vectors @ describe_file(archive, tmp_path / "chip.png")
        first += int(np.argmax(scores)) == number
    assert first >= 0.8 * len(numbers), f"{first} of {len(numbers)}"
