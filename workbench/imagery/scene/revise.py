"""What changes on the ground between two flights: some things go, and others like them come elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from workbench.imagery.scene.boats import BOAT
from workbench.imagery.scene.buildings import HOUSE
from workbench.imagery.scene.panels import PANEL
from workbench.imagery.scene.plan import Plan, Truth
from workbench.imagery.scene.tanks import TANK

CHANGING = (HOUSE, BOAT, TANK, PANEL)
_GAP_M, _EDGE_M = 4.0, 30.0
_TRIES = 2000


@dataclass(frozen=True)
class Change:
    """A thing that one flight saw and the other did not.

    Attributes:
        klass: of the thing, its value in the mask.
        kind: ``gone`` or ``new``.
        outline: footprint in scene metres.
    """

    klass: int
    kind: str
    outline: BaseGeometry


def revise(plan: Plan, count: int, rng: np.random.Generator) -> list[Change]:
    """Change a plan: half of ``count`` things are taken away, and others are copied to free ground or open water.

    What stood on a building that goes, goes with it. Vehicles stay where they are: nobody looks for those that moved.

    Args:
        plan: to be changed.
        count: how many things change, as far as there are any and there is room.
        rng: which, and where to.
    """
    things = [thing for thing in plan.truth if thing.klass in CHANGING]
    drawn = [things[number] for number in rng.permutation(len(things))]
    gone = drawn[: count // 2]
    patterns = [thing for thing in drawn[count // 2 :] if getattr(thing, "high", 0.0) is not None]
    taken = shapely.STRtree([thing.outline().buffer(_GAP_M) for thing in plan.truth])
    new = _copies(plan, patterns, count - len(gone), taken, rng)
    under = shapely.union_all([thing.outline().buffer(0.5) for thing in gone])
    gone += [thing for thing in plan.truth if thing not in gone and under.covers(thing.outline())]
    lost = {id(thing) for thing in gone}
    plan.truth = [thing for thing in plan.truth if id(thing) not in lost]
    plan.things = [thing for thing in plan.things if id(thing) not in lost]
    for thing in new:
        plan.place(thing)
    plan.settle()
    marked = [*((thing, "gone") for thing in gone), *((thing, "new") for thing in new)]
    return [Change(thing.klass, kind, thing.outline()) for thing, kind in marked]


def _copies(
    plan: Plan, patterns: list[Truth], count: int, taken: shapely.STRtree, rng: np.random.Generator
) -> list[Truth]:
    """At most ``count`` copies of things, each in a place of its own that suits it."""
    found: list[Truth] = []
    outlines: list[BaseGeometry] = []
    for attempt in range(_TRIES * bool(patterns)):
        if len(found) == count:
            break
        x, y = rng.uniform(_EDGE_M, plan.extent - _EDGE_M, 2).tolist()
        copy = cast(Truth, replace(cast(Any, patterns[attempt % len(patterns)]), x=x, y=y))
        outline = copy.outline().buffer(_GAP_M)
        corners = np.array(outline.exterior.coords) if hasattr(outline, "exterior") else np.array([[x, y]])
        suits = plan.afloat(corners) if copy.klass == BOAT else plan.on_land(corners) and plan.is_unpaved(outline)
        if suits and not len(taken.query(outline, "intersects")) and not any(map(outline.intersects, outlines)):
            found.append(copy)
            outlines.append(outline)
    return found
