"""Variational score distillation: against the published formula; trained, saved, resumed."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from tests.conftest import tiny_pipeline
from threestudio_like.engine.errors import ConfigError, ModelError
from threestudio_like.engine.events import Events
from threestudio_like.engine.limits import Limits
from threestudio_like.engine.loop import Loop, LoopSettings
from threestudio_like.engine.random import RandomStream
from threestudio_like.engine.stage import StagePlan
from threestudio_like.guidance import GuidanceInputs
from threestudio_like.guidance.choice import Guidances
from threestudio_like.guidance.second_prior import SecondLoadConfig, load_beside
from threestudio_like.guidance.variational import VariationalConfig, VariationalScoreDistillation
from threestudio_like.priors.diffusion import Condition
from threestudio_like.priors.networks.gradient_range import GradientRange, power_of_two
from threestudio_like.priors.networks.low_rank import LowRank, LowRankConfig, time_module
from threestudio_like.priors.oracle import PointMass
from threestudio_like.priors.stable_diffusion import DiffusersConfig, StableDiffusionPrior
from threestudio_like.renderers import RingCameras, UniformCameras
from threestudio_like.renderers.rendering import Rendering
from threestudio_like.runs.memory_budget import PLANS, forecast
from threestudio_like.stages.demand import demands
from threestudio_like.systems.system import Request
from threestudio_like.systems.text_to_3d.latent_nerf import LatentNerf

VIEWS = 2


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A prior that predicts noise, and one of the same latents that predicts v."""
    made = []
    for number, kind in enumerate(("epsilon", "v_prediction")):
        folder = tmp_path_factory.mktemp(kind)
        tiny_pipeline(folder, kind, seed=number)
        made.append(StableDiffusionPrior(folder, DiffusersConfig(), kind))
    return made


def shown(latents):
    one = torch.ones_like(latents[:, :1].permute(0, 2, 3, 1))
    return Rendering(latents.permute(0, 2, 3, 1), one, one, torch.zeros_like(latents[:, :3]))


def inputs(step=0, views=VIEWS):
    random = RandomStream(0, "s", step)
    cameras = UniformCameras(batch=views).sample(random, 8)
    return GuidanceInputs(cameras, 0.3, random)


