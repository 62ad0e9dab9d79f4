"""glTF comes back whole: every feature of a user's file through reading, patching and writing."""

import copy
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import trimesh
from PIL import Image

from threestudio_like.meshes import Asset
from threestudio_like.meshes.frames import Frame
from threestudio_like.meshes.io.gltf.compare import differences, row_counts, unexpected
from threestudio_like.meshes.io.gltf.patch import patch
from threestudio_like.meshes.io.gltf.write import glb_bytes
from threestudio_like.meshes.mesh import Variant
from threestudio_like.meshes.texture.coordinates import with_coordinates

from .gltf_files import FEATURES, Glb, add_morph, add_rig, box, cart, featured, gltf_of, primitive

TRIMESH_DIFFERS = {"instancing extension", "sparse accessor", "two scenes"}


@pytest.fixture
def read(tmp_path):
    def of(name: str) -> tuple[Asset, bytes]:
        data = featured(name)
        path = tmp_path / "in.glb"
        path.write_bytes(data)
        return Asset.load(path), data

    return of


@pytest.mark.parametrize("name", list(FEATURES))
def test_an_unchanged_asset_is_the_file_that_was_read(name, read):
    asset, data = read(name)
    patched = patch(asset, asset.source)
    written = glb_bytes(patched.document, patched.binary)
    assert differences(data, written) == []
    assert patched.changed == []
    assert asset.source.unkept(asset) == []


@pytest.mark.parametrize("name", list(FEATURES))
def test_a_painted_part_changes_its_base_colour_alone(name, read):
    asset, data = read(name)
    painted = next(n for n in asset.meshes if "body" in n or "quantised" in n or "red" in n)
    mesh = asset.meshes[painted]
    pixels = np.full((16, 16, 3), (10, 200, 30), np.uint8)
    material = replace(mesh.material, colour=(1.0, 1.0, 1.0, mesh.material.colour[3]))
    new = asset.with_meshes(
        {**asset.meshes, painted: replace(mesh, texture=pixels, material=material)}
    )
    patched = patch(new, new.source)
    written = glb_bytes(patched.document, patched.binary)
    found = differences(data, written)
    assert found
    assert unexpected(found, patched.changed, row_counts(data)) == []
    for pointer in found:
        # The picture in its place, or a material of its own for the part.
        assert pointer.startswith(
            ("/images", "/textures", "/materials", "/samplers", "/extensionsUsed")
        ) or (pointer.startswith("/meshes/0/primitives/0") and pointer.endswith("/material")), (
            pointer
        )
    again = load(written)
    assert list(again.meshes) == list(asset.meshes)
    np.testing.assert_array_equal(again.meshes[painted].texture, pixels)
    for other, kept in asset.meshes.items():
        np.testing.assert_array_equal(again.meshes[other].vertices, kept.vertices)
        np.testing.assert_array_equal(again.meshes[other].uv, kept.uv)
        if other != painted and kept.texture is not None:
            np.testing.assert_array_equal(again.meshes[other].texture, kept.texture)


def load(data: bytes, suffix: str = ".glb") -> Asset:
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{suffix}"
        path.write_bytes(data)
        return Asset.load(path)


@pytest.mark.parametrize("name", list(FEATURES))
def test_an_unwrapped_part_keeps_its_other_attributes(name, read):
    asset, data = read(name)
    part = next(n for n in asset.meshes if "body" in n or "quantised" in n or "red" in n)
    only = asset.with_meshes({part: asset.meshes[part]})
    unwrapped, _ = with_coordinates(only, 256, "always")
    pixels = np.full((16, 16, 3), (10, 200, 30), np.uint8)
    mesh = replace(unwrapped.meshes[part], texture=pixels)
    new = asset.with_meshes({**asset.meshes, part: mesh})
    patched = patch(new, new.source)
    written = glb_bytes(patched.document, patched.binary)
    assert unexpected(differences(data, written), patched.changed, row_counts(data)) == []
    again = load(written)
    back = again.meshes[part]
    np.testing.assert_allclose(back.vertices[back.faces], mesh.vertices[mesh.faces], atol=2e-4)
    np.testing.assert_allclose(back.uv[back.faces], mesh.uv[mesh.faces], atol=1e-6)
    old, new_rows = (d["meshes"][0]["primitives"][0] for d in (gltf_of(data)[0], patched.document))
    for attribute in old["attributes"]:
        assert attribute in new_rows["attributes"]
    assert f"TEXCOORD_{1 + ('TEXCOORD_1' in old['attributes'])}" in new_rows["attributes"]
    assert len(new_rows.get("targets", [])) == len(old.get("targets", []))
    # Other maps of the material still lie on the coordinates that they were made for.
    material = patched.document["materials"][new_rows["material"]]
    for key in ("normalTexture", "occlusionTexture", "emissiveTexture"):
        if key in material and "texCoord" not in gltf_of(data)[0]["materials"][0].get(key, {}):
            assert material[key]["texCoord"] >= 1


