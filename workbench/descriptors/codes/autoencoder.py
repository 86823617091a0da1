"""Codes from an autoencoder with a binary bottleneck, trained on the archive itself."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from workbench.descriptors.codes.layers import layered_codes, new_layers, parameters, through
from workbench.descriptors.codes.models import LayeredCodes

_PASSES = 40
_STEPS = (200, 1500)
_HIDDEN = 512
_BATCH = 256
_RATE = 1e-3
_PUSH = 1.0


def fit_autoencoder(vectors: NDArray[np.float32], bits: int, seed: int, steps: int | None = None) -> LayeredCodes:
    """Train an encoder and a decoder to give descriptors back from their bits.

    Semantic hashing (Salakhutdinov & Hinton 2009) in the form of binary autoencoders: the decoder sees signs, whose
    gradient is passed straight through to the tanh they are of (Bengio, Léonard & Courville 2013), and a penalty
    (|tanh| - 1)^2, of the same weight as the error, pushes outputs from the threshold (Do, Doan & Cheung 2016).

    Args:
        vectors: descriptors, float32 (n, dim).
        bits: length of a code.
        seed: of the weights and the order of rows.
        steps: batches of 256 rows to train on; when None, 40 passes over the rows, but 200 to 1,500 batches.
    """
    steps = steps or int(np.clip(_PASSES * len(vectors) // _BATCH, *_STEPS))
    generator = torch.Generator().manual_seed(seed)
    dim = vectors.shape[1]
    # Components of a unit vector are as small as 1 / sqrt(dim); layers expect them around 1.
    scale = float(dim) ** 0.5
    rows = torch.from_numpy(np.ascontiguousarray(vectors)) * scale
    encoder, decoder = new_layers((dim, _HIDDEN, bits), generator), new_layers((bits, dim), generator)
    optimiser = torch.optim.Adam(parameters(encoder, decoder), lr=_RATE, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        batch = rows[torch.randint(len(rows), (min(_BATCH, len(rows)),), generator=generator)]
        soft = torch.tanh(through(encoder, batch))
        signs = soft + (torch.where(soft > 0, 1.0, -1.0) - soft).detach()
        loss = ((through(decoder, signs) - batch) ** 2).mean() + _PUSH * ((soft.abs() - 1) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return layered_codes("autoencoder", encoder, scale)
