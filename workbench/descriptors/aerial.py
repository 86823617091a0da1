"""The encoder shipped with the program: a compact network that was taught what larger ones see in any orientation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from workbench.descriptors.networks import Geometry, NetworkEncoder
from workbench.descriptors.weights import hash_of, load_into, read_state_dict
from workbench.files import atomic_write

NAME = "aerial"
WEIGHTS = Path(__file__).parent / "aerial.safetensors"
ARCHITECTURE = "efficientnet_lite0"
DIM, RAW, STRIDE, MARGIN = 512, 1280, 32, 288
NORMALISATION = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_FORMAT = "aerial-encoder"
_LEAST = 1e-3


class AerialNetwork(nn.Module):
    """EfficientNet-Lite0 without its classifier, and a linear layer on the square roots of the pooled features.

    The body (Tan and Le 2019; the Lite variant leaves out squeeze-and-excitation and swish, so it is plain convolutions
    and a feature depends on its surroundings only) has 3.4 million weights and timm's names, so that it can be a
    U-Net's encoder. Square roots make large activations count less (Perronnin et al. 2010, "Improving the Fisher
    kernel", section 3.2).
    """

    def __init__(self) -> None:
        super().__init__()
        import timm

        network = timm.create_model(ARCHITECTURE, num_classes=0, global_pool="")
        self.body: nn.Module = network
        self.head = AerialHead()

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised RGB (batch, 3, rows, cols) to descriptors (batch, 512), each picture as one window."""
        return self.head(self.body(pixels).mean(dim=(2, 3)))  # type: ignore[no-any-return]


class AerialHead(nn.Module):
    """From mean features (n, 1280) to descriptors (n, 512)."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(RAW, DIM)

    def forward(self, pooled: Tensor) -> Tensor:
        """Square roots, then one linear layer, in single precision."""
        with torch.autocast(pooled.device.type, enabled=False):
            return self.linear(self.roots(pooled))  # type: ignore[no-any-return]

    @staticmethod
    def roots(pooled: Tensor) -> Tensor:
        """What the linear layer takes, float32 (n, 1280)."""
        return torch.sqrt(pooled.float().clamp(min=0) + _LEAST)


def load_aerial(weights: str | Path | None = None) -> NetworkEncoder:
    """The shipped encoder, or another training of it.

    Args:
        weights: a file of `save_aerial`; that of the package when None.

    Raises:
        WeightsUnavailable: it is no such file.
    """
    state = read_state_dict(weights if weights is not None else WEIGHTS)
    network = AerialNetwork()
    load_into(network, state, NAME)
    from workbench.descriptors.folding import folded

    geometry = Geometry(DIM, STRIDE, MARGIN)
    return NetworkEncoder(NAME, folded(network.body), geometry, hash_of(state), NORMALISATION, network.head)


def save_aerial(network: AerialNetwork, path: Path, card: Mapping[str, object]) -> None:
    """Write an encoder in half precision, atomically.

    Args:
        network: to write.
        path: ``.safetensors``.
        card: what it was trained on and how, JSON values.
    """
    from safetensors.torch import save_file

    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    half = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    with atomic_write(path) as aside:
        save_file(half, aside, metadata={_FORMAT: json.dumps(dict(card))})


def card_of(path: Path = WEIGHTS) -> dict[str, object]:
    """What an encoder was trained on and how."""
    with safe_open(path, framework="pt") as file:
        return json.loads((file.metadata() or {}).get(_FORMAT, "{}"))  # type: ignore[no-any-return]
