"""The loops that search spends its time in, compiled when first called and kept; none allocates, starts threads or raises.

Every kernel lets go of the interpreter and works on the rows it is given: `threads.in_slices` calls it from two threads.
The best k are kept in a heap of keys, uint64: how bad a tile is, then its number; so of equal tiles the first wins, and
the answer does not depend on the order in which rows are read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

NOTHING = np.uint64(2**64 - 1)
"""What an empty place of a heap holds."""
_LOW = np.uint64(32)
_1, _2, _3, _4, _8 = (np.uint64(shift) for shift in (1, 2, 3, 4, 8))
_SIGN = np.uint32(1 << 31)
_INFINITE = np.uint32(0x7F800000)
_INSIDE = {"reassoc", "contract", "nsz", "arcp"}  # sums may be reordered; NaN and infinity keep their meaning


def kernel(**options: Any) -> Callable[[Any], Any]:
    """Compile a function when it is first called, and keep what was compiled beside it, or in the user's own cache folder."""

    def compiled(function: Any) -> Any:
        try:
            return njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:  # neither can be written
            return njit(nogil=True, **options)(function)

    return compiled


@intrinsic
def bits_set(_: Any, word: Any) -> Any:
    """Number of set bits of a word."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return word(word), code


@intrinsic
def _half(_: Any, word: Any) -> Any:
    """The float32 that a half-precision number, given as uint16, stands for; numba knows no float16 on a CPU."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), code


@kernel()
def _keep(heap, key):  # type: ignore[no-untyped-def]
    """Put a key in place of a heap's greatest, which it must be less than."""
    place, size = 0, len(heap)
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and heap[child + 1] > heap[child]:
            child += 1
        if heap[child] <= key:
            break
        heap[place] = heap[child]
        place = child
    heap[place] = key


@kernel()
def scan(codes, first, numbers, allowed, query, heap):  # type: ignore[no-untyped-def]
    """Keep the codes nearest to a query.

    Args:
        codes: uint64 or uint8 (n, words).
        first: number of the first row; the others follow.
        numbers: of the rows, uint32 (n,), where they do not; else empty.
        allowed: whether each number may be kept, bool; empty where all may. It is asked for good rows only.
        query: (words,).
        heap: uint64 (k,), keys of distance and number; changed.
    """
    bound = heap[0] >> _LOW
    for row in range(len(codes)):
        distance = np.uint64(0)
        for word in range(codes.shape[1]):
            distance += np.uint64(bits_set(codes[row, word] ^ query[word]))
        if distance <= bound:
            number = np.uint64(numbers[row]) if len(numbers) else np.uint64(first + row)
            key = distance << _LOW | number
            if key < heap[0] and (not len(allowed) or allowed[number]):
                _keep(heap, key)
                bound = heap[0] >> _LOW


@kernel()
def scan_some(codes, rows, numbers, query, heap):  # type: ignore[no-untyped-def]
    """Like `scan`, for some ``rows`` of the codes, (m,), whose ``numbers`` are (m,)."""
    bound = heap[0] >> _LOW
    for place in range(len(rows)):
        row = rows[place]
        distance = np.uint64(0)
        for word in range(codes.shape[1]):
            distance += np.uint64(bits_set(codes[row, word] ^ query[word]))
        if distance <= bound:
            key = distance << _LOW | np.uint64(numbers[place])
            if key < heap[0]:
                _keep(heap, key)
                bound = heap[0] >> _LOW


@kernel()
def distances(codes, query, out):  # type: ignore[no-untyped-def]
    """Write the Hamming distances of codes (n, words) to a query (words,) to ``out``, uint16 (n,)."""
    for row in range(len(codes)):
        distance = np.uint64(0)
        for word in range(codes.shape[1]):
            distance += np.uint64(bits_set(codes[row, word] ^ query[word]))
        out[row] = distance


