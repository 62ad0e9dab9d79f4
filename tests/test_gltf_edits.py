"""What the mesh tools change in a glTF file, and what has to follow that change."""

import json
from pathlib import Path

import numpy as np
import pytest

from threestudio_like.cli import main

from .gltf_files import Glb, box, gltf_of, primitive, table_of

QUAD = {
    "position": np.float32([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]),
    "normal": np.float32([[0, 0, 1]] * 4),
    "uv": np.float32([[0, 1], [1, 1], [1, 0], [0, 0]]),
    "faces": np.uint16([[0, 1, 2], [0, 2, 3]]),
}


def tool(folder: Path, glb: Glb, *words: str, out: str = "out.glb") -> bytes:
    """The bytes that a mesh tool makes of a GLB: `mesh WORDS[0] in.glb --out OUT WORDS[1:]`."""
    (folder / "in.glb").write_bytes(glb.data())
    call = ["mesh", words[0], str(folder / "in.glb"), "--out", str(folder / out), *words[1:]]
    assert main(call) == 0
    return (folder / out).read_bytes()


def below(glb: Glb, *nodes: dict) -> None:
    """Hang nodes below each other, and mesh 0 from the last."""
    for number, node in enumerate(nodes):
        last = number == len(nodes) - 1
        glb.add("nodes", {**node, **({"mesh": 0} if last else {"children": [number + 1]})})
    glb.document["scenes"][0]["nodes"] = [0]


PLACES = {
    "as it is": [{}],
    "mirrored": [{"scale": [-1, 1, 1]}],
    "turned": [{"scale": [-1, -1, 1]}],
    "point mirrored": [{"scale": [-2, -1, -1], "rotation": [0, 0.6, 0, 0.8]}],
    "matrix": [{"matrix": [0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 5, 6, 7, 1]}],
    "mirrored twice": [{"scale": [-1, 1, 1]}, {"scale": [1, 1, -3]}],
    "mirrored above": [{"scale": [1, -1, 1]}, {"rotation": [0.6, 0, 0, 0.8]}],
}


@pytest.mark.parametrize("first", [[], [[0, 1, 0]], [[2, 2, 2]]])
@pytest.mark.parametrize("place", list(PLACES))
def test_faces_keep_their_side_wherever_the_node_stands(tmp_path, place, first):
    glb = Glb()
    faces = np.concatenate([np.uint16(first).reshape(-1, 3), QUAD["faces"], QUAD["faces"][:1]])
    glb.add("meshes", {"primitives": [primitive(glb, {**QUAD, "faces": faces})]})
    below(glb, *PLACES[place])
    data = tool(tmp_path, glb, "clean")
    row = gltf_of(data)[0]["meshes"][0]["primitives"][0]
    points = table_of(data, row["attributes"]["POSITION"])
    corner = points[table_of(data, row["indices"]).reshape(-1, 3)]
    assert len(corner) == 2
    side = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    np.testing.assert_allclose(side, [[0, 0, 1]] * 2, atol=1e-6)


@pytest.mark.parametrize("scale", [[1, 1, 1], [-1, 1, 1]])
def test_an_instance_is_unwrapped_like_the_first_however_its_faces_begin(tmp_path, scale):
    glb = Glb()
    shape = box()
    shape["faces"] = np.concatenate([np.uint16([[0, 1, 0]]), shape["faces"]])
    glb.add("meshes", {"primitives": [primitive(glb, shape)]})
    glb.add("nodes", {"mesh": 0, "name": "one"})
    glb.add("nodes", {"mesh": 0, "name": "two", "scale": scale, "translation": [3, 0, 0]})
    glb.document["scenes"][0]["nodes"] = [0, 1]
    data = tool(tmp_path, glb, "unwrap", "--texture", "64")
    document, _ = gltf_of(data)
    for mesh in document["meshes"]:
        row = mesh["primitives"][0]
        corner = table_of(data, row["attributes"]["POSITION"])[
            table_of(data, row["indices"]).reshape(-1, 3)
        ]
        side = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
        assert (np.einsum("fi,fi->f", side, corner.mean(1)) >= 0).all()
