"""Real chips folders, made small."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from small_chips import CLASSES, GRID, blocks_image, write_raster

from workbench.labels.chips import Chips, open_chips


@pytest.fixture
def make_chips(tmp_path: Path) -> Callable[..., Chips]:
    """A function that writes (image, mask, split) triples as a chips folder and opens it."""

    def make(
        triples: Sequence[tuple[NDArray[np.generic], NDArray[np.uint8], str]], name: str = "chips", classes: int = 1
    ) -> Chips:
        folder = tmp_path / name
        records = []
        for number, (image, mask, split) in enumerate(triples):
            place = GRID @ Affine.translation(1000 * number, 0)
            write_raster(folder / f"images/chip{number}.tif", image, place)
            write_raster(folder / f"masks/chip{number}.tif", mask[None], place)
            values, counts = np.unique(mask, return_counts=True)
            records.append(
                {
                    "image": f"images/chip{number}.tif",
                    "mask": f"masks/chip{number}.tif",
                    "raster": "f00d",
                    "raster_name": "source.tif",
                    "window": [1000 * number, 0, mask.shape[1], mask.shape[0]],
                    "split": split,
                    "complete": True,
                    "pixels": {str(value): int(count) for value, count in zip(values, counts, strict=True)},
                }
            )
        bands = triples[0][0].shape[0] if triples else 3
        manifest = {
            "format": "workbench-chips",
            "version": 1,
            "classes": CLASSES[:classes],
            "ignore": 255,
            "block_m": 32.0,
            "buffer_m": 8.0,
            "seed": 0,
            "stretch": {"f00d": {"low": [0.0] * bands, "high": [255.0] * bands}},
            "chips": records,
        }
        folder.mkdir(exist_ok=True)
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return open_chips(folder)

    return make


@pytest.fixture
def easy_chips(make_chips: Callable[..., Chips]) -> Chips:
    """Four training and two validation chips that a few steps are enough for."""
    return make_chips([(*blocks_image(seed), "train" if seed < 4 else "validation") for seed in range(6)])
