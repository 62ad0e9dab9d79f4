"""MVDream (Shi et al. 2023), which denoises four views of an object together by a prompt, and
ImageDream (Wang and Shi 2023), which is told a picture beside it.

The published world has +Z up and the object's front at +X, and a camera is its matrix in that world
with its place on the unit sphere, sixteen numbers in rows. ImageDream has a fifth view, whose
latents are the picture's and whose camera is all zeros; its world turns with the picture, which
shows the object from the front.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F

from ....engine.errors import ModelError
from ....renderers.cameras import Cameras
from ...diffusion import CameraProtocol, Condition, PriorFacts, Reference, Untold
from ...model_folder import read_config
from ...networks.multi_view_unet import MultiViewUNet, MultiViewUNetRecord
from ...text.embeddings import EmbeddingStore
from ...text.encoder import PromptEncoder
from ...text.packed import Text
from ..parts import load_network, shapes_in, weight_files
from ..text import TextSide
from .pictures import PictureProcessor, at_edge, vision_of
from .view_prior import ViewPrior, rows_of

NUMBERS = 16
WHITE = 1.0
PROTOCOL = CameraProtocol(3.0, 40.0, elevation=(0.0, 30.0), background=(0.25, 1.0))


def camera_numbers(cameras: Cameras, turned: float = 0.0) -> torch.Tensor:
    """The sixteen numbers (B, 16) of cameras.

    Args:
        turned: azimuth, in radians, of what is to be the front.
    """
    matrix = cameras.camera_to_world.float()
    c, s = torch.cos(torch.tensor(-turned)), torch.sin(torch.tensor(-turned))
    turn = torch.eye(4).to(matrix)
    turn[0, 0], turn[0, 2], turn[2, 0], turn[2, 2] = c, s, -s, c
    # Our +Z (front), +X and +Y (up) are the published +X, +Y and +Z.
    matrix = (turn @ matrix)[:, [2, 0, 1, 3]]
    place = F.normalize(matrix[:, :3, 3], dim=-1)
    return torch.cat(
        [torch.cat([matrix[:, :3, :3], place[..., None]], -1), matrix[:, 3:]], 1
    ).flatten(1)


class MVDreamPrior(ViewPrior):
    """MVDream's adapter, for the layout of its ports to diffusers."""

    part = "unet"
    kind = "MultiViewUNetModel"
    together = 4

    def check(self) -> None:
        """See `DiffusersPrior.check`."""
        super().check()
        self.unet_facts = read_config(self.folder, "unet", MultiViewUNetRecord)
        facts, where = self.unet_facts, str(self.folder / "unet" / "config.json")
        if facts.unsupported:
            raise ModelError(f'its UNet has "{facts.unsupported}", which is not read', where)
        if facts.camera_dim != NUMBERS:
            raise ModelError(
                f"its UNet takes {facts.camera_dim or 'no'} numbers of a camera, and MVDream's "
                f"are {NUMBERS}",
                where,
            )
        for number in (facts.in_channels, facts.out_channels):
            if number != self.vae_facts.latent_channels:
                raise ModelError(
                    f"its UNet has {number} channels, and its latents "
                    f"{self.vae_facts.latent_channels}",
                    where,
                )

    def channels(self) -> int:
        """See `DiffusersPrior.channels`."""
        return self.vae_facts.latent_channels

    def size(self) -> int:
        """See `DiffusersPrior.size`."""
        wanted = self.config.image_size // self.downscale_of_latents
        return wanted or self.unet_facts.image_size

    def described(self, facts: PriorFacts) -> PriorFacts:
        """See `ViewPrior.described`."""
        facts.camera = facts.camera or PROTOCOL
        facts.preset = "mvdream"
        return super().described(facts)

    def goes_without(self, untold: frozenset[Untold]) -> bool:
        """See `DiffusionPrior.goes_without`: it also learned single pictures, without a camera."""
        return "views" not in untold or "camera" in untold

    def text_side(self, embeddings: EmbeddingStore) -> TextSide:
        """See `DiffusersPrior.text_side`."""
        return PromptEncoder(
            *(self.folder, self.text_dtype, self.device),
            keep=self.config.keep_text,
            embeddings=embeddings,
            chunked=True,
            skip=self.config.clip_skip,
        )

    def load_denoiser(self) -> Any:
        """See `DiffusersPrior.load_denoiser`."""
        facts = sized(self.unet_facts, shapes_in(weight_files(self.folder / self.part)))
        return load_network(
            *(self.folder, self.part, lambda: MultiViewUNet(facts)),
            dtype=self.dtype,
            classes=(self.kind,),
        )

    def denoise(
        self, network: Any, x: torch.Tensor, time: torch.Tensor, text: Text
    ) -> torch.Tensor:
        """Without cameras, as many views together as divide the batch."""
        views = self.together if len(x) % self.together == 0 else 1
        return network(x, time, text.states, views=views)

    def answer(
        self, x: torch.Tensor, t: torch.Tensor, text: Text, condition: Condition
    ) -> torch.Tensor:
        """See `DiffusersPrior.answer`. Without cameras and other views it makes single pictures, as
        it was trained besides. Raises ModelError on other numbers of views."""
        time = self.schedule.time(t)
        if condition.views == 1 and condition.cameras is None:
            return self.denoiser(x, time, text.states)
        self.check_views(len(x), t, condition)
        camera = None
        if condition.cameras is not None:
            camera = camera_numbers(condition.cameras).to(x)
        return self.denoiser(x, time, text.states, camera=camera, views=self.together)


