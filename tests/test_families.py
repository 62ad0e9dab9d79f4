"""Every family against the library's own pipeline: what its denoiser is told and says during its
steps, its text, its pictures. Tiny twins with random weights, in float32."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.twins import TWINS, save_twin
from threestudio_like.priors.diffusion import Condition
from threestudio_like.priors.families.base import DiffusersPrior
from threestudio_like.priors.families.detection import load_folder
from threestudio_like.priors.families.flux import unpacked
from threestudio_like.priors.model_folder import DiffusersConfig

SMALL = ("flux", "qwen", "z-", "sana")
PROMPT, NEGATIVE = "a red chair, front view", "a blue mug"
CALLS: dict[str, dict[str, Any]] = {
    "flux-dev": dict(true_cfg_scale=2.0, guidance_scale=3.5),
    "flux-schnell": dict(true_cfg_scale=2.0, guidance_scale=3.5),
    "flux2": dict(guidance_scale=4.0),
    "qwen-image": dict(true_cfg_scale=2.0),
    "lcm": dict(guidance_scale=8.5),
    "pixart-sigma": dict(guidance_scale=4.0, use_resolution_binning=False),
    "sana": dict(guidance_scale=4.0, use_resolution_binning=False),
}
"""How a pipeline is called, where not with a guidance scale of 4."""
UNGUIDED = ("flux2", "lcm")
"""Pipelines that make one prediction."""
EMPTY = (*UNGUIDED, "flux2-klein", "sana")
"""Pipelines that take no negative prompt, or treat it otherwise than a prompt."""


def edge_of(name: str) -> int:
    return 32 if name.startswith(SMALL) else 16


@dataclass
class Seen:
    """What a pipeline's denoiser was told and said, call by call, and what was decoded."""

    calls: list[tuple[tuple[Any, ...], dict[str, Any], Any]] = field(default_factory=list)
    decoded: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)
    image: torch.Tensor | None = None


def watch(pipeline: Any, name: str, seen: Seen) -> None:
    """Run a pipeline's two steps, and keep what goes through its denoiser and decoder."""
    network = getattr(pipeline, "transformer", None) or pipeline.unet

    def keep(module: Any, arguments: Any, keywords: Any, output: Any) -> None:
        out = output[0] if isinstance(output, tuple) else output.sample
        seen.calls.append((arguments, dict(keywords), out))

    handle = network.register_forward_hook(keep, with_kwargs=True)
    values = dict(CALLS.get(name, dict(guidance_scale=4.0)))
    if name not in EMPTY:
        values["negative_prompt"] = NEGATIVE
    size = edge_of(name)
    pipeline.set_progress_bar_config(disable=True)
    seen.image = pipeline(
        prompt=PROMPT,
        height=size,
        width=size,
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(3),
        output_type="pt",
        **values,
    ).images
    handle.remove()


@functools.cache
def twin(name: str, folder: Path) -> tuple[DiffusersPrior, Seen, Any]:
    """A twin loaded by us, and what the library's pipeline from the same folder did."""
    from diffusers import DiffusionPipeline

    save_twin(name, folder / name)
    more: dict[str, Any] = {"add_watermarker": False} if name in ("sdxl", "playground-2.5") else {}
    if name == "sd3-without-t5":
        more = {"text_encoder_3": None, "tokenizer_3": None}
    pipeline = DiffusionPipeline.from_pretrained(
        folder / name, local_files_only=True, torch_dtype=torch.float32, **more
    )
    seen = Seen()
    coder = getattr(pipeline, "vae", None)
    if coder is not None:
        decode = coder.decode

        def kept(z: torch.Tensor, *arguments: Any, **keywords: Any) -> Any:
            out = decode(z, *arguments, **keywords)
            seen.decoded.append((z, out[0] if isinstance(out, tuple) else out.sample))
            return out

        coder.decode = kept
    watch(pipeline, name, seen)
    if coder is not None:
        coder.decode = decode
    config = DiffusersConfig(image_size=edge_of(name))
    return load_folder(folder / name, config, name), seen, pipeline


