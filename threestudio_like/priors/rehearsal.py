"""What a diffusers model's networks hold while they work, found on tensors that hold nothing."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..engine.memory import MemoryWatch, bytes_of
from ..engine.turns import alone
from .networks.attention import install


@contextlib.contextmanager
def numbers_of(dtype: torch.dtype) -> Iterator[None]:
    """Modules that are made within have this number type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@dataclass(frozen=True)
class Networks:
    """A prior's networks as their configurations say, made of tensors that hold nothing."""

    folder: Path
    dtype: torch.dtype
    vae_dtype: torch.dtype
    fused: bool
    """Whether the device's attention never writes its maps out."""
    unet: str = "unet"
    """The UNet's folder."""

    @alone()
    def rehearse(
        self, latent: int, entries: int, image: int, images: int, gradient: bool
    ) -> dict[str, int]:
        """Bytes of the weights, and what the UNet holds at most for `entries` and the autoencoder
        for `images` at work.

        Args:
            latent, image: edges of latents and pictures. gradient: whether pictures are encoded for
                their gradient; where not, latents are decoded too.
        """
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from torch._subclasses.fake_tensor import FakeTensorMode

        settings = {
            part: json.loads((self.folder / part / "config.json").read_text())
            for part in (self.unet, "vae")
        }
        with FakeTensorMode():
            with numbers_of(self.dtype):
                unet = (
                    UNet2DConditionModel.from_config(settings[self.unet])
                    .eval()
                    .requires_grad_(False)
                )
            with numbers_of(self.vae_dtype):
                vae = AutoencoderKL.from_config(settings["vae"]).eval().requires_grad_(False)
            found = {"UNet": bytes_of(unet), "autoencoder": bytes_of(vae)}
            found["largest layer"] = max(
                bytes_of(m) for net in (unet, vae) for m in net.modules() if not list(m.children())
            )
            install(unet, self.fused)
            config: Any = unet.config
            given = {
                "encoder_hidden_states": torch.empty(
                    entries, 77, config.cross_attention_dim, dtype=self.dtype
                )
            }
            if config.class_embed_type == "projection":
                given["class_labels"] = torch.empty(
                    entries, config.projection_class_embeddings_input_dim, dtype=self.dtype
                )
            noisy = torch.empty(entries, config.in_channels, latent, latent, dtype=self.dtype)
            with torch.no_grad(), MemoryWatch() as watch:
                unet(noisy, torch.zeros(entries, dtype=torch.long), **given)
            found["UNet at work"] = watch.peak
            pictures = torch.empty(
                images, 3, image, image, dtype=self.vae_dtype, requires_grad=gradient
            )
            with torch.set_grad_enabled(gradient), MemoryWatch() as watch:
                out = vae.encode(pictures).latent_dist.mode()
                found["autoencoder holds"] = watch.live
                if gradient:
                    out.sum().backward()
                else:
                    vae.decode(out)
            found["autoencoder at work"] = watch.peak
        return found
