"""The definition of the feature grids, in plain torch, on any device, in float32 or float64."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..spec import PRIMES, HashGridSpec


def hashgrid(
    x: torch.Tensor,  # [N, 3] in [0, 1]
    table: torch.Tensor,  # [entries, 2]
    spec: HashGridSpec,
) -> torch.Tensor:  # [2 * levels, N]
    """Multi-resolution features, trilinearly interpolated. Differentiable in `table` and `x`."""
    features = []
    for level in range(spec.levels):
        position = x * spec.scales[level] + 0.5
        base = position.detach().floor()
        fraction = position - base
        base = base.long()
        size, offset, res = spec.sizes[level], spec.offsets[level], spec.resolutions[level]
        total = torch.zeros(x.shape[0], 2, dtype=table.dtype, device=x.device)
        for corner in range(8):
            bit = torch.tensor([corner & 1, corner >> 1 & 1, corner >> 2 & 1], device=x.device)
            cell = base + bit
            weight = torch.where(bit.bool(), fraction, 1 - fraction).prod(-1)
            if spec.dense[level] or spec.tiled:
                index = cell[:, 0] + cell[:, 1] * res + cell[:, 2] * res * res
                index = index if spec.dense[level] else index % size
            else:
                index = (
                    cell[:, 0] * PRIMES[0] ^ cell[:, 1] * PRIMES[1] ^ cell[:, 2] * PRIMES[2]
                ) % size
            total = total + weight[:, None].to(table.dtype) * table[offset + index]
        features.append(total)
    return torch.cat(features, 1).t()


def field_mlp(
    features: torch.Tensor,  # [C, N]
    weights: list[torch.Tensor],  # [out, in] each
    biases: list[torch.Tensor],  # [out] each
) -> torch.Tensor:  # [O, N]
    """A multi-layer perceptron with ReLU between layers, channels first. Differentiable in all
    arguments."""
    hidden = features
    for number, (weight, bias) in enumerate(zip(weights, biases)):
        hidden = weight @ hidden + bias[:, None]
        if number + 1 < len(weights):
            hidden = hidden.relu()
    return hidden


def grid_variation(
    grid: torch.Tensor,  # [D, H, W, C]
    first: float,
    others: float,
) -> torch.Tensor:  # []
    """first * V(channel 0) + others * V(the rest), V the mean squared difference of neighbours,
    summed over the axes."""
    total = torch.zeros((), dtype=grid.dtype, device=grid.device)
    for axis in range(3):
        difference = grid.diff(dim=axis).square()
        total = total + first * difference[..., 0].mean()
        if grid.shape[3] > 1:
            total = total + others * difference[..., 1:].mean()
    return total


def trilinear(
    x: torch.Tensor,  # [N, 3] in [-1, 1], order x, y, z
    grid: torch.Tensor,  # [D, H, W, C], axes z, y, x
) -> torch.Tensor:  # [N, C]
    """Values of a dense grid whose outermost points lie on the faces of [-1, 1]^3; clamped outside.
    Differentiable in both."""
    volume = grid.permute(3, 0, 1, 2)[None]
    out = F.grid_sample(
        volume,
        x[None, :, None, None].to(grid.dtype),
        mode="bilinear",
        padding_mode="border",
        align_corners=True,
    )
    return out[0, :, :, 0, 0].t()


def triplane(
    x: torch.Tensor, levels: list[torch.Tensor], axes: tuple[tuple[int, int], ...]
) -> torch.Tensor:
    """Features (B, N, C) of points (B, N, 3) on planes (B, P, R, R, C): levels summed, the mean
    over planes."""
    batch, count = len(x), len(axes)
    place = torch.stack([x[..., list(pair)] for pair in axes], 1).reshape(batch * count, 1, -1, 2)
    total: torch.Tensor | None = None
    for level in levels:
        flat = level.reshape(batch * count, *level.shape[2:]).permute(0, 3, 1, 2)
        sampled = torch.nn.functional.grid_sample(
            flat, place, mode="bilinear", padding_mode="zeros", align_corners=False
        )
        total = sampled if total is None else total + sampled
    assert total is not None
    return total.view(batch, count, total.shape[1], -1).mean(1).transpose(1, 2)
