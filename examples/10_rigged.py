"""Paint one part of a rigged, animated figure and see that nothing else of its file changed. Run:
python examples/10_rigged.py [steps]"""

import json
import sys
from pathlib import Path

from rigged_figure import robot

import threestudio_like as tsl
from threestudio_like.meshes.io.gltf.compare import differences, row_counts, unexpected
from threestudio_like.meshes.io.gltf.patch import patch

steps = int(sys.argv[1]) if len(sys.argv) > 1 else None
quick = {} if steps is None else {"start.refine.views": "4", "start.iterations": "4"}
given, painted = Path("robot.glb"), Path("painted.glb")
given.write_bytes(robot())
result = tsl.texture(given, "a striped red robot", parts=("body",), steps=steps, set=quick)
result.asset.save(painted)

# Every value of both documents, and every byte of their accessors and pictures.
found = differences(given, painted)
print("what differs:", ", ".join(found))
for table in ("nodes", "skins", "animations"):
    same = not any(pointer.startswith(f"/{table}/") for pointer in found)
    print(f"{table}: {'the same' if same else 'changed'}")
data = given.read_bytes()
document = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
for number, mesh in enumerate(document["meshes"]):
    places = (f"/meshes/{number}/", f"/materials/{mesh['primitives'][0]['material']}/")
    same = not any(pointer.startswith(places) for pointer in found)
    targets = mesh.get("extras", {}).get("targetNames", [])
    with_targets = f", with its morph target {', '.join(targets)}" if targets else ""
    print(f"part {mesh['name']}{with_targets}: {'the same' if same else 'painted'}")
source = result.asset.source
assert source is not None
meant = patch(result.asset, source).changed
print("changed and not meant to:", unexpected(found, meant, row_counts(given)) or "nothing")
print("verified:", result.rest.line() if result.rest else "no")
