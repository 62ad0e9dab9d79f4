"""FLUX.2 (Black Forest Labs 2025), with Mistral as its text encoder, and its "klein" models with
Qwen3: latents of two by two patches, normalised, and the states of three layers side by side."""

from __future__ import annotations

import math
from typing import Any

import torch

from ...engine.errors import ModelError
from ...engine.turns import alone
from ..diffusion import GuidanceStyle
from ..noise_schedule import NoiseSchedule
from ..text.embeddings import EmbeddingStore
from ..text.packed import Text
from .base import DiffusersPrior
from .text import LibraryText, TextSide

STEPS = 50
"""Steps of sampling that the published shift is made for."""


class MistralText(LibraryText):
    """The states of three layers of Mistral 3 (10, 20 and 30), in a dialogue."""

    pipeline = "Flux2Pipeline"
    classes = ("Mistral3ForConditionalGeneration",)
    layers: tuple[int, ...] = (10, 20, 30)
    usual_length = 512

    @alone()
    def processor(self) -> Any:
        """The folder's Pixtral processor, or its tokenizer where it has no more."""
        from transformers import AutoProcessor

        path = (self.folder / "tokenizer").resolve()
        if not any(path.glob("*processor_config.json")):
            return super().processor()
        try:
            return AutoProcessor.from_pretrained(str(path), local_files_only=True)
        except Exception as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
            raise ModelError(f"the processor cannot be loaded ({first})", str(path)) from None

    def make(self, prompts: list[str]) -> Text:
        """See `FamilyText.make`."""
        network = self.encoder("text_encoder", self.classes)
        text = getattr(network.config, "text_config", network.config)
        if max(self.layers) > text.num_hidden_layers:
            raise ModelError(
                f"its text encoder has {text.num_hidden_layers} layers, and the states of "
                f"{', '.join(map(str, self.layers))} are wanted",
                str(self.folder),
                "Say which: --load.text_layers 9,18,27",
            )
        states, _ = self.library().encode_prompt(
            prompt=list(prompts),
            device=self.device,
            max_sequence_length=self.length,
            text_encoder_out_layers=self.layers,
        )
        return Text(states)


class Qwen3Text(MistralText):
    """The states of three layers of Qwen3 (9, 18 and 27), in a dialogue."""

    pipeline = "Flux2KleinPipeline"
    classes = ("Qwen3ForCausalLM",)
    layers = (9, 18, 27)

    def processor(self) -> Any:
        """The tokenizer."""
        return self.readers()["tokenizer"].tokenizer


class Flux2Prior(DiffusersPrior):
    """FLUX.2's adapter; "klein" where the text encoder is Qwen3."""

    kind = "Flux2Transformer2DModel"
    usual_size = 64
    usual_guidance = 4.0

    @property
    def klein(self) -> bool:
        """Whether the folder is of the small models."""
        return str(self.index.get("_class_name", "")).startswith("Flux2Klein")

    @property
    def downscale_of_latents(self) -> int:
        """Two by two of the autoencoder's latents are one."""
        return 2 * self.vae_facts.downscale

    def channels(self) -> int:
        """See `DiffusersPrior.channels`."""
        return int(self.denoiser.config.in_channels)

    def size(self) -> int:
        """See `DiffusersPrior.size`."""
        return self.config.image_size // self.downscale_of_latents or self.usual_size

    def style(self) -> GuidanceStyle:
        """The large model embeds its guidance; of the small ones, distilled ones want none."""
        if self.klein:
            return "none" if self.index.get("is_distilled") else "cfg"
        return "embedded"

    def _schedule(self) -> NoiseSchedule:
        if not self.scheduler.use_dynamic_shifting:
            return super()._schedule()
        # A fit of the publisher's: mu is linear in the tokens, for few and for many steps.
        tokens = self.tokens
        many = 0.00016927 * tokens + 0.45666666
        few = 8.73809524e-05 * tokens + 1.89833333
        mu = many if tokens > 4300 else many + (many - few) / 190 * (STEPS - 200)
        steps = self.scheduler.num_train_timesteps
        return NoiseSchedule.flow(steps, math.exp(mu), scale=float(steps))

    def text_side(self, embeddings: EmbeddingStore) -> TextSide:
        """See `DiffusersPrior.text_side`."""
        side = (Qwen3Text if self.klein else MistralText)(
            *(self.folder, self.text_dtype, self.device, self.config.keep_text, embeddings),
            self.config.text_length,
        )
        if self.config.text_layers:
            side.layers = self.config.text_layers
        return side

    def denoise(
        self, network: Any, x: torch.Tensor, time: torch.Tensor, text: Text
    ) -> torch.Tensor:
        """See `DiffusersPrior.denoise`."""
        rows, columns, words = x.shape[-2], x.shape[-1], text.states.shape[1]
        places = torch.zeros(rows, columns, 4, device=x.device, dtype=torch.long)
        places[..., 1] = torch.arange(rows, device=x.device)[:, None]
        places[..., 2] = torch.arange(columns, device=x.device)[None]
        order = torch.zeros(words, 4, device=x.device, dtype=torch.long)
        order[:, 3] = torch.arange(words, device=x.device)
        guidance = None
        if not self.klein:
            guidance = torch.full((len(x),), self.embedded_guidance, device=x.device)
        out = network(
            hidden_states=x.flatten(2).transpose(1, 2),
            timestep=time.to(x) / 1000,
            guidance=guidance,
            encoder_hidden_states=text.states,
            txt_ids=order.expand(len(x), -1, -1),
            img_ids=places.reshape(1, -1, 4).expand(len(x), -1, -1),
            return_dict=False,
        )[0]
        return out.transpose(1, 2).reshape(len(x), -1, rows, columns)
