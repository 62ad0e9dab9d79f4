"""The sampler against diffusers' own scheduler, and the times at which it evaluates."""

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

from threestudio_like.engine.errors import ModelError
from threestudio_like.priors.diffusion import Condition, DiffusionPrior, PriorFacts
from threestudio_like.priors.families.records import BETAS
from threestudio_like.priors.noise_schedule import NoiseSchedule
from threestudio_like.priors.sampling import ddim


class Smooth(DiffusionPrior):
    """A prediction that depends on the latents and the time, and on nothing learnt."""

    def __init__(self, schedule, kind):
        self.schedule = schedule
        self.facts = PriorFacts("smooth", kind, channels=4, latent_size=8, image_size=64)
        self.asked = []

    def encode_text(self, prompts):
        return torch.zeros(len(prompts), 1, 1)

    def encode_image(self, images):
        return images

    def decode_latents(self, latents):
        return latents

    def predict(self, latents, t, condition):
        self.asked.append(int(t[0]))
        return 0.7 * torch.tanh(latents + 0.3) + 1e-4 * t.view(-1, 1, 1, 1)


def sample(schedule, kind, steps, begin=1.0, noise=None):
    prior = Smooth(schedule, kind)
    noise = (
        torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        if noise is None
        else noise
    )
    text = prior.encode_text([""] * 2)
    return ddim(prior, noise, begin, steps, Condition(text), text, 1.0), prior.asked


@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
@pytest.mark.parametrize(("offset", "to_one"), [(0, True), (1, False)])
@pytest.mark.parametrize("steps", [1, 3, 20, 50, 999])
def test_ddim_goes_as_diffusers_goes(spacing, offset, to_one, steps):
    numbers = dict(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        timestep_spacing=spacing,
        steps_offset=offset,
        set_alpha_to_one=to_one,
    )
    for kind in ("epsilon", "v_prediction", "sample"):
        theirs = DDIMScheduler(clip_sample=False, prediction_type=kind, **numbers)
        theirs.set_timesteps(steps)
        x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        judge = Smooth(None, kind)
        for t in theirs.timesteps:
            x = theirs.step(judge.predict(x, t.expand(2), None), t, x).prev_sample
        schedule = NoiseSchedule.from_config({**numbers, "prediction_type": kind})
        mine, asked = sample(schedule, kind, steps)
        assert asked == theirs.timesteps.tolist()
        assert torch.allclose(mine, x, atol=2e-4, rtol=1e-4)


def test_a_scheduler_without_a_spacing_is_diffusers_default():
    schedule = NoiseSchedule.from_config({})
    theirs = DDIMScheduler()
    theirs.set_timesteps(30)
    assert [a for a, _ in schedule.sampling_times(30)] == theirs.timesteps.tolist()
    assert theirs.config.set_alpha_to_one == (schedule.last_abar == 1.0)


@pytest.mark.parametrize("name", BETAS)
def test_what_a_scheduler_does_not_say_is_its_classs_own(name):
    """Not Stable Diffusion's, whose numbers only schedulers of few steps have."""
    made = getattr(diffusers, name)
    try:
        theirs = made()
    except ImportError:
        pytest.skip("it needs a package of its own")
    for said in ({}, {"beta_start": 0.001}, {"num_train_timesteps": 500}):
        ours = NoiseSchedule.from_config({"_class_name": name, **said})
        wanted = made(**said).alphas_cumprod
        assert torch.allclose(ours.alphas_cumprod, wanted, atol=1e-6, rtol=1e-5)
    usual = theirs.config.get("timestep_spacing", ours.spacing)
    assert ours.spacing == usual
    assert (ours.last_abar == 1.0) == theirs.config.get("set_alpha_to_one", True)


def test_times_that_are_logarithms_are_refused():
    numbers = {"_class_name": "EulerDiscreteScheduler", "timestep_type": "continuous"}
    with pytest.raises(ModelError, match='"continuous" times'):
        NoiseSchedule.from_config(numbers)


@pytest.mark.parametrize("steps", [1000, 500])
def test_a_flows_network_is_told_the_librarys_times(steps):
    theirs = FlowMatchEulerDiscreteScheduler(num_train_timesteps=steps, shift=3.0)
    ours = NoiseSchedule.from_config({"_class_name": type(theirs).__name__, **theirs.config})
    told = ours.time(torch.arange(steps))
    assert torch.allclose(told, theirs.timesteps.flip(0), atol=1e-2)


def test_an_unknown_spacing_is_refused():
    with pytest.raises(ModelError, match="timestep_spacing"):
        NoiseSchedule.from_config({"timestep_spacing": "sideways"})


@pytest.mark.parametrize("spacing", ["even", "linspace", "leading", "trailing"])
def test_from_within_the_schedule_it_begins_where_the_latents_are(spacing):
    schedule = NoiseSchedule(NoiseSchedule.scaled_linear().alphas_cumprod, spacing)
    for begin in (0.0, 0.001, 0.1, 0.5, 0.999):
        for steps in (1, 2, 7, 40, 1200):
            times = schedule.sampling_times(steps, begin)
            now = [a for a, _ in times]
            assert now[0] == round(begin * 999)
            assert len(times) <= steps
            assert times[-1][1] == -1
            assert [b for _, b in times[:-1]] == now[1:]
            assert (np.diff(now) <= 0).all()
            assert min(now) >= 0


def test_latents_of_a_point_are_the_point_from_any_time():
    """A prior that knows the answer: whatever the spacing, its sampler ends there."""
    answer = torch.full((2, 4, 8, 8), 0.4)
    for spacing in ("even", "linspace", "leading", "trailing"):
        schedule = NoiseSchedule(NoiseSchedule.scaled_linear().alphas_cumprod, spacing)
        prior = Smooth(schedule, "sample")
        prior.predict = lambda latents, t, condition: answer
        text = prior.encode_text([""] * 2)
        for begin in (0.3, 1.0):
            noisy = schedule.add_noise(
                answer, torch.randn(2, 4, 8, 8), torch.full((2,), round(begin * 999))
            )
            out = ddim(prior, noisy, begin, 9, Condition(text), text, 1.0)
            assert torch.allclose(out, answer, atol=1e-5)


def test_what_is_known_is_in_the_result():
    schedule = NoiseSchedule(NoiseSchedule.scaled_linear().alphas_cumprod, "leading", 1, 0.9)
    prior = Smooth(schedule, "epsilon")
    text = prior.encode_text([""])
    known = torch.zeros(1, 4, 8, 8)
    out = ddim(
        prior,
        torch.randn(1, 4, 8, 8),
        1.0,
        5,
        Condition(text),
        text,
        1.0,
        project=lambda z: z * 0 + known,
    )
    assert torch.equal(out, known)
