"""Files from a real server on this machine: whole, resumed, checked, refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from local_web import CONTENT, HERE, Server, http, names_in, zipped

from workbench.errors import Cancelled, CatalogError, DiskFull, PathRefused
from workbench.imagery.catalog import fetch
from workbench.jobs import Progress


def test_a_file_is_fetched_whole_and_not_again(server: Server, tmp_path: Path, quiet: Progress) -> None:
    server.files["/a/scene.tif"] = CONTENT
    thing = http(f"{server.url}/a/scene.tif?token=secret", sha256=hashlib.sha256(CONTENT).hexdigest())
    path = fetch(thing, tmp_path / "data", allow_http=HERE, progress=quiet)
    assert path == tmp_path / "data" / "scene.tif" and path.read_bytes() == CONTENT
    assert names_in(tmp_path) == ["data", "data/fetched.json", "data/scene.tif"]
    record = (tmp_path / "data" / "fetched.json").read_text()
    assert "CC0-1.0" in record and "https://example.org" in record and "secret" not in record
    assert fetch(thing, tmp_path / "data", allow_http=HERE, progress=quiet) == path
    assert len(server.requests) == 1


def test_a_relative_folder_is_meant_from_where_you_are(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quiet: Progress
) -> None:
    monkeypatch.chdir(tmp_path)
    server.files["/scene.tif"] = b"pixels"
    path = fetch(http(f"{server.url}/scene.tif"), "data/thing", allow_http=HERE, progress=quiet)
    assert path == tmp_path / "data" / "thing" / "scene.tif"


def test_a_cut_download_goes_on_where_it_was_cut(server: Server, tmp_path: Path, quiet: Progress) -> None:
    server.files["/scene.tif"] = CONTENT
    server.cut_after = [1_000_000, 700_000]
    path = fetch(http(f"{server.url}/scene.tif"), tmp_path, allow_http=HERE, progress=quiet)
    assert path.read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == [None, "bytes=1000000-", "bytes=1700000-"]
    assert names_in(tmp_path) == ["fetched.json", "scene.tif"]


def test_a_download_that_keeps_breaking_is_kept_and_the_next_call_goes_on(
    server: Server, tmp_path: Path, quiet: Progress
) -> None:
    server.files["/scene.tif"] = CONTENT
    server.cut_after = [500_000, 0, 0, 0]
    with pytest.raises(CatalogError, match="500 kB are kept"):
        fetch(http(f"{server.url}/scene.tif"), tmp_path, allow_http=HERE, progress=quiet)
    assert names_in(tmp_path) == ["scene.tif.part", "scene.tif.part.json"]
    path = fetch(http(f"{server.url}/scene.tif"), tmp_path, allow_http=HERE, progress=quiet)
    assert path.read_bytes() == CONTENT
    assert server.requests[-1][1] == "bytes=500000-"


def test_a_part_that_was_complete_is_not_fetched_again(server: Server, tmp_path: Path, quiet: Progress) -> None:
    server.files["/scene.tif"] = CONTENT
    (tmp_path / "scene.tif.part").write_bytes(CONTENT)
    known = {"url": f"{server.url}/scene.tif", "validator": server.version}
    (tmp_path / "scene.tif.part.json").write_text(json.dumps(known))
    path = fetch(http(f"{server.url}/scene.tif"), tmp_path, allow_http=HERE, progress=quiet)
    assert path.read_bytes() == CONTENT and len(server.requests) == 1


def test_a_part_longer_than_the_file_is_begun_anew(server: Server, tmp_path: Path, quiet: Progress) -> None:
    server.files["/scene.tif"] = CONTENT
    (tmp_path / "scene.tif.part").write_bytes(CONTENT + b"more")
    known = {"url": f"{server.url}/scene.tif", "validator": server.version}
    (tmp_path / "scene.tif.part.json").write_text(json.dumps(known))
    path = fetch(http(f"{server.url}/scene.tif"), tmp_path, allow_http=HERE, progress=quiet)
    assert path.read_bytes() == CONTENT


def test_a_file_that_changed_on_the_server_is_not_glued_to_its_old_half(
    server: Server, tmp_path: Path, quiet: Progress
) -> None:
    server.files["/scene.tif"] = CONTENT
    server.cut_after = [500_000, 0, 0, 0]
    with pytest.raises(CatalogError):
        fetch(http(f"{server.url}/scene.tif"), tmp_path, allow_http=HERE, progress=quiet)
    server.files["/scene.tif"], server.version = CONTENT[::-1], '"2"'
    path = fetch(http(f"{server.url}/scene.tif"), tmp_path, allow_http=HERE, progress=quiet)
    assert path.read_bytes() == CONTENT[::-1]


def test_a_cancelled_download_goes_on_with_the_next_call(server: Server, tmp_path: Path) -> None:
    server.files["/scene.tif"] = CONTENT
    stopping = Progress(lambda now: now.cancel() if now.done >= 1 else None)
    with pytest.raises(Cancelled):
        fetch(http(f"{server.url}/scene.tif"), tmp_path, allow_http=HERE, progress=stopping)
    assert "scene.tif" not in names_in(tmp_path)
    assert (
        fetch(http(f"{server.url}/scene.tif"), tmp_path, allow_http=HERE, progress=Progress()).read_bytes() == CONTENT
    )
    assert server.requests[-1][1] is not None


def test_a_wrong_checksum_leaves_nothing(server: Server, tmp_path: Path, quiet: Progress) -> None:
    server.files["/scene.tif"] = CONTENT
    with pytest.raises(CatalogError, match="another SHA-256"):
        fetch(http(f"{server.url}/scene.tif", sha256="0" * 64), tmp_path, allow_http=HERE, progress=quiet)
    assert names_in(tmp_path) == []


def test_a_file_of_another_size_is_not_fetched(server: Server, tmp_path: Path, quiet: Progress) -> None:
    server.files["/scene.tif"] = CONTENT
    with pytest.raises(CatalogError, match="3,072,000 bytes, and 7 were expected"):
        fetch(http(f"{server.url}/scene.tif", bytes=7), tmp_path, allow_http=HERE, progress=quiet)
    assert names_in(tmp_path) == []


def test_P39_a_file_that_is_there_and_another_one_is_not_overwritten(
    server: Server, tmp_path: Path, quiet: Progress
) -> None:
    server.files["/scene.tif"] = CONTENT
    (tmp_path / "scene.tif").write_bytes(b"mine")
    with pytest.raises(CatalogError, match="is another file"):
        digest = hashlib.sha256(CONTENT).hexdigest()
        fetch(http(f"{server.url}/scene.tif", sha256=digest), tmp_path, allow_http=HERE, progress=quiet)
    assert (tmp_path / "scene.tif").read_bytes() == b"mine"


def test_a_missing_file_is_said_in_words(server: Server, tmp_path: Path, quiet: Progress) -> None:
    with pytest.raises(CatalogError, match=r"gone\.tif: the server answered 404 .*homepage"):
        fetch(http(f"{server.url}/gone.tif"), tmp_path, allow_http=HERE, progress=quiet)
    assert len(server.requests) == 1


def test_a_server_that_is_not_there_is_said_in_words(server: Server, tmp_path: Path, quiet: Progress) -> None:
    server.close()
    with pytest.raises(CatalogError, match=r"cannot be read .* Check the network"):
        fetch(http(f"{server.url}/scene.tif"), tmp_path, allow_http=HERE, progress=quiet)


@pytest.mark.parametrize("scheme", ["http", "file", "ftp", "data"])
def test_only_https_is_fetched(server: Server, tmp_path: Path, quiet: Progress, scheme: str) -> None:
    address = {"http": f"{server.url}/scene.tif", "file": "file:///etc/passwd", "data": "data:,x"}.get(
        scheme, "ftp://example.org/scene.tif"
    )
    with pytest.raises(CatalogError, match="only https"):
        fetch(http(address), tmp_path, progress=quiet)
    assert server.requests == [] and names_in(tmp_path) == []


@pytest.mark.parametrize("target", ["file:///etc/passwd", "https://127.0.0.1/scene.tif", "http://localhost/scene.tif"])
def test_a_redirect_to_another_scheme_or_to_plain_http_elsewhere_is_not_followed(
    server: Server, tmp_path: Path, quiet: Progress, target: str
) -> None:
    server.redirects["/scene.tif"] = target
    with pytest.raises(CatalogError, match=r"another scheme|only https|not allowed"):
        fetch(http(f"{server.url}/scene.tif"), tmp_path, allow_http=HERE, progress=quiet)
    assert "scene.tif" not in names_in(tmp_path)


def test_a_redirect_of_the_same_kind_is_followed(server: Server, tmp_path: Path, quiet: Progress) -> None:
    server.redirects["/scene.tif"] = f"{server.url}/elsewhere.tif"
    server.files["/elsewhere.tif"] = b"pixels"
    assert fetch(http(f"{server.url}/scene.tif"), tmp_path, allow_http=HERE, progress=quiet).read_bytes() == b"pixels"


def test_a_disk_that_is_too_small_is_said_before_anything_is_fetched(
    server: Server, tmp_path: Path, quiet: Progress
) -> None:
    server.files["/set.zip"] = zipped({"a.tif": b"x"})
    with pytest.raises(DiskFull, match="needs about"):
        thing = replace(http(f"{server.url}/set.zip"), size_mb=1e12)
        fetch(thing, tmp_path, allow_http=HERE, progress=quiet)
    assert server.requests == []


def test_a_file_too_big_for_the_disk_is_said_in_bytes(
    server: Server, tmp_path: Path, quiet: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/scene.tif"] = CONTENT
    real = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: real._replace(free=1_000_000))
    with pytest.raises(DiskFull, match=r"scene\.tif needs about 3.07 MB .* 1 MB are free"):
        fetch(http(f"{server.url}/scene.tif"), tmp_path, allow_http=HERE, progress=quiet)
    assert names_in(tmp_path) == []


def test_a_disk_that_fills_up_meanwhile_is_said_and_the_next_call_goes_on(
    server: Server, tmp_path: Path, quiet: Progress
) -> None:
    resource = pytest.importorskip("resource")
    server.files["/scene.tif"] = CONTENT
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(DiskFull, match=r"is full.* goes on where it stopped"):
            fetch(http(f"{server.url}/scene.tif"), tmp_path, allow_http=HERE, progress=quiet)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert fetch(http(f"{server.url}/scene.tif"), tmp_path, allow_http=HERE, progress=quiet).read_bytes() == CONTENT
    assert server.requests[-1][1] is not None


@pytest.mark.parametrize("name", ["scene.tif", "scene.tif.part"])
def test_P39_no_link_is_followed_out_of_the_folder(server: Server, tmp_path: Path, quiet: Progress, name: str) -> None:
    server.files["/scene.tif"] = CONTENT
    (tmp_path / "data").mkdir()
    (tmp_path / "mine.tif").write_bytes(b"mine")
    (tmp_path / "data" / name).symlink_to(tmp_path / "mine.tif")
    with pytest.raises(PathRefused, match="leads out of"):
        fetch(http(f"{server.url}/scene.tif"), tmp_path / "data", allow_http=HERE, progress=quiet)
    assert (tmp_path / "mine.tif").read_bytes() == b"mine"
