"""What fills a cell or a stretch of coast: villages, tank farms, solar parks, marinas, farms, forests and fields."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from workbench.imagery.scene.buildings import Greenhouse, House
from workbench.imagery.scene.ground import CROPS, FIELD, FOREST, ROAD, Area, Field, Road
from workbench.imagery.scene.plan import Frame, Plan, blank_plan, divide, hedge, roads, scatter
from workbench.imagery.scene.things import BOATS, Boat, Panels, Tank, Vehicle

PITCHED_ROOFS = ("red tile", "old tile", "brown tile", "grey slate", "dark slate")
PAINTS = ((214, 214, 210), (60, 62, 66), (150, 152, 154), (120, 44, 42), (58, 76, 112), (88, 92, 94), (196, 190, 176))
HULLS = ((222, 221, 216), (226, 225, 220), (214, 216, 214), (70, 88, 128), (120, 56, 52), (60, 70, 78))


def build(size: int, seed: int) -> Plan:
    """Plan a scene of ``size`` pixels a side: divide the land, lay the roads, fill every cell and the coast."""
    plan = blank_plan(size, seed)
    cells = divide(plan)
    for road in roads(plan, cells):
        _lay(plan, road)
    for cell in cells:
        _FILL[cell.use](plan, cell.frame.inset(5.0))
    _coast(plan)
    return plan


def _village(plan: Plan, frame: Frame) -> None:
    middle = frame.depth / 2
    street = frame.points(np.linspace(-5, frame.width + 5, 9), middle)
    _lay(plan, Road(street, 5.2, "old asphalt", False, plan.detail()))
    plan.add(Area(frame.ring(0, 0, frame.width, frame.depth), "lawn", plan.detail(), ragged=0.5, mottle=0.10))
    rows = [middle - 15, middle + 15] + ([11.0, frame.depth - 11] if middle > 42 else [])
    for b in rows:
        a = 3.0
        while a < frame.width - 12:
            lot = plan.rng.uniform(16, 23)
            if a + lot > frame.width:
                break
            if plan.rng.random() < 0.93:
                _lot(plan, frame, a + lot / 2, b, lot, -1 if b < middle else 1)
            a += lot


def _lot(plan: Plan, frame: Frame, a: float, b: float, lot: float, side: int) -> None:
    rng = plan.rng
    x, y, angle = frame.at(a, b)
    shape = str(rng.choice(["gable", "hip", "flat", "l_shape", "terrace"], p=[0.4, 0.2, 0.14, 0.16, 0.1]))
    length, width = rng.uniform(10.5, min(15, lot - 3)), rng.uniform(8, 10.5)
    if shape == "terrace":
        length = lot - 0.6
    if rng.random() < 0.25 and shape != "terrace":
        length, width, angle = width + 1, min(length, 11), angle + np.pi / 2
    roof = str(rng.choice(PITCHED_ROOFS)) if shape != "flat" else str(rng.choice(["gravel", "white", "dark slate"]))
    angle += rng.normal(0, 0.05)
    house = House(x, y, angle, length, width, shape, roof, rng.uniform(3, 5.6), rng.uniform(0.55, 0.95), plan.detail())  # type: ignore[arg-type]
    plan.place(house)
    if rng.random() < 0.22:
        _roof_panels(plan, house)
    _garden(plan, frame, a, b, lot, side)


def _roof_panels(plan: Plan, house: House) -> None:
    columns, rows = int((house.length - 2) / 1.05), max(1, int((house.width / 2 - 0.8) / 1.7))
    if house.shape in ("flat", "hall"):
        for t in np.arange(-house.width / 2 + 2.5, house.width / 2 - 2, 3.2):
            x, y = _beside(house, 0, t)
            plan.place(Panels(x, y, house.angle, columns * 1.05, 1.7, "flat roof", house.eaves + 1.0, plan.detail()))
        return
    if house.shape == "hip":
        columns, rows = max(3, columns // 2), min(rows, 2)
    sunny = 1 if np.cos(house.angle) > 0 else -1
    kind = "roof blue" if plan.rng.random() < 0.5 else "roof black"
    if house.shape == "l_shape":
        columns = columns // 3
    x, y = _beside(house, 0, sunny * house.width / 4)
    plan.place(Panels(x, y, house.angle, columns * 1.05, rows * 1.7, kind, None, plan.detail()))


def _beside(house: House, s: float, t: float) -> tuple[float, float]:
    c, n = np.cos(house.angle), np.sin(house.angle)
    return house.x + s * c - t * n, house.y + s * n + t * c


def _garden(plan: Plan, frame: Frame, a: float, b: float, lot: float, side: int) -> None:
    """Drive, terrace, lawn of its own green, trees, and now and then a pool or a boat on its trailer."""
    rng = plan.rng
    drive = a + lot * 0.38
    lo, hi = sorted((b - side * 12.5, b + side * 2))
    plan.add(
        Area(
            frame.ring(drive - 1.7, lo, drive + 1.7, hi),
            str(rng.choice(["paving", "gravel", "old asphalt"])),
            plan.detail(),
        )
    )
    back = b + side * 7.5
    plan.add(Area(frame.ring(a - 4, back - 2, a + 3, back + 2), "paving", plan.detail()))
    if rng.random() < 0.6:
        x, y, angle = frame.at(drive, b - side * rng.uniform(7, 9))
        kind = str(rng.choice(["car", "van", "boat"], p=[0.72, 0.2, 0.08]))
        _park(plan, x, y, angle + np.pi / 2, kind)
    if rng.random() < 0.07:
        corners = frame.ring(a - 3, back + side * 3 - 2, a + 4, back + side * 3 + 2)
        plan.add(Area(corners, "pool", plan.detail(), layer=21))
    elif rng.random() < 0.06:
        x, y, _ = frame.at(a, back + side * 3)
        theta = np.linspace(0, 2 * np.pi, 24)
        ring = np.stack([x + 2.6 * np.cos(theta), y + 2.6 * np.sin(theta)], axis=1)
        plan.add(Area(ring, "pool", plan.detail(), layer=21))
    spots = np.array(
        [[a + rng.uniform(-0.5, 0.3) * lot, back + side * rng.uniform(2.5, 9)] for _ in range(rng.integers(1, 4))]
    )
    plan.plant("broadleaf", frame.points(spots[:, 0], spots[:, 1]), (0.0, 0.55))
    edge = np.arange(b - 8, b + 10, 1.2)
    if rng.random() < 0.6:
        plan.plant(
            "bush", frame.points(np.full_like(edge, a - lot / 2), edge) + rng.normal(0, 0.2, (len(edge), 2)), (0.0, 0.6)
        )


def _park(plan: Plan, x: float, y: float, angle: float, kind: str) -> None:
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


def _tanks(plan: Plan, frame: Frame) -> None:
    rng = plan.rng
    plan.add(Area(frame.ring(0, 0, frame.width, frame.depth), "gravel", plan.detail(), ragged=0.6, mottle=0.08))
    bund = min(36.0, (frame.width - 4) / 2, (frame.depth - 4) / 2)
    kinds = ["white cone", "grey cone", "rusty", "dome", "green cone", "floating roof"]
    for i in range(int((frame.width - 2) // bund)):
        for j in range(int((frame.depth - 2) // bund)):
            a, b = 2 + i * bund, 2 + j * bund
            plan.add(
                Area(
                    frame.ring(a + 1, b + 1, a + bund - 2, b + bund - 2),
                    "concrete",
                    plan.detail(),
                    layer=21,
                    mottle=0.05,
                )
            )
            plan.add(
                Area(
                    frame.ring(a + 2, b + 2, a + bund - 3, b + bund - 3),
                    str(rng.choice(["gravel", "lawn", "dirt"])),
                    plan.detail(),
                    layer=22,
                )
            )
            kind = str(rng.choice(kinds))
            if rng.random() < 0.6:
                x, y, _ = frame.at(a + bund / 2 - 0.5, b + bund / 2 - 0.5)
                plan.place(Tank(x, y, (bund - 8) * rng.uniform(0.6, 0.95), rng.uniform(8, 13), kind, plan.detail()))
                continue
            for k in range(4):
                if rng.random() < 0.85:
                    x, y, _ = frame.at(a + bund * (0.28 + 0.44 * (k % 2)), b + bund * (0.28 + 0.44 * (k // 2)))
                    plan.place(Tank(x, y, (bund - 8) * rng.uniform(0.3, 0.42), rng.uniform(6, 10), kind, plan.detail()))
    for at in rng.uniform(0, frame.width - 14, 2):
        x, y, angle = frame.at(at + 7, frame.depth - 0.5)
        _park(plan, x, y, angle, "lorry")


def _solar(plan: Plan, frame: Frame) -> None:
    rng = plan.rng
    plan.add(Area(frame.ring(0, 0, frame.width, frame.depth), "lawn", plan.detail(), ragged=0.6, mottle=0.12))
    kind = str(rng.choice(["ground blue", "ground black", "tracker"]))
    pitch = {"ground blue": 7.0, "ground black": 6.2, "tracker": 6.0}[kind]
    width = 2.0 if kind == "tracker" else 3.4
    for b in np.arange(6, frame.depth - 4, pitch):
        a = 4.0
        while a < frame.width - 8:
            length = min(rng.choice([14, 21, 28]) * 1.05, frame.width - 4 - a)
            if rng.random() < 0.95:
                x, y, angle = frame.at(a + length / 2, b)
                plan.place(Panels(x, y, angle, length - 0.8, width, kind, 1.6, plan.detail()))
            a += length + 0.6
    x, y, angle = frame.at(3, 3)
    plan.add(Greenhouse(x, y, angle, 5, 3, plan.detail()))
    hedge(plan, frame.points(np.linspace(0, frame.width, 9), -1.0))


def _parking(plan: Plan, frame: Frame) -> None:
    rng = plan.rng
    plan.add(Area(frame.ring(0, 0, frame.width, frame.depth), "asphalt", plan.detail(), ROAD, mottle=0.04))
    hall_depth = min(30.0, frame.depth * 0.4)
    x, y, angle = frame.at(frame.width / 2, hall_depth / 2 + 2)
    roof = str(rng.choice(["metal", "white", "gravel", "fibre cement"]))
    hall = House(x, y, angle, frame.width * 0.8, hall_depth, "hall", roof, rng.uniform(6, 9), 0.05, plan.detail())
    plan.place(hall)
    if rng.random() < 0.6:
        _roof_panels(plan, hall)
    for k, b in enumerate(np.arange(hall_depth + 10, frame.depth - 4, 8.5)):
        carport = k % 4 == 2 and rng.random() < 0.7
        for a in np.arange(4, frame.width - 4, 2.6):
            plan.add(Area(frame.ring(a - 1.35, b - 2.4, a - 1.23, b + 2.4), "concrete", 1, ROAD, layer=23))
            if not carport and rng.random() < 0.55:
                x, y, angle = frame.at(a, b)
                kind = str(rng.choice(["car", "van", "boat"], p=[0.82, 0.15, 0.03]))
                _park(plan, x, y, angle + np.pi / 2, kind)
        if carport:
            x, y, angle = frame.at(frame.width / 2, b)
            plan.place(Panels(x, y, angle, frame.width - 8, 5.1, "carport", 3.2, plan.detail()))


def _farm(plan: Plan, frame: Frame) -> None:
    rng = plan.rng
    _meadow(plan, frame)
    a0, b0 = frame.width * 0.2, frame.depth * 0.2
    plan.add(
        Area(frame.ring(a0, b0, frame.width * 0.8, frame.depth * 0.8), "concrete", plan.detail(), ragged=0.8, layer=21)
    )
    x, y, angle = frame.at(frame.width * 0.5, b0 + 6)
    plan.place(
        House(
            x,
            y,
            angle,
            min(34, frame.width * 0.5),
            14,
            "barn",
            str(rng.choice(["fibre cement", "metal", "brown tile"])),
            4.5,
            0.32,
            plan.detail(),
        )
    )
    x, y, angle = frame.at(a0 + 7, frame.depth * 0.62)
    plan.place(House(x, y, angle + np.pi / 2, 15, 10, "gable", "red tile", 4.5, 0.8, plan.detail()))
    for k in range(int(rng.integers(2, 4))):
        x, y, _ = frame.at(frame.width * 0.78, b0 + 4 + 6 * k)
        plan.add(Silo(x, y, rng.uniform(3.5, 5), 11, "dome", plan.detail()))
    if frame.width > 70:
        for k in range(2):
            x, y, angle = frame.at(frame.width * 0.6, frame.depth * 0.62 + 12 * k)
            plan.add(Greenhouse(x, y, angle, 30, 9.6, plan.detail()))


class Silo(Tank):
    """A slim silo: a look-alike of tanks, in no class."""

    klass = 0


def _forest(plan: Plan, frame: Frame) -> None:
    whole = frame.inset(-4.0)
    ring = whole.ring(0, 0, whole.width, whole.depth)
    plan.add(Area(ring, "forest floor", plan.detail(), FOREST, ragged=0.8))
    conifers = plan.rng.random() < 0.4
    plan.plant("conifer", scatter(plan, whole, 3.3, 0.95 if conifers else 0.12))
    if not conifers:
        plan.plant("broadleaf", scatter(plan, whole, 4.6, 0.95), (0.15, 1.0))
        plan.plant("bush", scatter(plan, whole, 6.0, 0.4), (0.5, 1.0))


def _orchard(plan: Plan, frame: Frame) -> None:
    plan.add(Area(frame.ring(0, 0, frame.width, frame.depth), "lawn", plan.detail(), FIELD, ragged=0.6))
    a, b = np.meshgrid(np.arange(4, frame.width - 3, 4.4), np.arange(4, frame.depth - 3, 6.0))
    kept = plan.rng.random(a.size) < 0.93
    places = frame.points(a.ravel()[kept], b.ravel()[kept])
    plan.plant("broadleaf", places + plan.rng.normal(0, 0.2, places.shape), (0.0, 0.15))


def _pitch(plan: Plan, frame: Frame) -> None:
    _meadow(plan, frame)
    length, width = min(100, frame.width - 10), min(64, frame.depth - 10)
    a, b = (frame.width - length) / 2, (frame.depth - width) / 2
    for k in range(10):
        lane = frame.ring(a + length * k / 10, b, a + length * (k + 1) / 10, b + width)
        plan.add(Area(lane, "pitch" if k % 2 else "lawn", plan.detail(), layer=21, mottle=0.04))
    for line in (
        (a, b, a + length, b + 0.3),
        (a, b + width, a + length, b + width + 0.3),
        (a, b, a + 0.3, b + width),
        (a + length, b, a + length + 0.3, b + width),
        (a + length / 2, b, a + length / 2 + 0.3, b + width),
    ):
        plan.add(Area(frame.ring(*line), "concrete", 3, layer=22))


def _meadow(plan: Plan, frame: Frame) -> None:
    plan.plant("broadleaf", scatter(plan, frame, 15, 0.25), (0.1, 0.9))
    plan.plant("bush", scatter(plan, frame, 9, 0.2))


def _field(plan: Plan, frame: Frame) -> None:
    rng = plan.rng
    strips = int(rng.integers(1, 4)) if frame.width > 60 else 1
    cuts = np.concatenate([[0], np.sort(rng.uniform(0.25, 0.75, strips - 1)), [1]]) * frame.width
    _, _, along = frame.at(frame.width / 2, frame.depth / 2)
    for a0, a1 in zip(cuts[:-1], cuts[1:], strict=True):
        if a1 - a0 > 12:
            ring = frame.ring(a0 + 0.6, 0, a1 - 0.6, frame.depth)
            crop = str(rng.choice(list(CROPS)))
            plan.add(Field(ring, crop, plan.detail(), FIELD, ragged=0.5, angle=along + np.pi / 2))


def _lay(plan: Plan, road: Road) -> None:
    """Verge, surface, markings and traffic of a road."""
    rng = plan.rng
    if road.surface == "dirt":
        plan.add(road)
        return
    points, width, surface, marked, detail = road.points, road.width, road.surface, road.marked, road.detail
    plan.add(
        Road(points, width, surface, marked, detail, "verge"),
        road,
        Road(points, width, surface, marked, detail, "markings"),
    )
    steps = np.hypot(*np.diff(points, axis=0).T)
    for k in range(len(steps)):
        if rng.random() < (0.18 if marked else 0.12):
            direction = points[k + 1] - points[k]
            unit = direction / steps[k]
            lane = 1 if rng.random() < 0.5 else -1
            x, y = points[k] + direction * rng.random() + lane * np.array([-unit[1], unit[0]]) * width * 0.24
            kind = str(rng.choice(["car", "van", "lorry"], p=[0.7, 0.16, 0.14]))
            _park(plan, x, y, float(np.arctan2(unit[1], unit[0])), kind)


def _coast(plan: Plan) -> None:
    count = max(1, round(plan.extent / 270))
    for y in (np.arange(count) + 0.5) / count * plan.extent * 0.88 + 0.06 * plan.extent:
        y = float(y + plan.rng.uniform(-0.1, 0.1) * plan.extent / count)
        x = float(plan.shore.coast(np.array(y)))
        slope = float(plan.shore.coast(np.array(y + 2)) - plan.shore.coast(np.array(y - 2))) / 4
        _marina(plan, Frame(None, x, y, 0, 0, float(np.arctan2(slope, -1) * -1)), x)


def _marina(plan: Plan, shore: Frame, room: float) -> None:
    """Jetties straight out from the coast (``a`` runs to sea) with boats on both sides, and a quay with trailers."""
    rng = plan.rng
    reach, jetties = min(80.0, 0.62 * room), 1 if plan.extent < 300 else int(rng.integers(2, 5))
    for k in range(jetties):
        b = (k - (jetties - 1) / 2) * 42.0
        plan.add(Area(shore.ring(-12, b - 1.0, reach, b + 1.0), "wood", plan.detail(), layer=40))
        a = 9.0
        while a < reach - 1:
            kind = str(rng.choice(list(BOATS)[:6], p=[0.34, 0.2, 0.18, 0.1, 0.1, 0.08]))
            scale = rng.uniform(0.82, 1.12)
            length, beam = BOATS[kind][0] * scale, BOATS[kind][1] * scale
            for side in (-1, 1):
                if rng.random() < 0.88:
                    x, y, angle = shore.at(a + beam / 2, b + side * (1.4 + length / 2))
                    turned = angle + side * np.pi / 2 + (np.pi if rng.random() < 0.3 else 0)
                    plan.place(
                        Boat(
                            x,
                            y,
                            turned + rng.normal(0, 0.03),
                            kind,
                            scale,
                            HULLS[rng.integers(0, len(HULLS))],
                            plan.detail(),
                        )
                    )
            a += beam + rng.uniform(0.6, 1.4)
    half = jetties * 21.0
    plan.add(Area(shore.ring(-26, -half, -9, half), "concrete", plan.detail(), ragged=0.6, layer=40))
    for b in np.arange(-half + 3, half - 3, 4.5):
        if rng.random() < 0.5:
            x, y, angle = shore.at(-20, b)
            _park(plan, x, y, angle, str(rng.choice(["car", "van", "boat"], p=[0.4, 0.3, 0.3])))


_FILL: dict[str, Callable[[Plan, Frame], None]] = {
    "village": _village,
    "tanks": _tanks,
    "solar": _solar,
    "parking": _parking,
    "farm": _farm,
    "forest": _forest,
    "orchard": _orchard,
    "pitch": _pitch,
    "meadow": _meadow,
    "field": _field,
    "water": _meadow,
}
