"""Options of score distillation beside one another: none is passed over because another is set."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from threestudio_like.engine.errors import ConfigError
from threestudio_like.engine.random import RandomStream
from threestudio_like.guidance.guidance import GuidanceInputs
from threestudio_like.guidance.prompts import PromptConfig, ViewPrompts, perp_neg
from threestudio_like.guidance.registry import GuidanceContext
from threestudio_like.guidance.score_distillation import (
    ScoreDistillation,
    ScoreDistillationConfig,
    weight,
)
from threestudio_like.guidance.spatial import SpatialConfig, SpatialScoreDistillation
from threestudio_like.priors.diffusion import Reference
from threestudio_like.priors.latent_rgb import show_rgb
from threestudio_like.priors.oracle import PointMass
from threestudio_like.renderers import RingCameras
from threestudio_like.renderers.rendering import Rendering
from threestudio_like.representations.surfaces.tetrahedra import Tetrahedra, TetrahedraConfig
from threestudio_like.stages.mesh.config import MeshStageConfig
from threestudio_like.stages.mesh.stage import MeshGuidances

MU = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(1))


def view(count: int = 2, size: int = 8) -> GuidanceInputs:
    """What a guidance is told of some views."""
    return GuidanceInputs(RingCameras(count=count).all(size), 0.0, RandomStream(0, "s", 0))


class Enlarged(PointMass):
    """A point mass whose pictures are its latents, enlarged."""

    def encode_image(self, images):
        grey = F.adaptive_avg_pool2d(images.permute(0, 3, 1, 2), 8)
        return torch.cat([grey, grey.mean(1, keepdim=True)], 1)

    def decode_latents(self, latents):
        return F.interpolate(latents[:, :3], self.facts.image_size).permute(0, 2, 3, 1)


@pytest.mark.parametrize("rescale", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("interpolate", [False, True])
def test_perp_neg_is_rescaled_as_plain_guidance_is(rescale, interpolate, tiny_prior):
    """Lin et al. 2023, equations 15 and 16, for the guided noise that Perp-Neg leaves."""
    prompt = PromptConfig(interpolate=interpolate)
    config = ScoreDistillationConfig(
        scale=7.5, weighting="uniform", perp_neg=0.7, rescale=rescale, prompt=prompt
    )
    guidance, inputs = ScoreDistillation(tiny_prior, "a red chair", config), view()
    heard = []
    predict = tiny_prior.epsilon

    def listening(*given):
        heard.append(predict(*given))
        return heard[-1]

    z = torch.randn(2, 4, tiny_prior.facts.latent_size, tiny_prior.facts.latent_size)
    guidance.prior = type("Heard", (), {"__getattr__": lambda _, name: getattr(tiny_prior, name)})()
    guidance.prior.epsilon = listening
    gradient, _ = guidance.residual(z, inputs)
    positive, empty, *others = heard[0].chunk(4)
    weights = [0.7, 0.7]
    if interpolate:
        found = 0.7 * guidance.prompts.other_weights(inputs.cameras)
        weights = [column.view(-1, 1, 1, 1) for column in found.unbind(1)]
    guided = perp_neg(empty, positive, others, weights, 7.5)
    share = positive.flatten(1).std(1) / guided.flatten(1).std(1)
    wanted = rescale * guided * share.view(-1, 1, 1, 1) + (1 - rescale) * guided
    noise = inputs.random.normal("noise", tuple(z.shape))
    torch.testing.assert_close(gradient, wanted - noise, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["dreamfusion", "clean"])
@pytest.mark.parametrize("clip", [0.0, 0.05, 1e6])
def test_a_limited_gradient_leaves_the_estimate_of_the_image_loss(kind, clip):
    """The picture is held against the prior's estimate, not against where the latents may go in
    one step."""
    prior, inputs = Enlarged(MU * 3), view()
    size = prior.facts.image_size
    x = torch.rand(2, size, size, 3, generator=torch.Generator().manual_seed(4))
    gradients = []
    for image_loss in (0.0, 1.0):
        config = ScoreDistillationConfig(
            scale=5.0, weighting=kind, image_loss=image_loss, clip=clip
        )
        shown = x.clone().requires_grad_(True)
        one = torch.ones_like(shown[..., :1])
        guidance = ScoreDistillation(prior, "x", config, encode=True)
        guidance(Rendering(shown, one, one, torch.zeros_like(shown)), inputs).loss.backward()
        gradients.append(shown.grad)
    abar = prior.schedule.alphas_cumprod[guidance.times(2, inputs)].view(2, 1, 1, 1)
    estimate = prior.decode_latents(3 * MU[None].expand(2, -1, -1, -1))
    wanted = weight(kind, abar) * (abar / (1 - abar)).sqrt() * (x - estimate)
    if clip > 0:
        # The limit of a pixel's gradient is that of a picture's pixels too.
        norm = wanted.norm(dim=-1, keepdim=True)
        wanted = wanted * (clip / norm).clamp_max(1.0)
    torch.testing.assert_close(gradients[1] - gradients[0], wanted / 2, atol=2e-4, rtol=5e-3)


@pytest.mark.parametrize(
    ("changes", "encode"),
    [
        ({"image_residual": True}, False),
        ({"image_loss": 0.1}, False),
        ({"known_background": 1.0}, True),
    ],
)
def test_an_option_of_other_renderings_is_refused(changes, encode, tiny_prior):
    config = ScoreDistillationConfig(**changes)
    ScoreDistillation(tiny_prior, "a red chair", config, encode=not encode)
    with pytest.raises(ConfigError, match=f'"{next(iter(changes))}" is for renderings of'):
        ScoreDistillation(tiny_prior, "a red chair", config, encode=encode)


def test_perp_neg_wants_directions(tiny_prior):
    config = ScoreDistillationConfig(perp_neg=1.0)
    ScoreDistillation(tiny_prior, "a red chair", config)
    one = replace(config, prompt=PromptConfig(view_dependent=False))
    with pytest.raises(ConfigError, match="all have one prompt"):
        ScoreDistillation(tiny_prior, "a red chair", one)
    spatial = SpatialConfig()
    spatial = replace(spatial, score=replace(spatial.score, perp_neg=1.0))
    with pytest.raises(ConfigError, match="all have one prompt"):
        SpatialScoreDistillation(tiny_prior, "a red chair", (), spatial)


@pytest.mark.parametrize("direction", ["front", "side", "back", "overhead", "bottom"])
def test_a_prompt_of_a_direction_is_not_passed_over(direction, tiny_prior):
    config = PromptConfig(view_dependent=False, **{direction: "a blue chair"})
    with pytest.raises(ConfigError, match="does not follow the view"):
        ViewPrompts(tiny_prior, "a red chair", config)
    own = ViewPrompts(tiny_prior, "a red chair", replace(config, view_dependent=True))
    (wanted,) = tiny_prior.encode_text(["a blue chair"])
    torch.testing.assert_close(own.by_direction[direction], wanted)


@pytest.mark.parametrize(("channels", "fits"), [(4, True), (16, False)])
def test_normals_as_latents_want_four_channels_and_keep_the_reference(channels, fits):
    prior = PointMass(torch.zeros(channels, 8, 8))
    reference = Reference(torch.zeros(8, 8, 3), torch.ones(8, 8))
    config = MeshStageConfig(latent_share=0.5)
    assert config.guidance.image_residual
    context = GuidanceContext(
        stage="mesh",
        prompt="x",
        prior=prior,
        encode=True,
        decode=show_rgb,
        representation=Tetrahedra(TetrahedraConfig(size=4)),
        render=lambda cameras, random: pytest.fail("nothing is drawn"),
        reference=reference,
    )
    if not fits:
        with pytest.raises(ConfigError, match="four channels, and the prior's have 16"):
            MeshGuidances(config, context)
        return
    (early,) = MeshGuidances(config, context).early
    assert early.guidance.reference is reference
    assert not early.guidance.config.image_residual
