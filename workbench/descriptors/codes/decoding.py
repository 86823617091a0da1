"""From codes back to descriptors, as well as a linear map can: so that weights learned on descriptors rank codes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.batches import BAD_ARRAY
from workbench.descriptors.codes.models import CodeModel
from workbench.errors import ArchiveInvalid
from workbench.files import atomic_write

if TYPE_CHECKING:
    from workbench.descriptors.archive import Archive

_SAMPLE = 20_000
_RIDGE = 1e-3
_ROUNDS, _STEP = 16, 0.5  # with which all but a few bits in ten thousand come out right, of every kind of codes


def decoder_name(version: int) -> str:
    """File name of the decoder of an archive's codes of this version (that of its centring)."""
    return f"decoder-{version:03d}.npy"


def archive_decoder(archive: Archive) -> NDArray[np.float32]:
    """The decoder of an archive's codes, float32 (bits + 1, dim): as stored, or fitted to 20,000 tiles at most and stored.

    Where an archive of codes only has none, it is guessed from the code model.

    Raises:
        ArchiveInvalid: the stored one is damaged.
    """
    model, path = archive.code_model, archive.find_derived(decoder_name(archive.manifest.centring))
    stored = read_decoder(path, model.bits, model.dim)
    if stored is not None:
        return stored
    if not archive.has_descriptors:
        return guess_decoder(model)
    drawn = np.unique(np.linspace(0, len(archive) - 1, min(_SAMPLE, len(archive))).astype(np.int64))
    fitted = fit_decoder(archive.codes[drawn], archive.vectors_of(drawn))
    save_decoder(fitted, path)
    return fitted


def decode(codes: NDArray[np.uint8], model: CodeModel, decoder: NDArray[np.float32]) -> NDArray[np.float32]:
    """Descriptors that have these codes: what the decoder expects, moved a little for each bit that comes out wrong.

    The move is that of the perceptron (Rosenblatt 1958), with the decoder's rows for directions.

    Args:
        codes: packed, (n, bits // 8).
        model: that they were made with.
        decoder: of these codes; see `fit_decoder`.

    Returns:
        float32 (n, dim), of unit length.
    """
    bits = np.unpackbits(codes, axis=1).astype(np.float32)
    found = _unit(np.matmul(bits, decoder[:-1]) + decoder[-1])
    for _ in range(_ROUNDS):
        wrong = bits - np.unpackbits(model.encode(found), axis=1)
        if not wrong.any():
            break
        found = _unit(found + np.float32(_STEP) * (wrong @ decoder[:-1]))
    return found


def fit_decoder(codes: NDArray[np.uint8], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Descriptor expected for a code, by least squares with a small ridge (Hoerl & Kennard 1970).

    Args:
        codes: packed, (n, bits // 8), n at least 1.
        vectors: the centred unit descriptors they are of, (n, dim).

    Returns:
        float32 (bits + 1, dim): the descriptor of a code is the sum of the rows of its set bits, and of the last row.
    """
    bits = np.unpackbits(codes, axis=1).astype(np.float64)
    mean, middle = bits.mean(axis=0), vectors.mean(axis=0, dtype=np.float64)
    centred = bits - mean
    spread = centred.T @ centred
    spread[np.diag_indices_from(spread)] += _RIDGE * len(bits)
    rows = np.linalg.solve(spread, centred.T @ (vectors - middle))
    return np.vstack([rows, middle - mean @ rows]).astype(np.float32)


def guess_decoder(model: CodeModel, *, seed: int = 0) -> NDArray[np.float32]:
    """A decoder from the code model alone, where neither descriptors nor a fitted one were kept: of random directions."""
    vectors = np.random.default_rng(seed).normal(size=(4 * max(model.dim, model.bits), model.dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return fit_decoder(model.encode(vectors), vectors)


def read_decoder(path: Path, bits: int, dim: int) -> NDArray[np.float32] | None:
    """The stored decoder, or None where there is none.

    Raises:
        ArchiveInvalid: the file is damaged or of other codes.
    """
    if not path.is_file():
        return None
    try:
        found = np.load(path, allow_pickle=False)
    except BAD_ARRAY as error:
        raise ArchiveInvalid(f"{path} is damaged ({error}). Delete it: it is fitted again.") from error
    if found.shape != (bits + 1, dim) or not np.isfinite(found).all():
        raise ArchiveInvalid(f"{path} does not belong to these codes. Delete it: it is fitted again.")
    return np.asarray(found, np.float32)


def save_decoder(decoder: NDArray[np.float32], path: Path) -> None:
    """Write a decoder, atomically."""
    with atomic_write(path) as aside, aside.open("wb") as file:
        np.save(file, decoder, allow_pickle=False)


def _unit(vectors: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return np.asarray(vectors / lengths, np.float32)
