"""Fitted code models: what turns descriptors into packed bits; how they are fitted is told elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from workbench.errors import QueryInvalid, ShapeMismatch

SLOPE = 0.2
"""Of the leaky rectifier between the layers of a network (that of Roy et al. 2021)."""
_CHUNK = 8192
_ONES = np.array([value.bit_count() for value in range(1 << 16)], np.uint8)


class CodeModel(Protocol):
    """What encodes descriptors; `fit_codes` makes one, `save_codes` and `load_codes` keep it."""

    @property
    def kind(self) -> str:
        """Name it is fitted by."""

    @property
    def bits(self) -> int:
        """Length of a code, a multiple of 8."""

    @property
    def dim(self) -> int:
        """Length of the descriptors it takes."""

    def encode(self, vectors: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Packed codes, uint8 (n, bits // 8), of centred unit descriptors (n, dim); the first bit is the highest.

        Raises:
            ShapeMismatch: the descriptors are not (n, dim).
            QueryInvalid: a descriptor is not finite.
        """

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """Everything but the kind, by name."""


@dataclass(frozen=True, eq=False)
class LayeredCodes:
    """Signs of a network's outputs; with a single layer, the sides of hyperplanes on which a descriptor lies.

    Attributes:
        kind: name it is fitted by.
        weights: of each layer, float32 (inputs, outputs).
        biases: of each layer, float32 (outputs,).
    """

    kind: str
    weights: tuple[NDArray[np.float32], ...]
    biases: tuple[NDArray[np.float32], ...]

    @property
    def bits(self) -> int:
        """Length of a code."""
        return self.weights[-1].shape[1]

    @property
    def dim(self) -> int:
        """Length of a descriptor."""
        return self.weights[0].shape[0]

    def encode(self, vectors: NDArray[np.float32]) -> NDArray[np.uint8]:
        """See `CodeModel.encode`."""
        return _packed(self._outputs(part) for part in _parts(vectors, self.dim)).reshape(-1, self.bits // 8)

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """See `CodeModel.tensors`."""
        named: dict[str, NDArray[np.float32]] = {}
        for place, (weights, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            named |= {f"weights.{place}": weights, f"bias.{place}": bias}
        return named

    def _outputs(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        for place, (weights, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = np.maximum(values, SLOPE * values) if place else values
            values = hidden @ weights + bias
        return values


@dataclass(frozen=True, eq=False)
class KernelCodes:
    """Signs of weighted sums of a descriptor's likeness to some anchors.

    Attributes:
        kind: name it is fitted by.
        anchors: descriptors, float32 (m, dim).
        bandwidth: of the kernel, as a distance; float32 (1,).
        weights: float32 (m, bits).
        bias: float32 (bits,).
    """

    kind: str
    anchors: NDArray[np.float32]
    bandwidth: NDArray[np.float32]
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]

    @property
    def bits(self) -> int:
        """Length of a code."""
        return self.weights.shape[1]

    @property
    def dim(self) -> int:
        """Length of a descriptor."""
        return self.anchors.shape[1]

    def encode(self, vectors: NDArray[np.float32]) -> NDArray[np.uint8]:
        """See `CodeModel.encode`."""
        return _packed(
            rbf(part, self.anchors, float(self.bandwidth[0])) @ self.weights + self.bias
            for part in _parts(vectors, self.dim)
        ).reshape(-1, self.bits // 8)

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """See `CodeModel.tensors`."""
        return {"anchors": self.anchors, "bandwidth": self.bandwidth, "weights": self.weights, "bias": self.bias}


def rbf(vectors: NDArray[np.float32], anchors: NDArray[np.float32], bandwidth: float) -> NDArray[np.float32]:
    """Gaussian kernel exp(-d^2 / (2 bandwidth^2)) of descriptors (n, dim) and anchors (m, dim), float32 (n, m)."""
    return np.exp(squared_distances(vectors, anchors) / np.float32(-2 * bandwidth**2))


def squared_distances(vectors: NDArray[np.float32], anchors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Squared Euclidean distances, float32 (n, m)."""
    found = (vectors**2).sum(axis=1)[:, None] + (anchors**2).sum(axis=1) - 2 * (vectors @ anchors.T)
    return np.maximum(found, 0)  # type: ignore[no-any-return]


def hamming_distances(codes: NDArray[np.uint8], query: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Count differing bits between many packed codes and one.

    Args:
        codes: packed codes, shape (n, bits // 8).
        query: one packed code, shape (bits // 8,).

    Returns:
        Distances in bits, shape (n,), from 0 to bits.

    Raises:
        ShapeMismatch: the code lengths differ.
    """
    if codes.ndim != 2 or query.ndim != 1 or codes.shape[1] != len(query) or {codes.dtype, query.dtype} != {_BYTE}:
        raise ShapeMismatch(
            f"Codes {codes.dtype} {codes.shape} and a query {query.dtype} {query.shape} cannot be compared: uint8 (n, bytes) "
            "and (bytes,) are expected. Encode both with the same model."
        )
    # Two bytes at a time halve the look-ups; an odd byte is counted on its own.
    even = len(query) // 2 * 2
    found = np.zeros(len(codes), np.uint16)
    for start in range(0, len(codes), _CHUNK):
        differing = np.bitwise_xor(codes[start : start + _CHUNK], query)
        pairs = np.ascontiguousarray(differing[:, :even]).view(np.uint16)
        found[start : start + _CHUNK] = _ONES[pairs].sum(axis=1, dtype=np.uint16)
        if even < len(query):
            found[start : start + _CHUNK] += _ONES[differing[:, -1]]
    return found


def checked_vectors(vectors: NDArray[np.float32], dim: int | None = None) -> NDArray[np.float32]:
    """Descriptors as float32 (n, dim).

    Raises:
        ShapeMismatch: they have another shape.
        QueryInvalid: one of them is not finite.
    """
    vectors = np.asarray(vectors, np.float32)
    if vectors.ndim != 2 or not vectors.shape[1] or dim not in (None, vectors.shape[1]):
        raise ShapeMismatch(
            f"Descriptors have shape {vectors.shape}, and (n, {dim or 'dim'}) is expected. Give one row a tile, made by the "
            "encoder that the model was fitted to."
        )
    wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(wrong):
        raise QueryInvalid(
            f"Descriptor {wrong[0]} ({len(wrong)} of {len(vectors)} in all) holds a value that is not finite. "
            "Leave such rows out."
        )
    return vectors


_BYTE = np.dtype(np.uint8)


def _parts(vectors: NDArray[np.float32], dim: int) -> Iterator[NDArray[np.float32]]:
    for start in range(0, max(1, len(vectors)), _CHUNK):
        yield checked_vectors(vectors[start : start + _CHUNK], dim)


def _packed(parts: Iterator[NDArray[np.float32]]) -> NDArray[np.uint8]:
    return np.concatenate([np.packbits(part > 0, axis=1) for part in parts])
