"""A perceptron that does not store its hidden values: the backward pass computes them again, chunk
by chunk. It runs on any device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable

Layers = list[torch.Tensor]
Forward = Callable[[torch.Tensor, Layers, Layers, int], torch.Tensor]
"""(features [C, N], weights, biases, chunk) -> [O, N]."""


def hidden_values(x: torch.Tensor, weights: Layers, biases: Layers) -> list[torch.Tensor]:
    """The values after every layer, with a ReLU between layers."""
    hidden = []
    for i, (weight, bias) in enumerate(zip(weights, biases)):
        x = torch.addmm(bias[:, None], weight, x)
        if i + 1 < len(weights):
            x = x.relu_()
        hidden.append(x)
    return hidden


def layers_in_turn(
    features: torch.Tensor, weights: Layers, biases: Layers, chunk: int
) -> torch.Tensor:
    """The forward pass by matrix products, `chunk` points at a time."""
    out = features.new_empty(weights[-1].shape[0], features.shape[1])
    for begin in range(0, features.shape[1], chunk):
        piece = slice(begin, begin + chunk)
        out[:, piece] = hidden_values(features[:, piece], weights, biases)[-1]
    return out


class ChunkedPerceptron(torch.autograd.Function):
    """apply(features, number of layers, forward pass, chunk, *weights, *biases)."""

    @staticmethod
    def forward(
        ctx: Any,
        features: torch.Tensor,
        count: int,
        forward: Forward,
        chunk: int,
        *layers: torch.Tensor,
    ) -> torch.Tensor:
        ctx.save_for_backward(features, *layers)
        ctx.count, ctx.chunk = count, chunk
        return forward(features, list(layers[:count]), list(layers[count:]), chunk)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: torch.Tensor) -> Any:
        features, *layers = ctx.saved_tensors
        weights, biases = layers[: ctx.count], layers[ctx.count :]
        grad_weights = [torch.zeros_like(w) for w in weights]
        grad_biases = [torch.zeros_like(b) for b in biases]
        grad_features = torch.empty_like(features) if ctx.needs_input_grad[0] else None
        for begin in range(0, features.shape[1], ctx.chunk):
            piece = slice(begin, begin + ctx.chunk)
            hidden = hidden_values(features[:, piece], weights, biases)
            grad = grad_out[:, piece]
            for i in range(ctx.count - 1, -1, -1):
                below = features[:, piece] if i == 0 else hidden[i - 1]
                grad_weights[i].addmm_(grad, below.t())
                grad_biases[i] += grad.sum(1)
                if i > 0:
                    grad = (weights[i].t() @ grad).mul_(below > 0)
                elif grad_features is not None:
                    grad_features[:, piece] = weights[0].t() @ grad
        return grad_features, None, None, None, *grad_weights, *grad_biases
