"""The diffusers adapter, for any folder of Stable Diffusion's layout (unet, vae, text_encoder,
tokenizer, scheduler).

Camera conditioning is recognised from the UNet's configuration: a projected class embedding of 8
numbers takes the camera vector, and six channels beyond the latents take ray maps. Weights are read
only from safetensors.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch.utils.checkpoint import checkpoint

from ..engine.errors import ModelError
from ..engine.limits import Limits
from .diffusion import Condition, DiffusionPrior, Working
from .model_files import AutoencoderRecord, SchedulerRecord, UnetRecord
from .model_folder import (
    DiffusersConfig,
    camera_vector,
    facts_of,
    number_types,
    read_config,
    read_facts,
)
from .networks.attention import emphasised, install, joint_views
from .noise_schedule import NoiseSchedule
from .recorded import Recorded, can_record
from .rehearsal import Networks
from .text.embeddings import EmbeddingStore
from .text.encoder import PromptEncoder, unknown_word


class StableDiffusionPrior(DiffusionPrior):
    """A diffusion prior from a model folder. The text encoder is loaded at the first prompt that
    the embedding bundle does not contain.

    Args:
        folder: a folder of Stable Diffusion's layout.
        config: dtype, device and memory options.
        name: for messages and reports.
        embeddings: known prompt embeddings (a bundle), or None.

    Attributes:
        entries, images: the number that the UNet and the autoencoder process at once, 0 for all.
            They are those of the configuration until a memory plan or a shortage changes them.
    """

    def __init__(
        self,
        folder: Path,
        config: DiffusersConfig,
        name: str,
        embeddings: EmbeddingStore | None = None,
    ) -> None:
        self.folder, self.config = folder, config
        self.entries, self.images = config.entries, config.images
        self.device = torch.device(config.device)
        self.dtype, self.vae_dtype = number_types(config.dtype, self.device)
        unet = read_config(folder, "unet", UnetRecord)
        vae = read_config(folder, "vae", AutoencoderRecord)
        scheduler = read_config(folder, "scheduler", SchedulerRecord)
        own = read_facts(folder)
        self._load_networks()
        self._call: Callable[..., torch.Tensor] = self._plain
        self._place()
        self.facts = facts_of(name, own, unet, vae=vae, scheduler=scheduler)
        channels = self.facts.channels
        extra = (channels if unet.in_channels is None else unet.in_channels) - channels
        if extra not in (0, 6):
            raise ModelError(
                f"its UNet wants {extra} channels beyond the latents",
                str(folder),
                "Only plain (0) and ray-map (6) inputs are supported",
            )
        self._ray_maps = extra == 6
        self._camera_vector = unet.class_embed_type == "projection"
        self._factor = vae.scaling_factor
        self._shift = vae.shift_factor or 0.0
        self.schedule = NoiseSchedule.of(scheduler)
        self.processor = (
            install(self.unet)
            if self.facts.joint_views > 1 or not config.attention_slicing
            else None
        )
        self._choose_call()
        known = EmbeddingStore() if embeddings is None else embeddings
        self.text = PromptEncoder(
            folder, self.vae_dtype, self.device, keep=config.keep_text, embeddings=known
        )

    def _load_networks(self) -> None:
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from diffusers.utils import logging

        logging.disable_progress_bar()
        logging.set_verbosity_error()
        try:
            self.unet = UNet2DConditionModel.from_pretrained(
                self.folder / "unet", torch_dtype=self.dtype, use_safetensors=True
            )
            self.vae = AutoencoderKL.from_pretrained(
                self.folder / "vae", torch_dtype=self.vae_dtype, use_safetensors=True
            )
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
            first = str(error).splitlines()[0][:160]
            raise ModelError(
                f"the weights cannot be loaded ({first})",
                str(self.folder),
                "Download the model again; only safetensors are read",
            ) from None

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
        self.unet.requires_grad_(False).eval()
        self.vae.requires_grad_(False).eval()
        if self.device.type != "cpu":
            # The memory format that half-precision convolutions need.
            self.unet.to(memory_format=torch.channels_last)
            self.vae.to(memory_format=torch.channels_last)
        if self.config.tiling:
            self.vae.enable_tiling()
        if self.config.offload and self.accelerated:
            self.offload()
        else:
            self.unet.to(self.device)
            self.vae.to(self.device)
        if self.config.attention_slicing:
            self.unet.set_attention_slice("auto")

    def offload(self) -> None:
        """From now on, keep the weights in main memory and move each layer to the device when it
        runs."""
        from accelerate import cpu_offload

        self._call = self._plain
        for network in (self.unet, self.vae):
            cpu_offload(network.to("cpu"), self.device)

    def shrink(self) -> str:
        """See `DiffusionPrior.shrink`."""
        self.entries = max(1, self.entries // 2) if self.entries else 2
        self.images = 1
        return f"gave the prior {self.entries} entries at a time"

    def keep_within(self, limits: Limits) -> None:
        """From now on, process no more at once than a memory plan allows."""
        self.entries = self.entries if limits.entries is None else limits.entries
        self.images = self.images if limits.images is None else limits.images
        if limits.offload:
            self.offload()

    def rehearse(
        self, latent: int, entries: int, images: int, gradient: bool, offload: bool
    ) -> Working:
        """See `DiffusionPrior.rehearse`."""
        networks = Networks(self.folder, self.dtype, self.vae_dtype, fused=self.accelerated)
        found = networks.rehearse(latent, entries, self.facts.image_size, images, gradient)
        whole = found["UNet"] + found["autoencoder"]
        return Working(
            weights=2 * found["largest layer"] if offload else whole,
            denoising=found["UNet at work"],
            encoding=found["autoencoder at work"],
            kept=found["autoencoder holds"],
        )

    def add_concept(self, tokens: dict[str, torch.Tensor]) -> None:
        """See `PromptEncoder.add_concepts`; a closed vocabulary then knows the tokens."""
        self.text.add_concepts(tokens)
        if self.facts.vocabulary is not None:
            self.facts.vocabulary = (*self.facts.vocabulary, *tokens)

    def save_embeddings(self, path: Path, force: bool = False) -> None:
        """See `DiffusionPrior.save_embeddings`."""
        self.text.embeddings.save(path, force=force)

    def encode_text(self, prompts: list[str]) -> torch.Tensor:
        """Last hidden states (B, T, D), taken from the embedding store if it has them."""
        return self.text.encode(prompts)

    def encode_with_concept(
        self, prompts: list[str], token: str, vectors: torch.Tensor
    ) -> torch.Tensor:
        """See `PromptEncoder.encode_with_concept`."""
        return self.text.encode_with_concept(prompts, token, vectors)

    def word_vector(self, word: str) -> torch.Tensor:
        """The embedding (D,) of a word, averaged over its tokens. Raises ModelError if the model
        does not know the word."""
        if self.facts.vocabulary is not None and word not in self.facts.vocabulary:
            raise unknown_word(word)
        return self.text.word_vector(word)

    def word_columns(self, prompt: str, words: str) -> list[int]:
        """See `DiffusionPrior.word_columns`."""
        return self.text.columns(prompt, words)

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """Scaled latents (B, C, h, w) of images (B, H, W, 3) in [0, 1]; differentiable."""
        return self._by_images(self._encode, images.to(self.device))

    def _encode(self, images: torch.Tensor) -> torch.Tensor:
        x = images.permute(0, 3, 1, 2).to(self.vae_dtype) * 2 - 1
        posterior = self.vae.encode(x).latent_dist
        latents = posterior.sample() if self.config.sample_posterior else posterior.mode()
        return ((latents - self._shift) * self._factor).float()

    def _by_images(
        self, function: Callable[[torch.Tensor], torch.Tensor], given: torch.Tensor
    ) -> torch.Tensor:
        """Apply a function of the autoencoder to a few pictures at a time; the gradient is that of
        all."""
        few = self.images
        differentiable = torch.is_grad_enabled() and given.requires_grad
        if differentiable and not self.accelerated:
            # A CPU's convolutions sum one picture in a different order than several (3e-6 of a
            # gradient), and are hardly faster with several. One by one, the gradient does not
            # depend on how many are processed at once.
            function = self._one_by_one(function)
        if few <= 0 or len(given) <= few:
            return function(given)
        if differentiable:
            return torch.cat(
                [checkpoint(function, some, use_reentrant=False) for some in given.split(few)]
            )
        return torch.cat([function(some) for some in given.split(few)])

    @staticmethod
    def _one_by_one(
        function: Callable[[torch.Tensor], torch.Tensor],
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda given: torch.cat([function(one) for one in given.split(1)])

    def decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """Images (B, H, W, 3) in [0, 1] of scaled latents (B, C, h, w); differentiable."""
        return self._by_images(self._decode, latents.to(self.device))

    def _decode(self, latents: torch.Tensor) -> torch.Tensor:
        x = self.vae.decode((latents / self._factor + self._shift).to(self.vae_dtype)).sample
        return (x.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)

    @torch.no_grad()
    def predict(self, latents: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
        """The UNet's output (B, C, h, w)."""
        few = self.entries
        if few <= 0 or len(latents) <= few:
            return self._predict(latents, t, condition, call=self._call)
        # Views that attend to each other stay in one batch.
        together = (
            condition.views if self.processor is not None and self.facts.joint_views > 1 else 1
        )
        few = max(1, few // together) * together
        parts = [slice(begin, begin + few) for begin in range(0, len(latents), few)]
        return torch.cat(
            [self._predict(latents[p], t[p], condition.part(p), call=self._call) for p in parts]
        )

    def predict_with_gradient(
        self, latents: torch.Tensor, t: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        """The same as `predict`, but differentiable in the latents and the text, for training a
        concept."""
        return self._predict(latents, t, condition, call=self._plain)

    def _predict(
        self,
        latents: torch.Tensor,
        t: torch.Tensor,
        condition: Condition,
        call: Callable[..., torch.Tensor],
    ) -> torch.Tensor:
        x, labels = latents.to(self.device, self.dtype), None
        batch = len(x)
        if self._ray_maps:
            maps = torch.zeros(batch, 6, *x.shape[-2:])
            if condition.cameras is not None:
                maps = condition.cameras.ray_maps(x.shape[-2], x.shape[-1])
            x = torch.cat([x, maps.to(x)], 1)
        if self._camera_vector:
            vector = torch.zeros(batch, self.unet.config.projection_class_embeddings_input_dim)
            if condition.cameras is not None:
                known = 1.0 if condition.background is None else condition.background
                level = torch.as_tensor(known, dtype=torch.float32).expand(batch)
                vector = camera_vector(
                    condition.cameras.azimuth, condition.cameras.elevation, level
                )
            labels = vector.to(self.device, self.dtype)
        arguments = (x, t.to(self.device), condition.text.to(self.device, self.dtype))
        with ExitStack() as hooks:
            hooks.enter_context(emphasised(self.unet, condition.emphasis))
            if self.processor is not None:
                views = condition.views if self.facts.joint_views > 1 else 1
                hooks.enter_context(joint_views(self.processor, views))
            if isinstance(call, Recorded):
                # A recording includes which views attend to each other; weights of words change
                # from call to call, so those calls are not recorded.
                call = (
                    call.with_setting(condition.views)
                    if condition.emphasis is None
                    else self._plain
                )
            return call(*arguments, class_labels=labels).float()
