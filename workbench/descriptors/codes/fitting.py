"""Codes by name: what is asked for is checked, and the model of that name is fitted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.codes.models import CodeModel, checked_vectors
from workbench.errors import QueryInvalid, ShapeMismatch, TrainingRefused

KINDS = ("itq", "rotation", "pca", "autoencoder", "klsh", "kslsh", "milan")
"""The code models there are; ITQ is the default of archives."""
SUPERVISED = ("kslsh", "milan")
"""Those that learn from labels."""
BITS = 512
_MOST_ROWS = 50_000
_MOST_BITS = 65_528  # the largest multiple of 8 whose distances uint16 holds
_NO_LABEL = -1
_LEAST_ROWS = {"itq": 2, "rotation": 1, "pca": 2, "autoencoder": 8, "klsh": 8, "kslsh": 8, "milan": 8}


def fit_codes(
    kind: str,
    vectors: NDArray[np.float32],
    *,
    bits: int = BITS,
    seed: int = 0,
    labels: NDArray[np.integer] | None = None,  # type: ignore[type-arg]
) -> CodeModel:
    """Fit a model that turns descriptors into codes; equal arguments give an equal model.

    Args:
        kind: one of `KINDS`.
        vectors: centred unit descriptors, float32 (n, dim); at most 50,000 of them, drawn by seed, are used.
        bits: length of a code, a multiple of 8; it may exceed dim.
        seed: of everything random.
        labels: class of each row, int (n,), -1 where it is unknown; for the `SUPERVISED` kinds, and ignored by others.

    Returns:
        the fitted model.

    Raises:
        QueryInvalid: unknown kind, a number of bits that cannot be packed, or a descriptor that is not finite.
        ShapeMismatch: descriptors are not (n, dim), or labels not (n,).
        TrainingRefused: too few rows, or labels that are missing or of one class only.
    """
    check_kind(kind, bits)
    vectors = checked_vectors(vectors)
    if len(vectors) < least_rows(kind):
        raise TrainingRefused(
            f"{len(vectors)} descriptors are too few: {kind} codes need {least_rows(kind)} at least. Add tiles, or take "
            "rotation codes, which learn nothing."
        )
    wanted = _checked_labels(kind, labels, len(vectors)) if kind in SUPERVISED else None
    rows = _drawn(len(vectors), wanted, seed)
    return _fit(kind, vectors[rows], bits, seed, None if wanted is None else wanted[rows])


def check_kind(kind: str, bits: int) -> None:
    """Raise `QueryInvalid` unless there are codes of a kind and length."""
    if kind not in KINDS:
        raise QueryInvalid(f"There are no {kind!r} codes. Choose one of {', '.join(KINDS)}.")
    if not 8 <= bits <= _MOST_BITS or bits % 8:
        raise QueryInvalid(f"Codes of {bits} bits cannot be packed. Give a multiple of 8, from 8 to {_MOST_BITS}.")


def least_rows(kind: str) -> int:
    """How many descriptors a kind needs to be fitted."""
    return _LEAST_ROWS[kind]


def _fit(kind: str, vectors: NDArray[np.float32], bits: int, seed: int, labels: NDArray[np.int64] | None) -> CodeModel:
    # Imported where they are used: archives with the default codes need neither torch nor scipy for them.
    if kind in ("itq", "rotation", "pca"):
        from workbench.descriptors.codes import linear

        return {"itq": linear.fit_itq, "rotation": linear.fit_rotation, "pca": linear.fit_pca}[kind](
            vectors, bits, seed
        )
    if kind == "autoencoder":
        from workbench.descriptors.codes.autoencoder import fit_autoencoder

        return fit_autoencoder(vectors, bits, seed)
    from workbench.descriptors.codes.kernels import fit_klsh, fit_kslsh

    if labels is None:
        return fit_klsh(vectors, bits, seed)
    if kind == "kslsh":
        return fit_kslsh(vectors, bits, seed, labels)
    from workbench.descriptors.codes.milan import fit_milan

    return fit_milan(vectors, bits, seed, labels)


def _drawn(count: int, labels: NDArray[np.int64] | None, seed: int) -> NDArray[np.int64]:
    """Rows to fit to: all, or 50,000 by seed, those with labels first."""
    order = np.random.default_rng(seed).permutation(count)
    if labels is not None:
        order = order[np.argsort(labels[order] == _NO_LABEL, kind="stable")]
    return np.sort(order[:_MOST_ROWS])


def _checked_labels(kind: str, labels: NDArray[np.integer] | None, count: int) -> NDArray[np.int64]:  # type: ignore[type-arg]
    if labels is None:
        raise TrainingRefused(f"{kind} codes learn from labels, and none were given. Give labels=, one class a row.")
    labels = np.asarray(labels)
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise ShapeMismatch(
            f"Labels are {labels.dtype} {labels.shape} for {count} descriptors. Give whole numbers ({count},), -1 where a "
            "class is unknown."
        )
    known = labels[labels != _NO_LABEL]
    sizes = np.unique(known, return_counts=True)[1]
    if len(sizes) < 2 or sizes.max() < 2:
        raise TrainingRefused(
            f"{len(known)} labels of {len(sizes)} class(es) do not tell what is alike: {kind} codes need two classes, one "
            "of them with two rows. Label more tiles."
        )
    return labels.astype(np.int64)
