"""A code model comes back from its file as it was, and a file that is not one is refused by name."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from clusters import clusters
from safetensors.numpy import load_file, save_file

from workbench.descriptors.codes.autoencoder import fit_autoencoder
from workbench.descriptors.codes.fitting import KINDS, fit_codes
from workbench.descriptors.codes.milan import fit_milan
from workbench.descriptors.codes.models import CodeModel
from workbench.descriptors.codes.saved import load_codes, save_codes
from workbench.errors import ArchiveInvalid

SEEN = clusters()
ABOUT = {"version": 1, "kind": "itq", "bits": 24, "dim": 16}


def quickly_fitted(kind: str) -> CodeModel:
    if kind == "autoencoder":
        return fit_autoencoder(SEEN.vectors, 24, 0, steps=2)
    if kind == "milan":
        return fit_milan(SEEN.vectors, 24, 0, SEEN.labels, steps=2)
    return fit_codes(kind, SEEN.vectors, bits=24, labels=SEEN.labels)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_codes(quickly_fitted("itq"), tmp_path / "codes.safetensors")
    return tmp_path / "codes.safetensors"


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_comes_back_as_it_was_saved(tmp_path: Path, kind: str) -> None:
    model = quickly_fitted(kind)
    save_codes(model, tmp_path / "codes.safetensors")
    back = load_codes(tmp_path / "codes.safetensors")
    assert (type(back), back.kind, back.bits, back.dim) == (type(model), kind, 24, 16)
    assert np.array_equal(back.encode(SEEN.vectors), model.encode(SEEN.vectors))
    assert [path.name for path in tmp_path.iterdir()] == ["codes.safetensors"]


def test_the_file_says_what_it_is(saved: Path) -> None:
    data = saved.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert {name: json.loads(text) for name, text in header["__metadata__"].items()} == {"workbench-codes": ABOUT}


def test_equal_models_give_equal_files(saved: Path) -> None:
    for _ in range(5):
        save_codes(quickly_fitted("itq"), saved.with_name("again.safetensors"))
        assert saved.with_name("again.safetensors").read_bytes() == saved.read_bytes()


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        (None, "says nothing"),
        ({"something": "else"}, "says nothing"),
        ({"workbench-codes": "{"}, "can be read"),
        ({"workbench-codes": "[1]"}, "says"),
        ({"workbench-codes": json.dumps({**ABOUT, "version": 2})}, "'version': 2.*Update"),
        ({"workbench-codes": json.dumps({**ABOUT, "kind": "lsh"})}, "lsh"),
        ({"workbench-codes": json.dumps({**ABOUT, "kind": "klsh"})}, "do not make a model of klsh"),
        ({"workbench-codes": json.dumps({**ABOUT, "bits": 32})}, "do not make"),
        ({"workbench-codes": json.dumps({**ABOUT, "dim": 17})}, "do not make"),
    ],
)
def test_P41_a_file_that_says_something_else_is_refused(
    saved: Path, metadata: dict[str, str] | None, words: str
) -> None:
    save_file(load_file(saved), saved, metadata)
    with pytest.raises(ArchiveInvalid, match=f"{saved.name}.*{words}"):
        load_codes(saved)


@pytest.mark.parametrize(
    "changes",
    [
        {"bias.0": None},
        {"bias.1": np.zeros(24, np.float32)},
        {"bias.0": np.zeros(23, np.float32)},
        {"bias.0": np.zeros((1, 24), np.float32)},
        {"weights.0": np.full((16, 24), np.nan, np.float32)},
        {"weights.0": np.zeros((16, 24), np.float64)},
        {"weights.0": np.zeros((16, 20), np.float32), "bias.0": np.zeros(20, np.float32)},
    ],
)
def test_parts_that_do_not_fit_are_refused(saved: Path, changes: dict[str, np.ndarray | None]) -> None:
    tensors = {name: values for name, values in {**load_file(saved), **changes}.items() if values is not None}
    about = {**ABOUT, "bits": tensors["weights.0"].shape[1]}
    save_file(tensors, saved, {"workbench-codes": json.dumps(about)})
    with pytest.raises(ArchiveInvalid, match=f"{saved.name}.*fit the codes again"):
        load_codes(saved)


@pytest.mark.parametrize("cut", [0, 4, 100, -1])
def test_a_truncated_file_is_named(saved: Path, cut: int) -> None:
    saved.write_bytes(saved.read_bytes()[:cut])
    with pytest.raises(ArchiveInvalid, match=saved.name):
        load_codes(saved)


def test_P35_a_pickle_is_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "ran",))  # type: ignore[return-value]

    (tmp_path / "codes.safetensors").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ArchiveInvalid, match=r"codes\.safetensors"):
        load_codes(tmp_path / "codes.safetensors")
    assert not (tmp_path / "ran").exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArchiveInvalid, match=r"none\.safetensors"):
        load_codes(tmp_path / "none.safetensors")
