"""One example made several: a query pulled toward its nearest neighbours, where those know it as theirs too."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_NEIGHBOURS = 3
_KNOWN = 10
_POWER = 3
_SAME = 1 - 1e-5


def expand(query: NDArray[np.float32], tiles: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    """Add the query's three nearest tiles, each by its cubed cosine (Radenovic, Tolias & Chum 2019, alpha query expansion).

    Only tiles that have the query among their own ten nearest count (Qin et al. 2011, reciprocal neighbours): of something
    that occurs once in an archive, the nearest tiles are other things.

    Args:
        query: unit descriptor (dim,).
        tiles: unit descriptors of the archive, or of those most like the query and some others, (n, dim).

    Returns:
        the expanded query, of unit length, and by how many tiles.
    """
    cosines = tiles @ query
    order = np.argsort(-cosines, kind="stable")
    nearest = [int(place) for place in order if 0 < cosines[place] < _SAME][:_NEIGHBOURS]
    between = tiles[nearest] @ tiles.T
    nearer = (between > cosines[nearest, None]).sum(axis=1) - 1  # itself is the nearest of all
    kept = [place for place, others in zip(nearest, nearer, strict=True) if others < _KNOWN]
    expanded = query + (cosines[kept, None] ** _POWER * tiles[kept]).sum(axis=0)
    return (expanded / np.linalg.norm(expanded)).astype(np.float32), len(kept)