@pytest.fixture(scope="session")
def twins(tmp_path_factory):
    folder = tmp_path_factory.mktemp("twins")
    return lambda name: twin(name, folder)


def in_our_form(x: Any, prior: DiffusersPrior) -> torch.Tensor:
    """A pipeline's latents or predictions as (B, C, h, w)."""
    size = prior.facts.latent_size
    if isinstance(x, list):
        return torch.stack(x).squeeze(2)
    if x.ndim == 3 and prior.kind == "Flux2Transformer2DModel":
        return x.transpose(1, 2).reshape(len(x), -1, size, size)
    return unpacked(x, size, size) if x.ndim == 3 else x


def told(arguments: Any, keywords: Any) -> tuple[Any, torch.Tensor, Any]:
    """Latents, times and states of a denoiser's call."""
    x = keywords.get("hidden_states", arguments[0] if arguments else None)
    time = keywords.get("timestep", arguments[1] if len(arguments) > 1 else None)
    text = keywords.get("encoder_hidden_states", arguments[2] if len(arguments) > 2 else None)
    return x, torch.as_tensor(time).float().reshape(-1), text


def as_ours(prior: DiffusersPrior, time: torch.Tensor) -> torch.Tensor:
    """A denoiser's times in thousandths of the way to noise."""
    if prior.kind.startswith(("Flux", "Qwen")):
        return time * 1000
    return 1000 - 1000 * time if prior.kind.startswith("ZImage") else time


def time_of(prior: DiffusersPrior, time: torch.Tensor) -> tuple[int, float]:
    """The integer time step whose time a pipeline told its denoiser, and how far off it is."""
    time = as_ours(prior, time)
    times = prior.schedule.time(torch.arange(len(prior.schedule))).float()
    off = (times - time[0]).abs()
    return int(off.argmin()), float(off.min())


@contextlib.contextmanager
def at_time(prior: DiffusersPrior, t: int, time: torch.Tensor) -> Iterator[None]:
    """Within, the network is told at t exactly what a pipeline told it."""
    before = prior.schedule
    if before.times is not None:
        times = before.times.clone()
        times[t] = as_ours(prior, time)[0]
        prior.schedule = replace(before, times=times)
    yield
    prior.schedule = before


def largest_difference(name: str, twins: Any) -> float:
    """Over all calls: our prediction against the pipeline's, of what its denoiser was given, with
    prompt and negative prompt."""
    prior, seen, _ = twins(name)
    empty = "" if name in EMPTY else NEGATIVE
    embedded = dict(zip((PROMPT, empty), prior.encode_text([PROMPT, empty])))
    order = {1: [[PROMPT]], 2: [[empty, PROMPT]]}
    compared, worst = 0, 0.0
    for number, (arguments, keywords, out) in enumerate(seen.calls):
        x, time, _ = told(arguments, keywords)
        x, theirs = in_our_form(x, prior), in_our_form(out, prior)
        t, off = time_of(prior, time)
        # Samplers round their times to whole numbers, or take times between ours.
        if off > 0.5:
            continue
        rows = order[len(x)][0]
        if len(x) == 1 and name in ("flux-dev", "flux-schnell", "qwen-image", "flux2-klein"):
            rows = [[PROMPT], [empty]][number % 2]
        if name == "z-image":
            rows = [PROMPT, empty]
        text = torch.stack([embedded[row] for row in rows])
        factor = prior.schedule.factors
        with at_time(prior, t, time):
            ours = prior.predict(
                x / (1.0 if factor is None else factor[t]),
                torch.full((len(x),), t),
                Condition(text),
            )
        theirs = theirs[:, : prior.facts.channels]
        if name == "z-image":
            theirs = -theirs
        if prior.schedule.data is not None:
            theirs = preconditioned(seen, prior, x, theirs, t)
        worst = max(worst, float((ours - theirs).abs().max()))
        compared += len(rows)
    assert compared >= (1 if name in UNGUIDED else 2)
    return worst


