"""Code models in files: safetensors with what they are beside the numbers, checked when they are read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workbench.descriptors.codes.fitting import KINDS
from workbench.descriptors.codes.models import CodeModel, KernelCodes, LayeredCodes
from workbench.errors import ArchiveInvalid
from workbench.files import write_bytes

FORMAT = "workbench-codes"
VERSION = 1
_KERNEL = ("klsh", "kslsh")
_FLOAT = np.dtype(np.float32)


def save_codes(model: CodeModel, path: str | Path) -> None:
    """Write a model atomically as safetensors; its metadata are version, kind, bits and dim as JSON."""
    from safetensors.numpy import save

    about = {"version": VERSION, "kind": model.kind, "bits": model.bits, "dim": model.dim}
    tensors = {name: np.ascontiguousarray(values, np.float32) for name, values in model.tensors().items()}
    # One entry only: safetensors writes several in any order, and equal models must give equal files.
    write_bytes(path, save(tensors, {FORMAT: json.dumps(about)}))


def load_codes(path: str | Path) -> CodeModel:
    """Read a model.

    Raises:
        ArchiveInvalid: there is none, it is damaged, of a newer version, or its parts disagree.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    mend = "Restore it from a copy, or delete it and fit the codes again."
    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {}).get(FORMAT, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - the file is no mapping
    except (OSError, ValueError, SafetensorError) as error:
        raise ArchiveInvalid(f"{path} holds no codes that can be read ({error}). {mend}") from error
    if not isinstance(about, dict) or about.get("version") != VERSION:
        raise ArchiveInvalid(
            f"{path} is not {FORMAT} version {VERSION}, which this program reads, but says {about or 'nothing'}. Update the "
            "program, or fit the codes again."
        )
    model = _assembled(str(about.get("kind")), tensors)
    if model is None or (model.bits, model.dim) != (about.get("bits"), about.get("dim")):
        raise ArchiveInvalid(f"{path}: its parts do not make a model of {about.get('kind')} codes. {mend}")
    return model


def _assembled(kind: str, tensors: dict[str, NDArray[np.float32]]) -> CodeModel | None:
    """The model that arrays make, or None where one is missing, strange, or of a shape that does not fit."""
    sound = all(values.dtype == _FLOAT and values.size and np.isfinite(values).all() for values in tensors.values())
    if kind not in KINDS or not sound:
        return None
    model = _kernel(kind, tensors) if kind in _KERNEL else _layered(kind, tensors)
    return None if model is None or model.bits % 8 else model


def _kernel(kind: str, tensors: dict[str, NDArray[np.float32]]) -> KernelCodes | None:
    if set(tensors) != {"anchors", "bandwidth", "weights", "bias"}:
        return None
    model = KernelCodes(kind, **tensors)
    count = len(model.anchors)
    shaped = model.anchors.ndim == model.weights.ndim == 2 and len(model.weights) == count
    fits = shaped and model.bias.shape == (model.bits,) and model.bandwidth.shape == (1,)
    return model if fits and model.bandwidth[0] > 0 else None


def _layered(kind: str, tensors: dict[str, NDArray[np.float32]]) -> LayeredCodes | None:
    count = len(tensors) // 2
    if not count or set(tensors) != {f"{part}.{place}" for part in ("weights", "bias") for place in range(count)}:
        return None
    weights = tuple(tensors[f"weights.{place}"] for place in range(count))
    biases = tuple(tensors[f"bias.{place}"] for place in range(count))
    if any(values.ndim != 2 for values in weights) or any(values.ndim != 1 for values in biases):
        return None
    widths = [len(values) for values in weights[1:]]
    chained = [values.shape[1] for values in weights[:-1]] == widths
    biased = [len(values) for values in biases] == [values.shape[1] for values in weights]
    return LayeredCodes(kind, weights, biases) if chained and biased else None
