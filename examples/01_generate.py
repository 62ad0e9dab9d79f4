"""A prompt to a GLB, in Python. Run: python examples/01_generate.py [steps]"""

import sys

import threestudio_like

steps = int(sys.argv[1]) if len(sys.argv) > 1 else None
asset = threestudio_like.generate("a blue mug", seed=1, steps=steps, quiet=False)
print("run folder:", asset.provenance["folder"])
print("faces:", len(asset.mesh.faces))
asset.save("mug.glb")
asset.save("mug.obj")
