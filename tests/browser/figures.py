"""Keeps what the browser tests measured, and writes n, median and 95th percentile of each."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


class Figures:
    """Values by name; call it to add one, as in ``record("click_to_gallery_ms", 213.4)``."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}

    def __call__(self, name: str, value: float) -> None:
        """Add a value; the unit belongs to the name."""
        self._values.setdefault(name, []).append(float(value))

    def median(self, name: str) -> float:
        """The median so far."""
        return float(np.median(self._values[name]))

    def summary(self) -> dict[str, dict[str, float]]:
        """``n``, ``median`` and ``p95`` by name."""
        return {
            name: {
                "n": len(values),
                "median": round(float(np.median(values)), 1),
                "p95": round(float(np.percentile(values, 95)), 1),
            }
            for name, values in sorted(self._values.items())
        }

    def write(self, path: Path) -> None:
        """Write the summary, if anything was recorded."""
        if self._values:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(self.summary(), indent=1) + "\n")
