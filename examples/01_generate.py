"""A prompt to a GLB. Run: python examples/01_generate.py [STEPS]"""

import sys

import threestudio_like as tsl

steps = int(sys.argv[1]) if len(sys.argv) > 1 else None
result = tsl.generate("a blue mug", seed=1, steps=steps, run=tsl.RunOptions(quiet=False))
print("run folder:", result.folder)
print("faces:", len(result.asset.mesh.faces), " verified:", result.verdict.line())
result.asset.save("mug.glb")
result.asset.save("mug.obj")