def preconditioned(
    seen: Seen, prior: DiffusersPrior, x: torch.Tensor, out: torch.Tensor, t: int
) -> torch.Tensor:
    """The clean latents by the library's EDM scheduler, of the denoiser's input and output."""
    from diffusers import EDMEulerScheduler

    scheduler = EDMEulerScheduler.from_pretrained(prior.folder / "scheduler")
    abar = prior.schedule.alphas_cumprod[t].double()
    sigma = ((1 - abar) / abar).sqrt().float()
    sample = x * (sigma.square() + 0.25).sqrt()
    return scheduler.precondition_outputs(sample, out, sigma)


@pytest.mark.parametrize("name", TWINS)
def test_predictions_are_the_librarys(name, twins):
    """The denoiser's output for its own input during a step, conditional and not."""
    assert largest_difference(name, twins) < 1e-5


@pytest.mark.parametrize("name", TWINS)
def test_texts_are_the_librarys(name, twins):
    """What the denoiser was told of the prompt, and its pooled text."""
    prior, seen, _ = twins(name)
    empty = "" if name in EMPTY else NEGATIVE
    unpack = prior.layout.unpack(prior.encode_text([PROMPT, empty]))
    _, _, theirs = told(*seen.calls[0][:2])
    if isinstance(theirs, list):  # Z-Image's rows have their own lengths.
        for row, mask, wanted in zip(unpack.states, unpack.mask, prior_rows(seen)):
            torch.testing.assert_close(row[mask > 0], wanted, atol=1e-5, rtol=0)
        return
    wanted = theirs[-1] if len(theirs) == 2 else theirs[0]
    ours = unpack.states[0][: len(wanted)]
    torch.testing.assert_close(ours, wanted, atol=1e-5, rtol=0)
    if len(theirs) == 2:
        torch.testing.assert_close(unpack.states[1], theirs[0], atol=1e-5, rtol=0)
    pooled = seen.calls[0][1].get("pooled_projections")
    added = seen.calls[0][1].get("added_cond_kwargs") or {}
    pooled = added.get("text_embeds", pooled)
    if pooled is not None:
        torch.testing.assert_close(unpack.pooled[0], pooled[-1], atol=1e-5, rtol=0)


def prior_rows(seen: Seen) -> list[torch.Tensor]:
    return told(*seen.calls[0][:2])[2]


