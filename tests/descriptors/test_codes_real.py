"""On real images, 512 bits lose next to nothing, and a code is found by the image it was made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clusters import unpacked
from PIL import Image

from workbench.descriptors.codes.fitting import fit_codes
from workbench.descriptors.dense import encode_alone
from workbench.descriptors.encoders import load_encoder


@pytest.mark.slow
def test_512_bits_keep_the_ranking_of_real_images(shared_data: Path) -> None:
    folders = sorted((shared_data / "ucmerced" / "test").iterdir())
    paths = [path for folder in folders[:10] for path in sorted(folder.glob("*.jpg"))[:6]]
    encoder = load_encoder("texture")
    raw = np.stack(
        [
            encode_alone(np.asarray(Image.open(path).convert("RGB").resize((96, 96))).transpose(2, 0, 1), encoder)
            for path in paths
        ]
    )
    vectors = (raw - raw.mean(axis=0)) / (raw.std(axis=0) + 1e-3)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    classes = np.array([path.parent.name for path in paths])

    def precision(scores: np.ndarray) -> float:
        np.fill_diagonal(scores, -np.inf)
        nearest = np.argsort(-scores, axis=1, kind="stable")[:, :5]
        return float((classes[nearest] == classes[:, None]).mean())

    bits = unpacked(fit_codes("itq", vectors).encode(vectors)) * 2.0 - 1
    exact = precision(vectors @ vectors.T)
    assert exact > 0.3, "the descriptors themselves tell classes apart"
    assert precision(bits @ bits.T) > 0.95 * exact
    assert (np.argmax(bits @ bits.T, axis=1) == np.arange(len(bits))).all()
