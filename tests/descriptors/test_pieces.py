"""Networks in stages and pieces: the same features as of the whole block, at any number of threads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from workbench.descriptors.aerial import AerialBody
from workbench.descriptors.encoders import load_encoder
from workbench.descriptors.networks import TORCHVISION
from workbench.descriptors.pieces import Staged
from workbench.jobs import cpu_threads


def staged(name: str, folder: Path) -> Staged:
    """A network with random weights, in single precision."""
    torch.manual_seed(0)
    if name == "aerial":
        return AerialBody().eval().requires_grad_(False).staged()
    save_file(torchvision.models.get_model(name, weights=None).state_dict(), folder / "w.safetensors")
    encoder = load_encoder(name, folder / "w.safetensors")
    network = encoder._body.float()  # type: ignore[attr-defined]
    assert isinstance(network, Staged)
    return network


def with_pieces(network: Staged, pieces: list[int | None], less: int = 0) -> Staged:
    """The same network in other pieces, and with halos that are too small by ``less`` cells."""
    stages = zip(network._stages, pieces, strict=True)
    changed = [
        replace(each, piece=piece, halo=each.halo if piece is None else each.halo - less * each.stride)
        for each, piece in stages
    ]
    return Staged(network.body, changed)


@pytest.mark.parametrize("name", ["aerial", *(name for name in TORCHVISION if name != "resnet50")])
def test_pieces_give_what_the_whole_block_gives(name: str, tmp_path: Path) -> None:
    network = staged(name, tmp_path)
    pixels = torch.randn(1, 3, 288, 832)
    small = [None if each.piece is None else max(64, each.piece // 16) for each in network._stages]
    with torch.inference_mode():
        whole = with_pieces(network, [None] * len(small))(pixels)
        found = with_pieces(network, small)(pixels)
    assert found.shape == whole.shape and float(whole.std()) > 0
    assert float((found - whole).abs().max()) < 1e-5 * float(whole.abs().max())


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_too_small_a_halo_shows_at_the_seams(stage: int, tmp_path: Path) -> None:
    network = staged("resnet18", tmp_path)
    pixels = torch.randn(1, 3, 64, 832)
    pieces = [64 if number == stage else None for number in range(4)]
    with torch.inference_mode():
        seams = with_pieces(network, pieces, less=1)(pixels) - with_pieces(network, [None] * 4)(pixels)
    assert float(seams.abs().max()) > 1e-3


def test_one_thread_and_many_give_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = with_pieces(staged("aerial", tmp_path), [64, 64, 128, 128, 128, 128, None]).bfloat16()
    pixels = torch.randn(1, 3, 256, 320).bfloat16()
    found = []
    for threads in (1, 2, 3):
        monkeypatch.setattr("workbench.descriptors.pieces.cpu_threads", lambda threads=threads: threads)
        with torch.inference_mode():
            found.append(network(pixels).float().numpy())
        assert torch.get_num_threads() in (threads, cpu_threads())
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


def test_what_fails_in_a_piece_is_raised(tmp_path: Path) -> None:
    network = staged("resnet18", tmp_path)
    with pytest.raises(RuntimeError, match="channels"), torch.inference_mode():
        with_pieces(network, [64, None, None, None])(torch.randn(1, 4, 64, 832))
