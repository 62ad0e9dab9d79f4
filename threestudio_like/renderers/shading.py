"""A point light on a field while it is distilled (DreamFusion, Poole et al. 2022): colours as they
are, lit, or the light alone. What looks right in all three has its shape in its geometry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F

from ..engine.random import RandomStream
from ..engine.schema.bounds import Positive, Share, Weight
from .cameras import Cameras


@dataclass(frozen=True, kw_only=True)
class ShadingConfig:
    """How often a step is lit, and by what. The numbers are threestudio's, with the light off."""

    diffuse_prob: Share = 0.0
    """Probability that a step is lit; 0 shows albedo in every step."""
    textureless_prob: Share = 0.5
    """Probability that a lit step shows the light alone, on white."""
    ambient_only: Share = 0.0
    """Share of the steps, at the beginning, that show albedo alone."""
    soft_shading: bool = False
    """Draw how much of the light is ambient in every step (Magic3D)."""
    ambient_light_color: tuple[float, float, float] = (0.1, 0.1, 0.1)
    diffuse_light_color: tuple[float, float, float] = (0.9, 0.9, 0.9)
    light_sample_strategy: Literal["dreamfusion", "magic3d"] = "dreamfusion"
    """dreamfusion: in the direction of the camera plus noise; magic3d: within 60 degrees of the
    camera's direction."""
    light_position_perturb: Weight = 1.0
    """Deviation of that noise, in scene units."""
    light_distance: tuple[Positive, Positive] = (0.8, 1.5)
    """Range of the light's distance from the origin."""

    def idle(self, words: Sequence[str], place: str) -> str:
        """See `stages.idle_values`: what never is lit has no use for a light."""
        lit = self.diffuse_prob > 0 or words[0] == "diffuse_prob"
        return "" if lit else f"--{place}diffuse-prob is 0"


@dataclass
class PointLight:
    """The light of a step: positions (B, 3), one for each camera; ambient and diffuse colours (3,);
    whether surfaces are white."""

    positions: torch.Tensor
    ambient: torch.Tensor
    diffuse: torch.Tensor
    textureless: bool = False

    def __call__(
        self,
        albedo: torch.Tensor,
        points: torch.Tensor,
        normals: torch.Tensor,
        positions: torch.Tensor,
    ) -> torch.Tensor:
        """Lit colours: albedo (ambient + diffuse max(0, n . l)), differentiable in all but the
        light (Poole et al. 2022, eq. 9).

        Args:
            albedo: (S, 3), taken as clamped to [0, 1].
            points, normals: (S, 3) of the surface; the normals have length 1.
            positions: (S, 3) of the light of each point.
        """
        towards = F.normalize(positions - points, dim=-1)
        facing = (normals * towards).sum(-1, keepdim=True).clamp_min(0)
        light = self.ambient.to(points) + facing * self.diffuse.to(points)
        # What no colour has a part in keeps a gradient of zero, not none.
        return albedo * 0 + light if self.textureless else albedo.clamp(0, 1) * light


def draw_light(
    config: ShadingConfig, cameras: Cameras, random: RandomStream, fraction: float
) -> PointLight | None:
    """The light of a step at `fraction` of the run; None where it shows albedo."""
    whole = random.whole
    if config.diffuse_prob <= 0 or fraction < config.ambient_only:
        return None
    if float(whole.uniform("shading")) >= config.diffuse_prob:
        return None
    ambient, diffuse = config.ambient_light_color, config.diffuse_light_color
    if config.soft_shading:
        share = float(whole.uniform("ambient light"))
        ambient, diffuse = (1 - share,) * 3, (share,) * 3
    return PointLight(
        light_positions(config, cameras, random),
        torch.tensor(ambient),
        torch.tensor(diffuse),
        textureless=float(whole.uniform("textureless")) < config.textureless_prob,
    )


def light_positions(config: ShadingConfig, cameras: Cameras, random: RandomStream) -> torch.Tensor:
    """Positions (B, 3) of the lights of cameras, drawn by `config.light_sample_strategy`."""
    eyes = cameras.camera_to_world[:, :3, 3].cpu()
    count = len(eyes)
    near, far = config.light_distance
    distance = near + (far - near) * random.uniform("light distance", (count, 1))
    if config.light_sample_strategy == "dreamfusion":
        noise = random.normal("light", (count, 3)) * config.light_position_perturb
        return F.normalize(eyes + noise, dim=-1) * distance
    z = F.normalize(eyes, dim=-1)
    x = F.normalize(torch.linalg.cross(z, torch.tensor([0.0, 1.0, 0.0]).expand(count, 3)), dim=-1)
    y = torch.linalg.cross(z, x)
    u = random.uniform("light", (count, 2))
    turn, rise = (2 * u[:, :1] - 1) * math.pi, u[:, 1:] * (math.pi / 3) + math.pi / 6
    return distance * (rise.cos() * (turn.cos() * x + turn.sin() * y) + rise.sin() * z)
