"""Paint a mesh of your own, two ways. Run: python examples/05_texture.py [steps]"""

import sys
from pathlib import Path

import threestudio_like as tsl

steps = int(sys.argv[1]) if len(sys.argv) > 1 else None
teapot = Path(__file__).parent.parent / "assets" / "meshes" / "teapot.obj"
quick = {} if steps is None else {"start.refine.views": "4", "start.iterations": "4"}
asset = tsl.texture(
    teapot, "a striped blue vase", steps=steps, set=quick, lock_parts=("handle",)
).asset
print("parts:", list(asset.meshes))
asset.save("teapot.glb")