@pytest.mark.parametrize("name", [n for n in FEATURES if n not in TRIMESH_DIFFERS])
def test_bounds_agree_with_another_reader(name, read):
    asset, data = read(name)
    if name in ("morph target, default weight", "morph weights of a node", "quantised") or (
        "skin" in name or name == "everything" or name == "far from the origin"
    ):
        return  # trimesh shows neither skins nor morph targets, and rounds what is far.
    other = trimesh.load(io.BytesIO(data), file_type="glb")
    low, high = asset_bounds(asset)
    mine = [low + asset.offset, high + asset.offset]
    if name == "lines and points":
        other = trimesh.Scene(
            [
                other.geometry[g].copy().apply_transform(other.graph[n][0])
                for n in other.graph.nodes_geometry
                for g in [other.graph[n][1]]
                if isinstance(other.geometry[g], trimesh.Trimesh)
            ]
        )
    np.testing.assert_allclose(mine, other.bounds, atol=1e-5)


def asset_bounds(asset: Asset) -> tuple[np.ndarray, np.ndarray]:
    points = np.concatenate([m.vertices[m.faces.reshape(-1)] for m in asset.meshes.values()])
    return points.min(0), points.max(0)


def test_the_rest_pose_is_what_the_joints_make_of_it(read):
    asset, _ = read("skin and animation")
    # The joints stand where they were bound, so the rest pose is the shape itself.
    body = asset.meshes["skinned body"]
    np.testing.assert_allclose(body.vertices, box((2, 0.6, 1))["position"], atol=1e-6)


def test_a_bent_rest_pose_bends_the_shape(tmp_path):
    glb = cart()
    add_rig(glb)
    chest = next(n for n in glb.document["nodes"] if n.get("name") == "chest")
    chest["translation"] = [0.3, 0.5, 0]
    (tmp_path / "bent.glb").write_bytes(glb.data())
    asset = Asset.load(tmp_path / "bent.glb")
    points = box((2, 0.6, 1))["position"].copy()
    points[points[:, 1] > 0, 0] += 0.3
    np.testing.assert_allclose(asset.meshes["skinned body"].vertices, points, atol=1e-6)
    # A moved vertex goes back through its joints.
    body = asset.meshes["skinned body"]
    moved = asset.with_meshes(
        {**asset.meshes, "skinned body": replace(body, vertices=body.vertices * 1.1)}
    )
    again = load(moved_bytes(moved))
    np.testing.assert_allclose(
        again.meshes["skinned body"].vertices, body.vertices * 1.1, atol=1e-5
    )


def moved_bytes(asset: Asset) -> bytes:
    patched = patch(asset, asset.source)
    return glb_bytes(patched.document, patched.binary)


def test_default_morph_weights_are_shown_and_taken_out_again(tmp_path):
    glb = cart()
    add_morph(glb, 0.6)
    (tmp_path / "m.glb").write_bytes(glb.data())
    asset = Asset.load(tmp_path / "m.glb")
    points = box((2, 0.6, 1))["position"].copy()
    points[points[:, 1] > 0, 1] += 0.6 * 0.5
    np.testing.assert_allclose(asset.meshes["body"].vertices - [0, 1, 0], points, atol=1e-6)
    body = asset.meshes["body"]
    moved = asset.with_meshes({**asset.meshes, "body": replace(body, vertices=body.vertices + 0.1)})
    written = moved_bytes(moved)
    np.testing.assert_allclose(
        load(written).meshes["body"].vertices, body.vertices + 0.1, atol=1e-5
    )
    document, binary = gltf_of(written)
    stored = accessor_of(document, binary, document["meshes"][0]["primitives"][0]["attributes"])
    np.testing.assert_allclose(stored, box((2, 0.6, 1))["position"] + 0.1, atol=1e-5)


