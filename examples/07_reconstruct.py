"""From which side was this picture taken? A shape, a mask, and the search between them. Run: python
examples/07_reconstruct.py"""

import math
from pathlib import Path

import numpy as np

from threestudio_like.meshes import Mesh
from threestudio_like.meshes.surface.voxels import to_mesh, voxelise
from threestudio_like.systems.image_to_3d.photo import read_photo
from threestudio_like.systems.image_to_3d.pose import PoseConfig, find_pose
from threestudio_like.toybox.vocabulary import Phrase
from threestudio_like.toybox.world import build

photo = read_photo(Path(__file__).parent.parent / "assets" / "pictures" / "chair.png")
print("background:", photo.notes["background"])
chair = build(Phrase("chair", "red"), np.random.Generator(np.random.Philox(key=[3, 0])))
shape = to_mesh(voxelise(Mesh(chair.vertices, chair.faces)).astype(np.float32))
pose = find_pose(shape, photo.mask(64), PoseConfig())
print(
    f"azimuth {math.degrees(pose.azimuth):.0f}, elevation "
    f"{math.degrees(pose.elevation):.0f} degrees, agreement {pose.agreement:.2f}"
)
