"""The loops of walks among very many centres: from each that is looked at to its neighbours, as long as they come nearer."""

from __future__ import annotations

import numpy as np

from workbench.search.engines.kernels import bits_set, kernel, nearest


@kernel()
def _distance(code, other):  # type: ignore[no-untyped-def]
    """Hamming distance of two codes (words,)."""
    distance = np.uint64(0)
    for word in range(len(code)):
        distance += np.uint64(bits_set(code[word] ^ other[word]))
    return np.int64(distance)


@kernel()
def _put(far, who, done, size, distance, one):  # type: ignore[no-untyped-def]
    """Put one into a short list in the order of distances, unless it is full of nearer ones; how long it then is."""
    if size == len(far):
        if distance >= far[size - 1]:
            return size
        size -= 1
    place = size
    while place > 0 and far[place - 1] > distance:
        far[place], who[place], done[place] = far[place - 1], who[place - 1], done[place - 1]
        place -= 1
    far[place], who[place], done[place] = distance, one, False
    return size + 1


@kernel()
def walk(codes, centres, turned, graph, entries, beam, seen, room, chosen):  # type: ignore[no-untyped-def]
    """Write about the nearest centre of each code to ``chosen``, uint32 (n,); see `walks.walked`.

    Args:
        codes: uint64 (n, words).
        centres: uint64 (m, words), words a multiple of 8.
        turned: the same, (words, m).
        graph: uint32 (m, degree).
        entries: centres to start from, int64.
        beam: how many of the best are kept.
        seen: uint32 (m,), zeros; changed.
        room: uint64 (m,), to work in.
        chosen: changed.
    """
    far, who, done = np.empty(beam, np.int64), np.empty(beam, np.int64), np.empty(beam, np.bool_)
    usual, spread, credit = 0.0, 0.0, 1.0
    for row in range(len(codes)):
        credit = min(1.0, credit + 1 / 64)
        if row % 128 == 0:
            nearest(codes[row : row + 1], turned, chosen[row : row + 1], room)
            distance = _distance(codes[row], centres[chosen[row]])
            off = abs(distance - usual)
            weight = max(1 / (1 + row // 128), 1 / 32)
            usual += weight * (distance - usual)
            spread += weight * ((off if row else 0.0) - spread)
            continue
        mark, size, best, start = np.uint32(row + 1), 0, np.int64(1 << 40), np.int64(0)
        for one in entries:
            distance = _distance(codes[row], centres[one])
            if distance < best:
                best, start = distance, one
        size = _put(far, who, done, size, best, start)
        seen[start] = mark
        start = np.int64(chosen[row - 1])
        if seen[start] != mark:
            size = _put(far, who, done, size, _distance(codes[row], centres[start]), start)
            seen[start] = mark
        place = 0
        while place < size:
            if done[place]:
                place += 1
                continue
            done[place] = True
            for other in graph[who[place]]:
                if seen[other] != mark:
                    seen[other] = mark
                    size = _put(far, who, done, size, _distance(codes[row], centres[other]), np.int64(other))
            place = 0
        chosen[row] = who[0]
        if far[0] > usual + 2 * spread and credit >= 1:
            nearest(codes[row : row + 1], turned, chosen[row : row + 1], room)
            credit = 0.0


@kernel()
def turn_round(graph, counts, back):  # type: ignore[no-untyped-def]
    """Write to ``back``, uint32 (n, most), who has each among its eight nearest in a graph (n, degree), as room allows.

    Where there is room left, a row names itself. Counts: int64 (n,), zeros; changed.
    """
    for row in range(len(graph)):
        back[row] = row
    for place in range(min(8, graph.shape[1])):
        for row in range(len(graph)):
            other = graph[row, place]
            if counts[other] < back.shape[1]:
                back[other, counts[other]] = row
                counts[other] += 1


@kernel()
def join(centres, graph, first, found, seen):  # type: ignore[no-untyped-def]
    """Write the nearest of neighbours and their neighbours of centres from ``first`` on to ``found``, uint32 (n, degree)."""
    degree = graph.shape[1]
    far, who, done = np.empty(degree, np.int64), np.empty(degree, np.int64), np.empty(degree, np.bool_)
    for row in range(len(found)):
        mark, size, own = np.uint32(row + 1), 0, first + row
        seen[own] = mark
        for step in range(degree + 1):
            near = graph[own] if step == 0 else graph[graph[own, step - 1]]
            for other in near:
                if seen[other] != mark:
                    seen[other] = mark
                    size = _put(far, who, done, size, _distance(centres[own], centres[other]), np.int64(other))
        for place in range(degree):
            found[row, place] = who[place]
