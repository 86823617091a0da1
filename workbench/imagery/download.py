"""Files from the web into one folder: https only, resumed where they were cut, and checked."""

from __future__ import annotations

import errno
import http.client
import json
import logging
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Collection
from dataclasses import dataclass
from email.message import Message
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import SplitResult, unquote, urlsplit

from workbench.errors import CatalogError, DiskFull, WorkbenchError
from workbench.files import atomic_write, format_bytes, inside, require_space, sha256, write_json
from workbench.jobs import Progress

log = logging.getLogger(__name__)
_AGENT = {"User-Agent": "aerial-workbench"}
_TIMEOUT_S = 60
_CHUNK = 1 << 18
_FRUITLESS_ATTEMPTS = 3
_JSON_BYTES = 20_000_000


@dataclass(frozen=True)
class Remote:
    """One file on the web: its address and, where known, its exact size in bytes and its SHA-256."""

    url: str
    bytes: int | None = None
    sha256: str | None = None

    @property
    def file_name(self) -> str:
        """The last part of the address, as a file name."""
        name = PurePosixPath(unquote(_split(self.url).path)).name
        if name in ("", ".", ".."):
            raise CatalogError(f"{self.url} does not end in a file name. Give the address of a file.")
        return name


@dataclass(frozen=True)
class Web:
    """How to speak to servers: https, and plain http only to the hosts named in ``allow_http`` (tests, a local mirror)."""

    allow_http: Collection[str] = ()

    def open(
        self, url: str, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> http.client.HTTPResponse:
        """Open an address; with a ``body`` it is sent as JSON by POST.

        Raises:
            CatalogError: the address, or one it redirects to, is not allowed.
            urllib.error.URLError: the server refuses or cannot be reached.
        """
        self.check(url)
        request = urllib.request.Request(url, data=body, headers={**_AGENT, **(headers or {})})
        if body is not None:
            request.add_header("Content-Type", "application/json")
        opener = urllib.request.build_opener(_CheckedRedirects(self))
        response: http.client.HTTPResponse = opener.open(request, timeout=_TIMEOUT_S)
        return response

    def check(self, url: str) -> None:
        """Refuse an address that is neither https nor allowed http."""
        parts = _split(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in self.allow_http):
            raise CatalogError(
                f"{shown(url)} is not fetched: only https addresses are. Look for an https address of the same file, "
                "or download it by hand."
            )

    def json(self, url: str, body: dict[str, object]) -> object:
        """Post a JSON question and return the JSON answer (20 MB at most).

        Raises:
            CatalogError: no answer, or one that is not JSON.
        """
        try:
            with self.open(url, body=json.dumps(body).encode()) as response:
                answer = response.read(_JSON_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise unreachable(url, error) from error
        try:
            return json.loads(answer)
        except (ValueError, RecursionError) as error:
            raise CatalogError(f"{shown(url)} did not answer with JSON ({error}). Is this a STAC API?") from error


def download(remote: Remote, folder: Path, progress: Progress, web: Web) -> Path:
    """Fetch one file into a folder, going on from its ``.part`` when an earlier attempt was cut.

    The file appears under its name only when it is complete and its size and SHA-256 are as declared.

    Raises:
        CatalogError: the server refuses, the connection keeps breaking, or the content is not what was declared.
        DiskFull: there is too little room.
        Cancelled: the user stopped it; the ``.part`` stays and the next call goes on from there.
    """
    path = inside(folder, remote.file_name)
    if path.exists():
        if remote.sha256 and sha256(path) != remote.sha256.lower():
            raise CatalogError(f"{path} is there already and is another file. Move it away, or choose another folder.")
        return path
    folder.mkdir(parents=True, exist_ok=True)
    part = inside(folder, f"{remote.file_name}.part")
    fruitless = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            total = _stream(remote, part, progress, web)
            break
        except WorkbenchError:
            raise
        except (OSError, http.client.HTTPException) as error:
            if not _worth_retrying(error):
                raise _in_words(remote, error, folder) from error
            fruitless = 0 if part.exists() and part.stat().st_size > before else fruitless + 1
            if fruitless == _FRUITLESS_ATTEMPTS:
                raise unreachable(remote.url, error, part) from error
            log.warning("%s: %s; going on from %s", shown(remote.url), error, format_bytes(before))
            time.sleep(0.2 * fruitless)
    _check(remote, part, total)
    with atomic_write(path, overwrite=False) as aside:
        _link_or_copy(part, aside)
    _forget(part)
    return path


def shown(url: str) -> str:
    """An address without its query, which may hold a token."""
    return url.partition("?")[0]


def unreachable(url: str, error: Exception, part: Path | None = None) -> CatalogError:
    """An error in words for what went wrong on the way to a server."""
    if isinstance(error, urllib.error.HTTPError):
        return CatalogError(
            f"{shown(url)}: the server answered {error.code} {error.reason}. The file may have moved or need an account: "
            "see the homepage of the data set."
        )
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    kept = f" {format_bytes(part.stat().st_size)} are kept:" if part is not None and part.exists() else ""
    return CatalogError(
        f"{shown(url)} cannot be read ({reason}).{kept} Check the network and run the same call again to go on."
    )


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError as error:
        raise CatalogError(f"{shown(url)} is no address ({error}).") from error


class _CheckedRedirects(urllib.request.HTTPRedirectHandler):
    def __init__(self, web: Web) -> None:
        self._web = web

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,
        newurl: str,  # type: ignore[override]
    ) -> urllib.request.Request | None:
        if _split(newurl).scheme != _split(req.full_url).scheme:
            raise CatalogError(
                f"{shown(req.full_url)} redirects to {shown(newurl)}, another scheme, which is not followed."
            )
        self._web.check(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


class _Cut(OSError):
    """The connection ended before the file did."""


def _worth_retrying(error: Exception) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500 or error.code == 429
    return isinstance(error, (ConnectionError, TimeoutError, _Cut, http.client.HTTPException, urllib.error.URLError))


def _in_words(remote: Remote, error: Exception, folder: Path) -> WorkbenchError:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskFull(
            f"The disk of {folder} is full, and {remote.file_name} needs more. Make room and run the same call again: it "
            "goes on where it stopped."
        )
    return unreachable(remote.url, error)


def _stream(remote: Remote, part: Path, progress: Progress, web: Web) -> int | None:
    """One attempt: append to the ``.part`` what is missing; returns the full size where the server told it."""
    notes = part.with_name(f"{part.name}.json")
    have, validator = _resumable(remote, part, notes)
    headers = {"Range": f"bytes={have}-", "If-Range": validator} if have else {}
    try:
        response = web.open(remote.url, headers)
    except urllib.error.HTTPError as error:
        if error.code == 416 and error.headers.get("Content-Range", "").endswith(f"/{have}"):
            return have
        if error.code == 416:
            _forget(part)
            raise _Cut("the server has less of it than was there") from error
        raise
    with response:
        if response.status != 206:
            have = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            _forget(part)
            raise _Cut("the server sent another part than was asked for")
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        if remote.bytes and total and total != remote.bytes:
            raise CatalogError(
                f"{shown(remote.url)} has {total:,} bytes, and {remote.bytes:,} were expected: it is another file. "
                "See the homepage of the data set for a new version."
            )
        require_space(part.parent, (total or remote.bytes or 0) - have, f"Downloading {remote.file_name}")
        write_json(notes, {"url": shown(remote.url), "validator": _validator(response)})
        _append(response, part, have, total, progress)
    return total


def _append(response: http.client.HTTPResponse, part: Path, have: int, total: int | None, progress: Progress) -> None:
    progress.begin(f"downloading {part.stem}", (total or 0) // 1_000_000, "MB", have // 1_000_000)
    with part.open("ab" if have else "wb") as file:
        while chunk := response.read(_CHUNK):
            file.write(chunk)
            have += len(chunk)
            progress.advance(have // 1_000_000 - progress.done)
    if total is not None and have < total:
        raise _Cut(f"the connection ended after {have:,} of {total:,} bytes")


def _resumable(remote: Remote, part: Path, notes: Path) -> tuple[int, str]:
    """How many bytes of the ``.part`` may be kept, and the validator that lets the server object."""
    try:
        known = json.loads(notes.read_text())
        if known["url"] == shown(remote.url) and known["validator"]:
            return part.stat().st_size, str(known["validator"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return 0, ""


def _validator(response: http.client.HTTPResponse) -> str:
    etag = response.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")


def _check(remote: Remote, part: Path, total: int | None) -> None:
    size = part.stat().st_size
    expected = remote.bytes or total
    if expected is not None and size != expected:
        _forget(part)
        raise CatalogError(f"{shown(remote.url)} has {size:,} bytes, and {expected:,} were expected. Run it again.")
    if remote.sha256 and sha256(part) != remote.sha256.lower():
        _forget(part)
        raise CatalogError(
            f"{shown(remote.url)} has another SHA-256 than the catalog says, so nothing of it is kept. Run it again; if it "
            "stays so, the file has changed: see the homepage of the data set."
        )


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    part.with_name(f"{part.name}.json").unlink(missing_ok=True)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
