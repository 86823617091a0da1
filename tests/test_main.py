"""The terminal says what a library call would: results on standard output, one clear message when something is wrong."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from workbench.__main__ import main


@pytest.fixture
def raster(tmp_path: Path) -> Path:
    path = tmp_path / "north.tif"
    pixels = np.random.default_rng(0).integers(0, 255, (3, 256, 256), dtype=np.uint8)
    profile = {"driver": "GTiff", "width": 256, "height": 256, "count": 3, "dtype": "uint8", "compress": "deflate"}
    with rasterio.open(path, "w", crs="EPSG:32632", transform=from_origin(560_000, 6_230_000, 1, 1), **profile) as file:
        file.write(pixels)
    return path


def test_an_archive_is_built_and_searched_and_its_hits_labelled(
    raster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive, labels = str(tmp_path / "archive"), str(tmp_path / "labels")
    assert main(["build", str(raster), archive, "--tile", "64", "--encoder", "texture"]) == 0
    capsys.readouterr()
    assert main(["search", archive, "--labels", labels, "--tile", "3", "-k", "4", "--label", "roof"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[0] for line in lines[1:5]] == ["1", "2", "3", "4"]
    assert lines[1].split("\t")[1] == "3"
    assert main(["export", archive, "--labels", labels, "--gis", str(tmp_path / "labels.gpkg")]) == 0
    assert (tmp_path / "labels.gpkg").is_file()


def test_a_scorer_is_saved_and_ranks_again_and_all_classes_are_mapped(
    raster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive, labels = str(tmp_path / "archive"), str(tmp_path / "labels")
    assert main(["build", str(raster), archive, "--tile", "64", "--encoder", "texture"]) == 0
    capsys.readouterr()
    search = ["search", archive, "--labels", labels, "-k", "3"]
    assert main([*search, "--tile", "3", "--label", "roof", "--save-scorer", "like three"]) == 0
    first = capsys.readouterr().out.splitlines()
    assert first[-2].startswith("saved scorer 'like three': nearest neighbours of one example; texture, 20")
    assert main([*search, "--scorer", "like three"]) == 0
    assert first[1:4] == capsys.readouterr().out.splitlines()[1:]
    assert main([*search, "--tile", "40", "--label", "field"]) == 0
    assert main(["class-map", archive, str(tmp_path / "map.tif"), "--labels", labels]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("Mapped: ")
    names = {path.name for path in tmp_path.iterdir()}
    assert {"map.tif", "map.tif.aux.xml", "map-probability.tif", "map.gpkg"} <= names


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["build", "nowhere.tif", "archive"], "nowhere.tif"),
        (["search", "no-archive", "--tile", "0"], "no-archive"),
        (["class-map", "no-archive", "map.tif"], "no-archive"),
        (["demo", "--imagery", "RASTER", "--out", "out"], "--truth"),
        (["demo", "--imagery", "RASTER", "--truth", "RASTER", "--train-rows", "9:3", "--out", "out"], "9:3"),
    ],
)
def test_what_is_wrong_is_one_message_and_exit_status_2(
    raster: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    named: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([str(raster) if word == "RASTER" else word for word in arguments]) == 2
    assert named in capsys.readouterr().err


def test_a_probability_map_is_outlined_with_right_angles(
    raster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with rasterio.open(raster) as file:
        profile = file.profile | {"count": 1, "nodata": 255}
    rows, cols = np.mgrid[:256, :256]
    turned = (np.abs(0.8 * rows + 0.6 * cols - 180) < 40) & (np.abs(0.6 * rows - 0.8 * cols + 25) < 60)
    with rasterio.open(tmp_path / "roofs.tif", "w", **profile) as file:
        file.write(np.where(turned, 254, 0).astype(np.uint8), 1)
    given = ["polygons", str(tmp_path / "roofs.tif")]
    assert main([*given, str(tmp_path / "roofs.gpkg"), "--regular"]) == 0
    assert "wrote 1 polygons" in capsys.readouterr().out
    assert len(gpd.read_file(tmp_path / "roofs.gpkg").geometry[0].exterior.coords) == 5
    assert main([*given, str(tmp_path / "more.gpkg"), "--regular", "pool"]) == 2
    assert "regular='pool'" in capsys.readouterr().err


def test_labels_edited_in_a_gis_are_shown_and_then_applied(
    raster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive, labels, path = str(tmp_path / "archive"), str(tmp_path / "labels"), tmp_path / "labels.gpkg"
    assert main(["build", str(raster), archive, "--tile", "64", "--encoder", "texture"]) == 0
    assert main(["search", archive, "--labels", labels, "--tile", "3", "-k", "4", "--label", "roof"]) == 0
    assert main(["export", archive, "--labels", labels, "--gis", str(path)]) == 0
    frame = gpd.read_file(path, layer="labels")
    frame.loc[1, "class"] = "pool"
    frame.iloc[1:].to_file(path, layer="labels")
    command = ["import-edits", archive, str(path), "--labels", labels]
    capsys.readouterr()
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "labels.gpkg: 1 changed, 0 added, 1 removed, 2 as they were"
    assert [line.split("\t")[0:4:2] for line in lines[1:]] == [["changed", "pool"], ["removed", "roof"]]
    assert main([*command, "--apply"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Edits of labels.gpkg applied: 1 changed, 1 removed"
    assert main([*command, "--apply"]) == 2
    assert "nothing to apply" in capsys.readouterr().err
