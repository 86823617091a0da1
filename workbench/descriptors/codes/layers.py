"""Small dense networks as plain tensors, for the codes that are trained."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

from workbench.descriptors.codes.models import SLOPE, LayeredCodes

Layers = list[tuple[torch.Tensor, torch.Tensor]]
"""Weights (inputs, outputs) and bias (outputs,) of each layer."""


def new_layers(sizes: tuple[int, ...], generator: torch.Generator) -> Layers:
    """Layers from each size to the next: uniform weights of even variance (Glorot & Bengio 2010), no bias."""
    layers = []
    for inputs, outputs in pairwise(sizes):
        reach = (6 / (inputs + outputs)) ** 0.5
        weights = (torch.rand(inputs, outputs, generator=generator) * 2 - 1) * reach
        layers.append((weights.requires_grad_(), torch.zeros(outputs, requires_grad=True)))
    return layers


def through(layers: Layers, values: torch.Tensor) -> torch.Tensor:
    """Outputs (n, out) of the last layer, before any non-linearity, for inputs (n, in)."""
    for place, (weights, bias) in enumerate(layers):
        hidden = torch.nn.functional.leaky_relu(values, SLOPE) if place else values
        values = hidden @ weights + bias
    return values


def parameters(*networks: Layers) -> list[torch.Tensor]:
    """All tensors of some networks, for an optimiser."""
    return [tensor for layers in networks for layer in layers for tensor in layer]


def layered_codes(kind: str, layers: Layers, input_scale: float = 1.0) -> LayeredCodes:
    """The model that encodes by trained layers, which saw descriptors times ``input_scale``."""
    weights = [layer[0].detach().numpy().astype(np.float32) for layer in layers]
    weights[0] = weights[0] * np.float32(input_scale)
    return LayeredCodes(kind, tuple(weights), tuple(layer[1].detach().numpy().astype(np.float32) for layer in layers))
