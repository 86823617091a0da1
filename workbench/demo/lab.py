"""The first notebook, ready to run: its scene painted, its archive built, JupyterLab opened on it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

from workbench.descriptors.build import build_archive
from workbench.errors import WorkbenchError
from workbench.imagery.opening import open_imagery
from workbench.imagery.synthetic import paint_scene

SIZE, TILE, STRIDE = 4096, 128, 64
"""Of the scene and its archive in ``notebooks/01_find_things.ipynb``."""


def prepare(out: Path) -> Path:
    """Paint the notebook's scene and build its archive, whatever of it is missing, in the folder that the notebook uses.

    Returns:
        the archive's folder.
    """
    scene = paint_scene(out / "scene", size=SIZE)
    archive = out / "scene" / "archive"
    build_archive(open_imagery(scene.imagery), archive, tile=TILE, stride=STRIDE)
    return archive


def open_lab(notebook: Path, *, browser: bool = True) -> None:
    """Run JupyterLab on a notebook until it is stopped; it prints its address, with the token that opens it.

    Raises:
        WorkbenchError: there is no such notebook, or JupyterLab ended with an error.
    """
    if not notebook.is_file():
        raise WorkbenchError(f"{notebook} is not here. Run this in the repository's folder, or name a notebook.")
    here, there = Path.cwd(), notebook.resolve()
    home = here if there.is_relative_to(here) else there.parent
    # The address that is printed leads to the notebook itself.
    options = [f"--ServerApp.root_dir={home}", f"--LabApp.default_url=/lab/tree/{quote(str(there.relative_to(home)))}"]
    options += ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    options += [] if browser else ["--no-browser"]
    try:
        code = subprocess.run([sys.executable, "-m", "jupyterlab", *options], check=False).returncode
    except KeyboardInterrupt:
        return
    if code:
        raise WorkbenchError(f"JupyterLab ended with status {code}; its last lines say why.")
