"""The Field contract of all volumetric representations, the density blob and the density
activations."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn

from .representation import Representation


class Field(Representation):
    """A volume over [-1, 1]^3: ``forward(points (N, 3)) -> density (N,), features (N, C)``.

    C is 4 in the latent space of a Stable-Diffusion prior, 3 in RGB. Density is per scene unit and
    not negative.
    """

    def forward(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Density (N,) and features (N, C) at points (N, 3)."""
        raise TypeError(f"{type(self).__name__} does not define its density")

    def density(self, points: torch.Tensor) -> torch.Tensor:
        """The density (N,) at points (N, 3), without the features."""
        return self.forward(points)[0]

    def normals(
        self, points: torch.Tensor, epsilon: float = 1e-2, central: bool = True
    ) -> torch.Tensor:
        """Unit outward normals (N, 3) by differences of the density, differentiable.

        Args:
            central: between points on both sides (METHODS 1.3); False: between the point and one on
                each axis, two thirds of the work (threestudio's finite_difference).
        """
        if not central:
            offsets = epsilon * torch.eye(3).to(points)
            beyond = (points[None] + offsets[:, None]).reshape(-1, 3).clamp(-1, 1)
            around = self.density(torch.cat([points, beyond])).view(4, -1)
            return nn.functional.normalize((around[:1] - around[1:]).t(), dim=-1, eps=1e-8)
        offsets = epsilon * torch.cat([torch.eye(3), -torch.eye(3)]).to(points)
        around = self.density((points[None] + offsets[:, None]).reshape(-1, 3).clamp(-1, 1)).view(
            6, -1
        )
        return nn.functional.normalize((around[3:] - around[:3]).t(), dim=-1, eps=1e-8)


class _TruncatedExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return torch.exp(x)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return grad * torch.exp(x.clamp(-15, 15))


def truncated_exp(x: torch.Tensor) -> torch.Tensor:
    """exp whose gradient is taken at x clamped to [-15, 15] (METHODS 1.2)."""
    return _TruncatedExp.apply(x)


def density_blob(points: torch.Tensor, strength: float = 5.0, width: float = 0.2) -> torch.Tensor:
    """The bias strength * exp(-|x|^2 / (2 width^2)) of points (N, 3), which is added before the
    activation; returns (N,)."""
    return strength * torch.exp(-points.square().sum(-1) / (2 * width * width))


def linear_blob(points: torch.Tensor, strength: float = 10.0, width: float = 0.5) -> torch.Tensor:
    """The bias strength (1 - |x| / width) of points (N, 3) (Lin et al. 2023, Magic3D); returns
    (N,)."""
    return strength * (1 - points.norm(dim=-1) / width)


def activate_density(
    raw: torch.Tensor, kind: Literal["exp", "softplus"], scale: float = 1.0
) -> torch.Tensor:
    """Density of the raw output: a truncated exponential or softplus, times `scale`."""
    density = truncated_exp(raw) if kind == "exp" else nn.functional.softplus(raw)
    return density if scale == 1.0 else density * scale
