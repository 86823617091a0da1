"""Where everything stands: a warped grid of cells, each given one use, roads between them, and the coast with its marinas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import cos, sin
from typing import Protocol

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from workbench.imagery.scene.buildings import HOUSE
from workbench.imagery.scene.canvas import PIXEL_M, Canvas
from workbench.imagery.scene.ground import Area
from workbench.imagery.scene.noise import Noise
from workbench.imagery.scene.plants import Grove, PlantKind, Plants
from workbench.imagery.scene.roads import Road
from workbench.imagery.scene.shore import Shore


class Paintable(Protocol):
    """Something with a place that draws itself."""

    @property
    def layer(self) -> int:
        """Lower layers are drawn first."""

    @property
    def x(self) -> float:
        """Centre, metres from the scene's left edge."""

    @property
    def y(self) -> float:
        """Centre, metres from its top."""

    @property
    def radius(self) -> float:
        """Half the side of a square that holds all of it, metres."""

    def paint(self, canvas: Canvas) -> None:
        """Draw the part of it that lies on the canvas."""


class Truth(Paintable, Protocol):
    """A thing that is in the truth."""

    @property
    def klass(self) -> int:
        """Its value in the mask."""

    @property
    def variant(self) -> str:
        """What sort of its class it is."""

    def outline(self) -> BaseGeometry:
        """Footprint in scene metres."""


@dataclass(frozen=True)
class Warp:
    """A smooth map from the straight plan to the ground, so that roads bend and nothing stands square to the image."""

    extent: float
    angle: float
    phases: tuple[float, float, float, float]

    def __call__(self, u: NDArray[np.floating] | float, v: NDArray[np.floating] | float) -> NDArray[np.float64]:
        """Scene metres (..., 2) of plan metres."""
        u, v = np.asarray(u, np.float64), np.asarray(v, np.float64)
        size, (a, b, c, d) = self.extent, self.phases
        swing, turn = 0.028 * size, 2 * np.pi / size
        u, v = (
            u + swing * np.sin(1.4 * turn * v + a) + 0.3 * swing * np.sin(3.7 * turn * v + 1.1 * turn * u + b),
            v + swing * np.sin(1.2 * turn * u + c) + 0.3 * swing * np.sin(3.3 * turn * u - 0.9 * turn * v + d),
        )
        u, v = u - size / 2, v - size / 2
        x = u * cos(self.angle) - v * sin(self.angle) + size / 2
        y = u * sin(self.angle) + v * cos(self.angle) + size / 2
        return np.stack([x, y], axis=-1)


@dataclass(frozen=True)
class Frame:
    """A piece of the plan with its own axes: ``a`` runs 0..width, ``b`` runs 0..depth, both in metres."""

    warp: Warp | None
    u: float
    v: float
    width: float
    depth: float
    angle: float = 0.0

    def points(self, a: NDArray[np.floating] | float, b: NDArray[np.floating] | float) -> NDArray[np.float64]:
        """Scene metres (..., 2) of places in the frame."""
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        if self.warp is not None:
            return self.warp(self.u + a, self.v + b)
        c, s = cos(self.angle), sin(self.angle)
        return np.stack(np.broadcast_arrays(self.u + a * c - b * s, self.v + a * s + b * c), axis=-1)

    def at(self, a: float, b: float) -> tuple[float, float, float]:
        """Scene x, y and the direction of the a axis there, radians."""
        (x, y), (x1, y1) = self.points(a, b), self.points(a + 0.5, b)
        return float(x), float(y), float(np.arctan2(y1 - y, x1 - x))

    def ring(self, a0: float, b0: float, a1: float, b1: float) -> NDArray[np.float64]:
        """The outline of a rectangle of the frame, in scene metres, bent as the plan is."""
        n = 6
        a = np.concatenate([np.linspace(a0, a1, n), np.full(n, a1), np.linspace(a1, a0, n), np.full(n, a0)])
        b = np.concatenate([np.full(n, b0), np.linspace(b0, b1, n), np.full(n, b1), np.linspace(b1, b0, n)])
        return self.points(a, b)

    def inset(self, margin: float) -> Frame:
        """A smaller frame in the middle of this one."""
        c, s = cos(self.angle), sin(self.angle)
        u, v = (margin, margin) if self.warp is not None else (margin * (c - s), margin * (s + c))
        return Frame(self.warp, self.u + u, self.v + v, self.width - 2 * margin, self.depth - 2 * margin, self.angle)


