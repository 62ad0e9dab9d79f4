"""Score distillation against a prior whose answer is known in closed form: no network at all. Run:
python examples/09_oracle.py"""

import torch

from threestudio_like.engine.random import RandomStream
from threestudio_like.guidance import GuidanceInputs, ScoreDistillation, ScoreDistillationConfig
from threestudio_like.priors.oracle import PointMass
from threestudio_like.renderers import StratifiedCameras
from threestudio_like.renderers.rendering import Rendering

target = torch.randn(4, 8, 8)
guidance = ScoreDistillation(
    PointMass(target), "anything", ScoreDistillationConfig(scale=1.0, weighting="uniform")
)
latents = torch.zeros(1, 8, 8, 4, requires_grad=True)
optimiser = torch.optim.Adam([latents], lr=0.05)
cameras = StratifiedCameras(batch=1).sample(RandomStream(0, "example", 0), 8)
for step in range(300):
    optimiser.zero_grad()
    opaque = torch.ones(1, 8, 8, 1)
    rendering = Rendering(latents, opaque, opaque, torch.zeros_like(latents))
    loss, _ = guidance(
        rendering, GuidanceInputs(cameras, step / 300, RandomStream(0, "example", step))
    )
    loss.backward()
    optimiser.step()
print(
    "largest distance to the target:",
    float((latents[0].permute(2, 0, 1) - target).abs().max().detach()),
)
