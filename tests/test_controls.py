"""What buttons and menus call: tools, classes, layers, paths that are free, and runs in folders of their own."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import pytest
import torch
from shapely.geometry import box
from small_archives import MeanColour, small_imagery

from workbench.controls import new_path
from workbench.descriptors.archive import Archive
from workbench.descriptors.build import build_archive
from workbench.errors import Busy, FileExists, LabelInvalid, PathRefused, QueryInvalid, TrainingRefused
from workbench.jobs import Progress
from workbench.labels.fold import LabelClass
from workbench.segmentation.runs import EpochRow
from workbench.segmentation.train import train_unet
from workbench.segmentation.unet import Model, ModelCard, Normalisation, build_unet, save_model
from workbench.session import STRETCHES, TOOLS, Session


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("controls")
    return build_archive(
        small_imagery(folder / "i"), folder / "a", tile=64, stride=32, encoder=MeanColour(), progress=Progress()
    )


@pytest.fixture
def session(archive: Archive, tmp_path: Path) -> Session:
    made = Session(archive, tmp_path / "labels", by="me", resume=True)
    yield made
    made.close()


def test_one_tool_is_in_use_and_an_unknown_one_changes_nothing(session: Session) -> None:
    for tool in TOOLS:
        session.use_tool(tool)
        assert session.tool == tool
    with pytest.raises(QueryInvalid, match="There is no tool 'hammer'"):
        session.use_tool("hammer")
    assert session.tool == TOOLS[-1]


def test_undo_and_redo_say_whether_they_can(session: Session) -> None:
    assert not session.can_undo and not session.can_redo
    session.label([1], "roof")
    assert session.can_undo and not session.can_redo
    session.undo()
    assert not session.can_undo and session.can_redo
    session.redo()
    session.undo()
    session.label([2], "roof")
    assert session.can_undo and not session.can_redo, "what was said since ends what can be said again"


def test_refining_needs_a_query_or_a_positive_label_of_the_class(session: Session) -> None:
    assert not session.can_refine
    session.label([1], "roof", value=-1)
    assert not session.can_refine
    session.label([2], "roof")
    assert session.can_refine
    session.choose_class("road")
    assert not session.can_refine
    session.search(tile=3)
    assert session.can_refine


def test_labels_are_counted_by_class_and_value(session: Session) -> None:
    session.label([1, 2, 3], "roof")
    session.label([4], "roof", value=-1)
    session.label([5], "road", value=-1)
    session.label([3], "roof", value=0)
    assert session.label_counts() == {"roof": (2, 1), "road": (0, 1)}


def test_an_added_class_is_chosen_and_those_offered_keep_their_numbers(session: Session) -> None:
    session.offer_classes(["roof", "road"])
    before = session.class_choices
    version = session.labels_version
    session.add_class("  tree ")
    assert session.class_name == "tree" and session.labels_version > version
    assert session.class_choices[:2] == before and session.classes[2].name == "tree"
    session.add_class("roof")
    assert session.class_name == "roof" and len(session.classes) == 3
    for name in ("", " ", "x" * 81, "a\nb"):
        with pytest.raises(LabelInvalid):
            session.add_class(name)
        with pytest.raises(LabelInvalid):
            session.choose_class(name)
    assert session.class_name == "roof" and len(session.classes) == 3


def test_a_class_can_be_shown_in_another_colour(session: Session) -> None:
    session.label([1], "roof")
    version = session.labels_version
    session.colour_class("roof", "#00FF7f")
    assert session.classes[0].colour == "#00ff7f" and session.labels_version > version
    with pytest.raises(LabelInvalid, match="is no colour"):
        session.colour_class("roof", "red; background: url(x)")
    assert session.classes[0].colour == "#00ff7f"
    assert len(set(session.palette)) >= 12


def test_layers_are_shown_hidden_and_faded_and_come_back_so(session: Session, archive: Archive) -> None:
    numbers = [info.number for info in session.layers.infos()]
    session.show_layer(numbers[0], False)
    session.show_layer(numbers[-1], True)
    session.show_layer(numbers[-1], True)
    session.set_opacity(numbers[1], 0.25)
    assert numbers[0] not in session.shown and session.shown.count(numbers[-1]) == 1
    assert session.opacity_of(numbers[1]) == 0.25 and session.opacity_of(numbers[0]) == 1
    for number, share in ((99, 0.5), (-1, 0.5), (numbers[0], 1.5), (numbers[0], float("nan"))):
        with pytest.raises(QueryInvalid):
            session.set_opacity(number, share)
    with pytest.raises(QueryInvalid):
        session.show_layer(99, True)
    again = Session(archive, session.store.folder, by="me", resume=True)
    assert again.shown == session.shown and again.opacity_of(numbers[1]) == 0.25
    again.close()


def test_the_whole_imagery_is_shown_again(session: Session) -> None:
    session.show_place(1, 2, 3)
    session.show_whole()
    assert session.map_view == {}


def test_new_paths_lie_beside_the_labels_and_nothing_is_made(session: Session, tmp_path: Path) -> None:
    paths = session.new_paths()
    assert all(Path(path).is_relative_to(tmp_path) and Path(path).is_absolute() for path in paths.values())
    assert {Path(path).parent.name for path in paths.values()} == {"exports", "runs"}
    assert not (tmp_path / "exports").exists() and not (tmp_path / "runs").exists()


def test_labels_are_written_where_nothing_is_and_the_status_says_where(session: Session, tmp_path: Path) -> None:
    session.label([1, 2], "roof")
    for suffix in (".gpkg", ".geojson", ".parquet"):
        written = session.write_labels(str(tmp_path / "deep" / f"labels{suffix}"))
        assert written.is_file() and session.status == f"Labels written to {written}."
        content = written.read_bytes()
        with pytest.raises(FileExists, match="exists already"):
            session.write_labels(str(written))
        assert written.read_bytes() == content


def test_polygons_are_written_once_there_are_some(session: Session, tmp_path: Path) -> None:
    with pytest.raises(QueryInvalid, match="no polygons yet"):
        session.write_polygons(str(tmp_path / "p.gpkg"))
    frame = gpd.GeoDataFrame({"class": ["roof"]}, geometry=[box(0, 0, 1, 1)], crs="EPSG:4326")
    session.set_state(polygons=frame)
    path = session.write_polygons(str(tmp_path / "p.gpkg"))
    assert len(gpd.read_file(path)) == 1 and session.status == f"1 polygons written to {path}."
    with pytest.raises(FileExists):
        session.write_polygons(str(path))


def test_chips_are_written_in_the_background_into_a_new_folder(session: Session, tmp_path: Path) -> None:
    session.label(list(range(0, 80, 3)), "roof")
    session.label(list(range(80, 160, 3)), "roof", value=-1)
    chips = session.write_chips(str(tmp_path / "chips"), 64).result(60)
    assert len(chips) and session.status.startswith(f"{len(chips)} chips written to {tmp_path / 'chips'}.")
    with pytest.raises(FileExists):
        session.write_chips(str(tmp_path / "chips"), 64)


@pytest.mark.parametrize("text", ["", "  ", "a\0b", "x" * 300, "/proc/none/labels.gpkg", "~nobody-here/x.gpkg"])
def test_a_path_that_cannot_be_written_is_refused_in_words(text: str) -> None:
    with pytest.raises(PathRefused, match=r"names no file|cannot be written"):
        new_path(text)


def test_a_path_is_made_absolute_and_never_over_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert new_path(" exports/labels.gpkg ") == tmp_path / "exports" / "labels.gpkg"
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("exports", "link"):
        with pytest.raises(FileExists):
            new_path(name)


def test_training_gets_chips_small_enough_for_the_imagery(session: Session) -> None:
    assert session.training_defaults == {"chip": 64, "minutes": 5, "epochs": 30}


@pytest.mark.parametrize("bad", [{"chip": 8}, {"minutes": 0}, {"minutes": float("nan")}, {"epochs": 0}])
def test_settings_that_make_no_training_are_refused_before_anything_is_written(
    session: Session, tmp_path: Path, bad: dict[str, float]
) -> None:
    with pytest.raises(TrainingRefused, match="make no training"):
        session.train_here(**({"chip": 64, "minutes": 1, "epochs": 1} | bad))
    assert not (tmp_path / "runs").exists()


def test_mapping_without_a_network_is_refused(session: Session) -> None:
    with pytest.raises(QueryInvalid, match="no U-Net yet"):
        session.map_here()


@pytest.mark.slow
def test_training_and_mapping_happen_in_new_folders_beside_the_labels(session: Session, tmp_path: Path) -> None:
    session.label(list(range(0, 160, 3)), "roof")
    session.label(list(range(1, 160, 3)), "roof", value=-1)
    job = session.train_here(chip=64, minutes=0.2, epochs=1)
    with pytest.raises(Busy):
        session.write_chips(str(tmp_path / "chips"), 64)
    model = job.result(300)
    run = model.parents[1]
    assert run.parent == tmp_path / "runs" and (run / "chips").is_dir() and session.model == model
    assert session.prediction == run / "map" and len(list((run / "map").glob("*.tif"))) == 2
    assert session.curve and not session.alarm
    session.dismiss_curve()
    assert session.curve == []


def test_stretches_and_tools_can_be_named_by_the_screen() -> None:
    assert STRETCHES[0] == "as searched" and TOOLS[0] == "search"


def test_offered_classes_keep_their_numbers_whichever_is_labelled_first(session: Session) -> None:
    session.offer_classes(["house", "boat", "tank"])
    shown = session.class_choices
    session.label([1], "tank")
    assert session.classes == shown and [each.name for each in shown] == ["house", "boat", "tank"]


def test_training_goes_on_from_the_last_network_and_needs_one(session: Session, tmp_path: Path) -> None:
    torch.manual_seed(0)
    session.label(range(0, 162, 9), "roof")
    for raster in session.archive.imagery:
        session.declare_complete(raster.footprint(crs="EPSG:4326"))
    with pytest.raises(QueryInvalid, match="no U-Net to go on from"):
        session.train_here(chip=64, minutes=1, epochs=1, go_on=True)
    card = ModelCard("small", (LabelClass(1, "boat", "#e6550d"),), 3, (0.5, 0.5), Normalisation((0.4,) * 3, (0.2,) * 3))
    save_model(Model(build_unet("small", 3, 1), card), tmp_path / "last.safetensors")
    session.set_state(model=tmp_path / "last.safetensors")
    job = session.train_here(chip=64, minutes=1, epochs=1, go_on=True)
    job.wait(60)
    assert "The model to start from knows boat" in session.status, "it began with that model"


class Killed(BaseException):
    """Nothing that a program catches."""


def test_a_session_names_a_training_that_died_and_goes_on_with_it(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.segmentation.loop.STEPS_PER_EPOCH", (2, 2))
    assert session.resumable == {}
    with pytest.raises(QueryInvalid, match="No training beside these labels was interrupted"):
        session.resume_here(batch=2)
    session.label(range(0, 162, 9), "roof")
    for raster in session.archive.imagery:
        session.declare_complete(raster.footprint(crs="EPSG:4326"))
    run = tmp_path / "runs/20300101-120000"
    chips = session.export_chips(run / "chips", chip=64)

    def dying(row: EpochRow) -> None:
        raise Killed

    with pytest.raises(Killed):
        train_unet(chips, run / "unet", encoder="small", epochs=3, batch=4, crop=64, on_epoch=dying)
    again = Session(session.archive, tmp_path / "labels", by="me", resume=True)
    assert f"The training in {run / 'unet'} stopped after epoch 1 of at most 3" in again.status and not again.alarm
    assert "resume_training(" in again.status and "Train menu" in again.status
    assert again.resumable == {"words": "runs/20300101-120000/unet stopped after epoch 1 of at most 3", "batch": 4}
    model = again.resume_here(batch=2, map_after=False).result(300)
    assert model == run / "unet/model.safetensors" and again.model == model
    assert [row["epoch"] for row in again.curve] == [1, 2, 3]
    assert again.resumable == {} and "report.md" in again.status
    again.close()
