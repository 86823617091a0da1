"""Centring: the archive's mean descriptor, taken off before comparing, and a second one for chips seen alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.batches import BAD_ARRAY
from workbench.descriptors.rows import Rows
from workbench.errors import ArchiveInvalid
from workbench.files import atomic_write

_SAMPLE = 200_000
_LEAST = 0.05
_DRIFT_SAMPLE = 20_000
MUCH_DRIFT = 0.25
"""From here on `refit` is worth it: a quarter of the spread is taken off wrongly."""


@dataclass(frozen=True)
class Centring:
    """Means and scale, each float32 (dim,)."""

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    lone_mean: NDArray[np.float32]

    def apply(self, raw: NDArray[np.floating], *, alone: bool = False) -> NDArray[np.float32]:  # type: ignore[type-arg]
        """Centred descriptors of unit length (n, dim); those of chips seen ``alone`` have a mean of their own.

        An encoder sees a lone chip with empty borders, which shifts all its features alike: a chip less the mean of such
        chips lies where the tile less the mean of tiles lies.
        """
        centred = (raw.astype(np.float32) - (self.lone_mean if alone else self.mean)) / self.scale
        return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)  # type: ignore[no-any-return]


def drift_of(centring: Centring, raw: Rows) -> float:
    """How far the descriptors' mean has moved since the centring was fitted, in units of their spread around it.

    Args:
        centring: as fitted.
        raw: descriptors as they are now (n, dim); at most 20,000, evenly spaced, are used.

    Returns:
        |mean now - mean then| / root mean square distance from the mean now; 0 where nothing was added.
    """
    used = (np.asarray(raw[:: max(1, len(raw) // _DRIFT_SAMPLE)], np.float32) - centring.mean) / centring.scale
    moved = used.mean(axis=0)
    spread = np.sqrt(((used - moved) ** 2).sum(axis=1).mean())
    return float(np.linalg.norm(moved) / max(spread, 1e-9))


def centring_name(version: int) -> str:
    """Name of a centring among the derived files."""
    return f"centring-{version:03d}.npy"


def read_centring(path: Path, dim: int) -> Centring | None:
    """The stored centring, or None when it has to be fitted.

    Raises:
        ArchiveInvalid: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        values = np.load(path, allow_pickle=False)
    except BAD_ARRAY as error:
        raise ArchiveInvalid(
            f"{path} is damaged ({error}). Delete it: it is fitted again from the descriptors."
        ) from error
    if values.shape != (3, dim) or not np.isfinite(values).all():
        raise ArchiveInvalid(
            f"{path} does not belong to this archive. Delete it: it is fitted again from the descriptors."
        )
    return Centring(*values)


def fit_centring(raw: Rows, lone: NDArray[np.float32] | None = None, *, standardise: bool) -> Centring:
    """The centring of some descriptors.

    Args:
        raw: descriptors (n, dim); at most some 200,000, evenly spaced, are used.
        lone: descriptors of some tiles seen as chips alone, (m, dim); where there are none, the mean of all serves.
        standardise: divide each dimension by its standard deviation, and by no less than a twentieth of all dimensions'
            root mean square: what hardly any tile has would outweigh all else in the one that does.
    """
    used = np.asarray(raw[:: max(1, len(raw) // _SAMPLE)], np.float32)
    mean, spread = used.mean(axis=0), used.std(axis=0)
    scale = np.hypot(spread, _LEAST * np.sqrt(np.mean(spread**2))) if standardise else np.ones_like(mean)
    return Centring(mean, scale, mean if lone is None or not len(lone) else lone.mean(axis=0))


def save_centring(path: Path, centring: Centring) -> None:
    """Write a centring atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as aside, aside.open("wb") as file:
        np.save(file, np.stack([centring.mean, centring.scale, centring.lone_mean]), allow_pickle=False)
