"""Inpainting: the contract of an inpainter, diffusers' pipelines, and latent blending for any
text-to-image prior."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from ..engine.errors import ModelError
from ..engine.random import RandomStream
from ..engine.schema.bounds import Number, Share, Weight
from ..engine.turns import alone, working
from .diffusion import Condition, DiffusionPrior
from .families.parts import index_of, variant_of
from .registry import INPAINTERS, find_model
from .sampling import ddim


@dataclass(frozen=True, kw_only=True)
class InpaintConfig:
    """Settings of inpainting. The defaults are ComboVerse's (METHODS 4.2)."""

    scale: float = 7.5
    """Scale of classifier-free guidance."""
    rescale: Share = 0.5
    """For latent blending: see `sampling.guide`."""
    steps: Number = 30
    clamp: Weight = 3.5
    """For latent blending: largest absolute value of the clean latents; 0 for no limit."""


class Inpainter(ABC):
    """Fills the masked part of a picture.

    `greys` is the range of the grey backgrounds that it knows, or None if it knows others too.
    """

    name: str
    greys: tuple[float, float] | None = None

    @abstractmethod
    def fill(
        self, picture: torch.Tensor, mask: torch.Tensor, prompt: str, seed: int
    ) -> torch.Tensor:
        """Fill a square picture (1, S, S, 3) in [0, 1] where the mask (1, S, S) is 1.

        The other pixels may be changed slightly by the model's autoencoder.
        """


class LatentBlending(Inpainter):
    """Inpainting by a text-to-image prior: at every denoising step the known latents are put back
    (Avrahami et al. 2022).

    A latent counts as known only if all of its pixels are.

    Args:
        condition: camera and background of the picture, for a prior that is conditioned on them;
            the text is that of the prompt.
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
        # Enlarge the mask to whole latents before it is reduced to their grid.
        new = (new > 0.02).float().to(known.device)
        noise = RandomStream(seed, "inpaint", 0).normal("noise", tuple(known.shape), known.device)
        given = self.condition
        # In one call, so that both have the same length.
        texts = prior.encode_text([prompt, ""])
        condition = Condition(
            texts[:1],
            given.cameras if given else None,
            given.background if given else None,
        )
        clean = ddim(
            prior,
            noise,
            1.0,
            steps=config.steps,
            condition=condition,
            negative=texts[1:],
            scale=config.scale if prompt else 1.0,
            rescale=config.rescale,
            clamp=config.clamp,
            project=lambda z: new * z + (1 - new) * known,
        )
        out = prior.decode_latents(clean).to(picture.device)
        if edge != size:
            out = F.interpolate(
                out.permute(0, 3, 1, 2), (edge, edge), mode="bilinear", align_corners=False
            ).permute(0, 2, 3, 1)
        return out.clamp(0, 1)


class DiffusersInpainting(Inpainter):
    """A diffusers inpainting pipeline from a folder (Stable Diffusion 1, 2, XL, …).

    Raises:
        ModelError: it cannot be loaded, or is not for inpainting.
    """

    @alone()
    def __init__(
        self, folder: Path, config: InpaintConfig, device: str = "cpu", name: str = ""
    ) -> None:
        from diffusers import AutoPipelineForInpainting
        from diffusers.utils import logging

        logging.disable_progress_bar()
        logging.set_verbosity_error()
        more: dict[str, Any] = {}
        if "safety_checker" in index_of(folder):
            # It is not used, and what is downloaded has none.
            more = {"safety_checker": None, "requires_safety_checker": False}
        try:
            self.pipeline: Any = AutoPipelineForInpainting.from_pretrained(
                folder,
                torch_dtype=torch.float32 if device == "cpu" else torch.float16,
                use_safetensors=True,
                variant=_variant(folder),
                local_files_only=True,
                **more,
            )
        except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:140]
            raise ModelError(
                f"the inpainting model cannot be loaded ({reason})",
                str(folder),
                "Give a diffusers inpainting folder",
            ) from None
        if getattr(self.pipeline, "unet", None) is None:
            raise ModelError(
                f"is read as a {type(self.pipeline).__name__}, and inpainting models with a UNet "
                "are read alone",
                str(folder),
                "Take one of Stable Diffusion 1, 2 or XL, or leave --inpainter out",
            )
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
        filled = self.pipeline(
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
            filled.float().cpu(), (edge, edge), mode="bilinear", align_corners=False, antialias=True
        )
        return out.permute(0, 2, 3, 1).clamp(0, 1)


def _variant(folder: Path) -> str | None:
    """The variant of the weights where a part of a pipeline has no plain ones. Raises
    ModelError."""
    parts = sorted(p for p in folder.iterdir() if (p / "config.json").is_file())
    found = [variant_of(p) for p in parts if any(p.glob("*.safetensors"))]
    return next((name for name in found if name), None)


@working()
def load_inpainter(
    name: str, prior: DiffusionPrior, config: InpaintConfig, device: str = "cpu"
) -> Inpainter:
    """Load an inpainter: "prior" (the run's own prior, by latent blending), a name of `INPAINTERS`,
    a folder or a hub id. Raises ModelError."""
    if name == "prior":
        return LatentBlending(prior, config)
    return DiffusersInpainting(
        find_model(name, INPAINTERS, "--inpainter", file="model_index.json"),
        config,
        device,
        name=name,
    )
