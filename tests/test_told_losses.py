"""Commands tell what a file that they write could not keep."""

import json
from dataclasses import replace

import numpy as np
import pytest

from threestudio_like.cli import main
from threestudio_like.meshes import Asset, Mesh
from threestudio_like.meshes.io.files import read
from threestudio_like.meshes.material import Material

from .gltf_files import Glb, box, cart, checks, featured, gltf_of, primitive
from .small_files import ply


def test_export_tells_what_a_format_cannot_keep(tmp_path, capsys):
    (tmp_path / "cart.glb").write_bytes(featured("everything"))
    call = ["export", str(tmp_path / "cart.glb"), "--to", "gltf", "obj", "stl", "--json"]
    assert main(call) == 0
    shown = capsys.readouterr()
    lines = shown.err.strip().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("Not kept in cart.obj:")
    for kind in ("skin", "animation", "morph target", "camera", "light", "tangents"):
        assert kind in lines[0]
    assert lines[1].startswith("Not kept in cart.stl:")
    assert "4 parts" in lines[1]
    rows = [json.loads(line) for line in shown.out.splitlines()]
    assert ["not kept" in row for row in rows] == [False, True, True]


def test_parts_with_and_without_opacity_are_written_as_one(tmp_path, capsys):
    (tmp_path / "cart.glb").write_bytes(featured("vertex colours with alpha"))
    call = ["export", str(tmp_path / "cart.glb"), "--to", "stl", "obj", "--verify", "--out"]
    call.append(str(tmp_path / "seen"))
    assert main(call) == 0
    capsys.readouterr()
    # The box of few vertices shows nothing of its chequered picture there.
    assert main(["export", str(tmp_path / "cart.glb"), "--to", "ply", "3mf"]) == 0
    again = Asset.load(tmp_path / "cart.3mf").meshes
    assert next(iter(again.values())).colours.shape[1] == 4
    assert "1 part with vertex colours beside a texture (body)" in capsys.readouterr().err


def test_vertex_colours_multiply_the_picture_and_the_material():
    from threestudio_like.meshes.io.merge import vertex_colours

    points, faces = np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0]]), np.int32([[0, 1, 2]])
    mesh = Mesh(
        points,
        faces,
        points[:, :2],
        np.full((2, 2, 3), 102, np.uint8),
        np.full((3, 4), 0.5, np.float32),
        material=Material("m", (1.0, 0.5, 0.25, 1.0)),
    )
    np.testing.assert_allclose(vertex_colours(mesh), [[0.2, 0.1, 0.05, 0.5]] * 3, atol=1e-6)


@pytest.mark.parametrize("name", ["mirrored node", "plain"])
def test_instances_that_are_unwrapped_alike_stay_instances(tmp_path, capsys, name):
    """A node that mirrors a mesh turns its faces over; both get the same coordinates, so nothing is
    lost, nothing is told, and every corner is where it was."""
    (tmp_path / "cart.glb").write_bytes(featured(name))
    call = ["mesh", "unwrap", str(tmp_path / "cart.glb"), "--out", str(tmp_path / "new.glb")]
    assert main(call) == 0
    assert "Not kept" not in capsys.readouterr().err
    before, after = (read(tmp_path / f).meshes for f in ("cart.glb", "new.glb"))
    for wheel in ("front wheel", "back wheel"):
        corners = [m[wheel].vertices[m[wheel].faces] for m in (before, after)]
        np.testing.assert_allclose(*corners, atol=1e-6)
    sheets = [after[w].uv[after[w].faces] for w in ("front wheel", "back wheel")]
    if name == "mirrored node":
        sheets[0] = sheets[0][:, ::-1]
    np.testing.assert_array_equal(*sheets)


MAPS = ("metallicRoughnessTexture", "normalTexture", "occlusionTexture", "emissiveTexture")


def with_maps(places: dict[str, dict]) -> Glb:
    """A box with two sets of texture coordinates and maps, by the key of each, at places."""
    glb, shape = Glb(), box()
    row: dict = {"name": "m", "pbrMetallicRoughness": {}, "emissiveFactor": [1, 1, 1]}
    for key, place in places.items():
        glb.use(*place.get("extensions", {}))
        table = row["pbrMetallicRoughness"] if "Roughness" in key or "Color" in key else row
        table[key] = {"index": glb.texture(checks((9, 9, 250), (200, 90, 90))), **place}
    part = primitive(glb, shape, glb.add("materials", row))
    part["attributes"]["TEXCOORD_1"] = glb.accessor(shape["uv"] * np.float32(0.25))
    glb.add("meshes", {"name": "part", "primitives": [part]})
    glb.document["scenes"][0]["nodes"] = [glb.add("nodes", {"name": "part", "mesh": 0})]
    return glb


SECOND = {"texCoord": 1}
WIDE = {"extensions": {"KHR_texture_transform": {"scale": [4, 4]}}}
WIDE_SECOND = {"extensions": {"KHR_texture_transform": {"scale": [4, 4], "texCoord": 1}}}
STILL = {"extensions": {"KHR_texture_transform": {"offset": [0, 0], "texCoord": 0}}}


