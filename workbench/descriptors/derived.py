"""Where what is made from an archive is kept: in the archive, or in a folder of the user's own where that is read-only."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from workbench.files import existing_parent

log = logging.getLogger(__name__)
FOLDER = "derived"
_VARIABLE = "WORKBENCH_CACHE"


def derived_folder(archive: Path, identity: str) -> Path:
    """Where derived files are written: made when it is not there.

    Args:
        archive: folder of the archive.
        identity: what tells its tiles from any other's; names the folder in the user's cache.

    Returns:
        ``derived`` in the archive where this process may write there; otherwise ``archives/IDENTITY`` in the folder that
        the variable WORKBENCH_CACHE names, or in the system's folder for caches; a temporary one as the last resort.
    """
    shared = archive / FOLDER
    folder = shared if may_write(shared) else _cache() / "archives" / identity
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        folder = Path(tempfile.mkdtemp(prefix="workbench-"))
        log.warning("Neither the archive nor the folder for caches can be written (%s). Using %s.", error, folder)
    return folder


def find_derived(folders: Sequence[Path], name: str) -> Path:
    """The derived file ``name`` in the first folder that has it, or where it would be written: in the last one."""
    return next((folder / name for folder in folders if (folder / name).is_file()), folders[-1] / name)


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
