"""Zero123++ (Shi et al. 2023): a grid of six fixed views of the object in a picture.

Six views, two in a row, are one picture to its UNet. The picture reaches it twice: its CLIP
embedding is added to the empty prompt's states with a weight for each token, and its latents,
unscaled and noised to the same time, go through the same UNet, whose self-attention then attends to
theirs beside its own. Unconditional predictions have the empty prompt and a grey picture. Grids are
shrunk in contrast before the autoencoder, and their latents shifted and scaled after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ....engine.errors import ModelError
from ....engine.random import RandomStream
from ...diffusion import CameraProtocol, Condition, GuidanceStyle, PriorFacts, Reference
from ...model_folder import read_config
from ...networks.attention import ViewAttention, install
from ...text.embeddings import EmbeddingStore
from ...text.encoder import PromptEncoder
from ...text.packed import Text
from ..autoencoder import Latents
from ..records import UnetRecord
from ..text import TextSide
from .pictures import PictureProcessor, vision_of
from .view_prior import ViewPrior

GREY = 127 / 255
COLUMNS, ROWS = 2, 3
VIEWS = COLUMNS * ROWS
POSES = tuple((30.0 + 60.0 * k, 20.0 if k % 2 == 0 else -10.0) for k in range(VIEWS))
"""The six views of version 1.2: azimuth from the picture's, and elevation, degrees."""
PROTOCOL = CameraProtocol(4.0, 30.0, elevation=(-10.0, 20.0), background=(GREY, GREY))
SHIFT, SCALE, CONTRAST = 0.22, 0.75, 0.5 / 0.8


def tiled(x: torch.Tensor) -> torch.Tensor:
    """Views (6 k, C, h, w) as grids (k, C, 3 h, 2 w), row by row."""
    x = x.unflatten(0, (-1, ROWS, COLUMNS)).permute(0, 3, 1, 4, 2, 5)
    return x.flatten(4, 5).flatten(2, 3)


def untiled(x: torch.Tensor) -> torch.Tensor:
    """The inverse of `tiled`."""
    x = x.unflatten(3, (COLUMNS, -1)).unflatten(2, (ROWS, -1))
    return x.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


class GridLatents(Latents):
    """The autoencoder's latents between grids and the UNet's."""

    def __init__(self, inner: Latents) -> None:
        self.inner = inner

    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        """See `Latents.encode`."""
        return (self.inner.encode(pictures * CONTRAST) - SHIFT) * SCALE

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """See `Latents.decode`."""
        return self.inner.decode(latents / SCALE + SHIFT) / CONTRAST


class ReferenceAttention(ViewAttention):
    """Self-attention that keeps the states it is given ("write"), or attends to kept ones beside
    its own ("read")."""

    def __init__(self) -> None:
        super().__init__()
        self.mode, self.states = "", torch.empty(0)

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> torch.Tensor:
        """See `ViewAttention`."""
        if self.mode == "write":
            self.states = hidden_states
        elif self.mode == "read":
            encoder_hidden_states = torch.cat([hidden_states, self.states], 1)
        return super().__call__(attn, hidden_states, encoder_hidden_states, *args, **kwargs)