def accessor_of(document: dict, binary: bytes, attributes: dict) -> np.ndarray:
    row = document["accessors"][attributes["POSITION"]]
    view = document["bufferViews"][row["bufferView"]]
    return np.frombuffer(
        binary, "<f4", 3 * row["count"], view["byteOffset"] + row.get("byteOffset", 0)
    ).reshape(-1, 3)


def test_instances_are_all_there_and_stay_instances(read):
    asset, data = read("instancing extension")
    # Two wheels, of which one is a node of five instances, and... the load is the node that is
    # repeated here.
    names = [n for n in asset.meshes if n.startswith("front wheel") or n.startswith("load")]
    assert len(asset.meshes) == 1 + 1 + 1 + 5
    assert len(names) >= 5
    patched = patch(asset, asset.source)
    assert differences(data, glb_bytes(patched.document, patched.binary)) == []


def test_one_changed_instance_gets_a_node_of_its_own(read):
    asset, _ = read("instancing extension")
    several = [n for n in asset.meshes if asset.source.refs[n].place.instance >= 0]
    chosen = asset.meshes[several[2]]
    pixels = np.full((8, 8, 3), 77, np.uint8)
    new = asset.with_meshes({**asset.meshes, several[2]: replace(chosen, texture=pixels)})
    again = load(moved_bytes(new))
    assert len(again.meshes) == len(asset.meshes)
    np.testing.assert_allclose(asset_bounds(again), asset_bounds(asset), atol=1e-6)
    assert (
        sum(m.texture is not None and m.texture.shape[0] == 8 for m in again.meshes.values()) == 1
    )


def test_a_jpeg_stays_that_jpeg(read):
    asset, data = read("JPEG texture")
    document, binary = gltf_of(moved_bytes(asset))
    images = [r for r in document["images"] if r["mimeType"] == "image/jpeg"]
    assert len(images) == 1
    view = document["bufferViews"][images[0]["bufferView"]]
    inside = binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
    assert inside in data
    assert Image.open(io.BytesIO(inside)).format == "JPEG"
    # Also where the file is written anew.
    new = replace(asset, source=None)
    from threestudio_like.meshes.io.gltf.write import gltf_document

    document, binary = gltf_document(new)
    assert inside in binary


def test_replaced_pictures_leave_no_bytes_behind(read):
    asset, data = read("JPEG texture")
    body = asset.meshes["body"]
    small = np.zeros((4, 4, 3), np.uint8)
    new = asset.with_meshes({**asset.meshes, "body": replace(body, texture=small)})
    assert len(moved_bytes(new)) < len(data)


def test_variants_are_four_materials_on_one_layout(read):
    asset, data = read("plain")
    body = asset.meshes["body"]
    looks = [np.full((8, 8, 3), 40 * k, np.uint8) for k in range(4)]
    first = asset.with_meshes({**asset.meshes, "body": replace(body, texture=looks[0])})
    material = replace(body.material, name="paint")
    variants = [Variant(f"look {k}", {"body": (p, material)}) for k, p in enumerate(looks)]
    patched = patch(replace(first, variants=variants), asset.source)
    written = glb_bytes(patched.document, patched.binary)
    # The file has no extensions of its own, so that the whole table is new.
    assert "/meshes" not in patched.changed
    assert unexpected(differences(data, written), patched.changed, row_counts(data)) == []
    document, _ = gltf_of(written)
    names = [v["name"] for v in document["extensions"]["KHR_materials_variants"]["variants"]]
    assert names == [f"look {k}" for k in range(4)]
    rows = document["meshes"][0]["primitives"][0]["extensions"]["KHR_materials_variants"]
    assert [m["variants"] for m in rows["mappings"]] == [[0], [1], [2], [3]]
    used = [document["materials"][m["material"]] for m in rows["mappings"]]
    assert len({u["pbrMetallicRoughness"]["baseColorTexture"]["index"] for u in used}) == 4
    assert all(u["pbrMetallicRoughness"]["roughnessFactor"] == 0.4 for u in used)


