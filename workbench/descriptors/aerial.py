"""The encoder shipped with the program: a compact network that was taught what larger ones see in any orientation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from workbench.descriptors.networks import Geometry, NetworkEncoder
from workbench.descriptors.pieces import Stage, Staged
from workbench.descriptors.weights import hash_of, load_into, read_state_dict
from workbench.files import atomic_write

NAME = "aerial"
WEIGHTS = Path(__file__).parent / "aerial.safetensors"
ARCHITECTURE = "efficientnet_lite0"
DIM, STRIDE, MARGIN, LARGEST_BLOCK = 512, 32, 288, 4096
NORMALISATION = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_FORMAT = "aerial-encoder"
_LAST, _MIDDLE = 1280, 192
_LEAST, _MIDDLE_SCALE = 1e-3, 0.4


class AerialNetwork(nn.Module):
    """EfficientNet-Lite0 without its classifier, and a linear layer on the pooled features."""

    def __init__(self) -> None:
        super().__init__()
        self.body = AerialBody()
        self.head = AerialHead()

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised RGB (batch, 3, rows, cols) to descriptors (batch, 512), each picture as one window."""
        return self.head(self.body(pixels).mean(dim=(2, 3)))  # type: ignore[no-any-return]


class AerialBody(nn.Module):
    """EfficientNet-Lite0's last features and, beside them, those of its last but one stage.

    The network (Tan and Le 2019; the Lite variant leaves out squeeze-and-excitation and swish, so it is plain
    convolutions and a feature depends on its surroundings only) has 3.4 million weights and keeps timm's names, so that
    it can be a U-Net's encoder. Earlier features know less of ImageNet's classes and more of texture, and both together
    find more than either (Yosinski et al. 2014, "How transferable are features in deep neural networks?").
    """

    def __init__(self) -> None:
        super().__init__()
        import timm

        network: Any = timm.create_model(ARCHITECTURE, num_classes=0, global_pool="")
        self.conv_stem, self.bn1, self.blocks = network.conv_stem, network.bn1, network.blocks
        self.conv_head, self.bn2 = network.conv_head, network.bn2

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised RGB (batch, 3, rows, cols) to features (batch, 1280 + 192, rows / 32, cols / 32)."""
        return self._ends(self.blocks[2:-1](self._stem(pixels)))

    def staged(self) -> Staged:
        """The same in stages for large blocks."""
        blocks = self.blocks
        stages = (
            Stage(self._stem, 4, 12, 512),
            Stage(blocks[2], 8, 24, 1024),
            Stage(blocks[3], 16, 48, 1024),
            Stage(blocks[4], 16, 96, 1536),
            Stage(blocks[5][:1], 32, 32, 2048),
            Stage(blocks[5][1:], 32),
            Stage(self._ends, 32),
        )
        return Staged(self, stages, early=2)

    def _stem(self, pixels: Tensor) -> Tensor:
        """Down to a quarter of the resolution."""
        return self.blocks[:2](self.bn1(self.conv_stem(pixels)))  # type: ignore[no-any-return]

    def _ends(self, middle: Tensor) -> Tensor:
        """From the last but one stage's features (batch, 192, rows, cols) to all (batch, 1472, rows, cols)."""
        last = self.bn2(self.conv_head(self.blocks[-1](middle)))
        return torch.cat([last, middle], dim=1)


class AerialHead(nn.Module):
    """From mean features (n, 1472) to descriptors (n, 512)."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(_LAST + _MIDDLE, DIM)

    def forward(self, pooled: Tensor) -> Tensor:
        """Evened out, then one linear layer, in single precision."""
        with torch.autocast(pooled.device.type, enabled=False):
            return self.linear(self.evened(pooled))  # type: ignore[no-any-return]

    @staticmethod
    def evened(pooled: Tensor) -> Tensor:
        """What the linear layer takes, float32 (n, 1472).

        Square roots of the last features make large activations count less (Perronnin et al. 2010, "Improving the
        Fisher kernel", section 3.2). The middle ones have both signs; they are scaled to vary as much in all.
        """
        last, middle = pooled.float().split([_LAST, _MIDDLE], dim=1)
        return torch.cat([torch.sqrt(last.clamp(min=0) + _LEAST), _MIDDLE_SCALE * middle], dim=1)


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

    folded(network.body)
    geometry = Geometry(DIM, STRIDE, MARGIN, LARGEST_BLOCK)
    return NetworkEncoder(NAME, network.body.staged(), geometry, hash_of(state), NORMALISATION, network.head)


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
