"""A network in stages, each run over overlapping pieces of its input: the same features, quicker, and in little memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from threading import Lock

import torch
from torch import Tensor

from workbench.jobs import cpu_threads

Layers = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Stage:
    """Some layers of a network, those between two maps that are small enough to be kept whole.

    Attributes:
        layers: from (batch, channels, rows, cols) to (batch, more channels, fewer rows, fewer cols).
        stride: pixels of the picture per cell of what they give.
        halo: pixels of the picture on each side of a cell that these layers see, at least; a multiple of ``stride``.
        piece: pixels on a side of the picture that are run at once, a multiple of ``stride``; None: all.
    """

    layers: Layers
    stride: int
    halo: int = 0
    piece: int | None = None


class Staged(torch.nn.Module):
    """A network and its stages, which share its layers.

    Most numbers of a network are in its first layers, at half and a quarter of the resolution: over a whole block they
    leave the cache between any two layers, and would fill all memory. So each stage runs over pieces of its input, and
    what it gives is laid side by side before the next one starts. Every number is that of the whole block: within it a
    piece sees enough context, and where it ends with the block, both are padded alike. A piece sees only what its own
    stage looks at, which is far less than what the whole network does. (Alwani et al. 2016, "Fused-layer CNN
    accelerators".)

    Args:
        body: holds the weights.
        stages: in order.
        early: how many of them give the network's first features; 0 where nobody asks for these.
    """

    def __init__(self, body: torch.nn.Module, stages: Sequence[Stage], early: int = 0) -> None:
        super().__init__()
        self.body, self.early = body, early
        self._stages = tuple(stages)

    def forward(self, pixels: Tensor, prepare: Layers | None = None) -> Tensor:
        """The network's features.

        Args:
            pixels: a block (batch, 3, rows, cols), its sides multiples of the network's stride.
            prepare: turns a piece of ``pixels`` into what the first layer takes.
        """
        return self.run(pixels, 0, None, prepare)

    def run(self, pixels: Tensor, first: int, last: int | None = None, prepare: Layers | None = None) -> Tensor:
        """The stages from ``first`` to before ``last``, on what the one before gave."""
        done = self._stages[first - 1].stride if first else 1
        for stage in self._stages[first:last]:
            pixels = in_pieces(pixels, stage, _after(prepare or _packed, stage.layers), done)
            done, prepare = stage.stride, None
        return pixels


def in_pieces(values: Tensor, stage: Stage, layers: Layers, done: int) -> Tensor:
    """Run a stage over pieces of a map; as many at a time as there are processor cores, each on one.

    Args:
        values: (batch, channels, rows, cols).
        stage: which pieces.
        layers: to run, those of ``stage``.
        done: pixels of the picture per cell of ``values``.

    Returns:
        the same as ``layers(values)``.
    """
    rows, cols = values.shape[-2:]
    halo, shrink = stage.halo // done, stage.stride // done
    side = max(rows, cols) if stage.piece is None else stage.piece // done
    if max(rows, cols) <= side + 2 * halo:
        return layers(values)
    whole: list[Tensor] = []
    first = Lock()

    def run(corner: tuple[int, int]) -> None:
        top, left = corner
        bottom, right = min(rows, top + side), min(cols, left + side)
        above, before = min(top, halo) // shrink, min(left, halo) // shrink
        height, width = (bottom - top) // shrink, (right - left) // shrink
        with torch.inference_mode():
            piece = values[..., top - above * shrink : bottom + halo, left - before * shrink : right + halo]
            found = layers(piece)
            with first:
                if not whole:
                    shape = (*found.shape[:2], rows // shrink, cols // shrink)
                    whole.append(found.new_empty(shape).contiguous(memory_format=torch.channels_last))
            whole[0][..., top // shrink : bottom // shrink, left // shrink : right // shrink] = found[
                ..., above : above + height, before : before + width
            ]

    _each(run, list(product(range(0, rows, side), range(0, cols, side))), values.device.type)
    return whole[0]


def _packed(values: Tensor) -> Tensor:
    return values.contiguous(memory_format=torch.channels_last)


def _after(first: Layers, then: Layers) -> Layers:
    return lambda values: then(first(values))


def _each(run: Callable[[tuple[int, int]], None], corners: Sequence[tuple[int, int]], device: str) -> None:
    """Run all pieces: on a processor by a thread for each core, on an accelerator one after another.

    Threads that have a piece each beat threads that share every layer: they need not wait for one another a hundred times.
    """
    threads = cpu_threads() if device == "cpu" else 1
    if threads == 1:
        for corner in corners:
            run(corner)
        return
    try:
        with ThreadPoolExecutor(threads, "pieces", initializer=_alone) as pool:
            for _ in pool.map(run, corners):
                pass
    finally:
        torch.set_num_threads(threads)


def _alone() -> None:
    """Have torch run layers in the calling thread only.

    torch keeps a number for each thread, and one for threads to come, which is what a thread begins with when it first asks.
    So it must ask before the number is changed; that for threads to come is put back when all pieces are done.
    """
    torch.get_num_threads()
    torch.set_num_threads(1)