@dataclass
class Plan:
    """Everything to paint.

    Attributes:
        extent: side of the scene, metres.
        rng: where the plan's randomness comes from.
        noise: textures.
        plants: crowns.
        shore: the water.
        warp: from the straight plan to the ground.
        things: what is painted, in no order.
        truth: the things that count as objects.
    """

    extent: float
    rng: np.random.Generator
    noise: Noise
    plants: Plants
    shore: Shore
    warp: Warp
    things: list[Paintable] = field(default_factory=list)
    truth: list[Truth] = field(default_factory=list)
    _bare: list[BaseGeometry] = field(default_factory=list)
    _packs: dict[tuple[str, ...], list[str]] = field(default_factory=dict)

    def add(self, *things: Paintable) -> None:
        """Put things into the scene."""
        self.things.extend(things)

    def place(self, thing: Truth) -> None:
        """Put a thing into the scene and into the truth."""
        self.things.append(thing)
        self.truth.append(thing)

    def plant(self, kind: PlantKind, places: NDArray[np.float64], size: tuple[float, float] = (0.0, 1.0)) -> None:
        """Plant a grove on land; ``size`` is the range of crowns used, 0 the smallest and 1 the largest."""
        if len(places):
            places = places[self.shore.offshore(places[:, 0], places[:, 1]) < -4]
        if len(places):
            last = len(self.plants.crowns[kind]) - 1
            sizes = np.round(self.rng.uniform(*size, len(places)) * last).astype(int)
            self.things.append(Grove(places, self.plants, kind, sizes, self.rng.integers(0, 60, len(places))))

    def pave(self, *things: Area | Road) -> None:
        """Put something into the scene on which no plant grows."""
        self.things.extend(things)
        for thing in things:
            self._bare.append(
                shapely.LineString(thing.points).buffer(thing.width / 2)
                if isinstance(thing, Road)
                else shapely.Polygon(thing.points)
            )

    def settle(self) -> None:
        """Of two things in one place only the rarer sort stays, but panels stay on roofs; no plant stands on a pavement."""
        outlines = [thing.outline() for thing in self.truth]
        first, second = shapely.STRtree(outlines).query([one.buffer(-0.3) for one in outlines], predicate="intersects")
        later = second > first
        pairs = [(self.truth[a], self.truth[b]) for a, b in zip(first[later], second[later], strict=True)]
        gone = {id(b if b.klass >= a.klass else a) for a, b in pairs if not (a.klass == HOUSE and b.layer > a.layer)}
        self.truth = [thing for thing in self.truth if id(thing) not in gone]
        bare = shapely.STRtree(self._bare + [thing.outline().buffer(2.5) for thing in self.truth])
        kept: list[Paintable] = []
        for thing in self.things:
            if isinstance(thing, Grove):
                hit = bare.query(shapely.points(thing.points), predicate="intersects")[0]
                thing = thing.without(np.unique(hit))
            if id(thing) not in gone and not (isinstance(thing, Grove) and len(thing.points) == 0):
                kept.append(thing)
        self.things = kept

    def deal(self, options: Sequence[str]) -> str:
        """One of the options, so that all come about equally often: cards are dealt until the pack is empty."""
        pack = self._packs.setdefault(tuple(options), [])
        if not pack:
            pack.extend(str(card) for card in self.rng.permutation(options))
        return pack.pop()

    def detail(self) -> int:
        """A fresh small number for a thing's own variation."""
        return int(self.rng.integers(0, 1000))

    def on_land(self, points: NDArray[np.float64], margin: float = 6.0) -> bool:
        """Whether all points lie at least ``margin`` metres from the water."""
        return bool((self.shore.offshore(points[..., 0], points[..., 1]) < -margin).all())

    def afloat(self, points: NDArray[np.float64], margin: float = 4.0) -> bool:
        """Whether all points lie at least ``margin`` metres out on the water."""
        return bool((self.shore.offshore(points[..., 0], points[..., 1]) > margin).all())

    def is_unpaved(self, outline: BaseGeometry) -> bool:
        """Whether an outline touches nothing that was paved."""
        return not any(outline.intersects(paved) for paved in self._bare)

    def near(self, canvas: Canvas) -> list[Paintable]:
        """The things that reach into a canvas, in the order of painting."""
        top, left = canvas.row * PIXEL_M, canvas.col * PIXEL_M
        bottom, right = top + canvas.shape[0] * PIXEL_M, left + canvas.shape[1] * PIXEL_M
        x, y, radius = self._bounds
        hit = (x + radius > left) & (x - radius < right) & (y + radius > top) & (y - radius < bottom)
        return sorted((self.things[i] for i in np.flatnonzero(hit)), key=lambda thing: thing.layer)

    @cached_property
    def _bounds(self) -> NDArray[np.float64]:
        return np.array([(thing.x, thing.y, thing.radius) for thing in self.things]).T


