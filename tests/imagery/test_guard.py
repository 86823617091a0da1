"""What may not be opened: disguised formats, files that lead to other files, the network."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from local_web import Server
from small_rasters import patchwork, write_raster

from workbench.errors import RasterRefused, RasterUnreadable
from workbench.imagery.guard import check_local
from workbench.imagery.opening import open_imagery

SECRET = b"the machine's name and forty more bytes of it......."


def vrt(source: str, *, relative: bool = False, band: str = "", inside: str = "", kind: str = "SimpleSource") -> str:
    return f"""<VRTDataset rasterXSize="64" rasterYSize="64"><SRS>EPSG:32632</SRS>
<GeoTransform>574000, 0.5, 0, 6222000, 0, -0.5</GeoTransform>
<VRTRasterBand dataType="Byte" band="1"{band}>{inside}<{kind}>
<SourceFilename relativeToVRT="{int(relative)}">{source}</SourceFilename><SourceBand>1</SourceBand>
<SrcRect xOff="0" yOff="0" xSize="64" ySize="64"/><DstRect xOff="0" yOff="0" xSize="64" ySize="64"/>
</{kind}></VRTRasterBand></VRTDataset>"""


def raw_vrt(secret: Path) -> str:
    """A VRT that shows the bytes of any file as pixels."""
    return f"""<VRTDataset rasterXSize="8" rasterYSize="4"><VRTRasterBand dataType="Byte" band="1" subClass="VRTRawRasterBand">