@kernel()
def nearest(codes, centres, chosen, room):  # type: ignore[no-untyped-def]
    """Write the row of the nearest centre of each code, the first of equal ones, to ``chosen``, uint32 (n,).

    Args:
        codes: uint64 (n, words), words a multiple of 8.
        centres: uint64 (words, m): eight centres go through one instruction.
        chosen: changed.
        room: uint64 (m,), to work in.
    """
    for row in range(len(codes)):
        room[:] = 0
        for word in range(0, codes.shape[1], 8):
            a, b, c, d = codes[row, word], codes[row, word + 1], codes[row, word + 2], codes[row, word + 3]
            e, f, g, h = codes[row, word + 4], codes[row, word + 5], codes[row, word + 6], codes[row, word + 7]
            for centre in range(len(room)):
                left = bits_set(centres[word, centre] ^ a) + bits_set(centres[word + 1, centre] ^ b)
                left += bits_set(centres[word + 2, centre] ^ c) + bits_set(centres[word + 3, centre] ^ d)
                right = bits_set(centres[word + 4, centre] ^ e) + bits_set(centres[word + 5, centre] ^ f)
                right += bits_set(centres[word + 6, centre] ^ g) + bits_set(centres[word + 7, centre] ^ h)
                room[centre] += left + right
        best = NOTHING
        for centre in range(len(room)):
            best = min(best, room[centre] << _LOW | np.uint64(centre))
        chosen[row] = best & np.uint64(0xFFFFFFFF)


@kernel()
def count_bits(codes, chosen, counts):  # type: ignore[no-untyped-def]
    """Add the bits of codes, uint8 (n, bytes), to the ``counts``, int32 (m, bits), of the centres they are nearest to."""
    for row in range(len(codes)):
        centre = chosen[row]
        for byte in range(codes.shape[1]):
            for bit in range(8):
                counts[centre, 8 * byte + bit] += (codes[row, byte] >> (7 - bit)) & 1


@kernel()
def place_in_lists(chosen, ends, positions, order):  # type: ignore[no-untyped-def]
    """Sort tiles by list, in their own order within one: a counting sort.

    Args:
        chosen: list of each tile, uint32 (n,).
        ends: where each list starts, int64 (lists,); changed to where it ends.
        positions: uint32 (n,), place of each tile; written.
        order: uint32 (n,), tile at each place; written.
    """
    for number in range(len(chosen)):
        place = ends[chosen[number]]
        ends[chosen[number]] += 1
        positions[number] = place
        order[place] = number


@kernel(fastmath=_INSIDE)
def cosines(raw, mean, inverse_scale, weights, bias, out):  # type: ignore[no-untyped-def]
    """Write weights . (raw - mean) / scale, the latter brought to unit length, plus a bias, to ``out``, float32 (n,).

    Args:
        raw: half precision (n, dim), seen as uint16.
        mean: float32 (dim,).
        inverse_scale: float32 (dim,).
        weights: float32 (dim,).
        bias: float32.
        out: changed.
    """
    for row in range(len(raw)):
        product, square = np.float32(0), np.float32(0)
        for place in range(raw.shape[1]):
            value = (_half(raw[row, place]) - mean[place]) * inverse_scale[place]
            product += value * weights[place]
            square += value * value
        out[row] = product / max(np.sqrt(square), np.float32(1e-9)) + bias


@kernel()
def add_bits(codes, planes, zero, step, bias, out):  # type: ignore[no-untyped-def]
    """Write bias + step * the sum of the weights of set bits to ``out``, float32 (n,).

    A weight is a whole number less ``zero``. Twelve counts, one for each binary digit of the weights, take a twentieth of
    the time of looking up what each byte adds.

    Args:
        codes: uint64 or uint8 (n, words).
        planes: of the same kind, (12, words): which bits have each digit in their weights, the lowest first.
        zero: int64.
        step: float32.
        bias: float32.
        out: changed.
    """
    for row in range(len(codes)):
        total, ones = np.uint64(0), np.uint64(0)
        for place in range(codes.shape[1]):
            word = codes[row, place]
            low = np.uint64(bits_set(word & planes[0, place])) + (np.uint64(bits_set(word & planes[1, place])) << _1)
            low += (np.uint64(bits_set(word & planes[2, place])) << _2) + (
                np.uint64(bits_set(word & planes[3, place])) << _3
            )
            middle = np.uint64(bits_set(word & planes[4, place])) + (np.uint64(bits_set(word & planes[5, place])) << _1)
            middle += (np.uint64(bits_set(word & planes[6, place])) << _2) + (
                np.uint64(bits_set(word & planes[7, place])) << _3
            )
            high = np.uint64(bits_set(word & planes[8, place])) + (np.uint64(bits_set(word & planes[9, place])) << _1)
            high += (np.uint64(bits_set(word & planes[10, place])) << _2) + (
                np.uint64(bits_set(word & planes[11, place])) << _3
            )
            total += low + (middle << _4) + (high << _8)
            ones += np.uint64(bits_set(word))
        out[row] = bias + step * np.float32(np.int64(total) - zero * np.int64(ones))


