"""Odd glTF files: key frames without values, nodes without a size, nodes that share a mesh and
were changed in different ways or lie far apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from threestudio_like.meshes import Asset
from threestudio_like.meshes.fitting import fitted

from .gltf_files import Glb, cart, featured, gltf_of, primitive
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
