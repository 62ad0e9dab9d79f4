"""One picture of three objects to one GLB with a named node each. Two minutes on two cores; fewer
steps: python examples/08_compose.py 4"""

import sys
from pathlib import Path

import threestudio_like as tsl

picture = Path(__file__).parent.parent / "assets" / "pictures" / "scene.png"
prompt = "a green sofa in front of a blue robot and a yellow table right of a blue robot"
steps = int(sys.argv[1]) if len(sys.argv) > 1 else 100
scene = tsl.compose(picture, prompt, method="g3dr", steps=steps).asset
for name, node in scene.nodes.items():
    place = node.transform
    print(
        f"{name:<16} scale {place.scale:.2f} at {', '.join(f'{v:+.2f}' for v in place.translation)}"
    )
scene.save("scene.glb")