def blank_plan(size: int, seed: int) -> Plan:
    """The ground before anything is built: water, warp, noise and crowns."""
    rng = np.random.default_rng([seed, 1])
    extent = size * PIXEL_M
    count = max(1, round(extent / 600))
    lakes = np.stack(
        [
            rng.uniform(0.45, 0.85, count) * extent,
            (np.arange(count) + rng.uniform(0.3, 0.7, count)) / count * extent,
            rng.uniform(0.035, 0.055, count) * extent,
        ],
        axis=1,
    )
    phases = rng.uniform(0, 2 * np.pi, 7)
    shore = Shore(extent, lakes, (phases[0], phases[1], phases[2]))
    warp = Warp(extent, float(rng.uniform(0.12, 0.3)), (phases[3], phases[4], phases[5], phases[6]))
    noise = Noise(np.random.default_rng([seed, 2]), min(2048, size))
    plants = Plants.grow(np.random.default_rng([seed, 3]))
    return Plan(extent, rng, noise, plants, shore, warp, things=[shore])


def hedge(plan: Plan, points: NDArray[np.float64]) -> None:
    """A row of bushes with a tree here and there."""
    line = shapely.LineString(points)
    steps = np.arange(2, line.length - 2, 1.3)
    places = np.array([line.interpolate(at).coords[0] for at in steps]).reshape(-1, 2)
    places = places + plan.rng.normal(0, 0.35, places.shape)
    kept = plan.rng.random(len(places)) < 0.85
    plan.plant("bush", places[kept], (0.3, 1.0))
    plan.plant("broadleaf", places[plan.rng.random(len(places)) < 0.05], (0.1, 0.7))


def scatter(plan: Plan, frame: Frame, spacing: float, frayed: float = 0.0) -> NDArray[np.float64]:
    """Places all over a frame on a jittered grid, metres (n, 2), with edges that come and go by ``frayed`` metres."""
    a, b = np.meshgrid(np.arange(spacing / 2, frame.width, spacing), np.arange(spacing / 2, frame.depth, spacing))
    a, b = a.ravel(), b.ravel()
    edge = np.minimum.reduce([a, frame.width - a, b, frame.depth - b])
    a, b = a + plan.rng.uniform(-0.45, 0.45, a.size) * spacing, b + plan.rng.uniform(-0.45, 0.45, b.size) * spacing
    places = frame.points(a, b)
    return places[edge >= frayed * (1 + plan.noise.at(places, 3))] if frayed else places
