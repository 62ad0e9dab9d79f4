"""Zero-1-to-3 (Liu et al. 2023) and Stable Zero123: a picture of an object and a change of camera
make the object's picture from there.

The UNet attends to one token, the picture's CLIP embedding and four numbers of the camera through a
linear layer, and is given the picture's latents, unscaled, beside the noisy ones. Unconditional
predictions have zeros for both. The numbers are the polar angle less the picture's, sine and cosine
of the azimuth less the picture's, which grows to the right of the object's front as ours does, and
the distance less the picture's; Stable Zero123 is told the picture's own polar angle instead of the
distance.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ....engine.errors import ModelError
from ....renderers.cameras import Cameras
from ...diffusion import CameraProtocol, Condition, PriorFacts, Reference
from ...model_folder import read_config
from ...text.embeddings import EmbeddingStore
from ...text.packed import Text
from ..parts import load_network, shapes_in, weight_files
from ..records import UnetRecord
from ..text import TextSide
from .pictures import PictureProcessor, at_edge, vision_of
from .view_prior import NoText, ViewPrior

WHITE = 1.0
POSE = 4
"""Numbers of a camera."""
PROTOCOL = CameraProtocol(3.0, 40.0, elevation=(-10.0, 80.0), background=(1.0, 1.0))
"""Its pictures were taken with 49.1 degrees from 1.5 to 2.2 times the object's longest edge; an
object that fills four fifths of this camera's picture has the same perspective."""
PROJECTIONS = {
    "clip_camera_projection": ("CLIPCameraProjection", "proj"),
    "cc_projection": ("CCProjection", "projection"),
}
"""Folders of the linear layer, its class there, and its name in it."""


