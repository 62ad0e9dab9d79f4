"""Compare a mesh with a known truth. Run: python examples/03_measure.py"""

import numpy as np

from threestudio_like.meshes import Mesh
from threestudio_like.metrics import compare
from threestudio_like.toybox.vocabulary import Phrase
from threestudio_like.toybox.world import build

chair, other = (build(Phrase("chair", "red"), np.random.default_rng(seed)) for seed in (0, 1))
for name, value in compare(
    Mesh(chair.vertices, chair.faces), Mesh(other.vertices, other.faces)
).items():
    print(f"{name:<22}{value:.4f}")
