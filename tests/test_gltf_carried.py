"""Texture coordinates of the file that are carried to fewer or further vertices: every map stays on
the set that it was made for, and what only the nearest vertex knows is told."""

from dataclasses import replace

import numpy as np
import pytest

from threestudio_like.meshes import Asset
from threestudio_like.meshes.io.files import losses

from .gltf_files import Glb, checks, gltf_of, table_of
from .test_gltf_edits import tool

ROWS, AROUND = 12, 48
TURNED = {"offset": [0.1, 0.3], "scale": [0.5, 2.0], "rotation": 0.4}


def pipe(hole: bool = False) -> dict[str, np.ndarray]:
    """A pipe whose first coordinate runs around it and whose second runs along it; a hole takes one
    square out of its wall."""
    angle, height = np.meshgrid(np.arange(AROUND + 1) / AROUND, np.arange(ROWS + 1) / ROWS)
    turn = 2 * np.pi * (angle % 1)
    normal = np.stack([np.cos(turn), 0 * turn, np.sin(turn)], -1).reshape(-1, 3)
    number = np.arange((ROWS + 1) * (AROUND + 1)).reshape(ROWS + 1, AROUND + 1)
    a, b, c, d = number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]
    faces = np.stack([np.stack([a, b, d], -1), np.stack([d, b, c], -1)], 2).reshape(-1, 3)
    if hole:
        faces = np.delete(faces, [6 * 2 * AROUND + 20, 6 * 2 * AROUND + 21], 0)
    return {
        "position": (normal + height.reshape(-1, 1) * [0, 2, 0]).astype(np.float32),
        "normal": normal.astype(np.float32),
        "uv": np.stack([angle, height], -1).reshape(-1, 2).astype(np.float32),
        "tangent": np.concatenate(
            [np.cross(normal, [0, 1, 0]), np.ones((normal.shape[0], 1))], 1
        ).astype(np.float32),
        "faces": faces.astype(np.uint16),
    }


def mapped(base: bool, chosen: int, transform: dict, hole: bool = False) -> Glb:
    """The pipe with maps on set `chosen`; the other set is a constant."""
    glb, shape = Glb(), pipe(hole)
    place: dict = {"texCoord": chosen} if chosen else {}
    if transform:
        place["extensions"] = {"KHR_texture_transform": transform}
        glb.use("KHR_texture_transform")
    info = [{"index": glb.texture(checks((9, 9, 250), (200, 90, 90))), **place} for _ in range(5)]
    row: dict = {
        "normalTexture": info[0],
        "occlusionTexture": info[1],
        "emissiveTexture": info[2],
        "pbrMetallicRoughness": {"metallicRoughnessTexture": info[3]},
    }
    if base:
        row["pbrMetallicRoughness"]["baseColorTexture"] = info[4]
    attributes = {
        "POSITION": glb.position(shape["position"]),
        "NORMAL": glb.accessor(shape["normal"]),
        "TANGENT": glb.accessor(shape["tangent"]),
        f"TEXCOORD_{chosen}": glb.accessor(shape["uv"]),
        f"TEXCOORD_{1 - chosen}": glb.accessor(np.full_like(shape["uv"], 0.25)),
    }
    index = glb.accessor(shape["faces"].reshape(-1), "<u2")
    first = {"attributes": attributes, "indices": index, "material": glb.add("materials", row)}
    glb.add("meshes", {"primitives": [first]})
    glb.document["scenes"][0]["nodes"] = [glb.add("nodes", {"mesh": 0, "name": "pipe"})]
    return glb


@pytest.mark.parametrize("transform", [{}, TURNED])
@pytest.mark.parametrize("chosen", [0, 1])
@pytest.mark.parametrize("base", [True, False])
@pytest.mark.parametrize("call", [("decimate", "--faces", "400"), ("clean", "--holes", "8")])
def test_all_maps_stay_on_their_set(tmp_path, capsys, base, chosen, transform, call):
    glb = mapped(base, chosen, transform, hole=call[0] == "clean")
    data = tool(tmp_path, glb, *call)
    document, _ = gltf_of(data)
    assert document["materials"] == glb.document["materials"]
    row = document["meshes"][0]["primitives"][0]
    assert "TEXCOORD_2" not in row["attributes"]
    points = table_of(data, row["attributes"]["POSITION"])
    uv = table_of(data, row["attributes"][f"TEXCOORD_{chosen}"])
    turn = np.arctan2(points[:, 2], points[:, 0]) / (2 * np.pi)
    # The picture is carried to where the surface now is: at most the half of a face beside it.
    aside = np.abs((uv[:, 0] - turn + 0.5) % 1 - 0.5)
    assert aside.max() < 0.5 / AROUND
    np.testing.assert_allclose(uv[:, 1], points[:, 1] / 2, atol=0.5 / ROWS)
    assert "TANGENT" not in row["attributes"]
    told = capsys.readouterr().err
    assert "1 part with tangents (pipe)" in told
    assert "1 part with exact second texture coordinates (pipe)" in told


def test_a_mesh_that_only_lost_faces_tells_nothing(tmp_path, capsys):
    glb = mapped(True, 0, {})
    faces = pipe()["faces"]
    twice = glb.accessor(np.concatenate([faces, faces[:3]]).reshape(-1), "<u2")
    row = glb.document["meshes"][0]["primitives"][0]
    row["indices"] = twice
    data = tool(tmp_path, glb, "clean")
    after = gltf_of(data)[0]["meshes"][0]["primitives"][0]
    assert "Not kept" not in capsys.readouterr().err
    for name, number in row["attributes"].items():
        np.testing.assert_array_equal(
            table_of(data, after["attributes"][name]), table_of(glb.data(), number)
        )


