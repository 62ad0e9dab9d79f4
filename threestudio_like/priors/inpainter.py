"""Filling a part of a picture: the contract of an inpainter, diffusers' pipelines, and latent
blending for any text-to-image prior."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from ..engine.errors import ModelError
from ..engine.random import RandomStream
from .diffusion import Condition, DiffusionPrior
from .registry import INPAINTERS, find_model
from .sampling import ddim


@dataclass(frozen=True, kw_only=True)
class InpaintConfig:
    """How a part is filled; the numbers are ComboVerse's (METHODS 4.2)."""

    scale: float = 7.5
    """Classifier-free guidance."""
    rescale: float = 0.5
    """Of latent blending: see `sampling.guide`."""
    steps: int = 30
    clamp: float = 3.5
    """Of latent blending: largest absolute value of the clean latents; 0 for none."""


class Inpainter(ABC):
    """Fills what a mask marks. greys: levels between which the backgrounds lie that it knows, if
    they are all grey."""

    name: str
    greys: tuple[float, float] | None = None

    @abstractmethod
    def fill(
        self, picture: torch.Tensor, mask: torch.Tensor, prompt: str, seed: int
    ) -> torch.Tensor:
        """A square picture (1, S, S, 3) in [0, 1] whose pixels under the mask (1, S, S), 1 where it
        is to be filled, are new; the others may come back changed by the model's encoder."""


class LatentBlending(Inpainter):
    """A text-to-image prior fills by being reminded: at every denoising step the known latents are
    put back (Avrahami et al. 2022).

    A latent counts as known only where all its pixels are.

    Args:
        condition: camera and background of the picture for a prior that knows such things; the text
            is the prompt's.
    """

    def __init__(
        self, prior: DiffusionPrior, config: InpaintConfig, condition: Condition | None = None
    ) -> None:
        self.prior, self.config, self.condition, self.name = (
            prior,
            config,
            condition,
            prior.facts.name,
        )
        self.greys = prior.facts.camera.background if prior.facts.camera is not None else None

    @torch.no_grad()
    def fill(
        self, picture: torch.Tensor, mask: torch.Tensor, prompt: str, seed: int
    ) -> torch.Tensor:
        """See `Inpainter.fill`."""
        prior, config, size = self.prior, self.config, self.prior.facts.image_size
        edge = picture.shape[1]
        small = picture
        if edge != size:
            small = F.interpolate(
                picture.permute(0, 3, 1, 2),
                (size, size),
                mode="bilinear",
                align_corners=False,
                antialias=True,
            ).permute(0, 2, 3, 1)
        known = prior.encode_image(small)
        new = F.adaptive_max_pool2d(mask[:, None], known.shape[-2:])
        # Up to a mask smaller than the latent grid.
        new = (new > 0.02).float().to(known.device)
        noise = RandomStream(seed, "inpaint", 0).normal("noise", tuple(known.shape), known.device)
        given = self.condition
        condition = Condition(
            prior.encode_text([prompt]),
            given.cameras if given else None,
            given.background if given else None,
        )
        clean = ddim(
            prior,
            noise,
            1.0,
            config.steps,
            condition,
            prior.encode_text([""]),
            config.scale if prompt else 1.0,
            config.rescale,
            config.clamp,
            project=lambda z: new * z + (1 - new) * known,
        )
        out = prior.decode_latents(clean).to(picture.device)
        if edge != size:
            out = F.interpolate(
                out.permute(0, 3, 1, 2), (edge, edge), mode="bilinear", align_corners=False
            ).permute(0, 2, 3, 1)
        return out.clamp(0, 1)


class DiffusersInpainting(Inpainter):
    """A diffusers inpainting pipeline of a folder (Stable Diffusion 1, 2, XL, …).

    Raises:
        ModelError: it cannot be loaded, or paints no masks.
    """

    def __init__(
        self, folder: Path, config: InpaintConfig, device: str = "cpu", name: str = ""
    ) -> None:
        from diffusers import AutoPipelineForInpainting
        from diffusers.utils import logging

        logging.disable_progress_bar()
        logging.set_verbosity_error()
        try:
            self.pipeline: Any = AutoPipelineForInpainting.from_pretrained(
                folder,
                torch_dtype=torch.float32 if device == "cpu" else torch.float16,
                use_safetensors=True,
            )
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:140]
            raise ModelError(
                f"the inpainting model cannot be loaded ({reason})",
                str(folder),
                "Give a diffusers inpainting folder",
            ) from None
        if getattr(self.pipeline, "safety_checker", None) is not None:
            self.pipeline.safety_checker = None
        self.pipeline.to(device)
        self.pipeline.set_progress_bar_config(disable=True)
        self.config, self.name = config, name or folder.name

    @torch.no_grad()
    def fill(
        self, picture: torch.Tensor, mask: torch.Tensor, prompt: str, seed: int
    ) -> torch.Tensor:
        """See `Inpainter.fill`."""
        edge = picture.shape[1]
        factor = getattr(self.pipeline, "vae_scale_factor", 8)
        size = max(
            factor * 8, round(getattr(self.pipeline.unet.config, "sample_size", 64) * factor)
        )
        x = F.interpolate(
            picture.permute(0, 3, 1, 2),
            (size, size),
            mode="bilinear",
            align_corners=False,
            antialias=True,
        )
        m = F.interpolate(mask[:, None], (size, size), mode="nearest")
        found = self.pipeline(
            prompt=prompt,
            image=x,
            mask_image=m,
            height=size,
            width=size,
            num_inference_steps=self.config.steps,
            guidance_scale=self.config.scale,
            generator=torch.Generator().manual_seed(seed),
            output_type="pt",
        ).images
        out = F.interpolate(
            found.float().cpu(), (edge, edge), mode="bilinear", align_corners=False, antialias=True
        )
        return out.permute(0, 2, 3, 1).clamp(0, 1)


def load_inpainter(
    name: str, prior: DiffusionPrior, config: InpaintConfig, device: str = "cpu"
) -> Inpainter:
    """An inpainter: "prior" (the run's own, by latent blending), a name of `INPAINTERS`, a folder
    or a hub id. Raises ModelError."""
    if name == "prior":
        return LatentBlending(prior, config)
    return DiffusersInpainting(
        find_model(name, INPAINTERS, "--inpainter", "model_index.json"), config, device, name
    )
