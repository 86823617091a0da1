"""Marinas along the coast and landing stages on the lakes."""

from __future__ import annotations

from math import atan2, cos, pi, sin

import numpy as np

from workbench.imagery.scene.boats import BOATS, HULLS, Boat
from workbench.imagery.scene.ground import Area
from workbench.imagery.scene.plan import Frame, Plan
from workbench.imagery.scene.traffic import park

_AFLOAT = ("sailing yacht", "sailing yacht", "motor boat", "cabin cruiser", "fishing boat", "dinghy", "house boat")


def coast(plan: Plan) -> None:
    """Marinas at even distances on the sea, each square to the coast; a stage on every lake that is large enough."""
    count = max(1, round(plan.extent / 270))
    for share in (np.arange(count) + plan.rng.uniform(0.4, 0.6, count)) / count:
        y = float(0.05 + 0.9 * share) * plan.extent
        before, x, after = (float(plan.shore.coast(np.array(at))) for at in (y - 15, y, y + 15))
        shore = Frame(None, x, y, 0, 0, atan2((after - before) / 30, -1))
        jetties = int(plan.rng.integers(2, 5)) if plan.extent > 300 else 1
        _marina(plan, shore, min(80.0, 0.62 * x), jetties)
    for x, y, radius in plan.shore.lakes[plan.shore.lakes[:, 2] > 40]:
        turn = plan.rng.uniform(0, 2 * pi)
        out = radius
        while plan.shore.offshore(np.array(x + out * cos(turn)), np.array(y + out * sin(turn))) > 0:
            out += 1
        while plan.shore.offshore(np.array(x + out * cos(turn)), np.array(y + out * sin(turn))) < 0:
            out -= 1
        shore = Frame(None, x + out * cos(turn), y + out * sin(turn), 0, 0, turn + pi)
        _marina(plan, shore, 0.7 * radius, 1)


def _marina(plan: Plan, shore: Frame, reach: float, jetties: int) -> None:
    """Jetties straight out from the shore (``a`` runs to sea), and a quay where cars and trailers stand."""
    for k in range(jetties):
        _jetty(plan, shore, (k - (jetties - 1) / 2) * 42.0, reach * plan.rng.uniform(0.85, 1.0))
    half = jetties * 21.0
    if not plan.on_land(shore.points(-16, np.array([-half, 0, half])), 2.0):
        half = 8.0
    plan.pave(Area(shore.ring(-26, -half, -9, half), "concrete", plan.detail(), ragged=0.6, layer=26))
    for b in np.arange(-half + 3, half - 2, 4.0):
        if plan.rng.random() < 0.6:
            x, y, angle = shore.at(-20, float(b))
            park(plan, x, y, angle, str(plan.rng.choice(["car", "van", "boat"], p=[0.4, 0.25, 0.35])))


def _jetty(plan: Plan, shore: Frame, b: float, reach: float) -> None:
    rng = plan.rng
    start = -12.0
    plan.add(Area(shore.ring(start, b - 1.0, reach, b + 1.0), "wood", plan.detail(), layer=40))
    a = 3.0
    while a < reach - 2:
        kind, scale = plan.deal(_AFLOAT), rng.uniform(0.82, 1.12)
        length, beam = BOATS[kind][0] * scale, BOATS[kind][1] * scale
        for side in (-1, 1):
            x, y, angle = shore.at(a + beam / 2, b + side * (1.4 + length / 2))
            afloat = plan.shore.offshore(np.array(x), np.array(y)) > 5
            if afloat and rng.random() < 0.88:
                turned = angle + side * pi / 2 + (pi if rng.random() < 0.3 else 0) + rng.normal(0, 0.03)
                hull = HULLS[int(rng.integers(0, len(HULLS)))]
                plan.place(Boat(x, y, turned, kind, scale, hull, plan.detail()))
        a += beam + rng.uniform(0.5, 1.3)
