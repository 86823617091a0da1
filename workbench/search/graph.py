"""The graph of neighbours: for every tile those most like it, found once, measured, and kept beside the archive."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from workbench.descriptors.archive import Archive
from workbench.descriptors.batches import BAD_ARRAY
from workbench.errors import ArchiveInvalid, QueryInvalid
from workbench.files import atomic_write, ends_crc, write_json
from workbench.jobs import Progress
from workbench.search.engines.descent import Descent
from workbench.search.overlaps import windows_overlap

NEIGHBOURS = 32
"""Neighbours that are kept of a tile."""
SMALL = 4096
"""Archives of no more tiles are compared whole, in a second and exactly."""
MOST_BYTES = 4 << 30
"""Descriptors in single precision that a graph may be made of; twice as much memory is taken meanwhile."""
_VERSION = 1
_BLOCK = 512
_COSINES = 1 << 26  # held at once
_MEASURED, _MEASURED_K = 100, 10
_MEND = "Delete it and the record beside it, and build the graph again."


@dataclass(frozen=True, eq=False)
class Graph:
    """Neighbours of every tile of an archive by the cosine of descriptors.

    Attributes:
        numbers: int32 (n, m), nearest first, never the tile itself; -1 where fewer were found.
        recall: share of the true ten nearest that are among them, measured on some tiles; 1 where all were compared.
    """

    numbers: NDArray[np.int32]
    recall: float

    def of(self, tile: int) -> NDArray[np.int64]:
        """Neighbours of a tile, int64 (at most m,), and no others: what the graph does not know is left out."""
        found = self.numbers[tile]
        return found[found >= 0].astype(np.int64)


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Pairs of tiles that look all but the same.

    Attributes:
        pairs: int64 (m, 2), the lower number first; most alike first.
        cosines: of the pairs, float32 (m,).
    """

    pairs: NDArray[np.int64]
    cosines: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.pairs)

    def groups(self) -> list[NDArray[np.int64]]:
        """Tiles that pairs hold together, each int64 and rising; the largest first."""
        tiles, ends = np.unique(self.pairs, return_inverse=True)
        ends = ends.reshape(-1, 2)
        links = coo_array((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), shape=(len(tiles), len(tiles)))
        count, group = connected_components(links, directed=False)
        return sorted((tiles[group == each] for each in range(count)), key=lambda found: (-len(found), found[0]))


def read_graph(archive: Archive) -> Graph | None:
    """The graph that was kept for an archive; None where there is none, or it is of other tiles or another centring.

    Raises:
        ArchiveInvalid: it is damaged.
    """
    record = archive.find_derived(_name(archive, "json"))
    if not record.is_file():
        return None
    path = record.with_name(_name(archive, "npy"))
    try:
        stored = json.loads(record.read_bytes())
        if (stored["version"], stored["source"]) != (_VERSION, _source(archive)):
            return None
        if ends_crc(path) != stored["sum"]:
            raise ArchiveInvalid(f"{path} is not the file that was built. {_MEND}")
        numbers = np.load(path, mmap_mode="r", allow_pickle=False)
        recall = float(stored["recall"])
    except (*BAD_ARRAY, KeyError, TypeError) as error:
        raise ArchiveInvalid(f"{path} or {record.name} is missing or damaged ({error}). {_MEND}") from error
    if numbers.dtype != np.int32 or numbers.ndim != 2 or len(numbers) != len(archive):
        raise ArchiveInvalid(f"{path} is not of this archive. {_MEND}")
    return Graph(numbers, recall)


def build_graph(archive: Archive, progress: Progress) -> Graph:
    """Find the neighbours of every tile, measure how many are missed, and keep them.

    Args:
        archive: with descriptors.
        progress: counts tiles; it cannot be stopped half-way.

    Raises:
        ArchiveInvalid: the archive holds codes only.
        QueryInvalid: there are too many tiles to hold their descriptors in memory.
    """
    progress.begin("finding neighbours", len(archive), "tiles")
    graph = exact_graph(archive) if len(archive) <= SMALL else graph_of(archive, descent_of(archive))
    store_graph(archive, graph)
    progress.advance(len(archive))
    return graph


def descent_of(archive: Archive) -> Descent:
    """A graph that can be searched, in memory; for what it raises see `build_graph`."""
    size = 4 * len(archive) * archive.manifest.dim
    if size > MOST_BYTES:
        raise QueryInvalid(
            f"{len(archive):,} descriptors take {size / 1e9:.1f} GB in memory; a graph is made of at most "
            f"{MOST_BYTES / 1e9:.1f} GB. Neighbours of a tile are found without one."
        )
    return Descent(archive.vectors_of(np.arange(len(archive))), NEIGHBOURS)


def graph_of(archive: Archive, descent: Descent) -> Graph:
    """The graph of a search that was made ready, measured against comparing some tiles with all."""
    drawn = np.unique(np.linspace(0, len(archive) - 1, min(_MEASURED, len(archive))).astype(np.int64))
    true = _nearest_of(archive, drawn, _MEASURED_K)
    found = [np.isin(right, descent.neighbours[tile]).mean() for tile, right in zip(drawn, true, strict=True)]
    return Graph(descent.neighbours, float(np.mean(found)))


