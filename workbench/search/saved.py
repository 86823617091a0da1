"""Scorers that are kept: in a file under a name, with what they were learned from, to rank any archive of the same encoder."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.archive import Archive
from workbench.descriptors.centring import Centring
from workbench.errors import ArchiveMismatch, FileExists, QueryInvalid, ScorerInvalid
from workbench.files import slug, write_bytes
from workbench.search.engines.exact import linear_scores
from workbench.search.index import Hit, Hits, Index, Scorer, Where
from workbench.search.renewed import Since, rank_new

log = logging.getLogger(__name__)
FORMAT = "workbench-scorer"
VERSION = 1
FOLDER = "scorers"
SUFFIX = ".safetensors"
_MOST_BYTES = 4_000_000
_MOST_CHARACTERS = 80
_VECTORS = ("weights", "mean", "scale")
_LEAST_SHORTLIST = 1000
_TIMES_K = 4
_ALIKE = (0.67, 1.5)


@dataclass(frozen=True)
class Origin:
    """What an archive has to have in common with the one that a scorer was learned in.

    Attributes:
        encoder: name.
        weights_hash: of its weights.
        preprocessing: of its input.
        pixel_m: ground metres of a pixel as the encoder saw it; a scorer may be used at another, which is logged.
    """

    encoder: str
    weights_hash: str
    preprocessing: dict[str, Any]
    pixel_m: float


@dataclass(frozen=True)
class SavedScorer:
    """A scorer with a name, bound to the encoder and the centring that it was learned with.

    Attributes:
        name: as the user wrote it.
        class_name: what it looks for; empty where nobody said.
        scorer: weights and bias.
        origin: what an archive needs to be ranked by it.
        mean: that was taken off descriptors when it was learned, float32 (dim,).
        scale: that they were then divided by, float32 (dim,).
        made: when it was saved, ISO, UTC.
    """

    name: str
    class_name: str
    scorer: Scorer
    origin: Origin
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    made: str

    def __repr__(self) -> str:
        """Name, class, how it was learned, encoder and day."""
        of = f" of {self.class_name}" if self.class_name else ""
        return f"scorer {self.name!r}{of}: {self.scorer.kind}; {self.origin.encoder}, {self.made[:10]}"

    def rank(
        self,
        archive: Archive | Index,
        k: int = 50,
        where: Where | None = None,
        *,
        new_since: Since | None = None,
        one_per_object: bool = False,
    ) -> Hits:
        """The best tiles of any archive of the same encoder.

        In another archive than its own, descriptors are centred midway between both archives' means: a mean holds the
        light, which should follow the new archive, and what there is to see, which should not (``benchmarks/scorers.py``
        compares the choices). The shortlist is made with the new archive's own centring, as its codes are; an archive of
        codes only has no other, and a scorer by which small tiles speak for large ones keeps to it.

        Args:
            archive: to rank, or its index.
            k: number of hits.
            where: tiles that may be hits, see `Index.search`.
            new_since: only what is new: a date (``2021-06``), or an earlier archive and its hits; see `renewed.rank_new`.
            one_per_object: leave out tiles that show the same ground as a better hit.

        Raises:
            ArchiveMismatch: the archive was made with another encoder.
            QueryInvalid: ``k`` is negative, or there is nothing from that date on.
        """
        index = archive if isinstance(archive, Index) else Index(archive)
        self.check_fits(index.archive)

        def search(count: int, allowed: Where | None) -> Hits:
            return self._search(index, count, allowed)

        if new_since is not None:
            return rank_new(index.archive, search, k, where, new_since, one_per_object=one_per_object)
        if not one_per_object:
            return search(k, where)
        count = _TIMES_K * k
        while True:
            found = search(count, where)
            hits = index.one_per_object(found)[:k]
            if len(hits) == k or len(found) < count:
                return hits
            count *= _TIMES_K

    def check_fits(self, archive: Archive) -> None:
        """Raise unless an archive's descriptors are such as this was learned from.

        Raises:
            ArchiveMismatch: naming the first thing that differs.
        """
        theirs = origin_of(archive)
        for field in ("encoder", "weights_hash", "preprocessing"):
            mine, found = getattr(self.origin, field), getattr(theirs, field)
            if mine != found:
                raise ArchiveMismatch(
                    f"The scorer {self.name!r} was learned with {field} {mine}, and this archive has {found}. Build an "
                    "archive with the scorer's encoder, or learn a scorer here."
                )
        if len(self.mean) != archive.manifest.dim:
            raise ArchiveMismatch(
                f"The scorer {self.name!r} has {len(self.mean)} weights, and descriptors here have {archive.manifest.dim} "
                "numbers. Learn a scorer in this archive."
            )
        ratio = theirs.pixel_m / self.origin.pixel_m
        if not _ALIKE[0] < ratio < _ALIKE[1]:
            log.warning("%s: a pixel is %.2g times as large on the ground as the scorer has learned", self.name, ratio)

    def _search(self, index: Index, k: int, where: Where | None) -> Hits:
        """The best ``k``, in the order of scores with the centring of both archives."""
        archive, own = index.archive, index.archive.centring
        mine = np.array_equal(own.mean, self.mean) and np.array_equal(own.scale, self.scale)
        if mine or k <= 0 or not archive.has_descriptors or self.scorer.within:
            return index.search(self.scorer, k, where)
        numbers = np.sort(index.search(self.scorer, max(_LEAST_SHORTLIST, _TIMES_K * k), where).numbers)
        both = self.midway(own)
        parts = [(0, archive.raw[numbers])]
        scores = linear_scores(parts, len(numbers), both.mean, both.scale, self.scorer.weights, float(self.scorer.bias))
        best = np.argsort(-scores, kind="stable")[:k]
        found = enumerate(zip(numbers[best].tolist(), scores[best].tolist(), strict=True), 1)
        hits = (Hit(number, archive.tile(number), score, rank) for rank, (number, score) in found)
        return Hits(tuple(hits), "cosine" if self.scorer.is_descriptor else "linear")

    def midway(self, other: Centring) -> Centring:
        """Between the centring that this was learned with and another: the mean of means, the geometric mean of scales."""
        mean = np.float32(0.5) * (self.mean + other.mean)
        return Centring(mean, np.sqrt(self.scale * other.scale), mean)


def name_scorer(name: str, scorer: Scorer, archive: Archive, class_name: str = "") -> SavedScorer:
    """A scorer that was learned in an archive, ready to be saved.

    Raises:
        QueryInvalid: the name is empty, too long or holds control characters.
    """
    name = name.strip()
    if not _is_text(name) or not name:
        raise QueryInvalid(f"{name[:40]!r} cannot name a scorer. Give 1 to {_MOST_CHARACTERS} printable characters.")
    centring, now = archive.centring, f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    weights = np.asarray(scorer.weights, np.float32)
    kept = replace(scorer, weights=weights, bias=float(scorer.bias))
    return SavedScorer(name, class_name, kept, origin_of(archive), centring.mean, centring.scale, now)


def origin_of(archive: Archive) -> Origin:
    """What an archive's descriptors were made with, and at which ground resolution."""
    manifest = archive.manifest
    raster, entry = archive.imagery[0], manifest.rasters[0]
    pixel_m = entry.scale * float(np.mean(raster.pixel_size_m))
    return Origin(manifest.encoder, manifest.weights_hash, manifest.preprocessing, pixel_m)


