"""MiLaN, the metric-learning hashing network of remote sensing: a head trained on labels by triplets."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from workbench.descriptors.codes.layers import layered_codes, new_layers, parameters, through
from workbench.descriptors.codes.models import LayeredCodes

_PASSES = 150
_STEPS = (200, 3000)
_HIDDEN = (1024, 512)
_BATCH = 90
_RATE = 1e-4
_BETAS = (0.5, 0.9)
_MARGIN = 0.2
_PUSH = 0.001
_BALANCE = 1.0
_NO_LABEL = -1


def fit_milan(
    vectors: NDArray[np.float32], bits: int, seed: int, labels: NDArray[np.int64], steps: int | None = None
) -> LayeredCodes:
    """Train a head dim-1024-512-bits with leaky rectifiers and sigmoid outputs (Roy et al. 2021).

    The loss is a triplet loss of margin 0.2 between outputs scaled to unit length, over all triplets of a batch that
    violate it, less 0.001 times the outputs' mean squared distance from 0.5 (so that rounding changes little), plus
    the square of what a code's mean differs from 0.5 (half of its bits are set). A bit is set where its output is
    over 0.5. Batches hold several rows of some classes; the authors take one pair of classes a batch.

    Args:
        vectors: descriptors, float32 (n, dim).
        bits: length of a code.
        seed: of the weights and the batches.
        labels: class of each row, int (n,); rows of -1 are left out.
        steps: batches of 90 rows to train on; when None, 150 passes over the labelled rows, but 200 to 3,000 batches.
    """
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    dim = vectors.shape[1]
    scale = float(dim) ** 0.5
    rows = torch.from_numpy(np.ascontiguousarray(vectors)) * scale
    known = np.flatnonzero(labels != _NO_LABEL)
    classes = torch.from_numpy(np.asarray(labels, np.int64))
    steps = steps or int(np.clip(_PASSES * len(known) // _BATCH, *_STEPS))
    head = new_layers((dim, *_HIDDEN, bits), generator)
    optimiser = torch.optim.Adam(parameters(head), lr=_RATE, betas=_BETAS, fused=True)
    for _ in range(steps):
        batch = torch.from_numpy(rng.choice(known, min(_BATCH, len(known)), replace=False))
        outputs = torch.sigmoid(through(head, rows[batch]))
        loss = (
            triplet_loss(torch.nn.functional.normalize(outputs), classes[batch])
            - _PUSH * ((outputs - 0.5) ** 2).mean()
            + _BALANCE * ((outputs.mean(dim=1) - 0.5) ** 2).mean()
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return layered_codes("milan", head, scale)


def triplet_loss(embedded: torch.Tensor, classes: torch.Tensor, margin: float = _MARGIN) -> torch.Tensor:
    """Mean of max(0, d(a, p)^2 - d(a, n)^2 + margin) over the triplets of a batch where it is not zero.

    Args:
        embedded: rows (n, k) of unit length.
        classes: of the rows, (n,); anchor and positive share one, the negative has another.
        margin: how much farther a negative must be.
    """
    distances = 2 - 2 * embedded @ embedded.T
    same = classes[:, None] == classes
    anchor, positive = torch.nonzero(same & ~torch.eye(len(classes), dtype=torch.bool), as_tuple=True)
    over = distances[anchor, positive][:, None] - distances[anchor] + margin
    over = over[(over > 0) & ~same[anchor]]
    return over.mean() if len(over) else distances.sum() * 0