def test_variants_of_a_surface_that_is_made_anew_are_told(tmp_path):
    glb = mapped(True, 0, {})
    name = "KHR_materials_variants"
    glb.document["extensions"] = {name: {"variants": [{"name": "day"}]}}
    row = glb.document["meshes"][0]["primitives"][0]
    row["extensions"] = {name: {"mappings": [{"material": 0, "variants": [0]}]}}
    glb.use(name)
    (tmp_path / "in.glb").write_bytes(glb.data())
    asset = Asset.load(tmp_path / "in.glb")
    mesh = asset.meshes["pipe"]
    new = asset.with_meshes({"pipe": replace(mesh, faces=mesh.faces[:-1], origin=None)})
    kinds = {feature.kind for feature in losses(new, tmp_path / "out.glb")}
    assert {"material variants", "tangents", "second texture coordinates"} <= kinds


@pytest.mark.parametrize("transform", [{}, TURNED])
def test_a_picture_for_a_surface_without_one_lies_where_its_maps_do(tmp_path, transform):
    glb = mapped(False, 1, transform)
    (tmp_path / "in.glb").write_bytes(glb.data())
    asset = Asset.load(tmp_path / "in.glb")
    mesh = asset.meshes["pipe"]
    mesh.texture = checks((9, 200, 9), (200, 9, 200))
    asset.save(tmp_path / "out.glb")
    again = Asset.load(tmp_path / "out.glb").meshes["pipe"]
    np.testing.assert_array_equal(again.texture, mesh.texture)
    np.testing.assert_array_equal(again.uv, mesh.uv)
    document, _ = gltf_of((tmp_path / "out.glb").read_bytes())
    pbr = document["materials"][0]["pbrMetallicRoughness"]
    one, two = (dict(pbr[k]) for k in ("baseColorTexture", "metallicRoughnessTexture"))
    assert {**one, "index": 0} == {**two, "index": 0}


def numbered() -> Glb:
    """The pipe whose two rims are outlined, with other extensions that say numbers, or none."""
    glb, shape = Glb(), pipe()
    first = np.arange(AROUND)
    rim = np.stack([first, first + 1], -1)
    pairs = np.concatenate([rim, rim + ROWS * (AROUND + 1)])
    own = {
        "CESIUM_primitive_outline": {"indices": glb.accessor(pairs.reshape(-1), "<u2")},
        "FB_ngon_encoding": {},
        "ACME_corners": {"corner": [{"at": 7}]},
        "ACME_names": {"called": "pipe"},
        "EXT_mesh_features": {"featureIds": [{"featureCount": 1, "attribute": 0}]},
    }
    row = {
        "attributes": {
            "POSITION": glb.position(shape["position"]),
            "NORMAL": glb.accessor(shape["normal"]),
            "TEXCOORD_0": glb.accessor(shape["uv"]),
            "_FEATURE_ID_0": glb.accessor(np.zeros(len(shape["position"]), np.float32)),
        },
        "indices": glb.accessor(shape["faces"].reshape(-1), "<u2"),
        "extensions": own,
    }
    whole = {"EXT_mesh_manifold": {"manifoldPrimitive": {"indices": row["indices"]}}}
    glb.add("meshes", {"name": "pipe", "primitives": [row], "extensions": whole})
    glb.add("nodes", {"mesh": 0, "name": "pipe"})
    glb.use(*own, *whole)
    glb.document["scenes"][0]["nodes"] = [0]
    return glb


@pytest.mark.parametrize(
    ("words", "whole"), [(("decimate", "--faces", "200"), False), (("unwrap",), True)]
)
def test_what_names_vertices_by_their_numbers_follows_them_or_goes(tmp_path, capsys, words, whole):
    data = tool(tmp_path, numbered(), *words)
    told = capsys.readouterr().err
    document, _ = gltf_of(data)
    (row,) = document["meshes"][0]["primitives"]
    assert "extensions" not in document["meshes"][0]
    assert {*row["extensions"]} == {"CESIUM_primitive_outline", "ACME_names", "EXT_mesh_features"}
    assert {*document["extensionsUsed"]} == {*row["extensions"]}
    places = table_of(data, row["attributes"]["POSITION"])
    pairs = table_of(data, row["extensions"]["CESIUM_primitive_outline"]["indices"]).reshape(-1, 2)
    heights = places[pairs.astype(int)][..., 1]
    assert (heights == heights[:, :1]).all()
    assert np.isin(heights, [0, 2]).all()
    assert "FB_ngon_encoding of pipe" in told
    assert "ACME_corners of pipe" in told
    assert "EXT_mesh_manifold of pipe" in told
    assert ("CESIUM_primitive_outline of pipe" in told) != whole
    assert "EXT_mesh_features" not in told
    if whole:
        assert len(pairs) >= 2 * AROUND


def test_a_file_whose_vertices_stay_keeps_what_names_them(tmp_path, capsys):
    data = tool(tmp_path, numbered(), "convert", "--to-unit", "cm")
    given, _ = gltf_of(numbered().data())
    made, _ = gltf_of(data)
    assert made["meshes"] == given["meshes"]
    assert "extensions" not in capsys.readouterr().err
    tool(tmp_path, numbered(), "convert", out="out.obj")
    assert "mesh extensions" in capsys.readouterr().err
