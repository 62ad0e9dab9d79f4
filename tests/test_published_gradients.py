"""Gradients of score distillation against the formulas of the published codes, written down again
over diffusers' own UNet and scheduler: the same random weights, latents, noise and times."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tests.twins import save_twin
from threestudio_like.commands.translation.translator import translate
from threestudio_like.engine.config import parse_yaml
from threestudio_like.engine.random import RandomStream
from threestudio_like.guidance.guidance import GuidanceInputs
from threestudio_like.guidance.score_distillation import (
    ScoreDistillation,
    ScoreDistillationConfig,
)
from threestudio_like.priors.families.detection import load_folder
from threestudio_like.priors.model_folder import DiffusersConfig
from threestudio_like.renderers import Cameras
from threestudio_like.renderers.rendering import Rendering

VIEWS = 4


@pytest.fixture(scope="module", params=["sd", "sd-2.1"])
def pair(request, tmp_path_factory):
    """Our prior and the library's pipeline of one folder."""
    from diffusers import DiffusionPipeline

    folder = save_twin(request.param, tmp_path_factory.mktemp("gradients") / request.param)
    prior = load_folder(folder, DiffusersConfig(dtype="float32"), request.param)
    return prior, DiffusionPipeline.from_pretrained(folder, local_files_only=True)


class Published:
    """What the published codes know at a step: the two predictions, the noise, alphas[t]."""

    def __init__(self, pair: Any, guidance: ScoreDistillation, view: Any, z: torch.Tensor) -> None:
        pipeline = pair[1]
        self.z, self.t = z, guidance.times(len(z), view)
        self.noise = view.random.normal("noise", tuple(z.shape))
        self.alphas = pipeline.scheduler.alphas_cumprod[self.t].view(-1, 1, 1, 1)
        self.noisy = pipeline.scheduler.add_noise(z, self.noise, self.t)
        words = [guidance.prompts.text(view.cameras), guidance.prompts.negatives(len(z))]
        if guidance.config.perp_neg > 0:
            words += list(guidance.prompts.other_directions(view.cameras).unbind(1))
        self.predictions = self.epsilons(pipeline, words)
        self.text, self.empty = self.predictions[:2]

    def epsilons(self, pipeline: Any, words: list[torch.Tensor]) -> list[torch.Tensor]:
        """All predictions in one batch, as the published codes make them: at a scale of 100 the
        rounding of two batches of other sizes would be seen."""
        n = len(words)
        noisy, t = self.noisy.repeat(n, 1, 1, 1), self.t.repeat(n)
        out = pipeline.unet(noisy, t, torch.cat(words)).sample
        if pipeline.scheduler.config.prediction_type == "v_prediction":
            alphas = self.alphas.repeat(n, 1, 1, 1)
            out = alphas.sqrt() * out + (1 - alphas).sqrt() * noisy
        return list(out.chunk(n))

    def latent_nerf(self) -> torch.Tensor:
        """Latent-NeRF, src/stable_diffusion.py, train_step."""
        pred = self.empty + 100 * (self.text - self.empty)
        return self.alphas**0.5 * (1 - self.alphas) * (pred - self.noise)

    def threestudio(self, strategy: str, scale: float) -> torch.Tensor:
        """threestudio, stable_diffusion_guidance.py, compute_grad_sds."""
        pred = self.text + scale * (self.text - self.empty)
        w = {
            "sds": 1 - self.alphas,
            "uniform": torch.ones_like(self.alphas),
            "fantasia3d": self.alphas**0.5 * (1 - self.alphas),
        }[strategy]
        return w * (pred - self.noise)

    def sjc(self, scale: float) -> torch.Tensor:
        """threestudio, compute_grad_sjc with var_red: the score at y + sigma n, which the network
        sees scaled by 1 / sqrt(1 + sigma^2)."""
        sigma = ((1 - self.alphas) / self.alphas) ** 0.5
        zs = self.z + sigma * self.noise
        torch.testing.assert_close(zs / (1 + sigma**2).sqrt(), self.noisy, atol=1e-5, rtol=1e-5)
        pred = self.text + scale * (self.text - self.empty)
        denoised = zs - sigma * pred
        return -(denoised - self.z) / sigma

    def perp_neg(self, scale: float, weight: float) -> torch.Tensor:
        """threestudio, compute_grad_sds with use_perp_neg: what of the other directions is
        perpendicular to the prompt's, with weights below zero."""
        main = self.text - self.empty
        total = torch.zeros_like(main)
        for other in self.predictions[2:]:
            x = other - self.empty
            along = (x * main).sum((1, 2, 3), keepdim=True)
            size = (main * main).sum((1, 2, 3), keepdim=True).clamp_min(1e-6)
            total = total - weight * (x - along / size * main)
        pred = self.empty + scale * (main + total)
        return (1 - self.alphas) * (pred - self.noise)

    def clean(self, scale: float) -> torch.Tensor:
        """Of the estimate of the clean latents, HiFA (Zhu et al. 2023), equation 9: z - z0_hat."""
        pred = self.empty + scale * (self.text - self.empty)
        return self.z - (self.noisy - (1 - self.alphas) ** 0.5 * pred) / self.alphas**0.5


