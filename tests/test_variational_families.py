"""A copy of every family's denoiser: that it is the prior until it learns, that it is told the
camera, and that all its layers learn."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.test_families import edge_of
from tests.twins import TWINS, save_twin
from threestudio_like.engine.random import RandomStream
from threestudio_like.guidance import GuidanceInputs
from threestudio_like.guidance.variational import VariationalConfig, VariationalScoreDistillation
from threestudio_like.priors.diffusion import Condition
from threestudio_like.priors.families.detection import load_folder
from threestudio_like.priors.model_folder import DiffusersConfig
from threestudio_like.renderers import UniformCameras

SAME = ("sd-turbo", "flux-schnell", "flux2-klein", "sd3-without-t5")
"""Twins whose denoiser is that of another one."""


@pytest.mark.parametrize("name", [name for name in TWINS if name not in SAME])
def test_a_copy_of_every_family_learns(name, tmp_path):
    folder = save_twin(name, tmp_path / name)
    prior = load_folder(Path(folder), DiffusersConfig(image_size=edge_of(name)), name)
    config = VariationalConfig(drop_camera=0.0)
    guidance = VariationalScoreDistillation(prior, "a red chair", config)
    random = RandomStream(0, "s", 0)
    inputs = GuidanceInputs(UniformCameras(batch=2).sample(random, 8), 0.3, random)
    size, t = prior.facts.latent_size, torch.tensor([100, 700])
    z = torch.randn(2, prior.facts.channels, size, size, generator=torch.Generator().manual_seed(1))
    condition = Condition(guidance.own_prompts.text(inputs.cameras), inputs.cameras)
    plain = prior.predict(z, t, condition)
    everyone = torch.ones(2, dtype=torch.bool)
    with torch.no_grad():
        assert guidance.copy.camera is not None
        told = guidance.own_prediction(z, t, inputs, told=everyone)
        assert not torch.allclose(told, plain, atol=1e-6)
        # A camera that moves nothing, and layers that have learned nothing.
        for p in guidance.copy.camera.last.parameters():
            p.zero_()
        same = guidance.own_prediction(z, t, inputs, told=everyone)
        torch.testing.assert_close(same, plain, atol=1e-5, rtol=1e-5)
    guidance.training_loss(z, inputs).backward()
    learned = [layer.up.weight.grad for layer in guidance.copy.layers.values()]
    moved = [g is not None and float(g.abs().max()) > 0 for g in learned]
    assert sum(moved) >= 0.7 * len(moved), f"{sum(moved)} of {len(moved)}"
    assert float(guidance.copy.camera.last.weight.grad.abs().max()) > 0
    assert all(p.grad is None for p in prior.denoiser.parameters())
    assert torch.equal(prior.predict(z, t, condition), plain)