@pytest.mark.parametrize(
    ("places", "scale", "kept"),
    [
        ({"normalTexture": SECOND, "occlusionTexture": SECOND}, 0.25, 2),
        ({"emissiveTexture": WIDE}, 4, 1),
        ({"metallicRoughnessTexture": WIDE_SECOND}, 1, 1),
        ({"metallicRoughnessTexture": STILL, "normalTexture": {}}, 1, 2),
        ({"normalTexture": {}, "occlusionTexture": SECOND, "emissiveTexture": SECOND}, 0.25, 2),
        ({"baseColorTexture": {}, "normalTexture": SECOND, "emissiveTexture": SECOND}, 1, 0),
        ({"baseColorTexture": SECOND, "normalTexture": {}, "emissiveTexture": SECOND}, 0.25, 1),
    ],
)
def test_maps_are_written_over_the_coordinates_that_they_use(tmp_path, capsys, places, scale, kept):
    (tmp_path / "in.glb").write_bytes(with_maps(places).data())
    assert (
        main(["mesh", "convert", str(tmp_path / "in.glb"), "--out", str(tmp_path / "o.obj")]) == 0
    )
    lines = (tmp_path / "o.obj").read_text().splitlines()
    uv = np.array([line.split()[1:3] for line in lines if line.startswith("vt ")], float)
    wanted = box()["uv"] * scale * [1, -1] + [0, 1]
    np.testing.assert_allclose(np.unique(uv.round(5), axis=0), np.unique(wanted.round(5), axis=0))
    material = Asset.load(tmp_path / "in.glb").meshes["part"].material
    names = ("metallic_roughness", "normal_map", "occlusion_map", "emissive_map")
    assert sum(getattr(material, name) is not None for name in names) == kept
    lost = kept < sum(key in MAPS for key in places)
    told = "1 material with maps on other texture coordinates (m)" in capsys.readouterr().err
    assert told == lost


@pytest.mark.parametrize("suffix", [".obj", ".stl", ".ply", ".3mf"])
@pytest.mark.parametrize(
    ("above", "own"), [({}, {"visible": False}), ({"visible": False}, {"visible": True})]
)
def test_hidden_nodes_are_left_out_and_told(tmp_path, capsys, suffix, above, own):
    glb = cart()
    glb.use("KHR_node_visibility")
    for row, spoken in ((3, above), (1, own)):
        glb.document["nodes"][row]["extensions"] = {"KHR_node_visibility": spoken}
    glb.document["nodes"].append({"name": "stand", "mesh": 1})
    glb.document["scenes"][0]["nodes"].append(4)
    (tmp_path / "in.glb").write_bytes(glb.data())
    out = tmp_path / f"o{suffix}"
    assert main(["mesh", "convert", str(tmp_path / "in.glb"), "--out", str(out)]) == 0
    told = capsys.readouterr().err
    faces = sum(len(mesh.faces) for mesh in Asset.load(out).meshes.values())
    if above:
        assert "4 hidden nodes (body, load, front wheel, back wheel)" in told
        assert faces == 12
    else:
        assert "1 hidden node (front wheel)" in told
        assert faces == 48
    # In its own format they are what they were.
    assert main(["mesh", "clean", str(tmp_path / "in.glb"), "--out", str(tmp_path / "o.glb")]) == 0
    assert "hidden" not in capsys.readouterr().err
    assert gltf_of((tmp_path / "o.glb").read_bytes())[0]["nodes"] == glb.document["nodes"]


def test_a_file_that_hides_everything_is_refused(tmp_path, capsys):
    glb = cart()
    glb.document["nodes"][3]["extensions"] = {"KHR_node_visibility": {"visible": False}}
    (tmp_path / "in.glb").write_bytes(glb.data())
    assert main(["mesh", "info", str(tmp_path / "in.glb")]) == 2
    assert "shows nothing, for all its nodes are hidden" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        ({"occlusionTexture": {"index": 0, "strength": 0.25}}, ["an occlusion strength"]),
        ({"occlusionTexture": {"index": 0, "strength": 1}}, []),
        ({"extensions": {"specularFactor": [1, 0.8, 0.1]}}, ["a specular colour"]),
        ({"extensions": {}}, ["a specular colour"]),
        ({"extensions": {"specularFactor": [0.04, 0.04, 0.04]}}, []),
        (
            {"extensions": {"specularGlossinessTexture": {"index": 0}}},
            ["a specular-glossiness map", "a specular colour"],
        ),
    ],
)
def test_what_a_material_alone_has_is_told(tmp_path, capsys, change, lines):
    name = "KHR_materials_pbrSpecularGlossiness"
    glb = cart()
    row = glb.document["materials"][0]
    if "extensions" in change:
        base = row.pop("pbrMetallicRoughness")["baseColorTexture"]
        change = {"extensions": {name: {"diffuseTexture": base, **change["extensions"]}}}
        glb.use(name)
    row.update(change)
    (tmp_path / "in.glb").write_bytes(glb.data())
    assert (
        main(["mesh", "convert", str(tmp_path / "in.glb"), "--out", str(tmp_path / "o.obj")]) == 0
    )
    told = capsys.readouterr().err
    for line in ("an occlusion strength", "a specular colour", "a specular-glossiness map"):
        assert (f"1 material with {line} (paint)" in told) == (line in lines)


