"""Odd glTF files: key frames without values, nodes without a size, nodes that share a mesh and
were changed in different ways or lie far apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from threestudio_like.meshes import Asset
from threestudio_like.meshes.fitting import fitted

from .gltf_files import Glb, box, cart, checks, featured, gltf_of, primitive
from .gltf_rules import broken_rules
from .test_gltf_animations import animate


@pytest.mark.parametrize("keys", [1, 2])
def test_a_spline_without_tangents_is_left_out_and_told(tmp_path, keys):
    glb = cart()
    values = np.ones((keys, 3), np.float32)
    animate(glb, np.arange(keys), values, path="translation", interpolation="CUBICSPLINE")
    (tmp_path / "in.glb").write_bytes(glb.data())
    asset = Asset.load(tmp_path / "in.glb")
    assert asset.notes == ["movements that cannot be read are left out (spin)"]
    data = asset.save(tmp_path / "out.glb").read_bytes()
    assert "animations" not in gltf_of(data)[0]
    assert not broken_rules(data)


@pytest.mark.parametrize("scale", [(0, 0, 0), (2, 0, 3), (0, -1, 1)])
def test_a_node_that_has_no_size_along_an_axis_goes_on_moving(tmp_path, scale):
    glb = cart()
    node = glb.document["nodes"][1]
    del node["translation"]
    matrix = trimesh.transformations.rotation_matrix(1, [1, 2, 3]) @ np.diag([*scale, 1.0])
    matrix[:3, 3] = 1, 2, 3
    node["matrix"] = matrix.T.reshape(-1).tolist()
    animate(glb, [0.0, 1.0], np.ones((2, 3)), path="scale")
    (tmp_path / "in.glb").write_bytes(glb.data())
    asset = Asset.load(tmp_path / "in.glb")
    data = asset.save(tmp_path / "out.glb").read_bytes()
    document = gltf_of(data)[0]
    assert asset.notes == []
    assert len(document["animations"][0]["channels"]) == 1
    row = document["nodes"][1]
    x, y, z, w = row["rotation"]
    turn = trimesh.transformations.quaternion_matrix([w, x, y, z])[:3, :3]
    assert np.allclose(turn * row["scale"], matrix[:3, :3], atol=1e-6)
    assert np.allclose(row["translation"], [1, 2, 3])
    assert not broken_rules(data)


def test_nodes_of_one_mesh_keep_different_texture_coordinates(tmp_path):
    (tmp_path / "in.glb").write_bytes(cart().data())
    asset = Asset.load(tmp_path / "in.glb")
    wanted = {}
    for number, name in enumerate(["front wheel", "back wheel"]):
        mesh = asset.meshes[name]
        wanted[name] = mesh.uv + np.float32(0.1 * (number + 1))
        asset.meshes[name] = replace(mesh, uv=wanted[name])
    again = Asset.load(asset.save(tmp_path / "out.glb"))
    for name, uv in wanted.items():
        assert np.allclose(again.meshes[name].uv, uv, atol=1e-6)


def test_instances_far_apart_go_on_sharing_their_mesh(tmp_path):
    glb, body = Glb(), trimesh.creation.icosphere(2)
    points = np.asarray(body.vertices, np.float32)
    row = {
        "attributes": {"POSITION": glb.position(points), "NORMAL": glb.accessor(points)},
        "indices": glb.accessor(body.faces.reshape(-1).astype(np.uint16), "<u2"),
    }
    ball = glb.add("meshes", {"name": "ball", "primitives": [row]})
    glb.document["scenes"][0]["nodes"] = [
        glb.add("nodes", {"name": f"ball {k}", "mesh": ball, "translation": [300 * k, 0, -50]})
        for k in range(12)
    ]
    (tmp_path / "in.glb").write_bytes(glb.data())
    asset = fitted(Asset.load(tmp_path / "in.glb"), faces=1200)
    document = gltf_of(asset.save(tmp_path / "out.glb").read_bytes())[0]
    assert len(document["meshes"]) == 1
    assert document["accessors"][document["meshes"][0]["primitives"][0]["indices"]]["count"] == 300


@pytest.mark.parametrize("feature", ["skin and morph target", "morph target, default weight"])
def test_what_is_made_anew_stands_where_it_was_without_its_poses(tmp_path, feature):
    (tmp_path / "in.glb").write_bytes(featured(feature))
    asset = Asset.load(tmp_path / "in.glb")
    for name, mesh in asset.meshes.items():
        # As many vertices as before, but of faces that the file does not have.
        asset.meshes[name] = replace(mesh, faces=mesh.faces[:, ::-1].copy(), normals=-mesh.normals)
    data = asset.save(tmp_path / "out.glb").read_bytes()
    again = Asset.load(tmp_path / "out.glb")
    for name, mesh in asset.meshes.items():
        found = again.meshes[name]
        assert np.allclose(found.vertices[found.faces], mesh.vertices[mesh.faces], atol=1e-5)
        assert np.allclose(found.normals[found.faces], mesh.normals[mesh.faces], atol=1e-5)
    assert not broken_rules(data)


def hard_cube(detail: int = 6) -> dict[str, np.ndarray]:
    """A cube of 12 detail^2 faces whose sides have vertices, normals and squares of the texture of
    their own."""
    out: dict[str, list] = {"position": [], "normal": [], "uv": [], "faces": []}
    at = np.linspace(-1, 1, detail + 1)
    a, b = (x.reshape(-1) for x in np.meshgrid(at, at, indexing="ij"))
    rows = np.arange((detail + 1) ** 2).reshape(detail + 1, -1)
    p, q, r, s = (
        x.reshape(-1) for x in (rows[:-1, :-1], rows[1:, :-1], rows[1:, 1:], rows[:-1, 1:])
    )
    for side in range(6):
        axis, sign = side // 2, 1 - 2 * (side % 2)
        place, normal = np.zeros((len(a), 3)), np.zeros((len(a), 3))
        place[:, axis] = normal[:, axis] = sign
        place[:, (axis + 1) % 3], place[:, (axis + 2) % 3] = sign * a, b
        base = side * len(a)
        out["faces"] += [np.stack([p, q, r], 1) + base, np.stack([p, r, s], 1) + base]
        out["position"].append(place)
        out["normal"].append(normal)
        out["uv"].append(np.stack([(side % 3 + a / 2 + 0.5) / 3, (side // 3 + b / 2 + 0.5) / 2], 1))
    kinds = {"position": "f4", "normal": "f4", "uv": "f4", "faces": "u2"}
    return {key: np.concatenate(rows).astype(kinds[key]) for key, rows in out.items()}


def facing(mesh) -> float:
    """The least cosine between the normals of a mesh's corners and those of their faces."""
    body = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    return float(np.einsum("fki,fi->fk", mesh.normals[mesh.faces], body.face_normals).min())


