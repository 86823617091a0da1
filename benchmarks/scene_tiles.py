"""The bundled scene as a collection to refine: its tiles, which classes each shows, and blocks of ground that stay together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from simulated import Collection

from workbench.descriptors.archive import Archive
from workbench.descriptors.build import build_archive
from workbench.descriptors.encoders import Encoder
from workbench.imagery.opening import open_imagery
from workbench.imagery.synthetic import CLASSES, paint_scene

LEAST = 0.05
_BLOCK = 4  # tiles on a side


def scene_tiles(folder: Path, encoder: Encoder, *, size: int, tile: int, stride: int, seed: int) -> Collection:
    """Paint the scene and describe it, whatever of that is not there yet.

    A tile is of each class that covers at least 5 % of it, so of several or of none. Tiles that lie across two blocks are
    left out: no pixel is in both halves.

    Args:
        folder: of scene and archive.
        encoder: of the archive.
        size: of the scene, in pixels.
        tile: side of a tile.
        stride: between tiles.
        seed: of the scene.
    """
    scene = paint_scene(folder, size=size, seed=seed)
    archive = build_archive(
        scene.imagery,
        folder / f"{encoder.name}-{size}-{seed}-{tile}-{stride}",
        tile=tile,
        stride=stride,
        encoder=encoder,
    )
    row, col = (archive.tiles[name].astype(np.int64) for name in ("row", "col"))
    side = _BLOCK * tile
    first, last = np.stack([row, col]) // side, (np.stack([row, col]) + tile - 1) // side
    whole = np.flatnonzero((first == last).all(axis=0))
    blocks = first[0] * (size // side + 1) + first[1]
    truth = shares(archive, scene.mask, list(CLASSES)) >= LEAST
    raw = np.asarray(archive.raw[whole], np.float32)
    return Collection(raw, truth[:, whole], blocks[whole], tuple(CLASSES.values()), encoder.standardise)


def shares(archive: Archive, mask: Path, values: list[int]) -> NDArray[np.float64]:
    """How much of each tile has each value of a mask on its raster's grid, (values, n)."""
    painted = np.ma.getdata(open_imagery(mask)[0].read(bands=(0,))[0])
    found = np.zeros((len(values), len(archive)))
    row, col, size = (archive.tiles[name].astype(np.int64) for name in ("row", "col", "size"))
    for place, value in enumerate(values):
        sums = np.pad((painted == value).cumsum(0, np.int64).cumsum(1), ((1, 0), (1, 0)))
        inside = sums[row + size, col + size] - sums[row, col + size] - sums[row + size, col] + sums[row, col]
        found[place] = inside / size**2
    return found