def published_weighting(strategy: str, tmp_path: Any) -> Any:
    """Our weighting for threestudio's, as `translate` has it."""
    path = tmp_path / "t.yaml"
    path.write_text(
        "system_type: dreamfusion-system\nsystem:\n  guidance_type: stable-diffusion-guidance\n"
        f"  guidance:\n    weighting_strategy: {strategy}\n"
    )
    config = parse_yaml(translate(path, ()).yaml(), "translated")["config"]
    return config["distil"]["guidance"]["weighting"]


def compared(pair: Any, config: ScoreDistillationConfig, published: Any) -> float:
    """The largest difference of the gradient of the loss with respect to the latents from a
    formula's, over its bound; the losses are compared too."""
    prior, _ = pair
    guidance = ScoreDistillation(prior, "a red chair", config)
    turns = torch.deg2rad(torch.tensor([10.0, 100.0, 185.0, -80.0]))
    cameras = Cameras.orbit(turns, torch.full((VIEWS,), 0.3), 2.0, 0.7, 8, 8)
    view = GuidanceInputs(cameras, 0.4, RandomStream(0, "published", 3))
    z = torch.randn(VIEWS, 4, 8, 8, generator=torch.Generator().manual_seed(1), requires_grad=True)
    picture = z.permute(0, 2, 3, 1)
    one = torch.ones(VIEWS, 8, 8, 1)
    output = guidance(Rendering(picture, one, one, torch.zeros(VIEWS, 8, 8, 4)), view)
    output.loss.backward()
    with torch.no_grad():
        grad = published(Published(pair, guidance, view, z.detach()))
        target = z.detach() - grad
        loss = 0.5 * F.mse_loss(z.detach(), target, reduction="sum") / VIEWS
    scale = float(grad.abs().max())
    assert scale > 0.05
    assert len(set(guidance.times(VIEWS, view).tolist())) > 1
    assert z.grad is not None
    # A prediction in float32 is certain to about 1e-6, and guidance multiplies a difference of two.
    bound = max(1e-5 * max(1.0, scale), 2e-6 * config.scale)
    torch.testing.assert_close(output.loss, loss, atol=1e-5, rtol=1e-4)
    return float((z.grad * VIEWS - grad).abs().max()) / bound


@pytest.mark.parametrize("strategy", ["sds", "uniform", "fantasia3d"])
@pytest.mark.parametrize("scale", [7.5, 100.0])
def test_threestudios_weightings(pair, strategy, scale, tmp_path):
    """Its scale s is ours at s + 1."""
    ours = published_weighting(strategy, tmp_path)
    config = ScoreDistillationConfig(scale=scale + 1, weighting=ours)
    assert compared(pair, config, lambda p: p.threestudio(strategy, scale)) < 1


def test_latent_nerfs_weighting(pair):
    assert compared(pair, ScoreDistillationConfig(), lambda p: p.latent_nerf()) < 1


def test_sjc_is_the_uniform_weighting(pair):
    config = ScoreDistillationConfig(scale=8.5, weighting="uniform")
    assert compared(pair, config, lambda p: p.sjc(7.5)) < 1


def test_perp_neg_is_threestudios(pair):
    config = ScoreDistillationConfig(scale=7.5, weighting="dreamfusion", perp_neg=0.6)
    plain = replace(config.prompt, interpolate=False)
    assert compared(pair, replace(config, prompt=plain), lambda p: p.perp_neg(7.5, 0.6)) < 1


def test_the_gradient_to_the_clean_estimate(pair):
    config = ScoreDistillationConfig(scale=7.5, weighting="clean")
    assert compared(pair, config, lambda p: p.clean(7.5)) < 1


@pytest.mark.parametrize("strategy", ["sds", "uniform", "fantasia3d"])
def test_elements_are_clipped_after_the_weight(pair, strategy, tmp_path):
    """threestudio's grad_clip."""
    ours = published_weighting(strategy, tmp_path)
    config = ScoreDistillationConfig(scale=8.5, weighting=ours, grad_clip="0.1")
    assert compared(pair, config, lambda p: p.threestudio(strategy, 7.5).clamp(-0.1, 0.1)) < 1