@pytest.mark.parametrize("suffix", [".glb", ".obj"])
@pytest.mark.parametrize("faces", [300, 60, 12])
def test_hard_edges_stay_hard_when_faces_go(tmp_path, suffix, faces):
    glb = Glb()
    glb.add("meshes", {"primitives": [primitive(glb, hard_cube())]})
    glb.add("nodes", {"mesh": 0})
    glb.document["scenes"][0]["nodes"] = [0]
    (tmp_path / "in.glb").write_bytes(glb.data())
    asset = Asset.load(tmp_path / "in.glb")
    small = fitted(asset, faces=faces)
    assert asset.notes == []
    again = Asset.load(small.save(tmp_path / f"out{suffix}"))
    (mesh,) = again.meshes.values()
    assert len(mesh.faces) <= faces
    assert facing(mesh) > 0.999
    assert again.mesh.volume == pytest.approx(8, rel=1e-4)


@pytest.mark.parametrize("scale", [(1, 1, 1), (3, 1, 0.5)])
def test_instances_with_hard_edges_go_on_sharing_their_mesh(tmp_path, scale):
    glb = Glb()
    glb.add("meshes", {"primitives": [primitive(glb, hard_cube())]})
    turns = np.random.default_rng(0).normal(size=(10, 4))
    for k, turn in enumerate(turns / np.linalg.norm(turns, axis=1, keepdims=True)):
        row = {"translation": [50 * k, 0, 0], "rotation": turn.tolist(), "scale": list(scale)}
        glb.document["scenes"][0].setdefault("nodes", []).append(
            glb.add("nodes", {"mesh": 0, **(row if k else {})})
        )
    (tmp_path / "in.glb").write_bytes(glb.data())
    small = fitted(Asset.load(tmp_path / "in.glb"), faces=600)
    path = small.save(tmp_path / "out.glb")
    assert len(gltf_of(path.read_bytes())[0]["meshes"]) == 1
    assert all(facing(mesh) > 0.99 for mesh in Asset.load(path).meshes.values())


