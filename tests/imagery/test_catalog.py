"""The data catalog: its files, and getting data sets from a real server on this machine."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workbench.errors import Cancelled, CatalogError, DiskFull, PathRefused
from workbench.imagery.catalog import catalog, entry, fetch, resolve
from workbench.imagery.download import Remote
from workbench.imagery.entries import Entry, Http, Labels, Manual, Paint, Stac
from workbench.imagery.packages import unpack
from workbench.jobs import Progress

CONTENT = bytes(range(256)) * 12_000
HERE = ("127.0.0.1",)


class Server:
    """A file server with ETags and ranges that can cut connections, redirect and answer STAC searches."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.items: list[dict[str, object]] = []
        self.requests: list[tuple[str, str | None]] = []
        self.searches: list[dict[str, object]] = []
        self.cut_after: list[int] = []
        self.version = '"1"'
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.get(self)

            def do_POST(self) -> None:
                server.search(self)

            def log_message(self, *args: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                pass  # a client that hangs up is part of the tests

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def get(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.partition("?")[0]
        asked = request.headers.get("Range")
        self.requests.append((path, asked))
        if path in self.redirects:
            request.send_response(302)
            request.send_header("Location", self.redirects[path])
            request.end_headers()
            return
        if path not in self.files:
            request.send_error(404)
            return
        body, start = self.files[path], 0
        if asked and request.headers.get("If-Range", self.version) == self.version:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(body) > 0:
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(body)}")
            request.end_headers()
            return
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        request.send_header("ETag", self.version)
        request.send_header("Content-Length", str(len(body) - start))
        request.end_headers()
        end = start + self.cut_after.pop(0) if self.cut_after else len(body)
        request.wfile.write(body[start:end])

    def search(self, request: BaseHTTPRequestHandler) -> None:
        self.searches.append(json.loads(request.rfile.read(int(request.headers["Content-Length"]))))
        body = json.dumps({"type": "FeatureCollection", "features": self.items}).encode()
        request.send_response(200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running = Server()
    yield running
    running.close()


@pytest.fixture
def quiet() -> Progress:
    return Progress()


def an_entry(how: Http | Stac | Manual | Paint, **changes: object) -> Entry:
    plain = Entry(
        name="thing",
        title="A thing",
        description="For tests.",
        source="https://example.org",
        licence="CC0-1.0",
        resolution_m=(0.2,),
        bands=("red",),
        dtype="uint8",
        nodata=None,
        crs=None,
        size_mb=None,
        labels=Labels("none"),
        how=how,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def http(*urls: str, **known: object) -> Entry:
    return an_entry(Http(tuple(Remote(url, **known) for url in urls)))  # type: ignore[arg-type]


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def tarred(*members: tarfile.TarInfo, content: bytes = b"x") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        for member in members:
            member.size = len(content) if member.isreg() else 0
            file.addfile(member, io.BytesIO(content) if member.isreg() else None)
    return buffer.getvalue()


def tar_member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


def names_in(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*"))


# The entries


def test_every_entry_of_the_catalog_is_valid_and_has_the_name_of_its_file() -> None:
    files = sorted((Path(__file__).resolve().parents[2] / "data_catalog").glob("*.yaml"))
    assert list(catalog()) == [file.stem for file in files]
    assert len(files) >= 12
    assert {"scene", "naip", "openaerialmap", "inria", "landcover-ai", "dubai", "ucmerced", "aid"} <= set(catalog())


def test_every_entry_says_where_it_comes_from_and_how_it_may_be_used() -> None:
    for found in catalog().values():
        assert found.source.startswith("https://") or found.name == "scene"
        assert len(found.licence) >= 3 and found.labels.kind
        if isinstance(found.how, Http):
            assert all(remote.url.startswith("https://") for remote in found.how.files)
        if isinstance(found.how, Stac):
            assert found.how.api.startswith("https://")


def test_the_note_on_dubai_has_the_colours_of_the_masks_not_of_its_own_class_file() -> None:
    notes = " ".join(entry("dubai").notes)
    assert "3C1098" in notes and "8429F6" in notes and "D0021B" not in notes


VALID = """
name: mine
title: My orthophotos
description: One flight.
source: https://example.org/mine
licence: CC-BY-4.0
resolution_m: 0.1
bands: [red, green, blue]
dtype: uint8
nodata: null
crs: EPSG:25832
size_mb: 10
labels: {kind: none}
how: {method: manual, steps: [Ask me.]}
"""


def test_a_folder_of_your_own_entries_is_added(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(VALID)
    assert entry("mine", extra=tmp_path).resolution_m == (0.1,)
    assert set(catalog(tmp_path)) == {*catalog(), "mine"}


def test_an_entry_of_your_own_cannot_take_a_name_that_is_taken(tmp_path: Path) -> None:
    (tmp_path / "naip.yaml").write_text(VALID.replace("name: mine", "name: naip"))
    with pytest.raises(CatalogError, match="another data set called naip"):
        catalog(tmp_path)


@pytest.mark.parametrize(
    ("before", "after", "field"),
    [
        ("licence: CC-BY-4.0\n", "", "licence is missing"),
        ("licence:", "license:", "license is not a field"),
        ("title: My orthophotos", "title: 7", "title is a whole number, and text"),
        ("title: My orthophotos", "title: ' '", "title is empty"),
        ("resolution_m: 0.1", "resolution_m: fine", r"resolution_m\[0\] is text, and a number"),
        ("resolution_m: 0.1", "resolution_m: 0", "resolution_m is not one or two sizes"),
        ("nodata: null", "nodata: yes", "nodata is a bool"),
        ("dtype: uint8", "dtype: byte", "dtype"),
        ("name: mine", "name: yours", "name is not the name of the file"),
        ("https://example.org/mine", "http://example.org/mine", "source is no https"),
        ("method: manual", "method: magic", "how.method is 'magic', and one of paint, http, stac, manual"),
        ("steps: [Ask me.]", "stages: [Ask me.]", "how.stages is not a field"),
        ("steps: [Ask me.]", "steps: []", "how.steps is empty"),
        ("{method: manual, steps: [Ask me.]}", "{method: http, files: [{url: 'https://[a/b.tif'}]}", "files.url"),
        ("labels: {kind: none}", "labels: none", "labels is text"),
        ("licence: CC-BY-4.0", "licence: MIT\nlicence: CC-BY-4.0", "'licence' is there twice"),
        ("{method: manual, steps: [Ask me.]}", "{method: http, files: [{url: 'https://a.org/'}]}", "files.url"),
        (
            "{method: manual, steps: [Ask me.]}",
            "{method: http, files: [{url: 'https://a.org/b.tif', sha256: abc}]}",
            "files.sha256",
        ),
        (
            "{method: manual, steps: [Ask me.]}",
            "{method: stac, api: 'https://a.org', collections: [c], assets: [visual], bbox: [10, 1, 9, 2]}",
            "how.bbox",
        ),
        (
            "{method: manual, steps: [Ask me.]}",
            "{method: stac, api: 'https://a.org', collections: [c], assets: [v], bbox: [1, 1, 9, 2], query: &q {q: *q}}",
            "how.query cannot be sent",
        ),
        (
            "{method: manual, steps: [Ask me.]}",
            "{method: stac, api: 'https://a.org', collections: [c], assets: [v], bbox: [1, 1, 9, 2], dates: june}",
            "how.dates",
        ),
    ],
)
def test_a_wrong_entry_is_refused_by_file_and_field(tmp_path: Path, before: str, after: str, field: str) -> None:
    assert before in VALID
    (tmp_path / "mine.yaml").write_text(VALID.replace(before, after))
    with pytest.raises(CatalogError, match=field) as caught:
        catalog(tmp_path)
    assert "mine.yaml" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch hacked']",
        "name: !!python/object/new:subprocess.Popen [[touch, hacked]]",
        "name: !!python/name:os.system",
        "name: [unclosed",
        "- just\n- a list",
        "42",
        "",
        "a: &a [*a]",
        "\x00",
    ],
)
def test_P35_a_hostile_or_broken_entry_runs_nothing_and_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(CatalogError, match=r"mine\.yaml"):
        catalog(tmp_path)
    assert names_in(tmp_path) == ["mine.yaml"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=60), line=st.integers(0, 13))
def test_any_text_in_an_entry_gives_an_entry_or_a_catalog_error(tmp_path: Path, text: str, line: int) -> None:
    lines = VALID.splitlines()
    lines[line] = text
    (tmp_path / "mine.yaml").write_text("\n".join(lines), encoding="utf-8", errors="replace")
    try:
        catalog(tmp_path)
    except CatalogError as error:
        assert "mine.yaml" in str(error)


def test_the_catalog_is_found_in_an_installed_package(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    shutil.copytree(root / "workbench", tmp_path / "workbench", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(root / "data_catalog", tmp_path / "workbench" / "data_catalog")
    code = "import workbench.imagery.catalog as c; print(c.__file__); print(*c.catalog())"
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    where, names = run.stdout.splitlines()
    assert Path(where).is_relative_to(tmp_path) and names.split() == list(catalog())


def test_an_unknown_name_brings_the_names_that_are_close() -> None:
    with pytest.raises(CatalogError, match=r"Did you mean .*sentinel-2-l2a"):
        entry("sentinel-2")
    with pytest.raises(CatalogError, match="There are: aid,"):
        entry("zzzzzzzz")


# Getting files


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


# Packages


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


# STAC


def stac(server: Server, *assets: str) -> Entry:
    how = Stac(f"{server.url}/search", ("things",), assets, (10.0, 50.0, 11.0, 51.0), "2023-06-01/2023-06-30", 2)
    return an_entry(how)


def item(server: Server, name: str, **assets: str) -> dict[str, object]:
    return {"type": "Feature", "id": name, "assets": {key: {"href": server.url + path} for key, path in assets.items()}}


def test_a_stac_source_is_searched_and_its_assets_fetched_by_item(
    server: Server, tmp_path: Path, quiet: Progress
) -> None:
    server.files |= {f"/{day}/B0{band}.tif": f"{day}{band}".encode() for day in "12" for band in "48"}
    server.items = [item(server, f"S2_{day}", red=f"/{day}/B04.tif", nir=f"/{day}/B08.tif", big="/x") for day in "12"]
    folder = fetch(stac(server, "red", "nir"), tmp_path, allow_http=HERE, progress=quiet)
    assert folder == tmp_path
    assert [n for n in names_in(folder) if n.endswith("tif")] == [
        "S2_1/B04.tif",
        "S2_1/B08.tif",
        "S2_2/B04.tif",
        "S2_2/B08.tif",
    ]
    assert (folder / "S2_2" / "B04.tif").read_bytes() == b"24"
    assert fetch(stac(server, "red", "nir"), tmp_path, allow_http=HERE, progress=quiet) == folder
    assert server.searches == [
        {
            "collections": ["things"],
            "bbox": [10.0, 50.0, 11.0, 51.0],
            "limit": 2,
            "datetime": "2023-06-01T00:00:00Z/2023-06-30T23:59:59Z",
        }
    ]


def test_another_area_and_time_is_another_search(server: Server, tmp_path: Path, quiet: Progress) -> None:
    server.files |= {"/a.tif": b"a", "/b.tif": b"b"}
    thing = stac(server, "vis*")
    server.items = [item(server, "one", visual="/a.tif")]
    assert fetch(thing, tmp_path, allow_http=HERE, progress=quiet).read_bytes() == b"a"
    server.items = [item(server, "two", visual="/b.tif")]
    path = fetch(thing, tmp_path, bbox=(1, 2, 3, 4), dates="2024-01-01", allow_http=HERE, progress=quiet)
    assert path == tmp_path / "two" / "b.tif"
    assert server.searches[-1]["bbox"] == [1.0, 2.0, 3.0, 4.0]
    assert server.searches[-1]["datetime"] == "2024-01-01T00:00:00Z/2024-01-01T23:59:59Z"
    with pytest.raises(CatalogError, match="'June' is no ISO day"):
        fetch(thing, tmp_path, dates="June", allow_http=HERE, progress=quiet)
    with pytest.raises(CatalogError, match="west, south, east, north"):
        fetch(thing, tmp_path, bbox=(3, 2, 1, 4), allow_http=HERE, progress=quiet)


def test_a_stac_checksum_is_checked(server: Server, tmp_path: Path, quiet: Progress) -> None:
    server.files["/a.tif"] = b"a"
    server.items = [item(server, "one", visual="/a.tif")]
    server.items[0]["assets"]["visual"]["file:checksum"] = "1220" + "0" * 64  # type: ignore[index]
    with pytest.raises(CatalogError, match="another SHA-256"):
        fetch(stac(server, "visual"), tmp_path, allow_http=HERE, progress=quiet)


def test_P39_an_item_whose_name_climbs_out_stays_inside(server: Server, tmp_path: Path, quiet: Progress) -> None:
    server.files["/a.tif"] = b"a"
    server.items = [item(server, "../../evil", visual="/a.tif")]
    path = fetch(stac(server, "visual"), tmp_path / "data", allow_http=HERE, progress=quiet)
    assert path.is_relative_to(tmp_path / "data") and names_in(tmp_path)[0] == "data"


def test_what_a_stac_api_does_not_have_is_said_in_words(server: Server, tmp_path: Path, quiet: Progress) -> None:
    def asking(*assets: str) -> None:
        fetch(stac(server, *assets), tmp_path, allow_http=HERE, progress=quiet)

    with pytest.raises(CatalogError, match="has nothing of things at"):
        asking("visual")
    server.items = [item(server, "one", visual="/a.tif")]
    with pytest.raises(CatalogError, match="no asset 'red'; it has visual"):
        asking("red")
    server.items = [{"id": "one", "assets": {"visual": {"href": "s3://paid/a.tif"}}}]
    with pytest.raises(CatalogError, match=r"s3://paid/a.tif is not fetched: only https"):
        asking("visual")
    server.items.insert(0, item(server, "good", visual="/a.tif"))
    with pytest.raises(CatalogError, match="only https"):
        asking("visual")
    assert server.requests == []
    plain_http = replace(stac(server, "visual").how, api=server.url.replace("127.0.0.1", "localhost"))  # type: ignore[type-var]
    with pytest.raises(CatalogError, match="only https"):
        fetch(an_entry(plain_http), tmp_path, allow_http=HERE, progress=quiet)  # type: ignore[arg-type]
    server.items = ["junk"]  # type: ignore[list-item]
    with pytest.raises(CatalogError, match="it is not STAC"):
        asking("visual")


# By hand, painted, by name


def test_a_data_set_to_be_got_by_hand_says_the_steps(tmp_path: Path) -> None:
    with pytest.raises(CatalogError) as caught:
        fetch("inria", tmp_path / "inria")
    text = str(caught.value)
    assert "must be got by hand" in text and "1. " in text and "7-Zip" in text
    assert str(tmp_path / "inria") in text and "https://project.inria.fr/aerialimagelabeling/" in text
    assert names_in(tmp_path) == []


def test_a_data_set_that_was_got_by_hand_is_found(tmp_path: Path) -> None:
    pictures = tmp_path / "AerialImageDataset" / "train" / "images"
    with pytest.raises(CatalogError, match="by hand"):
        fetch("inria", tmp_path)
    pictures.mkdir(parents=True)
    assert fetch("inria", tmp_path) == pictures


def test_files_put_in_the_wrong_place_are_said(tmp_path: Path) -> None:
    (tmp_path / "austin1.tif").write_bytes(b"x")
    with pytest.raises(CatalogError, match=r"AerialImageDataset/train/images is not in .*which has austin1.tif"):
        fetch("inria", tmp_path)


def test_dates_are_refused_where_nothing_is_searched(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="comes as a whole"):
        fetch("ucmerced", tmp_path, dates="2024-01-01")


def test_resolve_uses_a_folder_of_that_name_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    tiles = tmp_path / "data" / "aid" / "airport"
    tiles.mkdir(parents=True)
    with caplog.at_level(logging.INFO):
        assert resolve("aid") == tmp_path / "data" / "aid"
    assert str(tmp_path / "data" / "aid") in caplog.text
    assert resolve("aid", tmp_path / "data" / "aid") == tmp_path / "data" / "aid"


def test_the_entry_of_the_scene_names_the_classes_that_are_painted() -> None:
    from workbench.imagery import synthetic

    assert entry("scene").labels.classes == tuple(synthetic.CLASSES[number] for number in sorted(synthetic.CLASSES))


@pytest.mark.slow
def test_the_scene_is_painted_once(tmp_path: Path, quiet: Progress) -> None:
    thing = an_entry(Paint(size=1024, seed=1))
    path = fetch(thing, tmp_path, progress=quiet)
    assert path.suffix == ".tif" and path.is_relative_to(tmp_path)
    before = path.stat().st_mtime_ns
    assert fetch(thing, tmp_path, progress=quiet) == path
    assert path.stat().st_mtime_ns == before
