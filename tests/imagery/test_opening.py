"""Opening files, folders, stacks of bands and catalog entries: what is taken, what is left out, and what is said."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from PIL import Image
from rasterio.control import GroundControlPoint
from small_rasters import HALF_METRE, patchwork, write_raster

from workbench.errors import CatalogError, RasterRefused, RasterUnreadable, WorkbenchError
from workbench.imagery.opening import open_imagery, read_image
from workbench.imagery.render import fit_stretch, render

GRANULE = "S2A.SAFE/GRANULE/L2A/IMG_DATA"


def test_a_folder_is_searched_through_and_a_bad_file_costs_itself(tmp_path: Path) -> None:
    write_raster(tmp_path / "north" / "a.tif", patchwork(64, 64))
    write_raster(tmp_path / "south" / "a.tif", patchwork(64, 64, seed=1))
    write_raster(tmp_path / ".cache" / "hidden.tif", patchwork(64, 64, seed=2))
    (tmp_path / "notes.txt").write_text("no raster")
    (tmp_path / "error.tif").write_text("<html>404</html>")
    (tmp_path / "empty.tif").touch()
    imagery = open_imagery(tmp_path)
    assert [raster.name for raster in imagery] == ["north/a.tif", "south/a.tif"]
    assert len({raster.fingerprint for raster in imagery}) == 2
    assert len(imagery.problems) == 2 and "error.tif" in " ".join(imagery.problems)
    assert imagery.check() == imagery.problems


def test_a_failed_read_does_not_spoil_the_opening_of_another_file(tmp_path: Path) -> None:
    tiled = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    bad, good = (write_raster(tmp_path / f"{name}.tif", patchwork(320, 320), **tiled) for name in ("bad", "good"))
    damaged = open_imagery(bad)[0]
    opened = open_imagery(good)
    os.truncate(bad, bad.stat().st_size // 2)
    with pytest.raises(RasterUnreadable, match=r"bad\.tif"):
        damaged.read()
    assert open_imagery(good)[0] == opened[0]


def test_several_files_may_have_one_name_and_one_file_counts_once(tmp_path: Path) -> None:
    paths = [write_raster(tmp_path / folder / "a.tif", patchwork(64, 64, seed=ord(folder))) for folder in "xyz"]
    imagery = open_imagery([*paths, paths[0]])
    assert [raster.name for raster in imagery] == ["a.tif", "a.tif (2)", "a.tif (3)"]
    assert [raster.path for raster in imagery] == paths
    assert [raster.name for raster in imagery.without("a.tif")] == ["a.tif (2)", "a.tif (3)"]
    with pytest.raises(RasterUnreadable, match=r"no raster named \['b'\]"):
        imagery.without("b")


def test_a_folder_without_rasters_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no raster")
    with pytest.raises(RasterUnreadable, match=r"holds no raster: looked for \.tif"):
        open_imagery(tmp_path)
    (tmp_path / "bad.tif").write_text("no raster")
    with pytest.raises(RasterUnreadable, match=r"no raster that can be opened: bad\.tif"):
        open_imagery(tmp_path)


def test_a_path_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(RasterUnreadable, match=r"none\.tif cannot be read"):
        open_imagery(tmp_path / "none.tif")
    with pytest.raises(CatalogError, match="no-such-data"):
        open_imagery("no-such-data")


def test_bands_are_chosen_by_number_name_or_colour(tmp_path: Path) -> None:
    pixels = patchwork(64, 64, 4, dtype="uint16")
    path = write_raster(tmp_path / "a.tif", pixels, names=("Blue", "green", "red", "nir"))
    assert [band.name for band in open_imagery(path)[0].bands] == ["Blue", "green", "red", "nir"]
    assert np.array_equal(open_imagery(path, bands=["RED", "blue"])[0].read().data, pixels[[2, 0]])
    assert np.array_equal(open_imagery(path, bands=[4, 1, 1])[0].read().data, pixels[[3, 0, 0]])
    rgb = write_raster(tmp_path / "rgb.tif", pixels[:3].astype("uint8"), photometric="RGB")
    assert open_imagery(rgb, bands=["blue"])[0].bands[0].number == 3
    for wrong in (["swir"], [0], [5]):
        with pytest.raises(RasterRefused, match=r"a\.tif has no band .* It has \{1: 'Blue'"):
            open_imagery(path, bands=wrong)


def test_alpha_is_never_a_band(tmp_path: Path) -> None:
    pixels = patchwork(64, 64, 4)
    path = write_raster(tmp_path / "a.tif", pixels, photometric="RGB", alpha=True)
    assert [band.number for band in open_imagery(path)[0].bands] == [1, 2, 3]
    with pytest.raises(RasterRefused, match="no band 4"):
        open_imagery(path, bands=[1, 4])


def sentinel(folder: Path, scene: str, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Bands as separate files at 10, 20 and 60 m, as a Sentinel-2 product holds them."""
    bands = {}
    for metres, names in ((10, ("B02", "B03", "B04")), (20, ("B02", "B03", "B04", "B11")), (60, ("B02", "B04"))):
        side = 1920 // metres
        for number, name in enumerate(names):
            pixels = patchwork(side, side, 1, seed=seed * 100 + number + metres, dtype="uint16")
            bands[f"{name}_{metres}m"] = pixels
            path = folder / GRANULE / f"R{metres}m" / f"{scene}_{name}_{metres}m.tif"
            write_raster(path, pixels, transform=Affine(metres, 0, 6e5, 0, -metres, 6e6))
    return bands


