"""Divides the land into cells, gives each a use, and lays roads between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workbench.imagery.scene.plan import Frame, Plan, hedge
from workbench.imagery.scene.roads import Road

USES: dict[str, float] = {
    "tanks": 0.055,
    "solar": 0.045,
    "village": 0.16,
    "parking": 0.035,
    "farm": 0.045,
    "forest": 0.15,
    "orchard": 0.03,
    "pitch": 0.02,
    "meadow": 0.12,
}
"""Share of the cells on land that each use takes, in order of precedence; the rest are fields."""


@dataclass(frozen=True)
class Cell:
    """One cell of the grid and its use ("water" where it touches the sea or a lake)."""

    row: int
    col: int
    frame: Frame
    use: str


def divide(plan: Plan) -> list[Cell]:
    """Cut the plan into cells and give each a use; every use comes to the upper and the lower half if there is room."""
    count = max(4, round(plan.extent / (60 + plan.extent / 25)))
    step = plan.extent / count
    over = max(1, round(0.25 * count))
    lines = [np.cumsum(step * plan.rng.uniform(0.7, 1.3, count + 2 * over + 1)) - (over + 0.5) * step for _ in range(2)]
    cells = []
    for row, (v0, v1) in enumerate(zip(lines[1][:-1], lines[1][1:], strict=True)):
        for col, (u0, u1) in enumerate(zip(lines[0][:-1], lines[0][1:], strict=True)):
            frame = Frame(plan.warp, u0, v0, u1 - u0, v1 - v0)
            ring = frame.ring(0, 0, frame.width, frame.depth)
            if ring.max() > 0 and ring.min(axis=0).max() < plan.extent and ring.max(axis=0).min() > 0:
                cells.append(Cell(row, col, frame, "" if plan.on_land(ring, 2.0) else "water"))
    return _assign(plan, cells)


def _assign(plan: Plan, cells: list[Cell]) -> list[Cell]:
    margin = 0.05 * plan.extent
    centre = {cell: cell.frame.points(cell.frame.width / 2, cell.frame.depth / 2) for cell in cells}
    free = [c for c in cells if c.use == "" and margin < centre[c].min() and centre[c].max() < plan.extent - margin]
    order = [free[i] for i in plan.rng.permutation(len(free))]
    uses: dict[Cell, str] = {}
    for use, share in USES.items():
        for turn in range(max(1, round(share * len(free)))):
            left = [cell for cell in order if cell not in uses]
            half = [c for c in left if (centre[c][1] > plan.extent / 2) == (turn % 2 == 1)] or left
            taken = [centre[c] for c, u in uses.items() if u == use]
            if half:
                uses[_next(use, half, taken, centre)] = use
    return [Cell(c.row, c.col, c.frame, c.use or uses.get(c, "field")) for c in cells]


def _next(
    use: str, cells: list[Cell], taken: list[NDArray[np.float64]], centre: dict[Cell, NDArray[np.float64]]
) -> Cell:
    """Far from its own kind, so that sites are spread; villages and forests grow in clusters of about five."""
    if not taken:
        return cells[0]
    gaps = np.array([min(np.hypot(*(centre[c] - other)) for other in taken) for c in cells])
    clustered = use in ("village", "forest") and len(taken) >= 6
    return cells[int(gaps.argmin() if clustered else gaps.argmax())]


def roads(plan: Plan, cells: list[Cell]) -> list[Road]:
    """Roads along the cells' upper and left sides: country roads, streets beside what is built, tracks elsewhere."""
    built = {(c.row, c.col) for c in cells if c.use in ("village", "parking", "tanks", "farm", "solar")}
    found = []
    for cell in cells:
        frame = cell.frame
        for ends, line, other in (
            ((0, 0, frame.width, 0), cell.row, (cell.row - 1, cell.col)),
            ((0, 0, 0, frame.depth), cell.col, (cell.row, cell.col - 1)),
        ):
            points = frame.points(np.linspace(ends[0], ends[2], 9), np.linspace(ends[1], ends[3], 9))
            if not plan.on_land(points, 5.0):
                continue
            detail = plan.detail()
            if line % 4 == 1:
                found.append(Road(points, 7.0, "asphalt", True, detail))
            elif (cell.row, cell.col) in built or other in built:
                found.append(Road(points, 5.4, "old asphalt", False, detail))
            elif detail % 10 < 5:
                found.append(Road(points, 3.4, "dirt", False, detail))
            elif detail % 10 < 8:
                hedge(plan, points)
    return found