def learned(guidance, seed=5):
    """A copy that has learned something."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in guidance.copy.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=generator))
    return guidance


def merged(prior, low_rank):
    """diffusers' own UNet with the low-rank layers added to its weights, and the camera as its
    class embedding, as the published code gives it."""
    unet = copy.deepcopy(prior.unet)
    unet.requires_grad_(False)
    pairs = {}
    for name, layer in low_rank.layers.items():
        target = unet.get_submodule(name.replace("/", "."))
        delta = layer.up.weight.detach() @ layer.down.weight.detach()
        target.weight.copy_(target.weight + delta)
        target.weight.requires_grad_(True)
        pairs[name] = target
    first, last = low_rank.camera.first, low_rank.camera.last
    unet.class_embedding = lambda numbers: last(F.silu(first(numbers)))
    return unet, pairs


@pytest.mark.parametrize("model", [0, 1], ids=["own prior", "v-prediction"])
@pytest.mark.parametrize("own_scale", [1.0, 1.7])
def test_the_gradient_is_threestudios(pair, model, own_scale):
    """compute_grad_vsd and train_lora, written down again over diffusers' UNets with merged
    weights: gradient of the latents, loss of the copy, and gradient of its layers."""
    prior, phi = pair[0], pair[model]
    config = VariationalConfig(scale=7.5, own_scale=own_scale, drop_camera=0.0)
    guidance = learned(
        VariationalScoreDistillation(prior, "a red chair", config, model=phi, seed=3)
    )
    unet, targets = merged(phi, guidance.copy)
    view = inputs()
    z = torch.randn(VIEWS, 4, 8, 8, generator=torch.Generator().manual_seed(1), requires_grad=True)
    guidance(shown(z), view).loss.backward()

    with torch.no_grad():
        t = guidance.times(VIEWS, view)
        noise = view.random.normal("noise", (VIEWS, 4, 8, 8))
        abar = prior.schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
        alpha, sigma = abar.sqrt(), (1 - abar).sqrt()
        noisy = alpha * z + sigma * noise
        both, times = torch.cat([noisy, noisy]), torch.cat([t, t])
        words = torch.cat([guidance.prompts.text(view.cameras), guidance.prompts.negatives(VIEWS)])
        text, empty = prior.unet(both, times, words).sample.chunk(2)
        pretrained = empty + 7.5 * (text - empty)
        plain = phi.encode_text(["a red chair"]).expand(2 * VIEWS, -1, -1)
        camera = view.cameras.camera_to_world.flatten(1)
        labels = torch.cat([camera, torch.zeros_like(camera)])
        estimated = unet(both, times, plain, class_labels=labels).sample
        if model == 1:
            estimated = torch.cat([sigma, sigma]) * both + torch.cat([alpha, alpha]) * estimated
        seen, unseen = estimated.chunk(2)
        estimated = unseen + own_scale * (seen - unseen)
        wanted = (1 - abar) * (pretrained - estimated) / VIEWS
    assert float(wanted.abs().max()) > 0.05
    torch.testing.assert_close(z.grad, wanted, atol=1e-5, rtol=1e-5)

    t = view.random.integers("train time 0", 0, 1000, shape=(VIEWS,))
    noise = view.random.normal("train noise 0", (VIEWS, 4, 8, 8))
    abar = prior.schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
    alpha, sigma = abar.sqrt(), (1 - abar).sqrt()
    target = noise if model == 0 else alpha * noise - sigma * z.detach()
    found = unet(alpha * z.detach() + sigma * noise, t, plain[:VIEWS], class_labels=camera).sample
    loss = F.mse_loss(found, target)
    torch.testing.assert_close(guidance.training_loss(z, view), loss, atol=1e-5, rtol=1e-5)
    camera_layers = list(guidance.copy.camera.parameters())
    ours = [p.grad.clone() for p in camera_layers]
    for p in camera_layers:
        p.grad = None
    loss.backward()
    for p, own in zip(camera_layers, ours):
        torch.testing.assert_close(own, p.grad, atol=1e-5, rtol=1e-3)
    for name, layer in guidance.copy.layers.items():
        whole = targets[name].weight.grad
        up, down = layer.up.weight, layer.down.weight
        torch.testing.assert_close(up.grad, whole @ down.T, atol=1e-5, rtol=1e-3)
        torch.testing.assert_close(down.grad, up.T @ whole, atol=1e-5, rtol=1e-3)


def test_a_copy_that_has_learned_nothing_is_its_prior(pair):
    """So the first gradient is what guidance adds alone, and the prior itself stays as it was."""
    prior = pair[0]
    lora = LowRankConfig(camera="none")
    config = VariationalConfig(lora=lora, weighting="uniform", scale=1.0)
    config = replace(config, prompt=replace(config.prompt, view_dependent=False))
    guidance = VariationalScoreDistillation(prior, "a red chair", config)
    z = torch.randn(VIEWS, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    gradient, _ = guidance.residual(z, inputs())
    assert float(gradient.abs().max()) < 1e-5
    learned(guidance)
    condition = Condition(prior.encode_text(["a red chair"]).expand(VIEWS, -1, -1))
    t = torch.tensor([5, 700])
    before = prior.predict(z, t, condition)
    assert float(guidance.residual(z, inputs())[0].abs().max()) > 1e-3
    assert torch.equal(prior.predict(z, t, condition), before)
    assert not any(p.requires_grad for p in prior.unet.parameters())


def test_the_copy_learns_what_is_rendered(pair):
    """The score of one fixed picture is known: the copy's error falls towards it."""
    lora = LowRankConfig(layers="all", rank=8)
    config = VariationalConfig(lora=lora, train_samples=4, drop_camera=0.0)
    guidance = VariationalScoreDistillation(pair[0], "a red chair", config)
    (group,) = guidance.parameter_groups()
    optimiser = torch.optim.Adam(group.parameters, lr=5e-3)
    z = torch.full((VIEWS, 4, 8, 8), 0.7)

    def error():
        with torch.no_grad():
            found = [guidance.training_loss(z, inputs(1000 + k)) for k in range(8)]
        return float(torch.stack(found).mean())

    first = error()
    for step in range(40):
        optimiser.zero_grad()
        guidance.training_loss(z, inputs(step)).backward()
        optimiser.step()
    assert error() < 0.75 * first


def test_the_image_loss_holds_both_estimates_against_each_other(pair):
    """threestudio's use_img_loss: w alpha / sigma (D(z0 of the copy) - D(z0 of the prior))."""
    prior, view = pair[0], inputs()
    x = torch.rand(VIEWS, 16, 16, 3, generator=torch.Generator().manual_seed(2))
    gradients = []
    for weight in (0.0, 1.0):
        config = VariationalConfig(image_loss=weight, drop_camera=0.0)
        guidance = learned(VariationalScoreDistillation(prior, "a red chair", config, encode=True))
        picture = x.clone().requires_grad_(True)
        one = torch.ones_like(picture[..., :1])
        guidance(Rendering(picture, one, one, torch.zeros_like(picture)), view).loss.backward()
        gradients.append(picture.grad)
    with torch.no_grad():
        z, t = prior.encode_image(x), guidance.times(VIEWS, view)
        noise = view.random.normal("noise", tuple(z.shape))
        abar = prior.schedule.abar(t, z)
        noisy = prior.schedule.add_noise(z, noise, t)
        theirs = guidance._guided_epsilon(noisy, t, view)
        ours = guidance.baseline(noisy, t, noise, view)
        ratio = (abar / (1 - abar)).sqrt()
        of = [
            prior.decode_latents((noisy - (1 - abar).sqrt() * e) / abar.sqrt())
            for e in (ours, theirs)
        ]
        wanted = ((1 - abar) * ratio)[:, 0, :, :, None] * (of[0] - of[1]) / VIEWS
    assert float(wanted.abs().max()) > 1e-4
    torch.testing.assert_close(gradients[1] - gradients[0], wanted, atol=1e-4, rtol=1e-3)