def test_what_is_not_read_of_a_file_is_told(tmp_path, capsys):
    lines = "v 0 0 0\nv 1 0 0\nv 0 1 0\nusemtl m\nf 1 2 3\nstrange 4\n"
    (tmp_path / "a.obj").write_text(f"mtllib a.mtl\n{lines}")
    (tmp_path / "a.mtl").write_text(
        "newmtl m\nKa 1 1 1\nNi 1.45\nNi 1.33\nodd 1\nnewmtl n\nfar 1\n"
    )
    assert main(["mesh", "convert", str(tmp_path / "a.obj"), "--out", str(tmp_path / "a.glb")]) == 0
    told = capsys.readouterr().err
    assert "1 other statement (strange); 2 material statements (ni, odd)" in told
    header = "element vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
    header += "property float quality\nelement face 1\nproperty list uchar int vertex_indices\n"
    header += "property int flags\nelement edge 0\nproperty int vertex1"
    (tmp_path / "b.ply").write_bytes(ply(header, "0 0 0 1\n1 0 0 1\n0 1 0 1\n3 0 1 2 9\n"))
    assert main(["mesh", "info", str(tmp_path / "b.ply")]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "Note: elements that are left out: edge.",
        'Note: properties of "vertex" that are left out: quality.',
        'Note: properties of "face" that are left out: flags.',
    ]


def test_coordinates_without_a_picture_are_in_a_ply(tmp_path):
    points, faces = np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0]]), np.int32([[0, 1, 2]])
    mesh = Mesh(points, faces, points[:, :2] * np.float32(0.5))
    Asset({"one": mesh, "two": mesh}).save(tmp_path / "a.ply")
    np.testing.assert_allclose(Asset.load(tmp_path / "a.ply").mesh.uv[:3], mesh.uv)


def test_formats_with_different_pictures_of_one_name_get_two(tmp_path):
    points, faces = np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0]]), np.int32([[0, 1, 2]])
    picture = np.full((4, 4, 3), 200, np.uint8)
    half = Material("m", (0.5, 0.5, 0.5, 1.0))
    Asset({"one": Mesh(points, faces, points[:, :2], picture, material=half)}).save(
        tmp_path / "a.glb"
    )
    assert main(["export", str(tmp_path / "a.glb"), "--to", "obj", "ply"]) == 0
    # PLY has no material, so that its picture has the colour.
    for name, level in (("a.obj", 200), ("a.ply", 100)):
        assert Asset.load(tmp_path / name).mesh.texture[0, 0, 0] == level
    names = ["a-ply.png", "a.glb", "a.mtl", "a.obj", "a.ply", "a.png"]
    assert sorted(p.name for p in tmp_path.iterdir()) == names


def test_other_vertex_colours_are_written_into_the_file_that_was_read(tmp_path):
    (tmp_path / "cart.glb").write_bytes(featured("vertex colours with alpha"))
    asset = Asset.load(tmp_path / "cart.glb")
    body = asset.meshes["body"]
    white = np.concatenate([np.ones((len(body.vertices), 3)), body.colours[:, 3:]], 1)
    body = replace(body, colours=white.astype(np.float32))
    asset.with_meshes({**asset.meshes, "body": body}).save(tmp_path / "white.glb")
    again = Asset.load(tmp_path / "white.glb").meshes["body"]
    np.testing.assert_allclose(again.colours, white, atol=1e-6)


@pytest.mark.parametrize("name", ["filter: nearest", "wrap: mirror"])
def test_how_a_picture_is_looked_up_is_told(tmp_path, capsys, name):
    (tmp_path / "cart.glb").write_bytes(featured(name))
    assert main(["export", str(tmp_path / "cart.glb"), "--to", "stl"]) == 0
    told = capsys.readouterr().err
    assert ("1 material with a texture filter (paint)" in told) == (name == "filter: nearest")
    assert ("1 material with texture wrapping (paint)" in told) == (name == "wrap: mirror")


def test_a_part_that_is_read_back_with_rounding_is_the_same(tmp_path):
    from threestudio_like.meshes.verification_rest import verify_rest

    shape = box()
    asset = Asset({n: Mesh(shape["position"], shape["faces"], shape["uv"]) for n in ("a", "b")})
    given = Asset.load(asset.save(tmp_path / "given.obj"))
    given.save(tmp_path / "made.glb")
    assert verify_rest(tmp_path / "given.obj", tmp_path / "made.glb", given).passed
    moved = replace(given.meshes["a"], uv=given.meshes["a"].uv + np.float32(1e-4))
    given.with_meshes({**given.meshes, "a": moved}).save(tmp_path / "moved.glb")
    assert verify_rest(tmp_path / "given.obj", tmp_path / "moved.glb", given).changed == ("a",)
