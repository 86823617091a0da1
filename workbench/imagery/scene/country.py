"""Farms, forests, orchards, pitches, meadows and fields."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from workbench.imagery.scene.buildings import Greenhouse, House
from workbench.imagery.scene.ground import CROPS, FIELD, FOREST, Area, Field
from workbench.imagery.scene.plan import Frame, Plan, scatter
from workbench.imagery.scene.tanks import Silo


def farm(plan: Plan, frame: Frame) -> None:
    """A yard with a barn, a house, silos and, where there is room, greenhouses."""
    rng, width, depth = plan.rng, frame.width, frame.depth
    yard = frame.ring(width * 0.2, depth * 0.2, width * 0.8, depth * 0.8)
    plan.pave(Area(yard, "concrete", plan.detail(), ragged=0.8, layer=21))
    for a, b in ((0.08, 0.5), (0.92, 0.5), (0.5, 0.93)):
        places = scatter(plan, Frame(frame.warp, frame.u + a * width - 8, frame.v + b * depth - 8, 16, 16), 6)
        plan.plant("broadleaf", places[::2], (0.2, 0.9))
    x, y, angle = frame.at(width * 0.46, depth * 0.2 + 8)
    roof = plan.deal(("fibre cement", "metal", "brown tile"))
    plan.place(House(x, y, angle, min(34, width * 0.5), 14, "barn", roof, 4.5, 0.32, plan.detail()))
    x, y, angle = frame.at(width * 0.2 + 7, depth * 0.68)
    plan.place(House(x, y, angle + np.pi / 2, 15, 10, "gable", "red tile", 4.5, 0.8, plan.detail()))
    for k in range(int(rng.integers(2, 4))):
        x, y, _ = frame.at(width * 0.46 + min(17, width * 0.25) + 4, depth * 0.2 + 4 + 6 * k)
        plan.add(Silo(x, y, rng.uniform(3.5, 5), 11, "dome", plan.detail()))
    if width > 70:
        for k in range(2):
            x, y, angle = frame.at(width * 0.6, depth * 0.62 + 12 * k)
            plan.add(Greenhouse(x, y, angle, 30, 9.6, plan.detail()))


def forest(plan: Plan, frame: Frame) -> None:
    """A closed canopy with an uneven edge: stands of conifers in broadleaved wood, bushes below."""
    whole = frame.inset(-4.0)
    floor = whole.inset(3.0)
    plan.add(Area(floor.ring(0, 0, floor.width, floor.depth), "forest floor", plan.detail(), FOREST, ragged=1.0))
    places = scatter(plan, whole, 3.4, frayed=2.0)
    stand = plan.noise.at(places, 1) + 0.25 * plan.rng.standard_normal(len(places)) > 0.45
    plan.plant("conifer", places[stand])
    places = scatter(plan, whole, 4.6, frayed=2.5)
    stand = plan.noise.at(places, 1) + 0.25 * plan.rng.standard_normal(len(places)) < 0.5
    plan.plant("broadleaf", places[stand & (plan.rng.random(len(places)) < 0.96)], (0.15, 1.0))
    plan.plant("bush", scatter(plan, whole, 4.0, frayed=0.5), (0.4, 1.0))


def orchard(plan: Plan, frame: Frame) -> None:
    """Small trees in rows."""
    plan.add(Area(frame.ring(0, 0, frame.width, frame.depth), "lawn", plan.detail(), FIELD, ragged=0.6))
    a, b = np.meshgrid(np.arange(4, frame.width - 3, 4.4), np.arange(4, frame.depth - 3, 6.0))
    kept = plan.rng.random(a.size) < 0.93
    places = frame.points(a.ravel()[kept], b.ravel()[kept])
    plan.plant("broadleaf", places + plan.rng.normal(0, 0.2, places.shape), (0.0, 0.15))


def pitch(plan: Plan, frame: Frame) -> None:
    """A football pitch mown in stripes."""
    meadow(plan, Frame(frame.warp, frame.u, frame.v, frame.width, 8))
    length, width = min(100, frame.width - 10), min(64, frame.depth - 20)
    a, b = (frame.width - length) / 2, (frame.depth - width) / 2 + 5
    for k in range(10):
        lane = frame.ring(a + length * k / 10, b, a + length * (k + 1) / 10, b + width)
        plan.add(Area(lane, "pitch" if k % 2 else "lawn", 7, layer=21, mottle=0.04))
    for at in (0.0, 0.5, 1.0):
        line = frame.ring(a + length * at - 0.1, b, a + length * at + 0.1, b + width)
        plan.add(Area(line, "marking", 3, layer=22))
    for at in (b, b + width):
        plan.add(Area(frame.ring(a, at - 0.1, a + length, at + 0.1), "marking", 3, layer=22))


def meadow(plan: Plan, frame: Frame) -> None:
    """Rough grass with trees in groups and bushes around them."""
    for kind, spacing, above in (("broadleaf", 6.0, 1.25), ("bush", 3.5, 1.1)):
        places = scatter(plan, frame, spacing)
        grown = plan.noise.at(places, 2) + 0.5 * plan.rng.standard_normal(len(places)) > above
        plan.plant("bush" if kind == "bush" else "broadleaf", places[grown], (0.1, 1.0))


def crops(plan: Plan, frame: Frame) -> None:
    """One to four fields side by side, cut one way or the other."""
    rng = plan.rng
    across = rng.random() < 0.5
    extent = frame.depth if across else frame.width
    strips = int(rng.integers(1, 5)) if extent > 60 else 1
    cuts = np.concatenate([[0], np.sort(rng.uniform(0.2, 0.8, strips - 1)), [1]]) * extent
    _, _, angle = frame.at(frame.width / 2, frame.depth / 2)
    for low, high in pairwise(cuts):
        if high - low < 10:
            continue
        low, high = low + 0.5, high - 0.5
        ring = frame.ring(0, low, frame.width, high) if across else frame.ring(low, 0, high, frame.depth)
        along = angle if across else angle + np.pi / 2
        plan.add(Field(ring, plan.deal(tuple(CROPS)), plan.detail(), FIELD, ragged=0.6, angle=along))