SMALL = {
    "representation": {"hash": {"levels": 2, "log2_size": 8}},
    "renderer": {"samples": 8, "occupancy": 8},
    "resolution": 8,
}


def small_system(batch=2, **values):
    from threestudio_like.engine.config import update

    chosen = Guidances().updated({"main": "vsd", "vsd": values}, "")
    distil = {"steps": 6, "uniform": {"batch": batch}}
    system = update(LatentNerf.paper(), {**SMALL, "distil": distil})
    return replace(system, distil=replace(system.distil, guidances=chosen))


def run_stage(folder, prior, resume=False, dies=False, accumulate=1, **values):
    (plan,) = small_system(**values).plans(Request("a red chair", prior))

    def build(done):
        stage = plan.build(done)
        if dies:

            def kill(step):
                if step.index == 3:
                    raise KeyboardInterrupt

            stage.after_step = kill
        return stage

    settings = LoopSettings(
        seed=0, checkpoint_steps=1, resume=resume, one_asset=True, accumulate=accumulate
    )
    return Loop(folder, Events(None, "quiet"), settings).run([StagePlan(plan.name, build)])[
        "distil"
    ]


def test_the_copy_has_an_optimiser_of_its_own_that_is_saved_and_resumed(pair, tmp_path):
    whole = run_stage(tmp_path / "whole", pair[0])
    group = next(g for g in whole.groups if g.name == "copy")
    assert (group.lr, group.betas, group.weight_decay) == ("1e-4", (0.9, 0.99), 0.01)
    layers = whole.modules["distil.copy"]
    assert all(float(layer.up.weight.abs().max()) > 0 for layer in layers.layers.values())
    with pytest.raises(KeyboardInterrupt):
        run_stage(tmp_path / "cut", pair[0], dies=True)
    resumed = run_stage(tmp_path / "cut", pair[0], resume=True)
    for name, module in whole.modules.items():
        for key, value in module.state_dict().items():
            assert torch.equal(resumed.modules[name].state_dict()[key], value), (name, key)


def test_parts_of_a_batch_have_the_gradient_of_all(pair):
    prior = pair[0]
    guidance = learned(VariationalScoreDistillation(prior, "a red chair", VariationalConfig()))
    z = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    found = []
    for entries in (0, 1, 2):
        prior.entries = entries
        guidance.copy.zero_grad()
        guidance.training_loss(z, inputs(views=3)).backward()
        found.append([p.grad.clone() for p in guidance.copy.parameters()])
    prior.entries = 0
    for parts in found[1:]:
        for one, two in zip(found[0], parts):
            torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("plan", [PLANS[0], PLANS[3]], ids=lambda plan: plan.name)
@pytest.mark.parametrize("second", [False, True], ids=["own prior", "another model"])
def test_the_forecast_counts_the_copy(pair, plan, second):
    """Within 15 % of what a run takes, as of every stage."""
    from threestudio_like.engine.memory import MemoryWatch
    from threestudio_like.engine.watchdog import Watchdog

    prior = StableDiffusionPrior(pair[0].folder, DiffusersConfig(), "tiny")
    values = {"model": str(pair[1].folder)} if second else {}
    config = small_system(4, train_samples=4, **values)
    expected = forecast(plan, demands(config, prior), prior)
    prior.keep_within(expected.limits)
    model = load_beside(prior, values["model"], SecondLoadConfig()) if second else prior
    with MemoryWatch() as watch:
        for used in {id(p): p for p in (prior, model)}.values():
            for network in (used.unet, used.vae):
                for tensor in [*network.parameters(), *network.buffers()]:
                    watch.note(tensor)
        loop = Loop(None, Events(None, "quiet"), LoopSettings(), Watchdog())
        loop.run(config.plans(Request("a red chair", prior, 0, limits=expected.limits)))
    assert expected.parts["trained copy"] > 0
    assert watch.peak == pytest.approx(expected.peak, rel=0.15)