def scorer_path(labels: str | Path, name: str) -> Path:
    """Where a scorer of this name is kept beside some labels."""
    return Path(labels) / FOLDER / f"{slug(name)}{SUFFIX}"


def save_scorer(saved: SavedScorer, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a scorer atomically as safetensors: weights, mean and scale, and all else as JSON in the metadata.

    Raises:
        FileExists: a file is there and ``overwrite`` is false.
        DiskFull: there is no room; nothing new is left.
    """
    from safetensors.numpy import save

    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExists(f"{path} exists already. Choose another name, or pass overwrite=True to replace that scorer.")
    about = {
        "version": VERSION,
        "name": saved.name,
        "class_name": saved.class_name,
        "kind": saved.scorer.kind,
        "within": saved.scorer.within,
        "bias": float(saved.scorer.bias),
        "made": saved.made,
        "origin": asdict(saved.origin),
    }
    values = saved.scorer.weights, saved.mean, saved.scale
    tensors = {key: np.ascontiguousarray(each, np.float32) for key, each in zip(_VECTORS, values, strict=True)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, save(tensors, {FORMAT: json.dumps(about, allow_nan=False)}), overwrite=overwrite)
    return path


def load_scorer(name: str | Path, labels: str | Path = "labels") -> SavedScorer:
    """Read a scorer that a session has saved.

    Args:
        name: that it was saved under, or its file.
        labels: folder of the labels that it was saved beside.

    Raises:
        ScorerInvalid: there is none of this name, or the file is damaged or no scorer; nothing is run from it.
    """
    is_file = Path(name).suffix == SUFFIX
    path = Path(name) if is_file else scorer_path(labels, str(name))
    found = _read(path) if path.is_file() else None
    if found is None or not (is_file or found.name == str(name).strip()):
        known = [each.name for each in list_scorers(Path(labels))]
        there = f"There are {', '.join(known)}" if known else f"There are none in {Path(labels) / FOLDER}"
        raise ScorerInvalid(
            f"There is no scorer {str(name)[:200]!r}. {there}; save one with session.save_scorer(NAME)."
        )
    return found


def list_scorers(labels: Path) -> tuple[SavedScorer, ...]:
    """The scorers beside some labels, by name; files that cannot be used are left out and logged."""
    found = []
    for path in sorted((labels / FOLDER).glob(f"*{SUFFIX}")):
        try:
            found.append(_read(path))
        except ScorerInvalid as error:
            log.warning("%s", error)
    return tuple(sorted(found, key=lambda saved: saved.name))


def _read(path: Path) -> SavedScorer:
    from safetensors import SafetensorError, safe_open

    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"it has {path.stat().st_size:,} bytes")
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {}).get(FORMAT, "null"))
            if set(file.keys()) != set(_VECTORS):
                raise ValueError("it holds other arrays than a scorer's")
            vectors = [file.get_tensor(name) for name in _VECTORS]
        if not isinstance(about, dict) or about.get("version") != VERSION:
            raise ValueError(f"it is not {FORMAT} version {VERSION}")
        return _assembled(about, vectors)
    except (OSError, ValueError, TypeError, KeyError, OverflowError, SafetensorError) as error:
        raise ScorerInvalid(
            f"{path} is no scorer that can be used: {error}. Restore it from a copy, or save the scorer again; nothing was "
            "run from it."
        ) from error


def _assembled(about: dict[str, Any], vectors: Sequence[NDArray[np.float32]]) -> SavedScorer:
    """The scorer that arrays and JSON make.

    Raises:
        ValueError: something is missing, strange or does not fit; KeyError and TypeError likewise.
    """
    weights, mean, scale = vectors
    if any(each.dtype != np.float32 or each.ndim != 1 or each.shape != weights.shape for each in vectors):
        raise ValueError("its arrays are not vectors of one length")
    if not all(np.isfinite(each).all() for each in vectors) or not weights.any() or scale.min() <= 0:
        raise ValueError("its arrays hold values that no scorer has")
    told = [about[key] for key in ("name", "class_name", "kind", "made")]
    bias, origin, within = about["bias"], Origin(**about["origin"]), about.get("within", False)
    numbers = (bias, origin.pixel_m)
    if not all(map(_is_text, [*told, origin.encoder, origin.weights_hash])) or not told[0]:
        raise ValueError("its names are not such as a scorer has")
    if not all(type(value) in (int, float) and math.isfinite(value) for value in numbers) or origin.pixel_m <= 0:
        raise ValueError("its bias or its pixel is no number")
    if type(within) is not bool:
        raise ValueError("it does not say whether small tiles speak for large ones")
    if not isinstance(origin.preprocessing, dict):
        raise ValueError("its encoder's input is not described")
    name, class_name, kind, made = told
    return SavedScorer(name, class_name, Scorer(weights, float(bias), kind, within), origin, mean, scale, made)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= 4 * _MOST_CHARACTERS and value.isprintable()