class ImageDreamPrior(MVDreamPrior):
    """ImageDream's adapter."""

    vision, wants_reference = "image_encoder", True
    processors = ("feature_extractor",)

    def described(self, facts: PriorFacts) -> PriorFacts:
        """See `ViewPrior.described`."""
        facts = super().described(facts)
        facts.preset = "imagedream"
        return facts

    def goes_without(self, untold: frozenset[Untold]) -> bool:
        """See `DiffusionPrior.goes_without`: the picture is one of the views."""
        return "views" not in untold

    def encode_reference(self, reference: Reference) -> tuple[torch.Tensor, torch.Tensor]:
        """The latents (C, h, w) of the picture before white, and the vision tower's states of its
        last layer but one (T, D)."""
        picture = reference.before(WHITE)
        latents = self._encode(at_edge(picture, self.facts.image_size).to(self.device))
        pixels = PictureProcessor.read(self.folder, self.processors[0])(picture)
        told = vision_of(
            *(self.folder, self.vision, pixels, self.device), dtype=self.vae_dtype
        ).hidden_states[-2]
        width = self.denoiser.config.picture_width
        if told.shape[-1] != width:
            raise ModelError(
                f"its image encoder says {told.shape[-1]} numbers a token, and its UNet takes "
                f"{width}",
                str(self.folder),
            )
        return latents[0], told[0].to(self.dtype)

    def denoise(
        self, network: Any, x: torch.Tensor, time: torch.Tensor, text: Text
    ) -> torch.Tensor:
        """With a picture that shows nothing."""
        tokens = torch.zeros(len(x), 1, network.config.picture_width, dtype=x.dtype)
        return network(x, time, text.states, picture=tokens)

    def answer(
        self, x: torch.Tensor, t: torch.Tensor, text: Text, condition: Condition
    ) -> torch.Tensor:
        """See `DiffusersPrior.answer`: the picture is a fifth view of every four. Raises ModelError
        without a picture, or on another number of views."""
        latents, tokens = self.reference(condition)
        self.check_views(len(x), t, condition)
        n = self.together
        shown = condition.tells(len(x)).view(-1, n)[:, 0].to(x.device)
        groups = len(shown)

        def with_fifth(rows: torch.Tensor, fifth: torch.Tensor) -> torch.Tensor:
            return torch.cat([rows.unflatten(0, (groups, n)), fifth[:, None]], 1).flatten(0, 1)

        seen = latents.to(x) * shown.view(-1, 1, 1, 1)
        time = self.schedule.time(t)
        camera = None
        if condition.cameras is not None and condition.reference is not None:
            numbers = camera_numbers(condition.cameras, condition.reference.azimuth).to(x)
            camera = with_fifth(numbers, numbers.new_zeros(groups, NUMBERS))
        every = shown.repeat_interleave(n + 1)
        out = self.denoiser(
            *(with_fifth(x, seen), with_fifth(time, time.view(-1, n)[:, 0]), rows_of(text, n)),
            camera=camera,
            views=n + 1,
            picture=tokens.to(x) * every.view(-1, 1, 1),
        )
        return out.unflatten(0, (groups, n + 1))[:, :n].flatten(0, 1)

    def _emphasis(self, condition: Condition, text: Text) -> torch.Tensor | None:
        factors = super()._emphasis(condition, text)
        if factors is None:
            return None
        return rows_of(Text(factors[..., None]), self.together)[..., 0]


def sized(facts: MultiViewUNetRecord, shapes: dict[str, tuple[int, ...]]) -> MultiViewUNetRecord:
    """The record with the sizes of the resampler, as the weights have them."""
    first = shapes.get("image_embed.proj_in.weight")
    query = shapes.get("image_embed.layers.0.0.to_q.weight")
    if not facts.ip_dim or first is None or query is None:
        return facts
    layers = {key.split(".")[2] for key in shapes if key.startswith("image_embed.layers.")}
    return replace(
        facts,
        picture_width=first[1],
        picture_depth=len(layers),
        picture_heads=max(1, query[0] // 64),
    )