def test_what_cannot_be_trained_along_is_one_error(pair, tmp_path):
    with pytest.raises(ModelError, match="no network that could be trained along"):
        VariationalScoreDistillation(PointMass(torch.zeros(4, 8, 8)), "x", VariationalConfig())
    plain = torch.nn.Sequential(torch.nn.Conv2d(4, 4, 3))
    with pytest.raises(ModelError, match="no layers"):
        LowRank(plain, LowRankConfig())
    with pytest.raises(ModelError, match="no noise time"):
        time_module(plain)
    tiny_pipeline(tmp_path / "other")
    other = StableDiffusionPrior(
        tmp_path / "other", DiffusersConfig(beta_schedule="linear"), "other"
    )
    with pytest.raises(ConfigError, match="another noise schedule"):
        VariationalScoreDistillation(pair[0], "x", VariationalConfig(), model=other)


def test_a_second_model_keeps_within_the_first_ones_limits(pair):
    prior = StableDiffusionPrior(pair[0].folder, DiffusersConfig(), "tiny")
    name = str(pair[1].folder)
    one = load_beside(prior, name, SecondLoadConfig())
    assert one.entries == 0
    prior.keep_within(Limits(entries=1, images=1))
    two = load_beside(prior, name, SecondLoadConfig())
    assert two is one
    assert (two.entries, two.images) == (1, 1)


# Gradients in float16.


def test_the_factor_is_a_power_of_two_of_the_right_size():
    for largest in (1e-20, 3e-9, 0.7, 1.0, 15.9, 16.0, 3e4):
        factor = float(power_of_two(torch.tensor([[-largest, largest / 3]])))
        assert torch.frexp(torch.tensor(factor))[0] == 0.5
        assert 8 <= factor * largest <= 16.1
    assert float(power_of_two(torch.zeros(3))) > 0


@pytest.mark.parametrize("size", [1e-9, 1e-3, 1e5])
def test_gradients_of_any_size_pass_a_network_in_float16(size):
    """Through a network in float16: of a size that float16 cannot hold, within its rounding."""
    torch.manual_seed(0)
    exact = torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.SiLU(), torch.nn.Linear(16, 16))
    half = copy.deepcopy(exact).half()
    x = torch.randn(4, 16)
    upstream = size * torch.randn(4, 16)
    gradients = {}
    for name in ("exact", "kept", "lost"):
        seen = x.clone().requires_grad_(True)
        within = GradientRange()
        if name == "exact":
            out = exact(seen)
        elif name == "kept":
            out = within.entry(half(within.reduced(seen).half()).float())
        else:
            out = half(seen.half()).float()
        out.backward(upstream)
        gradients[name] = seen.grad
    scale = float(gradients["exact"].abs().max())
    assert float((gradients["kept"] - gradients["exact"]).abs().max()) < 0.01 * scale
    wrong = (gradients["lost"] - gradients["exact"]).abs().max()
    if size != 1e-3:
        assert not float(wrong) < 0.5 * scale


def test_an_autoencoder_in_float16_has_gradients_of_any_size(pair):
    """Those of one asset are small: without a range of their own they are all zero."""
    exact = pair[0]
    half = StableDiffusionPrior(exact.folder, DiffusersConfig(dtype="float16"), "half")
    x = torch.rand(1, 16, 16, 3, generator=torch.Generator().manual_seed(3))
    found = []
    for prior in (exact, half):
        picture = x.clone().requires_grad_(True)
        (1e-8 * prior.encode_image(picture)).sum().backward()
        found.append(picture.grad)
    error = (found[0] - found[1]).norm() / found[0].norm()
    assert float(error) < 0.05


def test_a_copy_in_float16_is_trained_as_in_float32(pair):
    exact = pair[0]
    half = StableDiffusionPrior(exact.folder, DiffusersConfig(dtype="float16"), "half")
    z = torch.randn(VIEWS, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    found = []
    for prior in (exact, half):
        guidance = learned(VariationalScoreDistillation(prior, "a red chair", VariationalConfig()))
        (1e-7 * guidance.training_loss(z, inputs())).backward()
        found.append([p.grad for p in guidance.copy.parameters()])
    for one, two in zip(*found, strict=True):
        assert two.dtype == torch.float32
        assert float((one - two).norm()) <= 0.05 * float(one.norm())


def test_the_cameras_of_a_copy(pair):
    cameras = RingCameras(count=3).all(8)
    for kind, wanted in (
        ("extrinsics", cameras.camera_to_world),
        ("mvp", cameras.view_projection()),
    ):
        config = VariationalConfig(lora=LowRankConfig(camera=kind))
        guidance = VariationalScoreDistillation(pair[0], "x", config)
        assert torch.equal(guidance.camera_numbers(cameras), wanted.flatten(1))