@kernel()
def keep_highest(words, first, numbers, heap):  # type: ignore[no-untyped-def]
    """Keep the rows with the highest scores; what is not a number comes last.

    Args:
        words: float32 (n,) seen as uint32, without a negative zero.
        first: number of the first row; the others follow.
        numbers: of the rows, uint32 (n,), where they do not; else empty.
        heap: uint64 (k,), keys of score, highest first, and number; changed.
    """
    for row in range(len(words)):
        # The words of floats sort like the floats once one sign is turned round (Herf 2001, "Radix tricks").
        turned = np.uint32(0x7FFFFFFF) if words[row] < _SIGN else np.uint32(0)
        falling = np.uint64(words[row] ^ turned)
        if falling <= heap[0] >> _LOW:
            if words[row] & np.uint32(0x7FFFFFFF) > _INFINITE:
                falling = np.uint64(0xFF800000)
            number = np.uint64(numbers[row]) if len(numbers) else np.uint64(first + row)
            key = falling << _LOW | number
            if key < heap[0]:
                _keep(heap, key)


@kernel()
def scan_lists(codes, order, starts, allowed, lists, query, heap):  # type: ignore[no-untyped-def]
    """Like `scan`, for the rows of some ``lists``, int64 (m,), each from ``starts[list]`` to ``starts[list + 1]``."""
    for place in range(len(lists)):
        low, high = starts[lists[place]], starts[lists[place] + 1]
        scan(codes[low:high], 0, order[low:high], allowed, query, heap)


@kernel()
def majorities(codes, starts, centres):  # type: ignore[no-untyped-def]
    """Write what most codes of each list have in each bit to its centre; that of an empty list stays.

    Args:
        codes: uint8 (n, bytes), list after list.
        starts: first row of each list and the end of the last, int64 (lists + 1,).
        centres: uint8 (lists, bytes); changed.
    """
    counts = np.empty(8 * codes.shape[1], np.int32)
    for one in range(len(centres)):
        low, high = starts[one], starts[one + 1]
        if low == high:
            continue
        counts[:] = 0
        for row in range(low, high):
            for byte in range(codes.shape[1]):
                for bit in range(8):
                    counts[8 * byte + bit] += (codes[row, byte] >> (7 - bit)) & 1
        for byte in range(codes.shape[1]):
            value = 0
            for bit in range(8):
                value = 2 * value + (2 * counts[8 * byte + bit] > high - low)
            centres[one, byte] = value


@kernel()
def weighted(codes, query, planes, out):  # type: ignore[no-untyped-def]
    """Write the sum of the weights of differing bits to ``out``, uint32 (n,).

    Args:
        codes: uint64 or uint8 (n, words).
        query: (words,).
        planes: (3, words): which bits have each binary digit in their weights, the lowest first.
        out: changed.
    """
    for row in range(len(codes)):
        low, middle, high = np.uint64(0), np.uint64(0), np.uint64(0)
        for word in range(codes.shape[1]):
            differing = codes[row, word] ^ query[word]
            low += np.uint64(bits_set(differing & planes[0, word]))
            middle += np.uint64(bits_set(differing & planes[1, word]))
            high += np.uint64(bits_set(differing & planes[2, word]))
        out[row] = low + (middle << _1) + (high << _2)


@kernel()
def pick(scores, starts, rows, counts, picked):  # type: ignore[no-untyped-def]
    """Write the lists with the lowest scores to ``picked``, int64 (lists,), until they hold so many ``rows``; how many they are.

    Lists of equal scores are all in or all out; those with the score ``len(counts)`` or more are left out.

    Args:
        scores: uint32 (lists,).
        starts: int64 (lists + 1,).
        rows: that are wanted at least, 1 or more.
        counts: int64, zeros; changed.
        picked: changed.
    """
    for one in range(len(scores)):
        if scores[one] < len(counts):
            counts[scores[one]] += starts[one + 1] - starts[one]
    held, limit = 0, 0
    while limit < len(counts):
        held += counts[limit]
        limit += 1
        if held >= rows:
            break
    found = 0
    for one in range(len(scores)):
        if scores[one] < limit and starts[one + 1] > starts[one]:
            picked[found] = one
            found += 1
    return found
