"""What the mesh tools change in a glTF file, and what has to follow that change."""

from pathlib import Path

import numpy as np
import pytest

from threestudio_like.cli import main
from threestudio_like.meshes import Asset
from threestudio_like.meshes.io.gltf.compare import differences, row_counts, unexpected
from threestudio_like.meshes.io.gltf.patch import patch
from threestudio_like.meshes.io.gltf.write import glb_bytes
from threestudio_like.meshes.texture.coordinates import with_coordinates
from threestudio_like.meshes.toolchain import rebaked

from .gltf_files import Glb, box, checks, gltf_of, primitive, table_of

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


def painted_twice(parts: int, shared: bool) -> Glb:
    """Boxes that two variants of the file paint: with pictures on their first set of coordinates
    and, for shadows, on their second. Not shared: every part has materials of its own."""
    name = "KHR_materials_variants"
    glb = Glb()
    glb.document["extensions"] = {name: {"variants": [{"name": "day"}, {"name": "night"}]}}
    glb.use(name)
    for part in range(parts):
        if part == 0 or not shared:
            first = len(glb.document.get("materials", []))
            for colour in ((200, 50, 40), (40, 70, 200)):
                picture = glb.texture(checks(colour, (250, 250, 250)))
                look = {
                    "pbrMetallicRoughness": {"baseColorTexture": {"index": picture}},
                    "occlusionTexture": {"index": picture, "texCoord": 1},
                    "emissiveTexture": {"index": picture, "texCoord": 0},
                }
                glb.add("materials", look)
        row = primitive(glb, box(), first)
        row["attributes"]["TEXCOORD_1"] = glb.accessor(box()["uv"][:, ::-1].copy())
        looks = [{"material": first + k, "variants": [k]} for k in range(2)]
        row["extensions"] = {name: {"mappings": looks}}
        glb.add("meshes", {"primitives": [row]})
        glb.add("nodes", {"mesh": part, "name": f"part {part}", "translation": [2 * part, 0, 0]})
    glb.document["scenes"][0]["nodes"] = list(range(parts))
    return glb


def lies_on(data: bytes, mesh: int, info: dict) -> dict[tuple, tuple]:
    """The texture coordinates that a reference to a texture reads, by the place and the side of
    every corner of a mesh."""
    attributes = gltf_of(data)[0]["meshes"][mesh]["primitives"][0]["attributes"]
    place = np.hstack([table_of(data, attributes[k]) for k in ("POSITION", "NORMAL")])
    uv = table_of(data, attributes[f"TEXCOORD_{info.get('texCoord', 0)}"])
    return {tuple(p): tuple(c) for p, c in zip(place.round(4).tolist(), uv.tolist())}


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("redone", [(0,), (1,), (0, 1)])
def test_variants_of_a_file_keep_their_looks_when_parts_are_unwrapped(tmp_path, shared, redone):
    given = painted_twice(2, shared).data()
    (tmp_path / "in.glb").write_bytes(given)
    asset = Asset.load(tmp_path / "in.glb")
    names = {f"part {k}" for k in redone}
    only = asset.with_meshes({k: m for k, m in asset.meshes.items() if k in names})
    made, _ = with_coordinates(only, 64, "always")
    new = asset.with_meshes({**asset.meshes, **rebaked(only, made, 64, patched=True)})
    patched = patch(new, asset.source)
    data = glb_bytes(patched.document, patched.binary)
    assert unexpected(differences(given, data), patched.changed, row_counts(given)) == []
    before, after = gltf_of(given)[0], gltf_of(data)[0]
    for mesh in range(2):
        rows = [d["meshes"][mesh]["primitives"][0] for d in (before, after)]
        looks = [r["extensions"]["KHR_materials_variants"]["mappings"] for r in rows]
        for old, now in zip(*looks, strict=True):
            assert old["variants"] == now["variants"]
            one, two = (d["materials"][m["material"]] for d, m in ((before, old), (after, now)))
            pairs = [(m["pbrMetallicRoughness"]["baseColorTexture"] for m in (one, two))]
            pairs += [(m[k] for m in (one, two)) for k in ("occlusionTexture", "emissiveTexture")]
            for was, is_now in pairs:
                assert was["index"] == is_now["index"]
                assert lies_on(data, mesh, is_now) == lies_on(given, mesh, was)


def test_the_unwrap_command_keeps_the_looks_of_variants(tmp_path):
    glb = painted_twice(1, True)
    data = tool(tmp_path, glb, "unwrap", "--texture", "64")
    for before, after in zip(glb.document["materials"], gltf_of(data)[0]["materials"]):
        infos = [m["pbrMetallicRoughness"]["baseColorTexture"] for m in (before, after)]
        assert lies_on(data, 0, infos[1]) == lies_on(glb.data(), 0, infos[0])


SMALL_MATRICES = [
    *[("MAT2", 5121, 2, 4), ("MAT2", 5123, 4, 4), ("MAT3", 5121, 3, 4), ("MAT3", 5123, 6, 8)],
    *[("MAT4", 5121, 4, 4), ("MAT3", 5126, 12, 12), ("VEC3", 5121, 9, 9)],
]
"""Shape, component, bytes of a column and how far columns are apart; a vector is one column."""


@pytest.mark.parametrize(("shape", "component", "long", "step"), SMALL_MATRICES)
@pytest.mark.parametrize("stride", [0, 48])
def test_gaps_within_matrices_are_not_compared_and_all_else_is(
    shape, component, long, step, stride
):
    """Columns begin at multiples of four bytes; what lies between them says nothing."""
    columns = int(shape[3:]) if shape.startswith("MAT") else 3
    long, step = (long, step) if shape.startswith("MAT") else (1, 1)
    count, size = 3, columns * step

    def glb(values: np.ndarray) -> bytes:
        made = Glb()
        row = primitive(made, QUAD)
        view = made.view(values.tobytes(), **({"byteStride": stride} if stride else {}))
        entry = {"bufferView": view, "componentType": component, "count": count, "type": shape}
        row["attributes"]["_OWN"] = made.add("accessors", entry)
        made.add("meshes", {"primitives": [row]})
        below(made, {})
        return made.data()

    whole = np.arange(count * (stride or size), dtype=np.uint8)
    given = glb(whole)
    for place in range(len(whole)):
        other = whole.copy()
        other[place] ^= 255
        within = place % (stride or size)
        said = within < size and within % step < long
        assert bool(differences(given, glb(other))) == said, place


def test_a_mesh_of_many_primitives_is_checked_once_for_all_of_them(tmp_path, monkeypatch):
    """And not once for each, which took minutes for thousands."""
    from threestudio_like.meshes.io.gltf import document

    checked, count = [], 200
    check = document._has_attributes
    monkeypatch.setattr(document, "_has_attributes", lambda row: checked.append(0) or check(row))
    glb = Glb()
    glb.add("meshes", {"primitives": [primitive(glb, QUAD) for _ in range(count)]})
    below(glb, {})
    data = tool(tmp_path, glb, "convert", "--to-unit", "cm")
    assert len(gltf_of(data)[0]["meshes"][0]["primitives"]) == count
    # The document, and those that it is written from and mended in.
    assert count <= len(checked) <= 8 * count
