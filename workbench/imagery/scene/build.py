"""Builds the whole plan of a scene."""

from __future__ import annotations

from collections.abc import Callable

from workbench.imagery.scene.coast import coast
from workbench.imagery.scene.country import crops, farm, forest, meadow, orchard, pitch
from workbench.imagery.scene.industry import shop, solar_park, tank_farm
from workbench.imagery.scene.layout import divide, roads
from workbench.imagery.scene.plan import Frame, Plan, blank_plan
from workbench.imagery.scene.traffic import lay
from workbench.imagery.scene.village import village

_FILL: dict[str, Callable[[Plan, Frame], None]] = {
    "village": village,
    "tanks": tank_farm,
    "solar": solar_park,
    "parking": shop,
    "farm": farm,
    "forest": forest,
    "orchard": orchard,
    "pitch": pitch,
    "meadow": meadow,
    "field": crops,
    "water": meadow,
}


def build(size: int, seed: int) -> Plan:
    """Plan a scene of ``size`` pixels a side: divide the land, lay the roads, fill every cell and the coast."""
    plan = blank_plan(size, seed)
    cells = divide(plan)
    for road in roads(plan, cells):
        lay(plan, road)
    for cell in cells:
        _FILL[cell.use](plan, cell.frame.inset(5.0))
    coast(plan)
    plan.settle()
    return plan