def test_single_band_files_are_stacked_at_the_finest_resolution(tmp_path: Path) -> None:
    pixels = sentinel(tmp_path, "T29UNU_20221005T115411")
    (raster,) = open_imagery(tmp_path, bands=["B04", "B03", "B02"])
    assert [band.name for band in raster.bands] == ["B04", "B03", "B02"] and raster.width == 192
    assert np.array_equal(raster.read().data, np.concatenate([pixels[f"{n}_10m"] for n in ("B04", "B03", "B02")]))
    assert raster.date == "2022-10-05"
    (swir,) = open_imagery(tmp_path, bands=["B11", "B04"])
    assert swir.width == 96
    files = [path for path in tmp_path.rglob("*_60m.tif")]
    (listed,) = open_imagery(files, bands=["B02", "B04"])
    assert listed.width == 32 and [path.name[-11:-8] for path in listed.paths] == ["B02", "B04"]


def test_stacks_of_two_scenes_and_of_two_folders_are_all_found(tmp_path: Path) -> None:
    sentinel(tmp_path / "one", "T29UNU_20221005T115411")
    sentinel(tmp_path / "one", "T29UNU_20230115T115411", seed=1)
    sentinel(tmp_path / "copy", "T29UNU_20221005T115411", seed=2)
    imagery = open_imagery(tmp_path, bands=["B04", "B03"])
    assert len(imagery) == 3 and len({raster.fingerprint for raster in imagery}) == 3
    assert {raster.width for raster in imagery} == {192}
    assert sorted(str(raster.date) for raster in imagery) == ["2022-10-05", "2022-10-05", "2023-01-15"]


def test_a_damaged_band_costs_only_its_stack(tmp_path: Path) -> None:
    for scene in "abc":
        for band in ("red", "nir"):
            write_raster(tmp_path / f"{scene}_{band}.tif", patchwork(64, 64, 1, seed=ord(scene)))
    (tmp_path / "b_red.tif").write_text("<html>")
    imagery = open_imagery(tmp_path, bands=["red", "nir"])
    assert [raster.path.name for raster in imagery] == ["a_red.tif", "c_red.tif"]
    assert len(imagery.problems) == 1 and "b_red.tif" in imagery.problems[0]


def test_bands_on_other_grids_are_refused(tmp_path: Path) -> None:
    write_raster(tmp_path / "a_red.tif", patchwork(64, 64, 1))
    write_raster(tmp_path / "a_nir.tif", patchwork(64, 64, 1), transform=HALF_METRE @ Affine.translation(1, 0))
    with pytest.raises(RasterUnreadable, match=r"a_nir\.tif is not on the same grid as a_red\.tif"):
        open_imagery(tmp_path, bands=["red", "nir"])


def test_a_stack_of_two_dtypes_holds_both(tmp_path: Path) -> None:
    red = np.full((1, 32, 32), 200, np.uint8)
    nir = np.full((1, 32, 32), 40_000, np.uint16)
    write_raster(tmp_path / "a_red.tif", red)
    write_raster(tmp_path / "a_nir.tif", nir)
    (raster,) = open_imagery(tmp_path, bands=["red", "nir"])
    assert raster.dtype == "uint16" and raster.read()[:, 0, 0].tolist() == [200, 40_000]


