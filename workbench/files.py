"""Atomic writes, durable appends, fingerprints and safe names: the only code that fsyncs or renames."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import unicodedata
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from workbench.errors import DiskFull, FileExists, PathRefused

_PIECES = 64
_END = 65_536
_PIECE_BYTES = 16_384
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic_write(path: str | Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Give a temporary path beside ``path`` and move it there, complete and on disk, when the block ends well.

    The temporary name keeps the suffix (GDAL and numpy choose a format by it). When the block raises, nothing
    new is left and an earlier file stays as it was.

    Raises:
        FileExists: ``path`` exists and ``overwrite`` is false; of several who write a new file at once, all but one see this.
        DiskFull: the disk or quota is full; the message gives the bytes written and free.
    """
    path = Path(path)
    if not overwrite and path.exists():
        raise _taken(path)
    aside = path.with_name(f".{path.stem[:60]}.{secrets.token_hex(4)}{path.suffix}")
    try:
        yield aside
        _sync(aside)
        if overwrite or aside.is_dir():
            aside.replace(path)
        else:
            _move_new(aside, path)
        _sync(path.parent)
    except OSError as error:
        if error.errno in _FULL:
            raise _disk_full(path, aside) from error
        raise
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


def write_bytes(path: str | Path, data: bytes, *, overwrite: bool = True) -> None:
    """Write a whole file atomically; see `atomic_write` for what it raises."""
    with atomic_write(path, overwrite=overwrite) as aside:
        aside.write_bytes(data)


def write_json(path: str | Path, value: object, *, overwrite: bool = True) -> None:
    """Write a value as indented UTF-8 JSON atomically; a non-finite number is refused with ``ValueError``."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False, sort_keys=False)
    write_bytes(path, text.encode() + b"\n", overwrite=overwrite)


def append_durably(path: str | Path, data: bytes) -> None:
    """Append bytes and return only when they are on disk; on failure the file is as long as it was before.

    Raises:
        DiskFull: the disk or quota is full.
        OSError: the file cannot be written.
    """
    path = Path(path)
    is_new = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
    try:
        before = os.fstat(descriptor).st_size
        try:
            _write_all(descriptor, data)
            os.fsync(descriptor)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(descriptor, before)
            if error.errno in _FULL:
                raise _disk_full(path, path) from error
            raise
    finally:
        os.close(descriptor)
    if is_new:
        _sync(path.parent)


@contextmanager
def held(folder: str | Path) -> Iterator[bool]:
    """Hold a folder while the block runs, so that `is_held` says so; a process that dies lets go of it.

    Gives False where another holds it. On a disk that knows no locks nobody holds anything.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield _lock(descriptor)
    finally:
        os.close(descriptor)


def is_held(folder: str | Path) -> bool:
    """Whether somebody, of this process or another, is in a block of `held` for a folder."""
    with held(folder) as free:
        return not free


def require_space(folder: str | Path, needed: int, what: str) -> None:
    """Refuse before starting when a folder's disk has less than ``needed`` bytes free.

    Raises:
        DiskFull: with the bytes needed and free.
    """
    free = shutil.disk_usage(existing_parent(folder)).free
    if free < needed:
        raise DiskFull(
            f"{what} needs about {format_bytes(needed)} in {folder}, and {format_bytes(free)} are free. "
            "Make room, or choose a folder on another disk."
        )


def existing_parent(path: str | Path) -> Path:
    """The nearest folder at or above ``path`` that exists."""
    path = Path(path).absolute()
    while not path.is_dir():
        path = path.parent
    return path


def fingerprint(path: str | Path) -> str:
    """A short content name for a file that survives moving and copying it, read from 1 MB at most.

    BLAKE2b-128 over the size and 64 evenly spaced pieces of 16 kB. A change between the pieces is not seen:
    `sha256` is the full check.
    """
    path = Path(path)
    size = path.stat().st_size
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    with path.open("rb") as file:
        last = max(0, size - _PIECE_BYTES)
        for offset in sorted({last * piece // (_PIECES - 1) for piece in range(_PIECES)}):
            file.seek(offset)
            digest.update(file.read(_PIECE_BYTES))
    return digest.hexdigest()


def ends_crc(path: Path) -> int:
    """Checksum of a file's size and its first and last 64 kB."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_END)
        file.seek(max(0, size - _END))
        return zlib.crc32(file.read(_END), zlib.crc32(head + str(size).encode()))


def sha256(path: str | Path) -> str:
    """SHA-256 of a whole file, as 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def inside(folder: str | Path, name: str) -> Path:
    """The path of ``name`` inside ``folder``, refused when it would lead out of it, also through a link.

    Raises:
        PathRefused: the name is absolute, climbs out, holds a NUL, is too long, or passes a link out of the folder.
    """
    if not name or "\0" in name or len(name.encode()) > 1000 or any(len(p.encode()) > 240 for p in Path(name).parts):
        raise PathRefused(f"{name[:60]!r} cannot be a file name here: it is empty, holds a NUL or is too long.")
    root = Path(folder).resolve()
    path = root / name
    if Path(name).is_absolute() or not path.resolve().is_relative_to(root):
        raise PathRefused(f"{name[:200]!r} leads out of {folder}. Give a name inside that folder.")
    return path


def slug(text: str) -> str:
    """A file-name-safe form of any text: letters, digits, ``-`` and ``_``, at most 60 characters, never empty."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_]+", "-", plain).strip("-")[:60] or "unnamed"


def format_bytes(count: float) -> str:
    """Bytes for people: 1.2 GB, 340 MB, 12 kB."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{int(count)} bytes"


def _move_new(aside: Path, path: Path) -> None:
    """Give a file its name unless somebody else has taken it meanwhile; what is left aside is to be removed."""
    try:
        os.link(aside, path)
    except FileExistsError as error:
        raise _taken(path) from error
    except OSError:  # no links on this disk: the next best is to look just before
        if path.exists():
            raise _taken(path) from None
        aside.replace(path)


def _taken(path: Path) -> FileExists:
    return FileExists(f"{path} exists already. Choose another name, or pass overwrite=True.")


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # no locks here, as on some network disks
        return True
    return True


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _disk_full(path: Path, partial: Path) -> DiskFull:
    written = partial.stat().st_size if partial.exists() else 0
    free = shutil.disk_usage(existing_parent(path.parent)).free
    return DiskFull(
        errno.ENOSPC,
        f"{path.name} was not written: it needs more than {format_bytes(written)} and {format_bytes(free)} are free in "
        f"{path.parent}. Make room and try again; nothing else was changed",
    )
