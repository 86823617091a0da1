"""The simulated analyst pays for what she does, sees what she is shown, and her maps are judged on ground kept aside."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
from rasterio.features import rasterize
from shapely import affinity, box
from small_archives import MeanColour
from small_rasters import write_raster

from workbench.descriptors.build import build_archive
from workbench.imagery.opening import open_imagery
from workbench.imagery.rasters import Raster
from workbench.jobs import Progress
from workbench.session import Session

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
WIDTH, HEIGHT = 384, 768


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in ("loop", "outlining", "polygons"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr("workbench.segmentation.loop.STEPS_PER_EPOCH", (7, 7))


@pytest.fixture
def houses() -> np.ndarray:
    chance = np.random.default_rng(0)
    corners = [(x, y) for x in range(10, WIDTH - 60, 70) for y in range(10, HEIGHT - 60, 70)]
    return np.array([box(x, y, x + chance.integers(20, 44), y + chance.integers(20, 44)) for x, y in corners], object)


@pytest.fixture
def imagery(tmp_path: Path, houses: np.ndarray) -> Path:
    """Red roofs on a green field."""
    truth = rasterize(houses, (HEIGHT, WIDTH))
    colours = np.array([[60, 160, 60], [190, 90, 80]], np.uint8)
    noise = np.random.default_rng(1).normal(0, 8, (3, HEIGHT, WIDTH))
    pixels = np.clip(colours[truth].transpose(2, 0, 1) + noise, 0, 255).astype(np.uint8)
    return write_raster(tmp_path / "town.tif", pixels)


def on_ground(raster: Raster, shapes: np.ndarray) -> gpd.GeoDataFrame:
    frame = gpd.GeoDataFrame(geometry=[raster.from_pixels(shape) for shape in shapes], crs=raster.crs)
    return frame.assign(**{"class": "house"})


@pytest.fixture
def session(tmp_path: Path, imagery: Path) -> Iterator[Session]:
    archive = build_archive(
        imagery, tmp_path / "archive", tile=128, stride=64, encoder=MeanColour(), progress=Progress()
    )
    made = Session(archive, tmp_path / "labels")
    yield made
    made.close()


PRICES = {"marks": 2, "outlines": 10, "accepted": 3, "rejected": 2, "complete": 5}


@pytest.mark.parametrize("order", ["workbench", "random"])
def test_every_action_is_paid_and_no_time_is_overdrawn(session: Session, houses: np.ndarray, order: str) -> None:
    from outlining import Analyst

    analyst = Analyst(session, houses, "house", order)
    assert analyst.seconds == 0 and not session.store.labels()
    for minutes in (0.5, 2, 5, 200):
        analyst.work_until(60 * minutes)
        assert analyst.seconds <= 60 * minutes
        assert analyst.seconds == sum(PRICES[what] * count for what, count in analyst.counts.items())
        outlined = shapely.union_all(
            [label.place.in_pixels(session.archive.imagery[0]) for label in session.store.labels()]
        )
        assert outlined.difference(shapely.union_all(houses)).area < 1
        assert len(session.store.labels()) == analyst.counts["outlines"]
        assert len(session.store.complete()) == analyst.counts["complete"]
    assert analyst.has_finished and analyst.counts["outlines"] == len(houses)
    assert analyst.counts["marks"] == (20 if order == "workbench" else 0)


def test_good_proposals_enter_as_they_are_and_bad_ones_cost_an_outline_or_a_mark(
    session: Session, houses: np.ndarray
) -> None:
    from outlining import Analyst

    raster = session.archive.imagery[0]
    good = [affinity.scale(house, 0.9, 0.95) for house in houses[::3]]
    bad = [affinity.translate(house, 12, 9) for house in houses[1::3]]
    nothing = [box(x, y, x + 15, y + 12) for x, y in ((60, 60), (200, 340))]
    assert not any(shape.intersects(house) for shape in nothing for house in houses)
    session.set_state(polygons=on_ground(raster, np.array([*good, *bad, *nothing], object)))
    analyst = Analyst(session, houses, "house", "random")
    analyst.work_until(1e6)
    assert analyst.counts["accepted"] == len(good) and analyst.counts["rejected"] == 2
    assert analyst.counts["outlines"] == len(houses) - len(good)
    entered = [label.place.in_pixels(raster) for label in session.store.labels()]
    assert sum(any(shape.symmetric_difference(each).area < 0.1 for shape in entered) for each in good) == len(good)
    assert not any(shape.equals_exact(each, 0.01) for shape in entered for each in [*bad, *nothing])


@pytest.mark.slow
def test_both_orders_are_judged_against_all_footprints(tmp_path: Path, imagery: Path, houses: np.ndarray) -> None:
    import loop

    truth = tmp_path / "houses.gpkg"
    on_ground(open_imagery(imagery)[0], houses).to_file(truth)
    given = f"--imagery {imagery} --truth {truth} --class house --minutes 5 --retrain 2,5 --tile 128"
    quick = f"--encoder small --epochs 3 --out {tmp_path / 'out'} --json {tmp_path / 'figures.json'}"
    loop.main([*given.split(), *quick.split()])
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert [(row["order"], row["minutes"]) for row in figures["rows"]] == [
        (order, minutes) for order in ("workbench", "random") for minutes in (2, 5)
    ]
    assert all(row["worked"] <= row["minutes"] for row in figures["rows"])
    assert figures["all_footprints"]["iou"] > 0.7 and figures["rows"][1]["iou"] > 0.5
    assert figures["share"] == pytest.approx(figures["rows"][1]["iou"] / figures["all_footprints"]["iou"], abs=1e-3)
    # No ground kept aside was worked on: its first row lies below the last of the training ground.
    training, aside = (open_imagery(tmp_path / "out" / f"{name}.tif")[0] for name in ("training", "aside"))
    assert training.footprint().distance(aside.footprint()) > 0
    assert figures["objects"]["training ground"] < len(houses) and figures["objects"]["kept aside"] > 5


def test_minutes_needed_are_read_between_rows() -> None:
    from loop import needed

    def rows(order: str, *ious: float) -> list[dict[str, object]]:
        return [{"order": order, "minutes": 4.0 * n, "iou": iou} for n, iou in enumerate(ious, 1)]

    assert needed([*rows("workbench", 0.2, 0.6), *rows("random", 0.1, 0.4)], 8) == pytest.approx(0.75)
    assert needed([*rows("workbench", 0.5, 0.6), *rows("random", 0.1, 0.5)], 8) == pytest.approx(0.5)
    assert needed([*rows("workbench", 0.1, 0.2), *rows("random", 0.1, 0.5)], 8) is None
