"""MV-Adapter (Huang et al. 2024): Stable Diffusion XL, whose self-attention has a second one beside
it along the rows of six views, and which is told their cameras by an adapter of T2I's kind.

Its pictures were taken without perspective, upright, from azimuth 0, 45, 90, 180, 270 and 315, and
its noise is the stronger the later the time (the signal-to-noise ratio falls by eight more in the
end). The published world has +Z up and the object's front at -Y; a pixel of a camera's image has
the direction of view and the camera's place on the unit sphere, each from 0 to 1.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from ....engine.errors import ModelError
from ....engine.turns import alone
from ....renderers.cameras import Cameras
from ...diffusion import CameraProtocol, Condition, PriorFacts
from ...networks.attention import ViewAttention
from ...noise_schedule import NoiseSchedule
from ...text.packed import Text
from ..base import DiffusersPrior
from ..parts import compare, shapes_in
from ..sdxl import StableDiffusionXLPrior
from .view_prior import ViewPrior

AZIMUTHS = (0.0, 45.0, 90.0, 180.0, 270.0, 315.0)
POSES = tuple((azimuth, 0.0) for azimuth in AZIMUTHS)
PROTOCOL = CameraProtocol(12.6, 10.0, elevation=(0.0, 0.0), background=(0.5, 0.5))
"""Nearly without perspective, and as wide as the published pictures, a tenth more than the
object."""
SHIFT = 8.0
NUMBERS = 6
UNSHUFFLED = 16
"""Pixels along an edge that the adapter begins with as one."""
NETWORK = ("down_blocks.", "mid_block.", "up_blocks.")


class RowAttention(nn.Module):
    """Self-attention, and beside it one along a row of all views together."""

    def __init__(self, width: int, views: int) -> None:
        super().__init__()
        self.views, self.plain = views, ViewAttention()
        self.to_q_mv = nn.Linear(width, width, bias=False)
        self.to_k_mv = nn.Linear(width, width, bias=False)
        self.to_v_mv = nn.Linear(width, width, bias=False)
        self.to_out_mv = nn.ModuleList([nn.Linear(width, width)])

    def forward(
        self, attn: Any, hidden_states: torch.Tensor, *arguments: Any, **keywords: Any
    ) -> torch.Tensor:
        """States (B, T, C) of the same shape, as a processor of diffusers."""
        own = self.plain(attn, hidden_states, *arguments, **keywords)
        batch, tokens, width = hidden_states.shape
        edge = round(tokens**0.5)

        def rows(x: torch.Tensor) -> torch.Tensor:
            # (b v) (h w) c -> (b h) (v w) c
            x = x.reshape(-1, self.views, edge, edge, width).transpose(1, 2)
            x = x.reshape(-1, self.views * edge, attn.heads, width // attn.heads)
            return x.transpose(1, 2)

        seen = F.scaled_dot_product_attention(
            rows(self.to_q_mv(hidden_states)),
            rows(self.to_k_mv(hidden_states)),
            rows(self.to_v_mv(hidden_states)),
        )
        seen = seen.transpose(1, 2).reshape(-1, edge, self.views, edge, width)
        seen = seen.transpose(1, 2).reshape(batch, tokens, width)
        return own + self.to_out_mv[0](seen)


def camera_images(cameras: Cameras) -> torch.Tensor:
    """What a pixel of each camera's image is (B, 6), from 0 to 1."""
    place = F.normalize(cameras.camera_to_world[:, :3, 3].float(), dim=-1)
    view = -cameras.camera_to_world[:, :3, 2].float()
    both = torch.stack([view, place], 1)
    # Our +Z (front) is the published -Y, and our +Y (up) its +Z.
    turned = torch.stack([both[..., 0], -both[..., 2], both[..., 1]], -1)
    return ((turned.flatten(1) + 1) / 2).clamp(0, 1)


def shifted(schedule: NoiseSchedule, scale: float = SHIFT) -> NoiseSchedule:
    """A schedule whose signal-to-noise ratio falls by `scale` more until its end, evenly in its
    logarithm."""
    abar = schedule.alphas_cumprod.double()
    share = torch.arange(len(abar), dtype=torch.float64) / (len(abar) - 1)
    ratio = abar / (1 - abar) * scale ** (-share)
    return replace(schedule, alphas_cumprod=(ratio / (1 + ratio)).float())


