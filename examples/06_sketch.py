"""Where a coarse shape pulls a volume, and how strongly: the Sketch-Shape loss without any prior.
Run: python examples/06_sketch.py"""

from pathlib import Path

import torch

from threestudio_like.engine.random import RandomStream
from threestudio_like.guidance.sketch_files import read_sketch
from threestudio_like.guidance.sketch_shape import SketchConfig
from threestudio_like.representations import VoxelField, VoxelGridConfig

stool = Path(__file__).parent.parent / "assets" / "shapes" / "stool.yaml"
sketch = read_sketch(SketchConfig(path=str(stool), sigma=0.05))
field = VoxelField(VoxelGridConfig(size=40), channels=3)
optimiser = torch.optim.Adam([field.grid], 0.2)
for step in range(60):
    optimiser.zero_grad()
    sketch.everywhere(field, RandomStream(0, "example", step)).backward()
    optimiser.step()
points = torch.rand(20000, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
inside = 1 - torch.exp(-0.2 * field.density(points).detach()) > 0.5
print("IoU with the stool:", round(sketch.agreement(inside, points, 0.05), 3))
