"""Where what is made from an archive is kept: in the archive, or in a folder of the user's own where that is read-only."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from workbench.files import existing_parent

FOLDER = "derived"
_VARIABLE = "WORKBENCH_CACHE"


def derived_folder(archive: Path, identity: str) -> Path:
    """Where derived files are written: made when it is not there.

    Args:
        archive: folder of the archive.
        identity: what tells its tiles from any other's; names the folder in the user's cache.

    Returns:
        ``derived`` in the archive where this process may write there; otherwise ``archives/IDENTITY`` in the folder that
        the variable WORKBENCH_CACHE names, or in the system's folder for caches.
    """
    shared = archive / FOLDER
    folder = shared if may_write(shared) else _cache() / "archives" / identity
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def find_derived(archive: Path, own: Path, name: str) -> Path:
    """The derived file ``name``: the archive's where it has one, else where it is or would be in the folder ``own``."""
    shared = archive / FOLDER / name
    return shared if shared.is_file() else own / name


def may_write(folder: Path) -> bool:
    """Whether this process may make files in a folder, or make the folder."""
    return os.access(existing_parent(folder), os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def _cache() -> Path:
    named = os.environ.get(_VARIABLE)
    if named:
        return Path(named)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "workbench"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "workbench"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "workbench"
