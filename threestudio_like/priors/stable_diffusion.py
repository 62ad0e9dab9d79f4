"""Stable Diffusion 1 and 2, and folders of their layout: LCM, turbo, this project's with cameras.

A projected class embedding takes the camera vector that prior.json describes, and six channels
beyond the latents take ray maps. Weights are read only from safetensors.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, ClassVar

import torch

from ..engine.errors import ModelError, did_you_mean
from ..engine.limits import Limits
from .control.networks import controlled
from .diffusion import Condition, DiffusionPrior, GuidanceStyle, PriorFacts, Working
from .families.base import DiffusersPrior
from .families.records import UnetRecord
from .families.text import TextSide
from .model_folder import (
    CAMERA_NUMBERS,
    FIRST_CAMERA_VECTOR,
    DiffusersConfig,
    camera_number,
    camera_vector,
    domains_of,
    in_axes,
    network_of,
    read_config,
)
from .networks.attention import ViewAttention, emphasised, install, joint_views
from .networks.guidance_scale import guidance_embedding
from .personal.pictures import Likeness, add_pictures
from .recorded import Recorded, can_record
from .rehearsal import Networks
from .text.embeddings import EmbeddingStore
from .text.encoder import PromptEncoder, unknown_word
from .text.packed import Text, TextLayout

__all__ = ["DiffusersConfig", "StableDiffusionPrior"]


class StableDiffusionPrior(DiffusersPrior):
    """A diffusion prior with a UNet that attends to the states of one CLIP."""

    part = "unet"
    kind = "UNet2DConditionModel"
    half = torch.float16
    usual_guidance = 8.5
    likes = True
    likeness: Likeness | None = None
    extra_channels: ClassVar[tuple[int, ...]] = (0, 6)
    """Channels beyond the latents that are understood."""

    @property
    def unet(self) -> Any:
        """The denoiser."""
        return self.denoiser

    def check(self) -> None:
        """See `DiffusersPrior.check`."""
        self.part, self.addition = network_of(self.folder, self.own, self.part, self.config)
        self._sized: dict[int, StableDiffusionPrior] = {}
        self.unet_facts = read_config(self.folder, self.part, UnetRecord)
        self._check_channels()
        self._numbers = self._camera_numbers()

    def _check_channels(self) -> None:
        channels = self.channels()
        given = self.unet_facts.in_channels
        extra = (channels if given is None else given) - channels
        rays = self.own.camera is not None if self.own.ray_maps is None else self.own.ray_maps
        if extra == 6 and not rays:
            raise ModelError(
                "its UNet takes six channels beyond the latents, and no prior.json says what they "
                "are",
                str(self.folder),
                'If they are ray maps, say so in prior.json: "ray_maps": true',
            )
        if extra not in self.extra_channels:
            inpainting = extra == channels + 1
            raise ModelError(
                f"its UNet wants {extra} channels beyond the latents"
                + (": it fills masks in pictures" if inpainting else ""),
                str(self.folder),
                "For compose: --inpainter; for distillation take the plain model"
                if inpainting
                else "Only plain (0) and ray-map (6) inputs are supported",
            )
        self._ray_maps = extra == 6

    def _camera_numbers(self) -> tuple[str, ...]:
        """The numbers of the class embedding; none where the UNet has none, or none is to be fed.

        Raises:
            ModelError: it has one that is not described, or whose description does not fit.
        """
        kind, path = self.unet_facts.class_embed_type, str(self.folder / "prior.json")
        width = self.unet_facts.projection_class_embeddings_input_dim
        if kind is None and self.unet_facts.num_class_embeds is None:
            return ()
        if kind != "projection":
            raise ModelError(
                f"its UNet has a class embedding ({kind or 'a table'}) that is no camera",
                str(self.folder),
                "Models of classes, of noise levels and of pictures as prompts are not distilled",
            )
        names = self.own.camera_vector
        if names is None and self.own.camera is not None and width == len(FIRST_CAMERA_VECTOR):
            names = FIRST_CAMERA_VECTOR
        if names is None:
            if self.config.ignore_camera:
                return ()
            raise ModelError(
                f"its UNet takes {width} numbers as a class embedding (a camera, or a picture as "
                "prompt as in StableUnCLIP), and no prior.json says what they are",
                str(self.folder),
                'Describe them in prior.json: "camera_vector" (docs/models.md), or run without '
                "them: --load.ignore_camera true",
            )
        for name in names:
            if camera_number(name) is None:
                raise ModelError(
                    f'"camera_vector" has a "{name}"', path, did_you_mean(name, CAMERA_NUMBERS)
                )
        if len(names) != width:
            raise ModelError(
                f'"camera_vector" has {len(names)} numbers, and the UNet takes {width}', path
            )
        return names

    def _facts(self) -> PriorFacts:
        facts = super()._facts()
        facts.larger = tuple(sorted(self.own.larger.values()))
        facts.domains = domains_of(self.own, self._numbers, self.folder / "prior.json")
        if self.unet_facts.class_embed_type == "projection" and not self._numbers:
            note = "The model is not told its camera, which no prior.json describes"
            facts.notes = (*facts.notes, f"{note} (--load.ignore_camera)")
        return facts

    def _load_networks(self) -> None:
        super()._load_networks()
        self._call: Callable[..., torch.Tensor] = self._plain
        self.processor: ViewAttention | None = None
        parts = self.config.parts
        if self.own.joint_views > 1 or parts.like or not self.config.attention_slicing:
            self.processor = self._install()
        if parts.like and self.processor is not None:
            self.likeness = add_pictures(self.unet, self.processor, parts)
        self._choose_call()

    def _install(self) -> ViewAttention | None:
        return install(self.unet)

    def channels(self) -> int:
        """See `DiffusersPrior.channels`."""
        return self.vae_facts.latent_channels

    def size(self) -> int:
        """See `DiffusersPrior.size`."""
        wanted = self.config.image_size // self.downscale_of_latents
        return wanted or self.unet_facts.sample_size

    def style(self) -> GuidanceStyle:
        """See `DiffusersPrior.style`: models of LCM's kind take the scale as an embedding."""
        return "embedded" if self.unet_facts.time_cond_proj_dim else super().style()

    def at_size(self, size: int) -> DiffusionPrior:
        """See `DiffusionPrior.at_size`: with the other network; autoencoder and text are shared."""
        if size in (0, self.facts.image_size):
            return self
        if size not in self.facts.larger:
            return super().at_size(size)
        if size not in self._sized:
            config = replace(self.config, image_size=size)
            other = type(self)(self.folder, config, self.name)
            other.vae, other.latents, other.text = self.vae, self.latents, self.text
            other.keep_within(self.limits)
            self._sized[size] = other
        return self._sized[size]

    def keep_within(self, limits: Limits) -> None:
        """See `DiffusionPrior.keep_within`; what was loaded beside it does so, too."""
        super().keep_within(limits)
        for other in self._sized.values():
            other.keep_within(limits)

    def text_side(self, embeddings: EmbeddingStore) -> TextSide:
        """See `DiffusersPrior.text_side`."""
        return PromptEncoder(
            *(self.folder, self.text_dtype, self.device),
            keep=self.config.keep_text,
            embeddings=embeddings,
            chunked=self.own.vocabulary is None,
            skip=self.config.clip_skip,
        )

    @property
    def layout(self) -> TextLayout:
        """See `DiffusersPrior.layout`; tokens of pictures stand behind it."""
        tokens = 0 if self.likeness is None else len(self.likeness.shown)
        return replace(super().layout, pictures=tokens)

    def encode_text(self, prompts: list[str]) -> torch.Tensor:
        """See `DiffusersPrior.encode_text`; the empty prompt is told no pictures."""
        packed = super().encode_text(prompts)
        return (
            packed if self.likeness is None else self.likeness.behind(packed, [*map(bool, prompts)])
        )

    def negative_text(self, text: torch.Tensor) -> torch.Tensor:
        """See `DiffusionPrior.negative_text`."""
        return text if self.likeness is None else self.likeness.negative(text)

    @property
    def _encoder(self) -> PromptEncoder:
        text = self.text
        if not isinstance(text, PromptEncoder):
            raise ModelError("takes no new words", self.facts.name, "Use a Stable Diffusion 1 or 2")
        return text

    def _choose_call(self) -> None:
        """Choose how the UNet is called: directly, compiled, or from recorded graphs."""
        config = self.config
        if config.compile:
            compiled = torch.compile(self.unet)
            self._call = lambda *a, **k: compiled(*a, **k).sample
        elif config.graphs or (
            config.graphs is None and can_record(self.device) and not config.offload
        ):
            self._call = Recorded(self._plain)

    def _plain(self, *arguments: Any, **keywords: Any) -> torch.Tensor:
        return self.unet(*arguments, **keywords).sample

    def _place(self) -> None:
        if self.device.type != "cpu":
            # The memory format that half-precision convolutions need.
            for network in self._networks():
                network.to(memory_format=torch.channels_last)
        super()._place()
        if self.config.attention_slicing and self.likeness is None:
            self.unet.set_attention_slice("auto")

    def offload(self) -> None:
        """See `DiffusersPrior.offload`."""
        self._forget()
        self._call = self._plain
        super().offload()

    def shrink(self) -> str:
        """See `DiffusionPrior.shrink`: recorded graphs hold the memory that is wanted now."""
        done, recorded = super().shrink(), self._forget()
        return f"{done} without recorded graphs" if recorded else done

    def _forget(self) -> bool:
        """Free what is recorded, if anything is recorded; whether it is."""
        if not isinstance(self._call, Recorded):
            return False
        self._call.forget()
        return True

    def rehearse(
        self, latent: int, entries: int, images: int, gradient: bool, offload: bool
    ) -> Working:
        """See `DiffusionPrior.rehearse`."""
        if self.controls:
            return super().rehearse(latent, entries, images, gradient, offload)
        if self.config.parts.vae is not None or self.likeness is not None:
            plain = DiffusersPrior.rehearse(self, latent, entries, images, gradient, offload)
            return replace(plain, recorded=0 if offload else self._recorded(plain.denoising))
        networks = Networks(
            self.folder, self.dtype, self.vae_dtype, fused=self.accelerated, unet=self.part
        )
        found = networks.rehearse(latent, entries, self.facts.image_size, images, gradient)
        whole = found["UNet"] + found["autoencoder"]
        return Working(
            weights=2 * found["largest layer"] if offload else whole,
            recorded=0 if offload else self._recorded(found["UNet at work"]),
            denoising=found["UNet at work"],
            encoding=found["autoencoder at work"],
            kept=found["autoencoder holds"],
        )

    def _recorded(self, denoising: int) -> int:
        """What recorded graphs hold: as much as the largest of them takes at work, for all share
        it."""
        records = isinstance(self._call, Recorded) and not self._call.refused
        return denoising if records else 0

    def add_concept(self, tokens: dict[str, torch.Tensor]) -> None:
        """See `PromptEncoder.add_concepts`; a closed vocabulary then knows the tokens."""
        self._encoder.add_concepts(tokens)
        if self.facts.vocabulary is not None:
            self.facts.vocabulary = (*self.facts.vocabulary, *tokens)

    def encode_with_concept(
        self, prompts: list[str], token: str, vectors: torch.Tensor
    ) -> torch.Tensor:
        """See `PromptEncoder.encode_with_concept`."""
        return self._encoder.encode_with_concept(prompts, token, vectors)

    def word_vector(self, word: str) -> torch.Tensor:
        """The embedding (D,) of a word, averaged over its tokens. Raises ModelError if the model
        does not know the word."""
        if self.facts.vocabulary is not None and word not in self.facts.vocabulary:
            raise unknown_word(word)
        return self._encoder.word_vector(word)

    def _together(self, condition: Condition) -> int:
        """Views that attend to each other stay in one batch."""
        joint = self.processor is not None and self.facts.joint_views > 1
        return condition.views if joint else 1

    def _predict_plainly(
        self, latents: torch.Tensor, t: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        return self._predict(latents, t, condition, call=self._plain)

    def _predict(
        self,
        latents: torch.Tensor,
        t: torch.Tensor,
        condition: Condition,
        call: Callable[..., torch.Tensor] | None = None,
    ) -> torch.Tensor:
        call = self._call if call is None else call
        t = t.to(self.device)
        x = self.schedule.seen(latents.to(self.device), t).to(self.dtype)
        text = self.layout.unpack(condition.text.to(self.device, self.dtype))
        labels, emphasis = None, self._emphasis(condition, text)
        if self._ray_maps:
            maps = torch.zeros(len(x), 6, *x.shape[-2:])
            if condition.cameras is not None:
                maps = condition.cameras.ray_maps(x.shape[-2], x.shape[-1])
                maps = in_axes(maps, self.own.ray_axes)
            x = torch.cat([x, maps.to(x)], 1)
        if self.unet_facts.class_embed_type == "projection":
            labels = self._labels(condition, len(x))
        arguments = (x, self.schedule.time(t), text.context)
        with ExitStack() as hooks:
            hooks.enter_context(emphasised(self.unet, emphasis, condition.normalised))
            if self.controls and condition.control:
                # What the control networks say is no argument of a recording.
                call = self._plain
                hooks.enter_context(controlled(self, condition.control))
            if self.processor is not None:
                views = condition.views if self.facts.joint_views > 1 else 1
                hooks.enter_context(joint_views(self.processor, views))
            if isinstance(call, Recorded):
                # A recording includes which views attend to each other; weights of words change
                # from call to call, so those calls are not recorded.
                call = call.with_setting(condition.views) if emphasis is None else self._plain
            out = call(*arguments, class_labels=labels, **self.added(x, text)).float()
        return self._said(out[:, : latents.shape[1]], latents, t)

    def _labels(self, condition: Condition, batch: int) -> torch.Tensor:
        """The camera vector (B, N); zeros where the camera is not known, but for the domain."""
        width = self.unet_facts.projection_class_embeddings_input_dim or 0
        vector = torch.zeros(batch, width)
        normal = torch.full((batch,), float(condition.domain == "normal"))
        if condition.cameras is not None and self._numbers:
            known = 1.0 if condition.background is None else condition.background
            level = torch.as_tensor(known, dtype=torch.float32).expand(batch)
            vector = camera_vector(
                self._numbers,
                condition.cameras.azimuth,
                condition.cameras.elevation,
                background=level,
                normal=normal,
            )
        elif self._numbers:
            for column, text in enumerate(self._numbers):
                known_number = camera_number(text)
                if known_number is not None and known_number[1] == "normal domain":
                    vector[:, column] = known_number[0] * normal
        return vector.to(self.device, self.dtype)

    def added(self, x: torch.Tensor, text: Text) -> dict[str, torch.Tensor | None]:
        """What the UNet is told beside the text and the camera."""
        width = self.unet_facts.time_cond_proj_dim
        if not width:
            return {}
        return {"timestep_cond": guidance_embedding(self.embedded_guidance - 1, width).to(x)[None]}

    def denoise(
        self, network: Any, x: torch.Tensor, time: torch.Tensor, text: Text
    ) -> torch.Tensor:
        """See `DiffusersPrior.denoise`; without cameras."""
        facts, given = self.unet_facts, x
        if self._ray_maps:
            given = torch.cat([x, x.new_zeros(len(x), 6, *x.shape[2:])], 1)
        labels = None
        if facts.class_embed_type == "projection":
            labels = x.new_zeros(len(x), facts.projection_class_embeddings_input_dim or 0)
        return network(given, time, text.context, class_labels=labels, **self.added(x, text)).sample
