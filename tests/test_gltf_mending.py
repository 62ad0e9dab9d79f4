"""A glTF file that breaks rules is written as one that keeps them, whatever tool writes it, and
what that changes of its look is told."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from threestudio_like.cli import main
from threestudio_like.meshes import Asset
from threestudio_like.meshes.io.gltf.compare import differences, row_counts, unexpected
from threestudio_like.meshes.io.gltf.patch import patch
from threestudio_like.meshes.io.gltf.write import glb_bytes

from .gltf_files import FEATURES, Glb, add_morph, add_rig, box, cart, featured, gltf_of, table_of
from .gltf_rules import broken_rules

COUNT = len(box()["position"])


def _attribute(name: str, values: np.ndarray, kind: str = "<f4", **more) -> Callable[[Glb], None]:
    def change(glb: Glb) -> None:
        attributes = glb.document["meshes"][0]["primitives"][0]["attributes"]
        attributes[name] = glb.accessor(values, kind, **more)

    return change


def _bounds(glb: Glb) -> None:
    glb.document["accessors"][0]["max"] = [9, 9, 9]


def _no_bounds(glb: Glb) -> None:
    del glb.document["accessors"][0]["max"]


def _weights(*rows: list[float], joints: list[int] = (0, 1, 0, 0)) -> Callable[[Glb], None]:
    def change(glb: Glb) -> None:
        add_rig(glb)
        table = np.resize(np.float32(rows), (COUNT, 4))
        _attribute("WEIGHTS_0", table)(glb)
        _attribute("JOINTS_0", np.tile(np.uint8(joints), (COUNT, 1)), "u1")(glb)

    return change


def _node(**row) -> Callable[[Glb], None]:
    return lambda glb: glb.document["nodes"][1].update(row)


def _paint(key: str, **row) -> Callable[[Glb], None]:
    def change(glb: Glb) -> None:
        paint = glb.document["materials"][0]
        (paint.setdefault(key, {}) if key else paint).update(row)

    return change


def _morph(count: int) -> Callable[[Glb], None]:
    def change(glb: Glb) -> None:
        add_morph(glb, 0.5)
        glb.document["meshes"][0]["weights"] = [0.5, 0.25, 0.75][:count]

    return change


def _bent_bones(glb: Glb) -> None:
    add_rig(glb)
    matrices = np.tile(np.eye(4).reshape(-1), (2, 1))
    matrices[:, 7] = 0.5
    glb.document["skins"][0]["inverseBindMatrices"] = glb.accessor(matrices)


def _parted_bones(glb: Glb) -> None:
    add_rig(glb)
    hip, chest = glb.document["skins"][0]["joints"]
    glb.document["nodes"][hip].pop("children")
    glb.document["scenes"][0]["nodes"].append(chest)
    glb.document["skins"][0]["skeleton"] = hip


def _long_turns(glb: Glb) -> None:
    add_rig(glb)
    sampler = glb.document["animations"][0]["samplers"][0]
    sampler["output"] = glb.accessor([[0, 0, 0, 2], [0, 0, 3, 3]])
    sampler["input"] = glb.accessor([0.0, 1.0])


def _together(glb: Glb) -> None:
    shape = box((2, 0.6, 1))
    view = glb.view(shape["position"].tobytes() + shape["normal"].tobytes())
    for name, offset in (("POSITION", 0), ("NORMAL", 12 * COUNT)):
        row = {"bufferView": view, "byteOffset": offset, "componentType": 5126, "count": COUNT}
        row["type"] = "VEC3"
        if name == "POSITION":
            row["min"], row["max"] = [-1, -0.3, -0.5], [1, 0.3, 0.5]
        glb.document["meshes"][0]["primitives"][0]["attributes"][name] = glb.add("accessors", row)


def _undeclared(glb: Glb) -> None:
    glb.document["materials"][0]["extensions"] = {"KHR_materials_ior": {"ior": 1.4}}


def _brushed(**row) -> Callable[[Glb], None]:
    """A material with directions along its surface."""

    def change(glb: Glb) -> None:
        _paint("", extensions={"KHR_materials_anisotropy": row})(glb)
        glb.use("KHR_materials_anisotropy")

    return change


def _coat(glb: Glb, *more: str) -> None:
    bumps = {"index": glb.texture(np.full((4, 4, 3), [140, 120, 250], np.uint8))}
    if "second" in more:
        bumps["texCoord"] = 1
        _attribute("TEXCOORD_1", box()["uv"])(glb)
    rows = {"clearcoatFactor": 0.5, "clearcoatNormalTexture": bumps}
    glb.document["materials"][0]["extensions"] = {"KHR_materials_clearcoat": rows}
    glb.use("KHR_materials_clearcoat")
    if "varied" in more:
        FEATURES["material variants"](glb)
        glb.document["meshes"][0]["primitives"][0]["material"] = 1


UP = np.tile(np.float32([[1, 0, 0, 1]]), (COUNT, 1))
SIDES = box()["normal"]
HALF = SIDES * np.float32(0.5)
NOWHERE = np.where(np.arange(COUNT)[:, None] < 5, 0, SIDES).astype(np.float32)
LOUD = np.tile(np.float32([[1.5, -0.25, 0.5]]), (COUNT, 1))
EMPTY = np.where(np.arange(COUNT)[:, None] < 2, np.nan, 0.5 * np.ones((COUNT, 3)))
SHEAR = [1, 0, 0, 0, 0.5, 1, 0, 0, 0, 0, 2, 0, 5, 0, 0, 1]
SUM = "skin weights that do not sum to 1 are divided by their sum"
CLIPPED = 'numbers of the material "paint" are clipped: '

BREACHES: dict[str, tuple[Callable[[Glb], None], str]] = {
    "bounds that are too wide": (_bounds, ""),
    "no bounds": (_no_bounds, ""),
    "long tangents": (_attribute("TANGENT", UP * [2, 2, 2, 1]), ""),
    "tangents without a side": (
        _attribute("TANGENT", UP * [1, 1, 1, 0]),
        "tangents without a direction or a side are guessed",
    ),
    "tangents that are nothing": (
        _attribute("TANGENT", UP * [0, 0, 0, 1]),
        "tangents without a direction or a side are guessed",
    ),
    "short normals": (_attribute("NORMAL", HALF), ""),
    "normals that are nothing": (
        _attribute("NORMAL", NOWHERE),
        "normals without a direction are those of the faces",
    ),
    "normals in bytes": (_attribute("NORMAL", SIDES * 127, "i1", normalized=True), ""),
    "short normals in bytes": (_attribute("NORMAL", SIDES * 60, "i1", normalized=True), ""),
    "colours in three bytes": (
        _attribute("COLOR_0", np.full((COUNT, 3), 200), "u1", normalized=True),
        "",
    ),
    "loud colours": (
        _attribute("COLOR_0", LOUD),
        "vertex colours outside of [0, 1] are clipped",
    ),
    "colours that are nothing": (
        _attribute("COLOR_0", EMPTY),
        "vertex colours outside of [0, 1] are clipped",
    ),
    "further numbers that are nothing": (
        _attribute("_HEAT", EMPTY[:, :1]),
        "numbers of vertices that are not finite are 0",
    ),
    "weights of two": (_weights([2, 0, 0, 0], [0.5, 1.5, 0, 0]), SUM),
    "negative weights": (_weights([1.5, -0.5, 0, 0]), SUM),
    "rounded weights": (_weights([0.5, 0.49995, 0, 0]), ""),
    "no weights": (
        _weights([0, 0, 0, 0], [1, 0, 0, 0]),
        "vertices without skin weights hang from their first joint",
    ),
    "a joint twice": (_weights([0.25, 0.25, 0.5, 0], joints=[1, 1, 0, 0]), ""),
    "a joint that is not there": (_weights([0.5, 0.5, 0, 0], joints=[0, 1, 7, 9]), ""),
    "a long rotation": (_node(rotation=[0, 0, 0, 2]), ""),
    "a long turn": (_node(rotation=[0, 1.2, 0, 1.6]), ""),
    "a matrix that shears": (_node(matrix=SHEAR, translation=[9, 9, 9]), ""),
    "more weights than targets": (_morph(3), ""),
    "fewer weights than targets": (_morph(0), ""),
    "a bright colour": (
        _paint("pbrMetallicRoughness", baseColorFactor=[1.2, 0, -0.5, 1], metallicFactor=2),
        CLIPPED + "baseColorFactor, metallicFactor",
    ),
    "a bright light": (_paint("", emissiveFactor=[3, 0, 0]), CLIPPED + "emissiveFactor"),
    "strong shadows": (
        _paint("", occlusionTexture={"index": 0, "strength": 1.5}),
        CLIPPED + "strength",
    ),
    "matrices that are not affine": (_bent_bones, ""),
    "joints without a root in common": (_parted_bones, ""),
    "animated turns of another length": (_long_turns, ""),
    "tables in one view without a stride": (_together, ""),
    "an extension that is not declared": (_undeclared, ""),
    "sets with a gap": (_attribute("TEXCOORD_2", box()["uv"]), ""),
    "children without any": (_node(children=[]), ""),
    "a rough coat without tangents": (_coat, ""),
    "one by other coordinates": (lambda glb: _coat(glb, "second"), ""),
    "one of a variant": (lambda glb: _coat(glb, "varied"), ""),
    "brushed metal without tangents": (_brushed(anisotropyStrength=0.5), ""),
    "brushed metal with a map": (_brushed(anisotropyTexture={"index": 0}), ""),
}
CALLS = {
    "convert": ["convert"],
    "clean": ["clean", "--weld", "0.001"],
    "decimate": ["decimate", "--faces", "24"],
    "unwrap": ["unwrap", "--texture", "32"],
}


def broken(name: str) -> bytes:
    """The cart with one breach of a rule."""
    glb = cart()
    BREACHES[name][0](glb)
    return glb.data()


@pytest.mark.parametrize("call", list(CALLS))
@pytest.mark.parametrize("name", list(BREACHES))
def test_what_is_written_keeps_the_rules(tmp_path, capsys, name, call):
    given = broken(name)
    assert broken_rules(given) != []
    (tmp_path / "in.glb").write_bytes(given)
    words = CALLS[call]
    out = tmp_path / "out.glb"
    assert main(["mesh", words[0], str(tmp_path / "in.glb"), "--out", str(out), *words[1:]]) == 0
    assert broken_rules(out.read_bytes()) == []
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Note: ")]
    told = BREACHES[name][1]
    assert notes == [line for line in notes if told and told in line]
    assert len(notes) == bool(told)


@pytest.mark.parametrize("name", list(BREACHES))
def test_mending_changes_nothing_else(tmp_path, name):
    given = broken(name)
    (tmp_path / "in.glb").write_bytes(given)
    asset = Asset.load(tmp_path / "in.glb")
    patched = patch(asset, asset.source)
    data = glb_bytes(patched.document, patched.binary)
    assert unexpected(differences(given, data), patched.changed, row_counts(given)) == []
    (tmp_path / "out.glb").write_bytes(data)
    again = Asset.load(tmp_path / "out.glb")
    assert again.notes == []
    assert list(again.meshes) == list(asset.meshes)
    for part, mesh in asset.meshes.items():
        other = again.meshes[part]
        for key in ("vertices", "faces", "uv", "normals", "colours", "texture"):
            one, two = getattr(mesh, key), getattr(other, key)
            assert (one is None) == (two is None)
            if one is not None:
                np.testing.assert_allclose(one, two, atol=2e-6)
    # What was mended stays so.
    assert patch(again, again.source).changed == []


def test_values_are_mended_to_what_they_meant(tmp_path):
    glb = cart()
    _weights([2, 0, 0, 0], [0.5, 1.5, 0, 0])(glb)
    _attribute("TANGENT", UP * [2, 2, 2, -0.5])(glb)
    _attribute("COLOR_0", LOUD)(glb)
    (tmp_path / "in.glb").write_bytes(glb.data())
    data = Asset.load(tmp_path / "in.glb").save(tmp_path / "out.glb").read_bytes()
    attributes = gltf_of(data)[0]["meshes"][0]["primitives"][0]["attributes"]
    values = {key: table_of(data, attributes[key]) for key in ("WEIGHTS_0", "TANGENT", "COLOR_0")}
    np.testing.assert_allclose(values["WEIGHTS_0"][:2], [[1, 0, 0, 0], [0.25, 0.75, 0, 0]])
    np.testing.assert_array_equal(values["TANGENT"], UP * [1, 1, 1, -1])
    np.testing.assert_array_equal(values["COLOR_0"], LOUD.clip(0, 1))


def test_a_skin_goes_with_its_weights(tmp_path):
    glb = cart()
    add_rig(glb)
    add_morph(glb, 0.5)
    channel = {"sampler": 0, "target": {"node": 6, "path": "weights"}}
    glb.add(
        "animations",
        {
            "samplers": [
                {
                    "input": glb.accessor([0.0, 1.0], min=[0.0], max=[1.0]),
                    "output": glb.accessor([0.0, 1.0]),
                }
            ],
            "channels": [channel],
        },
    )
    (tmp_path / "in.glb").write_bytes(glb.data())
    asset = Asset.load(tmp_path / "in.glb")
    mesh = asset.meshes["skinned body"]
    # As after remeshing, nothing is known of what became of the vertices.
    anew = replace(mesh, vertices=mesh.vertices[:-1], faces=mesh.faces[:-2], origin=None)
    anew = replace(anew, uv=None, normals=None, texture=None)
    new = asset.with_meshes({**asset.meshes, "skinned body": anew})
    data = new.save(tmp_path / "out.glb").read_bytes()
    assert broken_rules(data) == []
    document, _ = gltf_of(data)
    assert [n for n in document["nodes"] if "skin" in n] == []
    assert "weights" not in document["meshes"][0]
    assert [a["name"] for a in document["animations"]] == ["bow"]


def test_a_rough_coat_keeps_directions_when_its_tangents_are_lost(tmp_path):
    glb = cart()
    FEATURES["tangents"](glb)
    _coat(glb)
    assert broken_rules(glb.data()) == []
    (tmp_path / "in.glb").write_bytes(glb.data())
    asset = Asset.load(tmp_path / "in.glb")
    assert patch(asset, asset.source).changed == []
    name, mesh = next((k, m) for k, m in asset.meshes.items() if m.uv is not None)
    bent = mesh.vertices * np.linspace(1, 1.2, len(mesh.vertices))[:, None].astype(np.float32)
    moved = replace(asset, meshes={**asset.meshes, name: replace(mesh, vertices=bent)})
    moved.save(tmp_path / "out.glb")
    data = (tmp_path / "out.glb").read_bytes()
    assert broken_rules(data) == []
    document, _ = gltf_of(data)
    assert document["materials"][0]["normalTexture"]["scale"] == 0
    assert len(document["images"]) == len(gltf_of(glb.data())[0]["images"]) + 1


@pytest.mark.parametrize("name", list(FEATURES))
def test_files_of_every_kind_are_decimated_to_valid_ones(tmp_path, name):
    given, out = tmp_path / "in.glb", tmp_path / "out.glb"
    given.write_bytes(featured(name))
    assert main(["mesh", "decimate", str(given), "--out", str(out), "--faces", "24"]) == 0
    assert broken_rules(out.read_bytes()) == []
