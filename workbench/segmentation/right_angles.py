"""One building's outline brought to right angles: its main direction, the fewest straight walls that fit, their corners."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import LinearRing, Polygon

Array = NDArray[np.float64]
_AXES = 4
"""Directions of a wall: along the main direction, and 45, 90 and 135 degrees from it."""
_TURN = math.pi / _AXES
_STEP = 2.5
_MOST_BREAKS = 800
_COMMON = 240.0
"""Length in pixels of the outline up to which larger objects have larger details; a block of houses has those of a house."""
_SLANTED = 2.0
"""How many walls one at 45 degrees costs, so that it is there only where the outline clearly shows it."""
_KERNEL_DEGREES = 4.0
_FEWEST = 3
_PLAIN = 0.4


@dataclass(frozen=True)
class Wall:
    """A straight wall: its line is the points p with p . normal = offset, and it reaches from ``start`` to ``end`` along it.

    Attributes:
        axis: 0 to 3, times 45 degrees from the main direction.
        offset: of the line, along the axis's normal.
        start: least position along the axis.
        end: largest position along the axis.
    """

    axis: int
    offset: float
    start: float
    end: float


def main_direction(shape: Polygon) -> float:
    """The direction that most of an outline's length follows or is perpendicular to.

    The peak of the edges' angles modulo 90 degrees, weighted by length and smoothed (a histogram without bins, as in
    Wei, Ji and Lu 2020, Toward automatic building footprint delineation from aerial images, IEEE TGRS 58).

    Returns:
        Radians, 0 to pi / 2.
    """
    corners = np.asarray(shapely.simplify(shape.exterior, 1.0).coords)
    edges = np.diff(corners, axis=0)
    lengths = np.hypot(*edges.T)
    angles = np.arctan2(edges[:, 1], edges[:, 0])
    tried = np.radians(np.arange(0, 90, 0.5))
    width = math.radians(_KERNEL_DEGREES) * 4
    likeness = np.exp((np.cos(4 * (tried[:, None] - angles)) - 1) / width**2)
    return float(tried[np.argmax(likeness @ lengths)])


@dataclass(frozen=True)
class Fit:
    """A shape of straight walls.

    Attributes:
        shape: may be invalid, where walls cross.
        direction: radians; walls run along it, across, or at 45 degrees.
        walls: in the order of the outline, those of holes last.
    """

    shape: Polygon
    direction: float
    walls: tuple[Wall, ...]


def fit_walls(shape: Polygon, detail: float = 3.0, beside: Fit | None = None) -> Fit:
    """Draw a pixel outline again with few straight walls along and across one direction.

    The outline is cut into walls so that the squared distance to them, integrated along the outline, plus a price per wall
    is least: dynamic programming over a closed line with a fixed set of directions (Gribov 2019, Optimal compression of a
    polyline while aligning to preferred directions, ICDAR workshops; Dutter 2007 cuts by levels instead). With the cuts
    kept, the direction of least squares is found, and the outline cut again with it. Each wall runs through the median
    of its part, which rounded corners do not move, and walls meet where their lines intersect.

    Args:
        shape: the outline through the pixel edges' middles; pixels are square.
        detail: pixels that a part must stand out to become a wall of its own.
        beside: a neighbour whose direction is taken over, and its lines where they are within a pixel.
    """
    angle = main_direction(shape) if beside is None else beside.direction
    rings, walls = list[Array](), list[Wall]()
    for line in (shape.exterior, *shape.interiors):
        ring = _Outline(line)
        cuts, axes = ring.cut(angle, detail, ring.farthest())
        if beside is None and not rings:
            angle = ring.refit(cuts, axes, angle)
        # The first cut may have been no corner; one amid the others is.
        middle = len(cuts) // 2
        cuts, axes = ring.cut(angle, detail, int(cuts[middle]), int(axes[middle]))
        mine = [_snapped(wall, beside.walls if beside else ()) for wall in ring.walls(cuts, axes, angle)]
        walls += mine
        # A small round hole may be no more than two walls: it stays as it is.
        enclose = len(mine) >= _FEWEST
        rings.append(_corners(mine, angle) if enclose else np.asarray(shapely.simplify(line, _PLAIN).coords)[:-1])
    return Fit(Polygon(rings[0], rings[1:]), angle, tuple(walls))


class _Outline:
    """A closed line as many short pieces, with sums that give any part's scatter about its mean at once."""

    def __init__(self, ring: LinearRing) -> None:
        points = np.asarray(ring.coords, np.float64)
        ends = np.diff(points, axis=0)
        self.middles = (points[:-1] + points[1:]) / 2
        self.lengths = np.hypot(*ends.T)
        self.perimeter = float(self.lengths.sum())
        self.origin = self.middles.mean(axis=0)
        x, y = (self.middles - self.origin).T
        length, dx, dy = self.lengths, *ends.T
        # Integrals along each piece of 1, x, y, xx, xy, yy.
        self.sums = np.stack(
            [
                length,
                length * x,
                length * y,
                length * (x * x + dx * dx / 12),
                length * (x * y + dx * dy / 12),
                length * (y * y + dy * dy / 12),
            ],
            axis=1,
        )

    def farthest(self) -> int:
        """The piece farthest from the middle, where a corner is likely."""
        return int(np.argmax(np.hypot(*(self.middles - self.origin).T)))

    def cut(
        self, angle: float, detail: float, first: int, axis: int | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The pieces where walls begin, ``first`` among them, and each wall's axis: the cheapest sequence.

        Args:
            angle: main direction.
            detail: see `fit_walls`.
            first: piece where the first wall begins.
            axis: of the first wall, from which the last one's then differs; any when None.
        """
        pieces = len(self.lengths)
        count = max(8, min(pieces, _MOST_BREAKS, int(self.perimeter / _STEP)))
        breaks = np.unique(np.linspace(0, pieces, count + 1).astype(np.int64))
        sums = np.concatenate([np.zeros((1, 6)), np.roll(self.sums, -first, axis=0).cumsum(axis=0)])[breaks]
        # A step of `detail` in the middle of a square's side costs detail^2 * side / 4, and saves two walls.
        price = min(self.perimeter, _COMMON) * detail**2 / 32
        starts, axes = _cheapest(_costs(sums, angle, price), axis)
        return (breaks[starts] + first) % pieces, axes

    def refit(self, cuts: NDArray[np.int64], axes: NDArray[np.int64], angle: float) -> float:
        """The main direction of least squares for these walls, within 45 degrees of the given one."""
        total = np.zeros((2, 2))
        for part, axis in zip(self._parts(cuts), axes, strict=True):
            scatter = _scatter(self.sums[part].sum(axis=0))
            turn = _rotation(-axis * _TURN)
            total += turn @ scatter @ turn.T
        along = np.linalg.eigh(total)[1][:, 1]
        found = math.atan2(along[1], along[0])
        return angle + (found - angle + math.pi / 2) % math.pi - math.pi / 2

    def walls(self, cuts: NDArray[np.int64], axes: NDArray[np.int64], angle: float) -> list[Wall]:
        """The walls' lines."""
        found = []
        for part, axis in zip(self._parts(cuts), axes, strict=True):
            along, across = _rotation(-angle - axis * _TURN) @ self.middles[part].T
            offset = _median(across, self.lengths[part])
            found.append(Wall(int(axis), offset, float(along.min()), float(along.max())))
        return found

    def _parts(self, cuts: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        pieces = len(self.lengths)
        lengths = (np.roll(cuts, -1) - cuts) % pieces
        return [(start + np.arange(length)) % pieces for start, length in zip(cuts, lengths, strict=True)]


def _costs(sums: Array, angle: float, price: float) -> Array:
    """Cost of a wall from any break to any later one along any axis, (to, from, 4); infinite backwards."""
    normals = angle + np.arange(_AXES) * _TURN + math.pi / 2
    a, b = np.cos(normals), np.sin(normals)
    length, mean = sums[:, 0], sums[:, 1:3] @ np.stack([a, b])
    square = sums[:, 3:] @ np.stack([a * a, 2 * a * b, b * b])
    prices = price * np.where(np.arange(_AXES) % 2, _SLANTED, 1)
    lengths = length[:, None] - length[None, :]
    forward = lengths > 0
    means = mean[:, None] - mean[None, :]
    costs = square[:, None] - square[None, :] - means**2 / np.where(forward, lengths, 1)[..., None] + prices
    return np.where(forward[..., None], costs, np.inf)


def _cheapest(costs: Array, axis: int | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The cheapest walls from the first break to the last, neighbours of different axes.

    Args:
        costs: of `_costs`.
        axis: of the first wall, and not of the last; any when None.

    Returns:
        The break where each wall begins, and its axis.
    """
    last = len(costs) - 1
    same = np.where(np.eye(_AXES, dtype=bool), np.inf, 0)
    # best[to, a]: least cost of walls up to a break if the next one is along axis a.
    best = np.full((last + 1, _AXES), np.inf)
    best[0, slice(None) if axis is None else axis] = 0
    begun, before = np.zeros((2, last + 1, _AXES), np.int64)
    every = np.arange(_AXES)
    reached = best[0]
    for to in range(1, last + 1):
        ways = best[:to] + costs[to, :to]
        begun[to] = ways.argmin(axis=0)
        reached = ways[begun[to], every]
        others = reached[:, None] + same
        before[to] = others.argmin(axis=0)
        best[to] = others[before[to], every]
    here = int(np.argmin(reached if axis is None else reached + same[axis]))
    starts, axes, to = list[int](), list[int](), last
    while to > 0:
        start = int(begun[to, here])
        starts.append(start)
        axes.append(here)
        to, here = start, int(before[start, here])
    return np.array(starts[::-1]), np.array(axes[::-1])


def _snapped(wall: Wall, lines: Sequence[Wall]) -> Wall:
    """The wall, on a neighbour's line where it lies along one."""
    near = [
        line.offset
        for line in lines
        if line.axis == wall.axis
        and abs(line.offset - wall.offset) <= 1
        and min(line.end, wall.end) - max(line.start, wall.start) > 1
    ]
    offset = min(near, key=lambda line: abs(line - wall.offset), default=wall.offset)
    return Wall(wall.axis, offset, wall.start, wall.end)


def _corners(walls: list[Wall], angle: float) -> Array:
    """Where each wall's line meets the line of the one before, (walls, 2)."""
    normals = angle + np.array([wall.axis for wall in walls]) * _TURN + math.pi / 2
    lines = np.stack([np.cos(normals), np.sin(normals)], axis=1)
    offsets = np.array([wall.offset for wall in walls])
    pairs = np.stack([np.roll(lines, 1, axis=0), lines], axis=1)
    return np.linalg.solve(pairs, np.stack([np.roll(offsets, 1), offsets], axis=1)[..., None])[..., 0]


def _scatter(sums: Array) -> Array:
    """Integral of (p - mean)(p - mean)' along a part of the outline, (2, 2)."""
    length, x, y, xx, xy, yy = sums
    return np.array([[xx, xy], [xy, yy]]) - np.outer([x, y], [x, y]) / max(length, 1e-9)


def _rotation(angle: float) -> Array:
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def _median(values: Array, weights: Array) -> float:
    order = np.argsort(values)
    mass = weights[order].cumsum()
    return float(values[order][np.searchsorted(mass, mass[-1] / 2)])