@pytest.mark.parametrize("name", [n for n in TWINS if n != "deepfloyd-if"])
def test_pictures_are_the_librarys(name, twins):
    """Decoding what the pipeline decoded, and encoding: scale and shift of the latents."""
    prior, seen, pipeline = twins(name)
    raw, picture = seen.decoded[-1]
    raw, picture = (x[:, :, 0] if x.ndim == 5 else x for x in (raw, picture))
    shown = (picture / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    torch.testing.assert_close(
        prior.decode_latents(prior.latents.scaled(raw)), shown, atol=1e-5, rtol=0
    )
    torch.testing.assert_close(shown.permute(0, 3, 1, 2), seen.image.float(), atol=1e-5, rtol=0)
    size = edge_of(name)
    image = torch.rand(1, size, size, 3, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours = prior.encode_image(image)
    assert ours.shape == (1, prior.facts.channels, prior.facts.latent_size, prior.facts.latent_size)
    torch.testing.assert_close(ours, library_latents(pipeline, image), atol=1e-5, rtol=1e-5)


def library_latents(pipeline: Any, image: torch.Tensor) -> torch.Tensor:
    """A picture's latents, as the image-to-image pipelines of the library make them."""
    coder = pipeline.vae
    x = image.permute(0, 3, 1, 2) * 2 - 1
    config: Any = coder.config
    name = type(coder).__name__
    with torch.no_grad():
        if name == "AutoencoderKLQwenImage":
            z = coder.encode(x[:, :, None]).latent_dist.mode()[:, :, 0]
            mean, spread = (
                torch.tensor(config[k]).view(1, -1, 1, 1) for k in ("latents_mean", "latents_std")
            )
            return (z - mean) / spread
        if name == "AutoencoderKLFlux2":
            return pipeline._encode_vae_image(x, None)
        if name == "AutoencoderDC":
            return coder.encode(x).latent * config.scaling_factor
        z = coder.encode(x).latent_dist.mode()
    if config.latents_mean is not None:
        mean, spread = (
            torch.tensor(config[k]).view(1, -1, 1, 1) for k in ("latents_mean", "latents_std")
        )
        return (z - mean) * config.scaling_factor / spread
    return (z - (config.shift_factor or 0)) * config.scaling_factor


def test_pixels_are_their_own_latents(twins):
    prior, _, _ = twins("deepfloyd-if")
    image = torch.rand(1, 16, 16, 3)
    assert torch.equal(prior.encode_image(image), image.permute(0, 3, 1, 2) * 2 - 1)
    torch.testing.assert_close(prior.decode_latents(prior.encode_image(image)), image)


@pytest.mark.parametrize("name", TWINS)
def test_noise_is_the_librarys(name, twins):
    """add_noise, seen by the network, is what the library's scheduler makes of the same latents."""
    prior, _, pipeline = twins(name)
    scheduler = pipeline.scheduler
    clean, noise = torch.randn(2, 1, prior.facts.channels, 8, 8).unbind(0)
    for t in (50, 400, 700):
        ours = prior.schedule.seen(
            prior.schedule.add_noise(clean, noise, torch.tensor([t])), torch.tensor([t])
        )
        told = prior.schedule.time(torch.tensor([t])).float()
        kind = prior.scheduler.kind("")
        if kind == "flow":
            sigma = told / 1000
            theirs = (1 - sigma) * clean + sigma * noise
            if not prior.scheduler.use_dynamic_shifting and "FlowMatch" in type(scheduler).__name__:
                known = torch.cat(
                    [scheduler.timesteps, type(scheduler)(**scheduler.config).timesteps]
                )
                assert float((known - told).abs().min()) < 1e-2
        elif kind == "edm":
            sigma = (4 * told).exp()
            theirs = scheduler.precondition_inputs(clean + sigma * noise, sigma)
        else:
            # A fresh one: sampling has changed the pipeline's.
            from diffusers import DDPMScheduler

            names = ("beta_start", "beta_end", "beta_schedule", "rescale_betas_zero_snr")
            values = {k: scheduler.config[k] for k in names if k in scheduler.config}
            theirs = DDPMScheduler(**values).add_noise(clean, noise, torch.tensor([t]))
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-5)


TRIED = ("sd", "lcm", "sdxl", "playground-2.5", "sd3", "flux-dev", "flux-schnell", "flux2")
TRIED = (*TRIED, "pixart-sigma", "sana", "deepfloyd-if")
IDLE: dict[str, tuple[Any, tuple[str, ...]]] = {
    "zero_empty": (True, ("sdxl", "playground-2.5")),
    "text_layers": ((1, 2), ("flux2",)),
    "text_length": (
        24,
        ("sd3", "flux-dev", "flux-schnell", "flux2", "pixart-sigma", "sana", "deepfloyd-if"),
    ),
    "clip_skip": (1, ("sd", "lcm", "sdxl", "playground-2.5", "sd3")),
    "pose": ("zero123", ()),
    "shift": (2.0, ("sd3", "flux-dev", "flux-schnell", "flux2", "sana")),
    "beta_start": (0.001, ("sd", "lcm", "sdxl", "pixart-sigma", "deepfloyd-if")),
    "embedded_guidance": (3.0, ("lcm", "flux-dev", "flux2")),
    "latent_scale": (0.5, tuple(name for name in TRIED if name != "deepfloyd-if")),
    "tokenizer": (Path("nowhere"), ()),
}
"""Options of loading: a value, and the twins for which it counts."""


@pytest.mark.parametrize("name", TRIED)
def test_options_that_change_nothing_are_said(name, twins):
    given = DiffusersConfig(dtype="float32", **{k: v for k, (v, _) in IDLE.items()})
    folder = twins(name)[0].folder
    said = "\n".join(load_folder(folder, given, name).facts.notes)
    for option, (_, families) in IDLE.items():
        assert (f"--load.{option} changes nothing" in said) == (name not in families), option
    plain = load_folder(folder, DiffusersConfig(dtype="float32"), name)
    assert not [note for note in plain.facts.notes if "changes nothing" in note]
