"""Unpack zip and tar files from strangers: whole or not at all, inside one folder, without links, and no bombs."""

from __future__ import annotations

import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from workbench.errors import CatalogError, PathRefused
from workbench.files import atomic_write, format_bytes, inside, require_space
from workbench.jobs import Progress

_ENDINGS = (".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".tar", ".zip")
# Photographs hardly compress and masks do: beyond this ratio a package is a bomb, not a data set.
_RATIO = 100
_ALLOWANCE = 50_000_000
_CHUNK = 1 << 20
_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    ValueError,
)


def is_package(path: Path) -> bool:
    """Whether a file is to be unpacked, by its name."""
    return path.name.lower().endswith(_ENDINGS)


def unpacked_folder(package: Path) -> Path:
    """Where `unpack` puts a package: beside it, under its name without the ending."""
    name = package.name
    return inside(package.parent, next(name[: -len(end)] for end in _ENDINGS if name.lower().endswith(end)))


def unpack(package: Path, progress: Progress) -> Path:
    """Unpack a zip or tar into a new folder of its name beside it.

    The folder appears when everything is in it; where it exists already, nothing is done.

    Returns:
        The folder.

    Raises:
        CatalogError: the package is damaged, unpacks to more than 100 times its size, or holds a link, a device, an
            encrypted file, two files of one name, or a name that leads out of the folder.
        DiskFull: there is too little room.
        Cancelled: the user stopped it; nothing of it is left.
    """
    folder = unpacked_folder(package)
    if folder.exists():
        return folder
    with atomic_write(folder, overwrite=False) as aside:
        aside.mkdir()
        try:
            _unpack_into(aside, package, progress)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
    return folder


@dataclass(frozen=True)
class _Member:
    name: str
    kind: str
    open: Callable[[], IO[bytes]]


def _unpack_into(folder: Path, package: Path, progress: Progress) -> None:
    budget = package.stat().st_size * _RATIO + _ALLOWANCE
    progress.begin(f"unpacking {package.name}", 0, "files")
    try:
        for member in _members(package, folder, budget):
            budget -= _place(member, folder, budget)
            progress.advance()
    except (CatalogError, PathRefused) as error:
        raise CatalogError(
            f"{package.name} is not unpacked: {error} A data set has no reason for that: get it from its homepage."
        ) from error
    except _DAMAGED as error:
        raise CatalogError(
            f"{package.name} cannot be unpacked ({error}): it is damaged or of an unknown kind. Delete it and fetch it again."
        ) from error


def _place(member: _Member, folder: Path, budget: int) -> int:
    """Write one member, never over another and never through a link; returns its size."""
    if member.kind == "link or device":
        raise CatalogError(f"it holds {member.name[:200]!r}, a link or device.")
    path = inside(folder, member.name.replace("\\", "/"))
    try:
        if member.kind == "folder":
            path.mkdir(parents=True, exist_ok=True)
            return 0
        path.parent.mkdir(parents=True, exist_ok=True)
        with member.open() as source, path.open("xb") as target:
            size = 0
            while chunk := source.read(_CHUNK):
                size += len(chunk)
                _refuse_bomb(size, budget)
                target.write(chunk)
            return size
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise CatalogError(f"it holds {member.name[:200]!r} twice.") from error


def _members(package: Path, folder: Path, budget: int) -> Iterator[_Member]:
    if package.name.lower().endswith(".zip"):
        yield from _zip_members(package, folder, budget)
    else:
        yield from _tar_members(package)


def _zip_members(package: Path, folder: Path, budget: int) -> Iterator[_Member]:
    with zipfile.ZipFile(package) as file:
        total = sum(info.file_size for info in file.infolist())
        _refuse_bomb(total, budget)
        require_space(folder, total, f"Unpacking {package.name}")
        for info in file.infolist():
            mode = info.external_attr >> 16
            is_odd = stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR)
            kind = "link or device" if is_odd else "folder" if info.is_dir() else "file"
            yield _Member(info.filename, kind, lambda info=info: file.open(info))  # type: ignore[misc]


def _tar_members(package: Path) -> Iterator[_Member]:
    with tarfile.open(package) as file:
        for info in file:
            kind = "file" if info.isreg() else "folder" if info.isdir() else "link or device"
            yield _Member(info.name, kind, lambda info=info: _reader(file, info))  # type: ignore[misc]


def _reader(file: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    reader = file.extractfile(info)
    if reader is None:
        raise tarfile.TarError(f"{info.name} has no content")
    return reader


def _refuse_bomb(size: int, budget: int) -> None:
    if size > budget:
        raise CatalogError(f"it unpacks to more than {_RATIO} times its size and {format_bytes(_ALLOWANCE)}.")
