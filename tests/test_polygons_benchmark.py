"""The benchmark of polygons on footprints that stand apart: all bars are met, and the figures are in the file."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from shapely import affinity, box


def test_regular_houses_meet_the_bars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "benchmarks"))
    import polygons

    random = np.random.default_rng(0)
    houses = [
        affinity.rotate(box(x, y, x + random.uniform(10, 16), y + random.uniform(8, 14)), random.uniform(0, 90))
        for x in range(10, 130, 30)
        for y in range(10, 130, 30)
    ]
    truth = tmp_path / "houses.gpkg"
    gpd.GeoDataFrame(geometry=[affinity.translate(house, 500_000, 6_200_000) for house in houses], crs=32632).to_file(
        truth
    )
    raster = tmp_path / "ortho.tif"
    place = from_origin(500_000, 6_200_150, 0.3, 0.3)
    with rasterio.open(
        raster, "w", "GTiff", 500, 500, 1, dtype="uint8", crs="EPSG:32632", transform=place, compress="deflate"
    ) as file:
        file.write(np.zeros((1, 500, 500), np.uint8))
    out = tmp_path / "figures.json"
    polygons.main(["--raster", str(raster), "--truth", str(truth), "--missing", "0.2", "--json", str(out)])
    figures = json.loads(out.read_text())
    assert all(figures["bars"].values())
    plain, regular = figures["rows"]
    assert regular["precision"] > 0.9 and 0.5 < regular["recall"] < 1 and regular["true"] == 16
    assert regular["vertices"] < 7 and regular["angle_error"] < plain["angle_error"]
    assert regular["matched_iou"] > plain["matched_iou"]
