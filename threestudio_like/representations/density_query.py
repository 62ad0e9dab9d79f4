"""Density and features at points of Gaussians, by local blocks (Tang et al. 2023, DreamGaussian):
a block of points looks only at the Gaussians that reach into it."""

from __future__ import annotations

from typing import Protocol

import torch

from ..kernels.reference.gaussians import rotation_matrices

BLOCKS = 16
"""Blocks along the edge of [-1, 1]^3."""
REACH = 3.0
"""Deviations beyond which a Gaussian is not looked at."""
DENSITY = 40.0
"""Density per scene unit where the opacities of the Gaussians add up to one."""


class Shapes(Protocol):
    """What is known of Gaussians, see `gaussians.Gaussians`."""

    @property
    def means(self) -> torch.Tensor:
        """(N, 3)."""

    @property
    def scales(self) -> torch.Tensor:
        """(N, 3)."""

    @property
    def rotations(self) -> torch.Tensor:
        """(N, 4)."""

    @property
    def opacities(self) -> torch.Tensor:
        """(N,)."""


def query(
    points: torch.Tensor, own: Shapes, features: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Density (P,) and features (P, C) at points (P, 3): 40 sum_i o_i exp(-0.5 d_i^2) with the
    distance d_i in deviations of Gaussian i, and the mean of the features weighted by the terms.
    Differentiable.

    Args:
        features: (N, C) of the Gaussians; None for densities alone (features (P, 0)).
    """
    values = own.means.new_zeros(len(own.means), 0) if features is None else features
    axes = rotation_matrices(own.rotations)
    inverse = axes / own.scales.clamp_min(1e-4)[:, None]
    half = REACH * (axes.detach() * own.scales.detach()[:, None]).norm(dim=-1)
    low, high = own.means.detach() - half, own.means.detach() + half
    cell = ((points.detach() + 1) * (BLOCKS / 2)).long().clamp(0, BLOCKS - 1)
    block = (cell[:, 0] * BLOCKS + cell[:, 1]) * BLOCKS + cell[:, 2]
    block, order = block.sort(stable=True)
    _, sizes = block.unique_consecutive(return_counts=True)
    densities, shown = [], []
    for part in order.split(sizes.tolist()):
        here = points[part]
        touch = (high > here.detach().amin(0)).all(-1) & (low < here.detach().amax(0)).all(-1)
        near = touch.nonzero()[:, 0]
        if not len(near):
            densities.append(points.new_zeros(len(part)))
            shown.append(points.new_zeros(len(part), values.shape[1]))
            continue
        away = here[:, None] - own.means[near]
        square = torch.einsum("pni,nij->pnj", away, inverse[near]).square().sum(-1)
        weight = own.opacities[near] * torch.exp(-0.5 * square)
        weight = torch.where(square < REACH * REACH, weight, torch.zeros_like(weight))
        total = weight.sum(1)
        densities.append(DENSITY * total)
        shown.append(weight @ values[near] / total.clamp_min(1e-8)[:, None])
    if not densities:
        return points.new_zeros(0), points.new_zeros(0, values.shape[1])
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order), device=order.device)
    return torch.cat(densities)[back], torch.cat(shown)[back]
