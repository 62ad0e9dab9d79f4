"""Distillation, guidance tricks and regularisers against closed forms (METHODS 1.16 and 5)."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from threestudio_like.engine.errors import ConfigError
from threestudio_like.engine.random import RandomStream
from threestudio_like.engine.schedule import Schedule
from threestudio_like.engine.stage import ParameterGroup, Step
from threestudio_like.guidance import (
    Guidance,
    GuidanceInputs,
    GuidanceOutput,
    ImageRefinement,
    PromptConfig,
    RefinementConfig,
    ScoreDistillation,
    ScoreDistillationConfig,
    ViewPrompts,
    distortion,
    nearness,
    opacity_entropy,
    orientation,
    perp_neg,
    refinement_cameras,
    sparsity,
    view_direction,
)
from threestudio_like.guidance.score_distillation import foreground_mask, weight
from threestudio_like.guidance.weighted import WeightedGuidance, own_views
from threestudio_like.kernels import grid_variation
from threestudio_like.priors.diffusion import Condition
from threestudio_like.priors.noise_schedule import NoiseSchedule
from threestudio_like.priors.oracle import Gaussian, Mixture, PointMass, ViewsOf
from threestudio_like.priors.sampling import ddim, guide
from threestudio_like.renderers import Cameras, StratifiedCameras
from threestudio_like.renderers.rendering import Rendering, Samples

MU = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(1))


def cameras(n=2):
    return StratifiedCameras(batch=n).sample(RandomStream(0, "c", 0), 8)


def rendering(z):
    picture = z.permute(0, 2, 3, 1)
    one = torch.ones_like(picture[..., :1])
    return Rendering(picture, one, one, torch.zeros_like(picture))


@pytest.mark.parametrize("kind", ["latent-nerf", "dreamfusion", "uniform", "clean"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample", "flow"])
@pytest.mark.parametrize("t", [20, 300, 700, 980])
def test_sds_gradient_of_a_point_mass_is_exact(kind, prediction, t):
    """METHODS 5.1: the gradient is w(t) sqrt(abar / (1 - abar)) (z - mu), noise-free."""
    prior = PointMass(MU, prediction)
    fixed = f"{t / 1000}"
    config = ScoreDistillationConfig(scale=7.0, weighting=kind, t_min=fixed, t_max=fixed)
    guidance = ScoreDistillation(prior, "x", config)
    z = torch.randn(2, 4, 8, 8)
    view = GuidanceInputs(cameras(), 0.0, RandomStream(0, "s", 0))
    drawn = int(guidance.times(2, view)[0])
    assert abs(drawn - t) <= 1
    abar = prior.schedule.alphas_cumprod[drawn]
    expected = weight(kind, abar) * (abar / (1 - abar)).sqrt() * (z - MU)
    gradient, _ = guidance.residual(z, view)
    torch.testing.assert_close(
        gradient, expected, atol=2e-3 * float(expected.abs().max()), rtol=2e-3
    )


def test_official_weight_makes_the_factor_abar_sqrt_one_minus_abar():
    abar = torch.linspace(0.01, 0.99, 9)
    torch.testing.assert_close(
        weight("latent-nerf", abar) * (abar / (1 - abar)).sqrt(), abar * (1 - abar).sqrt()
    )


def test_the_loss_has_the_gradient_of_the_residual():
    """METHODS 0.3: d loss / d z = g / B."""
    guidance = ScoreDistillation(PointMass(MU), "x", ScoreDistillationConfig(scale=1.0))
    z = torch.randn(3, 4, 8, 8, requires_grad=True)
    view = GuidanceInputs(cameras(3), 0.5, RandomStream(0, "s", 4))
    loss, _ = guidance(rendering(z), view)
    loss.backward()
    gradient, _ = guidance.residual(z.detach(), view)
    torch.testing.assert_close(z.grad, gradient / 3)


def test_descent_on_a_point_mass_reaches_it():
    guidance = ScoreDistillation(
        PointMass(MU), "x", ScoreDistillationConfig(scale=3.0, weighting="uniform")
    )
    z = torch.zeros(1, 4, 8, 8, requires_grad=True)
    optimiser = torch.optim.Adam([z], 0.05)
    for step in range(300):
        optimiser.zero_grad()
        guidance(rendering(z), GuidanceInputs(cameras(1), 0.0, RandomStream(0, "s", step)))[
            0
        ].backward()
        optimiser.step()
    assert float((z.detach() - MU).abs().max()) < 0.05


def test_time_range_and_schedule():
    guidance = ScoreDistillation(PointMass(MU), "x", ScoreDistillationConfig(t_max="0.98->0.3"))
    drawn = torch.cat(
        [
            guidance.times(8, GuidanceInputs(cameras(8), 0.0, RandomStream(0, "s", i)))
            for i in range(300)
        ]
    )
    assert drawn.min() >= 20
    assert drawn.max() <= 980
    assert drawn.min() < 40
    assert drawn.max() > 960
    late = torch.cat(
        [
            guidance.times(8, GuidanceInputs(cameras(8), 1.0, RandomStream(0, "s", i)))
            for i in range(50)
        ]
    )
    assert late.max() <= 300
    shared = ScoreDistillation(PointMass(MU), "x", ScoreDistillationConfig(shared_time=True))
    assert (
        len(set(shared.times(8, GuidanceInputs(cameras(8), 0.0, RandomStream(0, "s", 0))).tolist()))
        == 1
    )


def test_the_last_time_step_of_the_range_is_drawn_too():
    config = ScoreDistillationConfig(t_min="0.5", t_max="0.502")
    guidance = ScoreDistillation(PointMass(MU), "x", config)
    views = [GuidanceInputs(cameras(8), 0.0, RandomStream(0, "s", i)) for i in range(20)]
    drawn = torch.cat([guidance.times(8, view) for view in views])
    assert set(drawn.tolist()) == {500, 501, 502}


def test_a_known_background_draws_the_opacity_to_the_mask():
    """The loss of opacities o has the gradient 2 (o - mask) / B; without the option it has none."""
    object_latents = torch.zeros(4, 8, 8)
    object_latents[:, 2:6, 2:6] = 1.5
    z = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    view = GuidanceInputs(cameras(), 0.0, RandomStream(0, "s", 0))
    mask, _ = foreground_mask(object_latents[None])
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    for factor in (0.0, 0.7):
        opacity = torch.full((2, 8, 8, 1), 0.3, requires_grad=True)
        given = replace(rendering(z), opacity=opacity)
        config = ScoreDistillationConfig(scale=1.0, known_background=factor)
        guidance = ScoreDistillation(PointMass(object_latents), "x", config)
        loss = guidance(given, view).loss + 0 * opacity.sum()
        loss.backward()
        wanted = factor * 2 * (0.3 - mask.permute(0, 2, 3, 1)) / 2
        torch.testing.assert_close(opacity.grad, wanted.expand(2, -1, -1, -1))


def test_perp_neg_is_told_the_directions_that_a_view_must_not_show(tiny_prior):
    prompts = ViewPrompts(tiny_prior, "a red chair", PromptConfig())
    turns = torch.deg2rad(torch.tensor([0.0, 90.0, 180.0, 0.0, 0.0]))
    heights = torch.deg2rad(torch.tensor([0.0, 0.0, 0.0, 80.0, -80.0]))
    shown = Cameras.orbit(turns, heights, 2.0, 0.7, 8, 8)
    assert prompts.directions(shown) == ["front", "side", "back", "overhead", "bottom"]
    wanted = [("side", "back"), ("front", "back"), ("front", "side")]
    wanted += [("front", "side")] * 2
    for row, names in zip(prompts.other_directions(shown), wanted, strict=True):
        assert torch.equal(row, torch.stack([prompts.by_direction[name] for name in names]))


def test_no_autoencoder_call_in_latent_mode():
    """METHODS 1.16: the latent rendering feeds the denoiser directly."""
    prior = PointMass(MU)
    prior.encode_image = prior.decode_latents = lambda *_: pytest.fail("the autoencoder was called")
    guidance = ScoreDistillation(prior, "x", ScoreDistillationConfig())
    loss, _ = guidance(
        rendering(torch.randn(1, 4, 8, 8)), GuidanceInputs(cameras(1), 0.0, RandomStream(0, "s", 0))
    )
    assert bool(torch.isfinite(loss))


def test_rgb_space_goes_through_the_encoder_and_back(tiny_prior):
    guidance = ScoreDistillation(
        tiny_prior, "a red chair", ScoreDistillationConfig(scale=2.0), encode=True
    )
    z = torch.rand(1, 8, 8, 3, requires_grad=True)
    one = torch.ones(1, 8, 8, 1)
    loss, _ = guidance(
        Rendering(z, one, one, torch.zeros_like(z)),
        GuidanceInputs(cameras(1), 0.0, RandomStream(0, "s", 0)),
    )
    loss.backward()
    assert float(z.grad.abs().sum()) > 0


def test_the_image_residual_is_the_distance_to_the_decoded_target(tiny_prior):
    """HiFA: the picture's gradient is x - D(z - g), and nothing passes the encoder."""
    size = tiny_prior.facts.image_size
    config = ScoreDistillationConfig(
        image_residual=True, weighting="clean", t_min="0.5", t_max="0.5"
    )
    guidance = ScoreDistillation(tiny_prior, "a chair", config, encode=True)
    picture = torch.rand(2, size, size, 3, requires_grad=True)
    one = torch.ones(2, size, size, 1)
    shown = Rendering(picture, one, one, torch.zeros(2, size, size, 3))
    loss, _ = guidance(shown, GuidanceInputs(cameras(), 0.0, RandomStream(0, "s", 0)))
    loss.backward()
    with torch.no_grad():
        latents = tiny_prior.encode_image(picture)
        gradient, _ = guidance.residual(
            latents, GuidanceInputs(cameras(), 0.0, RandomStream(0, "s", 0))
        )
        expected = (picture - tiny_prior.decode_latents(latents - gradient)) / 2
    torch.testing.assert_close(picture.grad, expected, atol=1e-5, rtol=1e-4)


