"""Archives of any number of tiles whose descriptors are made up: only the pixels are missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.archive import Archive
from workbench.descriptors.centring import Centring
from workbench.descriptors.rows import Rows
from workbench.imagery.grid import TILE_DTYPE
from workbench.imagery.rasters import Imagery

KINDS = ("clustered", "uniform", "duplicates")
DIM = 64


def made_descriptors(kind: str, count: int, seed: int = 0) -> NDArray[np.float16]:
    """Descriptors (count, 64): on lines between some places, in all directions, or each many times."""
    random = np.random.default_rng(seed)
    if kind == "duplicates":
        return made_descriptors("uniform", max(1, count // 50), seed)[random.integers(0, max(1, count // 50), count)]
    values = random.normal(size=(count, DIM)).astype(np.float32)
    if kind == "clustered":
        anchors = random.normal(size=(100, DIM)).astype(np.float32)
        first, second = random.integers(0, len(anchors), (2, count))
        along = random.random((count, 1), np.float32)
        values = along * anchors[first] + (1 - along) * anchors[second] + 0.3 * values
    return (values + 0.5).astype(np.float16)


def made_archive(like: Archive, folder: Path, raw: NDArray[np.float16]) -> Archive:
    """An archive of these descriptors (n, 64); its tiles stand in rows of a thousand on the first raster of another's."""
    tiles = np.zeros(len(raw), TILE_DTYPE)
    tiles["row"], tiles["col"] = np.divmod(np.arange(len(raw)), 1000)
    tiles["size"] = 1
    manifest = replace(like.manifest, dim=DIM, code_bits=256, rasters=like.manifest.rasters[:1])
    rows = Rows([raw[: len(raw) // 3], raw[len(raw) // 3 :]], DIM)
    imagery = Imagery(tuple(like.imagery)[:1])
    made = replace(like, folder=folder, manifest=manifest, imagery=imagery, tiles=tiles, descriptors=rows)
    mean = raw.astype(np.float32).mean(axis=0) if len(raw) else np.zeros(DIM, np.float32)
    made.__dict__["centring"] = Centring(mean, np.ones(DIM, np.float32), mean)
    return made


def codes_only(archive: Archive) -> Archive:
    """The same archive without its descriptors."""
    bare = replace(archive, descriptors=None)
    for name in ("centring", "code_model", "codes"):
        bare.__dict__[name] = getattr(archive, name)
    return bare