def test_another_frame_is_one_node_above_the_scene(tmp_path, read):
    asset, data = read("skin and animation")
    path = asset.save(tmp_path / "z.glb", Frame("z", "-y", "cm"))
    back = Asset.load(path, Frame("z", "-y", "cm"))
    np.testing.assert_allclose(asset_bounds(back), asset_bounds(asset), atol=1e-5)
    document, _ = gltf_of(path.read_bytes())
    assert len(document["skins"]) == 1
    assert len(document["animations"]) == 1
    # And back again: nothing of the detour is left.
    assert differences(data, back.save(tmp_path / "back.glb")) != []


def test_a_far_scene_keeps_its_shape_and_its_place(read, tmp_path):
    asset, data = read("far from the origin")
    assert np.abs(asset.offset).max() > 1e6
    low, high = asset_bounds(asset)
    np.testing.assert_allclose(high - low, [2, 1.5, 1.1], atol=1e-3)
    assert differences(data, asset.save(tmp_path / "same.glb")) == []
    anew = replace(asset, source=None).save(tmp_path / "anew.glb")
    back = Asset.load(anew)
    np.testing.assert_allclose(asset_bounds(back)[0] + back.offset, low + asset.offset, atol=1e-3)


def test_a_removed_part_leaves_its_node(read):
    asset, _ = read("plain")
    rest = {n: m for n, m in asset.meshes.items() if n != "load"}
    again = load(moved_bytes(asset.with_meshes(rest)))
    assert sorted(again.meshes) == sorted(rest)
    document, _ = gltf_of(moved_bytes(asset.with_meshes(rest)))
    assert [n["name"] for n in document["nodes"]] == ["load", "front wheel", "back wheel", "body"]


def test_normals_of_another_length_are_mended_and_nothing_else(tmp_path):
    glb = Glb()
    shape = box()
    shape["normal"] = shape["normal"] * np.float32(1.7)
    shape["normal"][0] = 0
    glb.add("meshes", {"primitives": [primitive(glb, shape)]})
    glb.add("nodes", {"mesh": 0})
    glb.document["scenes"][0]["nodes"] = [0]
    (tmp_path / "n.glb").write_bytes(glb.data())
    asset = Asset.load(tmp_path / "n.glb")
    np.testing.assert_allclose(
        np.linalg.norm(next(iter(asset.meshes.values())).normals, axis=1), 1, atol=1e-6
    )
    found = differences(glb.data(), moved_bytes(asset))
    assert all("NORMAL" in p or p == "/accessors/1/bytes" for p in found), found


def test_a_missing_picture_is_a_note(tmp_path):
    glb = cart()
    glb.document["images"][0] = {"uri": "gone.png"}
    (tmp_path / "x.glb").write_bytes(glb.data())
    asset = Asset.load(tmp_path / "x.glb")
    assert len(asset.notes) == 1
    assert "gone.png" in asset.notes[0]
    document, _ = gltf_of(moved_bytes(asset))
    assert document["images"][0] == {"uri": "gone.png"}


def test_the_gltf_of_text_is_the_same_asset(read, tmp_path):
    asset, data = read("everything")
    path = asset.save(tmp_path / "text.gltf")
    assert json.loads(path.read_text())["buffers"][0]["uri"] == "text.bin"
    assert differences(data, path) == []


def test_sources_are_not_changed_by_writing(read):
    asset, _ = read("everything")
    before = copy.deepcopy(asset.source.file.document)
    moved_bytes(asset)
    assert asset.source.file.document == before


def test_tangents_of_moved_vertices_are_told(read):
    asset, _ = read("tangents")
    assert asset.source.unkept(asset) == []
    body = asset.meshes["body"]
    moved = asset.with_meshes({**asset.meshes, "body": replace(body, vertices=body.vertices * 1.1)})
    assert [feature.line() for feature in moved.source.unkept(moved)] == [
        "1 part with tangents (body)"
    ]