def test_nearness_is_the_mean_distance_of_what_is_seen():
    opacity = torch.tensor([1.0, 0.5, 0.0], requires_grad=True)
    depth = torch.tensor([2.0, 1.5, 0.0], requires_grad=True)
    value = nearness(depth, opacity)
    assert float(value.detach()) == pytest.approx((1.0 * 2.0 + 0.5 * 3.0) / 3)
    value.backward()
    torch.testing.assert_close(depth.grad, torch.tensor([1 / 3, 1 / 3, 0.0]))
    # Making a ray denser scales its depth and opacity alike: no gradient that way.
    assert float((depth.grad * depth + opacity.grad * opacity)[:2].detach().abs().max()) < 1e-6


def test_gradient_clipping():
    guidance = ScoreDistillation(
        PointMass(MU * 100), "x", ScoreDistillationConfig(scale=1.0, clip=0.5)
    )
    gradient, _ = guidance.residual(
        torch.zeros(2, 4, 8, 8), GuidanceInputs(cameras(), 0.0, RandomStream(0, "s", 0))
    )
    norm = gradient.norm(dim=1)
    assert float(norm.max()) <= 0.5 + 1e-5
    assert float(norm.max()) > 0.49


def test_guidance_identities():
    """METHODS 5.2, and rescaling."""
    c, u = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(guide(c, c, 77.0), c)
    torch.testing.assert_close(guide(c, u, 0.0), u)
    torch.testing.assert_close(guide(c, u, 1.0), c)
    rescaled = guide(c, u, 9.0, 1.0)
    torch.testing.assert_close(rescaled.std((1, 2, 3)), c.std((1, 2, 3)))
    torch.testing.assert_close(guide(c, u, 9.0, 0.5), 0.5 * guide(c, u, 9.0) + 0.5 * rescaled)