class MVAdapterPrior(ViewPrior, StableDiffusionXLPrior):
    """MV-Adapter's adapter, for a folder of Stable Diffusion XL and --load.view_adapter's file."""

    together, poses = len(POSES), POSES

    @property
    def file(self) -> Path:
        """The adapter's weights. Raises ModelError where there are none."""
        path = self.config.view_adapter
        if path is None or not path.is_file() or path.suffix != ".safetensors":
            raise ModelError(
                "is no .safetensors file",
                f"--load.view_adapter {path}",
                "Give mvadapter_t2mv_sdxl.safetensors",
            )
        return path

    def check(self) -> None:
        """See `DiffusersPrior.check`."""
        super().check()
        shapes_in([self.file])

    def described(self, facts: PriorFacts) -> PriorFacts:
        """See `ViewPrior.described`."""
        facts.camera = facts.camera or PROTOCOL
        facts.preset = "mv-adapter"
        return super().described(facts)

    def _schedule(self) -> NoiseSchedule:
        return shifted(super()._schedule())

    @alone()
    def _load_networks(self) -> None:
        DiffusersPrior._load_networks(self)
        self.processor = None
        from diffusers import T2IAdapter

        widths = tuple(self.denoiser.config.block_out_channels)
        self.encoder: Any = T2IAdapter(
            in_channels=NUMBERS,
            channels=[*widths, widths[-1]],
            num_res_blocks=2,
            downscale_factor=UNSHUFFLED,
            adapter_type="full_adapter_xl",
        )
        processors: dict[str, Any] = {}
        for name in self.denoiser.attn_processors:
            processors[name] = ViewAttention()
            if name.endswith("attn1.processor"):
                layer = self.denoiser.get_submodule(name.removesuffix(".processor"))
                processors[name] = RowAttention(layer.to_q.in_features, self.together)
        self.denoiser.set_attn_processor(processors)
        self._load_adapter()

    def _load_adapter(self) -> None:
        own = {
            k: v for k, v in self.denoiser.state_dict().items() if ".processor." in k and "_mv" in k
        }
        wanted = {**own, **self.encoder.state_dict()}
        where = str(self.file)
        compare({k: tuple(v.shape) for k, v in wanted.items()}, shapes_in([self.file]), where)
        tensors = {k: v.to(self.dtype) for k, v in load_file(self.file).items()}
        network = {k: v for k, v in tensors.items() if k.startswith(NETWORK)}
        self.denoiser.load_state_dict(network, strict=False)
        rest = {k: v for k, v in tensors.items() if not k.startswith(NETWORK)}
        self.encoder.load_state_dict(rest)
        self.denoiser.to(self.dtype)
        self.encoder.to(self.dtype)

    def _networks(self) -> list[Any]:
        return [*super()._networks(), self.encoder]

    def _place(self) -> None:
        # Slices would take the place of the attention along rows.
        DiffusersPrior._place(self)

    def _predict(
        self, latents: torch.Tensor, t: torch.Tensor, condition: Condition, call: Any = None
    ) -> torch.Tensor:
        return DiffusersPrior._predict(self, latents, t, condition)

    def answer(
        self, x: torch.Tensor, t: torch.Tensor, text: Text, condition: Condition
    ) -> torch.Tensor:
        """See `DiffusersPrior.answer`. Raises ModelError on other views than the six."""
        self.check_views(len(x), t, condition)
        self.check_poses(condition)
        told: dict[str, Any] = {}
        if condition.cameras is not None:
            edge = x.shape[-1] * 8
            pixels = camera_images(condition.cameras).to(x)[..., None, None]
            states = self.encoder(pixels.expand(-1, -1, edge, edge))
            told["down_intrablock_additional_residuals"] = list(states)
        added = self.added(x, text)
        return self.denoiser(x, self.schedule.time(t), text.states, **added, **told).sample
