"""A loop of one's own in twenty lines: a prior, a field, a renderer, a guidance, and Adam.

Run: python examples/02_own_loop.py [STEPS]
"""

import sys

import torch

import threestudio_like as tsl

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 300
prior = tsl.load_prior("toybox")
field = tsl.VoxelField(tsl.VoxelGridConfig(size=64, sigmoid=True), channels=3)
renderer = tsl.VolumeRenderer()
config = tsl.ScoreDistillationConfig(
    scale=3.0, rescale=0.5, weighting="clean", t_max="0.9->0.2", image_residual=True
)
guidance = tsl.ScoreDistillation(prior, "a red chair", config, encode=True)
cameras = tsl.StratifiedCameras()
optimiser = torch.optim.Adam(field.parameters(), lr=0.05)
for step in range(steps):
    random = tsl.RandomStream(seed=0, stage="own loop", step=step)
    view = cameras.sample(random, 64)
    background = tsl.RandomBackground.grey(0.3, 1.0).sample(view, random)
    rendering = renderer.render(field, view, background, random)
    inputs = tsl.GuidanceInputs(view, step / steps, random, background.level)
    loss = guidance(rendering, inputs).loss
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    if step % 50 == 0:
        print(f"{step:4d}  loss {float(loss.detach()):.1f}")
print(tsl.field_to_asset(field, renderer).save("own-loop.glb"))