def test_perp_neg_ignores_what_agrees_and_subtracts_what_crosses():
    u = torch.zeros(1, 2, 1, 1)
    positive = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    same, across = positive * 3, torch.tensor([0.0, 2.0]).view(1, 2, 1, 1)
    torch.testing.assert_close(perp_neg(u, positive, [same], [1.0], 5.0), 5 * positive)
    torch.testing.assert_close(
        perp_neg(u, positive, [across], [0.5], 5.0), 5 * positive - 5 * across * 0.5
    )


def test_schedule_golden_values():
    """METHODS 5.3."""
    sd = NoiseSchedule.scaled_linear().alphas_cumprod
    assert float(sd[0]) == pytest.approx(1 - 0.00085, abs=1e-6)
    assert float(sd[999]) == pytest.approx(0.0046598, abs=2e-5)
    assert float(NoiseSchedule.linear().alphas_cumprod[999]) == pytest.approx(4.04e-5, rel=5e-3)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample", "flow"])
def test_predictions_convert_there_and_back(kind):
    schedule = NoiseSchedule.scaled_linear()
    clean, noise = torch.randn(3, 4, 4, 4), torch.randn(3, 4, 4, 4)
    t = torch.tensor([50, 400, 900])
    noisy = schedule.add_noise(clean, noise, t)
    prediction = schedule.from_epsilon(noise, noisy, t, kind)
    torch.testing.assert_close(
        schedule.to_epsilon(prediction, noisy, t, kind), noise, atol=2e-3, rtol=1e-3
    )
    torch.testing.assert_close(
        schedule.to_clean(prediction, noisy, t, kind), clean, atol=2e-3, rtol=1e-3
    )


