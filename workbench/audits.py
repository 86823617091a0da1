"""Audits on disk beside the labels: which tiles were drawn by chance, how likely each tile was to be, and what was estimated."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.errors import LabelNotSaved
from workbench.files import slug, write_bytes, write_json
from workbench.search.audit import Audit
from workbench.search.curve import Row, estimates_of, rows_of
from workbench.search.stopping import Estimate

log = logging.getLogger(__name__)
FORMAT = "workbench-audit"
VERSION = 1
_DTYPES = {"numbers": np.int64, "expected": np.float32, "last": np.int64, "chances": np.float32}


@dataclass(frozen=True, eq=False)
class Draws:
    """Tiles that were drawn; what the analyst says of them is in the labels, and only there.

    A draw counts once all of its tiles are labelled: those that are left out for being doubtful would be missed.

    Attributes:
        numbers: tiles of all draws but the last, int64 (m,).
        expected: how often each tile of the archive was to be drawn by these, float32 (n,); see `Audit.expected`.
        last: tiles of the last draw, int64 (k,).
        chances: the same as ``expected``, by the last draw, float32 (n,).
    """

    numbers: NDArray[np.int64]
    expected: NDArray[np.float32]
    last: NDArray[np.int64]
    chances: NDArray[np.float32]

    @classmethod
    def of(cls, tiles: int) -> Draws:
        """No draw yet, of an archive with so many tiles."""
        none, never = np.empty(0, np.int64), np.zeros(tiles, np.float32)
        return cls(none, never, none, never)

    def left(self, marks: Mapping[int, int]) -> NDArray[np.int64]:
        """Tiles of the last draw that carry no label yet, in the order drawn; ``marks``: tile -> +1 or -1."""
        return np.array([number for number in self.last.tolist() if number not in marks], np.int64)

    def audit(self, marks: Mapping[int, int]) -> Audit:
        """The marks of the draws that are labelled whole; of an earlier draw a label may have been taken back since."""
        whole = not len(self.left(marks))
        drawn = np.r_[self.numbers, self.last] if whole else self.numbers
        numbers = np.array([number for number in drawn.tolist() if number in marks], np.int64)
        said = np.array([marks[number] > 0 for number in numbers.tolist()], bool)
        return Audit(numbers, said, self.expected + self.chances if whole else self.expected)

    def followed_by(self, numbers: NDArray[np.int64], chances: NDArray[np.float32]) -> Draws:
        """These and one draw more; see `Audit.draw`."""
        return replace(
            self,
            numbers=np.r_[self.numbers, self.last],
            expected=self.expected + self.chances,
            last=numbers,
            chances=chances,
        )


def audit_path(labels: Path, class_name: str, archive: str, by: str) -> Path:
    """Where the audit of a class is kept: one for each archive (its identity) and person."""
    digest = hashlib.blake2b(json.dumps([class_name, archive, by]).encode(), digest_size=8).hexdigest()
    return labels / "audits" / f"{slug(class_name)}-{digest}.safetensors"


def write_draws(path: Path, draws: Draws) -> None:
    """Bring draws to disk, whole or not at all.

    Raises:
        LabelNotSaved: that failed; what was there is as it was.
    """
    from safetensors.numpy import save

    tensors = {name: np.ascontiguousarray(getattr(draws, name), kind) for name, kind in _DTYPES.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, save(tensors, {FORMAT: json.dumps({"version": VERSION})}))
    except OSError as error:
        raise LabelNotSaved(
            f"The draw was not saved: {error.strerror or error}. Nothing was changed; make {path.parent} writable or make "
            "room there, then draw again."
        ) from error


def read_draws(path: Path, tiles: int) -> Draws | None:
    """The draws that were kept of an archive with so many tiles; None where there are none, or they cannot be used.

    Labels of a draw that was lost count as chosen ones: what is estimated then is less sure, and no less right.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {}).get(FORMAT, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - the file is no mapping
        if about != {"version": VERSION}:
            raise ValueError(f"it is not {FORMAT} version {VERSION}")
        _check(tensors, tiles)
        return Draws(**tensors)
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        log.warning("%s: this audit cannot be used (%s), another begins. The labels are not in it.", path.name, error)
        return None


def write_estimates(path: Path, estimates: Sequence[Estimate]) -> None:
    """Keep what was estimated beside an audit; that it cannot be written is logged: it can be estimated again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(_curve_of(path), {"version": VERSION, "rows": rows_of(estimates)})
    except OSError as error:
        log.warning("%s: what was estimated is not kept (%s). The labels are.", path.name, error)


def read_estimates(path: Path) -> list[Estimate]:
    """What was estimated with an audit, oldest first; nothing where that cannot be read."""
    try:
        kept = json.loads(_curve_of(path).read_text(encoding="utf-8"))
        if kept["version"] != VERSION:
            raise ValueError(f"version {kept['version']}")
        rows: list[Row] = kept["rows"]
        return estimates_of(rows)
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        log.warning("%s: what was estimated cannot be read (%s).", _curve_of(path).name, error)
        return []


def _curve_of(path: Path) -> Path:
    return path.with_suffix(".json")


def _check(tensors: Mapping[str, NDArray[Any]], tiles: int) -> None:
    """Raise ValueError unless the arrays are draws from an archive with so many tiles."""
    if {name: array.dtype.type for name, array in tensors.items()} != _DTYPES:
        raise ValueError("its parts are not those of an audit")
    for name in ("expected", "chances"):
        values = tensors[name]
        if values.shape != (tiles,) or not np.isfinite(values).all() or (values < 0).any():
            raise ValueError(f"{name} is not a chance for each of {tiles:,} tiles")
    drawn = np.concatenate([tensors["numbers"].ravel(), tensors["last"].ravel()])
    if tensors["numbers"].ndim != 1 or tensors["last"].ndim != 1 or len(np.unique(drawn)) != len(drawn):
        raise ValueError("a tile was drawn twice")
    if len(drawn) and not 0 <= drawn.min() <= drawn.max() < tiles:
        raise ValueError("it names a tile that is not there")
