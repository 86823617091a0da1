"""The data catalog: its files, and getting data sets by name."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from local_web import an_entry, names_in

from workbench.errors import CatalogError
from workbench.imagery.catalog import catalog, entry, fetch, resolve
from workbench.imagery.entries import Http, Paint, Stac
from workbench.jobs import Progress


def test_every_entry_of_the_catalog_is_valid_and_has_the_name_of_its_file() -> None:
    files = sorted((Path(__file__).resolve().parents[2] / "data_catalog").glob("*.yaml"))
    assert list(catalog()) == [file.stem for file in files]
    assert len(files) >= 12
    assert {"scene", "naip", "openaerialmap", "inria", "landcover-ai", "dubai", "ucmerced", "aid"} <= set(catalog())


def test_every_entry_says_where_it_comes_from_and_how_it_may_be_used() -> None:
    for found in catalog().values():
        assert found.source.startswith("https://") or found.name == "scene"
        assert len(found.licence) >= 3 and found.labels.kind
        if isinstance(found.how, Http):
            assert all(remote.url.startswith("https://") for remote in found.how.files)
        if isinstance(found.how, Stac):
            assert found.how.api.startswith("https://")


def test_the_note_on_dubai_has_the_colours_of_the_masks_not_of_its_own_class_file() -> None:
    notes = " ".join(entry("dubai").notes)
    assert "3C1098" in notes and "8429F6" in notes and "D0021B" not in notes


VALID = """
name: mine
title: My orthophotos
description: One flight.
source: https://example.org/mine
licence: CC-BY-4.0
resolution_m: 0.1
bands: [red, green, blue]
dtype: uint8
nodata: null
crs: EPSG:25832
size_mb: 10
labels: {kind: none}
how: {method: manual, steps: [Ask me.]}
"""


def test_a_folder_of_your_own_entries_is_added(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(VALID)
    assert entry("mine", extra=tmp_path).resolution_m == (0.1,)
    assert set(catalog(tmp_path)) == {*catalog(), "mine"}


def test_an_entry_of_your_own_cannot_take_a_name_that_is_taken(tmp_path: Path) -> None:
    (tmp_path / "naip.yaml").write_text(VALID.replace("name: mine", "name: naip"))
    with pytest.raises(CatalogError, match="another data set called naip"):
        catalog(tmp_path)


@pytest.mark.parametrize(
    ("before", "after", "field"),
    [
        ("licence: CC-BY-4.0\n", "", "licence is missing"),
        ("licence:", "license:", "license is not a field"),
        ("title: My orthophotos", "title: 7", "title is a whole number, and text"),
        ("title: My orthophotos", "title: ' '", "title is empty"),
        ("resolution_m: 0.1", "resolution_m: fine", r"resolution_m\[0\] is text, and a number"),
        ("resolution_m: 0.1", "resolution_m: 0", "resolution_m is not one or two sizes"),
        ("nodata: null", "nodata: yes", "nodata is a bool"),
        ("dtype: uint8", "dtype: byte", "dtype"),
        ("name: mine", "name: yours", "name is not the name of the file"),
        ("https://example.org/mine", "http://example.org/mine", "source is no https"),
        ("method: manual", "method: magic", "how.method is 'magic', and one of paint, http, stac, manual"),
        ("steps: [Ask me.]", "stages: [Ask me.]", "how.stages is not a field"),
        ("steps: [Ask me.]", "steps: []", "how.steps is empty"),
        ("{method: manual, steps: [Ask me.]}", "{method: http, files: [{url: 'https://[a/b.tif'}]}", "files.url"),
        ("labels: {kind: none}", "labels: none", "labels is text"),
        ("licence: CC-BY-4.0", "licence: MIT\nlicence: CC-BY-4.0", "'licence' is there twice"),
        ("{method: manual, steps: [Ask me.]}", "{method: http, files: [{url: 'https://a.org/'}]}", "files.url"),
        (
            "{method: manual, steps: [Ask me.]}",
            "{method: http, files: [{url: 'https://a.org/b.tif', sha256: abc}]}",
            "files.sha256",
        ),
        (
            "{method: manual, steps: [Ask me.]}",
            "{method: stac, api: 'https://a.org', collections: [c], assets: [visual], bbox: [10, 1, 9, 2]}",
            "how.bbox",
        ),
        (
            "{method: manual, steps: [Ask me.]}",
            "{method: stac, api: 'https://a.org', collections: [c], assets: [v], bbox: [1, 1, 9, 2], query: &q {q: *q}}",
            "how.query cannot be sent",
        ),
        (
            "{method: manual, steps: [Ask me.]}",
            "{method: stac, api: 'https://a.org', collections: [c], assets: [v], bbox: [1, 1, 9, 2], dates: june}",
            "how.dates",
        ),
    ],
)
def test_a_wrong_entry_is_refused_by_file_and_field(tmp_path: Path, before: str, after: str, field: str) -> None:
    assert before in VALID
    (tmp_path / "mine.yaml").write_text(VALID.replace(before, after))
    with pytest.raises(CatalogError, match=field) as caught:
        catalog(tmp_path)
    assert "mine.yaml" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch hacked']",
        "name: !!python/object/new:subprocess.Popen [[touch, hacked]]",
        "name: !!python/name:os.system",
        "name: [unclosed",
        "- just\n- a list",
        "42",
        "",
        "a: &a [*a]",
        "\x00",
    ],
)
def test_P35_a_hostile_or_broken_entry_runs_nothing_and_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(CatalogError, match=r"mine\.yaml"):
        catalog(tmp_path)
    assert names_in(tmp_path) == ["mine.yaml"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=60), line=st.integers(0, 13))
def test_any_text_in_an_entry_gives_an_entry_or_a_catalog_error(tmp_path: Path, text: str, line: int) -> None:
    lines = VALID.splitlines()
    lines[line] = text
    (tmp_path / "mine.yaml").write_text("\n".join(lines), encoding="utf-8", errors="replace")
    try:
        catalog(tmp_path)
    except CatalogError as error:
        assert "mine.yaml" in str(error)


def test_the_catalog_is_found_in_an_installed_package(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    shutil.copytree(root / "workbench", tmp_path / "workbench", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(root / "data_catalog", tmp_path / "workbench" / "data_catalog")
    code = "import workbench.imagery.catalog as c; print(c.__file__); print(*c.catalog())"
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    where, names = run.stdout.splitlines()
    assert Path(where).is_relative_to(tmp_path) and names.split() == list(catalog())


def test_an_unknown_name_brings_the_names_that_are_close() -> None:
    with pytest.raises(CatalogError, match=r"Did you mean .*sentinel-2-l2a"):
        entry("sentinel-2")
    with pytest.raises(CatalogError, match="There are: aid,"):
        entry("zzzzzzzz")


def test_a_data_set_to_be_got_by_hand_says_the_steps(tmp_path: Path) -> None:
    with pytest.raises(CatalogError) as caught:
        fetch("inria", tmp_path / "inria")
    text = str(caught.value)
    assert "must be got by hand" in text and "1. " in text and "7-Zip" in text
    assert str(tmp_path / "inria") in text and "https://project.inria.fr/aerialimagelabeling/" in text
    assert names_in(tmp_path) == []


def test_a_data_set_that_was_got_by_hand_is_found(tmp_path: Path) -> None:
    pictures = tmp_path / "AerialImageDataset" / "train" / "images"
    with pytest.raises(CatalogError, match="by hand"):
        fetch("inria", tmp_path)
    pictures.mkdir(parents=True)
    assert fetch("inria", tmp_path) == pictures


def test_files_put_in_the_wrong_place_are_said(tmp_path: Path) -> None:
    (tmp_path / "austin1.tif").write_bytes(b"x")
    with pytest.raises(CatalogError, match=r"AerialImageDataset/train/images is not in .*which has austin1.tif"):
        fetch("inria", tmp_path)


def test_dates_are_refused_where_nothing_is_searched(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="comes as a whole"):
        fetch("ucmerced", tmp_path, dates="2024-01-01")


def test_resolve_uses_a_folder_of_that_name_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    tiles = tmp_path / "data" / "aid" / "airport"
    tiles.mkdir(parents=True)
    with caplog.at_level(logging.INFO):
        assert resolve("aid") == tmp_path / "data" / "aid"
    assert str(tmp_path / "data" / "aid") in caplog.text
    assert resolve("aid", tmp_path / "data" / "aid") == tmp_path / "data" / "aid"


def test_the_entry_of_the_scene_names_the_classes_that_are_painted() -> None:
    from workbench.imagery import synthetic

    assert entry("scene").labels.classes == tuple(synthetic.CLASSES[number] for number in sorted(synthetic.CLASSES))


@pytest.mark.slow
def test_the_scene_is_painted_once(tmp_path: Path, quiet: Progress) -> None:
    thing = an_entry(Paint(size=1024, seed=1))
    path = fetch(thing, tmp_path, progress=quiet)
    assert path.suffix == ".tif" and path.is_relative_to(tmp_path)
    before = path.stat().st_mtime_ns
    assert fetch(thing, tmp_path, progress=quiet) == path
    assert path.stat().st_mtime_ns == before