class Zero123PlusPrior(ViewPrior):
    """Zero123++'s adapter."""

    part = "unet"
    swaps_vae = False
    kind = "UNet2DConditionModel"
    vision, wants_reference = "vision_encoder", True
    processors = ("feature_extractor_vae", "feature_extractor_clip")
    together, poses = VIEWS, POSES

    def check(self) -> None:
        """See `DiffusersPrior.check`."""
        super().check()
        self.unet_facts = read_config(self.folder, "unet", UnetRecord)
        given, own = self.unet_facts.in_channels, self.channels()
        if given not in (None, own):
            raise ModelError(f"its UNet takes {given} channels instead of {own}", str(self.folder))
        ramp = self.index.get("ramping_coefficients")
        numbers = isinstance(ramp, list) and all(isinstance(v, int | float) for v in ramp)
        if not ramp or not numbers:
            raise ModelError(
                'its "ramping_coefficients" are no list of numbers',
                str(self.folder / "model_index.json"),
                "Download the model again",
            )
        self.ramp = torch.tensor(ramp, dtype=torch.float32)

    def channels(self) -> int:
        """See `DiffusersPrior.channels`."""
        return self.vae_facts.latent_channels

    def size(self) -> int:
        """Of one view: 320 pixels, as published, where no configuration says otherwise."""
        return (self.config.image_size or 320) // self.downscale_of_latents

    def style(self) -> GuidanceStyle:
        """See `DiffusersPrior.style`: its scheduler's spacing says nothing of it."""
        return "cfg"

    def described(self, facts: PriorFacts) -> PriorFacts:
        """See `ViewPrior.described`."""
        facts.camera = facts.camera or PROTOCOL
        facts.reads_text = False
        facts.preset = "zero123plus"
        return super().described(facts)

    def text_side(self, embeddings: EmbeddingStore) -> TextSide:
        """See `DiffusersPrior.text_side`."""
        return EmptyPrompt(
            *(self.folder, self.text_dtype, self.device),
            keep=self.config.keep_text,
            embeddings=embeddings,
        )

    def _load_networks(self) -> None:
        super()._load_networks()
        self.latents = GridLatents(self.latents)
        install(self.denoiser)
        self.attention: list[ReferenceAttention] = []
        processors = dict(self.denoiser.attn_processors)
        for name in processors:
            if name.endswith("attn1.processor"):
                self.attention.append(ReferenceAttention())
                processors[name] = self.attention[-1]
        self.denoiser.set_attn_processor(processors)

    @contextmanager
    def _mode(self, mode: str) -> Iterator[None]:
        for layer in self.attention:
            layer.mode = mode
        try:
            yield
        finally:
            for layer in self.attention:
                layer.mode = ""

    # Pictures: six views are one grid; others are encoded alone, as is a background.

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """See `DiffusionPrior.encode_image`."""
        if len(images) % VIEWS:
            return super().encode_image(images)
        grids = tiled(images.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return untiled(super().encode_image(grids))

    def decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """See `DiffusionPrior.decode_latents`."""
        if len(latents) % VIEWS:
            return super().decode_latents(latents)
        grids = super().decode_latents(tiled(latents))
        return untiled(grids.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    def encode_reference(
        self, reference: Reference
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Unscaled latents (C, h, w) of a grey picture and of the picture before grey, and its
        embedding (D,)."""
        picture = reference.before(GREY)
        pixels = PictureProcessor.read(self.folder, self.processors[0])(picture)
        both = torch.cat([torch.zeros_like(pixels), pixels]).to(self.device, self.vae_dtype)
        coded = self.vae.encode(both).latent_dist.mode()
        pixels = PictureProcessor.read(self.folder, self.processors[1])(picture)
        told = vision_of(
            *(self.folder, self.vision, pixels, self.device), dtype=self.vae_dtype
        ).image_embeds[0]
        return coded[0], coded[1], told

    def denoise(
        self, network: Any, x: torch.Tensor, time: torch.Tensor, text: Text
    ) -> torch.Tensor:
        """Without a picture; views that make no grid are filled up with others."""
        missing = -len(x) % VIEWS
        whole = torch.cat([x, x[:1].expand(missing, -1, -1, -1)])
        grids = len(whole) // VIEWS
        out = network(tiled(whole), time[:1].expand(grids), text.states[:1].expand(grids, -1, -1))
        return untiled(out.sample)[: len(x)]

    def answer(
        self, x: torch.Tensor, t: torch.Tensor, text: Text, condition: Condition
    ) -> torch.Tensor:
        """See `DiffusersPrior.answer`. Raises ModelError without a picture, or on other views than
        the six."""
        grey, seen, embedding = self.reference(condition)
        self.check_views(len(x), t, condition)
        self.check_poses(condition)
        shown = condition.tells(len(x)).view(-1, VIEWS)[:, 0].to(x)
        states = text.states[::VIEWS]
        ramp = self.ramp[: states.shape[1]].to(x)
        if len(ramp) != states.shape[1] or embedding.shape[-1] != states.shape[-1]:
            raise ModelError(
                f"its picture's embedding has {embedding.shape[-1]} numbers for {len(self.ramp)} "
                f"tokens, and its text {states.shape[-1]} for {states.shape[1]}",
                str(self.folder),
            )
        states = states + shown.view(-1, 1, 1) * ramp[:, None] * embedding.to(x)
        own, select = t[::VIEWS], shown.view(-1, 1, 1, 1)
        beside = select * seen.to(x) + (1 - select) * grey.to(x)
        noise = torch.stack([self.reference_noise(int(k), seen.shape) for k in own]).to(x)
        time = self.schedule.time(own)
        noisy = self.schedule.seen(self.schedule.add_noise(beside, noise, own), own)
        with self._mode("write"):
            self.denoiser(noisy, time, states)
        with self._mode("read"):
            out = self.denoiser(tiled(x), time, states).sample
        return untiled(out)

    @staticmethod
    def reference_noise(t: int, shape: torch.Size) -> torch.Tensor:
        """The noise (C, h, w) on the picture's latents at a time: the same whenever it is asked, so
        that a run repeats."""
        return RandomStream(0, "reference", t).normal("noise", tuple(shape))


class EmptyPrompt(PromptEncoder):
    """The states of the empty prompt, whatever the prompt."""

    def encode(self, prompts: list[str]) -> torch.Tensor:
        """The same (B, T, D) for all."""
        return super().encode([""]).expand(len(prompts), -1, -1)

    def check(self, prompt: str) -> list[str]:
        """That the prompt is not read."""
        return [f'the model takes a picture and no prompt; not read: "{prompt}"'] if prompt else []