def test_P21_no_data_that_the_pixels_cannot_hold_is_refused_in_words(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", patchwork(64, 64, dtype="uint16"))
    for value in (-1.0, 65536.0, 0.5, float("nan")):
        with pytest.raises(RasterRefused, match=r"a\.tif: no-data .* cannot occur in uint16 pixels.*0 to 65535"):
            open_imagery(path, nodata=value)
    assert open_imagery(path, nodata=0)[0].nodata == 0


def test_P21_no_data_of_the_file_that_cannot_occur_is_ignored(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", patchwork(64, 64, dtype="uint16"), nodata=60000)
    path.write_bytes(path.read_bytes().replace(b"60000\0", b"-9999\0"))
    raster = open_imagery(path)[0]
    assert raster.nodata is None and not raster.read().mask.any()


def test_files_that_are_no_plain_grid_are_refused_by_name(tmp_path: Path) -> None:
    import rasterio

    pixels = patchwork(32, 32, 1)
    points = [GroundControlPoint(r, c, 10 + c / 1e3, 50 - r / 1e3) for r, c in ((0, 0), (0, 32), (32, 0))]
    with rasterio.open(tmp_path / "gcps.tif", "w", driver="GTiff", width=32, height=32, count=1, dtype="uint8") as file:
        file.write(pixels)
        file.gcps = (points, rasterio.crs.CRS.from_epsg(4326))
    write_raster(tmp_path / "radar.tif", pixels.astype("complex64"))
    palette = Image.fromarray(pixels[0]).convert("P")
    palette.save(tmp_path / "palette.png")
    for name, words in (("gcps.tif", "control points"), ("radar.tif", "complex"), ("palette.png", "palette")):
        with pytest.raises(RasterRefused, match=words):
            open_imagery(tmp_path / name)


def test_opening_reads_headers_only(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", patchwork(512, 512), tiled=True, blockxsize=256, blockysize=256)
    whole = path.read_bytes()
    path.write_bytes(whole[:2000])
    opened = open_imagery(path)[0]
    with pytest.raises(RasterUnreadable, match=r"a\.tif: rows 0-511 cannot be read"):
        opened.read()


def test_the_fingerprint_survives_moving_and_sees_a_change(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", patchwork(64, 64))
    raster = open_imagery(path)[0]
    moved = Path(shutil.copy(path, tmp_path / "b.tif"))
    assert open_imagery(moved)[0].fingerprint == raster.fingerprint and raster.unchanged()
    path.unlink()
    assert not raster.unchanged()
    with pytest.raises(RasterUnreadable, match="cannot be read"):
        raster.read()


class _Ranges(BaseHTTPRequestHandler):
    """Serves one file by ranges, from a process of its own: GDAL holds Python's lock while it waits for an answer."""

    content = b""

    def do_HEAD(self) -> None:
        self._answer(b"", len(self.content), 200)

    def do_GET(self) -> None:
        if "Range" not in self.headers:
            self._answer(b"", 0, 404)
            return
        first, last = (int(end) for end in self.headers["Range"].removeprefix("bytes=").split("-"))
        part = self.content[first : last + 1]
        self._answer(part, len(part), 206, f"bytes {first}-{first + len(part) - 1}/{len(self.content)}")

    def _answer(self, body: bytes, length: int, status: int, given: str | None = None) -> None:
        self.send_response(status if self.path == "/a.tif" else 404)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(length))
        if given:
            self.send_header("Content-Range", given)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def _serve(content: bytes, pipe: Connection) -> None:
    _Ranges.content = content
    with ThreadingHTTPServer(("127.0.0.1", 0), _Ranges) as server:
        pipe.send(server.server_port)
        server.serve_forever()


def test_a_remote_raster_is_read_when_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    path = write_raster(tmp_path / "a.tif", patchwork(64, 64))
    spawn = multiprocessing.get_context("spawn")
    receiver, sender = spawn.Pipe(duplex=False)
    server = spawn.Process(target=_serve, args=(path.read_bytes(), sender), daemon=True)
    server.start()
    try:
        raster = open_imagery(f"http://127.0.0.1:{receiver.recv()}/a.tif", allow_remote=True)[0]
        assert raster.name == "a.tif"
        assert np.array_equal(raster.read(), open_imagery(path)[0].read())
    finally:
        server.kill()
        server.join()


def test_a_photograph_is_read_as_rgb(tmp_path: Path) -> None:
    pixels = patchwork(40, 60)
    Image.fromarray(pixels.transpose(1, 2, 0)).save(tmp_path / "photo.png")
    Image.fromarray(pixels[0]).save(tmp_path / "grey.png")
    assert np.array_equal(read_image(tmp_path / "photo.png"), pixels)
    assert np.array_equal(read_image(tmp_path / "grey.png"), pixels[[0, 0, 0]])


def test_every_awkward_real_raster_opens_and_shows_or_says_why_not(shared_data: Path) -> None:
    paths = sorted((shared_data / "edge_rasters").rglob("*.tif"))
    assert len(paths) > 40
    shown, refused = [], {}
    for path in paths:
        try:
            raster = open_imagery(path)[0]
            picture = render(raster, raster.window, (64, 64), fit_stretch(raster))
            raster.footprint(crs="EPSG:4326" if raster.mappable else None)
            assert all(size > 0 for size in raster.pixel_size_m)
            assert picture.shape == (64, 64, 4)
            shown.append(path.name)
        except WorkbenchError as error:
            refused[path.name] = str(error)
    assert len(shown) >= len(paths) - 6, refused
    assert all(name in words for name, words in refused.items())


@pytest.mark.slow
def test_a_real_sentinel_product_is_stacked_from_its_folder(shared_data: Path) -> None:
    (raster,) = open_imagery(shared_data / "sentinel2_jp2", bands=["B04", "B03", "B02"])
    assert raster.dtype == "uint16" and raster.crs == "EPSG:32629" and raster.date == "2022-10-05"
    assert raster.pixel_size_m == pytest.approx((60, 60), rel=0.01)
    picture = render(raster, raster.window, (200, 200), fit_stretch(raster))
    assert picture[..., :3].std() > 10
