"""Known light on a matt or metallic surface: a second-order environment, as a quadratic form of the
normal."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..engine.random import RandomStream


@dataclass
class EnvironmentLight:
    """E(n) = (n, 1)^T M (n, 1): the display value of a white matt surface with normal n
    (Ramamoorthi and Hanrahan 2001, eq. 12).

    Display values are a power curve of light, so that the product of base colour and E in display
    values equals the product of base colour and light in linear values.

    Args:
        matrix: (4, 4) symmetric.
        power: exponent of E; below 1 for a light whose contrast a picture holds only in part.
    """

    matrix: torch.Tensor
    power: float = 1.0

    def __call__(self, normals: torch.Tensor) -> torch.Tensor:
        """Map unit normals (..., 3) to E (..., 1), at least 0.05. Differentiable."""
        n = torch.cat([normals, torch.ones_like(normals[..., :1])], -1)
        light = ((n @ self.matrix.to(n)) * n).sum(-1, keepdim=True).clamp_min(0.05)
        return light if self.power == 1.0 else light**self.power

    def reflected(
        self, normals: torch.Tensor, towards: torch.Tensor, roughness: torch.Tensor
    ) -> torch.Tensor:
        """The display value of a white metal: the environment in the mirror direction, blurred to E
        at roughness 1.

        Args:
            normals, towards: unit vectors (..., 3); `towards` points from the surface to the
                camera.
            roughness: (..., 1) in [0, 1].
        """
        mirror = 2 * (normals * towards).sum(-1, keepdim=True) * normals - towards
        # A matt surface attenuates the second order to a quarter and the first order to two thirds
        # (their eq. 8).
        sharp = self.matrix.to(normals).clone()
        sharp[:3, :3] *= 4.0
        sharp[3, :3] *= 1.5
        sharp[:3, 3] *= 1.5
        sharp[3, 3] -= (
            sharp[:3, :3].diagonal().sum() - self.matrix[:3, :3].diagonal().sum().to(sharp)
        ) / 3
        clear = EnvironmentLight(sharp, self.power)(mirror)
        return roughness * self(normals) + (1 - roughness) * clear

    def varied(self, random: RandomStream, strength: float) -> EnvironmentLight:
        """The light with a random gradient of random direction and sign added; its mean over all
        normals is unchanged.

        Args:
            strength: standard deviation of the added gradient, in display values.
        """
        change = torch.zeros(4, 4)
        change[3, :3] = random.normal("light", (3,)) * strength / 2
        change = change + change.t()
        return EnvironmentLight(self.matrix + change, self.power)


def ambient(level: float = 0.85) -> EnvironmentLight:
    """A light of the same strength from all directions."""
    matrix = torch.zeros(4, 4)
    matrix[3, 3] = level
    return EnvironmentLight(matrix)


def baked_light_index(
    luminance: torch.Tensor, light: torch.Tensor, region: torch.Tensor | None = None
) -> float:
    """How much of a light is painted into base colours: the slope of log luminance over log light,
    0 for none and 1 for all of it.

    Args:
        luminance: (N,) display values of base colours on the surface, above 0.
        light: (N,) E of the light at the same points.
        region: (N,) number of the material, if known. Each region has its own mean, so that a
            material that is dark by nature does not count as shaded.
    """
    keep = luminance > 0.02
    y, x = luminance[keep].double().log(), light[keep].double().log()
    number = torch.zeros_like(y, dtype=torch.long) if region is None else region[keep].long()
    count = torch.bincount(number).clamp_min(1)

    def centred(v: torch.Tensor) -> torch.Tensor:
        return v - (torch.zeros(len(count), dtype=v.dtype).index_add(0, number, v) / count)[number]

    x, y = centred(x), centred(y)
    return float((x * y).sum() / x.square().sum().clamp_min(1e-12))