def recall_of(archive: Archive, descent: Descent, seed: int = 0) -> float:
    """Share of the true ten nearest that a search finds, for queries half-way between two tiles, as new ones lie."""
    chance = np.random.default_rng(seed)
    first, second = (archive.vectors_of(chance.integers(0, len(archive), _MEASURED)) for _ in range(2))
    middles = first + second
    middles /= np.maximum(np.linalg.norm(middles, axis=1, keepdims=True), 1e-9)
    best = np.argpartition(-_cosines(archive, middles), _MEASURED_K - 1, axis=1)[:, :_MEASURED_K]
    found = [np.isin(right, descent.nearest(each, _MEASURED_K)) for each, right in zip(middles, best, strict=True)]
    return float(np.mean(found))


def exact_graph(archive: Archive) -> Graph:
    """The graph of a small archive, by comparing all tiles with all."""
    numbers = _nearest_of(archive, np.arange(len(archive)), min(NEIGHBOURS, max(0, len(archive) - 1)))
    return Graph(numbers.astype(np.int32), 1.0)


def store_graph(archive: Archive, graph: Graph) -> None:
    """Keep a graph beside the archive; its record goes last."""
    path = archive.derived / _name(archive, "npy")
    with atomic_write(path) as aside, aside.open("wb") as file:
        np.save(file, graph.numbers, allow_pickle=False)
    about = {"version": _VERSION, "source": _source(archive), "tiles": len(graph.numbers), "recall": graph.recall}
    write_json(archive.derived / _name(archive, "json"), {**about, "sum": ends_crc(path)})


def near_duplicates(archive: Archive, graph: Graph, least: float, *, overlapping: bool = False) -> Duplicates:
    """Pairs of tiles whose cosine is at least ``least``, as far as either is a neighbour of the other in the graph.

    Args:
        archive: of the graph.
        graph: its neighbours; of a tile with more duplicates than those, the nearest are found.
        least: cosine, -1 to 1.
        overlapping: also pairs whose windows have pixels of one raster in common, which look alike for that reason.

    Raises:
        QueryInvalid: ``least`` is no cosine.
    """
    if not -1 <= least <= 1:
        raise QueryInvalid(f"{least:g} is no cosine. Give -1 to 1: 0.98 is all but the same.")
    found = [(np.empty((0, 2), np.int64), np.empty(0, np.float32))]
    found += list(_alike(archive, graph, least, overlapping))
    pairs, cosines = (np.concatenate(parts) for parts in zip(*found, strict=True))
    pairs, first = np.unique(pairs, axis=0, return_index=True)
    cosines = cosines[first]
    order = np.argsort(-cosines, kind="stable")
    return Duplicates(pairs[order], cosines[order])


def _alike(
    archive: Archive, graph: Graph, least: float, overlapping: bool
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Pairs and their cosines, some twice, of a block of tiles at a time."""
    for start in range(0, len(graph.numbers), _BLOCK):
        block = np.asarray(graph.numbers[start : start + _BLOCK])
        near, place = np.nonzero(block >= 0)
        pairs = np.sort(np.stack([near + start, block[near, place]], axis=1).astype(np.int64), axis=1)
        if not overlapping:
            pairs = pairs[~windows_overlap(archive.tiles[pairs[:, 0]], archive.tiles[pairs[:, 1]])]
        tiles, ends = np.unique(pairs, return_inverse=True)
        vectors, ends = archive.vectors_of(tiles), ends.reshape(-1, 2)
        cosines = np.einsum("nd,nd->n", vectors[ends[:, 0]], vectors[ends[:, 1]])
        alike = cosines >= np.float32(least)
        yield pairs[alike], cosines[alike]


def _nearest_of(archive: Archive, tiles: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """The ``k`` nearest of some tiles among all others by comparing them, int64 (m, k); equal ones by number."""
    found = np.empty((len(tiles), k), np.int64)
    if not k:
        return found
    block = max(1, min(_BLOCK, _COSINES // len(archive)))
    for start in range(0, len(tiles), block):
        part = tiles[start : start + block]
        cosines = _cosines(archive, archive.vectors_of(part))
        cosines[np.arange(len(part)), part] = -np.inf
        best = np.sort(np.argpartition(-cosines, k - 1, axis=1)[:, :k], axis=1)
        order = np.argsort(-np.take_along_axis(cosines, best, axis=1), axis=1, kind="stable")
        found[start : start + len(part)] = np.take_along_axis(best, order, axis=1)
    return found


def _cosines(archive: Archive, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cosines of some unit descriptors (m, dim) with all tiles, (m, n), in pieces that need little memory besides."""
    found = np.empty((len(vectors), len(archive)), np.float32)
    for start in range(0, len(archive), 8 * _BLOCK):
        others = archive.vectors_of(np.arange(start, min(len(archive), start + 8 * _BLOCK)))
        found[:, start : start + len(others)] = vectors @ others.T
    return found


def _source(archive: Archive) -> str:
    """Names the descriptors that a graph is made of: 32 hexadecimal digits."""
    digest = hashlib.blake2b(archive.identity.encode(), digest_size=16)
    for values in (archive.centring.mean, archive.centring.scale):
        digest.update(np.ascontiguousarray(values, np.float32).tobytes())
    return digest.hexdigest()


def _name(archive: Archive, suffix: str) -> str:
    return f"index-{archive.manifest.centring:03d}-graph.{suffix}"
