"""Where a network runs and in which precision: CUDA, Apple's GPU or the processor."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from workbench.jobs import cpu_threads


@dataclass(frozen=True)
class Device:
    """A torch device and whether its matrix units take bfloat16."""

    name: str
    bfloat16: bool

    def autocast(self) -> AbstractContextManager[object]:
        """Mixed precision where the hardware has it, else nothing."""
        return torch.autocast(self.name, dtype=torch.bfloat16) if self.bfloat16 else nullcontext()


def best_device() -> Device:
    """The fastest device here; on the processor, torch is given the threads this thread may take."""
    if torch.cuda.is_available():
        return Device("cuda", torch.cuda.is_bf16_supported())
    if torch.backends.mps.is_available():
        return Device("mps", False)
    torch.set_num_threads(cpu_threads())
    return Device("cpu", _processor_has_bfloat16())


def _processor_has_bfloat16() -> bool:
    # Emulated bfloat16 is slower than float32, and torch has no public question for the instruction set.
    asks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, ask, lambda: False)()) for ask in asks)
