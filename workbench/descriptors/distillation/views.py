"""Pictures that are not in the imagery: other light, other colours, one over another. A teacher sees them as they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_PLAIN, _BLENDED = 0.5, 0.2
_GREY = np.array([0.299, 0.587, 0.114], np.float32)


def varied(crop: NDArray[np.uint8], other: NDArray[np.uint8], drawn: np.random.Generator) -> NDArray[np.uint8]:
    """A crop as it is (half of the time), recoloured, or blended with another.

    A network learns another's function, not labels, so any picture teaches it, and odd ones teach it more (Beyer et al.
    2022, "Knowledge distillation: a good teacher is patient and consistent").

    Args:
        crop: uint8 (rows, cols, 3).
        other: of the same shape.
        drawn: what chance decides by.
    """
    chance = drawn.uniform()
    if chance < _PLAIN:
        return crop
    return _blended(crop, other, drawn) if chance < _PLAIN + _BLENDED else _recoloured(crop, drawn)


def _recoloured(crop: NDArray[np.uint8], drawn: np.random.Generator) -> NDArray[np.uint8]:
    unit = crop.astype(np.float32) / 255
    unit = unit ** np.exp(drawn.normal(0, 0.3)) * np.exp(drawn.normal(0, 0.12, 3)).astype(np.float32)
    grey = (unit @ _GREY)[..., None]
    unit = grey + (unit - grey) * np.float32(drawn.uniform(0, 1.7))
    middle = unit.mean()
    unit = middle + drawn.normal(0, 0.06) + (unit - middle) * np.exp(drawn.normal(0, 0.2))
    return (np.clip(unit, 0, 1) * 255 + 0.5).astype(np.uint8)  # type: ignore[no-any-return]


def _blended(one: NDArray[np.uint8], other: NDArray[np.uint8], drawn: np.random.Generator) -> NDArray[np.uint8]:
    if drawn.uniform() < 0.5:
        share = np.float32(drawn.uniform(0.25, 0.75))
        return (one * share + other * (1 - share) + np.float32(0.5)).astype(np.uint8)  # type: ignore[no-any-return]
    result = one.copy()
    edge = int(drawn.uniform(0.3, 0.7) * one.shape[1])
    result[:, edge:] = other[:, edge:]
    return result