class Projection(nn.Module):
    """The linear layer from a picture's embedding and a camera to a token."""

    def __init__(self, name: str, width: int, given: int) -> None:
        super().__init__()
        self.name = name
        self.add_module(name, nn.Linear(given, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, given) to (B, width)."""
        return self.get_submodule(self.name)(x)


def pose_numbers(cameras: Cameras, reference: Reference, stable: bool) -> torch.Tensor:
    """The four numbers (B, 4) of cameras, seen from a picture's."""
    turned = cameras.azimuth - reference.azimuth
    last = cameras.distance - reference.distance
    if stable:
        last = torch.full_like(last, math.pi / 2 - reference.elevation)
    polar = reference.elevation - cameras.elevation
    return torch.stack([polar, turned.sin(), turned.cos(), last], -1).float()


class Zero123Prior(ViewPrior):
    """Zero123's adapter, for both layouts of its ports to diffusers."""

    part = "unet"
    swaps_vae = False
    kind = "UNet2DConditionModel"
    vision, wants_reference = "image_encoder", True
    processors = ("feature_extractor",)

    def check(self) -> None:
        """See `DiffusersPrior.check`."""
        super().check()
        self.unet_facts = read_config(self.folder, "unet", UnetRecord)
        given, own = self.unet_facts.in_channels, self.channels()
        if given != 2 * own:
            raise ModelError(
                f"its UNet takes {given} channels, and Zero123's takes the picture's {own} beside "
                f"the {own} noisy ones",
                str(self.folder),
            )
        there = [name for name in PROJECTIONS if (self.folder / name).is_dir()]
        if not there:
            raise ModelError(
                "has no projection of picture and camera",
                str(self.folder),
                f"It is a folder {' or '.join(PROJECTIONS)}; download the model again, whole",
            )
        self.projection_part = there[0]

    def channels(self) -> int:
        """See `DiffusersPrior.channels`."""
        return self.vae_facts.latent_channels

    def size(self) -> int:
        """See `DiffusersPrior.size`."""
        wanted = self.config.image_size // self.downscale_of_latents
        return wanted or self.unet_facts.sample_size

    @property
    def stable(self) -> bool:
        """Whether its fourth number is Stable Zero123's: as --load.pose or prior.json says, and
        else by the model's name, for its files do not tell."""
        chosen = self.own.pose if self.config.pose == "auto" else self.config.pose
        if chosen is not None:
            return chosen == "stable-zero123"
        return "stable" in f"{self.name} {Path(self.folder).resolve().name}".lower()

    def described(self, facts: PriorFacts) -> PriorFacts:
        """See `ViewPrior.described`."""
        facts.camera = facts.camera or PROTOCOL
        facts.reads_text = False
        facts.preset = "stable-zero123" if self.stable else "zero123"
        if self.config.pose == "auto" and self.own.pose is None:
            facts.notes = (
                f"By its name the model is told cameras as {facts.preset} is; its files do not say "
                "(--load.pose)",
            )
        return super().described(facts)

    def text_side(self, embeddings: EmbeddingStore) -> TextSide:
        """See `DiffusersPrior.text_side`."""
        return NoText()

    def load_denoiser(self) -> Any:
        """See `DiffusersPrior.load_denoiser`; the linear layer beside it."""
        kind, name = PROJECTIONS[self.projection_part]
        shapes = shapes_in(weight_files(self.folder / self.projection_part))
        width, given = shapes.get(f"{name}.weight", (0, 0))
        if given != width + POSE:
            raise ModelError(
                f"its projection takes {given} numbers, and Zero123's {width} of a picture and "
                f"{POSE} of a camera",
                str(self.folder / self.projection_part),
            )
        self.projection = load_network(
            *(self.folder, self.projection_part, lambda: Projection(name, width, given)),
            dtype=self.dtype,
            classes=(kind,),
        )
        return super().load_denoiser()

    def _networks(self) -> list[Any]:
        return [*super()._networks(), self.projection]

    def encode_reference(self, reference: Reference) -> tuple[torch.Tensor, torch.Tensor]:
        """The unscaled latents (C, h, w) of the picture before white, and its embedding (D,)."""
        picture = reference.before(WHITE)
        seen = at_edge(picture, self.facts.image_size).to(self.device, self.vae_dtype)
        coded = self.vae.encode(seen.permute(0, 3, 1, 2) * 2 - 1).latent_dist.mode()
        # Through whole bytes at the model's size, as the published code does it.
        pixels = PictureProcessor.read(self.folder, self.processors[0])(seen[0].float())
        told = vision_of(
            *(self.folder, self.vision, pixels, self.device), dtype=self.vae_dtype
        ).image_embeds[0]
        if told.shape[-1] + POSE != self._projected:
            raise ModelError(
                f"its image encoder says {told.shape[-1]} numbers, and its projection takes "
                f"{self._projected - POSE}",
                str(self.folder),
            )
        return coded[0], told

    @property
    def _projected(self) -> int:
        return int(next(self.projection.parameters()).shape[1])

    def denoise(
        self, network: Any, x: torch.Tensor, time: torch.Tensor, text: Text
    ) -> torch.Tensor:
        """With a picture that shows nothing."""
        token = x.new_zeros(len(x), 1, self._projected - POSE)
        return network(torch.cat([x, torch.zeros_like(x)], 1), time, token).sample

    def answer(
        self, x: torch.Tensor, t: torch.Tensor, text: Text, condition: Condition
    ) -> torch.Tensor:
        """See `DiffusersPrior.answer`. Raises ModelError without a picture, or without cameras."""
        latents, embedding = self.reference(condition)
        if condition.cameras is None or condition.reference is None:
            raise ModelError("turns a picture, and was told no cameras", self.facts.name)
        pose = pose_numbers(condition.cameras, condition.reference, self.stable).to(x)
        told = torch.cat([embedding.to(x).expand(len(x), -1), pose], -1)
        shown = condition.tells(len(x)).to(x)
        token = self.projection(told)[:, None] * shown.view(-1, 1, 1)
        beside = latents.to(x) * shown.view(-1, 1, 1, 1)
        return self.denoiser(torch.cat([x, beside], 1), self.schedule.time(t), token).sample
