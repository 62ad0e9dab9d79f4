"""What the adapters of diffusers' families share: their parts, the autoencoder, how much is done at
once, and the way from a prompt and a time to the denoiser and back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from ...engine.errors import ModelError
from ...engine.limits import Limits
from ..control.networks import Control, controlled
from ..diffusion import Condition, DiffusionPrior, GuidanceStyle, PriorFacts, Within, Working
from ..model_files import PriorRecord
from ..model_folder import (
    DiffusersConfig,
    facts_of,
    left_without,
    number_types,
    read_config,
    read_facts,
    scheduler_of,
)
from ..networks.attention import emphasised
from ..noise_schedule import NoiseSchedule, PredictionType
from ..personal.autoencoder import chosen_autoencoder
from ..personal.lora import add_loras, read_loras
from ..text.embeddings import EmbeddingStore
from ..text.packed import Text, TextLayout
from .autoencoder import KINDS, Latents, Pixels, latents_of_kind
from .forecast import forecast, forecast_training
from .in_parts import by_images, in_range, parts_of, predicted_with_gradient
from .parts import AGAIN, check_class, index_of, load_part
from .records import AutoencoderRecord, SchedulerRecord
from .text import TextSide


class DiffusersPrior(DiffusionPrior):
    """A diffusion prior from a folder of diffusers' layout; a family is a subclass.

    Args:
        folder: of the model.
        config: number type, device, memory options, and what overrides the folder's own files.
        name: for messages and reports.
        embeddings: known prompt embeddings (a bundle), or None.

    Attributes:
        entries, images: the number that the denoiser and the autoencoder process at once, 0 for
            all. They are those of the configuration until a memory plan or a shortage changes them.

    Raises:
        ModelError: a part is missing, damaged, or another than the family has.
    """

    part: str = "transformer"
    """The folder of the denoiser."""
    addition: Path | None = None
    """Low-rank layers that belong to the denoiser, where there are some."""
    kind: ClassVar[str] = ""
    """The denoiser's class in diffusers."""
    also: ClassVar[tuple[str, ...]] = ()
    """Other names of its class in published configurations."""
    pixels: ClassVar[bool] = False
    """Whether it denoises pictures, and has no autoencoder."""
    swaps_vae: ClassVar[bool] = True
    """Whether another autoencoder may stand for its own."""
    likes: ClassVar[bool] = False
    """Whether there are IP-Adapters for it."""
    half: ClassVar[torch.dtype] = torch.bfloat16
    """Number type on a GPU."""
    patch: ClassVar[int] = 1
    """Latents along an edge that are one token."""
    usual_size: ClassVar[int] = 128
    """Latents along an edge where no configuration says how many."""
    usual_guidance: ClassVar[float] = 0.0
    """Of a guidance embedding, where the denoiser has one."""
    controls: tuple[Control, ...] = ()
    """Networks that control the denoiser, see `control.attach`."""

    def __init__(
        self,
        folder: Path,
        config: DiffusersConfig,
        name: str,
        embeddings: EmbeddingStore | None = None,
    ) -> None:
        self.folder, self.config, self.name = folder, config, name
        self.entries, self.images = config.entries, config.images
        self.device = torch.device(config.device)
        self.index = index_of(folder)
        self.own: PriorRecord = read_facts(folder)
        self.scheduler = self._scheduler()
        if not self.pixels:
            check_class(folder, "vae", KINDS)
        self.vae_facts = (
            AutoencoderRecord() if self.pixels else read_config(folder, "vae", AutoencoderRecord)
        )
        config.parts.check(name, likes=self.likes)
        self._choose_vae(config.parts.vae)
        self.dtype, self.vae_dtype = number_types(config.dtype, self.device, self.half)
        if self.vae_facts.force_upcast and self.vae_dtype == torch.float16:
            # Its activations leave the range of float16.
            self.vae_dtype = torch.float32
        chosen = config.dtype != "auto" or not self.accelerated
        self.text_dtype = self.vae_dtype if chosen else self.half
        self.check()
        self._load_networks()
        self._place()
        self.facts = left_without(self, self._facts(), self.config.without)
        self.schedule = self._schedule()
        self.text = self.text_side(EmbeddingStore() if embeddings is None else embeddings)
        if self.loras:
            self.text.prepare = lambda part, network: add_loras(self.loras, network, part)
            self.facts.notes = (*self.facts.notes, *(n for lora in self.loras for n in lora.notes))

    def _choose_vae(self, chosen: Path | None) -> None:
        swaps = self.swaps_vae and not self.pixels
        self.vae_folder, self.vae_facts = chosen_autoencoder(
            chosen, self.folder, self.vae_facts, swaps
        )

    def check(self) -> None:
        """Raise ModelError where the configurations are not the family's, before anything is
        loaded."""

    @abstractmethod
    def channels(self) -> int:
        """Channels of the latents."""

    @abstractmethod
    def size(self) -> int:
        """Height and width of the latents."""

    @abstractmethod
    def text_side(self, embeddings: EmbeddingStore) -> TextSide:
        """What encodes prompts."""

    @abstractmethod
    def denoise(
        self, network: Any, x: torch.Tensor, time: torch.Tensor, text: Text
    ) -> torch.Tensor:
        """The network's output (B, C, h, w) for its input x (B, C, h, w) at its times (B,)."""

    def style(self) -> GuidanceStyle:
        """How the model is guided, as far as its files say."""
        return "none" if self.scheduler.few_steps else "cfg"

    @property
    def layout(self) -> TextLayout:
        """How a prompt's embedding is packed."""
        return getattr(self.text, "layout", TextLayout())

    @property
    def downscale_of_latents(self) -> int:
        """Pixels per latent along an edge, as the configuration says."""
        return 1 if self.pixels else self.vae_facts.downscale

    @property
    def embedded_guidance(self) -> float:
        """The value of the guidance embedding."""
        chosen = self.config.embedded_guidance
        return self.usual_guidance if chosen is None else chosen

    def _scheduler(self) -> SchedulerRecord:
        """The scheduler's numbers with those that --load overrides."""
        return scheduler_of(self.folder, self.config)

    @property
    def tokens(self) -> int:
        """Tokens of a picture."""
        return (self.size() // self.patch) ** 2

    def _schedule(self) -> NoiseSchedule:
        where = str(self.folder / "scheduler" / "scheduler_config.json")
        return NoiseSchedule.of(self.scheduler, where, tokens=self.tokens)

    def prediction(self) -> PredictionType:
        """What `predict` gives: the network's own form; the clean latents for EDM."""
        kind = self.scheduler.kind(str(self.folder / "scheduler" / "scheduler_config.json"))
        if kind == "edm":
            return "sample"
        if kind == "flow":
            return "flow"
        said = self.scheduler.prediction_type
        return "flow" if said == "flow_prediction" else said

    def _facts(self) -> PriorFacts:
        facts = facts_of(
            *(self.name, self.own, self.prediction()),
            channels=self.channels(),
            latent=self.size(),
            image=self.size() * self.downscale_of_latents,
        )
        chosen = self.config.guidance
        facts.guidance = self.style() if chosen == "auto" else chosen
        return facts

    def load_denoiser(self) -> Any:
        """The denoiser. Raises ModelError, see `parts.load_part`."""
        names = (self.kind, *self.also)
        return load_part(self.folder, self.part, self.kind, self.dtype, names)

    def _load_networks(self) -> None:
        self.denoiser: Any = self.load_denoiser()
        if self.addition is not None:
            second = read_loras([(self.addition, 1.0)], self.folder, self.denoiser)
            lost = [note for lora in second for note in lora.notes]
            if lost:
                raise ModelError(f"is not whole: {lost[0]}", str(self.addition), AGAIN)
            add_loras(second, self.denoiser)
        self.loras = read_loras(self.config.parts.loras(), self.folder, self.denoiser)
        add_loras(self.loras, self.denoiser)
        self.vae: Any = None
        if self.pixels:
            self.latents: Latents = Pixels()
            return
        kind = self.vae_facts._class_name
        place = self.vae_folder
        self.vae = load_part(place.parent, place.name, kind, self.vae_dtype, KINDS)
        config = self.config
        self.latents = latents_of_kind(kind)(
            self.vae,
            self.vae_facts,
            factor=config.latent_scale,
            shift=config.latent_shift,
            sample=config.sample_posterior,
        )

    def _networks(self) -> list[Any]:
        every = (self.denoiser, self.vae, *(c.network for c in self.controls))
        return [n for n in every if n is not None]

    def _place(self) -> None:
        for network in self._networks():
            network.requires_grad_(False).eval()
        if self.config.tiling and self.vae is not None:
            self.vae.enable_tiling()
        if self.config.offload and self.accelerated:
            self.offload()
        else:
            for network in self._networks():
                network.to(self.device)

    # How much is done at once.

    def offload(self) -> None:
        """From now on, keep the weights in main memory and move each layer to the device when it
        runs."""
        from accelerate import cpu_offload

        for network in self._networks():
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
        self.limits = limits
        if limits.offload:
            self.offload()

    def rehearse(
        self, latent: int, entries: int, images: int, gradient: bool, offload: bool
    ) -> Working:
        """See `DiffusionPrior.rehearse`."""
        return forecast(self, latent, entries, images=images, gradient=gradient, offload=offload)

    def rehearse_training(
        self, beside: Callable[[nn.Module], nn.Module], latent: int, entries: int
    ) -> Working:
        """See `DiffusionPrior.rehearse_training`."""
        return forecast_training(self, beside, latent, entries)

    @property
    def denoiser_module(self) -> nn.Module:
        """See `DiffusionPrior.denoiser_module`."""
        return self.denoiser

    def encode_text(self, prompts: list[str]) -> torch.Tensor:
        """Packed embeddings (B, T, D), taken from the embedding store if it has them."""
        return self.text.encode(prompts)

    def check_prompt(self, prompt: str) -> list[str]:
        """See `DiffusionPrior.check_prompt`."""
        return self.text.check(prompt)

    def save_embeddings(self, path: Path, force: bool = False) -> None:
        """See `DiffusionPrior.save_embeddings`."""
        if not self.facts.reads_text:
            raise ModelError("reads no prompt", self.facts.name, "Leave --save-embeddings out")
        self.text.embeddings.save(path, model=self.facts.name, force=force)

    def word_columns(self, prompt: str, words: str) -> list[int]:
        """See `DiffusionPrior.word_columns`."""
        return self.text.columns(prompt, words)

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        """Scaled latents (B, C, h, w) of images (B, H, W, 3) in [0, 1]; differentiable."""
        return by_images(self._encode, images.to(self.device), self.images, self.accelerated)

    def _encode(self, images: torch.Tensor) -> torch.Tensor:
        def encode(x: torch.Tensor) -> torch.Tensor:
            return self.latents.encode(x.permute(0, 3, 1, 2).to(self.vae_dtype) * 2 - 1)

        return in_range(encode, images, self.vae_dtype)

    def decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """Images (B, H, W, 3) in [0, 1] of scaled latents (B, C, h, w); differentiable."""
        return by_images(self._decode, latents.to(self.device), self.images, self.accelerated)

    def _decode(self, latents: torch.Tensor) -> torch.Tensor:
        x = in_range(lambda z: self.latents.decode(z.to(self.vae_dtype)), latents, self.vae_dtype)
        return (x / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)

    # Prediction.

    def _together(self, condition: Condition) -> int:
        """Entries of a batch that must not be divided."""
        return 1

    @torch.no_grad()
    def predict(self, latents: torch.Tensor, t: torch.Tensor, condition: Condition) -> torch.Tensor:
        """The denoiser's output (B, C, h, w) in the form that the facts name."""
        self.facts.check_domain(condition.domain)
        condition = condition.without(self.facts.untold)
        parts = self._parts(len(latents), condition)
        if len(parts) == 1:
            return self._predict(latents, t, condition)
        return torch.cat([self._predict(latents[p], t[p], condition.part(p)) for p in parts])

    def _parts(self, n: int, condition: Condition) -> list[slice]:
        return parts_of(n, self.entries, self._together(condition))

    def predict_with_gradient(
        self,
        latents: torch.Tensor,
        t: torch.Tensor,
        condition: Condition,
        within: Within | None = None,
    ) -> torch.Tensor:
        """See `DiffusionPrior.predict_with_gradient`."""
        self.facts.check_domain(condition.domain)
        return predicted_with_gradient(
            self._predict_plainly,
            self._parts(len(latents), condition),
            latents.to(self.device),
            t=t,
            condition=condition.without(self.facts.untold),
            within=within,
            half=self.dtype == torch.float16,
        )

    def _predict_plainly(
        self, latents: torch.Tensor, t: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        """`_predict` without anything that stands for the network: recordings, compiled code."""
        return self._predict(latents, t, condition)

    def _predict(
        self, latents: torch.Tensor, t: torch.Tensor, condition: Condition
    ) -> torch.Tensor:
        t = t.to(self.device)
        text = self.layout.unpack(condition.text.to(self.device, self.dtype))
        x = self.schedule.seen(latents.to(self.device), t).to(self.dtype)
        emphasis = self._emphasis(condition, text)
        told = emphasised(self.denoiser, emphasis, condition.normalised)
        with told, controlled(self, condition.control):
            out = self.answer(x, t, text, condition)
        return self._said(out.float(), latents, t)

    def answer(
        self, x: torch.Tensor, t: torch.Tensor, text: Text, condition: Condition
    ) -> torch.Tensor:
        """The network's output (B, C, h, w) for its input x at time steps t (B,); families that are
        told more than a text take it from the condition."""
        return self.denoise(self.denoiser, x, self.schedule.time(t), text)

    def _emphasis(self, condition: Condition, text: Text) -> torch.Tensor | None:
        """The factors of the text's tokens, without the rows that are packed behind them."""
        return None if condition.emphasis is None else condition.emphasis[:, : text.states.shape[1]]

    def _said(self, out: torch.Tensor, latents: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """The network's output in the form that the facts name."""
        if self.schedule.data is None:
            return out
        said = self.scheduler.prediction_type
        return self.schedule.denoised(out, latents.to(out), t, velocity=said == "v_prediction")
