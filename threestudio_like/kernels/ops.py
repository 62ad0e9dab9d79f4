"""The operations on volumes. Each is differentiable as its reference states, whichever backend is
used.

Every function has a counterpart of the same name in `kernels.reference`, in plain torch, which
defines it.
"""

from __future__ import annotations

import torch

from .dispatch import implementation
from .reference import grids, volume
from .spec import HashGridSpec


def hashgrid(
    x: torch.Tensor,  # [N, 3] in [0, 1]
    table: torch.Tensor,  # [spec.entries, 2]
    spec: HashGridSpec,
) -> torch.Tensor:  # [2 * levels, N]
    """Multi-resolution grid features, channels first (take `.t()` for a Linear layer).

    Differentiable in `table`; in `x` too, then plain torch serves. Raises ValueError on wrong
    shapes. Where `table` is a leaf with a gradient already, the CPU backend adds to that gradient
    in place.

    Example:
        >>> spec = HashGridSpec(levels=4, log2_size=12)
        >>> table = torch.zeros(spec.entries, 2, requires_grad=True)
        >>> hashgrid(torch.rand(10, 3), table, spec).shape
        torch.Size([8, 10])
    """
    if x.ndim != 2 or x.shape[1] != 3 or table.shape != (spec.entries, 2):
        raise ValueError(
            f"hashgrid needs x [N, 3] and table [{spec.entries}, 2], got {list(x.shape)} "
            f"and {list(table.shape)}"
        )
    if x.requires_grad:
        return grids.hashgrid(x, table, spec)
    return implementation("hashgrid", grids.hashgrid, x, table)(x, table, spec)


def field_mlp(
    features: torch.Tensor,  # [C, N]
    weights: list[torch.Tensor],  # [out, in] each
    biases: list[torch.Tensor],  # [out] each
) -> torch.Tensor:  # [O, N]
    """A ReLU perceptron on channels-first features. Differentiable in all arguments."""
    return implementation("field_mlp", grids.field_mlp, features, *weights, *biases)(
        features, weights, biases
    )


def trilinear(
    x: torch.Tensor,  # [N, 3] in [-1, 1]
    grid: torch.Tensor,  # [D, H, W, C], axes z, y, x
) -> torch.Tensor:  # [N, C]
    """Values of a dense grid over [-1, 1]^3.

    Differentiable in `grid`. If `x` needs a gradient too, plain torch is used.
    """
    if x.ndim != 2 or x.shape[1] != 3 or grid.ndim != 4:
        raise ValueError(
            f"trilinear needs x [N, 3] and grid [D, H, W, C], got {list(x.shape)} and "
            f"{list(grid.shape)}"
        )
    if x.requires_grad:
        return grids.trilinear(x, grid)
    return implementation("trilinear", grids.trilinear, x, grid)(x, grid)


def triplane(
    x: torch.Tensor,  # [B, N, 3] in [-1, 1]
    levels: list[torch.Tensor],  # [B, P, R, R, C] each
    axes: tuple[tuple[int, int], ...],
) -> torch.Tensor:  # [B, N, C]
    """Features of points on planes: each level is read bilinearly (zero outside), the levels are
    summed, and the planes are averaged.

    Plane p is indexed by the coordinates `axes[p]`: the first runs along its columns, the second
    along its rows. Differentiable in the levels; if `x` needs a gradient too, plain torch is used.
    Raises ValueError for wrong shapes.
    """
    good = x.ndim == 3 and x.shape[2] == 3 and bool(levels)
    if not good or any(v.ndim != 5 or v.shape[:2] != (len(x), len(axes)) for v in levels):
        raise ValueError(
            f"triplane needs x [B, N, 3] and levels [B, {len(axes)}, R, R, C], got "
            f"{list(x.shape)} and {[list(v.shape) for v in levels]}"
        )
    if x.requires_grad:
        return grids.triplane(x, levels, axes)
    return implementation("triplane", grids.triplane, x, *levels)(x, levels, axes)


def grid_variation(
    grid: torch.Tensor,  # [D, H, W, C]
    first: float,
    others: float,
) -> torch.Tensor:  # []
    """first * V(channel 0) + others * V(the other channels), with V the mean squared difference of
    neighbours, summed over the axes.

    Differentiable in `grid`.
    """
    return implementation("grid_variation", grids.grid_variation, grid)(grid, first, others)


def march(
    origins: torch.Tensor,  # [R, 3]
    directions: torch.Tensor,  # [R, 3] unit
    occupied: torch.Tensor,  # [G, G, G] bool, axes z, y, x
    step: float,
    jitter: torch.Tensor,  # [R] in [0, 1)
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # t [S], ray [S] int64, offsets [R + 1] int64
    """Samples of rays through [-1, 1]^3 that lie in occupied cells, packed ray by ray. Not
    differentiable."""
    return implementation("march", volume.march, origins, directions, jitter)(
        origins, directions, occupied, step, jitter
    )


def composite(
    sigma: torch.Tensor,  # [S]
    features: torch.Tensor,  # [S, C]
    t: torch.Tensor,  # [S]
    offsets: torch.Tensor,  # [R + 1] int64
    step: float,
    stop: float = 1e-4,
) -> tuple[torch.Tensor, torch.Tensor]:  # [R, C + 2] features, opacity, depth; weights [S]
    """Emission-absorption compositing of packed samples. Differentiable in `sigma` and `features`.

    A ray is terminated when its transmittance falls below `stop`. The depth is the expected
    distance, not divided by the opacity.
    """
    serve = implementation("composite", volume.composite, sigma, features, t)
    return serve(sigma, features, t, offsets, step, stop)
