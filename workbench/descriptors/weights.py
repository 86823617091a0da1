"""Network weights from files: read without running anything from them, named by a hash, looked for on this machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch

from workbench.errors import WeightsUnavailable


def read_state_dict(path: str | Path) -> dict[str, torch.Tensor]:
    """Read network weights without running anything from the file; half-precision weights become float32.

    Raises:
        WeightsUnavailable: missing, damaged, or not a plain state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsUnavailable(
            f"There are no weights at {path}. Check the path, or leave weights out to download them."
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch has a dozen classes for a bad file; all mean the same
        reason = str(error).strip().splitlines()
        raise WeightsUnavailable(
            f"{path.name} is not a plain file of weights ({reason[0][:160] if reason else type(error).__name__}). "
            "Give a state dict saved by torch.save or safetensors; nothing was run from it."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsUnavailable(f"{path.name} holds no state dict. Save model.state_dict(), not the model.")
    return {key: value.float() if value.is_floating_point() else value for key, value in state.items()}


def load_into(network: torch.nn.Module, state: dict[str, torch.Tensor], name: str) -> None:
    """Load a state dict into a network.

    Raises:
        WeightsUnavailable: it is another network's.
    """
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsUnavailable(
            f"The weights do not fit {name}: {str(error).splitlines()[-1].strip()[:200]} "
            f"Give a state dict of {name}, or name the encoder the file belongs to."
        ) from error


def hash_of(state: dict[str, torch.Tensor]) -> str:
    """Names the exact weights: 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for key in sorted(state):
        digest.update(key.encode())
        digest.update(np.ascontiguousarray(state[key].numpy()).tobytes())
    return digest.hexdigest()
