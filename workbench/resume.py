"""What a session shows, kept on disk beside its labels, so that a new kernel shows it again."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.archive import Archive
from workbench.errors import WorkbenchError
from workbench.files import slug, write_json
from workbench.search.index import Hit, Hits, Scorer

log = logging.getLogger(__name__)
VERSION = 1


@dataclass(frozen=True)
class Resumed:
    """One state of the screen as it is written.

    Attributes:
        query: in words.
        query_ring: outline of the example, [[lat, lon], ...]; empty without a place on earth.
        query_vector: descriptor of the example, base64 of float32; empty before the first search.
        weights: of the scorer, likewise.
        bias: of the scorer.
        kind: of the scorer, in words.
        within: whether small tiles speak for large ones by it.
        method: how scorers are learned, by name.
        small_tiles: whether the next scorers let small tiles speak for large ones.
        numbers: tiles of the hits, best first.
        scores: of the hits; empty when nothing ranked them.
        queue: that the hits are, by name; empty for all there are.
        remarks: on cards: tile -> words, their meaning, value of its label then, whether they warn.
        answers: class -> tiles of the answer, as chosen.
        page: shown, from 0.
        selected: tile that keys act on, -1 for none.
        class_name: that is being looked for.
        map_view: lat, lon and zoom; empty before the map was moved.
        shown: layers on the map, by number.
        opacity: of layers, by number.
        stretch: of the imagery on the map, by name.
        model: file of the last U-Net; empty for none.
        prediction: file or folder of the last probability map; empty for none.
    """

    query: str = ""
    query_ring: list[list[float]] = field(default_factory=list)
    query_vector: str = ""
    weights: str = ""
    bias: float = 0.0
    kind: str = ""
    within: bool = False
    method: str = ""
    small_tiles: bool = False
    numbers: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    queue: str = ""
    remarks: dict[str, list[Any]] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)
    page: int = 0
    selected: int = -1
    class_name: str = ""
    map_view: dict[str, float] = field(default_factory=dict)
    shown: list[int] = field(default_factory=list)
    opacity: dict[str, float] = field(default_factory=dict)
    stretch: str = ""
    model: str = ""
    prediction: str = ""

    def scorer(self) -> Scorer | None:
        """What ranked the hits, or None before the first search."""
        return Scorer(unpack(self.weights), self.bias, self.kind, self.within) if self.weights else None

    def hits(self, archive: Archive) -> Hits:
        """The hits as they were."""
        scores = self.scores if self.weights else [math.nan] * len(self.numbers)
        pairs = enumerate(zip(self.numbers, scores, strict=True), 1)
        hits = tuple(Hit(number, archive.tile(number), score, rank) for rank, (number, score) in pairs)
        scorer = self.scorer()
        if scorer is not None and not scorer.is_descriptor:
            return Hits(hits, "linear")
        return Hits(hits, "cosine" if scorer is None or archive.has_descriptors else "hamming")


def state_path(labels: Path, by: str) -> Path:
    """Where the state of one person's session on some labels is kept."""
    return labels / f"screen-{slug(by)}.json"


def write_state(path: Path, archive: Archive, state: Resumed) -> None:
    """Keep a state; that it cannot be written is logged and never stops the work, for no label is in it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"version": VERSION, "archive": identity(archive), **asdict(state)})
    except (WorkbenchError, OSError) as error:
        log.warning("%s: what the screen shows is not kept (%s). The labels are.", path.name, error)


def read_state(path: Path, archive: Archive) -> Resumed | None:
    """The state that was kept for this archive; None where there is none, or it is damaged or another archive's."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept.pop("version") != VERSION or kept.pop("archive") != identity(archive):
            return None
        state = Resumed(**kept)
        _check(state, archive)
        return state
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        log.warning("%s cannot be used (%s); starting without it. The labels are not in it.", path.name, error)
        return None


def identity(archive: Archive) -> str:
    """What tells this archive's tiles from any other's."""
    parts = [archive.identity, archive.manifest.centring]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def pack(vector: NDArray[np.float32] | None) -> str:
    """A vector as base64 of its float32 bytes; empty for None."""
    return "" if vector is None else base64.b64encode(np.asarray(vector, np.float32).tobytes()).decode()


def unpack(text: str) -> NDArray[np.float32]:
    """The vector of `pack`."""
    return np.frombuffer(base64.b64decode(text, validate=True), np.float32)


def _check(state: Resumed, archive: Archive) -> None:
    """Raise ValueError unless every value is of its kind and fits the archive."""
    for item in fields(Resumed):
        value: Any = getattr(state, item.name)
        expected = type(item.default_factory()) if callable(item.default_factory) else type(item.default)
        if not isinstance(value, (int, float) if expected is float else expected):
            raise ValueError(f"{item.name} is {type(value).__name__}")
    for vector in (state.weights, state.query_vector):
        values = unpack(vector)
        if vector and (len(values) != archive.manifest.dim or not np.isfinite(values).all()):
            raise ValueError("a vector does not fit the archive")
    chosen = [state.selected] if state.selected != -1 else []
    chosen += [int(number) for number in state.remarks]
    kinds = [[type(part) for part in remark] for remark in state.remarks.values()]
    if any(kind != [str, str, int, bool] for kind in kinds) or any(
        type(count) is not int for count in state.answers.values()
    ):
        raise ValueError("a remark or an answer is none")
    # Objects under review are numbered after the tiles, and their own file says how many there are.
    end = math.inf if state.queue.startswith("objects ") else len(archive)
    if not all(type(number) is int and 0 <= number < end for number in [*state.numbers, *chosen]):
        raise ValueError("a hit is no tile of the archive")
    if len(state.scores) != (len(state.numbers) if state.weights else 0):
        raise ValueError("hits and scores do not belong together")
    numbers = [*state.scores, *state.map_view.values(), *state.opacity.values(), *state.shown]
    numbers += [value for point in state.query_ring for value in point] + [int(layer) for layer in state.opacity]
    if not all(type(value) in (int, float) and math.isfinite(value) for value in numbers):
        raise ValueError("something that should be a number is none")
