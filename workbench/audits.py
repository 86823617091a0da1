"""Audits on disk beside the labels: one file for each draw by chance, written once, and a log of what was estimated."""

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

from workbench.errors import FileExists, LabelNotSaved
from workbench.files import append_durably, slug, write_bytes
from workbench.search.audit import Audit
from workbench.search.curve import Row, estimates_of, rows_of
from workbench.search.stopping import Estimate

log = logging.getLogger(__name__)
FORMAT = "workbench-audit"
VERSION = 2
ESTIMATES = "estimates.jsonl"
_FORM = ".safetensors"
_DTYPES = {"numbers": np.int64, "chances": np.float32}


@dataclass(frozen=True, eq=False)
class Draw:
    """Tiles that were drawn together.

    Attributes:
        numbers: int64 (k,).
        chances: how often each tile of the archive was to be drawn, float32 (n,); see `Audit.expected`.
    """

    numbers: NDArray[np.int64]
    chances: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Draws:
    """All draws of an audit; what the analyst says of the tiles is in the labels, and only there.

    A draw counts once all of its tiles are labelled: those that are left out for being doubtful would be missed.

    Attributes:
        numbers: tiles of all draws but the last, int64 (m,).
        expected: how often each tile of the archive was to be drawn by these, float32 (n,); see `Audit.expected`.
        last: the last draw.
        place: what number the next one will have.
    """

    numbers: NDArray[np.int64]
    expected: NDArray[np.float32]
    last: Draw
    place: int = 1

    @classmethod
    def of(cls, tiles: int) -> Draws:
        """No draw yet, of an archive with so many tiles."""
        none, never = np.empty(0, np.int64), np.zeros(tiles, np.float32)
        return cls(none, never, Draw(none, never))

    def left(self, marks: Mapping[int, int]) -> NDArray[np.int64]:
        """Tiles of the last draw that carry no label yet, in the order drawn; ``marks``: tile -> +1 or -1."""
        return np.array([number for number in self.last.numbers.tolist() if number not in marks], np.int64)

    def audit(self, marks: Mapping[int, int]) -> Audit:
        """The marks of the draws that are labelled whole; of an earlier draw a label may have been taken back since."""
        whole = not len(self.left(marks))
        drawn = np.r_[self.numbers, self.last.numbers] if whole else self.numbers
        numbers = np.array([number for number in drawn.tolist() if number in marks], np.int64)
        said = np.array([marks[number] > 0 for number in numbers.tolist()], bool)
        return Audit(numbers, said, self.expected + self.last.chances if whole else self.expected)

    def followed_by(self, draw: Draw) -> Draws:
        """These and one draw more."""
        return Draws(
            np.r_[self.numbers, self.last.numbers], self.expected + self.last.chances, draw, place=self.place + 1
        )


def audit_folder(labels: Path, class_name: str, archive: str, by: str) -> Path:
    """Where the audit of a class is kept: one for each archive (its identity) and person."""
    digest = hashlib.blake2b(json.dumps([class_name, archive, by]).encode(), digest_size=8).hexdigest()
    return labels / "audits" / f"{slug(class_name)}-{digest}"


def write_draw(folder: Path, place: int, draw: Draw) -> None:
    """Bring one draw to disk, whole or not at all, unless there is one of that number.

    So two kernels of one person never draw twice from the same state: the second is told, reads what the first drew, and
    shows that.

    Raises:
        FileExists: there is.
        LabelNotSaved: that failed; what was there is as it was.
    """
    from safetensors.numpy import save

    tensors = {name: np.ascontiguousarray(getattr(draw, name), kind) for name, kind in _DTYPES.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{place:04d}{_FORM}"
        write_bytes(path, save(tensors, {FORMAT: json.dumps({"version": VERSION})}), overwrite=False)
    except FileExists:
        raise
    except OSError as error:
        raise LabelNotSaved(
            f"The draw was not saved: {error.strerror or error}. Nothing was changed; make {folder} writable or make room "
            "there, then draw again."
        ) from error


def read_draws(folder: Path, tiles: int, known: Draws | None = None) -> Draws:
    """The draws that were kept of an archive with so many tiles, those that are ``known`` and what was drawn since.

    One that cannot be used is left out: its labels count as chosen ones, so that what is estimated is less sure, and no
    less right.
    """
    found = Draws.of(tiles) if known is None else known
    places = (int(path.stem) for path in folder.glob(f"[0-9]*{_FORM}") if path.stem.isdecimal())
    for place in sorted(place for place in places if place >= found.place):
        found = replace(found, place=place)
        draw = _read_draw(folder / f"{place:04d}{_FORM}", np.r_[found.numbers, found.last.numbers], tiles)
        found = replace(found, place=place + 1) if draw is None else found.followed_by(draw)
    return found


def add_estimate(folder: Path, told: Estimate) -> None:
    """Keep what was estimated beside an audit; that it cannot be written is logged: it can be estimated again."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"version": VERSION, **rows_of([told])[0]}, allow_nan=False)
        append_durably(folder / ESTIMATES, f"{line}\n".encode())
    except OSError as error:
        log.warning("%s: what was estimated is not kept (%s). The labels are.", folder.name, error)


def read_estimates(folder: Path) -> list[Estimate]:
    """What was estimated with an audit, by number of labels; a line that cannot be read is left out."""
    try:
        lines = (folder / ESTIMATES).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        log.warning("%s: what was estimated cannot be read (%s).", folder.name, error)
        return []
    found: list[Estimate] = []
    for line in lines:
        try:
            row: Row = json.loads(line)
            if row.pop("version") != VERSION:
                raise ValueError("another version")
            found = with_estimate(found, estimates_of([row])[0])
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            log.warning("%s: an estimate cannot be read (%s).", folder.name, error)
    return found


def with_estimate(before: Sequence[Estimate], told: Estimate) -> list[Estimate]:
    """A curve and its newest point: those made with as many labels or more no longer hold."""
    return [*(one for one in before if one.labels < told.labels), told]


def _read_draw(path: Path, before: NDArray[np.int64], tiles: int) -> Draw | None:
    """A draw that follows those of some tiles; None if it cannot be used."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {}).get(FORMAT, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - the file is no mapping
        if about != {"version": VERSION}:
            raise ValueError(f"it is not {FORMAT} version {VERSION}")
        _check(tensors, before, tiles)
        return Draw(**tensors)
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        log.warning("%s: this draw of an audit cannot be used (%s). The labels are not in it.", path, error)
        return None


def _check(tensors: Mapping[str, NDArray[Any]], before: NDArray[np.int64], tiles: int) -> None:
    """Raise ValueError unless the arrays are a draw from an archive with so many tiles, other than those ``before``."""
    if {name: array.dtype.type for name, array in tensors.items()} != _DTYPES:
        raise ValueError("its parts are not those of a draw")
    numbers, chances = tensors["numbers"], tensors["chances"]
    if chances.shape != (tiles,) or not np.isfinite(chances).all() or (chances < 0).any():
        raise ValueError(f"it has not a chance for each of {tiles:,} tiles")
    if numbers.ndim != 1 or len(np.unique(np.r_[before, numbers])) != len(before) + len(numbers):
        raise ValueError("a tile was drawn twice")
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < tiles:
        raise ValueError("it names a tile that is not there")
