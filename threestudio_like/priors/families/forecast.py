"""What a family's networks hold while they work, found on tensors that hold nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ...engine.memory import MemoryWatch, bytes_of
from ...kernels.devices import MAIN
from ..control.networks import Control, controlled
from ..diffusion import Working
from ..networks.attention import install
from ..networks.low_rank import CAMERA
from ..rehearsal import numbers_of
from ..text.embeddings import EmbeddingStore
from ..text.packed import Text
from .autoencoder import latents_of_kind

if TYPE_CHECKING:
    from .base import DiffusersPrior


def _told(prior: DiffusersPrior) -> torch.Size:
    """The shape (T, D) of what the denoiser is told of a prompt. It is read in main memory, because
    nothing is known yet of the room on the device, and is not kept: a run makes its own."""
    text = prior.text
    place, known = text.device, text.embeddings
    if not text.keep and not known.bundle:
        text.device, text.embeddings = torch.device(MAIN), EmbeddingStore()
    try:
        return prior.encode_text([""]).shape[1:]
    finally:
        text.device, text.embeddings = place, known


def _like(network: Any) -> Any:
    """A network of the same configuration, under the mode of tensors that hold nothing."""
    with numbers_of(network.dtype):
        return type(network).from_config(network.config).eval().requires_grad_(False)


@dataclass
class _Beside:
    """A denoiser that holds nothing, with control networks of the same kind."""

    denoiser: Any
    controls: tuple[Control, ...]
    latents: Any
    size: int

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        channels = int(self.denoiser.config.in_channels)
        channels = channels // 4 if "Flux" in type(self.denoiser).__name__ else channels
        return torch.empty(len(images), channels, self.size, self.size)


def _controlled(prior: DiffusersPrior, denoiser: Any, entries: int) -> AbstractContextManager[None]:
    """What makes a denoiser that holds nothing ask control networks that hold nothing either."""
    made = tuple(replace(c, network=_like(c.network)) for c in prior.controls)
    for control, own in zip(made, prior.controls):
        if getattr(own.network.config, "use_pos_embed", True) is False:
            control.network.pos_embed = denoiser.pos_embed
    edge = prior.facts.image_size
    pictures = {c.kind: torch.empty(entries, edge, edge, 3) for c in made}
    beside = _Beside(denoiser, made, prior.latents, prior.facts.latent_size)
    return controlled(beside, pictures)


def forecast(
    prior: DiffusersPrior, latent: int, entries: int, images: int, gradient: bool, offload: bool
) -> Working:
    """Bytes that a prior holds; arguments as of `DiffusionPrior.rehearse`."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    networks = [n for n in (prior.denoiser, prior.vae) if n is not None]
    controls = [c.network for c in prior.controls]
    shape = _told(prior)
    encoding = kept = 0
    with FakeTensorMode(allow_non_fake_inputs=True):
        made = [_like(network) for network in networks]
        x = torch.empty(entries, prior.facts.channels, latent, latent, dtype=prior.dtype)
        told = prior.layout.unpack(torch.empty(entries, *shape, dtype=prior.dtype))
        # Which tokens are padding cannot be asked of tensors that hold nothing.
        text = Text(told.states, told.pooled)
        beside = _controlled(prior, made[0], entries)
        with torch.no_grad(), MemoryWatch() as watch, beside:
            prior.denoise(made[0], x, torch.ones(entries), text)
        denoising = watch.peak
        if len(made) > 1:
            edge = prior.facts.image_size
            pictures = torch.empty(
                images, 3, edge, edge, dtype=prior.vae_dtype, requires_grad=gradient
            )
            coder = latents_of_kind(prior.vae_facts._class_name)(made[1], prior.vae_facts)
            with torch.set_grad_enabled(gradient), MemoryWatch() as watch:
                out = coder.encode(pictures)
                kept = watch.live
                if gradient:
                    out.sum().backward()
                else:
                    coder.decode(out)
            encoding = watch.peak
    largest = max(
        bytes_of(m) for n in (*networks, *controls) for m in n.modules() if not list(m.children())
    )
    weights = 2 * largest if offload else sum(map(bytes_of, (*networks, *controls)))
    return Working(weights=weights, denoising=denoising, encoding=encoding, kept=kept)


def forecast_training(
    prior: DiffusersPrior,
    beside: Callable[[nn.Module], nn.Module],
    latent: int,
    entries: int,
) -> Working:
    """See `DiffusionPrior.rehearse_training`."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    shape = _told(prior)
    with FakeTensorMode(allow_non_fake_inputs=True):
        network = _like(prior.denoiser)
        if getattr(prior, "processor", None) is not None:
            install(network, fused=prior.accelerated)
        trained: Any = beside(network)
        for p in trained.parameters():
            # As in every step but the first; it is counted with what is trained.
            p.grad = torch.zeros_like(p)
        x = torch.empty(entries, prior.facts.channels, latent, latent, dtype=prior.dtype)
        told = prior.layout.unpack(torch.empty(entries, *shape, dtype=prior.dtype))
        camera = torch.empty(entries, CAMERA) if trained.camera is not None else None
        with MemoryWatch() as watch, trained.active(camera):
            time = torch.ones(entries)
            out = prior.denoise(network, x, time, Text(told.states, told.pooled))
            kept = watch.live
            out.float().square().mean().backward()
        weights = bytes_of(trained)
    return Working(weights=weights, denoising=watch.peak, kept=kept)
