"""Tank farms, solar parks and shops with their parking lots."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np

from workbench.imagery.scene.buildings import Greenhouse, House
from workbench.imagery.scene.ground import ROAD, Area
from workbench.imagery.scene.panels import Panels
from workbench.imagery.scene.plan import Frame, Plan, hedge
from workbench.imagery.scene.tanks import TANKS, Tank
from workbench.imagery.scene.traffic import park
from workbench.imagery.scene.village import roof_panels


def tank_farm(plan: Plan, frame: Frame) -> None:
    """Square bunds, each with one large tank or four small ones of the same kind."""
    rng = plan.rng
    plan.pave(Area(frame.ring(0, 0, frame.width, frame.depth), "gravel", plan.detail(), ragged=0.6, mottle=0.08))
    across, down = (max(1, int((extent - 2) // 31)) for extent in (frame.width, frame.depth))
    bund = Frame(frame.warp, frame.u, frame.v, (frame.width - 2) / across, (frame.depth - 2) / down)
    for i, j in product(range(across), range(down)):
        shift = (frame.u + 1 + i * bund.width, frame.v + 1 + j * bund.depth)
        _bund(plan, replace(bund, u=shift[0], v=shift[1]).inset(1.0))
    for at in rng.uniform(7, frame.width - 7, 2):
        x, y, angle = frame.at(at, frame.depth + 2)
        park(plan, x, y, angle, "lorry")


def _bund(plan: Plan, bund: Frame) -> None:
    rng = plan.rng
    floor = bund.inset(1.0)
    plan.add(Area(bund.ring(0, 0, bund.width, bund.depth), "concrete", plan.detail(), layer=21, mottle=0.05))
    ground = plan.deal(("gravel", "lawn", "dirt"))
    plan.add(Area(floor.ring(0, 0, floor.width, floor.depth), ground, plan.detail(), layer=22))
    kind, side = plan.deal(tuple(TANKS)), min(floor.width, floor.depth)
    if rng.random() < 0.55:
        x, y, _ = floor.at(floor.width / 2, floor.depth / 2)
        plan.place(Tank(x, y, side * rng.uniform(0.5, 0.85), rng.uniform(8, 13), kind, plan.detail()))
        return
    for u, v in product((0.26, 0.74), repeat=2):
        if rng.random() < 0.9:
            x, y, _ = floor.at(floor.width * u, floor.depth * v)
            plan.place(Tank(x, y, side * rng.uniform(0.28, 0.40), rng.uniform(6, 10), kind, plan.detail()))


def solar_park(plan: Plan, frame: Frame) -> None:
    """Long tables of modules on grass behind a hedge, in one of three makes."""
    rng = plan.rng
    plan.add(Area(frame.ring(0, 0, frame.width, frame.depth), "lawn", plan.detail(), ragged=0.6, mottle=0.12))
    kind = plan.deal(("ground blue", "ground black", "tracker"))
    pitch, width = {"ground blue": (7.0, 3.4), "ground black": (6.2, 3.4), "tracker": (5.0, 2.0)}[kind]
    for b in np.arange(7, frame.depth - 4, pitch):
        a = 4.0
        while a < frame.width - 8:
            length = min(float(rng.choice([14, 21, 28])) * 1.05, frame.width - 4 - a)
            if rng.random() < 0.95:
                x, y, angle = frame.at(a + length / 2, b)
                plan.place(Panels(x, y, angle, length - 0.8, width, kind, 1.6, plan.detail()))
            a += length + 0.6
    x, y, angle = frame.at(4, 3)
    plan.add(Greenhouse(x, y, angle, 5, 3, plan.detail()))
    hedge(plan, frame.points(np.linspace(0, frame.width, 9), -1.0))


def shop(plan: Plan, frame: Frame) -> None:
    """A hall and its parking lot, some of it under solar carports."""
    rng = plan.rng
    plan.add(Area(frame.ring(0, 0, frame.width, frame.depth), "asphalt", plan.detail(), ROAD, mottle=0.04))
    deep = min(30.0, frame.depth * 0.4)
    x, y, angle = frame.at(frame.width / 2, deep / 2 + 2)
    roof = plan.deal(("metal", "white", "gravel", "fibre cement"))
    hall = House(x, y, angle, frame.width * 0.8, deep, "hall", roof, rng.uniform(6, 9), 0.05, plan.detail())
    plan.place(hall)
    if rng.random() < 0.6:
        roof_panels(plan, hall)
    for k, b in enumerate(np.arange(deep + 10, frame.depth - 4, 8.5)):
        if k % 3 == 1 and rng.random() < 0.7:
            x, y, angle = frame.at(frame.width / 2, b)
            plan.place(Panels(x, y, angle, frame.width - 8, 5.1, "carport", 3.2, plan.detail()))
        else:
            _bays(plan, frame, float(b))


def _bays(plan: Plan, frame: Frame, b: float) -> None:
    """A row of marked bays, about half of them taken; a strip of trees at either end."""
    for a in np.arange(6, frame.width - 6, 2.6):
        plan.add(Area(frame.ring(a - 1.35, b - 2.4, a - 1.15, b + 2.4), "marking", 1, ROAD, layer=23))
        if plan.rng.random() < 0.55:
            x, y, angle = frame.at(float(a), b)
            kind = str(plan.rng.choice(["car", "van", "boat"], p=[0.82, 0.15, 0.03]))
            park(plan, x, y, angle + np.pi / 2, kind)
    plan.plant("broadleaf", frame.points(np.array([2.0, frame.width - 2.0]), b), (0.1, 0.4))
