"""A web server on this machine, and what it serves, for the tests of the data catalog."""

from __future__ import annotations

import io
import json
import tarfile
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from workbench.imagery.download import Remote
from workbench.imagery.entries import Entry, Http, Labels, Manual, Paint, Stac

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
