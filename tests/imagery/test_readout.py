"""The coordinates that the browser shows under the cursor are those of the rasters, to half a pixel."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyproj
import pytest
from affine import Affine

from workbench.imagery.rasters import Band, Raster
from workbench.imagery.readout import projection_fit


def raster(crs: str | None, transform: Affine, width: int = 4000, height: int = 3000) -> Raster:
    return Raster("a.tif", (Band(Path("a.tif"), 1, "a"),), width, height, "uint8", transform, crs, None, "a")


def in_the_browser(fit: dict, lon: float, lat: float) -> tuple[float, float]:
    """As `overlay.js` computes it: term by term."""
    lon = lon + 360 if lon < fit["west"] else lon
    u = (lon - (fit["west"] + fit["east"]) / 2) / ((fit["east"] - fit["west"]) / 2)
    v = (lat - (fit["south"] + fit["north"]) / 2) / ((fit["north"] - fit["south"]) / 2)
    x = y = 0.0
    term = 0
    for i in range(fit["degree"] + 1):
        for j in range(fit["degree"] + 1 - i):
            x += fit["x"][term] * u**i * v**j
            y += fit["y"][term] * u**i * v**j
            term += 1
    assert term == len(fit["x"]) == len(fit["y"])
    return x, y


RASTERS = {
    "utm": raster("EPSG:32632", Affine(0.5, 0, 574_000, 0, -0.5, 6_222_000)),
    "utm scene": raster("EPSG:32632", Affine(10, 0, 300_000, 0, -10, 5_500_000), 10_980, 10_980),
    "turned": raster("EPSG:32632", Affine(0.5, 0, 574_000, 0, -0.5, 6_222_000) @ Affine.rotation(30)),
    "degrees": raster("EPSG:4326", Affine(1e-6, 0, 85.5, 0, -1e-6, 27.6)),
    "web mercator": raster("EPSG:3857", Affine(0.149, 0, 9_519_391, 0, -0.149, 3_203_475), 11_264, 8704),
    "polar": raster("EPSG:3413", Affine(10, 0, -500_000, 0, -10, -1_200_000)),
    "swiss": raster("EPSG:2056", Affine(0.1, 0, 2_600_000, 0, -0.1, 1_200_000), 20_000, 20_000),
    "antimeridian": raster("EPSG:32601", Affine(10, 0, 330_000, 0, -10, 7_000_000)),
}


@pytest.mark.parametrize("name", RASTERS)
def test_every_place_of_a_raster_is_right_to_half_a_pixel(name: str) -> None:
    image = RASTERS[name]
    (fit,) = json.loads(json.dumps(projection_fit([image]), allow_nan=False))
    to_lonlat = pyproj.Transformer.from_crs(image.crs, "EPSG:4326", always_xy=True)
    for col, row in np.random.default_rng(0).uniform(0, (image.width, image.height), (300, 2)):
        x, y = image.transform @ (col, row)
        lon, lat = to_lonlat.transform(x, y)
        assert fit["south"] <= lat <= fit["north"]
        found = ~image.transform @ in_the_browser(fit, lon, lat)
        assert np.hypot(found[0] - col, found[1] - row) < 0.5


def test_rasters_of_one_crs_share_a_fit_while_that_is_exact_enough() -> None:
    near = [raster("EPSG:32632", Affine(0.5, 0, 570_000 + 2000 * n, 0, -0.5, 6_222_000)) for n in range(5)]
    (fit,) = projection_fit([*near, raster(None, Affine.identity())])
    assert fit["crs"] == "EPSG:32632" and fit["digits"] == 1
    far = raster("EPSG:32632", Affine(0.02, 0, 100_000, 0, -0.02, 1_000_000))
    fits = projection_fit([far, *near])
    assert len(fits) == 6 and all(fit["north"] - fit["south"] < 0.1 for fit in fits)


def test_two_systems_have_two_fits_and_a_pole_has_none() -> None:
    pole = raster("EPSG:3413", Affine(400, 0, -800_000, 0, -400, 600_000))
    fits = projection_fit([RASTERS["utm"], pole, RASTERS["swiss"]])
    assert [fit["crs"] for fit in fits] == ["EPSG:32632", "EPSG:2056"]


def test_a_crs_without_a_number_is_called_by_its_name() -> None:
    wkt = pyproj.CRS("+proj=tmerc +lat_0=0 +lon_0=9.5 +k=1 +x_0=500000 +ellps=GRS80 +units=m").to_wkt()
    (fit,) = projection_fit([raster(wkt, Affine(0.5, 0, 500_000, 0, -0.5, 6_222_000))])
    assert fit["crs"] == "unknown"


@pytest.mark.parametrize(("pixel", "digits"), [(10.0, 0), (1.0, 0), (0.5, 1), (0.13, 1), (0.1, 1), (0.05, 2)])
def test_digits_are_those_a_pixel_needs(pixel: float, digits: int) -> None:
    (fit,) = projection_fit([raster("EPSG:32632", Affine(pixel, 0, 574_000, 0, -pixel, 6_222_000), 400, 400)])
    assert fit["digits"] == digits