def test_gaussian_oracle_samples_its_own_distribution():
    prior = Gaussian(torch.full((1, 4, 4), 2.0), 0.5)
    text = prior.encode_text([""] * 400)
    noise = torch.randn(400, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    # The exact marginal at the last time step; pure noise would lack its small share of the mean.
    abar = prior.schedule.alphas_cumprod[-1]
    start = abar.sqrt() * 2.0 + (1 - abar + abar * 0.25).sqrt() * noise
    z = ddim(prior, start, 1.0, 100, Condition(text), text, 1.0)
    assert float(z.mean()) == pytest.approx(2.0, abs=0.05)
    assert float(z.std()) == pytest.approx(0.5, abs=0.08)


def test_mixture_oracle_follows_the_prompt():
    modes = {"red": torch.full((1, 2, 2), 3.0), "blue": torch.full((1, 2, 2), -3.0)}
    prior = Mixture(modes, 0.1)
    noise = torch.randn(64, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    for prompt, value in (("red", 3.0), ("blue", -3.0)):
        text = prior.encode_text([prompt] * 64)
        z = ddim(prior, noise, 1.0, 50, Condition(text), prior.encode_text([""] * 64), 1.0)
        assert float(z.mean()) == pytest.approx(value, abs=0.1)
    both = ddim(
        prior,
        noise,
        1.0,
        50,
        Condition(prior.encode_text([""] * 64)),
        prior.encode_text([""] * 64),
        1.0,
    )
    share = float((both.mean((1, 2, 3)) > 0).float().mean())
    assert 0.25 < share < 0.75


def test_sds_with_guidance_on_the_mixture_pulls_to_the_prompted_mode():
    modes = {"red": torch.full((1, 4, 4), 1.5), "blue": torch.full((1, 4, 4), -1.5)}
    guidance = ScoreDistillation(
        Mixture(modes, 0.3),
        "red",
        ScoreDistillationConfig(
            scale=5.0, weighting="uniform", prompt=PromptConfig(view_dependent=False)
        ),
    )
    z = torch.zeros(1, 1, 4, 4, requires_grad=True)
    optimiser = torch.optim.Adam([z], 0.05)
    for step in range(200):
        optimiser.zero_grad()
        guidance(rendering(z), GuidanceInputs(cameras(1), 0.0, RandomStream(0, "s", step)))[
            0
        ].backward()
        optimiser.step()
    assert float(z.mean()) > 1.0


def test_views_of_a_known_object_drive_a_field_to_it():
    """Oracle: the data set is the views of a coloured ball; distillation of a voxel field recovers
    its silhouette and colour."""
    from threestudio_like.engine.events import Events
    from threestudio_like.engine.loop import Loop, LoopSettings, StagePlan
    from threestudio_like.renderers import SolidBackground, VolumeConfig, VolumeRenderer
    from threestudio_like.representations import LearningRates, VoxelField, VoxelGridConfig
    from threestudio_like.stages.distillation import StepViews, distillation_stage
    from threestudio_like.stages.model import FieldModel
    from threestudio_like.stages.regularisers import Regularisation

    colour = torch.tensor([1.8, -1.0, 0.8, 0.4])

    def draw(views):
        origins, directions = views.rays()
        nearest = (origins - (origins * directions).sum(-1, keepdim=True) * directions).norm(
            dim=-1, keepdim=True
        )
        return torch.where(nearest < 0.6, colour, torch.zeros(4))

    prior = ViewsOf(draw, 4, 16)
    field = VoxelField(VoxelGridConfig(size=24), 4)
    parts = FieldModel(field, VolumeRenderer(VolumeConfig(samples=32)), lambda x: x)
    guidance = ScoreDistillation(
        prior, "x", ScoreDistillationConfig(scale=1.0, weighting="clean", known_background=1.0)
    )
    stage = distillation_stage(
        "distil",
        120,
        parts,
        guidance,
        StepViews(
            sampler=StratifiedCameras(),
            background=SolidBackground(value=torch.zeros(4)),
            size=16,
        ),
        LearningRates(),
        Regularisation(),
    )
    Loop(None, Events(None, "quiet"), LoopSettings()).run([StagePlan("distil", lambda done: stage)])
    views = StratifiedCameras().sample(RandomStream(9, "test", 0), 16)
    with torch.no_grad():
        shown = parts.renderer.render(
            field,
            views,
            SolidBackground(value=torch.zeros(4)).sample(views, RandomStream(0, "", 0)),
        )
    wanted = draw(views)
    mask = wanted[..., 0] > 0.5
    got = shown.opacity[..., 0] > 0.5
    assert float((mask & got).sum() / (mask | got).sum()) > 0.85
    assert float((shown.features - wanted)[mask & got].abs().mean()) < 0.15


@pytest.mark.parametrize("turn", range(0, 360, 10))
def test_view_bins(turn):
    """METHODS 1.5 for 36 azimuths x 12 polar angles: overhead and bottom win over the azimuth."""
    for polar in range(0, 181, 16):
        expected = "overhead" if polar <= 30 else "bottom" if polar >= 150 else None
        if expected is None:
            expected = (
                "front" if turn <= 35 or turn >= 325 else "back" if 145 <= turn <= 215 else "side"
            )
        assert view_direction(math.radians(turn), math.radians(90 - polar)) == expected


def test_view_bins_of_negative_azimuths():
    assert view_direction(math.radians(-20), 0.0) == "front"
    assert view_direction(math.radians(-90), 0.0) == "side"
    assert view_direction(math.radians(-170), 0.0) == "back"


def test_view_prompts_and_the_negative_prompt(tiny_prior):
    prompts = ViewPrompts(tiny_prior, "a red chair", PromptConfig(negative="a blue box"))
    ring = Cameras.orbit(torch.tensor([0.0, math.pi]), torch.zeros(2), 2.0, 0.7, 8, 8)
    assert prompts.directions(ring) == ["front", "back"]
    torch.testing.assert_close(
        prompts.text(ring)[0], tiny_prior.encode_text(["a red chair, front view"])[0]
    )
    torch.testing.assert_close(prompts.negatives(1)[0], tiny_prior.encode_text(["a blue box"])[0])
    assert prompts.other_directions(ring).shape[:2] == (2, 2)


def test_opacity_entropy():
    """METHODS 1.16: 1 at one half, under 2e-4 at the ends."""
    assert float(opacity_entropy(torch.full((4, 4), 0.5))) == pytest.approx(1.0)
    assert float(opacity_entropy(torch.zeros(4))) < 2e-4
    assert float(opacity_entropy(torch.ones(4))) < 2e-4


def test_sparsity_closed_form():
    assert float(sparsity(torch.tensor([0.0, 1.0]))) == pytest.approx((0.1 + math.sqrt(1.01)) / 2)


def samples(weights, t, step=0.1):
    n = len(weights)
    return Samples(
        t,
        torch.zeros(n, dtype=torch.long),
        torch.tensor([0, n]),
        torch.zeros(n, 3),
        torch.zeros(n),
        weights,
        step,
    )


def test_distortion_equals_the_double_sum():
    torch.manual_seed(0)
    w, t = torch.rand(12), torch.rand(12).sort().values
    pairs = (w[:, None] * w[None] * (t[:, None] - t[None]).abs()).sum() + 0.1 / 3 * w.square().sum()
    assert float(distortion(samples(w, t), 1)) == pytest.approx(float(pairs), rel=1e-5)
    w64 = torch.rand(6, dtype=torch.float64, requires_grad=True)
    t64 = torch.rand(6, dtype=torch.float64).sort().values
    assert torch.autograd.gradcheck(lambda w: distortion(samples(w, t64), 1), (w64,))


def test_orientation_counts_only_what_faces_away():
    w = torch.tensor([0.5, 0.25])
    normals = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    value = orientation(
        samples(w, torch.tensor([1.0, 2.0])), normals, torch.tensor([[0.0, 0.0, -1.0]]), 1
    )
    assert float(value) == pytest.approx(0.25)


def test_total_variation_of_a_ramp():
    ramp = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 5, 5, 2) * 2
    assert float(grid_variation(ramp, 1.0, 0.0)) == pytest.approx(4.0)
    assert float(grid_variation(ramp, 0.5, 2.0)) == pytest.approx(10.0)
    x = torch.rand(3, 3, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda g: grid_variation(g, 0.7, 1.3), (x,))


def test_the_foreground_mask_finds_the_object_and_the_background():
    z = torch.full((1, 4, 8, 8), 0.3)
    z[:, :, 2:6, 2:6] = 2.0
    mask, median = foreground_mask(z)
    assert float(mask[0, 0, 3, 3]) == 1
    assert float(mask[0, 0, 0, 0]) == 0
    torch.testing.assert_close(median.flatten(), torch.full((4,), 0.3))


class Learner(Guidance):
    """A guidance with a network of its own, as VSD has its LoRA: it learns the mean picture, and
    pulls the rendering towards it."""

    def __init__(self):
        self.network = torch.nn.Linear(3, 3)
        self.knobs = []

    def __call__(self, rendering, inputs):
        seen = rendering.features.detach()
        fit = (self.network(torch.ones(3)) - seen.mean((0, 1, 2))).square().sum()
        pull = (rendering.features - self.network(torch.ones(3)).detach()).square().mean()
        return GuidanceOutput(fit + pull, {"fit": fit.detach()})

    def modules(self):
        return {"network": self.network}

    def parameter_groups(self):
        return [ParameterGroup("network", list(self.network.parameters()), "0.1")]

    def recover(self, verdict):
        self.knobs.append(verdict)
        return "turned it"

    def shrink(self):
        return "shrank it"


def test_a_stage_optimises_and_saves_what_a_guidance_trains_itself(tmp_path):
    from threestudio_like.engine.events import Events
    from threestudio_like.engine.loop import Loop, LoopSettings, StagePlan
    from threestudio_like.guidance.weighted import WeightedGuidance
    from threestudio_like.renderers import RandomBackground, VolumeConfig, VolumeRenderer
    from threestudio_like.representations import LearningRates, VoxelField, VoxelGridConfig
    from threestudio_like.stages.distillation import StepViews, distillation_stage
    from threestudio_like.stages.model import FieldModel
    from threestudio_like.stages.regularisers import Regularisation

    def build(done):
        torch.manual_seed(0)
        model = FieldModel(
            VoxelField(VoxelGridConfig(size=8), 3),
            VolumeRenderer(VolumeConfig(samples=8, occupancy=8)),
            lambda f: f,
        )
        return distillation_stage(
            "learn",
            6,
            model,
            Learner(),
            StepViews(
                sampler=StratifiedCameras(batch=2),
                background=RandomBackground.grey(0.3, 0.9),
                size=8,
            ),
            LearningRates(),
            Regularisation(),
            guidances=[WeightedGuidance("other", Learner(), Schedule.parse("0->2"))],
        )

    def build_until(done):
        """The same stage, killed after its fourth step."""

        def kill(step):
            if step.index == 3:
                raise KeyboardInterrupt

        stage = build(done)
        stage.after_step = kill
        return stage

    def run(folder, plan, resume=False):
        settings = LoopSettings(seed=0, checkpoint_steps=1, resume=resume)
        loop = Loop(folder, Events(None, "quiet"), settings)
        return loop.run([StagePlan("learn", plan)])["learn"]

    finished = run(tmp_path / "whole", build)
    names = {"distil.network", "other.network"}
    assert names <= set(finished.modules)
    torch.manual_seed(0)
    fresh = build({})
    for name in names:
        before, after = (s.modules[name].weight.detach() for s in (fresh, finished))
        assert float((before - after).abs().max()) > 0.05
    assert finished.recover("nan") == "turned it and turned it"
    assert finished.shrink().endswith("shrank it and shrank it")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", build_until)
    resumed = run(tmp_path / "cut", build, resume=True)
    for name, module in finished.modules.items():
        for key, value in module.state_dict().items():
            torch.testing.assert_close(
                resumed.modules[name].state_dict()[key], value, rtol=0, atol=0
            )


@pytest.mark.parametrize("views", [1, 3, 6, 8, 13])
def test_refinement_takes_any_number_of_views(views):
    """Groups of four are denoised together, what is left of them view by view."""
    config = RefinementConfig(views=views, batch=8)
    cameras = refinement_cameras(config, 2.5, 40.0, size=8)
    assert len(cameras) == views
    parts = ImageRefinement.__new__(ImageRefinement)
    parts.config, parts.prior = config, SimpleNamespace(facts=SimpleNamespace(joint_views=4))
    made = parts._parts(views)
    assert torch.equal(torch.cat(made), torch.arange(views))
    assert sum(len(part) for part in made if len(part) % 4 == 0) == views - views % 4


def test_views_that_cannot_be_shared_name_an_option_that_exists():
    """The stage of `reconstruct --method field` is not called as its configuration."""
    guidance = type("Joint", (), {"wants_all_views": True})()
    every = [WeightedGuidance("distil", guidance, Schedule.parse("1"))]
    cameras = refinement_cameras(RefinementConfig(), 2.5, 40.0, size=8)
    step = Step("picture", 0, 1, 0.0, 0, 0, 2)
    with pytest.raises(ConfigError, match=r"add --distil\.guidance\.joint-views False"):
        own_views(cameras, step, every, "distil")


def test_a_collapse_of_rounds_changes_what_comes_next():
    """The stage goes on with lower rates than before, and on an empty scene without sparsity."""
    from threestudio_like.engine.events import Events
    from threestudio_like.engine.loop import Loop, LoopSettings, Stage, StagePlan
    from threestudio_like.renderers import VolumeConfig, VolumeRenderer
    from threestudio_like.representations import VoxelField, VoxelGridConfig
    from threestudio_like.stages.model import FieldModel
    from threestudio_like.stages.rounds import RoundsConfig, rounds_stage

    field = VoxelField(VoxelGridConfig(size=8), 4)
    parts = FieldModel(field, VolumeRenderer(VolumeConfig(samples=8)), lambda x: x)
    config = RoundsConfig(refine=RefinementConfig(views=4))
    refinement = ImageRefinement(PointMass(MU), "x", config.refine, torch.zeros(4))
    pictures = torch.zeros(4, 8, 8, 4)
    stage = rounds_stage("start", parts, refinement, config, "latent", pictures=pictures, size=8)
    assert stage.rate_factor == 1.0
    assert stage.recover("nan") == "lowered the learning rates"
    assert stage.recover("empty").endswith("switched sparsity off")
    assert stage.rate_factor == 0.3

    weight = torch.nn.Linear(1, 1, bias=False)
    begun = weight.weight.item()
    groups = [ParameterGroup("g", [weight.weight], lr=0.1)]
    plain = Stage("s", 1, {"m": weight}, groups, lambda step: {"a": weight.weight.sum()})
    plain.rate_factor = 0.5
    Loop(None, Events(None, "quiet"), LoopSettings()).run([StagePlan("s", lambda done: plain)])
    assert begun - weight.weight.item() == pytest.approx(0.05, rel=1e-3)
