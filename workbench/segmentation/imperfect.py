"""Masks that are not quite right, mended for a step by what the network sees: outlines beside their objects, objects left out."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from workbench.segmentation.scores import IGNORE

SURE = 0.8
"""Probability from which an object that no mask shows is believed to be missing there."""
_MOST = 4.0
_EDGE = 3


def mended(masks: Tensor, logits: Tensor, shift_px: int) -> Tensor:
    """Masks as they would be if each outline lay where the network sees its object, without a word on missing objects.

    Both halves of the noise of Mnih and Hinton (2012, "Learning to label aerial images from noisy data"), each settled by
    the network's own view as in the bootstrapping of Reed et al. (2015). *Outlines beside their objects*: each connected
    part of a class is moved, by at most ``shift_px`` in sixteen directions, to where its pixels have the largest sum of
    ``log p - log(1 - p)``, which is the most likely of these places. *Missing objects*: background farther than three
    pixels from every outline with a class more probable than `SURE` counts for nothing.

    Args:
        masks: 0, 1…n or `IGNORE`, int64 (batch, rows, cols).
        logits: what a network that knows its classes roughly says, (batch, classes + 1, rows, cols).
        shift_px: how far outlines may be off.

    Returns:
        Masks of the same shape; what outlines leave behind is background.
    """
    probability = torch.softmax(logits.detach().float(), dim=1).cpu().numpy()
    pairs = zip(masks.cpu().numpy(), probability, strict=True)
    return torch.from_numpy(np.stack([_mended(mask, each, shift_px) for mask, each in pairs])).to(masks.device)


def _mended(mask: NDArray[np.int64], probability: NDArray[np.float32], shift_px: int) -> NDArray[np.int64]:
    found = np.where(mask == IGNORE, IGNORE, 0)
    for number in np.unique(mask[(mask != 0) & (mask != IGNORE)]):
        moved = _aligned(mask == number, probability[number], shift_px)
        found[moved & (mask != IGNORE)] = number
    near = ndimage.binary_dilation(found % IGNORE > 0, iterations=_EDGE)
    found[(found == 0) & ~near & (probability[1:].max(axis=0) > SURE)] = IGNORE
    return found


def _aligned(inside: NDArray[np.bool_], probability: NDArray[np.float32], shift_px: int) -> NDArray[np.bool_]:
    """Each connected part moved to its most likely place."""
    parts, count = ndimage.label(inside)
    # What is cut off at the edge goes on beyond it.
    padded = np.pad(parts, shift_px, mode="edge")
    rows, cols = inside.shape
    places = [padded[row : row + rows, col : col + cols] for row, col in _offsets(shift_px)]
    p = probability.astype(np.float64).clip(1e-6, 1 - 1e-6)
    evidence = np.clip(np.log(p / (1 - p)), -_MOST, _MOST).ravel()
    sums = np.stack([np.bincount(place.ravel(), evidence, count + 1) for place in places])
    best = sums.argmax(axis=0)  # the first, unmoved, where nothing speaks for another
    best[0] = -1
    moved = np.zeros(inside.shape, bool)
    for number in np.unique(best[1:]):
        moved |= (best == number)[places[number]]
    return moved


def _offsets(shift_px: int) -> list[tuple[int, int]]:
    """Where windows of a padded array begin: unmoved first, then rings of growing radius."""
    rings = np.linspace(0, shift_px, 1 + min(4, shift_px))[1:]
    angles = np.arange(16) * math.tau / 16
    around = [(round(r * math.sin(a)), round(r * math.cos(a))) for r in rings for a in angles]
    return [(shift_px + row, shift_px + col) for row, col in dict.fromkeys([(0, 0), *around])]
