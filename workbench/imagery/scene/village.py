"""Villages: streets of lots with a house, a drive and a garden each."""

from __future__ import annotations

import numpy as np

from workbench.imagery.scene.buildings import House, RoofShape
from workbench.imagery.scene.ground import Area, circle
from workbench.imagery.scene.panels import Panels
from workbench.imagery.scene.plan import Frame, Plan
from workbench.imagery.scene.roads import Road
from workbench.imagery.scene.traffic import lay, park

_SHAPES: tuple[RoofShape, ...] = (
    "gable",
    "gable",
    "hip",
    "gable",
    "l_shape",
    "hip",
    "flat",
    "gable",
    "l_shape",
    "terrace",
)
_TILES = ("red tile", "red tile", "old tile", "brown tile", "grey slate", "dark slate")
_FLAT = ("gravel", "white", "dark slate")


def village(plan: Plan, frame: Frame) -> None:
    """A street through the middle with lots on both sides, and where there is room a row along either edge."""
    plan.add(Area(frame.ring(0, 0, frame.width, frame.depth), "lawn", plan.detail(), ragged=0.5, mottle=0.10))
    middle = frame.depth / 2
    street = frame.points(np.linspace(-5, frame.width + 5, 9), middle)
    lay(plan, Road(street, 5.2, "old asphalt", False, plan.detail()))
    rows = [(middle - 15, -1), (middle + 15, 1)]
    if middle > 42:
        rows += [(11.0, 1), (frame.depth - 11, -1)]
    for b, away in rows:
        a = 2.0
        while (lot := plan.rng.uniform(16, 23)) < frame.width - a:
            if plan.rng.random() < 0.94:
                _lot(plan, frame, a + lot / 2, b, lot, away)
            a += lot


def _lot(plan: Plan, frame: Frame, a: float, b: float, lot: float, away: int) -> None:
    """One house at (a, b); ``away`` is the sign of b's direction from the street to the garden."""
    rng = plan.rng
    b += rng.uniform(-1.5, 1.5)
    x, y, angle = frame.at(a, b)
    shape = _SHAPES[int(plan.deal([str(k) for k in range(len(_SHAPES))]))]
    length, width = rng.uniform(10.5, min(15, lot - 3)), rng.uniform(8, 10.5)
    if shape == "terrace":
        length = lot - 0.6
    elif rng.random() < 0.25:
        length, width, angle = width + 1, min(length, 11), angle + np.pi / 2
    roof = plan.deal(_FLAT if shape == "flat" else _TILES)
    eaves, pitch = rng.uniform(3, 5.6), rng.uniform(0.55, 0.95)
    house = House(x, y, angle + rng.normal(0, 0.05), length, width, shape, roof, eaves, pitch, plan.detail())
    plan.place(house)
    if rng.random() < 0.22:
        roof_panels(plan, house)
    _drive(plan, frame, a + lot * 0.38, b, away)
    _garden(plan, frame, a, b + away * 7.5, lot, away)


def roof_panels(plan: Plan, house: House) -> None:
    """Modules on the sunny side of a pitched roof, or in rows all over a flat one."""
    columns, rows = int((house.length - 2) / 1.05), max(1, int((house.width / 2 - 0.8) / 1.7))
    if house.shape in ("flat", "hall"):
        for t in np.arange(-house.width / 2 + 2.5, house.width / 2 - 2, 3.2):
            x, y = house.point(0, t)
            plan.place(Panels(x, y, house.angle, columns * 1.05, 1.7, "flat roof", house.eaves + 1.0, plan.detail()))
        return
    if house.shape == "hip":
        columns, rows = max(3, columns // 2), min(rows, 2)
    elif house.shape == "l_shape":
        columns = columns // 3
    sunny = 1 if np.cos(house.angle) > 0 else -1
    x, y = house.point(0, sunny * house.width / 4)
    kind = plan.deal(("roof blue", "roof black"))
    plan.place(Panels(x, y, house.angle, columns * 1.05, rows * 1.7, kind, None, plan.detail()))


def _drive(plan: Plan, frame: Frame, a: float, b: float, away: int) -> None:
    rng = plan.rng
    near, far = sorted((b - away * 12.5, b + away * 2))
    paving = str(rng.choice(["paving", "gravel", "old asphalt"]))
    plan.pave(Area(frame.ring(a - 1.7, near, a + 1.7, far), paving, plan.detail()))
    if rng.random() < 0.6:
        x, y, angle = frame.at(a, b - away * rng.uniform(7, 9))
        park(plan, x, y, angle + np.pi / 2, str(rng.choice(["car", "van", "boat"], p=[0.73, 0.2, 0.07])))


def _garden(plan: Plan, frame: Frame, a: float, b: float, lot: float, away: int) -> None:
    """A terrace, trees, a hedge, and now and then a pool: square ones look like skylights, round ones like tanks."""
    rng = plan.rng
    plan.add(Area(frame.ring(a - 4, b - 2, a + 3, b + 2), "paving", plan.detail()))
    luck = rng.random()
    if luck < 0.07:
        pool = frame.ring(a - 3, b + away * 5 - 2, a + 4, b + away * 5 + 2)
        plan.add(Area(pool, "pool", plan.detail(), layer=21))
    elif luck < 0.13:
        x, y, _ = frame.at(a, b + away * 4)
        plan.add(Area(circle(x, y, 3.0), "concrete", plan.detail(), layer=21))
        plan.add(Area(circle(x, y, 2.6), "pool", plan.detail(), layer=22))
    count = int(rng.integers(2, 6))
    spots = a + rng.uniform(-0.48, 0.42, count) * lot, b + away * rng.uniform(2.5, 9, count)
    plan.plant("broadleaf", frame.points(*spots), (0.0, 0.5))
    spots = a + rng.uniform(-0.5, 0.5, 7) * lot, b + away * rng.uniform(1, 9, 7)
    plan.plant("bush", frame.points(*spots))
    if rng.random() < 0.6:
        along = b + away * np.arange(-8, 9, 1.2)
        places = frame.points(np.full_like(along, a - lot / 2), along)
        plan.plant("bush", places + rng.normal(0, 0.2, places.shape), (0.0, 0.6))
