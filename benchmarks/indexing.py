"""Tiles described a second: an archive built end to end, against a network that is fed one resized tile after another.

    python benchmarks/indexing.py --raster ortho.tif --encoder aerial --json indexing.json

"archive": `build_archive` of the whole raster into a folder of its own: reading, context around blocks, the network, pooling,
writing, the small copy for low zooms, the mean of lone chips. "plain": what one writes without it: cut each tile with
rasterio, resize it to 224 px, ResNet-18 in float32 in batches of 32 on all cores; weights are random, which costs as much. It
runs over `--plain-tiles` of the same tiles, in runs of 32 neighbours spread evenly over the raster, so that its reads are as
kind to the block cache as in a whole run. In each round every batch also goes through the bare network alone, before or
after the timed pass by turns: `network_to_bare` must stay near 1, else the plain pipeline was slowed by its surroundings.

Archive and plain rounds alternate in one process; a figure is the median over rounds. Peak memory is that of a child
that does nothing but build the archive, beside that of one that only loads the encoder.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import torch
import torchvision
from numpy.typing import NDArray
from rasterio.windows import Window
from tqdm import tqdm

from workbench.descriptors.build import build_archive
from workbench.descriptors.encoders import load_encoder
from workbench.descriptors.networks import IMAGENET
from workbench.files import write_json
from workbench.imagery.grid import TileGrid
from workbench.imagery.opening import open_imagery
from workbench.jobs import Progress

BATCH = 32
INPUT = 224
_MIB = 1024**2


@dataclass(frozen=True)
class Plain:
    """One round of the plain pipeline.

    Attributes:
        tiles: described.
        seconds: all in all, without the bare network.
        network_seconds: of them, in the network.
        bare_seconds: of the bare network on the same batches.
    """

    tiles: int
    seconds: float
    network_seconds: float
    bare_seconds: float


def main(arguments: Sequence[str] | None = None) -> None:
    given = parsed(arguments)
    if given.child:
        print(json.dumps(peak_of(given)))
        return
    memory = {kind: in_child(given, kind) for kind in ("loading", "building")}
    threads = torch.get_num_threads()
    network = resnet18()
    windows = sampled(given.raster, given.tile, given.stride, given.plain_tiles)
    plain(network, given.raster, windows[: 2 * BATCH])  # compiled kernels and caches are warm for both
    archives, rounds = [], []
    for _ in tqdm(range(given.rounds), "rounds"):
        archives.append(tiles_a_second(given))
        torch.set_num_threads(threads)
        rounds.append(plain(network, given.raster, windows))
    figures = summary(archives, rounds) | {
        "raster": given.raster.name,
        "encoder": given.encoder.partition(":")[0],
        "orientations": given.orientations,
        "tile": given.tile,
        "stride": given.stride,
        "plain_tiles": len(windows),
        "rounds": given.rounds,
        "threads": threads,
        "peak_memory_mib": memory["building"],
        "peak_memory_loading_mib": memory["loading"],
    }
    print(json.dumps(figures, indent=1))
    if given.json:
        write_json(given.json, figures)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raster", required=True, type=Path)
    parser.add_argument("--encoder", default="aerial", metavar="NAME[:WEIGHTS]")
    parser.add_argument("--orientations", type=int, default=1, choices=(1, 4, 8))
    parser.add_argument("--tile", type=int, default=256)
    parser.add_argument("--stride", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plain-tiles", type=int, default=640, help="tiles of a plain round, a multiple of 32")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", choices=("loading", "building"), help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def summary(archives: Sequence[float], rounds: Sequence[Plain]) -> dict[str, object]:
    """Medians over rounds, and the rounds themselves."""
    plain_rates = [one.tiles / one.seconds for one in rounds]
    network_rates = [one.tiles / one.network_seconds for one in rounds]
    bare_rates = [one.tiles / one.bare_seconds for one in rounds]
    ratios = [one.bare_seconds / one.network_seconds for one in rounds]
    speedups = [archive / slow for archive, slow in zip(archives, plain_rates, strict=True)]
    return {
        "archive_tiles_per_s": round(float(np.median(archives)), 1),
        "plain_tiles_per_s": round(float(np.median(plain_rates)), 1),
        "speedup": round(float(np.median(speedups)), 2),
        "plain_network_tiles_per_s": round(float(np.median(network_rates)), 1),
        "bare_network_tiles_per_s": round(float(np.median(bare_rates)), 1),
        "network_to_bare": round(float(np.median(ratios)), 3),
        "each_round": {
            "archive_tiles_per_s": np.round(archives, 1).tolist(),
            "plain_tiles_per_s": np.round(plain_rates, 1).tolist(),
            "network_to_bare": np.round(ratios, 3).tolist(),
        },
    }


def tiles_a_second(given: argparse.Namespace) -> float:
    """Build an archive of the whole raster, the encoder loaded before the clock starts."""
    name, _, weights = given.encoder.partition(":")
    encoder = load_encoder(name, weights or None, orientations=given.orientations)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        archive = build_archive(
            given.raster, folder, tile=given.tile, stride=given.stride, encoder=encoder, progress=Progress()
        )
        return len(archive) / (time.perf_counter() - started)


def plain(network: torch.nn.Module, raster: Path, windows: Sequence[Window]) -> Plain:
    """Cut, resize and describe tiles, batch by batch."""
    whole = inside = bare = 0.0
    with rasterio.open(raster) as file, torch.inference_mode():
        for number, batch in enumerate(batches(windows)):
            started = time.perf_counter()
            pixels = torch.stack([cut(file, window) for window in batch])
            ready = time.perf_counter()
            before = number % 2
            if before:
                bare += seconds_of(network, pixels)
            again = time.perf_counter()
            network(pixels).numpy()
            done = time.perf_counter()
            if not before:
                bare += seconds_of(network, pixels)
            whole += (ready - started) + (done - again)
            inside += done - again
    return Plain(len(windows), whole, inside, bare)


def cut(file: rasterio.DatasetReader, window: Window) -> torch.Tensor:
    """One tile as the network wants it, float32 (3, 224, 224)."""
    bands = (1, 2, 3) if file.count >= 3 else (1, 1, 1)
    pixels = torch.from_numpy(file.read(bands, window=window).astype(np.float32))[None] / 255
    resized = torch.nn.functional.interpolate(pixels, size=(INPUT, INPUT), mode="bilinear", antialias=True)[0]
    mean, std = (torch.tensor(values)[:, None, None] for values in IMAGENET)
    return (resized - mean) / std


def seconds_of(network: torch.nn.Module, pixels: torch.Tensor) -> float:
    """How long the bare network takes."""
    started = time.perf_counter()
    network(pixels)
    return time.perf_counter() - started


def resnet18() -> torch.nn.Module:
    """ResNet-18 up to its pooled features, with random weights."""
    network = torchvision.models.resnet18(weights=None)
    network.fc = torch.nn.Identity()
    return network.eval()


def sampled(raster: Path, tile: int, stride: int, count: int) -> list[Window]:
    """Windows of the archive's grid in runs of `BATCH`, the runs spread evenly over the raster."""
    grid = TileGrid((float(tile),), stride / tile)
    opened = open_imagery(raster)[0]
    rows, cols = grid.starts(opened.height, tile), grid.starts(opened.width, tile)
    runs = max(1, min(count, len(rows) * len(cols)) // BATCH)
    firsts = np.linspace(0, max(0, len(rows) * len(cols) - BATCH), runs).astype(int)
    numbers: NDArray[np.int64] = np.minimum(firsts[:, None] + np.arange(BATCH), len(rows) * len(cols) - 1).ravel()
    return [Window(int(cols[n % len(cols)]), int(rows[n // len(cols)]), tile, tile) for n in numbers]


def batches(windows: Sequence[Window]) -> Iterator[Sequence[Window]]:
    for first in range(0, len(windows), BATCH):
        yield windows[first : first + BATCH]


def in_child(given: argparse.Namespace, kind: str) -> float:
    """Peak memory in MiB of a process that loads the encoder, or builds the archive."""
    same = [f"--{name}={getattr(given, name)}" for name in ("raster", "encoder", "orientations", "tile", "stride")]
    command = [sys.executable, __file__, *same, "--child", kind]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return float(json.loads(said.splitlines()[-1]))


def peak_of(given: argparse.Namespace) -> float:
    """Do what a child is for, then say this process's peak memory in MiB."""
    if given.child == "building":
        tiles_a_second(given)
    else:
        name, _, weights = given.encoder.partition(":")
        load_encoder(name, weights or None, orientations=given.orientations)
    return round(peak_bytes() / _MIB, 1)


def peak_bytes() -> int:
    """The most memory that this process ever held.

    Linux hands ru_maxrss on to a new program, so that a child's would start at that of the process that made it; VmHWM
    starts afresh.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
