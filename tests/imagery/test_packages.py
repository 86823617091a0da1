"""Zip and tar files from strangers."""

from __future__ import annotations

import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from local_web import CONTENT, HERE, Server, http, names_in, tar_member, tarred, zipped

from workbench.errors import CatalogError
from workbench.imagery.catalog import fetch
from workbench.imagery.packages import unpack
from workbench.jobs import Progress


@pytest.mark.parametrize("ending", ["zip", "tar.gz"])
def test_a_package_is_unpacked_and_the_imagery_in_it_found(
    server: Server, tmp_path: Path, quiet: Progress, ending: str
) -> None:
    content = {"zip": zipped({"images/a.tif": b"x", "masks/a.tif": b"y"}), "tar.gz": tarred(tar_member("images/a.tif"))}
    server.files[f"/set.{ending}"] = content[ending]
    thing = replace(http(f"{server.url}/set.{ending}"), imagery="set/images")
    path = fetch(thing, tmp_path, allow_http=HERE, progress=quiet)
    assert path == tmp_path / "set" / "images" and (path / "a.tif").read_bytes() == b"x"
    assert f"set.{ending}" not in names_in(tmp_path)
    assert fetch(thing, tmp_path, allow_http=HERE, progress=quiet) == path
    assert len(server.requests) == 1


EVIL_NAMES = ["../out.txt", "/tmp/workbench-evil.txt", "a/../../out.txt", "..\\out.txt", "x" * 300, "a/" + "y" * 300]


@pytest.mark.parametrize("name", EVIL_NAMES)
@pytest.mark.parametrize("ending", ["zip", "tar.gz"])
def test_P39_a_package_writes_only_inside_its_folder(tmp_path: Path, quiet: Progress, name: str, ending: str) -> None:
    package = tmp_path / "data" / f"set.{ending}"
    package.parent.mkdir()
    package.write_bytes(zipped({"ok.txt": b"x", name: b"x"}) if ending == "zip" else tarred(tar_member(name)))
    with pytest.raises(CatalogError, match=r"set\.(zip|tar\.gz) is not unpacked"):
        unpack(package, quiet)
    assert names_in(tmp_path) == ["data", f"data/set.{ending}"]
    assert not Path("/tmp/workbench-evil.txt").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_P39_a_tar_with_links_or_devices_is_refused(tmp_path: Path, quiet: Progress, kind: bytes) -> None:
    package = tmp_path / "set.tar"
    package.write_bytes(tarred(tar_member("door", kind, "/etc"), tar_member("door/passwd")))
    with pytest.raises(CatalogError, match="a link or device"):
        unpack(package, quiet)
    assert names_in(tmp_path) == ["set.tar"]


def test_P39_a_zip_with_a_symbolic_link_is_refused(tmp_path: Path, quiet: Progress) -> None:
    link = zipfile.ZipInfo("door")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
        file.writestr(link, "/etc")
    with pytest.raises(CatalogError, match="a link or device"):
        unpack(tmp_path / "set.zip", quiet)
    assert names_in(tmp_path) == ["set.zip"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_P39_a_package_with_one_name_twice_is_refused(tmp_path: Path, quiet: Progress) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as file:
        file.writestr("a.tif", "first")
        file.writestr("a.tif", "second")
    with pytest.raises(CatalogError, match="twice"):
        unpack(tmp_path / "set.zip", quiet)
    assert names_in(tmp_path) == ["set.zip"]


@pytest.mark.parametrize("ending", ["zip", "tar.gz"])
def test_a_bomb_is_refused(tmp_path: Path, quiet: Progress, ending: str) -> None:
    zeros = bytes(120_000_000)
    package = tmp_path / f"set.{ending}"
    package.write_bytes(zipped({"a.tif": zeros}) if ending == "zip" else tarred(tar_member("a.tif"), content=zeros))
    with pytest.raises(CatalogError, match="unpacks to more than 100 times"):
        unpack(package, quiet)
    assert names_in(tmp_path) == [package.name]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.floats(0, 1), flip=st.floats(0, 0.999), ending=st.sampled_from(["zip", "tar.gz"]))
def test_a_damaged_package_is_whole_or_refused_and_leaves_nothing(
    tmp_path: Path, cut: float, flip: float, ending: str
) -> None:
    body = CONTENT[:3000]
    good = zipped({"a.tif": body, "b/c.tif": body}) if ending == "zip" else tarred(tar_member("a.tif"), content=body)
    damaged = bytearray(good[: max(1, int(len(good) * cut))])
    damaged[int(len(damaged) * flip)] ^= 0x55
    package = tmp_path / f"set.{ending}"
    package.write_bytes(bytes(damaged))
    try:
        folder = unpack(package, Progress())
    except CatalogError:
        assert names_in(tmp_path) == [package.name]
    else:
        for file in folder.rglob("*"):
            file.is_file() and file.unlink()
        for file in sorted(folder.rglob("*"), reverse=True):
            file.rmdir()
        folder.rmdir()
    package.unlink()
