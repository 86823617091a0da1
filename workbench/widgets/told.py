"""Estimates of how far a search is, in words and as rows for a curve."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.session import Estimate, Interval

_MEASURES = ("precision", "recall", "count")


def words_of(told: Estimate, class_name: str) -> str:
    """An estimate in a sentence: about 140 (110 to 190) tiles of boat, 12 ha (9.8 to 16); ..."""
    ground = "" if told.area is None else f", {_ground(told.area)} of ground"
    audited = f"{told.labels:,} labels, {told.audited:,} of them audited"
    counted = f"About {_counts(told.count)} tiles of {class_name}{ground}"
    if not told.answered:
        return f"{counted}, after {audited}. No tile left is more likely right than wrong."
    return (
        f"{counted}. Of the best {told.answered:,} tiles {_shares(told.precision)} are right, which is "
        f"{_shares(told.recall)} of all there are: after {audited}."
    )


def short_words_of(told: Estimate) -> tuple[str, str]:
    """An estimate in as few words as can be: how many there are, and the precision."""
    precision = f"precision {_share(told.precision.middle)}" if told.answered else ""
    return f"≈ {_counts(told.count)}", precision


def row_of(told: Estimate) -> dict[str, Any]:
    """An estimate as a browser draws it: labels, and low, middle and high of each measure; area in hectares or None."""
    row: dict[str, Any] = {"labels": told.labels, "answered": told.answered}
    return row | {name: _ends(getattr(told, name)) for name in _MEASURES}


def _ends(interval: Interval) -> list[float]:
    return [round(value, 4) for value in (interval.low, interval.middle, interval.high)]


def _counts(interval: Interval) -> str:
    low, middle, high = (_rounded(value) for value in (interval.low, interval.middle, interval.high))
    return f"{middle:,.0f} ({low:,.0f}–{high:,.0f})"


def _shares(interval: Interval) -> str:
    return f"{_share(interval.middle)} ({_share(interval.low)}–{_share(interval.high)})"


def _share(value: float) -> str:
    """A share of one without its zero: .92, 1."""
    return f"{value:.2f}".replace("0.", ".", 1) if value < 0.995 else "1"


def _ground(interval: Interval) -> str:
    """Square metres in the unit that fits: m², ha or km²."""
    unit, size = next(
        (name, size) for name, size in (("km²", 1e6), ("ha", 1e4), ("m²", 1.0)) if interval.middle >= size or size == 1
    )
    low, middle, high = (_figure(value / size) for value in (interval.low, interval.middle, interval.high))
    return f"{middle} {unit} ({low}–{high})"


def _figure(value: float) -> str:
    """Two digits that count."""
    rounded = _rounded(value) if value >= 10 else round(value, 1)
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:.1f}"


def _rounded(value: float) -> float:
    """Two digits that count; whole below 100."""
    if value < 100:
        return float(round(value))
    step = 10 ** (math.floor(math.log10(value)) - 1)
    return float(round(value / step) * step)