def with_matrices(size: int, kind: str, strided: bool) -> tuple[Glb, np.ndarray]:
    """The cart with a matrix for each vertex of its body, whose columns begin at multiples of four
    bytes, and those matrices as rows."""
    glb = cart()
    rows = (np.arange(24 * size * size) % 120).reshape(24, size, size).astype(kind)
    column = -(-size * rows.itemsize // 4) * 4 // rows.itemsize
    gapped = np.full((24, size, column), 77, kind)
    gapped[..., :size] = rows
    code = {"f4": 5126, "u2": 5123, "u1": 5121, "i1": 5120}[rows.dtype.str[1:]]
    # The gap behind the last is not needed.
    data = gapped.tobytes()[: -(column - size) * rows.itemsize or None]
    stride = {"byteStride": gapped[0].nbytes} if strided else {}
    row = {"bufferView": glb.view(data, **stride), "componentType": code, "count": 24}
    number = glb.add("accessors", {**row, "type": f"MAT{size}"})
    glb.document["meshes"][0]["primitives"][0]["attributes"]["_FRAME"] = number
    return glb, rows.reshape(24, -1)


@pytest.mark.parametrize("strided", [True, False])
@pytest.mark.parametrize("kind", ["<f4", "<u2", "<u1", "<i1"])
@pytest.mark.parametrize("size", [2, 3, 4])
def test_matrices_of_vertices_follow_them(tmp_path, size, kind, strided):
    glb, rows = with_matrices(size, kind, strided)
    (tmp_path / "a.glb").write_bytes(glb.data())
    asset = Asset.load(tmp_path / "a.glb")
    asset.save(tmp_path / "same.glb")
    body = asset.meshes["body"]
    asset.meshes["body"] = body.keep_faces(np.arange(len(body.faces)) >= 4)
    again = Asset.load(asset.save(tmp_path / "b.glb"))
    file = again.source.file
    attributes = file.document["meshes"][0]["primitives"][0]["attributes"]
    assert file.document["accessors"][attributes["_FRAME"]]["type"] == f"MAT{size}"
    np.testing.assert_array_equal(file.raw(attributes["_FRAME"]), rows[8:])
    assert again.meshes["load"].normals.shape == asset.meshes["load"].normals.shape


@pytest.mark.parametrize("own", [True, False])
def test_instances_may_have_numbers_of_a_programs_own_alone(tmp_path, own):
    glb = cart()
    table = {"_ID": glb.accessor(np.arange(3.0))}
    if not own:
        table["TRANSLATION"] = glb.accessor([[0, 0, 1], [0, 0, 2], [0, 0, 3]])
    glb.document["nodes"][0]["extensions"] = {"EXT_mesh_gpu_instancing": {"attributes": table}}
    glb.use("EXT_mesh_gpu_instancing")
    (tmp_path / "a.glb").write_bytes(glb.data())
    asset = Asset.load(tmp_path / "a.glb")
    assert sum(name.startswith("load") for name in asset.meshes) == 3
    again = Asset.load(asset.save(tmp_path / "b.glb"))
    for name, mesh in asset.meshes.items():
        np.testing.assert_allclose(again.meshes[name].vertices, mesh.vertices, atol=1e-6)


def painted_with(**maps: dict) -> Glb:
    """A box whose material has textures as its maps."""
    glb = Glb()
    for row in maps.values():
        glb.add("textures", row)
    infos = {name: {"index": number} for number, name in enumerate(maps)}
    row: dict = {"name": "paint", "pbrMetallicRoughness": {}}
    for name, info in infos.items():
        if name == "clearcoatTexture":
            row["extensions"] = {"KHR_materials_clearcoat": {"clearcoatFactor": 1, name: info}}
            glb.use("KHR_materials_clearcoat")
        elif name == "baseColorTexture":
            row["pbrMetallicRoughness"][name] = info
        else:
            row[name] = info
    mesh = glb.add("meshes", {"primitives": [primitive(glb, box(), glb.add("materials", row))]})
    glb.document["scenes"][0]["nodes"] = [glb.add("nodes", {"name": "box", "mesh": mesh})]
    return glb


@pytest.mark.parametrize("strange", [False, True])
@pytest.mark.parametrize(
    "name", ["baseColorTexture", "normalTexture", "emissiveTexture", "clearcoatTexture", "none"]
)
def test_pictures_without_data_are_taken_out_and_told(tmp_path, name, strange):
    """With all that names them, as viewers refuse a file with one; the others stay."""
    glb = painted_with(**{} if name == "none" else {name: {"source": 0}}, occlusionTexture={})
    glb.add("images", {"name": "nothing", "mimeType": "image/png"})
    occlusion = glb.document["textures"][-1]
    occlusion["source"] = glb.image(checks((9, 9, 9), (90, 90, 90)), name="shade")
    if strange:
        glb.document["extensions"] = {"ABC_pictures": {"images": [1]}}
        glb.use("ABC_pictures")
    (tmp_path / "a.glb").write_bytes(glb.data())
    asset = Asset.load(tmp_path / "a.glb")
    assert asset.notes == ['the picture "nothing" is left out: it has no data']
    again = Asset.load(asset.save(tmp_path / "b.glb"))
    document = again.source.file.document
    assert all("bufferView" in row for row in document["images"])
    assert name not in str(document["materials"])
    assert again.notes == []
    shade = asset.mesh.material.occlusion_map
    np.testing.assert_array_equal(again.mesh.material.occlusion_map, shade)
    assert len(document["images"]) == 1 + (strange or name == "none")


@pytest.mark.parametrize("fallback", [False, True])
def test_pictures_of_extensions_that_are_not_read_are_told(tmp_path, fallback):
    glb = painted_with(baseColorTexture={"extensions": {"MSFT_texture_dds": {"source": 0}}})
    glb.use("MSFT_texture_dds")
    dds = b"DDS " + bytes(124)
    glb.add("images", {"bufferView": glb.view(dds), "mimeType": "image/vnd-ms.dds"})
    if fallback:
        glb.document["textures"][0]["source"] = glb.image(checks((9, 9, 9), (90, 90, 90)))
    (tmp_path / "a.glb").write_bytes(glb.data())
    asset = Asset.load(tmp_path / "a.glb")
    assert (asset.mesh.texture is not None) == fallback
    said = [] if fallback else ["a picture is left out: MSFT_texture_dds is not read"]
    assert asset.notes == said
