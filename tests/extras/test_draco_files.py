"""glTF files with Draco-compressed geometry, in which Python code changes one thing: all else comes
back, and another program sees the same (`pip install '.[compression]'`)."""

import numpy as np
import pytest
import trimesh

from tests.gltf_files import Glb, box, checks, gltf_of, primitive
from threestudio_like.meshes import Asset

DRACO = "KHR_draco_mesh_compression"


def packed(second: bool = False) -> Glb:
    """A box in a node that is moved, of a material with a picture, compressed; `second` leaves the
    normals outside the stream."""
    library = pytest.importorskip("DracoPy")
    glb, shape = Glb(), box()
    material = glb.add(
        "materials",
        {
            "pbrMetallicRoughness": {
                "baseColorTexture": {"index": glb.texture(checks((9,) * 3, (200,) * 3))}
            }
        },
    )
    row = primitive(glb, shape, material)
    data = library.encode(
        shape["position"],
        shape["faces"].astype(np.uint32),
        quantization_bits=24,
        preserve_order=True,
        tex_coord=shape["uv"].astype(np.float64),
        **({} if second else {"normals": shape["normal"].astype(np.float64)}),
    )
    names = {0: "POSITION", 1: "NORMAL", 3: "TEXCOORD_0"}
    ids = {names[r["attribute_type"]]: r["unique_id"] for r in library.decode(data).attributes}
    row["extensions"] = {DRACO: {"bufferView": glb.view(data), "attributes": ids}}
    # As encoders write it: what is in the stream has no bytes besides.
    for index in [row["attributes"][k] for k in ids] + [row["indices"]]:
        glb.document["accessors"][index].pop("bufferView")
    glb.use(DRACO)
    glb.document["extensionsRequired"] = [DRACO]
    mesh = glb.add("meshes", {"name": "box", "primitives": [row]})
    node = glb.add("nodes", {"name": "box", "mesh": mesh, "translation": [1, 2, 3]})
    glb.document["scenes"][0]["nodes"].append(node)
    return glb


CHANGES = {
    "coordinates": lambda m, r: {"uv": r.uniform(size=(len(m.vertices), 2))},
    "positions": lambda m, r: {"vertices": m.vertices * [1, 2, 3]},
    "normals": lambda m, r: {"normals": m.vertices - m.vertices.mean(0)},
    "colours": lambda m, r: {"colours": r.uniform(size=(len(m.vertices), 3))},
    "laid out anew": lambda m, r: {"uv": r.uniform(size=(len(m.vertices), 2)), "relaid": True},
    "fewer faces": lambda m, r: {"faces": m.faces[::2]},
}


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_one_change_of_a_compressed_file_comes_back_with_the_rest(tmp_path, change, second):
    (tmp_path / "in.glb").write_bytes(packed(second).data())
    asset = Asset.load(tmp_path / "in.glb")
    mesh = asset.mesh
    for key, value in CHANGES[change](mesh, np.random.default_rng(0)).items():
        old = getattr(mesh, key)
        kind = np.float32 if old is None else getattr(old, "dtype", None)
        setattr(mesh, key, value if kind is None else np.asarray(value).astype(kind))
    out = asset.save(tmp_path / "out.glb")
    document, _ = gltf_of(out.read_bytes())
    assert DRACO not in str(document)
    again = Asset.load(out).mesh
    scene = trimesh.load(out, force="scene", process=False)
    (node,) = scene.graph.nodes_geometry
    matrix, name = scene.graph[node]
    seen = scene.geometry[name]
    points = trimesh.transform_points(seen.vertices, matrix)
    corners = mesh.faces.reshape(-1)
    for theirs, faces in ((again.vertices, again.faces), (points, seen.faces)):
        np.testing.assert_allclose(theirs[faces.reshape(-1)], mesh.vertices[corners], atol=1e-5)
    for theirs, faces in ((again.uv, again.faces), (seen.visual.uv, seen.faces)):
        if theirs is not None:
            np.testing.assert_allclose(theirs[faces.reshape(-1)], mesh.uv[corners], atol=1e-5)
    unit = mesh.normals / np.linalg.norm(mesh.normals, axis=1, keepdims=True)
    np.testing.assert_allclose(again.normals[again.faces.reshape(-1)], unit[corners], atol=1e-3)
    if mesh.colours is not None:
        np.testing.assert_allclose(
            again.colours[again.faces.reshape(-1)], mesh.colours[corners], atol=1e-4
        )


def test_an_unchanged_compressed_file_stays_compressed(tmp_path):
    data = packed().data()
    (tmp_path / "in.glb").write_bytes(data)
    out = Asset.load(tmp_path / "in.glb").save(tmp_path / "out.glb")
    assert DRACO in gltf_of(out.read_bytes())[0]["extensionsRequired"]
