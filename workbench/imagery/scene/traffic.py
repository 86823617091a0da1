"""Vehicles and trailers on roads, drives and parking lots."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from workbench.imagery.scene.boats import HULLS, Boat
from workbench.imagery.scene.plan import Plan
from workbench.imagery.scene.roads import Road
from workbench.imagery.scene.vehicles import PAINTS, Vehicle


def lay(plan: Plan, road: Road) -> None:
    """Verge, surface, markings and traffic of a road."""
    rng = plan.rng
    if road.surface == "dirt":
        plan.add(road)
        return
    plan.pave(road)
    plan.add(replace(road, part="verge"), replace(road, part="markings"))
    points, marked = road.points, road.marked
    steps = np.hypot(*np.diff(points, axis=0).T)
    for k in range(len(steps)):
        if rng.random() < (0.18 if marked else 0.12):
            direction = points[k + 1] - points[k]
            unit = direction / steps[k]
            lane = 1 if rng.random() < 0.5 else -1
            x, y = points[k] + direction * rng.random() + lane * np.array([-unit[1], unit[0]]) * road.width * 0.24
            kind = str(rng.choice(["car", "van", "lorry"], p=[0.7, 0.16, 0.14]))
            park(plan, x, y, float(np.arctan2(unit[1], unit[0])), kind)


def park(plan: Plan, x: float, y: float, angle: float, kind: str) -> None:
    """Put a car, van, lorry or boat on its trailer there, facing either way."""
    rng = plan.rng
    if rng.random() < 0.5:
        angle += np.pi
    if kind == "boat":
        plan.place(
            Boat(x, y, angle, "boat on trailer", rng.uniform(0.85, 1.1), HULLS[rng.integers(0, 3)], plan.detail())
        )
        return
    paint = PAINTS[rng.integers(0, len(PAINTS))] if kind == "car" or rng.random() < 0.3 else (216, 216, 212)
    plan.place(Vehicle(x, y, angle, kind, paint, plan.detail()))