<SourceFilename relativetoVRT="0">{secret}</SourceFilename><ImageOffset>0</ImageOffset><PixelOffset>1</PixelOffset>
<LineOffset>8</LineOffset></VRTRasterBand></VRTDataset>"""


@pytest.fixture
def tile(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "images" / "tile.tif", patchwork(64, 64, 1))


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "outside" / "secret"
    path.parent.mkdir()
    path.write_bytes(SECRET)
    return path


def test_P40_a_vrt_named_tif_is_refused(tmp_path: Path, secret: Path) -> None:
    disguised = tmp_path / "images" / "ortho.tif"
    disguised.parent.mkdir()
    disguised.write_text(raw_vrt(secret))
    with rasterio.open(disguised, VRT_RAWRASTERBAND_ALLOWED_SOURCE="ALL") as leak:
        assert leak.count == 1  # GDAL itself would open it
    with pytest.raises(RasterRefused, match=r"ortho\.tif is a VRT"):
        open_imagery(disguised)
    with pytest.raises(RasterRefused, match="only plain mosaics"):
        open_imagery(disguised, allow_vrt=True)
    with pytest.raises(RasterUnreadable, match="is a VRT"):
        open_imagery(disguised.parent)


def test_P40_an_honest_mosaic_opens_when_allowed(tile: Path) -> None:
    mosaic = tile.with_name("mosaic.vrt")
    mosaic.write_text(vrt("tile.tif", relative=True))
    with pytest.raises(RasterRefused, match="allow_vrt=True"):
        open_imagery(mosaic)
    opened = open_imagery(mosaic, allow_vrt=True)[0]
    assert opened.is_vrt and np.array_equal(opened.read(), open_imagery(tile)[0].read())
    mosaic.write_text(vrt(str(tile)))
    assert np.array_equal(open_imagery(mosaic, allow_vrt=True)[0].read(), opened.read())


@pytest.mark.parametrize(
    "source",
    [
        "../outside/other.tif",
        "sub/../../outside/other.tif",
        "linked/other.tif",
        "link.tif",
        "/etc/hostname",
        "/vsicurl/http://127.0.0.1:1/a.tif",
        "/vsizip/../outside/a.zip/other.tif",
        "http://127.0.0.1:1/a.tif",
        "GTIFF_DIR:1:tile.tif",
        "vrt://tile.tif?bands=1",
        "<VRTDataset/>",
        "",
        "nested.vrt",
        "missing.tif",
        "folder",
    ],
)
@pytest.mark.parametrize("relative", [True, False])
def test_P40_a_mosaic_with_a_source_elsewhere_is_refused(tile: Path, source: str, relative: bool) -> None:
    folder = tile.parent
    outside = write_raster(folder.parent / "outside" / "other.tif", patchwork(64, 64, 1))
    (folder / "linked").symlink_to(outside.parent)
    (folder / "link.tif").symlink_to(outside)
    (folder / "sub").mkdir()
    (folder / "folder").mkdir()
    (folder / "nested.vrt").write_text(vrt("tile.tif", relative=True))
    mosaic = folder / "mosaic.vrt"
    mosaic.write_text(vrt(source.replace("<", "&lt;"), relative=relative))
    with pytest.raises((RasterRefused, RasterUnreadable)):
        open_imagery(mosaic, allow_vrt=True)


@pytest.mark.parametrize(
    "text",
    [
        vrt("tile.tif", relative=True, band=' subClass="VRTDerivedRasterBand"'),
        vrt("tile.tif", relative=True, inside="<PixelFunctionType>sqrt</PixelFunctionType>"),
        vrt("tile.tif", relative=True, kind="KernelFilteredSource"),
        vrt("tile.tif", relative=True, kind="ArraySource"),
        vrt("tile.tif", relative=True).replace(
            "<SourceBand>", '<OpenOptions><OOI key="NUM_THREADS">9</OOI></OpenOptions><SourceBand>'
        ),
        vrt("tile.tif", relative=True).replace("<VRTDataset ", '<VRTDataset subClass="VRTWarpedDataset" '),
        '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]>' + vrt("&e;"),
        "<VRTDataset",
    ],
)
def test_P40_a_mosaic_that_computes_is_refused(tile: Path, text: str) -> None:
    mosaic = tile.with_name("mosaic.vrt")
    mosaic.write_text(text)
    with pytest.raises((RasterRefused, RasterUnreadable), match=r"mosaic\.vrt"):
        open_imagery(mosaic, allow_vrt=True)


def test_P40_a_source_that_is_a_disguised_vrt_is_refused(tile: Path, secret: Path) -> None:
    tile.with_name("inner.tif").write_text(raw_vrt(secret))
    mosaic = tile.with_name("mosaic.vrt")
    mosaic.write_text(vrt("inner.tif", relative=True))
    with pytest.raises(RasterRefused, match=r"inner\.tif is a VRT"):
        open_imagery(mosaic, allow_vrt=True)


@pytest.mark.parametrize("suffix", [".ovr", ".msk", ".msk.ovr", ".OVR", ".MSK", ".Ovr"])
def test_P40_overviews_that_are_a_vrt_are_refused(tile: Path, suffix: str) -> None:
    tile.with_name(tile.name + suffix).write_text(vrt("/etc/hostname"))
    with pytest.raises(RasterRefused, match="which GDAL reads together with"):
        open_imagery(tile)


def test_P40_overviews_elsewhere_are_refused(tile: Path) -> None:
    described = tile.with_name(tile.name + ".aux.xml")
    described.write_text(
        '<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">/etc/hostname</MDI></Metadata></PAMDataset>'
    )
    with pytest.raises(RasterRefused, match="another file for overviews"):
        open_imagery(tile)
    described.unlink()
    with rasterio.open(tile, "r+") as file:
        file.update_tags(ns="OVERVIEWS", OVERVIEW_FILE="/etc/hostname")
    with pytest.raises(RasterRefused, match="another file for its overviews"):
        open_imagery(tile)


def test_P40_nothing_remote_is_asked_without_permission(tile: Path, server: Server) -> None:
    server.files["/a.tif"] = tile.read_bytes()
    url = f"{server.url}/a.tif"
    for source in (url, f"/vsicurl/{url}", f"/vsicurl?url={url}", f"cog+{url}", f"/vsizip//vsicurl/{url}"):
        with pytest.raises(RasterRefused, match="allow_remote=True"):
            open_imagery(source)
    mosaic = tile.with_name("mosaic.vrt")
    mosaic.write_text(vrt(f"/vsicurl/{url}"))
    with pytest.raises(RasterRefused):
        open_imagery(mosaic, allow_vrt=True, allow_remote=True)
    for odd in ("ftp://127.0.0.1/a.tif", "file:///etc/hostname", "/vsis3/bucket/a.tif"):
        with pytest.raises(RasterRefused):
            open_imagery(odd, allow_remote=True)
    assert server.requests == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "a web page"),
        (b"  <HTML>quota exceeded</HTML>", "a web page"),
        (b"%PDF-1.7\n...", "%PDF-1.7"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "svg|xml"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "version"),
        (b"GIF89a", "GIF89a"),
        (b"\0" * 100, "x00"),
        (b"NETCDF", "NETCDF"),
    ],
)
def test_P22_a_file_of_another_kind_saved_as_tif_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "south.tif"
    path.write_bytes(content)
    with pytest.raises(RasterRefused, match=rf"south\.tif is not a GeoTIFF.*({words})"):
        open_imagery(path)


def test_an_empty_missing_or_folder_path_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty.tif").touch()
    for path, words in (("empty.tif", "is empty"), ("none.tif", "does not exist"), (".", "is a folder")):
        with pytest.raises(RasterUnreadable, match=words):
            check_local(tmp_path / path, allow_vrt=False)


def test_a_header_alone_is_no_raster(tmp_path: Path) -> None:
    for name, head in (("a.tif", b"II*\0"), ("b.png", b"\x89PNG\r\n\x1a\n"), ("c.jpg", b"\xff\xd8\xff\xe0")):
        (tmp_path / name).write_bytes(head + os.urandom(200))
        with pytest.raises(RasterUnreadable, match=name):
            open_imagery(tmp_path / name)
